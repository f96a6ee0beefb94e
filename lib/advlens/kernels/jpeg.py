"""What JPEG leaves of an image: libjpeg's encoder and decoder, without the file between them.

libjpeg computes in integers.  Its constants are whole numbers over powers of two, so the
same arithmetic in floating point, rounded where libjpeg rounds, gives libjpeg's bytes:
every one in float64, and all but about one in 10,000 in float32, where the second and
the third of the four transforms below need more than 24 bits.

A block of 8x8 pixels is one row of 64 numbers here, and a transform along its rows or
its columns is one product with a 64x64 matrix: more arithmetic than a product with an
8x8 matrix needs, and far less time on a CPU.

>>> grey = torch.full((1, 1, 8, 8), 0.5)
>>> (255 * round_trip(grey, torch.full((8, 8), 10), torch.full((8, 8), 10), subsample=False)).unique().tolist()
[128.0]
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# sqrt(8) times the orthonormal DCT of 8 numbers (row: frequency, column: pixel), in units of 2^-13.
# Its cosines carry the roundings of libjpeg's default transform, the factorisation of loeffler1989 in 13 bits.
DCT = ((8192, 8192, 8192, 8192, 8192, 8192, 8192, 8192),
       (11363, 9633, 6437, 2260, -2260, -6437, -9633, -11363),
       (10703, 4433, -4433, -10703, -10703, -4433, 4433, 10703),
       (9633, -2259, -11362, -6436, 6436, 11362, 2259, -9633),
       (8192, -8192, -8192, 8192, 8192, -8192, -8192, 8192),
       (6437, -11362, 2261, 9633, -9633, -2261, 11362, -6437),
       (4433, -10704, 10704, -4433, -4433, 10704, -10704, 4433),
       (2260, -6436, 9633, -11363, 11363, -9633, 6436, -2260))
# Colours (wallace1992; JFIF), in units of 2^-16: R, G, B -> Y, Cb, Cr, and Y, Cb, Cr -> R, G, B.
TO_YCC = ((19595, 38470, 7471), (-11058, -21710, 32768), (32768, -27439, -5329))
TO_RGB = ((65536, 0, 91881), (65536, -22554, -46802), (65536, 116130, 0))
CHUNK = 1 << 17  # numbers worked on at a time: as many as stay in a core's cache


def round_trip(x: Tensor, luminance: Tensor, chrominance: Tensor, *, subsample: bool) -> Tensor:
    """Images (N, C, H, W) in [0, 1], coded and decoded with two quantisation tables (8, 8).

    C = 1 or 3.  subsample: halve the resolution of the colours (4:2:0).  No gradients.
    Returns the bytes of the decoded images, over 255, in the type of x; half precision
    is computed in float32.  Raises ValueError for another number of channels.
    Source: wallace1992; the order of the roundings is libjpeg's.
    """
    if x.shape[1] not in (1, 3):
        raise ValueError(f"x has {x.shape[1]} channels; JPEG codes 1 or 3")
    work = x.dtype if x.dtype == torch.float64 else torch.float32
    luminance, chrominance = (_matrices(table, work) for table in (luminance, chrominance))
    at_once = max(1, CHUNK // x[0].numel())
    with torch.no_grad():
        parts = [_coded(part.to(work), luminance, chrominance, subsample) for part in x.split(at_once)]
        return torch.cat(parts).div_(255).to(x.dtype)


def _coded(x: Tensor, luminance: Matrices, chrominance: Matrices, subsample: bool) -> Tensor:
    """Bytes (N, C, H, W) from images in [0, 1]."""
    levels = (x * 255).round_()
    if x.shape[1] == 1:
        return _plane(levels, luminance)
    # Half a unit more, and whole numbers below: libjpeg rounds by adding and dropping bits.
    ycc = mixed(levels, TO_YCC, (0.5, 128.5 - 2**-16, 128.5 - 2**-16)).floor_()
    y, c = _plane(ycc[:, :1], luminance), ycc[:, 1:]
    if subsample:  # a tie goes up in every second column
        c = _plane(_whole(halved(c), (0.25, 0.5)), chrominance)
        c = _whole(enlarged(c, *x.shape[2:]), (8 / 16, 7 / 16))
    else:
        c = _plane(c, chrominance)
    shift = [0.5 - 128 * (row[1] + row[2]) / 65536 for row in TO_RGB]
    return mixed(torch.cat([y, c], 1), TO_RGB, shift).floor_().clamp_(0, 255)


def mixed(planes: Tensor, matrix, shift=(0, 0, 0)) -> Tensor:
    """matrix / 2^16 times the three channels, plus shift: (N, 3, H, W) -> (N, 3, H, W)."""
    weight, shift = planes.new_tensor(matrix).div_(65536), planes.new_tensor(shift)
    return torch.baddbmm(shift[:, None], weight.expand(len(planes), 3, 3), planes.flatten(2)).view(planes.shape)


def halved(c: Tensor) -> Tensor:
    """Means of 2x2 pixels, (N, 2, H, W) -> (N, 2, ceil(H/2), W/2), where W is first filled up to 16."""
    return F.avg_pool2d(padded(c, 2, 16), 2)


def enlarged(c: Tensor, height: int, width: int) -> Tensor:
    """Bilinear interpolation to (N, 2, height, width), from the pixels of `halved` that lie inside the image."""
    c = c[:, :, :(height + 1) // 2, :(width + 1) // 2]
    if c.shape[3] <= 2:  # libjpeg repeats the pixels of so narrow an image
        c = c.repeat_interleave(2, 2).repeat_interleave(2, 3)
    else:
        c = F.interpolate(c, scale_factor=2, mode="bilinear", align_corners=False)
    return c[:, :, :height, :width]


def padded(planes: Tensor, vertical: int, horizontal: int) -> Tensor:
    """The last row and the last column repeated up to multiples of `vertical` and `horizontal`."""
    down, right = -planes.shape[2] % vertical, -planes.shape[3] % horizontal
    return F.pad(planes, (0, right, 0, down), mode="replicate") if down or right else planes


def _whole(c: Tensor, add: tuple[float, float]) -> Tensor:
    """Whole numbers, in place: `add` holds what even and odd columns get before the fraction is dropped."""
    return c.add_(c.new_tensor(add).repeat(c.shape[3] // 2 + 1)[:c.shape[3]]).floor_()


class Matrices(NamedTuple):
    """A plane's four transforms, each (64, 64) to be multiplied from the right, and 1 / table (64,)."""

    rows: Tensor
    columns: Tensor
    quantise: Tensor
    back_columns: Tensor
    back_rows: Tensor


