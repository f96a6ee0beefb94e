"""Data sets as tensors in [0, 1], each carrying where it came from.

>>> digits = load("digits")
>>> digits.images.shape, digits.images.dtype, digits.labels.dtype
(torch.Size([1437, 1, 28, 28]), torch.float32, torch.int64)
"""

import os
import warnings
from dataclasses import replace

from advlens.data.dataset import CIFAR10, CLASSES, DIGITS, SHAPES, Dataset
from advlens.data.embedded import EMBEDDED, load_embedded
from advlens.data.ink import box_and_offset
from advlens.data.real import DataUnavailable, cache_folder, load_local, load_real, torchvision_datasets

__all__ = ["CIFAR10", "CLASSES", "DIGITS", "SHAPES", "DataUnavailable", "Dataset", "StandInWarning",
           "box_and_offset", "cache_folder", "load", "load_local", "torchvision_datasets"]


class StandInWarning(UserWarning):
    """Embedded data stands in for the real data set that was asked for."""


def load(name: str, split: str = "train", *, fallback: str | None = None) -> Dataset:
    """One split ("train" or "test") of a data set.

    "digits" and "shapes" are embedded.  "mnist" and "cifar10" are looked for in
    $ADVLENS_DATA, then in the cache folder, then downloaded.  When none of these
    has them, `fallback` names the embedded set to use instead, with a warning;
    without it `DataUnavailable` is raised.  $ADVLENS_STANDIN = "never" forbids the
    fallback, "always" uses it at once.
    """
    for what, given, known in (("data set", name, CLASSES), ("split", split, ("train", "test")),
                               ("fallback", fallback, (None, "digits", "shapes"))):
        if given not in known:
            raise ValueError(f"unknown {what} {given!r}; known: {', '.join(map(repr, known))}")
    if name in EMBEDDED:
        return load_embedded(name, split)
    policy = os.environ.get("ADVLENS_STANDIN", "")
    if policy not in ("", "never", "always"):
        raise ValueError(f"ADVLENS_STANDIN is {policy!r}; allowed: 'never', 'always' or nothing")
    if fallback and policy == "always":
        return _stand_in(name, split, fallback, "ADVLENS_STANDIN=always")
    try:
        return load_real(name, split)
    except DataUnavailable as missing:
        if fallback is None:
            raise
        if policy == "never":
            raise DataUnavailable(f"ADVLENS_STANDIN=never forbids the stand-in {fallback!r}. {missing}") from missing
        return _stand_in(name, split, fallback, str(missing).split(". ")[0])  # its first sentence says why


def _stand_in(name: str, split: str, fallback: str, why: str) -> Dataset:
    warnings.warn(f"{name} is replaced by the embedded set {fallback!r} ({why}). "
                  "Every number below is about the stand-in.", StandInWarning, stacklevel=3)
    return replace(load_embedded(fallback, split), stands_for=name)
