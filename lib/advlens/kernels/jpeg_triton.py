"""`jpeg` in Triton: colours, transforms, quantisation and back, with the pixels on the chip all the while.

A program takes a tile of 32x32 pixels.  A transform along one axis is a product with a
32x32 matrix that holds the 8x8 one four times on its diagonal.  Grey images and 4:4:4 go
in one pass.  With 4:2:0 the interpolation of the colours needs pixels of neighbouring
blocks, so there are two passes: the first writes the decoded Y, Cb and Cr as bytes, 1.5
for each pixel (reading and writing an image takes 24), the second interpolates and mixes.

Numbers are whole, as in libjpeg, and every byte that comes out is libjpeg's.  The products
are the tensor cores', exact because their factors are cut into parts of a few bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from advlens.kernels import check_runs
from advlens.kernels.jpeg import DCT

TILE = 32
WARPS = 2  # a tensor core takes 16 rows: more warps would share a tile's 32 rows, and do the same work twice


def round_trip(x: Tensor, luminance: Tensor, chrominance: Tensor, *, subsample: bool) -> Tensor:
    """As `jpeg.round_trip`, for float32 and bfloat16."""
    n, channels, height, width = x.shape
    if channels not in (1, 3):
        raise ValueError(f"x has {channels} channels; JPEG codes 1 or 3")
    check_runs("jpeg", x, "x is")
    x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    dct = torch.tensor(DCT)
    dct = torch.stack([dct >> 7, dct & 127]).to(x.device, torch.float16)  # the parts of `_parts`, (2, 8, 8)
    tables = torch.stack([luminance, chrominance]).to(x.device, torch.int32)
    across = triton.cdiv(width, TILE)
    tiles = triton.cdiv(height, TILE) * across
    if channels == 1 or not subsample:
        _planes[(n * tiles,)](x, out, dct, tables, height, width, tiles, across, CHANNELS=channels, TILE=TILE,
                              num_warps=WARPS)
        return out
    y = torch.empty(n, height, width, dtype=torch.uint8, device=x.device)
    c = torch.empty(n, 2, (height + 1) // 2, (width + 1) // 2, dtype=torch.uint8, device=x.device)
    _subsampled[(n * tiles,)](x, y, c, dct, tables, height, width, tiles, across, TILE=TILE, num_warps=WARPS)
    _interpolated[(n * tiles,)](y, c, out, height, width, tiles, across, NARROW=width <= 4, TILE=TILE)
    return out


@triton.jit
def _planes(x, out, dct, tables, height, width, tiles, across, CHANNELS: tl.constexpr, TILE: tl.constexpr):
    """Grey images, and colours at full resolution."""
    n, row, column = _where(tiles, across, TILE)
    rows, columns = row + tl.arange(0, TILE)[:, None], column + tl.arange(0, TILE)[None, :]
    # Beyond the edge the last row and column go on.
    at = tl.minimum(rows, height - 1) * width + tl.minimum(columns, width - 1)
    to, inside = rows * width + columns, (rows < height) & (columns < width)
    size = height * width
    x += n * CHANNELS * size
    out += n * CHANNELS * size
    if CHANNELS == 1:
        grey = _coded(_levels(x + at), dct, tables, TILE)
        tl.store(out + to, _pixel(grey), inside)
    else:
        y, cb, cr = _to_ycc(_levels(x + at), _levels(x + size + at), _levels(x + size + size + at))
        y = _coded(y, dct, tables, TILE)
        cb = _coded(cb, dct, tables + 64, TILE)
        cr = _coded(cr, dct, tables + 64, TILE)
        _store_rgb(out, to, size, inside, y, cb, cr)


@triton.jit
def _subsampled(x, y, c, dct, tables, height, width, tiles, across, TILE: tl.constexpr):
    """Decoded Y at full and Cb, Cr at half resolution, as bytes."""
    n, row, column = _where(tiles, across, TILE)
    size = height * width
    x += n * 3 * size
    rows, columns = row + tl.arange(0, TILE)[:, None], column + tl.arange(0, TILE)[None, :]
    at = tl.minimum(rows, height - 1) * width + tl.minimum(columns, width - 1)
    luminance, _, _ = _to_ycc(_levels(x + at), _levels(x + size + at), _levels(x + size + size + at))
    luminance = _coded(luminance, dct, tables, TILE)
    tl.store(y + n * size + rows * width + columns, luminance.to(tl.uint8), (rows < height) & (columns < width))

    HALF: tl.constexpr = TILE // 2
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    rows, columns = row // 2 + tl.arange(0, HALF)[:, None], column // 2 + tl.arange(0, HALF)[None, :]
    last = tl.minimum(rows, half_height - 1)  # below the edge the last row of means goes on, right of it the last pixel
    cb, cr = tl.zeros((HALF, HALF), tl.int32), tl.zeros((HALF, HALF), tl.int32)
    for corner in tl.static_range(4):  # the tile was just read: these loads come from the cache
        at = tl.minimum(2 * last + corner // 2, height - 1) * width + tl.minimum(2 * columns + corner % 2, width - 1)
        _, blue, red = _to_ycc(_levels(x + at), _levels(x + size + at), _levels(x + size + size + at))
        cb += blue
        cr += red
    ties = 1 + columns % 2  # a tie goes up in every second column
    cb = _coded((cb + ties) >> 2, dct, tables + 64, HALF)
    cr = _coded((cr + ties) >> 2, dct, tables + 64, HALF)
    half_size = half_height * half_width
    to, inside = n * 2 * half_size + rows * half_width + columns, (rows < half_height) & (columns < half_width)
    tl.store(c + to, cb.to(tl.uint8), inside)
    tl.store(c + to + half_size, cr.to(tl.uint8), inside)


@triton.jit
def _interpolated(y, c, out, height, width, tiles, across, NARROW: tl.constexpr, TILE: tl.constexpr):
    """Cb and Cr enlarged, and the colours mixed."""
    n, row, column = _where(tiles, across, TILE)
    rows, columns = row + tl.arange(0, TILE)[:, None], column + tl.arange(0, TILE)[None, :]
    size, inside = height * width, (rows < height) & (columns < width)
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    half_size = half_height * half_width
    near_row, near_column = rows // 2, columns // 2
    # The other of the two nearest: before an even row, after an odd one.
    far_row = tl.minimum(tl.maximum(near_row - 1 + 2 * (rows % 2), 0), half_height - 1)
    far_column = tl.minimum(tl.maximum(near_column - 1 + 2 * (columns % 2), 0), half_width - 1)
    if NARROW:
        far_row, far_column = near_row, near_column
    nn, nf = near_row * half_width + near_column, near_row * half_width + far_column
    fn, ff = far_row * half_width + near_column, far_row * half_width + far_column
    blue = c + n * 2 * half_size
    cb = _enlarged(blue, nn, nf, fn, ff, columns, inside)
    cr = _enlarged(blue + half_size, nn, nf, fn, ff, columns, inside)
    to = rows * width + columns
    luminance = tl.load(y + n * size + to, inside, 0).to(tl.int32)
    _store_rgb(out + n * 3 * size, to, size, inside, luminance, cb, cr)


@triton.jit
def _where(tiles, across, TILE: tl.constexpr):
    """Image, in 64 bits since a batch can exceed 2^31 pixels, and first row and column of this program's tile."""
    program = tl.program_id(0)
    tile = program % tiles
    return (program // tiles).to(tl.int64), tile // across * TILE, tile % across * TILE


@triton.jit
def _levels(pointers):
    """Pixels in [0, 1] -> whole numbers 0 to 255, in int32.  Ties go to the even number, as in the twin."""
    twice = tl.load(pointers).to(tl.float32) * 510  # one product and no sum: fused with it, a GPU would see other ties
    half = twice.to(tl.int32)
    down = (half % 4 == 1) & (half.to(tl.float32) == twice)
    return tl.where(down, half // 2, (half + 1) // 2)


# Colours in units of 2^-16; to shift right is to round down.
@triton.jit
def _to_ycc(r, g, b):
    y = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
    cb = (32768 * b - 11058 * r - 21710 * g + (128 * 65536 + 32767)) >> 16
    cr = (32768 * r - 27439 * g - 5329 * b + (128 * 65536 + 32767)) >> 16
    return y, cb, cr


@triton.jit
def _store_rgb(out, to, size, inside, y, cb, cr):
    cb -= 128
    cr -= 128
    r = y + ((91881 * cr + 32768) >> 16)
    g = y + ((-22554 * cb - 46802 * cr + 32768) >> 16)
    b = y + ((116130 * cb + 32768) >> 16)
    tl.store(out + to, _pixel(_byte(r)), inside)
    tl.store(out + size + to, _pixel(_byte(g)), inside)
    tl.store(out + size + size + to, _pixel(_byte(b)), inside)


@triton.jit
def _pixel(byte):
    # `/` is not correctly rounded on a GPU
    return tl.div_rn(byte.to(tl.float32), tl.full(byte.shape, 255.0, tl.float32))


@triton.jit
def _byte(value):
    return tl.minimum(tl.maximum(value, 0), 255)


@triton.jit
def _enlarged(c, nn, nf, fn, ff, columns, inside):
    """9, 3, 3 and 1 sixteenths of the four nearest; a tie goes up in even columns."""
    total = 9 * tl.load(c + nn, inside, 0).to(tl.int32) + 3 * tl.load(c + nf, inside, 0).to(tl.int32) \
        + 3 * tl.load(c + fn, inside, 0).to(tl.int32) + tl.load(c + ff, inside, 0).to(tl.int32)
    return (total + 8 - columns % 2) >> 4


@triton.jit
def _coded(tile, dct, table, SIZE: tl.constexpr):
    """The bytes that come back for a tile (SIZE, SIZE) of blocks: the four products of the twin, two from each side."""
    i, j = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    block = i // 8 == j // 8
    at, across = i % 8 * 8 + j % 8, j % 8 * 8 + i % 8
    # one 8x8 DCT for each block, on the diagonal
    transform = tl.load(dct + at, block, 0.0), tl.load(dct + 64 + at, block, 0.0)
    back = tl.load(dct + across, block, 0.0), tl.load(dct + 64 + across, block, 0.0)  # its transpose
    step = tl.load(table + at)
    t = _rounded(_product(_parts(tile - 128), back), 11)
    t = _rounded(_product(transform, _parts(t)), 15)
    # What the file would hold.  Half a unit more than a whole number: no rounding of the quotient reaches the next one.
    q = ((tl.abs(t) + 4 * step + 0.5) / (8 * step)).to(tl.int32) * step
    t = _rounded(_product(back, _parts(tl.where(t < 0, -q, q))), 11)
    return _byte(_rounded(_product(_parts(t), transform), 18) + 128)


@triton.jit
def _parts(value):
    """Whole numbers below 2^17 as 2^7 high + low, in float16, which holds 11 bits."""
    return (value >> 7).to(tl.float16), (value & 127).to(tl.float16)


@triton.jit
def _product(a, b):
    """a @ b from the parts of both, exact: no sum of the tensor cores has more than 24 bits."""
    middle = tl.dot(a[1], b[0], tl.dot(a[0], b[1])).to(tl.int32)
    return (tl.dot(a[0], b[0]).to(tl.int32) << 14) + (middle << 7) + tl.dot(a[1], b[1]).to(tl.int32)


@triton.jit
def _rounded(value, BITS: tl.constexpr):
    """value / 2^BITS, as libjpeg rounds it."""
    return (value + (1 << (BITS - 1))) >> BITS
