"""Data sets as tensors in [0, 1], each carrying where it came from.

>>> digits = load("digits")
>>> digits.images.shape, digits.images.dtype, digits.labels.dtype
(torch.Size([1437, 1, 28, 28]), torch.float32, torch.int64)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DIGITS = tuple(str(i) for i in range(10))
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPES = ("circle", "square", "triangle", "ring", "cross", "star", "half moon", "bar", "diamond", "grid")

CLASSES = {"digits": DIGITS, "shapes": SHAPES, "mnist": DIGITS, "cifar10": CIFAR10, "cifar10_lossless": CIFAR10}
IMAGE_SHAPE = {"digits": (28, 28), "mnist": (28, 28)}  # every other set: (32, 32, 3)

# sha256 of MNIST's four files, byte for byte as published (torchvision checks only that they exist).
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DataUnavailable(RuntimeError):
    """The data set is neither in $ADVLENS_DATA nor in the cache nor to be downloaded."""


class StandInWarning(UserWarning):
    """Embedded data stands in for the real data set that was asked for."""


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) float32 in [0, 1] and labels (N,) int64, with their origin.

    `name` is the set these images are from; `source` says in words where they came
    from; `stands_for` names the set that was asked for when this is a stand-in.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    source: str
    stands_for: str | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> Dataset:
        """A smaller Dataset: `data[:500]`, `data[indices]`, `data[mask]`."""
        if isinstance(index, (int, np.integer)):  # one image stays a Dataset, of length 1
            row = range(len(self))[index]  # raises IndexError where there is none
            index = slice(row, row + 1)
        return replace(self, images=self.images[index], labels=self.labels[index])

    def sample(self, n: int, seed: int = 0) -> Dataset:
        """`n` images drawn without replacement, the same ones for the same seed."""
        if not 0 < n <= len(self):
            raise ValueError(f"n = {n}: choose between 1 and the {len(self)} images of {self.name}")
        return self[torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:n]]

    @property
    def mean(self) -> Tensor:
        """Mean pixel per channel, shape (C,)."""
        return self.images.mean(dim=(0, 2, 3))

    @property
    def std(self) -> Tensor:
        """Standard deviation of the pixels per channel, shape (C,)."""
        return self.images.std(dim=(0, 2, 3), correction=0)

    @property
    def class_counts(self) -> Tensor:
        """Images per class, shape (classes,), int64."""
        return torch.bincount(self.labels, minlength=len(self.classes))


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
        return EMBEDDED[name](split)
    policy = os.environ.get("ADVLENS_STANDIN", "")
    if policy not in ("", "never", "always"):
        raise ValueError(f"ADVLENS_STANDIN is {policy!r}; allowed: 'never', 'always' or nothing")
    if fallback and policy == "always":
        return _stand_in(name, split, fallback, "ADVLENS_STANDIN=always")
    try:
        return _load_real(name, split)
    except DataUnavailable as missing:
        if fallback is None:
            raise
        if policy == "never":
            raise DataUnavailable(f"ADVLENS_STANDIN=never forbids the stand-in {fallback!r}. {missing}") from missing
        return _stand_in(name, split, fallback, str(missing).split(". ")[0])  # its first sentence says why


def _stand_in(name: str, split: str, fallback: str, why: str) -> Dataset:
    warnings.warn(f"{name} is replaced by the embedded set {fallback!r} ({why}). "
                  "Every number below is about the stand-in.", StandInWarning, stacklevel=3)
    return replace(EMBEDDED[fallback](split), stands_for=name)


# --- real data ---------------------------------------------------------------

def cache_folder() -> Path:
    """Where downloads are kept: $ADVLENS_CACHE, or advlens in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ADVLENS_CACHE") or Path(base) / "advlens")


def load_local(name: str, split: str = "train") -> Dataset | None:
    """The real data set from $ADVLENS_DATA or the cache, or None.  Never touches the network.

    Raises DataUnavailable for a file that is there but damaged.
    """
    own = os.environ.get("ADVLENS_DATA")
    if own:
        if not Path(own).is_dir():
            raise DataUnavailable(f"ADVLENS_DATA names {own!r}, which is not a folder. {_ways_out(name)}")
        found = _read(name, split, Path(own))
        if found:
            return found
    return _read(name, split, cache_folder() / name)


