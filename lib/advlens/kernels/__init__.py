"""GPU kernels in Triton, each beside its plain torch twin; the choice between them is made here.

`<name>.py` is the twin: plain torch, works everywhere, and is what the kernel is held
against.  `<name>_triton.py` holds functions of the same names and arguments.
"""

from __future__ import annotations

import functools
import importlib
import os
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

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


def check_device(name: str, x: Tensor) -> None:
    """Raise ValueError unless the kernel `name` can run where x is."""
    if x.device.type != "cuda" and not interpreted():
        raise ValueError(f"a tensor is on {x.device}; the kernel runs on a GPU, advlens.kernels.{name} everywhere")


def interpreted() -> bool:
    """Whether Triton was told to interpret its kernels, by TRITON_INTERPRET=1 before its import: then they run on a CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"
