"""Guarantees: interval bounds of the logits, a training that makes them tight, and randomised smoothing.

An attack that fails proves nothing; here no attack inside the certified radius can succeed.
Interval bounds push the box |x' - x| <= eps through the net, layer by layer, in double precision: they hold
for the net in exact arithmetic.  One that runs in float32 rounds, and `certified` leaves room for that; one
that runs in half precision rounds more.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> x = torch.rand(2, 1, 2, 2)
>>> lower, upper = interval_bounds(net, x, eps=0.1)
>>> bool((lower <= net(x)).all() and (net(x) <= upper).all())
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Callable, Iterator, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from advlens import inputs, training
from advlens.evaluation import logits
from advlens.geometry import draw, per_sample
from advlens.inputs import check_amount, check_at_least_one, check_eps, check_images, check_labels, check_logits, frozen
from advlens.kernels import pairwise
from advlens.layers import Angular, BatchRenorm, ElasticSigmoid, Normalize, PairwiseDifference, RePU, Scale
from advlens.models import IdentityBlock

Box = tuple[Tensor, Tensor]  # lower and upper bounds of what goes into or comes out of a layer, each (N, ...)

BATCH = 100  # images whose boxes are in memory at once
ROUNDING = 1e-5  # of the largest logit: more than float32 rounds away in any of our nets (measured in the tests)


def interval_bounds(model: nn.Module, x: Tensor, eps: float | Tensor) -> Box:
    """Bounds (lower, upper) of the logits, each (N, K) in float64, over all images of [0, 1] with |x' - x| <= eps.

    x: images (N, C, H, W) in [0, 1].  eps: a number or (N,), in pixel units; it is widened by
    what x + d may round to in the precision of x.  The net in evaluation mode, whatever its mode.
    The bounds are exact for one linear layer, and grow loose with depth.
    Raises TypeError for a layer without a rule, TypeError or ValueError for input outside
    the contract.  Source: gowal2018, sec. 3.
    """
    check_images(x)
    with torch.no_grad():
        lower, upper = zip(*(_through(model, box) for box in _boxes(x, eps)))
    return torch.cat(lower), torch.cat(upper)


def certified(model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor) -> Tensor:
    """Which images (N,) are classified right, and provably so everywhere within eps (Linf, pixel units).

    Bounds the differences of logits after the last linear layer, z_j - z_y, in one: tighter than
    the difference of their bounds.  What is not certified may be robust all the same.
    y: labels (N,).  eps: a number or (N,).  Errors as `interval_bounds`.  Source: gowal2018, sec. 3.
    """
    check_images(x)
    check_labels(y, len(x))
    clean = logits(model, x)  # (N, K)
    check_logits(clean, x, y)
    with torch.no_grad():
        gaps = torch.cat([_gaps(model, box, labels) for box, labels in zip(_boxes(x, eps), y.split(BATCH))])  # (N, K)
    worst = gaps.scatter(1, y[:, None], -torch.inf).amax(1)  # (N,)
    return (clean.argmax(1) == y) & (worst < -ROUNDING * clean.abs().amax(1))


def _boxes(x: Tensor, eps: float | Tensor) -> Iterator[Box]:
    """The box around each image, batch by batch, in float64."""
    eps = check_eps(eps, x).double()
    eps = torch.where(eps > 0, eps + torch.finfo(x.dtype).eps / 2, 0)  # x + d <= 1 rounds by less than this
    return (_box(part.double(), per_sample(radius, part)) for part, radius in zip(x.split(BATCH), eps.split(BATCH)))


def _box(x: Tensor, eps: float | Tensor) -> Box:
    return (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)


def _gaps(model: nn.Module, box: Box, y: Tensor) -> Tensor:
    """Upper bounds (N, K) of z_j - z_y over the box, 0 at j = y."""
    layers, factor = _layers(model), 1.0
    while layers and type(layers[-1]) in (Scale, nn.Identity, nn.Dropout):
        factor *= getattr(layers.pop(), "factor", 1.0)
    if not layers or type(layers[-1]) is not nn.Linear:
        lower, upper = _through(model, box)
        return (upper - lower.gather(1, y[:, None])).scatter(1, y[:, None], 0.0)
    *body, last = layers
    lower, upper = _through(nn.Sequential(*body), box)  # (N, F)
    weight = factor * last.weight.to(lower.dtype)  # (K, F)
    weight = weight - weight[y, None]  # (N, K, F): z_j - z_y as a linear layer of its own, one for each image
    _, gaps = _weighed(weight, lower, upper, lambda inputs, w: torch.einsum("nkf,nf->nk", w, inputs))
    if last.bias is None:
        return gaps
    bias = factor * last.bias.to(lower.dtype)  # (K,)
    return gaps + bias - bias[y, None]


def _layers(model: nn.Module) -> list[nn.Module]:
    """The layers one after the other, those of nested nn.Sequential too."""
    return [layer for child in model for layer in _layers(child)] if type(model) is nn.Sequential else [model]


# --- one rule for each kind of layer --------------------------------------------
# (layer, lower, upper) -> (lower, upper): in evaluation mode, in the precision of the bounds, differentiable.

def _through(layer: nn.Module, box: Box) -> Box:
    rule = RULES.get(type(layer))
    if rule is None:
        raise TypeError(f"no interval bound is known for a layer of type {type(layer).__name__}; known: "
                        f"{', '.join(kind.__name__ for kind in RULES)}. Build the net of these (not of subclasses, "
                        "which may compute something else), or use `smoothed`, which asks for predictions only")
    return rule(layer, *box)


def _sequential(layers, lower, upper):
    for layer in layers:
        lower, upper = _through(layer, (lower, upper))
    return lower, upper


def _identity_block(block, lower, upper):
    low, high = _through(block.residual, (lower, upper))
    return torch.relu(lower + low), torch.relu(upper + high)


def _monotone(layer, lower, upper):
    """Each output grows with all of its inputs, or falls with all of them."""
    state = {name: value.to(lower.dtype) for name, value in [*layer.named_parameters(), *layer.named_buffers()]}
    return _sorted(functional_call(layer, state, lower), functional_call(layer, state, upper))


def _sorted(a, b):
    return torch.minimum(a, b), torch.maximum(a, b)


def _weighed(weight, lower, upper, through=F.linear):
    """The centre goes through the weights, the radius through their absolute values (gowal2018, sec. 3)."""
    centre, radius = through((lower + upper) / 2, weight), through((upper - lower) / 2, weight.abs())
    return centre - radius, centre + radius


def _affine(layer, lower, upper):
    """A linear layer or a convolution: as `_weighed`, with its bias."""
    state = {name: value.to(lower.dtype) for name, value in layer.named_parameters()}
    spread = {name: value.abs() if name == "weight" else torch.zeros_like(value) for name, value in state.items()}
    centre = functional_call(layer, state, (lower + upper) / 2)
    radius = functional_call(layer, spread, (upper - lower) / 2)
    return centre - radius, centre + radius


def _running_statistics(layer, lower, upper):
    """Batch normalisation and renormalisation, as in evaluation mode."""
    if layer.running_mean is None:
        raise TypeError(f"{layer} has no running statistics, so that the images of a batch affect each other: "
                        "no image has a bound of its own. Use track_running_stats=True")
    channels = lambda value: value.to(lower.dtype).view(-1, *[1] * (lower.ndim - 2))  # (C,) -> (C, 1, 1) for images
    mean = channels(layer.running_mean)
    renorm = type(layer) is BatchRenorm  # it keeps the deviation itself
    std = channels(layer.running_std) if renorm else (channels(layer.running_var) + layer.eps).sqrt()
    weight, bias = (1.0, 0.0) if layer.weight is None else (channels(layer.weight), channels(layer.bias))
    return _sorted((lower - mean) / std * weight + bias, (upper - mean) / std * weight + bias)


def _angular(layer, lower, upper):
    """Interval of w.a divided by the interval of ||w|| ||a|| + c; by Cauchy-Schwarz never outside [-1, 1]."""
    weight, bias = layer.weight.to(lower.dtype), layer.bias.to(lower.dtype)
    near = torch.where((lower < 0) & (upper > 0), 0.0, torch.minimum(lower.abs(), upper.abs()))
    shortest, longest = (a.norm(dim=-1, keepdim=True) * weight.norm(dim=1) + layer.c
                         for a in (near, torch.maximum(lower.abs(), upper.abs())))  # (..., out)
    shortest = shortest.clamp_min(torch.finfo(lower.dtype).tiny)  # c = 0, and a box around the origin
    low, high = _weighed(weight, lower, upper)  # of w.a
    low, high = torch.minimum(low / shortest, low / longest), torch.maximum(high / shortest, high / longest)
    return low.clamp_min(-1) + bias, high.clamp_max(1) + bias


def _pairwise(layer, lower, upper):
    """Bounds of v_i - v_j, through the sigmoid, then as a linear layer of the pairs."""
    n, weight = layer.in_features, layer.weight.to(lower.dtype).flatten(1)  # (out, pairs)
    i, j = (torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)) if layer.full else pairwise.pairs(n)
    low, high = lower[..., i] - upper[..., j], upper[..., i] - lower[..., j]  # (..., pairs)
    low, high = _weighed(weight, torch.sigmoid(low), torch.sigmoid(high))
    bias = 0.0 if layer.bias is None else layer.bias.to(weight)
    return low + bias, high + bias


RULES: dict[type, Callable[..., Box]] = {
    nn.Sequential: _sequential, IdentityBlock: _identity_block,
    **dict.fromkeys((nn.Identity, nn.Dropout), lambda layer, lower, upper: (lower, upper)),
    **dict.fromkeys((Normalize, Scale, nn.Flatten, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d,
                     nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, RePU, ElasticSigmoid), _monotone),
    **dict.fromkeys((nn.Linear, nn.Conv2d), _affine),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, BatchRenorm), _running_statistics),
    Angular: _angular, PairwiseDifference: _pairwise,
}


# --- training for tight bounds --------------------------------------------------

@dataclass(frozen=True, kw_only=True)
class interval_training:  # lower case, as all objectives: it is used as a function
    """The objective kappa loss(logits) + (1 - kappa) loss(worst logits within eps), for `training.fit`.

    eps: in pixel units (Linf).  warmup: epochs of plain training; ramp: epochs in which eps then grows
    from 0 and kappa falls from 1, both linearly: bounds that are too wide at first teach nothing.
    `at(epoch)` is the objective of that moment, a call of it the objective at the end.  The bounds are those
    of evaluation mode, with running statistics and without dropout: that is the net that will be certified.
    Cost: about 3 times plain training.
    Raises TypeError or ValueError for numbers out of range.  Source: gowal2018, sec. 3 and 4.
    """

    eps: float
    kappa: float = 0.5
    warmup: float = 1.0
    ramp: float = 5.0

    def __post_init__(self):
        for name, value in vars(self).items():
            check_amount(value, name)
        if self.kappa > 1:
            raise ValueError(f"kappa = {self.kappa}; give a share from 0 (worst logits only) to 1 (clean images only)")

    def at(self, epoch: float) -> interval_training:
        """The objective at `epoch` (a float that grows within an epoch), as a constant one."""
        share = min(max((epoch - self.warmup) / self.ramp, 0.0), 1.0) if self.ramp > 0 else float(epoch >= self.warmup)
        return replace(self, eps=share * self.eps, kappa=1 - share * (1 - self.kappa), warmup=0.0, ramp=0.0)

    def __call__(self, model, x, y, loss, generator):
        value, clean = training.plain(model, x, y, loss, generator)
        worst = _gaps(model, _box(x, self.eps), y).to(x.dtype)  # (N, K): a shift of all logits changes no softmax
        return self.kappa * value + (1 - self.kappa) * loss(worst, y), clean


# --- randomised smoothing -------------------------------------------------------

class Smoothed(NamedTuple):
    """What `smoothed` certifies: the predictions (N,), -1 where it abstains, and their l2 radii (N,), 0 there."""

    prediction: Tensor
    radius: Tensor


def smoothed(model: nn.Module, x: Tensor, *, sigma: float, n: int, alpha: float = 0.001, n0: int = 100,
             generator: torch.Generator | None = None, batch_size: int = 500) -> Smoothed:
    """The class that the model sees most often under Gaussian noise, and the l2 radius in which that cannot change.

    It is the smoothed classifier, not the model, that is certified: its prediction is the same for every x'
    with ||x' - x||_2 < radius, in pixel units.  For each image separately, the probability that this is
    not true is at most alpha; where the draws do not suffice for that, it abstains.
    x: images (N, C, H, W) in [0, 1].  sigma: deviation of the noise, in pixel units; noisy images
    are not clipped.  n0 draws choose the class, n others estimate how often it comes (Clopper-Pearson).
    generator: makes the draws repeatable; the images draw one after the other.  Cost: n0 + n forward passes an image.

    Raises TypeError or ValueError for sigma, alpha or counts out of range, also for n too small to certify anything.
    Source: cohen2019, theorem 1 and sec. 3.2; clopper1934.
    """
    check_images(x)
    check_amount(sigma, "sigma", above_zero=True)
    check_amount(alpha, "alpha", above_zero=True)
    if alpha >= 1:
        raise ValueError(f"alpha = {alpha}; give the probability of a wrong certificate, between 0 and 1")
    check_at_least_one(n=n, n0=n0, batch_size=batch_size)
    needed = math.floor(math.log2(1 / alpha)) + 1  # the best bound is that of n hits, alpha^(1/n)
    if n < needed:
        raise ValueError(f"n = {n} draws cannot certify anything at alpha = {alpha}: give at least {needed}")
    from scipy.special import ndtri

    choice, hits = torch.empty((2, len(x)), dtype=torch.int64)
    with frozen(model), torch.no_grad():
        for row, image in enumerate(x):
            choice[row] = _votes(model, image, sigma, n0, generator, batch_size).argmax()
            hits[row] = _votes(model, image, sigma, n, generator, batch_size)[choice[row]]
    share = torch.from_numpy(lower_confidence_bound(hits.numpy(), n, alpha))
    sure = share > 0.5
    radius = torch.where(sure, sigma * torch.from_numpy(ndtri(share.numpy())), 0.0)
    return Smoothed(torch.where(sure, choice, -1).to(x.device), radius.to(x))


def _votes(model, image: Tensor, sigma: float, n: int, generator, batch_size: int) -> Tensor:
    """How often each class wins among n noisy copies of one image (C, H, W): (K,)."""
    counts = 0
    for start in range(0, n, batch_size):
        shape = min(batch_size, n - start), *image.shape
        noisy = image + sigma * draw(torch.randn, shape, like=image, generator=generator)  # (B, C, H, W)
        z = inputs.forward(model, noisy)  # (B, K)
        check_logits(z, noisy, z.new_zeros(len(z), dtype=torch.int64))
        counts = counts + z.argmax(1).bincount(minlength=z.shape[1]).cpu()
    return counts


def lower_confidence_bound(hits, n: int, alpha: float):
    """What the share behind `hits` of n draws (a number or an array) exceeds at confidence 1 - alpha (clopper1934)."""
    import numpy as np
    from scipy.special import betaincinv

    hits = np.asarray(hits, dtype=float)
    return np.where(hits > 0, betaincinv(np.maximum(hits, 1), n - np.maximum(hits, 1) + 1, alpha), 0.0)