def _load_real(name: str, split: str) -> Dataset:
    cached = cache_folder() / name
    try:
        found = load_local(name, split)
    except DataUnavailable as damaged:
        if not cached.exists() or str(cached) not in str(damaged):
            raise  # the reader's own folder: not ours to repair
        warnings.warn(f"{damaged} Fetching it again.", stacklevel=3)
        found = None
    if found:
        return found
    _download(name, cached)
    return _read(name, split, cached)


def _ways_out(name: str) -> str:
    return (f"Three ways out: (1) connect to the network and call load({name!r}) again; (2) put {name}.npz (x_train, y_train, "
            "x_test, y_test) or torchvision's files into a folder and set ADVLENS_DATA to it; "
            f"(3) use embedded data: load({name!r}, fallback={'digits' if name == 'mnist' else 'shapes'!r}).")


def _read(name: str, split: str, folder: Path) -> Dataset | None:
    """The split from `folder`, or None when nothing of that name lies there."""
    if (folder / f"{name}.npz").exists():
        images, labels, source = _read_npz(folder / f"{name}.npz", split)
    elif name == "mnist" and (folder / "MNIST" / "raw").is_dir():
        images, labels, source = _read_mnist(folder, split)
    elif name == "cifar10" and (folder / "cifar-10-batches-py").is_dir():
        images, labels, source = _read_cifar10(folder, split)
    else:
        return None
    _validate(folder, images, labels, IMAGE_SHAPE.get(name, (32, 32, 3)))
    return _dataset(name, split, images, labels, source)


def _dataset(name, split, images: np.ndarray, labels, source) -> Dataset:
    """uint8 images (N, H, W) or (N, H, W, C) -> Dataset."""
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    pixels = pixels.contiguous().float().div_(255)  # (N, C, H, W)
    return Dataset(name, split, pixels, torch.from_numpy(np.asarray(labels, dtype=np.int64)), CLASSES[name], source)


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


