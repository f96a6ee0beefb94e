"""Where an image stands to the boundary of its class: what the minimum-norm attacks look at.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> logits, slope = look(net, torch.full((2, 1, 2, 2), 0.5), lambda z: z[:, 0])
>>> logits.shape, slope.shape
(torch.Size([2, 3]), torch.Size([2, 1, 2, 2]))
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn

from advlens.attacks.losses import margin
from advlens.geometry import norm
from advlens.inputs import check_logits, image_gradient

# A success counts when its margin is above this share of the logits' spread.  On the boundary
# itself rounding decides, and another batch size or another device would take it back.
CLEAR = 1e-5
# The least distance that a walk is told to start with, in pixel units: from 0 it would never grow.
SHORTEST = 1e-3


def look(model: nn.Module, point: Tensor, value: Callable[[Tensor], Tensor], gradient: bool = True) -> tuple[Tensor, Tensor | None]:
    """Logits (N, K) at the images, and the gradient (N, C, H, W) of value(logits) (N,) there, or None.

    Raises ValueError when the gradient is not finite.
    """
    with torch.set_grad_enabled(gradient):
        point = point.detach().requires_grad_(gradient)
        logits = model(point)
        slope = image_gradient(value(logits), point) if gradient else None
    if gradient and not torch.stack(slope.aminmax()).isfinite().all():  # the ends tell, in one pass over the numbers
        raise ValueError("the input gradient is not finite: the model overflows on these images")
    return logits.detach(), slope


def gain(logits: Tensor, y: Tensor, targeted: bool) -> Tensor:
    """How far beyond the boundary, (N,): away from y, or into y when targeted.  Positive is success."""
    return -margin(logits, y) if targeted else margin(logits, y)


def missing(logits: Tensor, y: Tensor, targeted: bool, confidence: float = 0.0) -> Tensor:
    """How much gain is missing, (N,), to be beyond the boundary by `confidence` and more than rounding.  Negative is success."""
    return confidence + CLEAR * spread(logits) - gain(logits, y, targeted)


def spread(logits: Tensor) -> Tensor:
    """Largest minus smallest logit, (N,): the scale on which this model speaks."""
    return logits.amax(1) - logits.amin(1)


def reach(logits: Tensor, slope: Tensor, y: Tensor, targeted: bool, confidence: float = 0.0) -> Tensor:
    """Distance to the linearised boundary, (N,), at least SHORTEST; inf where the slope (N, C, H, W) is 0."""
    size = norm(slope, "l2")
    return torch.where(size > 0, missing(logits, y, targeted, confidence) / size, torch.inf).clamp_min(SHORTEST)


def start(model: nn.Module, x: Tensor, y: Tensor, targeted: bool, confidence: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, K) at clean images, the gradient of the gain there (N, C, H, W), and the rows of those that do not succeed yet.

    Raises ValueError when the logits do not fit x and y.
    """
    def checked(logits):
        check_logits(logits, x, y)
        return gain(logits, y, targeted)

    logits, slope = look(model, x, checked)
    already = ((logits.argmax(1) == y) == targeted) & (gain(logits, y, targeted) >= confidence)
    return logits, slope, (~already).nonzero().squeeze(1)
