"""What an attack achieved, judged on the images it returned.

>>> wilson_interval(90, 100)
(0.8256..., 0.9447...)
"""

import contextlib
import math
from functools import partial
from typing import Callable, Iterator, NamedTuple, Sequence

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from advlens import geometry, inputs
from advlens.attacks.losses import margin
from advlens.data import Dataset
from advlens.inputs import Model, check_at_least_one, check_images, check_labels, check_logits, device_of, logits

Attack = Callable[..., Tensor]
NORMAL = 1.959964  # the 97.5 % quantile of the normal distribution, for 95 % intervals


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


class Paired(NamedTuple):
    """Two conditions on the same n images: how many only a holds, how many only b.

    difference: share of a minus share of b, with its 95 % interval.  p: of McNemar's exact test.
    """

    n: int
    only_a: int
    only_b: int
    difference: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        return (f"Of {self.n:,} images only the first holds {self.only_a:,}, only the second {self.only_b:,}: "
                f"a difference of {self.difference:+.1%} (95 %: {self.low:+.1%} to {self.high:+.1%}; "
                f"exact McNemar test: p = {self.p:.2g}).")


class Seeds(NamedTuple):
    """One number measured with several seeds: the mean, its 95 % t interval, and every value."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    def __str__(self) -> str:
        each = ", ".join(f"{value:.4g}" for value in self.values)
        return f"{self.mean:.4g} (95 %: {self.low:.4g} to {self.high:.4g}; {len(self.values)} seeds: {each})"


def wilson_interval(hits: int, n: int, z: float = NORMAL) -> tuple[float, float]:
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


def paired(a: Tensor, b: Tensor) -> Paired:
    """Compare two attacks, or two nets, on the same images: a and b are bool (N,), what holds for each image.

    Images for which both hold, or neither, say nothing about the difference.  The test is exact
    (mcnemar1947: a fair coin for the others), the interval of the difference of the two shares
    is the score interval (tango1998).
    Raises TypeError unless both are bool, ValueError unless both are (N,) with the same N > 0.
    """
    from scipy.stats import binomtest

    for name, given in (("a", a), ("b", b)):
        if not isinstance(given, Tensor) or given.dtype != torch.bool:
            raise TypeError(f"{name} is {given.dtype if isinstance(given, Tensor) else type(given).__name__}; "
                            "give a bool tensor (N,)")
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; give (N,) for the same images, "
                         "at least one")
    b = b.to(a.device)
    only_a, only_b, n = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    low, high = -_upper(only_b, only_a, n), _upper(only_a, only_b, n)
    return Paired(n, only_a, only_b, (only_a - only_b) / n, low, high, p)


def _upper(only_a: int, only_b: int, n: int) -> float:
    """The largest difference (only_a - only_b) / n that the score test of tango1998 does not refuse at 5 %."""
    inside, outside = (only_a - only_b) / n, 1.0
    for _ in range(60):  # bisection: the score falls as the supposed difference d grows
        d = (inside + outside) / 2
        # Most likely share of images that only b holds when the difference is d: the larger root of 2n q^2 + B q + C.
        B, C = (2 * n - only_a + only_b) * d - only_a - only_b, -only_b * d * (1 - d)
        q = (math.sqrt(max(0.0, B * B - 8 * n * C)) - B) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        refused = only_a - only_b - n * d < -NORMAL * math.sqrt(max(0.0, variance))
        inside, outside = (inside, d) if refused else (d, outside)
    return outside


def over_seeds(values: Sequence[float]) -> Seeds:
    """Mean and 95 % t interval of one number, measured once for each seed.  Raises ValueError for fewer than two, or
    NaN.
    """
    from scipy.stats import t

    values = tuple(float(value) for value in values)
    n = len(values)
    if n < 2 or not all(map(math.isfinite, values)):
        raise ValueError(f"values = {list(values)}; give finite numbers, at least two: one seed has no spread")
    mean = math.fsum(values) / n
    half = t.ppf(0.975, n - 1).item() * math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    return Seeds(mean, mean - half, mean + half, values)


def images_and_labels(x: Tensor | Dataset, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) and labels (N,), checked: from x and y, or from a Dataset in the place of both."""
    if isinstance(x, Dataset):
        if y is not None:
            raise TypeError("x is a Dataset, which has its labels: leave y out, and give what follows by name "
                            "(attack=..., eps=...)")
        x, y = x.images, x.labels
    check_images(x)
    check_labels(y, len(x))
    return x, y


def accuracy(model: Model, x: Tensor | Dataset, y: Tensor | None = None, *, batch_size: int = 500) -> Rate:
    """Share of images that the model classifies right, in evaluation mode; a Dataset may stand for x and y."""
    return rate(classified_right(model, x, y, batch_size))


