"""GPU kernels in Triton, each beside its plain torch twin; the choice between them is made here.

`<name>.py` is the twin: plain torch, works everywhere, and is what the kernel is held
against.  `<name>_triton.py` holds functions of the same names and arguments, for the
types of numbers in TYPES.
"""

from __future__ import annotations

import functools
import importlib
import os
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

# What each kernel takes, and where each is chosen: other types go to the twin, on a GPU too.
TYPES = {
    "jpeg": (torch.float32, torch.bfloat16),
    "jsma": (torch.float64, torch.float32, torch.bfloat16, torch.float16),
    "krotov_hopfield": (torch.float32, torch.bfloat16),  # of the images; the weights are float32
    "pairwise": (torch.float32, torch.bfloat16),
}


@functools.cache
def implementation(name: str, device_type: str, dtype: torch.dtype = torch.float32) -> ModuleType:
    """The module that does `name`: the kernel on a GPU with Triton, for the types that it takes, else the twin.

    >>> implementation("pairwise", "cpu").__name__
    'advlens.kernels.pairwise'
    """
    if name not in TYPES:
        raise ValueError(f"unknown kernel {name!r}; known: {', '.join(TYPES)}")
    suffix = "_triton" if device_type == "cuda" and dtype in TYPES[name] and find_spec("triton") else ""
    return importlib.import_module(f"advlens.kernels.{name}{suffix}")


def check_runs(name: str, x: Tensor, what: str) -> None:
    """Raise ValueError unless the kernel `name` takes x (called `what` in the message) and can run where it is."""
    if x.dtype not in TYPES[name]:
        raise ValueError(f"{what} {x.dtype}; the kernel takes {' or '.join(map(str, TYPES[name]))}, "
                         f"advlens.kernels.{name} others too")
    if x.device.type != "cuda" and not interpreted():
        raise ValueError(f"a tensor is on {x.device}; the kernel runs on a GPU, advlens.kernels.{name} everywhere")


def interpreted() -> bool:
    """Whether Triton was told to interpret its kernels, by TRITON_INTERPRET=1 before its import: then on a CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"
