"""Augmentations for `training.fit`, (images (N, C, H, W), generator) -> images: values, so that a run can tell them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from advlens.inputs import check_amount


@dataclass(frozen=True)
class shift:  # lower case, as all of them: it is used as a function
    """Augmentation: move each image by up to `pixels` in both directions, zeros outside.  Raises for pixels < 0."""

    pixels: int

    def __post_init__(self):
        check_amount(self.pixels, "pixels")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = x.shape
        padded = F.pad(x, (self.pixels,) * 4)  # (N, C, H + 2p, W + 2p)
        dy, dx = torch.randint(0, 2 * self.pixels + 1, (2, n), generator=generator)
        rows = dy[:, None] + torch.arange(height)  # (N, H)
        columns = dx[:, None] + torch.arange(width)  # (N, W)
        return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class flip_and_shift(shift):
    """Augmentation for photographs: `shift`, and a mirror image half of the time."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        return super().__call__(torch.where(mirrored[:, None, None, None], x.flip(3), x), generator)


@dataclass(frozen=True)
class noise:
    """Augmentation: Gaussian noise of standard deviation `sigma`, in pixel units; the result is clipped to [0, 1]."""

    sigma: float

    def __post_init__(self):
        check_amount(self.sigma, "sigma")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return (x + self.sigma * torch.randn(x.shape, generator=generator)).clamp(0, 1)
