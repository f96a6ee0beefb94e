"""Real data: MNIST and CIFAR-10 from the reader's own folder, from the cache, or downloaded into it."""

import hashlib
import os
import shutil
import tempfile
import warnings
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from advlens.data.dataset import Dataset, from_bytes

IMAGE_SHAPE = {"mnist": (28, 28)}  # every other set: (32, 32, 3)

# sha256 of MNIST's four files, byte for byte as published (torchvision checks only that they exist).
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DataUnavailable(RuntimeError):
    """The data set is neither in $ADVLENS_DATA nor in the cache nor to be downloaded."""


def cache_folder() -> Path:
    """Where downloads are kept: $ADVLENS_CACHE, or advlens in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ADVLENS_CACHE") or Path(base) / "advlens")


def load_local(name: str, split: str = "train") -> Dataset | None:
    """The real data set from $ADVLENS_DATA or the cache, or None.  Never touches the network.

    Raises DataUnavailable for a file that is there but damaged.
    """
    own = os.environ.get("ADVLENS_DATA")
    if own and not Path(own).is_dir():
        raise DataUnavailable(f"ADVLENS_DATA names {own!r}, which is not a folder. {_ways_out(name)}")
    found = _read(name, split, Path(own)) if own else None
    return found or _read(name, split, cache_folder() / name)


def load_real(name: str, split: str) -> Dataset:
    """The real data set, downloaded into the cache where it is not yet on this machine.

    Raises DataUnavailable when it cannot be had.
    """
    cached = cache_folder() / name
    try:
        if found := load_local(name, split):
            return found
    except DataUnavailable as damaged:
        if not cached.exists() or str(cached) not in str(damaged):
            raise  # the reader's own folder: not ours to repair
        warnings.warn(f"{damaged} Fetching it again.", stacklevel=3)
    _download(name, cached)
    return _read(name, split, cached)


def _ways_out(name: str) -> str:
    return (f"Three ways out: (1) connect to the network and call load({name!r}) again; (2) put {name}.npz (x_train, "
            "y_train, x_test, y_test) or torchvision's files into a folder and set ADVLENS_DATA to it; "
            f"(3) use embedded data: load({name!r}, fallback={'digits' if name == 'mnist' else 'shapes'!r}).")


def _read(name: str, split: str, folder: Path) -> Dataset | None:
    """The split from `folder`, or None when nothing of that name lies there."""
    for place, reader in ((f"{name}.npz", _read_npz), *ORIGINAL_FILES.get(name, ())):
        if (folder / place).exists():
            images, labels, source = reader(folder / place, split)
            _validate(folder, images, labels, IMAGE_SHAPE.get(name, (32, 32, 3)))
            return from_bytes(name, split, images, labels, source)
    return None


def _validate(path, images, labels, shape) -> None:
    problems = []
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        problems.append(f"images are {images.dtype} {images.shape}, expected uint8 (N, {', '.join(map(str, shape))})")
    if labels.ndim != 1 or len(labels) != len(images) or not np.issubdtype(labels.dtype, np.integer):
        problems.append(f"labels are {labels.dtype} {labels.shape} for {len(images)} images")
    elif len(labels) == 0 or labels.min() < 0 or labels.max() > 9:
        problems.append("labels lie outside 0..9, or there are none")
    if problems:
        raise DataUnavailable(f"{path} does not hold the expected data: {'; '.join(problems)}.")


def _read_npz(path: Path, split: str):
    try:
        with np.load(path, allow_pickle=False) as packed:
            images, labels = packed[f"x_{split}"], packed[f"y_{split}"]
            note = str(packed["note"]) if "note" in packed else path.name
    except Exception as broken:  # a damaged file makes numpy, zipfile and zlib raise a dozen kinds
        raise DataUnavailable(f"{path} cannot be read ({broken}): delete it or write it again.") from broken
    return images, labels, note


def _read_mnist(raw: Path, split: str):
    for name, expected in MNIST_SHA256.items():
        path = raw / name
        actual = _sha256(path, path.stat().st_mtime_ns) if path.exists() else "missing"
        if actual != expected:
            raise DataUnavailable(f"{path} is not MNIST's file "
                                  f"(sha256 {actual[:12]}, expected {expected[:12]}): delete it.")
    # Read here: torchvision would prefer an unchecked MNIST/processed folder to these files.
    prefix = "train" if split == "train" else "t10k"
    images = np.fromfile(raw / f"{prefix}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.fromfile(raw / f"{prefix}-labels-idx1-ubyte", np.uint8, offset=8)
    return images, labels, "MNIST, original files"


@lru_cache
def _sha256(path: Path, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_cifar10(batches: Path, split: str):
    try:  # torchvision verifies the MD5 of every file before it opens one
        stored = torchvision_datasets().CIFAR10(batches.parent, train=split == "train", download=False)
    except ImportError as missing:
        raise DataUnavailable(f"torchvision reads {batches}, and does not import ({missing}): "
                              "install the one that belongs to your torch.") from missing
    except RuntimeError as broken:
        raise DataUnavailable(f"{batches} is damaged or incomplete: delete it.") from broken
    return stored.data, np.asarray(stored.targets), "CIFAR-10, original files"


# name -> where torchvision puts the files inside a folder, and who reads them there
ORIGINAL_FILES = {"mnist": [("MNIST/raw", _read_mnist)], "cifar10": [("cifar-10-batches-py", _read_cifar10)]}


def _download(name: str, target: Path) -> None:
    """Fetch into a temporary folder beside `target`, check, then move it into place."""
    if name not in ORIGINAL_FILES:
        raise DataUnavailable(f"{name} cannot be downloaded. {_ways_out(name)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{name}.part-", dir=target.parent))
    except OSError as full:
        raise DataUnavailable(f"The cache folder {target.parent} cannot be written ({full}): "
                              f"set ADVLENS_CACHE to another one. {_ways_out(name)}") from full
    try:
        getattr(torchvision_datasets(), name.upper())(part, download=True)
        if _read(name, "test", part) is None:
            raise DataUnavailable(f"The download of {name} is incomplete. {_ways_out(name)}")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
    except DataUnavailable:
        raise
    except Exception as failed:  # no network, a full disk, a wrong checksum, a broken archive
        raise DataUnavailable(f"{name} could not be downloaded into {target.parent} ({failed}); ADVLENS_CACHE names "
                              f"another folder. {_ways_out(name)}") from failed
    finally:
        shutil.rmtree(part, ignore_errors=True)


def torchvision_datasets():
    """torchvision.datasets; its CUDA wheel needs two operators declared beside a CPU build of torch."""
    try:
        return import_module("torchvision.datasets")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", schema)
        return import_module("torchvision.datasets")
