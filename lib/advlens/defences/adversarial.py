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

import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import Sequence

import torch
from torch import Tensor, nn

from advlens import attacks, geometry, training
from advlens.attacks import losses
from advlens.data import Dataset
from advlens.evaluation import robust_accuracy
from advlens.inputs import check_amount, check_at_least_one, check_eps, check_images, forward, frozen, image_gradient
from advlens.training import History, Objective


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


@dataclass(frozen=True, kw_only=True)
class pgd_training:  # lower case, as all objectives: it is used as a function
    """The objective that trains on the last point of a PGD walk with a random start.

    eps: in pixel units.  norm: "linf" or "l2".  step_size: by default 2.5 eps / steps.  loss: what
    the walk makes large, as in `attacks.pgd`; the net itself learns by the loss of `fit`.
    Cost: 2 steps + 3 forward passes' worth a step, where plain training costs 3.
    Raises TypeError or ValueError for eps, norm, steps, step_size or loss out of range.
    Source: madry2018, eq. 2.1.
    """

    eps: float
    norm: str = "linf"
    steps: int = 7
    step_size: float | None = None
    loss: str | losses.Loss = "ce"

    def __post_init__(self):
        check_walk(self.eps, self.norm, self.steps, self.step_size, self.loss)

    def __call__(self, model, x, y, loss, generator):
        worst = walk(model, x, y, eps=self.eps, norm=self.norm, steps=self.steps, step_size=self.step_size,
                     loss=self.loss, generator=generator)
        return training.plain(model, worst, y, loss, generator)


@dataclass(frozen=True)
class ensemble_training:
    """The objective that also trains on examples which fool other nets.

    For each batch one net is drawn among `sources` and the trained one; half of the loss
    is on its examples, half on the clean images.  An example that does not depend on the
    trained net cannot be defended by hiding the gradient.
    Cost: 2 forward passes' worth for the examples, and a step on twice the images.
    Raises TypeError or ValueError for no sources, for eps out of range, and, in training,
    for the trained net among its own sources.  Source: tramer2018, 3.4.
    """

    sources: Sequence[nn.Module]
    eps: float = field(kw_only=True)
    __repr__ = training.settings  # nets by a digest that sees their weights

    def __post_init__(self):
        check_amount(self.eps, "eps")
        if not self.sources or not all(isinstance(s, nn.Module) for s in self.sources):
            raise ValueError(f"sources holds {[type(s).__name__ for s in self.sources]}; "
                             "give at least one net, nn.Module each")

    def __call__(self, model, x, y, loss, generator):
        if any(model is s for s in self.sources):
            raise ValueError("the net in training is one of its own sources; give nets that do not change")
        source = [model, *self.sources][torch.randint(len(self.sources) + 1, (), generator=generator)]
        both = torch.cat([x, attacks.fgsm(source, x, y, eps=self.eps)])  # (2N, C, H, W)
        value, logits = training.plain(model, both, y.repeat(2), loss, generator)
        return value, logits[len(x):]


def walk(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, norm: str = "linf", steps: int = 7,
         step_size: float | None = None, loss: str | losses.Loss = "ce",
         generator: torch.Generator | None = None) -> Tensor:
    """`attacks.pgd` for training: the last point (N, C, H, W) of one walk, uphill from a random start.

    The same walk, without the forward pass that judges its end: a training step needs an example and
    no verdict.  Each image has a random start of its own, where an attack shares one.  "ce" follows
    the log-odds, so the walk has a direction however sure the net is.
    Arguments and errors as `pgd_training`.
    """
    check_images(x)
    check_walk(eps, norm, steps, step_size, loss)
    radius, uphill = check_eps(eps, x), losses.named(loss)  # (N,), (logits, y) -> (N,)
    step_size = 2.5 * eps / steps if step_size is None else step_size
    d = (x + geometry.random_point(x, radius, norm, generator)).clamp(0, 1) - x  # (N, C, H, W)
    with frozen(model):
        for _ in range(steps):
            point = (x + d).requires_grad_()
            gradient = image_gradient(uphill(forward(model, point), y), point)
            d = geometry.project(d.add_(geometry.steepest(gradient, norm), alpha=step_size), radius, norm)
            d = (x + d).clamp_(0, 1).sub_(x)
    return x + d


def check_walk(eps: float, norm: str, steps: int, step_size: float | None, loss: str | losses.Loss) -> None:
    """Raise TypeError or ValueError for a walk that cannot be walked."""
    check_amount(eps, "eps")
    geometry.check_norm(norm, geometry.BALLS)
    check_at_least_one(steps=steps)
    if step_size is not None:
        check_amount(step_size, "step_size")
    losses.named(loss)


# --- catastrophic overfitting ---------------------------------------------------

@dataclass(frozen=True)
class watch:
    """For `training.fit(..., watch=...)`: accuracy under FGSM and under PGD on held-out images, after each epoch.

    The numbers stand in history.watched; when PGD's collapses while FGSM's stays, a
    CatastrophicOverfittingWarning says in which epoch.  Both attacks stay inside eps (Linf,
    pixel units).  Raises TypeError or ValueError for eps or steps out of range.
    """

    held_out: Dataset
    eps: float = field(kw_only=True)
    steps: int = field(default=10, kw_only=True)
    __repr__ = training.settings  # images by a digest

    def __post_init__(self):
        check_amount(self.eps, "eps")
        if self.steps < 2:
            raise ValueError(f"steps = {self.steps}; give at least 2: one step is what the net may have overfitted to")

    def __call__(self, model: nn.Module, history: History) -> dict[str, float]:
        fgsm = partial(attacks.fgsm, eps=self.eps)
        pgd = partial(attacks.pgd, eps=self.eps, steps=self.steps, first_success=True,
                      generator=torch.Generator().manual_seed(0))
        seen = {name: robust_accuracy(model, self.held_out, attack=attack).value
                for name, attack in (("fgsm", fgsm), ("pgd", pgd))}
        if collapse([*history.watched, seen]) == len(history.watched):
            warnings.warn(f"catastrophic overfitting in epoch {len(history.watched) + 1}: accuracy under PGD fell to "
                          f"{seen['pgd']:.1%} while FGSM leaves {seen['fgsm']:.1%}. Take more steps, a smaller "
                          "step_size or an earlier epoch.", CatastrophicOverfittingWarning, stacklevel=3)
        return seen


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
