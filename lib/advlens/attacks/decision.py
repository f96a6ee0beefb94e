"""HopSkipJump: along the boundary towards the image, guided by nothing but which class wins.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> found = hop_skip_jump(net, x, y, queries=1000, generator=torch.Generator().manual_seed(0))
>>> round((found - x).norm().item(), 2)  # the nearest tie lies at 0.4 / sqrt(2)
0.28
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.inputs import check_images, check_labels, check_logits, forward, frozen, keep

TRIES = 100       # random images that may serve as a start
PROBES = 100      # to estimate the first direction; the k-th step takes sqrt(k) times as many
FIRST = 0.1       # how far the first probes lie from the start, per pixel
HALVINGS = 12     # of a step along the direction, at most
FINEST = 1e-6     # what a bisection resolves in single precision, as a share of its length

Wins = Callable[[Tensor, Tensor], Tensor]  # images, labels -> which succeed


class _Walk(NamedTuple):
    """The images that have queries left."""

    rows: Tensor    # (n,), where they are in the result
    x: Tensor       # (n, C, H, W)
    y: Tensor       # (n,)
    point: Tensor   # (n, C, H, W), a success close to the boundary
    used: Tensor    # (n,), queries


def hop_skip_jump(model: nn.Module, x: Tensor, y: Tensor, *, norm: str = "l2", queries: int = 5000,
                  targeted: bool = False, starts: Tensor | None = None, batch_size: int = 500,
                  generator: torch.Generator | None = None) -> Tensor:
    """HopSkipJump: the nearest adversarial image, found from decisions alone.

    From an image that succeeds, each step goes straight towards x as far as the boundary,
    estimates the boundary's normal from which of many random probes succeed, and jumps along
    it, halving the jump until it lands in success.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    norm: the distance to make small, "l2" or "linf".  queries: looks at the model, for each image.
    starts: images (N, C, H, W) to walk from, as a target needs; where they do not succeed, and by
    default, random images of up to 100 draws are tried, coarse and fine.
    batch_size: probes in one forward pass (at least one for each image); a GPU wants more.
    All images share the random numbers, so with a generator the result of an image does not
    depend on its neighbours.

    Returns, for each image, the nearest success met; x itself where no start was found, and
    where x succeeds already.  Cost: at most `queries` forward passes an image, and one that looks at x.
    Raises TypeError or ValueError for input outside this contract.
    Source: chen2020, algorithm 2.  Departures: a budget of queries in the place of a number of steps, and starts of
      every grain.
    """
    check_images(x)
    check_labels(y, len(x))
    geometry.check_norm(norm, geometry.BALLS)
    for name, number in (("queries", queries), ("batch_size", batch_size)):
        if number < 1:
            raise ValueError(f"{name} = {number}; give at least 1")
    if starts is not None:
        check_images(starts, "starts")
        if starts.shape != x.shape:
            raise ValueError(f"starts has shape {tuple(starts.shape)} for images of shape {tuple(x.shape)}; give one "
                             "start for each image")
        starts = starts.detach().to(x)
    x = x.detach()
    result, nearest = x.clone(), x.new_full((len(x),), torch.inf)
    wins = lambda images, labels: (forward(model, images).argmax(1) == labels) == targeted
    with frozen(model), torch.no_grad():
        logits = forward(model, x)
        check_logits(logits, x, y)
        rows = ((logits.argmax(1) == y) != targeted).nonzero().squeeze(1)
        walk = _start(wins, x[rows], y[rows], starts if starts is None else starts[rows], queries, generator)
        walk = walk._replace(rows=rows[walk.rows])
        step, share = 1, _resolution(x[0].numel(), norm)
        while len(walk.rows):
            walk = _to_boundary(wins, walk, norm, share, queries)
            size = geometry.norm(walk.point - walk.x, norm)
            shorter = size < nearest[walk.rows]
            at = walk.rows[shorter]
            result[at], nearest[at] = walk.point[shorter], size[shorter]

            probes = int(PROBES * step ** 0.5)
            walk = keep(walk.used + probes + _bisections(share) < queries, walk)
            if len(walk.rows) == 0:
                break
            size = geometry.norm(walk.point - walk.x, norm)
            # The probes lie about as far from the boundary as the point itself may.
            radius = torch.full_like(size, FIRST) if step == 1 else size * share * x[0].numel() ** (0.5 if norm == "l2"
                                                                                                    else 1)
            direction = _normal(wins, walk, norm, radius, probes, batch_size, generator)
            walk = _jump(wins, walk._replace(used=walk.used + probes), direction, size / step ** 0.5,
                         queries - _bisections(share))
            step += 1
    return result


def _start(wins: Wins, x: Tensor, y: Tensor, starts: Tensor | None, queries: int, generator) -> _Walk:
    """The images for which a start was found: the given one, or the first random image that succeeds."""
    point, used = x.clone(), torch.zeros_like(y)
    rows = torch.arange(len(x), device=x.device)  # those that have none yet
    for k in range(min(TRIES, queries)):
        # also where no image needs it: what is drawn later must not depend on who is left
        random = _random_image(x, k, generator)
        if len(rows) == 0:
            continue
        tried = starts if k == 0 and starts is not None else random.expand(len(rows), *x.shape[1:])
        success = wins(tried, y[rows])
        used[rows] += 1
        point[rows[success]] = tried[success]
        rows = rows[~success]
    found = torch.ones_like(y, dtype=torch.bool).index_fill(0, rows, False)
    return keep(found, _Walk(torch.arange(len(x), device=x.device), x, y, point, used))


def _random_image(like: Tensor, k: int, generator) -> Tensor:
    """Uniform noise (1, C, H, W) in [0, 1], of single pixels or of ever coarser cells, in turn."""
    height, width = like.shape[2:]
    grains = int(math.log2(max(height, width))) + 1
    cell = 2 ** (k % grains)
    noise = _draw((1, like.shape[1], math.ceil(height / cell), math.ceil(width / cell)), like, generator, torch.rand)
    return noise.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[..., :height, :width]


def _to_boundary(wins: Wins, walk: _Walk, norm: str, share: float, queries: int) -> _Walk:
    """Each point moved towards x as far as it succeeds, by bisection: along the line ("l2"), or by shrinking a cube
    ("linf").
    """
    d = walk.point - walk.x
    # (n,), shares of the way; high succeeds
    low, high = torch.zeros_like(walk.used, dtype=d.dtype), torch.ones_like(walk.used, dtype=d.dtype)
    used = walk.used.clone()
    size = geometry.norm(d, norm)
    part = lambda share: walk.x + (d * geometry.per_sample(share, d) if norm == "l2"
                                   else geometry.project(d, share * size, "linf"))
    for _ in range(_bisections(share)):
        rows = (used < queries).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        middle = (low + high) / 2
        success = wins(part(middle)[rows], walk.y[rows])
        used[rows] += 1
        high[rows] = torch.where(success, middle[rows], high[rows])
        low[rows] = torch.where(success, low[rows], middle[rows])
    return walk._replace(point=torch.where(geometry.per_sample(high < 1, d), part(high), walk.point), used=used)


def _normal(wins: Wins, walk: _Walk, norm: str, radius: Tensor, probes: int, batch_size: int, generator) -> Tensor:
    """The direction (n, C, H, W) into success: random directions, each with the sign of its answer less the mean
    answer.
    """
    signed, plain = torch.zeros_like(walk.x), torch.zeros_like(walk.x)
    hits = torch.zeros_like(radius)
    draw = torch.randn if norm == "l2" else torch.rand
    chunk = max(1, batch_size // len(walk.rows))
    for first in range(0, probes, chunk):
        # Drawn one by one: the numbers must not depend on how many images there are.
        # (b, C, H, W)
        u = torch.cat([_draw((1, *walk.x.shape[1:]), walk.x, generator, draw)
                       for _ in range(min(chunk, probes - first))])
        if norm == "linf":
            u = 2 * u - 1
        u = u / geometry.per_sample(u.flatten(1).norm(dim=1), u)
        around = (walk.point[:, None] + radius.view(-1, 1, 1, 1, 1) * u).clamp_(0, 1)  # (n, b, C, H, W)
        success = wins(around.flatten(0, 1), walk.y.repeat_interleave(len(u))).view(around.shape[:2])  # (n, b)
        answer = 2 * success.to(u) - 1
        moved = around.sub_(walk.point[:, None])
        signed += torch.einsum("nb,nbchw->nchw", answer, moved)
        plain += moved.sum(1)
        hits += answer.sum(1)
    mean = hits / probes
    one_sided = geometry.per_sample(mean.abs() == 1, plain)
    direction = torch.where(one_sided, signed, signed - geometry.per_sample(mean, plain) * plain)
    return direction.sign() if norm == "linf" else direction / geometry.per_sample(geometry.norm(direction, "l2"),
                                                                                   direction).clamp_min(1e-30)


def _jump(wins: Wins, walk: _Walk, direction: Tensor, length: Tensor, queries: int) -> _Walk:
    """Each point moved along its direction by the first of length, length / 2, length / 4 ... that succeeds; or left
    where it is.
    """
    point, used = walk.point.clone(), walk.used.clone()
    rows = torch.arange(len(point), device=point.device)
    for halving in range(HALVINGS):
        rows = rows[used[rows] < queries]
        if len(rows) == 0:
            break
        tried = (walk.point[rows]
                 + geometry.per_sample(length[rows] / 2 ** halving, point) * direction[rows]).clamp_(0, 1)
        success = wins(tried, walk.y[rows])
        used[rows] += 1
        point[rows[success]] = tried[success]
        rows = rows[~success]
    return walk._replace(point=point, used=used)


def _resolution(pixels: int, norm: str) -> float:
    """How finely a bisection finds the boundary, as a share of the way: the source's theta."""
    return max(pixels ** (-1.5 if norm == "l2" else -2.0), FINEST)


def _bisections(share: float) -> int:
    return max(math.ceil(-math.log2(share)), 10)


def _draw(shape: tuple[int, ...], like: Tensor, generator, draw: Callable[..., Tensor]) -> Tensor:
    """Random numbers that all images share."""
    return draw(shape, generator=generator, device="cpu" if generator is None else generator.device).to(like)
