"""Data that is always there: scanned digits that come with scikit-learn, and shapes drawn from a seed."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from advlens.data.dataset import DIGITS, SHAPES, Dataset, from_bytes


def load_embedded(name: str, split: str) -> Dataset:
    """One split of "digits" or "shapes".  Made once; every call returns copies, which the caller may change."""
    made = EMBEDDED[name](split)
    return replace(made, images=made.images.clone(), labels=made.labels.clone())


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
    images = np.stack([_draw(SHAPES[label], random) for label in labels])
    return from_bytes("shapes", split, images, labels, "shapes: drawn by advlens from a seed")


EMBEDDED = {"digits": _digits, "shapes": _shapes}


# --- drawing -------------------------------------------------------------------

SCALE = 4  # drawn this much larger, then reduced, so that edges are smooth


def _draw(kind: str, random: np.random.Generator) -> np.ndarray:
    """One image (32, 32, 3), uint8."""
    from PIL import Image

    background, ink = random.integers(0, 256, (2, 3))
    while np.abs(background - ink).sum() < 150:  # keep some contrast
        background, ink = random.integers(0, 256, (2, 3))
    paper = tuple(map(int, background))
    image = Image.new("RGB", (32 * SCALE, 32 * SCALE), paper)
    DRAWINGS[kind](_Pen(image, tuple(map(int, ink)), paper, random))
    small = np.asarray(image.resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    return (small + random.normal(0, 12, small.shape)).clip(0, 255).round().astype(np.uint8)


class _Pen:
    """Draws one shape, in units of its radius, at a random place, of a random size and a little turned."""

    def __init__(self, image, colour: tuple, paper: tuple, random: np.random.Generator):
        from PIL import ImageDraw

        self.draw, self.colour, self.paper = ImageDraw.Draw(image), colour, paper
        self.radius = SCALE * random.uniform(6, 11)
        self.centre = SCALE * random.uniform(13, 19, 2)
        self.turn = random.uniform(-0.3, 0.3)

    def polygon(self, points) -> None:
        c, s = np.cos(self.turn), np.sin(self.turn)
        turned = np.asarray([(c * x - s * y, s * x + c * y) for x, y in points])
        self.draw.polygon([tuple(point) for point in self.centre + self.radius * turned], fill=self.colour)

    def box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])

    def disc(self, r: float = 1.0, *, right: float = 0.0, erase: bool = False) -> None:
        x, y = self.centre[0] + self.radius * right, self.centre[1]
        self.draw.ellipse([x - self.radius * r, y - self.radius * r, x + self.radius * r, y + self.radius * r],
                          fill=self.paper if erase else self.colour)


def _ring(pen: _Pen) -> None:
    pen.disc()
    pen.disc(0.55, erase=True)


def _cross(pen: _Pen) -> None:
    pen.box(-0.3, -1, 0.3, 1)
    pen.box(-1, -0.3, 1, 0.3)


def _star(pen: _Pen) -> None:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    lengths = [1.1 if i % 2 == 0 else 0.45 for i in range(10)]
    pen.polygon([(length * np.cos(a), length * np.sin(a)) for length, a in zip(lengths, angles)])


def _half_moon(pen: _Pen) -> None:
    pen.disc()
    pen.disc(0.85, right=0.5, erase=True)


def _grid(pen: _Pen) -> None:
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            pen.box(0.7 * i - 0.22, 0.7 * j - 0.22, 0.7 * i + 0.22, 0.7 * j + 0.22)


DRAWINGS = {
    "circle": lambda pen: pen.disc(),
    "square": lambda pen: pen.box(-0.85, -0.85, 0.85, 0.85),
    "triangle": lambda pen: pen.polygon([(0, -1), (0.95, 0.8), (-0.95, 0.8)]),
    "ring": _ring,
    "cross": _cross,
    "star": _star,
    "half moon": _half_moon,
    "bar": lambda pen: pen.box(-1.1, -0.3, 1.1, 0.3),
    "diamond": lambda pen: pen.polygon([(0, -1.1), (0.6, 0), (0, 1.1), (-0.6, 0)]),
    "grid": _grid,
}
