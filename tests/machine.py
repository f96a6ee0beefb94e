"""What Triton's compiler makes of a kernel for a GPU that need not be there."""

from __future__ import annotations

# Code for the fixture `without_interpreter`: bytes of local memory that a thread needs because its registers do not suffice.
SPILLED = r"""
import re, subprocess, tempfile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from triton.knobs import nvidia

def spilled(kernel, signature, constants, architecture, num_warps):
    source = ASTSource(kernel, signature=signature | dict.fromkeys(constants, "constexpr"), constexprs=constants)
    compiled = compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": num_warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = subprocess.run([nvidia.cuobjdump.path, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"STACK:(\d+)", usage)[1])
"""
