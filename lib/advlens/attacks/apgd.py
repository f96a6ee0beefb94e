"""Auto-PGD: projected gradient ascent that sets its own step, from long to short.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> apgd(net, x, y, eps=0.3, steps=5, random_start=False).squeeze()  # class 1 comes past class 0
tensor([[0.6000, 0.8000],
        [0.1000, 0.3000]])
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.losses import Loss, named
from advlens.geometry import per_sample
from advlens.inputs import check_eps, check_images, check_labels, check_logits, forward, frozen, image_gradient, keep

MOMENTUM = 0.75  # share of the new direction in a step; the rest repeats the last step
ENOUGH = 0.75    # a stretch between two checkpoints is good when the loss rose in more than this share of its steps
FIRST, SHORTER, SHORTEST = 0.22, 0.03, 0.06  # lengths of these stretches, as shares of all steps


class Best(NamedTuple):
    """The strongest point of each image so far: success before loss."""

    images: Tensor   # (N, C, H, W)
    success: Tensor  # (N,)
    value: Tensor    # (N,)


class Walk(NamedTuple):
    """Where the images that still walk stand; each is (n,) or (n, C, H, W)."""

    rows: Tensor      # their places in the whole batch
    x: Tensor
    y: Tensor
    eps: Tensor
    step: Tensor      # length of the next step
    point: Tensor
    before: Tensor    # the point one step ago
    gradient: Tensor  # of the loss at `point`
    value: Tensor     # loss at `point`
    peak: Tensor      # where the loss was largest, with its value and gradient
    peak_value: Tensor
    peak_gradient: Tensor
    rises: Tensor     # since the last checkpoint: in how many steps the loss rose
    earlier: Tensor   # at the last checkpoint: the largest loss, and whether the step was halved there
    halved: Tensor


def apgd(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", steps: int = 100,
         loss: str | Loss = "ce", targeted: bool = False, restarts: int = 1, random_start: bool = True,
         first_success: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Auto-PGD: PGD with momentum, whose step is 2 eps at first and is halved where the walk gains too little.

    At checkpoints, ever closer together, a walk whose loss rose in at most 75 % of the steps
    since the last one, or whose record stands since the last one without a halving there,
    goes on from its best point with half the step.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    eps: a number or (N,), in pixel units; norm: "linf" or "l2".  loss, restarts, random_start,
    first_success, generator and what comes back: as in `pgd`.
    Cost: steps x (forward + backward) for each restart, and one forward pass that judges the last point.
    Raises TypeError or ValueError for input outside the contract.
    Source: croce2020, algorithm 1.
    """
    check_images(x)
    check_labels(y, len(x))
    geometry.check_norm(norm, geometry.BALLS)
    if steps < 1:
        raise ValueError(f"steps = {steps}; give at least 1")
    if restarts < 1 or (restarts > 1 and not random_start):
        raise ValueError(f"restarts = {restarts} with random_start = {random_start}: give at least 1, and more only with a random start")
    x, eps, loss = x.detach(), check_eps(eps, x), named(loss, targeted)
    best = Best(x.clone(), torch.zeros_like(y, dtype=torch.bool), torch.full_like(eps, -torch.inf))
    with frozen(model):
        for _ in range(restarts):
            rows = (~best.success).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            start = geometry.random_point(x[rows], eps[rows], norm, generator) if random_start else torch.zeros_like(x[rows])
            _climb(model, _begin(x[rows], y[rows], eps[rows], rows, start), best, norm, steps, loss, targeted, first_success)
    return best.images


def _climb(model, walk: Walk, best: Best, norm, steps, loss, targeted, first_success) -> None:
    """One walk of each image; `best` is changed in place."""
    checkpoints = _checkpoints(steps)
    for step in range(steps):
        value, fooled, gradient = _look(model, walk.point, walk.y, loss, targeted, check=step == 0)
        _remember(best, walk, value, fooled)
        walk = _record(walk, value, gradient)
        if step in checkpoints:
            walk = _halve(walk, checkpoints[step])
        if first_success and fooled.any():
            walk = keep(~fooled, walk)
            if len(walk.rows) == 0:
                return
        walk = _move(walk, norm, MOMENTUM if step else 1.0)
    value, fooled, _ = _look(model, walk.point, walk.y, loss, targeted, gradient=False)
    _remember(best, walk, value, fooled)


