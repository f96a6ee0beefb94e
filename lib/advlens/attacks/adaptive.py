"""Attacks on defences that transform the image: two wrappers that every attack takes as a model.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> x = torch.rand(2, 1, 2, 2, requires_grad=True)
>>> slope = lambda model: torch.autograd.grad(model(x).square().sum(), x)[0]
>>> slope(lambda x: net(x.round())).any().item()  # the derivative of rounding is 0
False
>>> slope(BPDA(net, torch.round)).any().item()
True
"""

from typing import Callable

import torch
from torch import Tensor, nn

from advlens.inputs import check_at_least_one, forward


def identity(x: Tensor) -> Tensor:
    """x itself: the stand-in for a transformation that hardly changes an image."""
    return x


class BPDA(nn.Module):
    """Backward pass differentiable approximation: model(forward(x)), whose gradient goes through `backward`.

    forward: the exact transformation of the defence, (N, C, H, W) to images; it needs no
    derivative.  backward: a differentiable function that resembles it and returns the
    same shape.  Raises ValueError where the two shapes differ.  Source: athalye2018, sec. 4.1.
    """

    def __init__(self, model: nn.Module, forward: Callable[[Tensor], Tensor],
                 backward: Callable[[Tensor], Tensor] = identity):
        super().__init__()
        self.model, self.exact, self.standin = model, forward, backward

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            exact = self.exact(x.clone())  # a transformation that works in place spoils neither x nor the stand-in
        if torch.is_grad_enabled() and x.requires_grad:
            standin = self.standin(x)
            if standin.shape != exact.shape:
                raise ValueError(f"backward returns shape {tuple(standin.shape)}, forward {tuple(exact.shape)}: "
                                 "they must agree")
            # The bracket is exactly 0, so the value is that of `exact` to the last bit and the slope that of `standin`.
            exact = exact + (standin - standin.detach())
        return forward(self.model, exact)


class EOT(nn.Module):
    """Expectation over transformation: the mean logits of `samples` random transformations of each image.

    transform: (images (N, C, H, W), generator) -> images.  Let it draw once for all
    images (noise of x.shape[1:], one shift, one quality): then neighbours change nothing.
    Each call draws the same `samples` transformations from `seed`, and runs the model
    once, on N * samples images.  So the wrapped model is an ordinary function: an attack
    is repeatable, and comparing two of its values, in a line search or for the best
    point so far, means something.  Judge the result on transformations that the attack
    has not seen, EOT(..., seed=1): where it fails there, give more samples.

    The mean of the logits has the mean of the Jacobians: what is linear in the logits
    (the margin, DeepFool's and JSMA's differences) gets exactly the expected gradient,
    before any sign.  Its cross-entropy is a lower bound of the expected one, which is
    the goal of athalye2018; they agree where the draws agree.  The logarithm of the
    mean probability would not do: it follows the single draw that likes a class most.

    Raises ValueError for samples < 1, or a transform that changes the number of images.
    Source: athalye2018, sec. 4.2.
    """

    def __init__(self, model: nn.Module, transform: Callable[[Tensor, torch.Generator], Tensor], samples: int, *,
                 seed: int = 0):
        super().__init__()
        check_at_least_one(samples=samples)
        self.model, self.transform, self.samples, self.seed = model, transform, samples, seed

    def forward(self, x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.cat([self.transform(x.clone(), generator) for _ in range(self.samples)])  # (m*N, C, H, W)
        if len(drawn) != self.samples * len(x):
            raise ValueError(f"transform returns {len(drawn) // self.samples} images for {len(x)}: "
                             "it must keep their number")
        return forward(self.model, drawn).unflatten(0, (self.samples, len(x))).mean(0)  # (m*N, K) -> (N, K)
