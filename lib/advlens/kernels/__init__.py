"""GPU kernels in Triton, each beside its plain torch twin; the choice between them is made here.

`<name>.py` is the twin: plain torch, works everywhere, and is what the kernel is held
against.  `<name>_triton.py` holds functions of the same names and arguments.
"""

from __future__ import annotations

import functools
import importlib
from importlib.util import find_spec
from types import ModuleType

NAMES = ("jpeg", "jsma", "krotov_hopfield", "pairwise")


@functools.cache
def implementation(name: str, device_type: str) -> ModuleType:
    """The module that does `name` on this type of device: the kernel on a GPU with Triton, else the twin.

    >>> implementation("pairwise", "cpu").__name__
    'advlens.kernels.pairwise'
    """
    if name not in NAMES:
        raise ValueError(f"unknown kernel {name!r}; known: {', '.join(NAMES)}")
    suffix = "_triton" if device_type == "cuda" and find_spec("triton") else ""
    return importlib.import_module(f"advlens.kernels.{name}{suffix}")