def _begin(x, y, eps, rows, start) -> Walk:
    point, zero, lowest = (x + start).clamp_(0, 1), torch.zeros_like(x), torch.full_like(eps, -torch.inf)
    return Walk(rows=rows, x=x, y=y, eps=eps, step=2 * eps, point=point, before=point, gradient=zero, value=lowest,
                peak=point, peak_value=lowest, peak_gradient=zero,
                rises=torch.zeros_like(eps), earlier=lowest, halved=torch.zeros_like(y, dtype=torch.bool))


def _record(walk: Walk, value, gradient) -> Walk:
    """Note what was seen at the point: a rise, a new peak."""
    higher = value > walk.peak_value
    rises = walk.rises + ((value > walk.value) & walk.value.isfinite())  # the first point rises above nothing
    return walk._replace(value=value, gradient=gradient, rises=rises, peak_value=torch.maximum(value, walk.peak_value),
                         peak=_where(higher, walk.point, walk.peak), peak_gradient=_where(higher, gradient, walk.peak_gradient))


def _halve(walk: Walk, length: int) -> Walk:
    """A checkpoint, `length` steps after the last: where a walk goes badly, back to its peak with half the step."""
    halved = (walk.rises <= ENOUGH * length) | (~walk.halved & (walk.peak_value <= walk.earlier))
    return walk._replace(step=torch.where(halved, walk.step / 2, walk.step), halved=halved,
                         point=_where(halved, walk.peak, walk.point), gradient=_where(halved, walk.peak_gradient, walk.gradient),
                         rises=torch.zeros_like(walk.rises), earlier=walk.peak_value)


def _move(walk: Walk, norm, share) -> Walk:
    """A step along the gradient and a projection, then `share` of it and the rest of the last step, and a projection."""
    ahead = _inside(walk, walk.point + per_sample(walk.step, walk.x) * geometry.steepest(walk.gradient, norm), norm)
    point = _inside(walk, walk.point + share * (ahead - walk.point) + (1 - share) * (walk.point - walk.before), norm)
    return walk._replace(point=point, before=walk.point)


def _inside(walk: Walk, point, norm) -> Tensor:
    """The point (n, C, H, W), projected into the ball and clipped to the box."""
    return (walk.x + geometry.project(point - walk.x, walk.eps, norm)).clamp_(0, 1)


def _checkpoints(steps: int) -> dict[int, int]:
    """After how many steps the walk is judged -> steps since the last time: croce2020's w_j = ceil(p_j steps)."""
    share, stretch, last, found = 0.0, FIRST, 0, {}
    while (share := share + stretch) <= 1:
        at = math.ceil(round(share * steps, 9))  # 0.22 + 0.19 is not quite 0.41
        if at > last:  # few steps: two checkpoints may fall on one
            found[at], last = at - last, at
        stretch = max(stretch - SHORTER, SHORTEST)
    return found


def _look(model, point, y, loss, targeted, gradient=True, check=False):
    """The loss that the attack makes large (n,), success (n,), and the gradient of the loss (n, C, H, W) or None."""
    with torch.set_grad_enabled(gradient):
        point = point.detach().requires_grad_(gradient)
        logits = forward(model, point)  # (n, K)
        if check:
            check_logits(logits, point, y)
        value = -loss(logits, y) if targeted else loss(logits, y)
        if value.shape != y.shape:
            raise ValueError(f"the loss returns shape {tuple(value.shape)} for {len(y)} images; give one number for each, (N,)")
        slope = image_gradient(value, point) if gradient else None
    return value.detach(), (logits.argmax(1) == y) == targeted, slope


def _remember(best: Best, walk: Walk, value, fooled) -> None:
    """Write each point into `best` that beats what stands there: success first, then the larger loss."""
    old = keep(walk.rows, best)
    better = (fooled & ~old.success) | ((fooled == old.success) & (value > old.value))
    at = walk.rows[better]
    best.images[at], best.success[at], best.value[at] = walk.point[better], fooled[better], value[better]


def _where(mask, a, b) -> Tensor:
    """a (n, C, H, W) where the mask (n,) says so, else b."""
    return torch.where(per_sample(mask, a), a, b)
