"""Where an image stands to the boundary of its class: what the minimum-norm attacks ask.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> logits, gradient = query(net, torch.full((2, 1, 2, 2), 0.5), lambda z: z[:, 0])
>>> logits.shape, gradient.shape
(torch.Size([2, 3]), torch.Size([2, 1, 2, 2]))
"""

from typing import Callable

import torch
from torch import Tensor, nn

from advlens.attacks.losses import margin
from advlens.geometry import check_finite, norm
from advlens.inputs import check_logits, forward, image_gradient

# A success counts when its margin is above this share of the logits' spread.  On the boundary
# itself rounding decides, and another batch size or another device would take it back.
CLEAR = 1e-5
# The least distance that a walk is told to start with, in pixel units: from 0 it would never grow.
SHORTEST = {"l2": 1e-3, "linf": 1e-4}
FACTOR = 10.0  # how far a weight moves while only one side of its bracket is known
DUAL = {"l2": "l2", "linf": "l1"}  # in which norm the gradient says how fast the margin can grow


def query(model, point: Tensor, value: Callable, gradient: bool = True) -> tuple[Tensor, Tensor | None]:
    """Logits (N, K) at the images, and the gradient (N, C, H, W) of value(logits) (N,) there, or None.

    Raises ValueError when the gradient is not finite.
    """
    with torch.set_grad_enabled(gradient):
        point = point.detach().requires_grad_(gradient)
        logits = forward(model, point)
        if not gradient:
            return logits, None
        slope = image_gradient(value(logits), point)
    check_finite(slope)
    return logits.detach(), slope


def signed_margin(logits: Tensor, y: Tensor, targeted: bool) -> Tensor:
    """How far beyond the boundary, (N,): away from y, or into y when targeted.  Positive is success."""
    return -margin(logits, y) if targeted else margin(logits, y)


def succeeds(logits: Tensor, y: Tensor, targeted: bool) -> Tensor:
    """Which images do what the attack is asked for, (N,): leave the class y, or enter it when targeted."""
    return (logits.argmax(1) == y) == targeted


def standing(model: nn.Module, x: Tensor, y: Tensor, targeted: bool) -> Tensor:
    """The rows (n,) of the clean images that do not succeed yet.  Raises when the logits do not fit x and y."""
    with torch.no_grad():
        logits = forward(model, x)
    check_logits(logits, x, y)
    return (~succeeds(logits, y, targeted)).nonzero().squeeze(1)


def violation(logits: Tensor, y: Tensor, targeted: bool, confidence: float = 0.0) -> Tensor:
    """What the margin lacks, (N,), to be above `confidence` by more than rounding.  Negative is success."""
    return confidence + CLEAR * spread(logits) - signed_margin(logits, y, targeted)


def spread(logits: Tensor) -> Tensor:
    """Largest minus smallest logit, (N,): the scale on which this model speaks."""
    return logits.amax(1) - logits.amin(1)


def linear_distance(logits: Tensor, gradient: Tensor, y: Tensor, targeted: bool, confidence: float = 0.0,
                    p: str = "l2") -> Tensor:
    """Distance to the linearised boundary, (N,), at least SHORTEST; inf where the gradient (N, C, H, W) is 0."""
    slope = norm(gradient, DUAL[p])
    distance = torch.where(slope > 0, violation(logits, y, targeted, confidence) / slope, torch.inf)
    return distance.clamp_min(SHORTEST[p])


def keep_shorter(best: Tensor, shortest: Tensor, rows: Tensor, point: Tensor, size: Tensor) -> None:
    """Write points (n, C, H, W) into these rows of `best`, and their sizes (n,) into `shortest`, where that is less."""
    less = size < shortest[rows]
    best[rows[less]], shortest[rows[less]] = point[less], size[less]


def between(low: Tensor, high: Tensor) -> Tensor:
    """The weight to try next, (n,): the geometric middle of the bracket, or beyond the only side that is known."""
    return torch.where(high == torch.inf, low * FACTOR, torch.where(low == 0, high / FACTOR, (low * high).sqrt()))


def start(model, x: Tensor, y: Tensor, targeted: bool, confidence: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, K) at clean images, the gradient of the margin there (N, C, H, W), and which do not succeed yet, (n,).

    Raises ValueError when the logits do not fit x and y.
    """
    def value(logits):
        check_logits(logits, x, y)
        return signed_margin(logits, y, targeted)

    logits, gradient = query(model, x, value)
    already = succeeds(logits, y, targeted) & (signed_margin(logits, y, targeted) >= confidence)
    return logits, gradient, (~already).nonzero().squeeze(1)
