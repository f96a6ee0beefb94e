"""Adversarial training: each batch is replaced by the worst images that a short attack finds around it.

Objectives for `training.fit`.  The examples are made in evaluation mode, with the
running statistics of batch normalisation and without dropout: that is the net which
will be attacked, an image does not depend on its neighbours, and the half-way points of
the attack leave no trace in the statistics (pang2021 compares both ways).  The step
itself is in training mode again.

>>> from advlens import data
>>> digits = data.load("digits")
>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
>>> history = training.fit(net, digits[:64], epochs=2, progress=False,
...                        objective=fgsm_training(eps=0.1), watch=watch(digits[64:96], eps=0.1))
>>> sorted(history.watched[-1])
['fgsm', 'pgd']
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Callable, Sequence

import torch
from torch import Tensor, nn

from advlens import attacks, geometry, training
from advlens.data import Dataset
from advlens.evaluation import robust_accuracy
from advlens.inputs import check_amount, check_eps, check_images, frozen, image_gradient
from advlens.training import History, Loss, Objective


class CatastrophicOverfittingWarning(UserWarning):
    """The net holds against the single step it is trained on, and against nothing longer."""


def fgsm_training(*, eps: float, step_size: float | None = None) -> Objective:
    """The objective that trains on FGSM with a random start: one step, as cheap as adversarial training gets.

    eps: in pixel units.  step_size: by default 1.25 eps.  Cost: 5 forward passes' worth a
    step, where plain training costs 3.  It can break down: `watch` it.
    Raises TypeError or ValueError unless both are finite and >= 0.  Source: wong2020, alg. 3.
    """
    check_amount(eps, "eps")
    return pgd_training(eps=eps, steps=1, step_size=1.25 * eps if step_size is None else step_size)


def pgd_training(*, eps: float, norm: str = "linf", steps: int = 7, step_size: float | None = None) -> Objective:
    """The objective that trains on the last point of a PGD walk with a random start.

    eps: in pixel units.  norm: "linf" or "l2".  step_size: by default 2.5 eps / steps.
    Cost: 2 steps + 3 forward passes' worth a step, where plain training costs 3.
    Raises TypeError or ValueError for eps, norm, steps or step_size out of range.
    Source: madry2018, eq. 2.1.
    """
    uphill = walk(eps=eps, norm=norm, steps=steps, step_size=step_size)

    def objective(model, x, y, loss, generator):
        return training.plain(model, uphill(model, x, y, loss, generator), y, loss, generator)

    return objective


def ensemble_training(sources: Sequence[nn.Module], *, eps: float) -> Objective:
    """The objective that trains on FGSM examples of other nets, which do not change, and of the net itself.

    For each batch one net is drawn among `sources` and the trained one; half of the loss
    is on its examples, half on the clean images.  An example that does not depend on the
    trained net cannot be defended by hiding the gradient.
    Cost: 2 forward passes' worth for the examples, and a step on twice the images.
    Raises TypeError or ValueError for no sources, for eps out of range, and, in training,
    for the trained net among its own sources.  Source: tramer2018, 3.4.
    """
    check_amount(eps, "eps")
    sources = list(sources)
    if not sources or not all(isinstance(s, nn.Module) for s in sources):
        raise ValueError(f"sources holds {[type(s).__name__ for s in sources]}; give at least one net, nn.Module each")

    def objective(model, x, y, loss, generator):
        if any(model is s for s in sources):
            raise ValueError("the net in training is one of its own sources; give nets that do not change")
        source = [model, *sources][torch.randint(len(sources) + 1, (), generator=generator)]
        both = torch.cat([x, attacks.fgsm(source, x, y, eps=eps)])  # (2N, C, H, W)
        value, logits = training.plain(model, both, y.repeat(2), loss, generator)
        return value, logits[len(x):]

    return objective


def walk(*, eps: float, norm: str = "linf", steps: int = 7, step_size: float | None = None) -> Callable[..., Tensor]:
    """`attacks.pgd` for training: (model, images, labels, loss, generator) -> the last point of one walk up the loss.

    The same walk, from a random start, without the forward pass that judges its end: a
    training step needs an example and no verdict.  Arguments and errors as `pgd_training`.
    """
    check_amount(eps, "eps")
    geometry.check_norm(norm, geometry.BALLS)
    if steps < 1:
        raise ValueError(f"steps = {steps}; give at least 1")
    step_size = 2.5 * eps / steps if step_size is None else step_size
    check_amount(step_size, "step_size")

    def uphill(model: nn.Module, x: Tensor, y: Tensor, loss: Loss, generator: torch.Generator | None) -> Tensor:
        check_images(x)
        radius = check_eps(eps, x)  # (N,)
        d = (x + geometry.random_point(x, radius, norm, generator)).clamp(0, 1) - x  # (N, C, H, W)
        with frozen(model):
            for _ in range(steps):
                point = (x + d).requires_grad_()
                total = len(x) * loss(model(point).to(x.dtype), y)  # the mean's gradients would underflow sooner
                gradient = image_gradient(total, point)
                d = geometry.project(d.add_(geometry.steepest(gradient, norm), alpha=step_size), radius, norm)
                d = (x + d).clamp_(0, 1).sub_(x)
        return x + d

    return uphill


# --- catastrophic overfitting ---------------------------------------------------

def watch(held_out: Dataset, *, eps: float, steps: int = 10) -> Callable[[nn.Module, History], dict[str, float]]:
    """For `training.fit(..., watch=...)`: accuracy under FGSM and under PGD on held-out images, after each epoch.

    The numbers stand in history.watched; when PGD's collapses while FGSM's stays, a
    CatastrophicOverfittingWarning says in which epoch.  Both attacks stay inside eps (Linf,
    pixel units).  Raises TypeError or ValueError for eps or steps out of range.
    """
    check_amount(eps, "eps")
    if steps < 2:
        raise ValueError(f"steps = {steps}; give at least 2: one step is what the net may have overfitted to")

    def numbers(model: nn.Module, history: History) -> dict[str, float]:
        device = next(model.parameters()).device
        x, y = held_out.images.to(device), held_out.labels.to(device)
        pgd = partial(attacks.pgd, eps=eps, steps=steps, first_success=True, generator=torch.Generator().manual_seed(0))
        seen = {"fgsm": robust_accuracy(model, x, y, partial(attacks.fgsm, eps=eps)).value,
                "pgd": robust_accuracy(model, x, y, pgd).value}
        if collapse([*history.watched, seen]) == len(history.watched):
            warnings.warn(f"catastrophic overfitting in epoch {len(history.watched) + 1}: accuracy under PGD fell to {seen['pgd']:.1%} "
                          f"while FGSM leaves {seen['fgsm']:.1%}. Take more steps, a smaller step_size or an earlier epoch.",
                          CatastrophicOverfittingWarning, stacklevel=3)
        return seen

    return numbers


def collapse(watched: Sequence[dict[str, float]]) -> int | None:
    """The first entry of history.watched at which overfitting became catastrophic, or None.

    That is: accuracy under PGD below half of its best so far, with accuracy under FGSM
    at least what it was at that best.  Where both fall, training just went wrong; a best
    below 10 % is no robustness that could be lost.
    Source: wong2020, sec. 5, for the phenomenon; the thresholds are ours.
    """
    for epoch, now in enumerate(watched):
        best = max(watched[:epoch + 1], key=lambda entry: entry["pgd"])
        if best["pgd"] >= 0.1 and now["pgd"] < best["pgd"] / 2 and now["fgsm"] >= best["fgsm"]:
            return epoch
    return None
