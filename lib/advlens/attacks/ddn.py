"""Decoupled direction and norm: the nearest boundary, found by turning a perturbation and setting its length apart.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> round((net(ddn(net, x, y)) - net(x)).norm().item(), 2)  # the nearest tie lies at 0.4 / sqrt(2)
0.28
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm  # geometry.norm also guards against underflow: gradients need that, d does not

from advlens import geometry
from advlens.attacks.boundary import keep_shorter, linear_distance, query, spread, start, violation
from advlens.attacks.losses import TINY, log_odds
from advlens.geometry import per_sample, steepest
from advlens.inputs import checked, frozen, keep

# The spread of the rescaled logits in the first steps.  It grows as the steps fade: at first the loss
# sees all classes, in the end the nearest one.
SHARPNESS = 10.0
ORDER = {"l2": 2, "linf": torch.inf}


def ddn(model: nn.Module, x: Tensor, y: Tensor, *, steps: int = 100, gamma: float = 0.05,
        targeted: bool = False) -> Tensor:
    """Decoupled direction and norm: small L2 perturbations, our reference for the minimum.

    Each step turns the perturbation along the gradient, then sets its length: 1 - gamma
    times the last one where that one succeeded, 1 + gamma times where it did not.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    Returns the shortest success met; x itself where there was none, and where x succeeds
    already.  Warns (ZeroGradientWarning) where the gradient vanishes.
    Cost: steps x (forward + backward), and one forward pass that judges the last point.
    Raises TypeError or ValueError for input outside the contract.

    Unlike the source, logits are divided by their spread at x, so that their scale changes
    nothing, and the walk follows the log-odds, which have the direction of the
    cross-entropy and do not vanish where the model is sure; the first length is the
    distance to the linearised boundary; turn and gamma fade together, while the logits
    grow, so that the loss turns from all other classes to the nearest one.
    Source: rony2019, algorithm 1.
    """
    return decoupled(model, x, y, norm="l2", steps=steps, gamma=gamma, targeted=targeted)


def decoupled(model: nn.Module, x: Tensor, y: Tensor, *, norm: str, steps: int, gamma: float, targeted: bool) -> Tensor:
    """The shortest success met, (N, C, H, W), in one of the norms of `geometry.BALLS`: what `ddn` and `fmn` share."""
    x = checked(x, y, steps=steps)
    geometry.check_norm(norm, geometry.BALLS)
    if not 0 < gamma < 1:
        raise ValueError(f"gamma = {gamma}; give a number between 0 and 1: "
                         "the share by which the norm shrinks or grows in a step")
    result = x.clone()
    with frozen(model):
        logits, gradient, rows = start(model, x, y, targeted)
        if len(rows):
            length = linear_distance(logits, gradient, y, targeted, p=norm)  # (N,)
            walk = Walk(x, y, length, SHARPNESS / spread(logits).clamp_min(TINY), gradient)
            result[rows] = _walk(model, keep(rows, walk), norm, steps, gamma, targeted)
    return result


class Walk(NamedTuple):
    """What n walks start with."""

    x: Tensor         # (n, C, H, W)
    y: Tensor         # (n,) labels or targets
    length: Tensor    # (n,) of the first perturbation
    sharpen: Tensor   # (n,) the factor of the logits
    gradient: Tensor  # (n, C, H, W) of the margin at x


def _walk(model, walk: Walk, norm: str, steps: int, gamma: float, targeted: bool) -> Tensor:
    """The shortest success of each walk from x, or x."""
    x, y, length, sharpen, gradient = walk
    sharpen, sign = sharpen[:, None], -1 if targeted else 1
    shortest, best, d = torch.full_like(length, torch.inf), x.clone(), torch.zeros_like(x)
    rows = torch.arange(len(x), device=x.device)
    longest = geometry.norm(torch.maximum(x, 1 - x), norm)  # (n,), to the far corner of the box
    length = torch.minimum(length, longest)
    for step in range(steps):
        fade = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
        d += per_sample(fade * length, d) * steepest(gradient, norm)
        point = (x + _set_length(d, length, norm)).clamp_(0, 1)
        d = point - x
        logits, gradient = query(model, point, lambda z: sign * log_odds(sharpen / fade * z, y), step < steps - 1)

        success, size = violation(logits, y, targeted) < 0, vector_norm(d, ORDER[norm], dim=(1, 2, 3))  # (n,), (n,)
        keep_shorter(best, shortest, rows, point, torch.where(success, size, torch.inf))
        length = torch.minimum(length * torch.where(success, 1 - fade * gamma, 1 + fade * gamma), longest)
    return best


def _set_length(d: Tensor, length: Tensor, norm: str) -> Tensor:
    """d, in place, on the sphere of that l2 length (n,), or clamped to that l-infinity ball."""
    if norm == "linf":
        return d.clamp_(-per_sample(length, d), per_sample(length, d))
    return d.mul_(per_sample(length / vector_norm(d, dim=(1, 2, 3)).clamp_min(TINY), d))
