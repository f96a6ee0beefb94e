"""Lp balls: the four functions that everything else is built on.

Perturbations are (N, C, H, W); eps is (N,) or broadcasts against (N,).  Each
function works per sample: no image sees its neighbours in the batch.

>>> d = torch.tensor([[[[3.0, 4.0]]]])
>>> norm(d, "l2").item(), norm(d, "linf").item(), norm(d, "l1").item(), norm(d, "l0").item()
(5.0, 4.0, 7.0, 2.0)
"""

from __future__ import annotations

import warnings
from typing import Callable

import torch
from torch import Tensor

NORMS = ("linf", "l2", "l1", "l0")
BALLS = ("linf", "l2")  # the balls that the gradient attacks walk in


class ZeroGradientWarning(UserWarning):
    """The loss does not depend on some images: an attack by gradient cannot know a direction there."""


def norm(d: Tensor, p: str) -> Tensor:
    """Size of each perturbation, (N,).  "l0" counts pixels: a pixel counts once, whatever its channels."""
    check_norm(p, NORMS)
    if p == "l0":
        return (d != 0).any(dim=1).flatten(1).sum(1).to(d.dtype)
    flat = d.flatten(1)  # (N, C*H*W)
    if p == "linf":
        return flat.abs().amax(1)
    if p == "l1":
        return flat.abs().sum(1)
    # Divide by the largest entry first: squares of small gradients underflow.
    scale = flat.abs().amax(1, keepdim=True)
    scale = torch.where(scale > 0, scale, 1.0)
    return (flat / scale).norm(dim=1) * scale.squeeze(1)


def project(d: Tensor, eps: Tensor, p: str) -> Tensor:
    """The nearest perturbation inside the ball of radius eps."""
    check_norm(p, BALLS)
    eps = per_sample(eps, d)
    if p == "linf":
        return torch.minimum(torch.maximum(d, -eps), eps)
    size = per_sample(norm(d, "l2"), d)
    return torch.where(size > eps, d * (eps / size.clamp_min(torch.finfo(d.dtype).tiny)), d)


def steepest(gradient: Tensor, p: str) -> Tensor:
    """The unit perturbation along which a linear function grows fastest.

    argmax of <gradient, d> over ||d||_p <= 1: sign(g) for "linf", g / ||g||_2 for "l2"
    (unam2021, 2.2.1).  Where the whole gradient of an image is 0 there is no such
    direction: the answer is a random one, with a ZeroGradientWarning.
    Raises ValueError for a gradient that is not finite.
    """
    check_norm(p, BALLS)
    size = per_sample(norm(gradient, "linf"), gradient)
    check_finite(size)
    flat = size == 0
    if flat.any():
        warn_zero_gradient(int(flat.sum()), len(gradient), "their step is random")
        # Noise from the shape alone: repeatable, and the global generator stays untouched.
        noise = torch.randn(gradient.shape[1:], generator=torch.Generator().manual_seed(0)).to(gradient)
        gradient = torch.where(flat, noise, gradient)
    if p == "linf":
        return gradient.sign()
    return gradient / per_sample(norm(gradient, "l2"), gradient)


def random_point(like: Tensor, eps: Tensor, p: str, generator: torch.Generator | None = None) -> Tensor:
    """A perturbation drawn uniformly from the ball of radius eps around 0, shaped as `like`.

    "l2": a Gaussian direction, and a radius distributed as u^(1/n) in n dimensions.
    """
    check_norm(p, BALLS)
    eps = per_sample(eps, like)
    if p == "linf":
        return (draw(torch.rand, like.shape, like=like, generator=generator) * 2 - 1) * eps
    direction = draw(torch.randn, like.shape, like=like, generator=generator)
    radius = draw(torch.rand, len(like), like=like, generator=generator) ** (1 / like[0].numel())
    return direction * (per_sample(radius, like) * eps / per_sample(norm(direction, "l2"), like))


def draw(kind: Callable[..., Tensor], *size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Random numbers, such as torch.rand(*size), in the type and on the device of `like`, whatever the generator's."""
    device = like.device if generator is None else generator.device
    return kind(*size, generator=generator, device=device).to(like)


def per_sample(value: Tensor, like: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1), so that it broadcasts against images."""
    return value.view(-1, *[1] * (like.ndim - 1))


def check_finite(gradient: Tensor) -> None:
    """Raise ValueError unless the gradient, or the norms of gradients, are finite."""
    if not torch.stack(gradient.aminmax()).isfinite().all():  # the ends tell, in one pass over the numbers
        raise ValueError("the input gradient is not finite: the model or the loss overflows on these images")


def warn_zero_gradient(count: int, total: int, consequence: str) -> None:
    """A ZeroGradientWarning when the gradient of some of the images is 0, at the caller's caller."""
    if count:
        warnings.warn(f"the input gradient is exactly 0 for {count} of {total} images: {consequence}. "
                      "A masked gradient is not robustness.", ZeroGradientWarning, stacklevel=3)


def check_norm(p: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError, with the known names, unless p is one of them."""
    if p not in allowed:
        raise ValueError(f"unknown norm {p!r}; known: {', '.join(allowed)}")
