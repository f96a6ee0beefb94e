"""Pairwise differences in Triton: the functions of `pairwise`, with the pairs never leaving the chip.

A program makes a tile of sigmoids in registers and hands it to the tensor cores.  Sums are
float32 and always added in the same order: no atomics.  Where there are too few results to
fill the device, the loop over what is summed is cut into parts, and their sums are added at
the end.  Source: cutilli2021, 3.2.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from advlens.kernels import check_runs, interpreted
from advlens.kernels.pairwise import check

SAMPLES, PAIRS = 32, 64  # sides of a tile; the third, over the outputs, follows the layer
WARPS = 8  # with four, a tile does not fit into their registers
PROGRAMS = 512  # about four for each multiprocessor of a large device
MOST_PAIRS = 2 ** 30  # a pair's number is an int32
# One product of TF32 numbers has 10 bits; three of them are as good as float32.
PRECISION = {torch.float32: "tf32x3", torch.bfloat16: "ieee"}


def forward(v: Tensor, weight: Tensor) -> Tensor:
    """As `pairwise.forward`, for float32 and bfloat16."""
    v, weight = _checked(v, weight)
    (samples, _), outputs, count = v.shape, len(weight), weight[0].numel()
    options = _options(v, weight)
    grid = triton.cdiv(samples, SAMPLES), triton.cdiv(outputs, options["OUTPUTS"])
    sums = v.new_empty(_parts(grid, triton.cdiv(count, PAIRS), samples * outputs, v, weight), samples, outputs,
                       dtype=torch.float32)
    _forward[(*grid, len(sums))](v, weight, sums, *v.shape, outputs, count, **options)
    return _total(sums, v)


def backward(grad: Tensor, v: Tensor, weight: Tensor, to_v: bool = True,
             to_weight: bool = True) -> tuple[Tensor | None, Tensor | None]:
    """As `pairwise.backward`, for float32 and bfloat16."""
    v, weight = _checked(v, weight)
    grad = grad.to(v.dtype).contiguous()
    (samples, n), outputs, count = v.shape, len(weight), weight[0].numel()
    options, grad_v, grad_weight = _options(v, weight), None, None
    if to_v:
        grid = triton.cdiv(samples, SAMPLES), triton.cdiv(n, PAIRS)
        sums = v.new_empty(_parts(grid, n, v.numel(), v, weight), samples, n, dtype=torch.float32)
        _backward_v[(*grid, len(sums))](grad, v, weight, sums, *v.shape, outputs, count,
                                        **_options(v, weight, narrow=True))
        grad_v = _total(sums, v)
    if to_weight:
        grid = triton.cdiv(count, PAIRS), triton.cdiv(outputs, options["OUTPUTS"])
        sums = v.new_empty(_parts(grid, triton.cdiv(samples, SAMPLES), weight.numel(), v, weight), *weight.shape,
                           dtype=torch.float32)
        _backward_weight[(*grid, len(sums))](grad, v, sums, *v.shape, outputs, count, **options)
        grad_weight = _total(sums, v)
    return grad_v, grad_weight


def _checked(v: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    check(v, weight)
    check_runs("pairwise", v, "v is")
    if weight[0].numel() > MOST_PAIRS:
        raise ValueError(f"{weight[0].numel():,} pairs of {v.shape[1]:,} numbers; the kernel knows at most "
                         f"{MOST_PAIRS:,}, advlens.kernels.pairwise any number")
    return v.contiguous(), weight.contiguous()


def _options(v: Tensor, weight: Tensor, *, narrow: bool = False) -> dict:
    """narrow: for a program that has so much else in its registers that a tile of 64 outputs would not fit."""
    # a tensor core takes no less than 16
    outputs = min(32 if narrow else 64, max(16, triton.next_power_of_2(len(weight))))
    # Triton's interpreter would multiply the bits of bfloat16 as integers.
    dot = tl.bfloat16 if v.dtype == torch.bfloat16 and not interpreted() else tl.float32
    return {"FULL": weight.ndim == 3, "PRECISION": PRECISION[v.dtype], "DOT": dot,
            "SAMPLES": SAMPLES, "PAIRS": PAIRS, "OUTPUTS": outputs,
            "num_warps": WARPS}


def _parts(grid: tuple[int, int], steps: int, results: int, v: Tensor, weight: Tensor) -> int:
    """Into how many parts the loop is cut; their sums hold no more numbers than inputs and weights do."""
    room = (v.numel() + weight.numel()) // results
    return max(1, min(triton.cdiv(PROGRAMS, grid[0] * grid[1]), steps, room))


def _total(sums: Tensor, v: Tensor) -> Tensor:
    """Add up the parts, (parts, ...) -> (...)."""
    return (sums[0] if len(sums) == 1 else sums.sum(0)).to(v.dtype)


@triton.jit
def _ends(p, n, FULL: tl.constexpr):
    """i and j of the pairs p."""
    if FULL:
        i, j = p // n, p % n
    else:
        i = p % n
        j = i + p // n + 1
        j = tl.where(j < n, j, j - n)
    return i, j


@triton.jit
def _sigmoids(v, rows, i, j, inside, n):
    """sigmoid(v_i - v_j), (SAMPLES, PAIRS) in float32."""
    at = v + rows.to(tl.int64)[:, None] * n
    v_i = tl.load(at + i[None, :], mask=inside, other=0.0).to(tl.float32)
    v_j = tl.load(at + j[None, :], mask=inside, other=0.0).to(tl.float32)
    return tl.sigmoid(v_i - v_j)


@triton.jit
def _forward(v, weight, sums, samples, n, outputs, count, FULL: tl.constexpr, PRECISION: tl.constexpr,
             DOT: tl.constexpr, SAMPLES: tl.constexpr, PAIRS: tl.constexpr, OUTPUTS: tl.constexpr):
    """sums (parts, samples, outputs): one tile of samples x outputs, over every parts-th tile of pairs."""
    rows = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    outs = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    part = tl.program_id(2)
    total = tl.zeros((SAMPLES, OUTPUTS), tl.float32)
    for start in range(part * PAIRS, count, tl.num_programs(2) * PAIRS):
        p = start + tl.arange(0, PAIRS)
        i, j = _ends(p, n, FULL)
        s = _sigmoids(v, rows, i, j, (rows < samples)[:, None] & (p < count)[None, :], n)
        w = tl.load(weight + outs.to(tl.int64)[None, :] * count + p[:, None],
                    mask=(outs < outputs)[None, :] & (p < count)[:, None], other=0.0)  # 0: no pair there
        total = tl.dot(s.to(DOT), w.to(DOT), total, input_precision=PRECISION)
    at = sums + (part.to(tl.int64) * samples + rows[:, None]) * outputs + outs[None, :]
    tl.store(at, total, mask=(rows < samples)[:, None] & (outs < outputs)[None, :])


@triton.jit
def _backward_weight(grad, v, sums, samples, n, outputs, count, FULL: tl.constexpr, PRECISION: tl.constexpr,
                     DOT: tl.constexpr, SAMPLES: tl.constexpr, PAIRS: tl.constexpr, OUTPUTS: tl.constexpr):
    """sums (parts, outputs, pairs): one tile of outputs x pairs, over every parts-th tile of samples."""
    p = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    outs = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    part = tl.program_id(2)
    i, j = _ends(p, n, FULL)
    total = tl.zeros((OUTPUTS, PAIRS), tl.float32)
    for start in range(part * SAMPLES, samples, tl.num_programs(2) * SAMPLES):
        rows = start + tl.arange(0, SAMPLES)
        s = _sigmoids(v, rows, i, j, (rows < samples)[:, None] & (p < count)[None, :], n)
        g = tl.load(grad + rows.to(tl.int64)[None, :] * outputs + outs[:, None],
                    mask=(rows < samples)[None, :] & (outs < outputs)[:, None], other=0.0)  # 0: no sample there
        total = tl.dot(g.to(DOT), s.to(DOT), total, input_precision=PRECISION)
    at = sums + (part.to(tl.int64) * outputs + outs[:, None]) * count + p[None, :]
    tl.store(at, total, mask=(outs < outputs)[:, None] & (p < count)[None, :])


@triton.jit
def _backward_v(grad, v, weight, sums, samples, n, outputs, count, FULL: tl.constexpr, PRECISION: tl.constexpr,
                DOT: tl.constexpr, SAMPLES: tl.constexpr, PAIRS: tl.constexpr, OUTPUTS: tl.constexpr):
    """sums (parts, samples, n): one tile of samples x inputs m, over every parts-th partner k of each m.

    Every pair is met twice, once from each end: a third more products than with one visit,
    but each result belongs to one program, and no two add to the same number.
    """
    rows = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)
    m = tl.program_id(1) * PAIRS + tl.arange(0, PAIRS)
    part = tl.program_id(2)
    inside = (rows < samples)[:, None] & (m < n)[None, :]
    total = tl.zeros((SAMPLES, PAIRS), tl.float32)
    for turn in range(part, n, tl.num_programs(2)):
        # Neighbouring m read neighbouring weights: W_km for one k, or the pairs (m, m + turn).
        # Only W_mk lies a row apart.
        if FULL:
            k = m * 0 + turn
            p, mirror = m * n + k, k * n + m
            present = m < n
        else:
            k = m + turn
            k = tl.where(k < n, k, k - n)
            back = n - turn  # from k it is so many steps on to m
            own = (turn < back) | ((turn == back) & (m < k))
            p = tl.where(own, (turn - 1) * n + m, (back - 1) * n + k)
            present = (m < n) & (turn > 0)
        to_s = tl.zeros((SAMPLES, PAIRS), tl.float32)
        for first in range(0, outputs, OUTPUTS):
            outs = first + tl.arange(0, OUTPUTS)
            g = tl.load(grad + rows.to(tl.int64)[:, None] * outputs + outs[None, :],
                        mask=(rows < samples)[:, None] & (outs < outputs)[None, :], other=0.0)
            at, here = weight + outs.to(tl.int64)[:, None] * count, (outs < outputs)[:, None] & present[None, :]
            w = tl.load(at + p[None, :], mask=here, other=0.0).to(tl.float32)
            if FULL:
                w -= tl.load(at + mirror[None, :], mask=here, other=0.0).to(tl.float32)
            to_s = tl.dot(g.to(DOT), w.to(DOT), to_s, input_precision=PRECISION)
        if not FULL:
            to_s = tl.where(own[None, :], to_s, -to_s)
        s = _sigmoids(v, rows, m, k, inside, n)
        total += to_s * s * (1 - s)
    at = sums + (part.to(tl.int64) * samples + rows[:, None]) * n + m[None, :]
    tl.store(at, total, mask=inside)
