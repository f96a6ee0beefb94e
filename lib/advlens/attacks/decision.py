"""HopSkipJump: along the boundary towards the image, guided by nothing but which class wins.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> found = hop_skip_jump(net, x, y, queries=1000, generator=torch.Generator().manual_seed(0))
>>> round((found - x).norm().item(), 2)  # the nearest tie lies at 0.4 / sqrt(2)
0.28
"""

import itertools
import math
from typing import Callable, NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.boundary import keep_shorter, standing, succeeds
from advlens.attacks.losses import TINY
from advlens.geometry import draw, per_sample
from advlens.inputs import check_images, checked, forward, frozen, keep

TRIES = 100       # random images that may serve as a start
PROBES = 100      # to estimate the first direction; the k-th step takes sqrt(k) times as many
FIRST = 0.1       # how far the first probes lie from the start, per pixel
HALVINGS = 12     # of a step along the direction, at most
FINEST = 1e-6     # what a bisection resolves in single precision, as a share of its length
POWER = {"l2": 0.5, "linf": 1}  # of the number of pixels: how the source's theta and radii depend on it

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
    x = checked(x, y, queries=queries, batch_size=batch_size)
    geometry.check_norm(norm, geometry.BALLS)
    if starts is not None:
        check_images(starts, "starts")
        if starts.shape != x.shape:
            raise ValueError(f"starts has shape {tuple(starts.shape)} for images of shape {tuple(x.shape)}; "
                             "give one start for each image")
        starts = starts.detach().to(x)
    result, nearest = x.clone(), x.new_full((len(x),), torch.inf)
    wins = lambda images, labels: succeeds(forward(model, images), labels, targeted)
    theta, bisections = _resolution(x[0].numel(), norm)
    with frozen(model), torch.no_grad():
        rows = standing(model, x, y, targeted)
        walk = _start(wins, rows, x, y, starts, queries, generator)
        for step in itertools.count(1):
            walk = _to_boundary(wins, walk, norm, bisections, queries)
            size = geometry.norm(walk.point - walk.x, norm)
            keep_shorter(result, nearest, walk.rows, walk.point, size)
            probes = int(PROBES * step ** 0.5)
            able = walk.used + probes + bisections < queries
            if not able.any():
                return result
            walk, size = keep(able, walk), size[able]
            # The probes lie about as far from the boundary as the point itself may.
            radius = torch.full_like(size, FIRST) if step == 1 else size * theta * x[0].numel() ** POWER[norm]
            direction = _normal(wins, walk, norm, radius, probes, batch_size, generator)
            walk = _jump(wins, walk._replace(used=walk.used + probes), direction, size / step ** 0.5,
                         queries - bisections)


def _try(wins: Wins, walk: _Walk, rows: Tensor, images: Tensor) -> Tensor:
    """One query for each of these rows.  What succeeds is written into the walk; the rows of what fails come back."""
    success = wins(images, walk.y[rows])
    walk.used[rows] += 1
    walk.point[rows[success]] = images[success]
    return rows[~success]


def _start(wins: Wins, rows: Tensor, x: Tensor, y: Tensor, starts: Tensor | None, queries: int, generator) -> _Walk:
    """The images of `rows` for which a start was found: the given one, or the first random image that succeeds."""
    walk = keep(rows, _Walk(torch.arange(len(x), device=x.device), x, y, x, torch.zeros_like(y)))
    left = torch.arange(len(rows), device=x.device)  # those that have none yet
    for k in range(min(TRIES, queries)):
        # also where no image needs it: what is drawn later must not depend on who is left
        noise = _random_image(x, k, generator)
        if len(left):
            given = k == 0 and starts is not None
            left = _try(wins, walk, left, starts[rows] if given else noise.expand(len(left), -1, -1, -1))
    return keep(torch.ones_like(rows, dtype=torch.bool).index_fill(0, left, False), walk)


def _random_image(like: Tensor, k: int, generator) -> Tensor:
    """Uniform noise (1, C, H, W) in [0, 1], of single pixels or of ever coarser cells, in turn."""
    height, width = like.shape[2:]
    grains = int(math.log2(max(height, width))) + 1
    cell = 2 ** (k % grains)
    size = 1, like.shape[1], math.ceil(height / cell), math.ceil(width / cell)
    noise = draw(torch.rand, size, like=like, generator=generator)
    return noise.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[..., :height, :width]