def _read_mnist(folder: Path, split: str):
    for name, expected in MNIST_SHA256.items():
        path = folder / "MNIST" / "raw" / name
        actual = _sha256(str(path), path.stat().st_mtime_ns) if path.exists() else "missing"
        if actual != expected:
            raise DataUnavailable(f"{path} is not MNIST's file (sha256 {actual[:12]}, expected {expected[:12]}): delete it.")
    # Read here: torchvision would prefer an unchecked MNIST/processed folder to these files.
    raw, prefix = folder / "MNIST" / "raw", "train" if split == "train" else "t10k"
    images = np.fromfile(raw / f"{prefix}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.fromfile(raw / f"{prefix}-labels-idx1-ubyte", np.uint8, offset=8)
    return images, labels, "MNIST, original files"


@lru_cache
def _sha256(path: str, changed_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(file.read()).hexdigest()


def _read_cifar10(folder: Path, split: str):
    try:  # torchvision verifies the MD5 of every file before it opens one
        stored = _torchvision_datasets().CIFAR10(folder, train=split == "train", download=False)
    except RuntimeError as broken:
        raise DataUnavailable(f"{folder / 'cifar-10-batches-py'} is damaged or incomplete: delete it.") from broken
    return stored.data, np.asarray(stored.targets), "CIFAR-10, original files"


def _download(name: str, target: Path) -> None:
    """Fetch into a temporary folder beside `target`, check, then move it into place."""
    if name not in ("mnist", "cifar10"):
        raise DataUnavailable(f"{name} cannot be downloaded. {_ways_out(name)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{name}.part-", dir=target.parent))
    except OSError as full:
        raise DataUnavailable(f"The cache folder {target.parent} cannot be written ({full}): "
                              f"set ADVLENS_CACHE to another one. {_ways_out(name)}") from full
    try:
        fetch = getattr(_torchvision_datasets(), {"mnist": "MNIST", "cifar10": "CIFAR10"}[name])
        fetch(part, download=True)
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


def _torchvision_datasets():
    """torchvision.datasets; its CUDA wheel needs two operators declared beside a CPU build of torch."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", schema)
        import torchvision
    from torchvision import datasets

    return datasets


# --- embedded data -----------------------------------------------------------

@lru_cache
def _digits(split: str) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8x8, enlarged into a 20x20 box of a 28x28 image as MNIST is."""
    from sklearn.datasets import load_digits

    small = load_digits()
    pixels = torch.from_numpy(small.images).float().div_(16).unsqueeze(1)  # (1797, 1, 8, 8)
    big = torch.nn.functional.interpolate(pixels, size=20, mode="bicubic", align_corners=False).clamp_(0, 1)
    images = torch.nn.functional.pad(big, (4, 4, 4, 4)).mul_(255).round_().div_(255)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    rows = order[:1437] if split == "train" else order[1437:]
    return Dataset("digits", split, images[rows], torch.from_numpy(small.target).long()[rows], DIGITS,
                   "digits: 1,797 scanned 8x8 digits (UCI), enlarged")


@lru_cache
def _shapes(split: str) -> Dataset:
    """Ten kinds of coloured shapes on coloured noise, 32x32 RGB, drawn from a seed."""
    count, seed = (2000, 1) if split == "train" else (500, 2)
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(SHAPES)
    images = np.stack([_draw_shape(SHAPES[label], random) for label in labels])
    return _dataset("shapes", split, images, labels, "shapes: drawn by advlens from a seed")


def _draw_shape(kind: str, random: np.random.Generator) -> np.ndarray:
    """One uint8 image (32, 32, 3): drawn four times larger, then reduced, so that edges are smooth."""
    from PIL import Image, ImageDraw

    scale = 4
    background, ink = random.integers(0, 256, (2, 3))
    while np.abs(background - ink).sum() < 150:  # keep some contrast
        background, ink = random.integers(0, 256, (2, 3))
    radius = scale * random.uniform(6, 11)
    centre = scale * random.uniform(13, 19, 2)
    turn = random.uniform(-0.3, 0.3)
    image = Image.new("RGB", (32 * scale, 32 * scale), tuple(map(int, background)))
    draw = ImageDraw.Draw(image)
    colour, paper = tuple(map(int, ink)), tuple(map(int, background))

    def polygon(points, fill=colour):  # points in units of the radius
        c, s = np.cos(turn), np.sin(turn)
        draw.polygon([(centre[0] + radius * (c * x - s * y), centre[1] + radius * (s * x + c * y)) for x, y in points], fill=fill)

    def disc(r, fill=colour, dx=0.0):
        x, y = centre[0] + radius * dx, centre[1]
        draw.ellipse([x - radius * r, y - radius * r, x + radius * r, y + radius * r], fill=fill)

    def box(x0, y0, x1, y1, fill=colour):
        polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    if kind == "circle":
        disc(1)
    elif kind == "square":
        box(-0.85, -0.85, 0.85, 0.85)
    elif kind == "triangle":
        polygon([(0, -1), (0.95, 0.8), (-0.95, 0.8)])
    elif kind == "ring":
        disc(1)
        disc(0.55, paper)
    elif kind == "cross":
        box(-0.3, -1, 0.3, 1)
        box(-1, -0.3, 1, 0.3)
    elif kind == "star":
        angles = np.arange(10) * np.pi / 5 - np.pi / 2
        polygon([((1.1 if i % 2 == 0 else 0.45) * np.cos(a), (1.1 if i % 2 == 0 else 0.45) * np.sin(a)) for i, a in enumerate(angles)])
    elif kind == "half moon":
        disc(1)
        disc(0.85, paper, dx=0.5)
    elif kind == "bar":
        box(-1.1, -0.3, 1.1, 0.3)
    elif kind == "diamond":
        polygon([(0, -1.1), (0.6, 0), (0, 1.1), (-0.6, 0)])
    else:  # grid
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                box(0.7 * i - 0.22, 0.7 * j - 0.22, 0.7 * i + 0.22, 0.7 * j + 0.22)
    small = np.asarray(image.resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    return (small + random.normal(0, 12, small.shape)).clip(0, 255).round().astype(np.uint8)


EMBEDDED = {"digits": _digits, "shapes": _shapes}
