"""JPEG: the real codec, and the same codec as a layer that gradients pass.

>>> x = torch.linspace(0, 1, 192).view(1, 3, 8, 8)
>>> coded = JPEG(quality=10)(x)
>>> (coded - compress(x, quality=10)).abs().max().item() * 255 < 2
True
"""

import io
import math
import os
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from advlens import kernels
from advlens.inputs import check_images, check_known
from advlens.kernels.jpeg import DCT, TO_RGB, TO_YCC, enlarged, halved, mixed, padded

# The tables of the standard for quality 50 (wallace1992; ITU T.81, Annex K): row = vertical frequency.
LUMINANCE = ((16, 11, 10, 16, 24, 40, 51, 61),
             (12, 12, 14, 19, 26, 58, 60, 55),
             (14, 13, 16, 24, 40, 57, 69, 56),
             (14, 17, 22, 29, 51, 87, 80, 62),
             (18, 22, 37, 56, 68, 109, 103, 77),
             (24, 35, 55, 64, 81, 104, 113, 92),
             (49, 64, 78, 87, 103, 121, 120, 101),
             (72, 92, 95, 98, 112, 100, 103, 99))
CHROMINANCE = ((17, 18, 24, 47, 99, 99, 99, 99),
               (18, 21, 26, 66, 99, 99, 99, 99),
               (24, 26, 56, 99, 99, 99, 99, 99),
               (47, 66, 99, 99, 99, 99, 99, 99),
               *((99,) * 8,) * 4)
SUBSAMPLINGS = ("4:2:0", "4:4:4")
ROUNDINGS = ("straight-through", "smooth")
THREADED = 128 * 128  # pixels of an image from which threads gain: below, handing over costs more