def _matrices(table: Tensor, dtype: torch.dtype) -> Matrices:
    """All that a plane needs for its table.  Between the transforms libjpeg keeps 2 more bits, at the end of each pair 3."""
    dct = torch.tensor(DCT, dtype=dtype, device=table.device).div_(8192)
    one, table = torch.eye(8, dtype=dtype, device=table.device), table.to(dtype).flatten()
    # Coefficients are 8 times too large here.  Ties go away from 0: hence a little more than 1 / table.
    return Matrices(torch.kron(one, 4 * dct).T, torch.kron(dct / 4, one).T, (1 + 2**-20) / (8 * table),
                    table[:, None] * torch.kron(4 * dct, one), torch.kron(one, dct / 32))


def _plane(planes: Tensor, m: Matrices) -> Tensor:
    """Bytes that come back for bytes (N, C, H, W), each channel coded on its own."""
    (n, channels, height, width), filled = planes.shape, padded(planes, 8, 8)
    grid = (n, channels, filled.shape[2] // 8, filled.shape[3] // 8)
    blocks = filled.view(*grid[:3], 8, grid[3], 8).transpose(3, 4).reshape(-1, 64)
    half = blocks.new_tensor(0.5)
    blocks = torch.addmm(half - 128 * m.rows.sum(0), blocks, m.rows).floor_()
    blocks = torch.addmm(half, blocks, m.columns).floor_()  # 8 times the coefficients
    blocks.mul_(m.quantise).round_()                        # what the file would hold
    blocks = torch.addmm(half, blocks, m.back_columns).floor_()
    blocks = torch.addmm(half + 128, blocks, m.back_rows).floor_().clamp_(0, 255)
    return blocks.view(*grid, 8, 8).transpose(3, 4).reshape(filled.shape)[:, :, :height, :width]