def evaluate(model: Model, x: Tensor | Dataset, adversarial: Tensor, y: Tensor | None = None, *,
             targeted: bool = False) -> Evaluation:
    """Judge adversarial images (N, C, H, W) against the clean ones x and labels y (or targets).

    Everything is computed anew from the images that were returned; nothing is taken
    from the attack.  A Dataset may stand for x and y.  Raises TypeError or ValueError
    for input outside the contract.
    """
    x, y = images_and_labels(x, y)
    _check_result(adversarial, x, "adversarial")
    adversarial = adversarial.to(x.device)
    z = logits(model, adversarial)
    check_logits(z, x, y)
    hit = z.argmax(1) == y
    d = adversarial - x
    return Evaluation(hit if targeted else ~hit, *(geometry.norm(d, p) for p in ("l0", "l1", "l2", "linf")),
                      margin(z, y))


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


def robust_accuracy(model: Model, x: Tensor | Dataset, y: Tensor | None = None, attack: Attack | None = None, *,
                    batch_size: int = 500, progress: bool = False) -> Rate:
    """Share of images that are classified right and stay so under `attack(model, x, y)`.

    A Dataset may stand for x and y; the attack then follows by name.  Only images that are
    classified right are attacked, in batches on the model's device.  Raises TypeError or
    ValueError for input outside the contract, also for an attack that leaves [0, 1].
    """
    x, y = images_and_labels(x, y)
    standing = classified_right(model, x, y)
    _strike(model, x, y, standing, attack, batch_size, progress)
    return rate(standing)


def robust_curve(model: Model, x: Tensor | Dataset, y: Tensor | None = None, attack: Attack | None = None,
                 eps: Sequence[float] = (), *, batch_size: int = 500, progress: bool = False) -> Curve:
    """Accuracy under `attack(model, x, y, eps=e)` for each e of the ascending `eps`.

    An example for a small eps is one for every larger eps, so only the images that still
    stand are attacked again, and the curve never rises.  eps = 0 is the clean accuracy.
    A Dataset may stand for x and y; attack and eps then follow by name.
    Raises ValueError when eps does not ascend, and as `robust_accuracy`.
    """
    eps = [float(e) for e in eps]
    if not eps or not all(a < b for a, b in zip(eps, eps[1:])):
        raise ValueError(f"eps = {eps}: give ascending values, each once")
    x, y = images_and_labels(x, y)
    for e in eps:
        inputs.check_eps(e, x)
    standing, rates = classified_right(model, x, y), []
    for e in tqdm(eps, desc="eps", disable=not progress):
        if e > 0:
            _strike(model, x, y, standing, attack and partial(attack, eps=e), batch_size, progress)
        rates.append(rate(standing))
    return Curve(eps, [r.value for r in rates], [r.low for r in rates], [r.high for r in rates], len(y))


def transfer(source: Model, target: Model, x: Tensor | Dataset, y: Tensor | None = None, attack: Attack | None = None,
             *, batch_size: int = 500, progress: bool = False) -> Rate:
    """Share of images that `target` classifies right, and still does after `attack(source, x, y)`.

    The denominator is that of `robust_accuracy(target, x, y, attack)`: all images.  So the
    two compare directly, black box against white box.  Only images that `target`
    classifies right are attacked, whatever `source` makes of them.
    Raises as `robust_accuracy`.  Source: szegedy2014, sec. 4.2; cutilli2021, 3.1.5.
    """
    def borrowed(_, x, y):
        device = device_of(source, x)
        return attack(source, x.to(device), y.to(device))

    return robust_accuracy(target, x, y, attack and borrowed, batch_size=batch_size, progress=progress)


def classified_right(model: Model, x: Tensor | Dataset, y: Tensor | None = None, batch_size: int = 500) -> Tensor:
    """Which images are classified right, (N,) bool."""
    x, y = images_and_labels(x, y)
    z = logits(model, x, batch_size)
    check_logits(z, x, y)
    return z.argmax(1) == y


def _strike(model: Model, x: Tensor, y: Tensor, standing: Tensor, attack: Attack | None, batch_size: int,
            progress: bool) -> None:
    """Attack the images that stand (N,), batch by batch, and clear the flag of those that fall."""
    if not callable(attack):
        raise TypeError(f"attack is {attack!r}; give a function (model, x, y) -> images")
    check_at_least_one(batch_size=batch_size)
    device, rows = device_of(model, x), standing.nonzero().squeeze(1)
    batches = rows.split(batch_size) if len(rows) else ()
    for part in tqdm(batches, desc="attack", unit="batch", leave=False, disable=not progress or len(batches) < 2):
        adversarial = attack(model, x[part].to(device), y[part].to(device))
        _check_result(adversarial, x[part], "the attack's result")
        standing[part] = logits(model, adversarial).argmax(1).to(y.device) == y[part]


def _check_result(adversarial: Tensor, x: Tensor, name: str) -> None:
    """Raise unless `adversarial` is images in [0, 1], one for each of x."""
    check_images(adversarial, name)
    if adversarial.shape != x.shape:
        raise ValueError(f"{name} has shape {tuple(adversarial.shape)} for images {tuple(x.shape)}: they must agree")
