"""Auto-PGD: projected gradient ascent that sets its own step, from long to short.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> apgd(net, x, y, eps=0.3, steps=5, random_start=False).argmax().item()
1
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.gradient import Answer, Goal, Strongest, Walk, _begin, _from_each_start, _keep_strongest, _query
from advlens.attacks.losses import Loss, named
from advlens.geometry import per_sample
from advlens.inputs import check_eps, checked, frozen, keep

MOMENTUM = 0.75  # share of the new direction in a step; the rest repeats the last step
ENOUGH = 0.75    # a stretch between two checkpoints is good when the loss rose in more than this share of its steps
FIRST, SHORTER, SHORTEST = 0.22, 0.03, 0.06  # lengths of these stretches, as shares of all steps


class Memory(NamedTuple):
    """What a walk remembers, row by row."""

    before: Tensor         # (n, C, H, W) the point one step ago
    loss: Tensor           # (n,) at the last point
    peak: Tensor           # (n, C, H, W) the point with the largest loss, that loss, its gradient
    peak_loss: Tensor      # (n,)
    peak_gradient: Tensor  # (n, C, H, W)
    rises: Tensor          # (n,) in how many steps since the last checkpoint the loss rose
    earlier: Tensor        # (n,) the largest loss at the last checkpoint
    halved: Tensor         # (n,) whether the step was halved there


def apgd(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", steps: int = 100,
         loss: str | Loss = "ce", targeted: bool = False, restarts: int = 1, random_start: bool = True,
         first_success: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Auto-PGD: PGD with momentum, whose step is 2 eps at first and is halved where the walk goes badly.

    That is judged at checkpoints, ever closer together: where the loss rose in at most 75 % of
    the steps since the last one, or where it has no new maximum although the step was not
    halved there, the walk goes on from its best point with half the step.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    eps: a number or (N,), in pixel units.  norm: "linf" or "l2".  loss, restarts, random_start,
    first_success and generator, and which point comes back: as in `pgd`.
    Cost: steps x (forward + backward) for each restart, and one forward pass that judges the last point.
    Raises TypeError or ValueError for input outside the contract.
    Source: croce2020, algorithm 1.
    """
    x = checked(x, y, steps=steps, restarts=restarts)
    geometry.check_norm(norm, geometry.BALLS)
    walk = _begin(x, y, eps, 2 * check_eps(eps, x))
    goal = Goal(named(loss, targeted), targeted)
    with frozen(model):
        return _from_each_start(walk, norm, restarts, random_start, generator, lambda standing, best: _climb(
            model, standing, best, goal, norm, steps, first_success))


def _climb(model: nn.Module, walk: Walk, best: Strongest, goal: Goal, norm: str, steps: int,
           first_success: bool) -> None:
    """One walk of each image, which writes the strongest point of each into `best`."""
    checkpoints, memory = _checkpoints(steps), _nothing_yet(walk)
    for step in range(steps):
        answer = _query(model, walk, goal, check=step == 0)
        _keep_strongest(best, walk, answer)
        if first_success and answer.success.any():
            walk, memory, answer = (keep(~answer.success, state) for state in (walk, memory, answer))
            if len(walk.rows) == 0:
                return
        memory = _remember(memory, walk, answer)
        gradient = answer.gradient
        if step in checkpoints:
            walk, memory, gradient = _judge(memory, walk, gradient, checkpoints[step])
        uphill = per_sample(walk.step_size, gradient) * geometry.steepest(gradient, norm)
        ahead = _inside(walk, walk.point + uphill, norm)
        if step:
            ahead = walk.point + MOMENTUM * (ahead - walk.point) + (1 - MOMENTUM) * (walk.point - memory.before)
        walk, memory = walk._replace(point=_inside(walk, ahead, norm)), memory._replace(before=walk.point)
    _keep_strongest(best, walk, _query(model, walk, goal, gradient=False))


def _nothing_yet(walk: Walk) -> Memory:
    lowest, zero = torch.full_like(walk.eps, -torch.inf), torch.zeros_like(walk.eps)
    return Memory(before=walk.point, loss=-lowest, peak=walk.point, peak_loss=lowest, peak_gradient=walk.point,
                  rises=zero, earlier=lowest, halved=zero.bool())


def _remember(memory: Memory, walk: Walk, answer: Answer) -> Memory:
    """Note the loss at the point: whether it rose, and whether it is a new maximum."""
    higher = answer.loss > memory.peak_loss
    return memory._replace(
        loss=answer.loss, rises=memory.rises + (answer.loss > memory.loss),
        peak=_where(higher, walk.point, memory.peak), peak_loss=torch.where(higher, answer.loss, memory.peak_loss),
        peak_gradient=_where(higher, answer.gradient, memory.peak_gradient))


def _judge(memory: Memory, walk: Walk, gradient: Tensor, length: int) -> tuple[Walk, Memory, Tensor]:
    """A checkpoint, `length` steps after the last: walks that go badly return to their maximum, with half the step."""
    halved = (memory.rises <= ENOUGH * length) | (~memory.halved & (memory.peak_loss <= memory.earlier))
    walk = walk._replace(point=_where(halved, memory.peak, walk.point),
                         step_size=torch.where(halved, walk.step_size / 2, walk.step_size))
    gradient = _where(halved, memory.peak_gradient, gradient)
    memory = memory._replace(halved=halved, earlier=memory.peak_loss, rises=torch.zeros_like(memory.rises))
    return walk, memory, gradient


def _inside(walk: Walk, point: Tensor, norm: str) -> Tensor:
    """The point (n, C, H, W), projected into the ball, then into the box."""
    return (walk.x + geometry.project(point - walk.x, walk.eps, norm)).clamp_(0, 1)


def _checkpoints(steps: int) -> dict[int, int]:
    """The steps at which a walk is judged, ceil(share x steps), each with the number of steps since the last one."""
    share, stretch, last, found = 0.0, FIRST, 0, {}
    while share + stretch <= 1:
        share += stretch
        at = math.ceil(round(share * steps, 6))  # the sum of shares is not exact
        if at > last:  # with few steps two checkpoints fall on one
            found[at], last = at - last, at
        stretch = max(stretch - SHORTER, SHORTEST)
    return found


def _where(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Images a (n, C, H, W) where the mask (n,) says so, else b."""
    return torch.where(per_sample(mask, a), a, b)
