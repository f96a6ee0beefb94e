"""What an attack achieved, judged on the images it returned.

>>> wilson_interval(90, 100)
(0.8256..., 0.9447...)
"""

from __future__ import annotations

import contextlib
import math
from functools import partial
from typing import Callable, Iterator, NamedTuple, Sequence

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from advlens import geometry
from advlens.attacks.losses import margin
from advlens.inputs import check_eps, check_images, check_labels, check_logits, frozen

Attack = Callable[..., Tensor]


class Rate(NamedTuple):
    """A share of n images with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.1%} (95 %: {self.low:.1%} to {self.high:.1%}, n = {self.n:,})"


class Evaluation(NamedTuple):
    """Per image, each (N,): success, the four norms of the perturbation, and the margin.

    margin: best other logit minus the logit of y; positive where y is not predicted.
    For a target, -margin is how safely it is reached.
    """

    success: Tensor
    l0: Tensor
    l1: Tensor
    l2: Tensor
    linf: Tensor
    margin: Tensor


class Passes:
    """How many images went forward through a model, and for how many a gradient came back."""

    def __init__(self):
        self.forward = self.backward = 0

    def _went_back(self, gradient: Tensor) -> None:
        self.backward += len(gradient)


class Curve(NamedTuple):
    """Accuracy under attack, one entry per eps, ascending, with 95 % Wilson intervals."""

    eps: list[float]
    accuracy: list[float]
    low: list[float]
    high: list[float]
    n: int


def wilson_interval(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval for a share of `hits` among `n` (wilson1927).

    Unlike p +- 1.96 sd it stays inside [0, 1] and is not empty at 0 % and 100 %.
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"hits = {hits} of n = {n}: give 0 <= hits <= n with n > 0")
    p, spread = hits / n, z * z / n
    centre = (p + spread / 2) / (1 + spread)
    half = z * math.sqrt(p * (1 - p) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))  # rounding must not push p out


def rate(hits: Tensor) -> Rate:
    """The share of True in a bool tensor (N,), with its interval."""
    count, n = int(hits.sum()), len(hits)
    low, high = wilson_interval(count, n)
    return Rate(count / n, low, high, n)


def logits(model: nn.Module, x: Tensor, batch_size: int = 500) -> Tensor:
    """The model's logits (N, classes) in evaluation mode, batch by batch, without gradients."""
    with frozen(model), torch.no_grad():
        return torch.cat([model(part) for part in x.split(batch_size)])


def evaluate(model: nn.Module, x: Tensor, adversarial: Tensor, y: Tensor, *, targeted: bool = False) -> Evaluation:
    """Judge adversarial images (N, C, H, W) against the clean ones x and labels y (or targets).

    Everything is computed anew from the images that were returned; nothing is taken
    from the attack.  Raises TypeError or ValueError for input outside the contract.
    """
    check_images(x)
    check_labels(y, len(x))
    _check_result(adversarial, x, "adversarial")
    z = logits(model, adversarial)
    check_logits(z, x, y)
    hit = z.argmax(1) == y
    d = adversarial - x
    return Evaluation(hit if targeted else ~hit, *(geometry.norm(d, p) for p in ("l0", "l1", "l2", "linf")), margin(z, y))


@contextlib.contextmanager
def passes(model: nn.Module) -> Iterator[Passes]:
    """Count the work of whatever runs inside: an attack's cost without a clock.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> with passes(net) as work:
    ...     _ = net(torch.rand(5, 1, 2, 2, requires_grad=True)).sum().backward()
    >>> work.forward, work.backward
    (5, 5)
    """
    work = Passes()

    def entered(module, inputs):
        work.forward += len(inputs[0])
        if inputs[0].requires_grad:
            inputs[0].register_hook(work._went_back)  # runs when the gradient of the images has been computed

    hook = model.register_forward_pre_hook(entered)
    try:
        yield work
    finally:
        hook.remove()


def robust_accuracy(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, *, batch_size: int = 500, progress: bool = False) -> Rate:
    """Share of images that are classified right and stay so under `attack(model, x, y)`.

    Only images that are classified right are attacked.  Raises TypeError or ValueError
    for input outside the contract, also for an attack that leaves [0, 1].
    """
    standing = classified_right(model, x, y)
    _strike(model, x, y, standing, attack, batch_size, progress)
    return rate(standing)


def robust_curve(model: nn.Module, x: Tensor, y: Tensor, attack: Attack, eps: Sequence[float], *,
                 batch_size: int = 500, progress: bool = False) -> Curve:
    """Accuracy under `attack(model, x, y, eps=e)` for each e of the ascending `eps`.

    An example for a small eps is one for every larger eps, so only the images that still
    stand are attacked again, and the curve never rises.  eps = 0 is the clean accuracy.
    Raises ValueError when eps does not ascend, and as `robust_accuracy`.
    """
    eps = [float(e) for e in eps]
    if not eps or not all(a < b for a, b in zip(eps, eps[1:])):
        raise ValueError(f"eps = {eps}: give ascending values, each once")
    standing, rates = classified_right(model, x, y), []
    for e in eps:
        check_eps(e, x)
    for e in tqdm(eps, desc="eps", disable=not progress):
        if e > 0:
            _strike(model, x, y, standing, partial(attack, eps=e), batch_size, progress)
        rates.append(rate(standing))
    return Curve(eps, [r.value for r in rates], [r.low for r in rates], [r.high for r in rates], len(y))


def transfer(source: nn.Module, target: nn.Module, x: Tensor, y: Tensor, attack: Attack, *,
             batch_size: int = 500, progress: bool = False) -> Rate:
    """Share of images that `target` classifies right, and still does after `attack(source, x, y)`.

    The denominator is that of `robust_accuracy(target, x, y, attack)`: all images.  So the
    two compare directly, black box against white box.  Only images that `target`
    classifies right are attacked, whatever `source` makes of them.
    Raises as `robust_accuracy`.  Source: szegedy2014, sec. 4.2; cutilli2021, 3.1.5.
    """
    return robust_accuracy(target, x, y, lambda _, x, y: attack(source, x, y), batch_size=batch_size, progress=progress)


def classified_right(model, x, y) -> Tensor:
    """Which images (N,) are classified right."""
    check_images(x)
    check_labels(y, len(x))
    z = logits(model, x)
    check_logits(z, x, y)
    return z.argmax(1) == y


def _strike(model, x, y, standing: Tensor, attack: Attack, batch_size: int, progress: bool) -> None:
    """Attack the images that stand (N,), batch by batch, and clear the flag of those that fall."""
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}; give at least 1")
    rows = standing.nonzero().squeeze(1)
    batches = [rows[i:i + batch_size] for i in range(0, len(rows), batch_size)]
    for part in tqdm(batches, desc="attack", unit="batch", leave=False, disable=not progress or len(batches) < 2):
        adversarial = attack(model, x[part], y[part])
        _check_result(adversarial, x[part], "the attack's result")
        standing[part] = logits(model, adversarial).argmax(1) == y[part]


def _check_result(adversarial: Tensor, x: Tensor, name: str) -> None:
    """Raise unless `adversarial` is images in [0, 1], one for each of x."""
    check_images(adversarial, name)
    if adversarial.shape != x.shape:
        raise ValueError(f"{name} has shape {tuple(adversarial.shape)} for images {tuple(x.shape)}: they must agree")
