"""Square Attack: random squares, each kept when the margin rises.  It sees scores and never a gradient.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])
>>> square(net, x, y, eps=0.1, queries=20).sub(x).abs().max().item() <= 0.1 + 1e-6
True
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.boundary import standing, succeeds
from advlens.attacks.losses import log_odds, margin
from advlens.geometry import draw, per_sample
from advlens.inputs import check_eps, checked, forward, frozen, keep

SHARE = 0.8  # of the pixels in the first square, the source's p
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # after these of 10,000 queries the share is halved
TINY = 1e-10


class _Walk(NamedTuple):
    """The images that still stand."""

    rows: Tensor   # (n,), where they are in the result
    x: Tensor      # (n, C, H, W)
    y: Tensor      # (n,)
    eps: Tensor    # (n, 1, 1, 1)
    best: Tensor   # (n, C, H, W), the strongest point so far
    value: Tensor  # (n,), its margin


def square(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", queries: int = 5000,
           targeted: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Square Attack: a random search over squares of pixels that shrink, kept when the margin rises.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    eps: a number or (N,), in pixel units.  norm: "linf" starts from vertical stripes and sets
    squares to + or - eps; "l2" starts from a grid of bumps and moves norm from one square to another.
    queries: points to try; the squares of "linf" shrink on the source's schedule, scaled to this number.

    Returns, for each image, the strongest point met in the ball; x itself where it succeeds
    already.  All images share the places and signs, so with a generator the result of an image
    does not depend on its neighbours.  Cost: one forward pass, and at most `queries` more, an
    image; an image leaves as soon as it succeeds.
    Raises TypeError or ValueError for input outside this contract.
    Source: andriushchenko2020, algorithms 1 to 3.  Departures: a square that would change nothing takes the
    opposite signs, and the squares of "l2" begin as large as those of "linf" and shrink after the source's own counts
    (its 0.1 of the pixels, and a schedule scaled to few queries, are soon too small for small images).
    """
    x = checked(x, y, queries=queries)
    geometry.check_norm(norm, geometry.BALLS)
    eps, result = check_eps(eps, x), x.clone()
    start, propose = (_stripes, _square) if norm == "linf" else (_bumps, _exchange)
    with frozen(model), torch.no_grad():
        rows = standing(model, x, y, targeted)
        walk = keep(rows, _Walk(torch.arange(len(x), device=x.device), x, y, per_sample(eps, x), x,
                                torch.full_like(eps, -torch.inf)))
        for query in range(queries):
            if len(walk.rows) == 0:
                break
            share = _share(query - 1, queries if norm == "linf" else 10_000)
            point = propose(walk, share, generator) if query else start(walk, generator)
            logits = forward(model, point)
            # To a target it ranks as the cross-entropy of the source does: not only the class in front counts.
            value = -log_odds(logits, walk.y) if targeted else margin(logits, walk.y)
            success = succeeds(logits, walk.y, targeted)
            better = success | (value > walk.value)
            walk.value[better] = value[better]
            result[walk.rows[better]] = walk.best[better] = point[better]
            if success.any():
                walk = keep(~success, walk)
    return result


def _share(query: int, queries: int) -> float:
    """The share of the pixels that a square covers after so many of the queries."""
    return SHARE / 2 ** sum(query * 10_000 > after * queries for after in HALVED)


def _stripes(walk: _Walk, generator) -> Tensor:
    """Vertical stripes of + or - eps in each channel, (n, C, H, W)."""
    _, channels, _, width = walk.x.shape
    return (walk.x + walk.eps * _signs((channels, 1, width), walk.x, generator)).clamp_(0, 1)


def _square(walk: _Walk, share: float, generator) -> Tensor:
    """The best points with one square set to + or - eps in each channel; where that changes nothing, to - or +."""
    channels, height, width = walk.x.shape[1:]
    side = min(max(round((share * height * width) ** 0.5), 1), height, width)
    window = _window(walk.x, side, generator)
    signs = _signs((channels, 1, 1), walk.x, generator)
    x, best = walk.x[window], walk.best[window]
    patch, opposite = ((x + s * walk.eps).clamp_(0, 1) for s in (signs, -signs))  # (n, C, side, side)
    same = (patch == best).flatten(1).all(1)
    point = walk.best.clone()
    point[window] = torch.where(per_sample(same, x), opposite, patch)
    return point


