"""FGM, FGSM, BIM and PGD: one loop over the geometry of a ball.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])
>>> fgsm(net, x, y, eps=0.1).sub(x).abs().max().item() <= 0.1 + 1e-6
True
"""

from typing import Callable, NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.boundary import succeeds
from advlens.attacks.losses import Loss, named
from advlens.inputs import check_amount, check_eps, check_logits, checked, forward, frozen, image_gradient, keep


class Goal(NamedTuple):
    """What an attack makes large: the loss against the labels, or minus the loss against the targets."""

    loss: Loss
    targeted: bool


class Walk(NamedTuple):
    """The images that walk, row by row."""

    rows: Tensor       # (n,) where each stands in the batch
    x: Tensor          # (n, C, H, W) clean
    y: Tensor          # (n,) labels or targets
    point: Tensor      # (n, C, H, W) where it is now
    eps: Tensor        # (n,)
    step_size: Tensor  # (n,)
    heading: Tensor    # (n, C, H, W) the last gradient or, with momentum, the sum of all


class Answer(NamedTuple):
    """What the model says at points (n, C, H, W)."""

    loss: Tensor             # (n,) what the attack makes large
    success: Tensor          # (n,)
    gradient: Tensor | None  # (n, C, H, W) of the loss


class Strongest(NamedTuple):
    """The strongest point so far of each image of the batch."""

    image: Tensor    # (N, C, H, W)
    loss: Tensor     # (N,)
    success: Tensor  # (N,)


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, targeted: bool = False,
         loss: str | Loss = "ce") -> Tensor:
    """Fast gradient sign method: one step of length eps along sign(gradient).

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    eps: a number or (N,), in pixel units.  Returns images in [0, 1] with
    |result - x| <= eps.  Raises TypeError or ValueError for input outside this contract.
    Source: goodfellow2015, eq. in sec. 3; unam2021, 2.2.1 (p = infinity).
    """
    return _one_step(model, _begin(x, y, eps, eps), Goal(named(loss, targeted), targeted), "linf")


def fgm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, targeted: bool = False,
        loss: str | Loss = "ce") -> Tensor:
    """Fast gradient method: one step of Euclidean length eps along gradient / ||gradient||_2.

    As `fgsm`, with ||result - x||_2 <= eps for each image.
    Source: unam2021, 2.2.1 (p = 2).
    """
    return _one_step(model, _begin(x, y, eps, eps), Goal(named(loss, targeted), targeted), "l2")


def bim(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", steps: int = 10,
        step_size: float | Tensor | None = None, loss: str | Loss = "ce", targeted: bool = False) -> Tensor:
    """Basic iterative method: PGD that starts at x itself.

    step_size: by default eps / steps, as far as the ball's edge.  Source: kurakin2017.
    """
    x = checked(x, y, steps=steps)
    step_size = check_eps(eps, x) / steps if step_size is None else step_size
    return pgd(model, x, y, eps=eps, norm=norm, steps=steps, step_size=step_size, random_start=False, loss=loss,
               targeted=targeted)


def pgd(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", steps: int = 40,
        step_size: float | Tensor | None = None, restarts: int = 1, random_start: bool = True, loss: str | Loss = "ce",
        targeted: bool = False, first_success: bool = False, momentum: float = 0.0,
        generator: torch.Generator | None = None) -> Tensor:
    """Projected gradient descent: steps of steepest ascent, each followed by a projection into the ball.

    norm: "linf" or "l2".  step_size: by default 2.5 eps / steps, so that the walk can
    reach the edge and turn.  restarts: independent random starts; a later one attacks
    only the images that still stand.  first_success: stop walking with an image once it
    is fooled, which is cheaper when only success matters.  momentum: what counts of the
    sum of the earlier gradients, each divided by its l1 norm; with 1.0, no random start and
    steps of eps / steps this is MI-FGSM, made to fool other nets too (dong2018, algorithm 1).
    generator: makes the random starts repeatable.  Each start is one draw, uniform in the
    ball, that all images of the call share: so an image alone starts where it starts in a batch.

    Returns, for each image, the strongest point met: one that succeeds before one that
    does not, then the one with the larger loss.  Cost: steps x (forward + backward) for
    each restart, and one forward pass that judges the last point.
    Raises TypeError or ValueError for input outside the contract.  Source: madry2018.
    """
    x = checked(x, y, steps=steps, restarts=restarts)
    geometry.check_norm(norm, geometry.BALLS)
    check_amount(momentum, "momentum")
    walk = _begin(x, y, eps, 2.5 * check_eps(eps, x) / steps if step_size is None else step_size)
    goal = Goal(named(loss, targeted), targeted)
    if steps == 1 and not random_start and not first_success:
        return _one_step(model, walk, goal, norm)
    with frozen(model):
        return _from_each_start(walk, norm, restarts, random_start, generator, lambda standing, best: _ascend(
            model, standing, best, goal, norm, steps, first_success, momentum))


