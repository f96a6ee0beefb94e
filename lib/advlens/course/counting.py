"""Counting without counting: images of shapes, nets that count them, and what their second derivatives find.

>>> scenes = draw(3, side=48, most=2, generator=torch.Generator().manual_seed(0))
>>> scenes.images.shape, scenes.counts.shape  # columns: squares, triangles
(torch.Size([3, 1, 48, 48]), torch.Size([3, 2]))
>>> CountingNet("softplus", side=48)(scenes.images).shape
torch.Size([3, 2])
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from advlens import saliency
from advlens.inputs import check_at_least_one, check_images, check_known, forward, frozen
from advlens.layers import BatchRenorm, Normalize
from advlens.training import one_cycle

KINDS = ("square", "triangle")
SIZES = ("equal", "varied", "per image")
PIXELS = ([0.07], [0.26])  # mean and standard deviation of the default images


class Scenes(NamedTuple):
    """Images (N, 1, side, side), counts (N, 2) int64 of squares and triangles, and the truth about each image.

    corners: for each image a list of polygons, each a list of (x, y) pixels.  kinds: for
    each image (k,), indices into KINDS.  boxes: for each image (k, 4), left, top, right,
    bottom in pixels; right and bottom are the first ones outside.
    """

    images: Tensor
    counts: Tensor
    corners: list[list[list[tuple[int, int]]]]
    kinds: list[Tensor]
    boxes: list[Tensor]


# --- images ------------------------------------------------------------------------

def draw(n: int, *, side: int = 64, most: int = 4, sizes: str = "equal", smallest: int = 6, largest: int = 14,
         generator: torch.Generator | None = None) -> Scenes:
    """n images with 0 to `most` squares and as many triangles, white on black, at random places without overlap.

    sizes, in pixels: "equal" gives every shape the middle of smallest and largest; "varied"
    draws one for each shape; "per image" draws one for each image, whatever it holds: only
    then do neither area nor corners tell the count.  Pillow draws; Shapely sees to it that
    at least one black pixel separates any two shapes.
    Raises ValueError for sizes that do not fit, and when the shapes cannot be placed.
    Source: cutilli2021, part 1.
    """
    check_at_least_one(n=n, most=most)
    check_known("sizes", sizes, SIZES)
    if not 3 <= smallest <= largest <= side:
        raise ValueError(f"smallest = {smallest}, largest = {largest}, side = {side}; "
                         "give 3 <= smallest <= largest <= side")
    counts = torch.randint(0, most + 1, (n, len(KINDS)), generator=generator)
    kinds = [torch.repeat_interleave(count) for count in counts]  # 0 for each square, then 1 for each triangle
    corners = [_place(k.tolist(), _sizes(len(k), sizes, smallest, largest, generator), side, generator) for k in kinds]
    images = torch.stack([_paint(polygons, side) for polygons in corners])
    return Scenes(images, counts, corners, kinds, [_boxes(polygons) for polygons in corners])


def _sizes(count: int, sizes: str, smallest: int, largest: int, generator) -> list[int]:
    if sizes == "equal":
        return [(smallest + largest) // 2] * count
    drawn = torch.randint(smallest, largest + 1, (count if sizes == "varied" else 1,), generator=generator)
    return drawn.expand(count).tolist()


ATTEMPTS, TRIES = 50, 100  # images begun anew, and places tried for each shape


def _place(kinds: list[int], sizes: list[int], side: int, generator) -> list[list[tuple[int, int]]]:
    """Corners of shapes that do not touch.

    When a shape finds no place, the whole image is begun anew with the SAME sizes: to draw
    others would make shapes small where there are many.
    """
    from shapely.geometry import Polygon

    for _ in range(ATTEMPTS):
        placed: list[Polygon] = []
        for kind, size in zip(kinds, sizes):
            for left, top in torch.randint(0, side - size + 1, (TRIES, 2), generator=generator).tolist():
                shape = Polygon(_corners(kind, left, top, size))
                if all(shape.distance(other) >= 2 for other in placed):  # of pixel centres: one pixel stays black
                    placed.append(shape)
                    break
            else:
                break
        if len(placed) == len(kinds):
            return [[(int(x), int(y)) for x, y in shape.exterior.coords[:-1]] for shape in placed]
    raise ValueError(f"{len(kinds)} shapes of {min(sizes)} to {max(sizes)} pixels found no place "
                     f"in {ATTEMPTS} images of {side} x {side}; give fewer, smaller ones or a larger side")


def _corners(kind: int, left: int, top: int, size: int) -> list[tuple[int, int]]:
    right, bottom = left + size - 1, top + size - 1  # the last pixels inside
    if KINDS[kind] == "square":
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    return [(left, bottom), (right, bottom), ((left + right) // 2, top)]


def _paint(polygons: list[list[tuple[int, int]]], side: int) -> Tensor:
    """(1, side, side) float32, 0 or 1."""
    import numpy as np
    from PIL import Image, ImageDraw

    picture = Image.new("L", (side, side))
    for corners in polygons:
        ImageDraw.Draw(picture).polygon(corners, fill=255)
    return torch.from_numpy(np.array(picture)).float()[None] / 255


def _boxes(polygons: list[list[tuple[int, int]]]) -> Tensor:
    """The boxes (k, 4) around k sets of points (x, y)."""
    boxes = [(min(xs), min(ys), max(xs) + 1, max(ys) + 1) for xs, ys in (zip(*points) for points in polygons)]
    return torch.tensor(boxes, dtype=torch.int64).view(-1, 4)


# --- nets that count ---------------------------------------------------------------

ACTIVATIONS = {
    "relu": lambda width: [nn.ReLU()],
    "softplus": lambda width: [nn.Softplus()],
    # The running statistics have to follow a training of some hundred steps.
    "sigmoid": lambda width: [BatchRenorm(width, momentum=0.1), nn.Sigmoid()],
}


def CountingNet(activation: str = "relu", *, side: int = 64, width: int = 8) -> nn.Sequential:
    """Three convolutions, two dense layers and a ReLU: (N, 1, side, side) -> counts (N, 2) of squares and triangles.

    activation: "relu", "softplus" or "sigmoid" (with batch renormalisation).  The last two
    have the second derivatives that `detect` needs.  Raises ValueError for another
    activation, or a side that 8 does not divide.  Source: cutilli2021, part 1.
    """
    check_known("activation", activation, ACTIVATIONS)
    if side < 8 or side % 8 or width < 1:
        raise ValueError(f"side = {side}, width = {width}; give a multiple of 8, and a width of at least 1")
    act = ACTIVATIONS[activation]
    net = nn.Sequential(
        Normalize(*PIXELS),
        nn.Conv2d(1, width, 5, padding=2), *act(width), nn.AvgPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), *act(2 * width), nn.AvgPool2d(2),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1), *act(2 * width), nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (side // 8) ** 2, 64), *act(64),
        nn.Linear(64, len(KINDS)), nn.ReLU(),
    )
    nn.init.ones_(net[-2].bias)  # a ReLU that is 0 on every image would never learn
    return net


def fit(net: nn.Module, scenes: Scenes, *, epochs: int, learning_rate: float = 4e-3, batch_size: int = 32,
        seed: int = 0, progress: bool = True) -> list[float]:
    """Train a counting net in place by Adam on the squared error of its counts; returns the mean error of each epoch.

    The learning rate rises and falls (`training.one_cycle`), so that running statistics settle.
    Raises FloatingPointError when the error is not finite.  Source: cutilli2021, part 1.
    """
    check_at_least_one(epochs=epochs, batch_size=batch_size)
    descent, rate = torch.optim.Adam(net.parameters(), lr=learning_rate), one_cycle(learning_rate, epochs)
    generator, device = torch.Generator().manual_seed(seed), next(net.parameters()).device
    net.train()
    history = []
    for epoch in (bar := tqdm(range(epochs), desc="training", unit="epoch", disable=not progress)):
        total = 0.0
        batches = torch.randperm(len(scenes.images), generator=generator).split(batch_size)
        for step, rows in enumerate(batches):
            descent.param_groups[0]["lr"] = rate(epoch + step / len(batches))
            x, counts = scenes.images[rows].to(device), scenes.counts[rows].to(device)
            error = F.mse_loss(net(x), counts.to(x.dtype))
            if not torch.isfinite(error):
                raise FloatingPointError(f"the training error became {error.item()}: lower the learning rate")
            descent.zero_grad()
            error.backward()
            descent.step()
            total += error.item() * len(rows)
        history.append(total / len(scenes.images))
        bar.set_postfix(error=f"{history[-1]:.3f}")
    net.eval()
    return history


# --- detection by second derivatives -----------------------------------------------

def detect(net: nn.Module, x: Tensor, *, threshold: float | str = "auto") -> list[Tensor]:
    """Where a counting net has counted: boxes (k, 4) for each image, left, top, right, bottom.

    As often as the net's own (rounded) count says: take the most salient pixel; the pixels
    that change its saliency, by second derivatives, are one object; box it and paint it
    black.  An object that is black already changes nothing, so there the search ends, with
    fewer boxes than the net counts.  threshold: an object is what has at least this share of
    the largest second derivative, in (0, 1]; or "auto", the upper of two clusters (k-means).
    Raises ValueError for a net without second derivatives (ReLU: use SoftPlus or sigmoids)
    and for another threshold; TypeError or ValueError for images outside the contract.
    Source: cutilli2021, part 1 ("network whisperer").
    """
    check_images(x)
    if threshold != "auto" and (isinstance(threshold, str) or not 0 < threshold <= 1):
        raise ValueError(f"threshold = {threshold!r}; give a share in (0, 1], or 'auto'")
    with frozen(net), torch.no_grad():
        left = forward(net, x).flatten(1).sum(1).round()  # (N,): objects still to be found
    if not torch.isfinite(left).all():
        raise ValueError("the net returns counts that are not finite")
    x, objects = x.clone(), [[] for _ in x]
    while len(rows := (left >= 1).nonzero().squeeze(1)):
        seen = saliency.magnitude(saliency.gradient(net, x[rows]))  # (R, H, W)
        alive = seen.flatten(1).amax(1) > 0  # a last ReLU at 0 says that nothing is left
        left[rows[~alive]] = 0
        rows, seen = rows[alive], seen[alive]
        if len(rows) == 0:
            break
        pixels = torch.stack(torch.unravel_index(seen.flatten(1).argmax(1), seen.shape[1:]), 1)  # (R, 2)
        effects = saliency.magnitude(saliency.pixel_interactions(net, x[rows], pixels))  # (R, H, W)
        for image, effect in zip(rows.tolist(), effects):
            found = effect >= (_between(effect) if threshold == "auto" else threshold * effect.max())
            if not x[image, :, found].any():
                left[image] = 0
                continue
            objects[image].append(found.nonzero().flip(1).tolist())  # (x, y)
            x[image, :, found] = 0
            left[image] -= 1
    return [_boxes(found) for found in objects]


def _between(values: Tensor) -> float:
    """The middle between the centres of two clusters; the largest value where all are equal."""
    from sklearn.cluster import KMeans

    if values.min() == values.max():
        return values.max().item()
    flat = values.detach().double().cpu().flatten()
    ends = [[flat.min().item()], [flat.max().item()]]
    return KMeans(2, init=ends, n_init=1).fit(flat[:, None].numpy()).cluster_centers_.mean().item()


def precision_recall(found: list[Tensor], truth: list[Tensor], *, overlap: float = 0.5) -> tuple[float, float]:
    """Share of found boxes that are right, and share of true boxes that were found, over all images.

    A found box is right when intersection / union with a true one is at least `overlap`;
    each true box counts for one found box, the best pairs first.  Without any box to
    judge a share is 1.  Raises ValueError for lists of different length or another overlap.
    """
    if len(found) != len(truth):
        raise ValueError(f"found has {len(found)} images, truth {len(truth)}: they must agree")
    if not 0 < overlap <= 1:
        raise ValueError(f"overlap = {overlap}; give a share in (0, 1]")
    hits = 0
    for ours, true in zip(found, truth):
        shares = _overlaps(ours, true)
        while shares.numel() and shares.max() >= overlap:
            row, column = divmod(shares.argmax().item(), shares.shape[1])
            shares[row], shares[:, column] = 0, 0
            hits += 1
    return _share(hits, found), _share(hits, truth)


def _share(hits: int, boxes: list[Tensor]) -> float:
    total = sum(map(len, boxes))
    return hits / total if total else 1.0


def _overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection / union of boxes (A, 4) and (B, 4), (A, B)."""
    corner = torch.maximum(a[:, None, :2], b[:, :2])
    common = (torch.minimum(a[:, None, 2:], b[:, 2:]) - corner).clamp_min(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]  # (A,), (B,)
    return common / (areas[0][:, None] + areas[1] - common)