def tables(quality: int) -> tuple[Tensor, Tensor]:
    """The quantisation tables (8, 8) of luminance and chrominance at a quality of 1 to 100, int64.

    Row = vertical frequency.  The scale is that of the Independent JPEG Group: quality 50
    is the standard's own table, 100 divides by 1 only.
    Raises TypeError or ValueError for another quality.
    """
    if not isinstance(quality, int) or isinstance(quality, bool):
        raise TypeError(f"quality is {quality!r}; give a whole number from 1 to 100")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality = {quality}; give a whole number from 1 to 100")
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(((torch.tensor(base) * percent + 50) // 100).clamp(1, 255) for base in (LUMINANCE, CHROMINANCE))


def compress(images: Tensor, quality: int, subsampling: str = "4:2:0") -> Tensor:
    """Images after the real codec: coded by Pillow and decoded again, several at a time.

    images: (N, C, H, W) in [0, 1], C = 1 or 3, rounded to 8 bits first.  quality: 1 to 100.
    subsampling: "4:2:0" halves the resolution of the colours, "4:4:4" keeps it.
    Returns images of the same type on the same device; no gradient passes.
    Raises TypeError or ValueError for input outside this contract.
    Source: wallace1992; as a defence, unam2021.
    """
    import numpy as np
    from PIL import Image

    tables(quality)  # raises
    _check(images, subsampling)
    work = torch.promote_types(images.dtype, torch.float32)  # in half precision a product with 255 loses levels
    # (N, H, W, C)
    levels = (images.detach().to(work) * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous()
    pixels = levels.numpy() if levels.shape[3] == 3 else levels[..., 0].numpy()

    def there_and_back(part: np.ndarray) -> np.ndarray:
        coded = np.empty_like(part)
        for i, image in enumerate(part):
            file = io.BytesIO()
            colour = {} if image.ndim == 2 else {"subsampling": subsampling}
            Image.fromarray(image).save(file, "JPEG", quality=quality, **colour)
            coded[i] = Image.open(file)
        return coded

    threads = 1 if images[0, 0].numel() < THREADED else min(len(pixels), os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:  # Pillow lets other threads run while it codes
        coded = np.concatenate([*pool.map(there_and_back, np.array_split(pixels, threads))])
    return torch.from_numpy(coded).view(levels.shape).permute(0, 3, 1, 2).to(images).div(255).contiguous()


class JPEG(nn.Module):
    """JPEG as a layer: images (N, C, H, W) in [0, 1] -> the images that come back from the file.

    quality, subsampling: as `compress`.  rounding:

    "straight-through": what comes out is libjpeg's result (float64: byte for byte); the
    gradient takes every rounding and clipping for the identity.  What is left of the codec
    is linear: the identity for grey images and "4:4:4", and for "4:2:0" the loss of
    resolution of the colours.  This is BPDA (athalye2018) through the codec.

    "smooth": the coefficients are not rounded but drawn towards whole numbers by
    q - sin(2 pi q) / (2 pi), and nothing else is rounded; the gradient is the true one of
    that.  The function is continuous and its slope is 1 on average: 0 at a whole number,
    2 half-way between two.  (The cubic round(q) + (q - round(q))^3 jumps half-way, and its
    slope is 1/4 on average: it shrinks every gradient.)

    No parameters, empty state.  Raises TypeError or ValueError as `compress`, and for an
    unknown rounding.  Source: wallace1992; smooth rounding: shin2017.
    """

    def __init__(self, quality: int, subsampling: str = "4:2:0", rounding: str = "straight-through"):
        super().__init__()
        check_known("rounding", rounding, ROUNDINGS)
        check_known("subsampling", subsampling, SUBSAMPLINGS)
        self.quality, self.subsampling, self.rounding = quality, subsampling, rounding
        for name, table in zip(("luminance", "chrominance"), tables(quality)):
            self.register_buffer(name, table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        _check(x, self.subsampling)
        subsample = self.subsampling == "4:2:0"
        with torch.autocast(x.device.type, enabled=False):  # 8 bits of a product are not enough for JPEG's tables
            if self.rounding == "smooth":
                work = x if x.dtype == torch.float64 else x.float()
                return _in_real_numbers(work, subsample, self._smooth).clamp(0, 1).to(x.dtype)
            codec = kernels.implementation("jpeg", x.device.type, x.dtype)
            coded = codec.round_trip(x.detach(), self.luminance, self.chrominance, subsample=subsample)
            if not (torch.is_grad_enabled() and x.requires_grad):
                return coded
            linear = _in_real_numbers(x, subsample, lambda planes, table: planes)
            return coded + (linear - linear.detach())  # + 0, with the gradient of `linear`

    def _smooth(self, planes: Tensor, name: str) -> Tensor:
        """Planes (N, C, H, W) whose coefficients are drawn towards multiples of the table's entries."""
        (height, width), filled = planes.shape[2:], padded(planes, 8, 8)
        dct = planes.new_tensor(DCT) / (8192 * math.sqrt(8))
        step = getattr(self, name) / planes.new_tensor(255)
        blocks = filled.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)  # (N, C, H/8, W/8, 8, 8)
        q = dct @ blocks @ dct.T / step
        q = q - torch.sin(2 * math.pi * q) / (2 * math.pi)
        blocks = dct.T @ (q * step) @ dct
        return blocks.transpose(3, 4).reshape(filled.shape)[:, :, :height, :width]

    def extra_repr(self) -> str:
        return f"quality={self.quality}, subsampling={self.subsampling!r}, rounding={self.rounding!r}"


def _in_real_numbers(x: Tensor, subsample: bool, plane) -> Tensor:
    """The codec without a rounding: colours there and back, and `plane(planes, table's name)` in between."""
    level = 128 / 255  # the middle of the scale is 0
    if x.shape[1] == 1:
        return plane(x - level, "luminance") + level
    ycc = mixed(x - level, TO_YCC)
    y, c = plane(ycc[:, :1], "luminance"), ycc[:, 1:]
    c = enlarged(plane(halved(c), "chrominance"), *x.shape[2:]) if subsample else plane(c, "chrominance")
    return mixed(torch.cat([y, c], 1), TO_RGB) + level


def _check(x: Tensor, subsampling: str) -> None:
    check_images(x)
    if x.shape[1] not in (1, 3):
        raise ValueError(f"x has {x.shape[1]} channels, its shape is {tuple(x.shape)}; JPEG codes 1 (grey) or 3 (RGB)")
    check_known("subsampling", subsampling, SUBSAMPLINGS)
