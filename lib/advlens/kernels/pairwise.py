"""Pairwise differences: sums of weight x sigmoid(v_i - v_j) over all pairs, tile by tile.

The N x n^2 pairs never stand in memory: a tile of them is made, used and forgotten, and
made anew in the backward pass.  `weight` comes in one of two shapes:

(out, n, n): W_ij for all n^2 pairs, a row of pairs for each i.
(out, n (n - 1) / 2): each pair once, because sigmoid(-d) = 1 - sigmoid(d), in cyclic order:
all (i, i + 1), then all (i, i + 2), and so on, with i = 0 ... n - 1 and indices modulo n; for
even n the last turn is half as long.  So neighbouring pairs read neighbouring numbers of v
on both sides, here and on a GPU, and no table of indices is needed.

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
    """i and j of every pair in cyclic order, each (n (n - 1) / 2,)."""
    p = torch.arange(n * (n - 1) // 2)
    return p % n, (p + p // n + 1) % n


def forward(v: Tensor, weight: Tensor) -> Tensor:
    """sum over pairs of weight_ij sigmoid(v_i - v_j): (N, n) and one of the two weights -> (N, out).

    Raises ValueError for shapes, types or devices that do not fit.  Source: cutilli2021, 3.2.
    """
    check(v, weight)
    flat = weight.flatten(1)  # (out, pairs)
    out = v.new_zeros(len(v), len(weight), dtype=_wide(v))
    for rows, part, s, _ in _tiles(v, weight):
        out[rows].addmm_(s, flat[:, part].to(s).T)
    return out.to(v.dtype)


def backward(grad: Tensor, v: Tensor, weight: Tensor, to_v: bool = True,
             to_weight: bool = True) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `forward` to v and weight, from the gradient (N, out) of its result; None where not wanted."""
    check(v, weight)
    grad, flat = grad.to(_wide(v)), weight.flatten(1)
    grad_v = torch.zeros_like(v, dtype=grad.dtype) if to_v else None
    grad_weight = torch.zeros_like(flat, dtype=grad.dtype) if to_weight else None
    for rows, part, s, first in _tiles(v, weight):
        if to_weight:
            grad_weight[:, part].addmm_(grad[rows].T, s)
        if to_v:
            to_s = grad[rows] @ flat[:, part].to(s)  # (B, pairs)
            _to_ends(grad_v[rows], torch.ops.aten.sigmoid_backward(to_s, s), first, weight.ndim == 3)
    return grad_v.to(v.dtype) if to_v else None, grad_weight.to(v.dtype).view_as(weight) if to_weight else None


def double_backward(grad: Tensor, v: Tensor, weight: Tensor, towards_v: Tensor,
                    towards_weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to grad, v and weight of <towards_v, grad_v> + <towards_weight, grad_weight>, what `backward` gave."""
    check(v, weight)
    grad, flat, towards, full = grad.to(_wide(v)), weight.flatten(1), towards_weight.flatten(1), weight.ndim == 3
    to_grad, to_v, to_flat = (torch.zeros_like(value, dtype=grad.dtype) for value in (grad, v, flat))
    for rows, part, s, first in _tiles(v, weight, live=16):
        g, w, t = grad[rows], flat[:, part].to(s), towards[:, part].to(s)
        slope = s * (1 - s)
        # (B, pairs): how s moves along towards_v
        shift = slope * _differences(towards_v[rows].to(s), first, s.shape[1], full)
        to_grad[rows].addmm_(shift, w.T).addmm_(s, t.T)
        to_flat[:, part].addmm_(g.T, shift)
        _to_ends(to_v[rows], (g @ w) * shift * (1 - 2 * s) + (g @ t) * slope, first, full)
    return to_grad.to(v.dtype), to_v.to(v.dtype), to_flat.to(v.dtype).view_as(weight)


def check(v: Tensor, weight: Tensor) -> None:
    """Raise ValueError unless v (N, n) and weight fit each other."""
    if v.ndim != 2 or v.shape[1] < 2 or len(v) == 0:
        raise ValueError(f"v has shape {tuple(v.shape)}; give (N, n) with N >= 1 and n >= 2")
    n = v.shape[1]
    if weight.numel() == 0 or weight.shape[1:] not in ((n * (n - 1) // 2,), (n, n)):
        raise ValueError(f"weight has shape {tuple(weight.shape)} for {n} numbers; "
                         f"give (out, {n * (n - 1) // 2}) or (out, {n}, {n})")
    if v.dtype != weight.dtype or v.dtype not in (torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(f"v is {v.dtype} and weight {weight.dtype}; give both as bfloat16, float32 or float64")
    if v.device != weight.device:
        raise ValueError(f"v is on {v.device} and weight on {weight.device}; give both on one device")


def _wide(v: Tensor) -> torch.dtype:
    """The type of every sum: bfloat16 is added up in float32."""
    return torch.float64 if v.dtype == torch.float64 else torch.float32


def _tiles(v: Tensor, weight: Tensor, live: int = 8) -> Iterator[tuple[slice, slice, Tensor, int]]:
    """All pairs of all samples: (rows, pairs, their sigmoids (B, pairs), the tile's first row of n pairs).

    live: tiles that the caller holds at once; together they stay below inputs and weights.
    """
    (samples, n), count, full = v.shape, weight[0].numel(), weight.ndim == 3
    lines = -(-count // n)
    numbers = min(TILE, (v.numel() + weight.numel()) // live)
    high = max(1, min(samples, 128, numbers // n))
    wide = max(1, min(lines, numbers // (high * n)))
    high = max(1, min(samples, numbers // (wide * n)))  # few pairs, as in a patch: more samples instead
    for top in range(0, samples, high):
        rows = slice(top, top + high)
        for first in range(0, lines, wide):
            part = slice(first * n, min((first + wide) * n, count))
            yield rows, part, _differences(v[rows].to(_wide(v)), first, part.stop - part.start, full).sigmoid_(), first


def _differences(v: Tensor, first: int, count: int, full: bool) -> Tensor:
    """v_i - v_j of `count` pairs, from a row of n pairs on: (B, n) -> (B, count)."""
    n = v.shape[1]
    last = first + -(-count // n)
    # in this order, which torch would not choose for a view that overlaps itself
    d = v.new_empty(len(v), last - first, n)
    if full:
        torch.sub(v[:, first:last, None], v[:, None], out=d)
    else:
        torch.sub(v[:, None], torch.cat([v, v], 1).unfold(1, n, 1)[:, first + 1:last + 1], out=d)
    return d.flatten(1)[:, :count]


def _to_ends(grad_v: Tensor, grad_d: Tensor, first: int, full: bool) -> None:
    """Add the gradient (B, pairs) of the differences to that of v (B, n): plus at i, minus at j."""
    n = grad_v.shape[1]
    if full:
        grad_d = grad_d.unflatten(1, (-1, n))
        grad_v[:, first:first + grad_d.shape[1]].add_(grad_d.sum(2))
        grad_v.sub_(grad_d.sum(1))
        return
    at_j = grad_v.new_zeros(len(grad_v), 2 * n)  # j before it is taken modulo n
    for turn, d in enumerate(grad_d.split(n, 1), first + 1):
        grad_v[:, :d.shape[1]].add_(d)
        at_j[:, turn:turn + d.shape[1]].add_(d)
    grad_v.sub_(at_j[:, :n]).sub_(at_j[:, n:])
