"""What JPEG leaves of an image: libjpeg's encoder and decoder, without the file between them.

libjpeg computes in integers.  Its constants are whole numbers over powers of two, so the
same arithmetic in floating point, rounded where libjpeg rounds, gives libjpeg's bytes:
every one in float64, and all but a few in 100,000 in float32, where the second and
the third of the four transforms need more than 24 bits.

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
CHUNK = 1 << 20  # numbers worked on at a time, so that memory does not grow with the batch


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
    transforms = _transforms(work, x.device)
    at_once, out = max(1, CHUNK // x[0].numel()), torch.empty_like(x, memory_format=torch.contiguous_format)
    with torch.no_grad():
        for part, result in zip(x.split(at_once), out.split(at_once)):
            torch.div(_coded(part.to(work), transforms, luminance, chrominance, subsample), 255, out=result)
    return out


def _coded(x: Tensor, t: Transforms, luminance: Tensor, chrominance: Tensor, subsample: bool) -> Tensor:
    """Bytes (N, C, H, W) from images in [0, 1]."""
    levels = (x * 255).round_()
    if x.shape[1] == 1:
        return _plane(levels, t, luminance)
    # Half a unit more, and whole numbers below: libjpeg rounds by adding and dropping bits.
    ycc = mixed(levels, TO_YCC, (0.5, 128.5 - 2**-16, 128.5 - 2**-16)).floor_()
    y, c = _plane(ycc[:, :1], t, luminance), ycc[:, 1:]
    if subsample:  # a tie goes up in every second column
        c = _plane(_whole(halved(c), 0.25, 0.5), t, chrominance)
        c = _whole(enlarged(c, *x.shape[2:]), 8 / 16, 7 / 16)
    else:
        c = _plane(c, t, chrominance)
    return _to_rgb(y, c.sub_(128)).floor_().clamp_(0, 255)


def mixed(planes: Tensor, matrix, shift=(0, 0, 0)) -> Tensor:
    """matrix / 2^16 times the three channels, plus shift: (N, 3, H, W) -> (N, 3, H, W)."""
    weight, shift = planes.new_tensor(matrix).div_(65536), planes.new_tensor(shift)
    return torch.baddbmm(shift[:, None], weight.expand(len(planes), 3, 3), planes.flatten(2)).view(planes.shape)


def halved(c: Tensor) -> Tensor:
    """Means of 2x2 pixels, (N, 2, H, W) -> (N, 2, ceil(H/2), W/2), where W is first filled up to 16."""
    c = padded(c, 2, 16)
    c = c[:, :, ::2] + c[:, :, 1::2]
    return (c[..., ::2] + c[..., 1::2]) * 0.25  # on a chunk that fits the cache several times faster than avg_pool2d


def enlarged(c: Tensor, height: int, width: int) -> Tensor:
    """Bilinear interpolation to (N, 2, height, width), from the pixels of `halved` that lie inside the image."""
    c = c[..., :(width + 1) // 2]
    if c.shape[3] <= 2:  # libjpeg repeats the pixels of so narrow an image
        return c.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :height, :width]
    around = F.pad(c, (1, 1, 0, 0), mode="replicate")
    c = torch.stack([torch.lerp(c, around[..., :-2], 0.25), torch.lerp(c, around[..., 2:], 0.25)], 4).flatten(3)
    around = F.pad(c, (0, 0, 1, 1), mode="replicate")
    c = torch.stack([torch.lerp(c, around[:, :, :-2], 0.25), torch.lerp(c, around[:, :, 2:], 0.25)], 3).flatten(2, 3)
    return c[:, :, :height, :width]


def padded(planes: Tensor, vertical: int, horizontal: int) -> Tensor:
    """The last row and the last column repeated up to multiples of `vertical` and `horizontal`."""
    down, right = -planes.shape[2] % vertical, -planes.shape[3] % horizontal
    return F.pad(planes, (0, right, 0, down), mode="replicate") if down or right else planes


def _to_rgb(y: Tensor, c: Tensor) -> Tensor:
    """`mixed` with TO_RGB, half of whose entries are 0 or 1, plus half a unit: Y (N, 1, H, W), Cb, Cr (N, 2, H, W)."""
    rgb, (cb, cr), y = y.new_empty(len(y), 3, *y.shape[2:]), c.unbind(1), y[:, 0].add_(0.5)
    (_, _, red), (_, green_b, green_r), (_, blue, _) = TO_RGB
    torch.add(y, cr, alpha=red / 65536, out=rgb[:, 0])
    torch.add(y, cb, alpha=green_b / 65536, out=rgb[:, 1]).add_(cr, alpha=green_r / 65536)
    torch.add(y, cb, alpha=blue / 65536, out=rgb[:, 2])
    return rgb


def _whole(c: Tensor, even: float, odd: float) -> Tensor:
    """Whole numbers, in place: even and odd columns get something more before the fraction is dropped."""
    c[..., ::2] += even
    c[..., 1::2] += odd
    return c.floor_()


class Transforms(NamedTuple):
    """The four one-dimensional transforms of a plane.

    Those along the rows take two blocks at a time: 16 numbers are faster than 8.
    """

    rows: Tensor  # (16, 16), to be multiplied from the right, like `back_rows`
    columns: Tensor  # (8, 8), to be multiplied from the left, like `back_columns`
    back_columns: Tensor
    back_rows: Tensor


def _transforms(dtype: torch.dtype, device: torch.device) -> Transforms:
    """Between two transforms libjpeg keeps 2 bits more than it needs, and its coefficients are 8 times too large."""
    dct = torch.tensor(DCT, dtype=dtype, device=device).div_(8192)
    return Transforms(torch.block_diag(4 * dct.T, 4 * dct.T), dct / 4, 4 * dct.T, torch.block_diag(dct / 32, dct / 32))


def _plane(planes: Tensor, t: Transforms, table: Tensor) -> Tensor:
    """Bytes that come back for bytes (N, C, H, W), each channel coded on its own with the table (8, 8)."""
    (height, width), planes = planes.shape[2:], padded(planes, 8, 8)
    step = 8 * table.to(planes.dtype).repeat(1, planes.shape[3] // 8)  # (8, W)
    z = planes.reshape(-1, 8, planes.shape[3]) - 128  # one row of blocks after the other
    z = _along_columns(_along_rows(z, t.rows), t.columns)
    # What the file would hold.  Ties go away from 0: hence a little more than 1 / step.
    z.mul_((1 + 2**-20) / step).round_().mul_(step / 8)
    z = _along_rows(_along_columns(z, t.back_columns), t.back_rows).add_(128).clamp_(0, 255)
    return z.view(planes.shape)[:, :, :height, :width]


def _along_rows(z: Tensor, matrix: Tensor) -> Tensor:
    return torch.mm(z.view(-1, 16), matrix).add_(0.5).floor_().view(z.shape)


def _along_columns(z: Tensor, matrix: Tensor) -> Tensor:
    return torch.bmm(matrix.expand(len(z), 8, 8), z).add_(0.5).floor_()
