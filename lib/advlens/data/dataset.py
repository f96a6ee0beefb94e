"""What a data set is here: images and labels as tensors, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

DIGITS = tuple(str(i) for i in range(10))
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPES = ("circle", "square", "triangle", "ring", "cross", "star", "half moon", "bar", "diamond", "grid")

CLASSES = {"digits": DIGITS, "shapes": SHAPES, "mnist": DIGITS, "cifar10": CIFAR10, "cifar10_lossless": CIFAR10}


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


def from_bytes(name: str, split: str, images: np.ndarray, labels: np.ndarray, source: str) -> Dataset:
    """A Dataset from uint8 images (N, H, W) or (N, H, W, C)."""
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    pixels = pixels.contiguous().float().div_(255)  # (N, C, H, W)
    return Dataset(name, split, pixels, torch.from_numpy(np.asarray(labels, dtype=np.int64)), CLASSES[name], source)
