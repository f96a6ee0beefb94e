"""Box-constrained L-BFGS, the first attack on deep nets, for a whole batch at once.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, target = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([3])
>>> net(lbfgs(net, x, target, targeted=True)).argmax(1)
tensor([3])
"""

from typing import Callable

import torch
from torch import Tensor, nn

from advlens.attacks.boundary import between, keep_shorter, query, standing, violation
from advlens.attacks.losses import cross_entropy, others
from advlens.geometry import norm, per_sample, warn_zero_gradient
from advlens.inputs import checked, frozen

# objective(points (n, D), rows (n,)) -> values (n,), gradients (n, D): the functions `rows`, each at its own point.
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

MEMORY = 10  # steps that each image remembers of its own walk
SUFFICIENT = 1e-4  # share of the decrease that the slope promises and a step has to bring (Armijo)
CURVED = 1e-10  # least curvature worth remembering
TRIALS = 20  # step lengths 1, 1/2, 1/4, ... before a walk ends


def lbfgs(model: nn.Module, x: Tensor, y: Tensor, *, searches: int = 12, steps: int = 50,
          targeted: bool = False) -> Tensor:
    """The smallest perturbation r found by minimising c ||r||_2^2 + loss(x + r) over x + r in [0, 1].

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`, the
    setting of the source.  loss: cross-entropy to the target; without one, -log of the
    probability of all classes but y.  The norm is squared, because ||r|| itself has a kink
    at r = 0, where the walk begins.  searches: values of c tried for each image; wanted is
    the largest that still succeeds (the source says smallest, and means this).
    steps: of L-BFGS for each c.

    Returns, for each image, the success of smallest L2 norm met on all walks; x itself
    where there is none, and where x already succeeds.  That a target differs from the true
    class is not checked: the true class is not known here.  The source's loss counts all
    classes: a net that is unsure among many is pushed past the nearest boundary, by up to
    half the distance.  `ddn` measures distances.
    Cost: at most searches x (1 + steps) x (F + B) when each step's first length will do.
    Raises TypeError or ValueError for input outside the contract.  Source: szegedy2014, sec. 4.1.
    """
    x = checked(x, y, searches=searches, steps=steps)
    result = x.clone()
    with frozen(model):
        rows = standing(model, x, y, targeted)
        if len(rows):
            result[rows] = _search(model, x[rows], y[rows], searches, steps, targeted)
    return result


def _search(model, x, y, searches, steps, targeted) -> Tensor:
    """Each image searches its own c: by tens, then between the largest that succeeds and the smallest that fails."""
    result, size = x.clone(), x.new_full((len(x),), torch.inf)  # size: L2 norm of the best success so far
    c, succeeds, fails = torch.ones_like(size), torch.zeros_like(size), torch.full_like(size, torch.inf)

    def objective(points, rows):
        image = points.view(-1, *x.shape[1:])
        loss, slope, hit = _query(model, image, y[rows], targeted)
        r = image - x[rows]
        length = norm(r, "l2")
        keep_shorter(result, size, rows, image, torch.where(hit, length, torch.inf))
        return c[rows] * length**2 + loss, (2 * per_sample(c[rows], r) * r + slope).flatten(1)

    for _ in range(searches):
        # A walk begins at the nearest success so far: a larger c only pulls it closer to x.
        end = minimise(objective, result.flatten(1), steps).view_as(x)
        hit = violation(query(model, end, torch.sum, gradient=False)[0], y, targeted) < 0
        succeeds, fails = torch.where(hit, c, succeeds), torch.where(hit, fails, c)
        c = between(succeeds, fails)
    return result


