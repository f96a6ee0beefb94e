"""What the Triton kernels gain on a GPU: `python benchmarks/kernels.py` (add --record to write
data/records/kernels.json).

Each kernel against its torch twin on the same device, against torch.compile of the twin,
and against the device's own limit: its bytes at the speed of a copy, or its arithmetic at
the speed of a float32 matrix product, both measured in the same run.  Pairwise products run
on tensor cores and may beat that limit.
"""

from __future__ import annotations

import contextlib
import sys
import time
from functools import partial
from types import ModuleType
from typing import Callable, Iterator, NamedTuple
from unittest import mock

import torch

from advlens.course import records
from advlens.kernels import implementation

ABSENT = "kernels: no GPU with Triton here, nothing to measure; their results are tested through Triton's interpreter"


class Case(NamedTuple):
    """A function of a kernel module, what it is called with, and the least it has to do."""

    kernel: str
    function: str
    arguments: tuple
    options: dict
    bytes: float
    flops: float


def cases(device: str = "cuda") -> list[Case]:
    """One case each at the size of the book's nets and data; the numbers are counted in the comments."""
    draw = partial(torch.rand, generator=torch.Generator(device).manual_seed(0), device=device)
    n, size, out = 1024, 784, 100
    pairs = size * (size - 1) // 2
    v, pair_weights, grad = draw(n, size), draw(out, pairs), draw(n, out)
    hidden, images = draw(2000, size), draw(100, size)
    photos, table = draw(4096, 3, 32, 32), torch.full((8, 8), 16, device=device)
    a, b = (draw(64, 3072) - 0.5 for _ in range(2))
    return [
        Case("pairwise", "forward", (v, pair_weights), {}, 0, 2 * n * pairs * out),  # a product with N x pairs sigmoids
        Case("pairwise", "backward", (grad, v, pair_weights), {}, 0, 4 * n * pairs * out),  # two such products
        # Weights are read for the currents and for the change, and written.
        Case("krotov_hopfield", "update_", (hidden, images), dict(p=2, k=2, delta=0.4, step=0.02),
             3 * 4 * hidden.numel(), 0),
        # read, written
        Case("jpeg", "round_trip", (photos, table, table), dict(subsample=True), 2 * 4 * photos.numel(), 0),
        # two sums, a product, a comparison a pair
        Case("jsma", "best_pair", (a, b), {}, 0, 4 * len(a) * a.shape[1] ** 2 / 2),
    ]


def measure(device: str = "cuda") -> list[dict]:
    """One row a case: milliseconds of kernel, twin and compiled twin, and of the device's limit."""
    import triton

    wait = partial(triton.testing.do_bench, return_mode="median")
    bandwidth, arithmetic = limits(wait, device)
    rows = []
    for case in cases(device):
        call = lambda module: partial(getattr(module, case.function), *case.arguments, **case.options)
        kernel, twin = (call(implementation(case.kernel, kind)) for kind in (device, "cpu"))
        rows.append({"kernel": f"{case.kernel}.{case.function}", "kernel ms": wait(kernel), "twin ms": wait(twin),
                     "compiled ms": compiled(wait, case),
                     "limit ms": 1e3 * (case.bytes / bandwidth + case.flops / arithmetic)})
    return rows


def compiled(wait: Callable[[Callable], float], case: Case) -> float | None:
    """Milliseconds of the compiled twin; None where torch.compile fails on it."""
    twin = implementation(case.kernel, "cpu")
    with one_tile(twin):
        try:
            return wait(partial(torch.compile(getattr(twin, case.function)), *case.arguments, **case.options))
        except Exception as error:  # of the compiler's many kinds: the other rows are still worth having
            print(f"torch.compile of {case.kernel}.{case.function} failed: {' '.join(str(error).split())[:300]}",
                  file=sys.stderr)
            return None


@contextlib.contextmanager
def one_tile(twin: ModuleType) -> Iterator[None]:
    """The twin without its loop over tiles: a compiler unrolls it, thousands of times, and fuses what tiles are there
    for.
    """
    limits = {name: 2**62 for name in ("TILE", "CHUNK") if hasattr(twin, name)}
    with mock.patch.multiple(twin, **limits) if limits else contextlib.nullcontext():
        yield


def limits(wait: Callable[[Callable], float], device: str) -> tuple[float, float]:
    """Bytes a second of a copy (read and written), and floating-point operations a second of a float32 product."""
    block, square = torch.empty(2**28, device=device), torch.rand(8192, 8192, device=device)
    return 2 * 4 * block.numel() / (1e-3 * wait(block.clone)), 2 * 8192**3 / (1e-3 * wait(lambda: square @ square))


def table() -> str:
    """Ratios of the times: above 1 the kernel is faster than the twin; 1 at the limit means no room is left."""
    if not torch.cuda.is_available() or implementation("jsma", "cuda") is implementation("jsma", "cpu"):
        return ABSENT
    return formatted(measure())


def formatted(rows: list[dict]) -> str:
    lines = [f"{'kernel':<26}{'kernel [ms]':>12}{'twin / kernel':>15}{'compiled / kernel':>19}{'kernel / limit':>16}"]
    for row in rows:
        own = row["kernel ms"]
        compiler = f"{row['compiled ms'] / own:.1f}" if row["compiled ms"] else "fails"
        ratios = f"{row['twin ms'] / own:>15.1f}{compiler:>19}{own / row['limit ms']:>16.1f}"
        lines.append(f"{row['kernel']:<26}{own:>12.3f}{ratios}")
    return "\n".join(lines)


def record() -> None:
    """Measure and write data/records/kernels.json."""
    if not torch.cuda.is_available():
        sys.exit(ABSENT)
    began = time.monotonic()
    rows = measure()
    found = records.provenance("python benchmarks/kernels.py --record", source="random numbers", seed=0,
                               seconds=time.monotonic() - began)
    print(formatted(rows), records.write("kernels", {"device": torch.cuda.get_device_name(), "rows": rows}, found),
          sep="\n")


if __name__ == "__main__":
    record() if "--record" in sys.argv else print(table())
