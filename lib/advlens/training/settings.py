"""What a value is, in words: two trainings are the same run when everything that was given to them reads the same.

>>> settings(torch.nn.functional.cross_entropy)
'torch.nn.functional.cross_entropy'
>>> settings(functools.partial(torch.optim.SGD, momentum=0.9))
'torch.optim.sgd.SGD(momentum=0.9)'
"""

import functools
import hashlib
import inspect
import sys
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor, nn

from advlens.data import Dataset


def settings(value: object, name: str = "value") -> str:
    """All settings of `value` in one line.

    Dataclasses and functools.partial field by field, functions and classes by their names (a body
    is not looked at), nets, data sets and tensors by a digest, everything else by its repr.
    Raises ValueError for what does not tell its settings: a lambda, a closure, an object with Python's own repr.
    """
    tell = functools.partial(settings, name=name)
    if isinstance(value, nn.Module):
        return f"{type(value).__name__} {digest(architecture(value), *value.state_dict().values())}"
    if isinstance(value, Dataset):
        return f"{len(value)} images {digest(value.images, value.labels)}"
    if isinstance(value, Tensor):
        return f"tensor {digest(value)}"
    if isinstance(value, functools.partial):
        given = [*map(tell, value.args), *(f"{key}={tell(part)}" for key, part in value.keywords.items())]
        return f"{tell(value.func)}({', '.join(given)})"
    if is_dataclass(value) and not isinstance(value, type):
        given = [f"{field.name}={tell(getattr(value, field.name))}" for field in fields(value) if field.repr]
        return f"{type(value).__name__}({', '.join(given)})"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(tell, value))})"
    if _is_found_by_its_name(value):
        return f"{value.__module__}.{value.__qualname__}"
    if " at 0x" in repr(value):
        raise ValueError(f"{name} is {value!r}, which does not tell its settings, and a run that resumes must not be "
                         "taken for another: give a named function, or a value whose repr tells them, such as a frozen "
                         "dataclass with a method __call__")
    return repr(value)


def digest(*parts: str | Tensor) -> str:
    """Sixteen hexadecimal digits that tell texts and tensors (shape, dtype and all bytes) apart."""
    read = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, Tensor):
            read.update(f"{part.dtype} {tuple(part.shape)}".encode())
            read.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        else:
            read.update(part.encode())
        read.update(b"\0")
    return read.hexdigest()


def architecture(model: nn.Module) -> str:
    """A net without its weights: layers and settings, parameters and shapes, constants and digests."""
    layers = [f"{name}: {type(layer).__qualname__} {_made_with(layer)}" for name, layer in model.named_modules()]
    shapes = [f"{name} {tuple(p.shape)} {p.dtype} {p.requires_grad}" for name, p in model.named_parameters()]
    kept = set(model.state_dict())
    constants = [f"{name} {digest(value)}" for name, value in model.named_buffers() if name not in kept]
    return "\n".join([*layers, *shapes, *constants])


def _made_with(layer: nn.Module) -> dict:
    """What a layer was made with: its repr need not show it all."""
    def is_plain(value: object) -> bool:
        return isinstance(value, (bool, int, float, str)) or (isinstance(value, tuple) and all(map(is_plain, value)))

    return {key: value for key, value in vars(layer).items() if key != "training" and key[0] != "_" and is_plain(value)}


def _is_found_by_its_name(value: object) -> bool:
    """A function or class that stands in its module under its own name; a closure or lambda does not."""
    if not isinstance(value, type) and not inspect.isfunction(value):
        return False
    found = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value
