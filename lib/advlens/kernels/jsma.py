"""The pair search of JSMA in plain torch: every pair looked at, no n x n map in memory.

The Triton kernel of the same name is held against this one.

>>> a, b = torch.tensor([[3.0, 1.0, -1.0]]), torch.tensor([[-2.0, 1.0, 4.0]])
>>> best_pair(a, b)  # (3 - 1) (-2 + 4) = 4; the other pairs have a factor below 0 or are 0
tensor([[0, 2]])
"""

from __future__ import annotations

import torch
from torch import Tensor

TILE = 2**18  # numbers in a tile of pairs: 1 MiB in float32, so that it stays in the cache
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def best_pair(a: Tensor, b: Tensor) -> Tensor:
    """The features p < q with the largest (a_p + a_q) (b_p + b_q), both factors positive.

    a, b: (N, n) floats; a feature that may not move holds -inf.  Returns (N, 2) indices,
    the first pair in the order of (p, q) among equals, and (-1, -1) where no pair has
    two positive factors.  Work n^2 / 2; memory max(TILE, N n) numbers.
    Raises ValueError for other shapes and types.  Source: papernot2016, algorithm 3.
    """
    a, b = check(a, b)
    n = a.shape[1]
    best, pair = a.new_zeros(len(a)), torch.full((len(a), 2), -1, device=a.device)
    height = max(1, TILE // (len(a) * n))
    for p in range(0, n - 1, height):
        # Pairs of the features p, p + 1, ... (rows) with p, p + 1, ..., n - 1 (columns): (N, height, n - p).
        # A factor below 0 becomes 0, and so does a pair with q <= p.
        score = _sums(a, p, height).relu_().mul_(_sums(b, p, height).relu_()).triu_(1)
        value, at = score.flatten(1).max(1)  # the first one among equals
        found = torch.stack([at // (n - p), at % (n - p)], 1) + p
        better = value > best
        best, pair = torch.where(better, value, best), torch.where(better[:, None], found, pair)
    return pair


def _sums(v: Tensor, p: int, height: int) -> Tensor:
    return v[:, p:p + height, None] + v[:, None, p:]


def check(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a and b in the type that the search computes in.  Raise ValueError for shapes and types that it does not take."""
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] < 2:
        raise ValueError(f"a has shape {tuple(a.shape)} and b {tuple(b.shape)}; give both (N, n) with n >= 2")
    if a.dtype != b.dtype or a.dtype not in DTYPES:
        raise ValueError(f"a is {a.dtype} and b is {b.dtype}; give both one of {', '.join(map(str, DTYPES))}")
    return (a, b) if a.dtype == torch.float64 else (a.float(), b.float())
