"""FALSE defences, built to be broken: behind each the gradient says little about where the adversarial examples are.

Whether the examples are gone is a separate question.
Use them to test an attack or a diagnostic, never to protect a net.  Each wraps a net and is a
model again.  Logits that are too large (`layers.Scale`) and defensive distillation hide the
gradient of the cross-entropy as well.  Source: athalye2018, sec. 3.

>>> net, x = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)), torch.rand(2, 1, 2, 2)
>>> point = x.clone().requires_grad_()
>>> torch.autograd.grad(Rounded(net, 16)(point).sum(), point)[0].any().item()
False
>>> bool((rounded(x, 16) - x).abs().max() <= 0.5 / 15 + 1e-6)
True
"""

from functools import partial
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlens.inputs import check_amount, check_at_least_one


def rounded(x: Tensor, levels: int) -> Tensor:
    """Each value of x, in [0, 1], moved to the nearest of `levels` evenly spaced ones from 0 to 1."""
    return (x * (levels - 1)).round() / (levels - 1)


def shaken(x: Tensor, generator: torch.Generator, smallest: float = 0.8, deviation: float = 0.1) -> Tensor:
    """The images (N, C, H, W) shrunk to a random size, at a random place on black, under random noise.

    One draw for all images, as `EOT` wants it.  smallest: of the shares to which they may shrink.
    deviation: of the Gaussian noise, in pixel units; the result is not clipped.
    """
    height, width = x.shape[2:]
    share, down, right = torch.rand(3, generator=generator).tolist()
    size = [max(1, round(side * (smallest + (1 - smallest) * share))) for side in (height, width)]
    top, left = round(down * (height - size[0])), round(right * (width - size[1]))
    small = F.interpolate(x, size, mode="bilinear", align_corners=False)
    placed = F.pad(small, (left, width - size[1] - left, top, height - size[0] - top))
    return placed + deviation * torch.randn(x.shape[1:], generator=generator).to(x)


class Rounded(nn.Module):
    """model(rounded(x, levels)): a stair has slope 0 everywhere.  Broken by BPDA(model, rounded); by transfer too."""

    def __init__(self, model: nn.Module, levels: int):
        super().__init__()
        check_at_least_one(levels=levels - 1)
        self.model, self.levels = model, levels

    def forward(self, x: Tensor) -> Tensor:
        return self.model(rounded(x, self.levels))


class Randomized(nn.Module):
    """model(transform(x, generator)), drawn anew in each call, so that one gradient says little.

    transform: as `EOT` wants it.  Broken by EOT(model, transform, n).
    seed: of the first draw; two models of one seed, asked the same questions, give the same answers.
    """

    def __init__(self, model: nn.Module, transform: Callable[[Tensor, torch.Generator], Tensor], *, seed: int = 0):
        super().__init__()
        self.model, self.transform = model, transform
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.transform(x, self.generator))


class Shaken(Randomized):
    """model(shaken(x)), drawn anew in each call."""

    def __init__(self, model: nn.Module, smallest: float = 0.8, deviation: float = 0.1, *, seed: int = 0):
        check_amount(deviation, "deviation")
        if not 0 < smallest <= 1:
            raise ValueError(f"smallest = {smallest}; give a share of the side, above 0 and at most 1")
        super().__init__(model, partial(shaken, smallest=smallest, deviation=deviation), seed=seed)


class Cut(nn.Module):
    """model(x) off the graph, as behind a codec or a remote server.  Broken by BPDA(model, identity)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.detach()).detach()
