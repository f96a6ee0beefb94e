"""The pair search of JSMA in Triton: tiles of pairs live and die on the chip.

A program takes one image and BLOCK_P features p, and walks over the features q >= p in
tiles of BLOCK_Q.  Every cell of the tile keeps its own best pair, so the walk needs no
reduction; one at the end leaves one pair a program, and torch chooses among the
programs.  No atomics: the result is the same each time, ties included.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from advlens.kernels import check_runs
from advlens.kernels.jsma import check

BLOCK_P, BLOCK_Q = 32, 128
WARPS = {torch.float32: 4, torch.float64: 8}  # numbers twice as wide stay in registers with twice the threads


@triton.jit
def search_rows(a, b, score, pair, n, blocks, BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr):
    """a, b: (N, n).  score, pair: (N, blocks), for each block of features p the best score, and its pair as p n + q."""
    program = tl.program_id(0).to(tl.int64)
    image, block = program // blocks, (program % blocks).to(tl.int32)
    a += image * n
    b += image * n
    p = block * BLOCK_P + tl.arange(0, BLOCK_P)
    a_p = tl.load(a + p, mask=p < n, other=float("-inf"))[:, None]
    b_p = tl.load(b + p, mask=p < n, other=float("-inf"))[:, None]
    best = tl.zeros((BLOCK_P, BLOCK_Q), a_p.dtype)
    partner = tl.zeros((BLOCK_P, BLOCK_Q), tl.int32)
    for start in range(block * BLOCK_P // BLOCK_Q * BLOCK_Q, n, BLOCK_Q):
        q = start + tl.arange(0, BLOCK_Q)
        a_q = tl.load(a + q, mask=q < n, other=float("-inf"))[None, :]
        b_q = tl.load(b + q, mask=q < n, other=float("-inf"))[None, :]
        value = tl.maximum(a_p + a_q, 0.0) * tl.maximum(b_p + b_q, 0.0)  # (BLOCK_P, BLOCK_Q)
        better = (value > best) & (p[:, None] < q[None, :])  # never >=: among equals the first tile wins
        best, partner = tl.where(better, value, best), tl.where(better, q[None, :], partner)
    value = tl.max(best)
    number = p[:, None].to(tl.int64) * n + partner  # the smallest is the first in the order of (p, q)
    tl.store(score + program, value)
    tl.store(pair + program, tl.min(tl.where(best == value, number, 0x7FFFFFFFFFFFFFFF)))


def best_pair(a: Tensor, b: Tensor) -> Tensor:
    """As `advlens.kernels.jsma.best_pair`: the same pairs, ties included."""
    a, b = (v.contiguous() for v in check(a, b))
    check_runs("jsma", a, "a is")
    n = a.shape[1]
    score = a.new_empty(len(a), triton.cdiv(n, BLOCK_P))
    pair = torch.empty_like(score, dtype=torch.int64)
    search_rows[(score.numel(),)](a, b, score, pair, n, score.shape[1], BLOCK_P, BLOCK_Q, num_warps=WARPS[a.dtype])
    value, block = score.max(1, keepdim=True)  # the first one among equals
    number = pair.gather(1, block)
    return torch.where(value > 0, torch.cat([number // n, number % n], 1), -1)
