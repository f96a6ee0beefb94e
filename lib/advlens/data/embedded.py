"""Data that is always there: scanned digits that come with scikit-learn, and shapes drawn from a seed."""

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


def _box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


# In units of the shape's radius, around its centre.  kind -> polygons, by their corners (x, y):
POLYGONS = {
    "square": [_box(-0.85, -0.85, 0.85, 0.85)],
    "triangle": [[(0, -1), (0.95, 0.8), (-0.95, 0.8)]],
    "cross": [_box(-0.3, -1, 0.3, 1), _box(-1, -0.3, 1, 0.3)],
    "star": [[(r * np.cos(a), r * np.sin(a)) for r, a in zip([1.1, 0.45] * 5, np.arange(10) * np.pi / 5 - np.pi / 2)]],
    "bar": [_box(-1.1, -0.3, 1.1, 0.3)],
    "diamond": [[(0, -1.1), (0.6, 0), (0, 1.1), (-0.6, 0)]],
    "grid": [_box(x - 0.22, y - 0.22, x + 0.22, y + 0.22) for x in (-0.7, 0.0, 0.7) for y in (-0.7, 0.0, 0.7)],
}
# kind -> a disc of ink, and one of paper upon it: (radius, how far to the right)
DISCS = {"circle": [(1.0, 0.0)], "ring": [(1.0, 0.0), (0.55, 0.0)], "half moon": [(1.0, 0.0), (0.85, 0.5)]}


def _draw(kind: str, random: np.random.Generator) -> np.ndarray:
    """One image (32, 32, 3), uint8: at a random place, of a random size, polygons a little turned."""
    from PIL import Image, ImageDraw

    paper, ink = random.integers(0, 256, (2, 3))
    while np.abs(paper - ink).sum() < 150:  # keep some contrast
        paper, ink = random.integers(0, 256, (2, 3))
    paper, ink = tuple(paper.tolist()), tuple(ink.tolist())
    radius, centre, turn = SCALE * random.uniform(6, 11), SCALE * random.uniform(13, 19, 2), random.uniform(-0.3, 0.3)
    c, s = np.cos(turn), np.sin(turn)
    image = Image.new("RGB", (32 * SCALE, 32 * SCALE), paper)
    pen = ImageDraw.Draw(image)
    for corners in POLYGONS.get(kind, ()):
        turned = np.asarray([(c * x - s * y, s * x + c * y) for x, y in corners])
        pen.polygon([tuple(point) for point in centre + radius * turned], fill=ink)
    for (size, right), colour in zip(DISCS.get(kind, ()), (ink, paper)):
        x, y, r = centre[0] + radius * right, centre[1], radius * size
        pen.ellipse([x - r, y - r, x + r, y + r], fill=colour)
    small = np.asarray(image.resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    return (small + random.normal(0, 12, small.shape)).clip(0, 255).round().astype(np.uint8)
