"""Pairwise differences: sums of weight x sigmoid(v_i - v_j) over all pairs, tile by tile.

The pairs stand in cyclic order: all (i, i + 1), then all (i, i + 2), and so on, with
i = 0 ... n - 1 and indices modulo n.  Pair p has i = p mod n and j = i + p // n + 1
modulo n; for even n the last turn is half as long, so each of the n (n - 1) / 2 pairs
comes once.  Neighbouring pairs read neighbouring numbers of v on both sides, here and on
a GPU, and no table of indices is needed.  The N x n^2 pairs never stand in memory: a
tile of them is made, used and forgotten, in the backward pass anew.

>>> v, weight = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[1.0, 10.0, 100.0]])
>>> pairs(3)  # sigmoid(2), sigmoid(0) and sigmoid(-2)
(tensor([0, 1, 2]), tensor([1, 2, 0]))
>>> forward(v, weight)
tensor([[17.8011]])
"""

from __future__ import annotations

from typing import Iterator

import torch
from torch import Tensor

TILE = 2 ** 17  # numbers in a tile, at most: it stays in the cache


def pairs(n: int) -> tuple[Tensor, Tensor]:
    """i and j of every pair, in the order of the weights, each (n (n - 1) / 2,)."""
    p = torch.arange(n * (n - 1) // 2)
    return p % n, (p + p // n + 1) % n


def forward(v: Tensor, weight: Tensor) -> Tensor:
    """sum over pairs of weight_p sigmoid(v_i - v_j): (N, n), (out, P) -> (N, out), with P = n (n - 1) / 2.

    Raises ValueError for shapes, types or devices that do not fit.  Source: cutilli2021, 3.2.
    """
    check(v, weight)
    out = v.new_zeros(len(v), len(weight), dtype=_wide(v))
    for rows, part, s, _ in _tiles(v, weight):
        out[rows].addmm_(s, weight[:, part].to(s).T)
    return out.to(v.dtype)


def backward(grad: Tensor, v: Tensor, weight: Tensor, to_v: bool = True, to_weight: bool = True) -> tuple[Tensor | None, Tensor | None]:
    """Gradients (N, n) and (out, P) of `forward`, from the gradient (N, out) of its result; None where not wanted."""
    check(v, weight)
    grad = grad.to(_wide(v))
    grad_v = torch.zeros_like(v, dtype=grad.dtype) if to_v else None
    grad_weight = torch.zeros_like(weight, dtype=grad.dtype) if to_weight else None
    for rows, part, s, turn in _tiles(v, weight):
        if to_weight:
            grad_weight[:, part].addmm_(grad[rows].T, s)
        if to_v:
            slope = torch.ops.aten.sigmoid_backward(grad[rows] @ weight[:, part].to(s), s)  # (B, pairs): x s (1 - s)
            _gather(grad_v[rows], slope, turn)
    return grad_v.to(v.dtype) if to_v else None, grad_weight.to(weight.dtype) if to_weight else None


def double_backward(grad: Tensor, v: Tensor, weight: Tensor, towards_v: Tensor | None, towards_weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to (grad, v, weight) of <towards_v, grad_v> + <towards_weight, grad_weight>, the results of `backward`."""
    check(v, weight)
    grad = grad.to(_wide(v))
    towards_v = torch.zeros_like(v) if towards_v is None else towards_v
    towards_weight = torch.zeros_like(weight) if towards_weight is None else towards_weight
    to_grad, to_v, to_weight = torch.zeros_like(grad), torch.zeros_like(v, dtype=grad.dtype), torch.zeros_like(weight, dtype=grad.dtype)
    for rows, part, s, turn in _tiles(v, weight, live=8):
        w, t, g = weight[:, part].to(s), towards_weight[:, part].to(s), grad[rows]
        slope = s * (1 - s)
        along = _differences(towards_v[rows].to(s), turn, s.shape[1])  # (B, pairs): how each difference moves
        to_grad[rows].addmm_(slope * along, w.T).addmm_(s, t.T)
        to_weight[:, part].addmm_(g.T, slope * along)
        _gather(to_v[rows], slope * ((g @ w) * along * (1 - 2 * s) + g @ t), turn)
    return to_grad.to(v.dtype), to_v.to(v.dtype), to_weight.to(weight.dtype)


def check(v: Tensor, weight: Tensor) -> None:
    """Raise ValueError unless v (N, n) and weight (out, n (n - 1) / 2) fit each other."""
    if v.ndim != 2 or v.shape[1] < 2 or len(v) == 0:
        raise ValueError(f"v has shape {tuple(v.shape)}; give (N, n) with N >= 1 and n >= 2")
    n = v.shape[1]
    if weight.ndim != 2 or weight.shape[1] != n * (n - 1) // 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; {n} numbers have {n * (n - 1) // 2} pairs: give (out, {n * (n - 1) // 2})")
    if v.dtype != weight.dtype or v.dtype not in (torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(f"v is {v.dtype} and weight {weight.dtype}; give both as bfloat16, float32 or float64")
    if v.device != weight.device:
        raise ValueError(f"v is on {v.device} and weight on {weight.device}; give both on one device")


def _wide(v: Tensor) -> torch.dtype:
    """The type of every sum: bfloat16 is added up in float32."""
    return torch.float64 if v.dtype == torch.float64 else torch.float32


def _tiles(v: Tensor, weight: Tensor, live: int = 4) -> Iterator[tuple[slice, slice, Tensor, int]]:
    """All pairs of all rows: (rows, pairs, their sigmoids (B, pairs), the first turn in the tile).

    live: tiles that the caller holds at once; together they stay below inputs and weights.
    """
    (samples, n), turns = v.shape, v.shape[1] // 2
    numbers = min(TILE, (v.numel() + weight.numel()) // live)
    high = max(1, min(samples, 128, numbers // n))
    wide = max(1, min(turns, numbers // (high * n)))
    high = max(1, min(samples, numbers // (wide * n)))
    for top in range(0, samples, high):
        rows = slice(top, top + high)
        for first in range(1, turns + 1, wide):
            part = slice((first - 1) * n, min((first - 1 + wide) * n, weight.shape[1]))
            block = v[rows].to(_wide(v))
            yield rows, part, _differences(block, first, part.stop - part.start).sigmoid_(), first


def _differences(v: Tensor, first: int, count: int) -> Tensor:
    """v_i - v_j of `count` pairs from turn `first` on: (B, n) -> (B, count)."""
    n = v.shape[1]
    turned = torch.cat([v, v], 1).unfold(1, n, 1)[:, first:first + -(-count // n)]  # (B, turns, n): a view
    return (v[:, None] - turned).flatten(1)[:, :count]


def _gather(grad_v: Tensor, grad_d: Tensor, first: int) -> None:
    """Add the gradient (B, pairs) of the differences to that of v (B, n): plus at i, minus at j."""
    n = grad_v.shape[1]
    for turn, part in enumerate(grad_d.split(n, 1), first):
        grad_v[:, :part.shape[1]] += part
        grad_v[:, turn:] -= part[:, :n - turn]
        grad_v[:, :part.shape[1] - n + turn] -= part[:, n - turn:]  # those beyond the end; none in a half turn
