"""Layers that torch does not have: normalisation of pixels, and what the sources propose as defences.

All are ordinary modules, for example in S3's FC-100-100-10 with pairwise differences:

>>> net = torch.nn.Sequential(
...     torch.nn.Flatten(),
...     PairwiseDifference(16, 8), BatchRenorm(8), torch.nn.Sigmoid(),
...     PairwiseDifference(8, 8), BatchRenorm(8), ElasticSigmoid(),
...     Angular(8, 10))
>>> net(torch.rand(5, 1, 4, 4)).shape
torch.Size([5, 10])
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlens import kernels
from advlens.inputs import check_at_least_one
from advlens.kernels import pairwise


class Normalize(nn.Module):
    """(x - mean) / std per channel; x is (N, C, H, W).  Constants, not parameters."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class RePU(nn.Module):
    """Rectified power unit, relu(x)^power (krotov2019)."""

    def __init__(self, power: float):
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x).pow(self.power)

    def extra_repr(self) -> str:
        return f"{self.power}"


class Scale(nn.Module):
    """factor * x, a constant: the 0.01 of `HebbianNet`, or a temperature, `nn.Sequential(model, Scale(1 / T))`."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def extra_repr(self) -> str:
        return f"{self.factor}"


class ElasticSigmoid(nn.Module):
    """sigmoid(s d) with one learnable slope s for the layer, 1 at first.  Any shape.  Source: cutilli2021, 3.2."""

    def __init__(self, slope: float = 1.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(float(slope)))

    def forward(self, d: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * d)


class Angular(nn.Module):
    """Neurons that see directions only: w.a / (||w|| ||a|| + c) + b, from (..., in) to (..., out).

    c: keeps blank inputs (a = 0) finite; with c = 0 they give NaN.  The gradient at c = 0 is
    w / (||w|| ||a||) - (w.a) a / (||w|| ||a||^3): orthogonal to a, because the length of a does
    not count.  (The source has a plus sign there.)  Weights start as in `nn.Linear`, drawn from
    `generator` where one is given; their length does not count either.
    Raises ValueError for c < 0 and inputs of another size.  Source: cutilli2021, 3.2.
    """

    def __init__(self, in_features: int, out_features: int, *, c: float = 1e-3,
                 generator: torch.Generator | None = None):
        super().__init__()
        check_at_least_one(in_features=in_features, out_features=out_features)
        if not 0 <= c < float("inf"):
            raise ValueError(f"c = {c}; give a finite number, at least 0")
        self.c = c
        self.weight = _uniform((out_features, in_features), in_features ** -0.5, generator)
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, a: Tensor) -> Tensor:
        _check_features(a, self.weight.shape[1])
        lengths = a.norm(dim=-1, keepdim=True) * self.weight.norm(dim=1)  # (..., out)
        return F.linear(a, self.weight) / (lengths + self.c) + self.bias


class BatchRenorm(nn.Module):
    """Batch renormalisation of (N, C) or (N, C, H, W), per channel.

    In training the batch is normalised by its own mean and deviation and then moved to where
    the running statistics would have put it: x r + d, with r in [1 / r_max, r_max] and d in
    [-d_max, d_max] as constants of the gradient.  Both limits grow linearly during `warmup`
    batches from those of plain batch normalisation (1 and 0); where they grow too fast,
    training wavers.  In evaluation only the running statistics count, so the images of a
    batch do not affect each other.  Inputs in half precision are normalised in float32.
    Raises ValueError for inputs of another shape, and in training for a single value per channel.
    Source: ioffe2017, algorithm 1.
    """

    def __init__(self, features: int, *, r_max: float = 3.0, d_max: float = 5.0, warmup: int = 5000,
                 momentum: float = 0.01, eps: float = 1e-5):
        super().__init__()
        check_at_least_one(features=features, warmup=warmup)
        if r_max < 1 or d_max < 0:
            raise ValueError(f"r_max = {r_max}, d_max = {d_max}; give r_max >= 1 and d_max >= 0")
        self.r_max, self.d_max, self.warmup, self.momentum, self.eps = r_max, d_max, warmup, momentum, eps
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_std", torch.ones(features))
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        count = len(self.weight)
        if x.ndim not in (2, 4) or x.shape[1] != count:
            raise ValueError(f"the input has shape {tuple(x.shape)}; give (N, {count}) or (N, {count}, H, W)")
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.training:
            wide = self._by_the_batch(wide)
        else:
            wide = (wide - _channels(self.running_mean, x)) / _channels(self.running_std, x)
        result = wide * _channels(self.weight, x) + _channels(self.bias, x)
        return result if wide.dtype == x.dtype else result.to(x.dtype)

    def _by_the_batch(self, x: Tensor) -> Tensor:
        if x.numel() == x.shape[1]:
            raise ValueError(f"one value per channel in an input of shape {tuple(x.shape)}: "
                             "training needs a larger batch")
        others = [0, *range(2, x.ndim)]
        mean, std = x.mean(others), (x.var(others, correction=0) + self.eps).sqrt()  # (C,)
        with torch.no_grad():
            ramp = min(1.0, self.batches.item() / self.warmup)
            r_max, d_max = 1 + ramp * (self.r_max - 1), ramp * self.d_max
            r = (std / self.running_std).clamp(1 / r_max, r_max)
            d = ((mean - self.running_mean) / self.running_std).clamp(-d_max, d_max)
            for running, now in ((self.running_mean, mean), (self.running_std, std)):
                running.copy_(torch.lerp(running.to(now), now, self.momentum))  # in the wider of both types
            self.batches += 1
        return (x - _channels(mean, x)) / _channels(std, x) * _channels(r, x) + _channels(d, x)


# --- pairwise difference ---------------------------------------------------------

class PairwiseDifference(nn.Module):
    """sum over pairs of W_ij sigmoid(v_i - v_j) + b, from (..., in) to (..., out).

    Because sigmoid(-d) = 1 - sigmoid(d), the n (n - 1) / 2 pairs of `kernels.pairwise.pairs` are
    the whole layer: `weight` is (out, n (n - 1) / 2).  full=True keeps the source's n^2 weights
    W_ij, (out, n, n), at twice the cost; `halved` makes the same layer without the redundant ones.
    Memory is linear: the N x n^2 differences are made tile by tile, in the backward pass again,
    and never stored.  Double backpropagation works; it has no kernel for the GPU, only the tiles.

    At first the weights are uniform such that independent inputs of variance 1 give outputs of
    variance about 1, and the bias is such that a blank input (all v_i equal) gives 0.
    Inside torch.autocast inputs and weights are brought to its type, as in `nn.Linear`.
    generator: draws the first weights.
    Raises ValueError for inputs of another size.  Source: cutilli2021, 3.2.
    """

    def __init__(self, in_features: int, out_features: int, *, full: bool = False, bias: bool = True,
                 generator: torch.Generator | None = None):
        super().__init__()
        check_at_least_one(out_features=out_features)
        if in_features < 2:
            raise ValueError(f"{in_features} number(s) have no pair; give at least 2")
        n, pairs = in_features, in_features * (in_features - 1) // 2
        self.in_features, self.full = in_features, full
        # sigmoid(d) for d of variance 2 has variance 1/16, and W_ij - W_ji twice that of W_ij.
        bound = 4 * (3 / pairs / (2 if full else 1)) ** 0.5
        self.weight = _uniform((out_features, *((n, n) if full else (pairs,))), bound, generator)
        self.bias = nn.Parameter(-self.weight.detach().flatten(1).sum(1) / 2) if bias else None

    def forward(self, v: Tensor) -> Tensor:
        _check_features(v, self.in_features)
        v, weight = _as_autocast(v, self.weight)
        out = _Pairwise.apply(v.reshape(-1, self.in_features), weight).view(*v.shape[:-1], -1)
        return out if self.bias is None else out + self.bias


class PatchPairwiseDifference(PairwiseDifference):
    """`PairwiseDifference` over each patch of an image: (N, C, H, W) -> (N, out, H', W').

    kernel_size: side of the square patch, which with its C channels is one vector of
    C kernel_size^2 numbers.  stride: by default kernel_size, so that patches do not overlap;
    overlapping patches are stored once each.  Source: cutilli2021, 3.2.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int | None = None, *,
                 full: bool = False, bias: bool = True, generator: torch.Generator | None = None):
        stride = kernel_size if stride is None else stride
        check_at_least_one(in_channels=in_channels, kernel_size=kernel_size, stride=stride)
        super().__init__(in_channels * kernel_size ** 2, out_channels, full=full, bias=bias, generator=generator)
        self.in_channels, self.kernel_size, self.stride = in_channels, kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        side, step = self.kernel_size, self.stride
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < side:
            raise ValueError(f"the input has shape {tuple(x.shape)}; "
                             f"give (N, {self.in_channels}, H, W) with H and W at least {side}")
        patches = F.unfold(x, side, stride=step).transpose(1, 2)  # (N, patches, C side^2)
        return super().forward(patches).transpose(1, 2).unflatten(2, (-1, (x.shape[3] - side) // step + 1))


def halved(layer: PairwiseDifference) -> PairwiseDifference:
    """The same function with n (n - 1) / 2 weights, from a layer made with full=True and a bias.

    W_ij sigmoid(d) + W_ji sigmoid(-d) = (W_ij - W_ji) sigmoid(d) + W_ji; with W_ii / 2 from the
    diagonal, the constants add up to half of what all weights are more than the new ones.
    Raises ValueError for any other layer.
    """
    if not layer.full or layer.bias is None:
        raise ValueError(f"full = {layer.full}, bias = {layer.bias is not None}; "
                         "give a layer made with full=True and a bias")
    (i, j), full = pairwise.pairs(layer.in_features), layer.weight.detach()
    result = copy.deepcopy(layer)
    result.full, result.weight = False, nn.Parameter(full[:, i, j] - full[:, j, i])
    with torch.no_grad():
        result.bias += (full.sum((1, 2)) - result.weight.sum(1)) / 2
    return result


class _Pairwise(torch.autograd.Function):
    """The layer without its bias; keeps inputs and weights for the backward pass, nothing else."""

    @staticmethod
    def forward(ctx, v, weight):
        ctx.save_for_backward(v, weight)
        return kernels.implementation("pairwise", v.device.type, v.dtype).forward(v, weight)

    @staticmethod
    def backward(ctx, grad):
        return _PairwiseGradient.apply(grad, *ctx.saved_tensors, *ctx.needs_input_grad)


class _PairwiseGradient(torch.autograd.Function):
    """The gradient as a function of its own, so that it can be differentiated once more."""

    @staticmethod
    def forward(ctx, grad, v, weight, to_v, to_weight):
        ctx.save_for_backward(grad, v, weight)
        with torch.autocast(v.device.type, enabled=False):  # its sums are float32
            return kernels.implementation("pairwise", v.device.type, v.dtype).backward(grad, v, weight, to_v, to_weight)

    @staticmethod
    def backward(ctx, towards_v, towards_weight):
        grad, v, weight = ctx.saved_tensors
        towards_v = torch.zeros_like(v) if towards_v is None else towards_v  # None: not wanted
        towards_weight = torch.zeros_like(weight) if towards_weight is None else towards_weight
        return *_PairwiseCurvature.apply(grad, v, weight, towards_v, towards_weight), None, None


class _PairwiseCurvature(torch.autograd.Function):
    """The second derivative, which ends here: PyTorch's once_differentiable would let some third ones pass as 0."""

    @staticmethod
    def forward(ctx, grad, v, weight, towards_v, towards_weight):
        with torch.autocast(v.device.type, enabled=False):
            return pairwise.double_backward(grad, v, weight, towards_v, towards_weight)

    @staticmethod
    def backward(ctx, *_):
        raise NotImplementedError("PairwiseDifference has first and second derivatives, but no third ones")


def _as_autocast(v: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the type that torch.autocast asks for; float16, which the sums do not take, becomes float32."""
    if v.dtype == torch.float64 or not torch.is_autocast_enabled(v.device.type):
        return v, weight
    wanted = torch.get_autocast_dtype(v.device.type)
    wanted = torch.float32 if wanted == torch.float16 else wanted
    return v.to(wanted), weight.to(wanted)


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator | None) -> nn.Parameter:
    home = None if generator is None else generator.device
    return nn.Parameter(torch.empty(shape, device=home).uniform_(-bound, bound, generator=generator))


def _channels(values: Tensor, x: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1) where x is a batch of images."""
    return values.view(-1, *[1] * (x.ndim - 2))


def _check_features(x: Tensor, features: int) -> None:
    if x.ndim < 1 or x.shape[-1] != features:
        raise ValueError(f"the input has shape {tuple(x.shape)}; its last dimension must be {features}")