def _begin(x: Tensor, y: Tensor, eps: float | Tensor, step_size: float | Tensor) -> Walk:
    """Every image at its clean pixels."""
    x = checked(x, y)
    return Walk(torch.arange(len(x), device=x.device), x, y, x, check_eps(eps, x), check_eps(step_size, x, "step_size"),
                torch.zeros_like(x))


def _from_each_start(walk: Walk, norm: str, restarts: int, random_start: bool, generator: torch.Generator | None,
                     climb: Callable[[Walk, Strongest], None]) -> Tensor:
    """The strongest point of each image, (N, C, H, W), over walks; a later one climbs with what still stands."""
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts = {restarts} with random_start = False: each would be the same walk")
    best = Strongest(walk.x.clone(), torch.full_like(walk.eps, -torch.inf), torch.zeros_like(walk.y, dtype=torch.bool))
    for _ in range(restarts):
        if best.success.all():
            break
        standing = keep(~best.success, walk)
        climb(standing._replace(point=_random_start(standing, norm, generator)) if random_start else standing, best)
    return best.image


def _random_start(walk: Walk, norm: str, generator: torch.Generator | None) -> Tensor:
    """One draw from the unit ball for all images, scaled to the ball of each and clamped to the box, (n, C, H, W)."""
    draw = geometry.random_point(walk.x[:1], walk.eps.new_ones(1), norm, generator)  # (1, C, H, W)
    return (walk.x + geometry.per_sample(walk.eps, draw) * draw).clamp_(0, 1)


def _ascend(model: nn.Module, walk: Walk, best: Strongest, goal: Goal, norm: str, steps: int,
            first_success: bool, momentum: float) -> None:
    """The loop of BIM and PGD: it climbs, and writes the strongest point of each image into `best`."""
    for step in range(steps):
        answer = _query(model, walk, goal, check=step == 0)
        _keep_strongest(best, walk, answer)
        if first_success and answer.success.any():
            walk, answer = keep(~answer.success, walk), keep(~answer.success, answer)
            if len(walk.rows) == 0:
                return
        walk = _turn(walk, answer.gradient, momentum)
        walk = walk._replace(point=_step(walk, walk.heading, norm))
    _keep_strongest(best, walk, _query(model, walk, goal, gradient=False))


def _turn(walk: Walk, gradient: Tensor, momentum: float) -> Walk:
    """The walk with its new heading: the gradient or, with momentum, its share in the sum of all, each of l1 norm 1."""
    if momentum:
        size = geometry.norm(gradient, "l1").clamp_min(torch.finfo(gradient.dtype).tiny)  # 0 stays 0
        gradient = momentum * walk.heading + gradient / geometry.per_sample(size, gradient)
    return walk._replace(heading=gradient)


def _step(walk: Walk, gradient: Tensor, norm: str) -> Tensor:
    """A step of steepest ascent, back into the ball, back into the box, (n, C, H, W)."""
    d = walk.point - walk.x + geometry.per_sample(walk.step_size, gradient) * geometry.steepest(gradient, norm)
    return (walk.x + geometry.project(d, walk.eps, norm)).clamp_(0, 1)


def _one_step(model: nn.Module, walk: Walk, goal: Goal, norm: str) -> Tensor:
    """One step from x, (N, C, H, W): there is nothing to choose from, so nobody judges the result."""
    with frozen(model):
        return _step(walk, _query(model, walk, goal, check=True).gradient, norm)


def _query(model: nn.Module, walk: Walk, goal: Goal, gradient: bool = True, check: bool = False) -> Answer:
    """The model's answer where the walk is now, without the gradient if it is not wanted."""
    with torch.set_grad_enabled(gradient):
        point = walk.point.detach().requires_grad_(gradient)
        logits = forward(model, point)  # (n, K)
        if check:
            check_logits(logits, point, walk.y)
        loss = -goal.loss(logits, walk.y) if goal.targeted else goal.loss(logits, walk.y)
        if loss.shape != walk.y.shape:
            raise ValueError(f"the loss returns shape {tuple(loss.shape)} for {len(walk.y)} images; "
                             "give one number for each, (N,)")
        slope = image_gradient(loss, point) if gradient else None
    return Answer(loss.detach(), succeeds(logits, walk.y, goal.targeted), slope)


def _keep_strongest(best: Strongest, walk: Walk, answer: Answer) -> None:
    """Write into `best` each point that beats what stands there: success first, then the larger loss."""
    loss, success = best.loss[walk.rows], best.success[walk.rows]
    better = (answer.success & ~success) | ((answer.success == success) & (answer.loss > loss))
    rows = walk.rows[better]
    best.image[rows] = walk.point[better]
    best.loss[rows], best.success[rows] = answer.loss[better], answer.success[better]
