"""The Krotov-Hopfield update in Triton; plain twin: `krotov_hopfield.py`.

The currents are one matrix product and stay with torch's.  `_rank` finds the winner and
the k-th unit of each image, `_change` adds up what the units learn.  There are no atomics:
a program owns a tile of units x pixels and meets the images in order, so a run can be
repeated bit by bit.  Nothing waits for the host: the largest entry stays on the device.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from advlens.kernels import check_runs
from advlens.kernels.krotov_hopfield import currents

UNITS, PIXELS, IMAGES = 16, 128, 32  # the tile of _change, and how many images it meets at a time
MOST_UNITS = 32_768  # _rank holds a row of currents in registers


def update_(weights: Tensor, images: Tensor, *, p: float, k: int, delta: float, step: float) -> None:
    """As the twin's, for float32 weights (K, D) and float32 or bfloat16 images (N, D) on a GPU.

    Of equal currents, which bfloat16 makes often, the first unit's counts as the largest; the twin picks any.
    Raises ValueError for other types, shapes that do not fit, and more units than MOST_UNITS.
    """
    (units, pixels), n = weights.shape, len(images)
    if weights.dtype != torch.float32:
        raise ValueError(f"weights are {weights.dtype}; the kernel knows float32 only")
    if images.shape != (n, pixels) or not 2 <= k <= units <= MOST_UNITS or n == 0:
        raise ValueError(f"weights {tuple(weights.shape)}, images {tuple(images.shape)}, k = {k}; "
                         "the kernel knows (K, D) and (N, D) "
                         f"with N > 0 and 2 <= k <= K <= {MOST_UNITS}")
    check_runs("krotov_hopfield", images, "images are")
    if not weights.is_contiguous():
        raise ValueError("weights are not contiguous in memory; give weights.contiguous()")
    images = images.contiguous()
    chosen = torch.empty(n, 2, dtype=torch.int32, device=weights.device)  # the winner and the k-th
    strength = torch.empty(n, 2, dtype=torch.float32, device=weights.device)  # their g <W, x>
    block = triton.next_power_of_2(units)
    _rank[(n,)](currents(weights, images, p=p), chosen, strength, units, k, -delta, BLOCK=block,
                num_warps=_warps(block))

    grid = (triton.cdiv(units, UNITS), triton.cdiv(pixels, PIXELS))
    change = torch.empty_like(weights)
    largest = torch.empty(grid, dtype=torch.float32, device=weights.device)
    _change[grid](weights, images, chosen, strength, change, largest, n, units, pixels, -delta,
                  UNITS=UNITS, PIXELS=PIXELS, IMAGES=IMAGES)
    weights.addcmul_(change, step / largest.amax().clamp_min(torch.finfo(torch.float32).tiny))


def _warps(block: int) -> int:
    """So many that a thread holds 16 currents, in the largest blocks 32."""
    return min(32, max(1, block // 512))


@triton.jit
def _rank(drive, chosen, strength, units, k, punishment, BLOCK: tl.constexpr):
    """One program for each image: strike the largest current k times; the first and the last are chosen."""
    image = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    row = tl.load(drive + image * units + at, mask=at < units, other=-float("inf")).to(tl.float32)
    first = tl.argmax(row, 0)
    tl.store(chosen + 2 * image, first.to(tl.int32))
    tl.store(strength + 2 * image, tl.max(row, 0))
    for _ in range(k - 1):
        row = tl.where(at == first, -float("inf"), row)
        first = tl.argmax(row, 0)
    tl.store(chosen + 2 * image + 1, first.to(tl.int32))
    tl.store(strength + 2 * image + 1, punishment * tl.max(row, 0))


@triton.jit
def _change(weights, images, chosen, strength, change, largest, n, units, pixels, punishment,
            UNITS: tl.constexpr, PIXELS: tl.constexpr, IMAGES: tl.constexpr):
    """One program for each tile of units x pixels: sum over the images of g (x - <W, x> W), and its largest entry.

    Only images that chose a unit of the tile are read; g @ x is a small product in float32.
    """
    unit = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    pull = tl.zeros((UNITS, PIXELS), tl.float32)
    decay = tl.zeros((UNITS,), tl.float32)
    for start in range(0, n, IMAGES):
        image = start + tl.arange(0, IMAGES)
        there = image < n
        winner = tl.load(chosen + 2 * image, mask=there, other=-1)[None, :] == unit[:, None]  # (UNITS, IMAGES)
        loser = tl.load(chosen + 2 * image + 1, mask=there, other=-1)[None, :] == unit[:, None]
        g = tl.where(winner, 1.0, tl.where(loser, punishment, 0.0))
        met = tl.max((winner | loser).to(tl.int32), 0) > 0  # (IMAGES,)
        if tl.max(met.to(tl.int32), 0) > 0:
            won = tl.load(strength + 2 * image, mask=there, other=0.0)[None, :]
            lost = tl.load(strength + 2 * image + 1, mask=there, other=0.0)[None, :]
            decay += tl.sum(tl.where(winner, won, tl.where(loser, lost, 0.0)), 1)
            x = tl.load(images + image[:, None].to(tl.int64) * pixels + pixel[None, :],
                        mask=met[:, None] & (pixel < pixels)[None, :], other=0.0).to(tl.float32)
            pull += tl.dot(g, x, input_precision="ieee")
    inside = (unit < units)[:, None] & (pixel < pixels)[None, :]
    at = unit[:, None].to(tl.int64) * pixels + pixel[None, :]
    w = tl.load(weights + at, mask=inside, other=0.0)
    result = pull - decay[:, None] * w  # 0 outside
    tl.store(change + at, result, mask=inside)
    tl.store(largest + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), tl.max(tl.abs(result)))
