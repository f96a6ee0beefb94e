"""JPEG with chance in front of a net: a random quality for each call, or for each block of 8 x 8 pixels.

JPEG of one quality needs nothing new: `torch.nn.Sequential(JPEG(quality), net)`.  The two
transformations here are as `attacks.EOT` wants them, with one draw for all images, and
pass gradients straight through.  Source: das2018 (SHIELD) for the blocks.

>>> x = torch.rand(2, 1, 28, 28)
>>> random_blocks(x, torch.Generator()).shape
torch.Size([2, 1, 28, 28])
>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
>>> RandomJPEG(net, random_quality)(x).shape
torch.Size([2, 10])
"""

from typing import Callable, Sequence

import torch
from torch import Tensor, nn

from advlens.jpeg import JPEG

QUALITIES = (20, 40, 60, 80)  # those of das2018


def random_quality(x: Tensor, generator: torch.Generator, qualities: Sequence[int] = QUALITIES) -> Tensor:
    """The images (N, C, H, W) after JPEG of one quality, drawn from `qualities`, for all of them."""
    return JPEG(qualities[_draw(len(qualities), (), generator).item()])(x)


def random_blocks(x: Tensor, generator: torch.Generator, qualities: Sequence[int] = QUALITIES) -> Tensor:
    """The images (N, C, H, W) in which each block of 8 x 8 pixels comes from JPEG of a quality of its own.

    The whole image is coded at each quality, and each block is taken from one of the results.
    The draw for a place is the same in all images.
    """
    height, width = x.shape[2:]
    choice = _draw(len(qualities), (-(-height // 8), -(-width // 8)), generator)
    pixels = choice.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width].to(x.device)  # (H, W)
    return sum(JPEG(quality)(x) * (pixels == i) for i, quality in enumerate(qualities))


class RandomJPEG(nn.Module):
    """model(transform(x)), drawn anew in each call.  seed: of the first draw."""

    def __init__(self, model: nn.Module, transform: Callable[[Tensor, torch.Generator], Tensor], *, seed: int = 0):
        super().__init__()
        self.model, self.transform = model, transform
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.transform(x, self.generator))


def _draw(n: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(n, shape, generator=generator)