def _to_boundary(wins: Wins, walk: _Walk, norm: str, bisections: int, queries: int) -> _Walk:
    """Each point moved towards x as far as it succeeds: along the line ("l2"), or by shrinking a cube ("linf")."""
    d, used = walk.point - walk.x, walk.used.clone()
    size = geometry.norm(d, norm)
    low, high = torch.zeros_like(size), torch.ones_like(size)  # (n,), shares of the way; high succeeds
    part = lambda share: walk.x + (d * per_sample(share, d) if norm == "l2"
                                   else geometry.project(d, share * size, "linf"))
    for _ in range(bisections):
        rows = (used < queries).nonzero().squeeze(1)
        if len(rows) == 0:
            break
        middle = (low + high) / 2
        success = wins(part(middle)[rows], walk.y[rows])
        used[rows] += 1
        high[rows[success]], low[rows[~success]] = middle[rows[success]], middle[rows[~success]]
    return walk._replace(point=torch.where(per_sample(high < 1, d), part(high), walk.point), used=used)


def _normal(wins: Wins, walk: _Walk, norm: str, radius: Tensor, probes: int, batch_size: int, generator) -> Tensor:
    """The direction (n, C, H, W) into success: random ones, each with the sign of its answer less the mean answer."""
    signed, plain, hits = torch.zeros_like(walk.x), torch.zeros_like(walk.x), torch.zeros_like(radius)
    chunk = max(1, batch_size // len(walk.rows))
    for first in range(0, probes, chunk):
        # Drawn one by one: the numbers must not depend on how many images there are.
        u = torch.cat([_probe(walk.x[:1], norm, generator) for _ in range(min(chunk, probes - first))])  # (b, C, H, W)
        u = u / per_sample(u.flatten(1).norm(dim=1), u)
        around = (walk.point[:, None] + radius.view(-1, 1, 1, 1, 1) * u).clamp_(0, 1)  # (n, b, C, H, W)
        success = wins(around.flatten(0, 1), walk.y.repeat_interleave(len(u))).view(around.shape[:2])  # (n, b)
        answer = 2 * success.to(u) - 1
        moved = around.sub_(walk.point[:, None])
        signed += torch.einsum("nb,nbchw->nchw", answer, moved)
        plain += moved.sum(1)
        hits += answer.sum(1)
    mean = hits / probes
    one_sided = per_sample(mean.abs() == 1, plain)
    direction = torch.where(one_sided, signed, signed - per_sample(mean, plain) * plain)
    if norm == "linf":
        return direction.sign()
    return direction / per_sample(geometry.norm(direction, "l2"), direction).clamp_min(TINY)


def _probe(like: Tensor, norm: str, generator) -> Tensor:
    """A random direction, (1, C, H, W)."""
    if norm == "l2":
        return draw(torch.randn, like.shape, like=like, generator=generator)
    return 2 * draw(torch.rand, like.shape, like=like, generator=generator) - 1


def _jump(wins: Wins, walk: _Walk, direction: Tensor, length: Tensor, queries: int) -> _Walk:
    """Each point moved along its direction by the first of length, length / 2, ... that succeeds, or left there."""
    after = walk._replace(point=walk.point.clone(), used=walk.used.clone())
    rows = torch.arange(len(length), device=length.device)
    for halving in range(HALVINGS):
        rows = rows[after.used[rows] < queries]
        if len(rows) == 0:
            break
        step = per_sample(length[rows] / 2 ** halving, direction) * direction[rows]
        rows = _try(wins, after, rows, (walk.point[rows] + step).clamp_(0, 1))
    return after


def _resolution(pixels: int, norm: str) -> tuple[float, int]:
    """How finely the boundary is found, as a share of the way (the source's theta), and how many bisections do that."""
    theta = max(pixels ** (-1.0 - POWER[norm]), FINEST)
    return theta, max(math.ceil(-math.log2(theta)), 10)