def _bumps(walk: _Walk, generator) -> Tensor:
    """A grid of bumps, at least five a side where there is room, with random signs, (n, C, H, W)."""
    channels, height, width = walk.x.shape[1:]
    side = max(min(height, width) // 5, 1)
    d = torch.zeros_like(walk.x[0])  # (C, H, W)
    for top in range(height % side // 2, height - side + 1, side):
        for left in range(width % side // 2, width - side + 1, side):
            bump = _bump(side, walk.x, generator)
            d[:, top:top + side, left:left + side] = bump * _signs((channels, 1, 1), walk.x, generator)
    return _onto_sphere(walk, d.expand_as(walk.x))


def _exchange(walk: _Walk, share: float, generator) -> Tensor:
    """The best points with the norm of one square, and what is left of eps, moved into a new bump in another square."""
    channels, height, width = walk.x.shape[1:]
    side = min(max(round((share * height * width) ** 0.5), 3) // 2 * 2 + 1, height, width)
    to, away = _window(walk.x, side, generator), _window(walk.x, side, generator)
    bump = _bump(side, walk.x, generator) * _signs((channels, 1, 1), walk.x, generator)  # (C, side, side)
    d = walk.best - walk.x
    left = (walk.eps.square() - _squares(d, (1, 2, 3))).clamp_min(0)  # (n, 1, 1, 1)
    here = d[to]
    bump = bump + here / (_squares(here, (1, 2, 3)).sqrt() + TINY)  # what succeeded here so far goes on
    before = _squares(d, (2, 3))  # (n, C, 1, 1)
    d[to] = 0
    d[away] = 0
    budget = (before - _squares(d, (2, 3)) + left / channels).clamp_min(0)  # squared, of each channel
    d[to] = bump * (budget / (_squares(bump, (2, 3)) + TINY)).sqrt()
    return _onto_sphere(walk, d)


def _onto_sphere(walk: _Walk, d: Tensor) -> Tensor:
    """x + d with d (n, C, H, W) scaled to the norm eps, then cut to [0, 1]."""
    return (walk.x + d * (walk.eps / (_squares(d, (1, 2, 3)).sqrt() + TINY))).clamp_(0, 1)


def _bump(side: int, like: Tensor, generator) -> Tensor:
    """A hill and a hole of rectangular terraces, side by side or one above the other, (side, side), of norm 1."""
    hill, hole = _terraces(side // 2, side, like), _terraces(side - side // 2, side, like)
    bump = torch.cat([hill, -hole])
    bump = bump / bump.norm()
    return bump.T if _signs((1,), like, generator) > 0 else bump


def _terraces(height: int, width: int, like: Tensor) -> Tensor:
    """(height, width), of norm 1: terrace k around the middle adds 1 / (k + 1)^2."""
    rows, columns = ((torch.arange(n) - n // 2).abs() for n in (height, width))
    ring = torch.maximum(rows[:, None], columns)  # (height, width)
    steps = 1 / (torch.arange(max(height, width) // 2 + 1) + 1.0) ** 2
    hill = steps.flip(0).cumsum(0).flip(0)[ring]
    return (hill / hill.norm().clamp_min(TINY)).to(like)


def _window(like: Tensor, side: int, generator) -> tuple[slice | type(Ellipsis), ...]:
    """A random square inside the images, as an index."""
    top, left = (int(draw(torch.randint, length - side + 1, (), like=like, generator=generator))
                 for length in like.shape[2:])
    return ..., slice(top, top + side), slice(left, left + side)


def _signs(shape: tuple[int, ...], like: Tensor, generator) -> Tensor:
    """+1 or -1, shared by all images."""
    return draw(torch.randint, 0, 2, shape, like=like, generator=generator) * 2 - 1


def _squares(d: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The sum of squares over these dimensions, which stay with length 1."""
    return d.square().sum(dims, keepdim=True)
