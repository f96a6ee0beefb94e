"""One image, every class: which class a net sees depends on the part that is hidden.

>>> masks = stripes(3, 6)
>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))
>>> _ = net[1].weight.data.copy_(3 - 4.0 * masks.flatten(1))  # class k: stripe k is dark, the others are bright
>>> found = mask_image(net, masks, channels=1, generator=torch.Generator().manual_seed(0))
>>> found.image.shape, found.success.tolist()
(torch.Size([1, 1, 6, 6]), [True, True, True])
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlens.attacks.boundary import query
from advlens.attacks.losses import margin
from advlens.geometry import draw
from advlens.inputs import check_amount, check_at_least_one, check_logits, frozen


class MaskImage(NamedTuple):
    """What `mask_image` found for K masks.

    image: (1, C, H, W) in [0, 1].  success: (K,), whether the net sees class k under mask
    k.  margin: (K,), the logit of class k minus the best other.  losses: the mean
    cross-entropy of every point that was looked at.  steps: how many moves led to `image`.
    """

    image: Tensor
    success: Tensor
    margin: Tensor
    losses: list[float]
    steps: int


def mask_image(model: nn.Module, masks: Tensor, *, channels: int = 3, steps: int = 5000, learning_rate: float = 0.1,
               generator: torch.Generator | None = None) -> MaskImage:
    """One image that the model takes for class k when mask k hides a part of it, for each of K masks.

    masks: bool (K, H, W), True where the image is hidden (black); `~masks` is the inverse
    view, of which the net sees only the part.  See `squares` and `stripes`.  The pixels
    start uniformly at random, drawn from `generator`, and descend the mean cross-entropy
    of the K masked images; each step is clamped to [0, 1], as an image has no other
    values.  Stops as soon as all classes hold; else returns the point where most do, and
    among these the one with the lowest loss.  Cost: up to steps + 1 forward and
    backward passes of K images.
    Raises TypeError or ValueError for masks that are no bool (K, H, W), that hide nothing
    or everything, and for more masks than the model has classes.  Source: klientov.
    """
    check_masks(masks)
    check_amount(learning_rate, "learning_rate", above_zero=True)
    check_at_least_one(channels=channels)
    if steps < 0:
        raise ValueError(f"steps = {steps}; give 0, the random image itself, or more")
    seen, classes = ~masks[:, None], torch.arange(len(masks), device=masks.device)  # (K, 1, H, W), (K,)
    single = torch.empty(0, device=masks.device)
    image = draw(torch.rand, 1, channels, *masks.shape[1:], like=single, generator=generator)  # (1, C, H, W)
    best, most, lowest, losses, moves = image, -1, math.inf, [], 0
    loss = lambda logits: F.cross_entropy(logits, classes)

    def checked_loss(logits):
        if logits.ndim == 2 and logits.shape[1] < len(classes):
            raise ValueError(f"{len(classes)} masks, but the model has {logits.shape[1]} classes: "
                             "give at most one mask for each")
        check_logits(logits, seen, classes)
        return loss(logits)

    with frozen(model):
        for step in range(steps + 1):
            logits, slope = query(lambda image: model(image * seen), image, loss if step else checked_loss)
            losses.append(loss(logits).item())
            holding = int((logits.argmax(1) == classes).sum())
            if (holding, -losses[-1]) > (most, -lowest):
                best, most, lowest, moves, at_best = image, holding, losses[-1], step, logits
            if holding == len(masks):
                break
            image = (image - learning_rate * slope).clamp_(0, 1)
    return MaskImage(best, at_best.argmax(1) == classes, -margin(at_best, classes), losses, moves)


def squares(count: int, height: int, width: int | None = None) -> Tensor:
    """Masks bool (count, height, width): the first `count` cells, row by row, of the smallest square grid that does.

    Raises ValueError when a cell would be empty.  Source: klientov.
    """
    width = height if width is None else width
    side = math.ceil(math.sqrt(max(count, 0)))
    if not 1 <= side <= min(height, width):
        raise ValueError(f"count = {count} squares in {height} x {width} pixels: give 1 to {min(height, width) ** 2}")
    row, column = (torch.arange(n) * side // n for n in (height, width))
    return row[:, None] * side + column == torch.arange(count)[:, None, None]


def stripes(count: int, height: int, width: int | None = None) -> Tensor:
    """Masks bool (count, height, width): horizontal stripes, equal to within one row, that together cover the image.

    Raises ValueError when a stripe would be empty.  Source: klientov.
    """
    if not 1 <= count <= height:
        raise ValueError(f"count = {count} stripes in {height} rows: give 1 to {height}")
    row = torch.arange(height) * count // height
    return (row == torch.arange(count)[:, None])[:, :, None].repeat(1, 1, height if width is None else width)


def check_masks(masks: Tensor) -> None:
    """Raise unless masks is bool (K, H, W), and each hides a part of the image, neither nothing nor everything."""
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool:
        given = masks.dtype if isinstance(masks, Tensor) else type(masks).__name__
        raise TypeError(f"masks is {given}; give a bool tensor (K, H, W), True where the image is hidden")
    if masks.ndim != 3 or masks.numel() == 0:
        raise ValueError(f"masks has shape {tuple(masks.shape)}; give (K, H, W), one mask for each class")
    hidden = masks.flatten(1).sum(1)
    for wrong, what in ((hidden == masks[0].numel(), "everything"), (hidden == 0, "nothing")):
        if wrong.any():
            raise ValueError(f"mask {int(wrong.nonzero()[0])} hides {what}; each must hide a part of the image")
