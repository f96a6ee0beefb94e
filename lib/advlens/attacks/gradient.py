"""FGM, FGSM, BIM and PGD: one loop over the geometry of a ball.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])
>>> fgsm(net, x, y, eps=0.1).sub(x).abs().max().item() <= 0.1 + 1e-6
True
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.losses import Loss, named
from advlens.inputs import check_eps, check_images, check_labels, check_logits, forward, frozen, image_gradient


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, targeted: bool = False, loss: str | Loss = "ce") -> Tensor:
    """Fast gradient sign method: one step of length eps along sign(gradient).

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    eps: a number or (N,), in pixel units.  Returns images in [0, 1] with
    |result - x| <= eps.  Raises TypeError or ValueError for input outside this contract.
    Source: goodfellow2015, eq. in sec. 3; unam2021, 2.2.1 (p = infinity).
    """
    return _ascend(model, x, y, eps=eps, norm="linf", steps=1, step_size=eps, random_start=False, loss=loss, targeted=targeted)[0]


def fgm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, targeted: bool = False, loss: str | Loss = "ce") -> Tensor:
    """Fast gradient method: one step of Euclidean length eps along gradient / ||gradient||_2.

    As `fgsm`, with ||result - x||_2 <= eps for each image.
    Source: unam2021, 2.2.1 (p = 2).
    """
    return _ascend(model, x, y, eps=eps, norm="l2", steps=1, step_size=eps, random_start=False, loss=loss, targeted=targeted)[0]


def bim(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", steps: int = 10,
        step_size: float | Tensor | None = None, loss: str | Loss = "ce", targeted: bool = False) -> Tensor:
    """Basic iterative method: PGD that starts at x itself.

    step_size: by default eps / steps, as far as the ball's edge.  Source: kurakin2017.
    """
    check_images(x)
    if step_size is None and steps > 0:
        step_size = check_eps(eps, x) / steps
    return pgd(model, x, y, eps=eps, norm=norm, steps=steps, step_size=step_size, random_start=False, loss=loss, targeted=targeted)


def pgd(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", steps: int = 40,
        step_size: float | Tensor | None = None, restarts: int = 1, random_start: bool = True, loss: str | Loss = "ce",
        targeted: bool = False, first_success: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Projected gradient descent: steps of steepest ascent, each followed by a projection into the ball.

    norm: "linf" or "l2".  step_size: by default 2.5 eps / steps, so that the walk can
    reach the edge and turn.  restarts: independent random starts; a later one attacks
    only the images that still stand.  first_success: stop walking with an image once it
    is fooled, which is cheaper when only success matters.  generator: makes the random
    starts repeatable.

    Returns, for each image, the strongest point met: one that succeeds before one that
    does not, then the one with the larger loss.  Cost: steps x (forward + backward) for
    each restart, and one forward pass that judges the last point.
    Raises TypeError or ValueError for input outside the contract.  Source: madry2018.
    """
    if restarts < 1 or (restarts > 1 and not random_start):
        raise ValueError(f"restarts = {restarts} with random_start = {random_start}: give at least 1, and more only with a random start")
    walk = partial(_ascend, model, norm=norm, steps=steps, random_start=random_start, loss=loss,
                   targeted=targeted, first_success=first_success, generator=generator)
    result, success, strongest = walk(x, y, eps=eps, step_size=step_size)
    for _ in range(restarts - 1):
        rows = (~success).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        some = lambda value: value[rows] if isinstance(value, Tensor) and value.ndim else value
        again, fooled, value = walk(x[rows], y[rows], eps=some(eps), step_size=some(step_size))
        _keep_strongest(result, success, strongest, rows, again, value, fooled)
    return result


def _ascend(model, x, y, *, eps, norm, steps, step_size, random_start, loss, targeted, first_success=False, generator=None):
    """The loop behind every attack of this file.

    Returns for each image the strongest point, whether it is known to succeed (N,), and its loss (N,).
    """
    check_images(x)
    check_labels(y, len(x))
    geometry.check_norm(norm, geometry.BALLS)
    if steps < 1:
        raise ValueError(f"steps = {steps}; give at least 1")
    eps = check_eps(eps, x)
    step_size = 2.5 * eps / steps if step_size is None else check_eps(step_size, x, "step_size")
    loss = named(loss, targeted)
    x = x.detach()
    result, success = x.clone(), torch.zeros_like(y, dtype=torch.bool)
    strongest = torch.full_like(eps, -torch.inf)
    rows = torch.arange(len(x), device=x.device)  # where the images that still walk stand in `result`

    d = geometry.random_point(x, eps, norm, generator) if random_start else torch.zeros_like(x)
    d = (x + d).clamp_(0, 1) - x
    with frozen(model):
        for step in range(steps):
            point = x + d
            value, fooled, gradient = _look(model, point, y, loss, targeted, check=step == 0)
            _keep_strongest(result, success, strongest, rows, point, value, fooled)
            if first_success and fooled.any():
                x, y, d, gradient, eps, step_size, rows = (t[~fooled] for t in (x, y, d, gradient, eps, step_size, rows))
                if len(x) == 0:
                    return result, success, strongest
            d = geometry.project(d + geometry.per_sample(step_size, d) * geometry.steepest(gradient, norm), eps, norm)
            d = (x + d).clamp_(0, 1) - x
        if steps == 1 and not random_start:  # one step has one result: nothing to choose from
            result[rows] = x + d
            return result, success, strongest
        value, fooled, _ = _look(model, x + d, y, loss, targeted, gradient=False)
        _keep_strongest(result, success, strongest, rows, x + d, value, fooled)
    return result, success, strongest


def _look(model, point, y, loss, targeted, gradient=True, check=False):
    """The loss that the attack makes large (N,), success (N,), and the gradient of the loss (N, C, H, W) or None."""
    with torch.set_grad_enabled(gradient):
        logits = forward(model, point.requires_grad_(gradient))  # (N, K)
        if check:
            check_logits(logits, point, y)
        value = -loss(logits, y) if targeted else loss(logits, y)
        if value.shape != y.shape:
            raise ValueError(f"the loss returns shape {tuple(value.shape)} for {len(y)} images; give one number for each, (N,)")
        slope = image_gradient(value, point) if gradient else None
    hit = logits.argmax(1) == y
    return value.detach(), hit if targeted else ~hit, slope


def _keep_strongest(result, success, strongest, rows, point, value, fooled) -> None:
    """Write into `result` each point that beats what stands there: success first, then the larger value."""
    better = (fooled & ~success[rows]) | ((fooled == success[rows]) & (value > strongest[rows]))
    at = rows[better]
    result[at], strongest[at], success[at] = point.detach()[better], value[better], fooled[better]