def _query(model, image, y, targeted) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (n,), its gradient (n, C, H, W), success (n,)."""
    logits, gradient = query(model, image, lambda z: _loss(z, y, targeted))
    hit = violation(logits, y, targeted) < 0
    flat = ~hit & (gradient == 0).flatten(1).all(1)
    warn_zero_gradient(int(flat.sum()), len(image), "their walk ends there")
    return _loss(logits, y, targeted), gradient, hit


def _loss(logits, y, targeted) -> Tensor:
    """-log of the probability (N,) of the target, or of all classes but y."""
    if targeted:
        return cross_entropy(logits, y)
    return logits.logsumexp(1) - others(logits, y).logsumexp(1)


def minimise(objective: Objective, start: Tensor, steps: int, flat: float = 1e-5) -> Tensor:
    """Projected L-BFGS: N functions at once, each over its own point (N, D) in [0, 1]^D.

    Returns the points (N, D) where the walks end: after `steps`, or where a step brings
    less than the share `flat` of the value; the first step, which knows no curvature and
    may land on the far side of the minimum, ends no walk that it lowers.
    Source: bertsekas1982 (active set, projection), nocedal1980 (L-BFGS).
    """
    result = start.clone()
    rows = torch.arange(len(start), device=start.device)  # where those that walk stand in `result`
    point, (value, gradient) = result, objective(result, rows)
    scale = 1 / norm(gradient, "l2").clamp_min(torch.finfo(start.dtype).tiny)  # (n,) the first step has length 1
    memory: list[tuple[Tensor, Tensor, Tensor]] = []  # of each of the last steps: s (n, D), y (n, D), 1 / <s, y> (n,)
    for step in range(steps):
        direction = _direction(point, gradient, memory, scale)
        new, lower, slope = _line_search(objective, rows, point, value, gradient, direction)
        memory, scale = _remember(memory, scale, new - point, slope - gradient)
        walks = value - lower > (flat * value.abs() if step else 0)
        point, value, gradient = new, lower, slope
        result[rows] = point
        if not walks.all():
            rows, point, value, gradient, scale = (t[walks] for t in (rows, point, value, gradient, scale))
            memory = [tuple(t[walks] for t in pair) for pair in memory]
        if len(rows) == 0:
            break
    return result


def _direction(point, gradient, memory, scale) -> Tensor:
    """Downhill (n, D): -H g on the pixels that are free to move, H the inverse Hessian that the last steps tell."""
    at_wall = lambda d: ((point <= 0) & (d < 0)) | ((point >= 1) & (d > 0))
    free = torch.where(at_wall(-gradient), 0, gradient)
    d, shares = free, []
    for s, y, inverse in reversed(memory):
        shares.append(inverse * (s * d).sum(1))
        d = d - shares[-1][:, None] * y
    d = scale[:, None] * d
    for s, y, inverse in memory:
        d = d + (shares.pop() - inverse * (y * d).sum(1))[:, None] * s
    d = torch.where(at_wall(-d) | (free == 0), 0, -d)
    downhill = (d * free).sum(1) < 0
    return torch.where(downhill[:, None], d, -scale[:, None] * free)


def _line_search(objective, rows, point, value, gradient, direction) -> tuple[Tensor, Tensor, Tensor]:
    """Point, value and gradient after the first of the lengths 1, 1/2, 1/4, ... that brings enough, or as before."""
    point, value, gradient, before = point.clone(), value.clone(), gradient.clone(), (point, value, gradient)
    open_, length = torch.arange(len(rows), device=rows.device), 1.0
    for _ in range(TRIALS):
        start, height, slope = (t[open_] for t in before)
        trial = (start + length * direction[open_]).clamp(0, 1)
        lower, uphill = objective(trial, rows[open_])
        promise = (slope * (trial - start)).sum(1)
        enough = (promise < 0) & (lower <= height + SUFFICIENT * promise)
        at = open_[enough]
        point[at], value[at], gradient[at] = trial[enough], lower[enough], uphill[enough]
        open_, length = open_[~enough], length / 2
        if len(open_) == 0:
            break
    return point, value, gradient


def _remember(memory, scale, s, y):
    """The memory with one more step; a step along which the slope did not grow is forgotten (1 / <s, y> = 0)."""
    product, square = (s * y).sum(1), y.pow(2).sum(1)
    curved = product > CURVED * square
    inverse = torch.where(curved, 1 / product, 0)
    return [*memory, (s, y, inverse)][-MEMORY:], torch.where(curved, product / square, scale)
