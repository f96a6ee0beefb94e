"""JPEG with chance in front of a net: a random quality for each call, or for each block of 8 x 8 pixels.

JPEG of one quality needs nothing new: `torch.nn.Sequential(JPEG(quality), net)`, nor does the net
that draws anew: `masking.Randomized(net, random_quality)`.  The two transformations here are as
`attacks.EOT` wants them, with one draw for all images, and pass gradients straight through.
Source: das2018 (SHIELD) for the blocks.

>>> x = torch.rand(2, 1, 28, 28)
>>> random_blocks(x, torch.Generator()).shape
torch.Size([2, 1, 28, 28])
"""

from typing import Sequence

import torch
from torch import Tensor

from advlens.inputs import check_at_least_one
from advlens.jpeg import JPEG

QUALITIES = (20, 40, 60, 80)  # those of das2018


def random_quality(x: Tensor, generator: torch.Generator, qualities: Sequence[int] = QUALITIES) -> Tensor:
    """The images (N, C, H, W) after JPEG of one quality, drawn from `qualities`, for all of them."""
    check_at_least_one(qualities=len(qualities))
    return JPEG(qualities[torch.randint(len(qualities), (), generator=generator).item()])(x)


def random_blocks(x: Tensor, generator: torch.Generator, qualities: Sequence[int] = QUALITIES) -> Tensor:
    """The images (N, C, H, W) in which each block of 8 x 8 pixels comes from JPEG of a quality of its own.

    The whole image is coded at each quality, and each block is taken from one of the results.
    The draw for a place is the same in all images.
    """
    check_at_least_one(qualities=len(qualities))
    height, width = x.shape[2:]
    choice = torch.randint(len(qualities), (-(-height // 8), -(-width // 8)), generator=generator)
    pixels = choice.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width].to(x.device)  # (H, W)
    return sum(JPEG(quality)(x) * (pixels == i) for i, quality in enumerate(qualities))
