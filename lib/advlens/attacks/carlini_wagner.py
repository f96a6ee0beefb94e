"""Carlini and Wagner's attack: distance and margin in one sum, its weight found by search.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> round((net(carlini_wagner(net, x, y)) - net(x)).norm().item(), 2)  # the nearest tie lies at 0.4 / sqrt(2)
0.28
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm  # geometry.norm also guards against underflow: gradients need that, d does not

from advlens.attacks.boundary import between, keep_shorter, linear_distance, query, signed_margin, start, violation
from advlens.geometry import norm, per_sample, warn_zero_gradient
from advlens.inputs import check_amount, checked, frozen, keep

ENOUGH = 0.005       # an image whose norm a successful search shortens by a smaller share is done
BETAS = 0.9, 0.999   # Adam's
TINY = 1e-12         # Adam's, small because gradients here follow the scale of the distance
INSIDE = 0.9999      # black and white pixels start this close to the ends of the sine, where it would be flat


class Problem(NamedTuple):
    """What one search minimises: ||x' - x||^2 + c max(violation, 0), for each of n images."""

    x: Tensor         # (n, C, H, W)
    y: Tensor         # (n,) labels or targets
    gradient: Tensor  # (n, C, H, W) of the margin at x
    c: Tensor         # (n,)
    rate: Tensor      # (n,) Adam's first learning rate
    known: Tensor     # (n,) whether an earlier search has succeeded


class Iterate(NamedTuple):
    """Where Adam is, for the images that still move."""

    rows: Tensor       # (m,) where each stands in the search
    w: Tensor          # (m, C, H, W) the variable, an angle
    d: Tensor          # (m, C, H, W) the perturbation that it means
    first: Tensor      # (m, C, H, W) Adam's moments
    second: Tensor
    violation: Tensor  # (m,) positive where the margin is missing
    gradient: Tensor   # (m, C, H, W) of the margin


def carlini_wagner(model: nn.Module, x: Tensor, y: Tensor, *, confidence: float = 0.0, steps: int = 100,
                   searches: int = 5, learning_rate: float = 0.1, targeted: bool = False) -> Tensor:
    """Carlini-Wagner, L2: minimise ||x' - x||^2 + c max(confidence - margin, 0) over images x', for several c each.

    The margin is the best other logit minus that of y, the reverse when `targeted`; a
    success has a margin above `confidence`.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    searches: how many c are tried.  steps: of Adam for each c.  learning_rate: its largest.
    Returns the shortest success met; with confidence 0 it lies just beyond the boundary
    (`evaluate` reports the margin).  x itself where there was none, and where x succeeds
    already.  Warns (ZeroGradientWarning) where the gradient at x is 0: those stay as they are.
    Cost: at most searches x steps x (forward + backward), and one forward pass when searches = 1.
    Raises TypeError or ValueError for input outside the contract.

    Where this departs from the source, and why.  A pixel is (1 + sin w) / 2, not
    (1 + tanh w) / 2: black and white pixels lie at infinite tanh, and do not move.  The
    first c is twice what a linear margin needs, not a constant, so that the scale of the
    logits changes nothing.  The learning rate follows the distance to the boundary, and
    fades with a cosine: on the boundary Adam jumps to and fro by the length of its step.
    Images that a search no longer shortens leave, each for itself, and so does a search
    that has not succeeded halfway where another one has: with a tenth of the source's
    steps the result is as short.
    Source: carlini2017, sec. V; unam2021, 2.2.1.
    """
    x = checked(x, y, steps=steps, searches=searches)
    check_amount(confidence, "confidence")
    check_amount(learning_rate, "learning_rate", above_zero=True)
    result, shortest = x.clone(), x.new_full((len(x),), torch.inf)
    with frozen(model):
        problem, rows = _first_problem(model, x, y, learning_rate, confidence, targeted)
        ceiling = 1e15 * problem.c  # beyond it the distance counts for nothing, and Adam's squares come near overflow
        # The largest c that failed, and the smallest that succeeded, (N,).
        low, high = torch.zeros_like(shortest), torch.full_like(shortest, torch.inf)
        for _ in range(searches):
            if len(rows) == 0:
                break
            # Each search starts at x.  From the best point so far it would end in the same local minimum.
            point, size = _search(model, keep(rows, problem), confidence, steps, targeted)
            found, c = size < torch.inf, problem.c[rows]
            low[rows], high[rows] = torch.where(found, low[rows], c), torch.where(found, c, high[rows])
            problem.c[rows] = between(low[rows], high[rows])

            converged = found & ~(size < (1 - ENOUGH) * shortest[rows])
            keep_shorter(result, shortest, rows, point, size)
            problem.known[rows] |= found
            rows = rows[~converged & (problem.c[rows] < ceiling[rows])]
    return result


def _first_problem(model, x: Tensor, y: Tensor, learning_rate, confidence, targeted) -> tuple[Problem, Tensor]:
    """The first search of every image, and the rows (n,) that have to search."""
    logits, gradient, rows = start(model, x, y, targeted, confidence)
    distance = linear_distance(logits, gradient, y, targeted, confidence)  # (N,)
    # Twice the c that a linear margin needs.  It follows the scale of the logits, which therefore changes nothing.
    c = 4 * distance / norm(gradient, "l2")  # (N,)
    # Adam's first step moves each pixel by up to rate / 2, whatever the gradient: in all, at most twice that distance.
    rate = (4 * distance / x[0].numel() ** 0.5).clamp_max(learning_rate)  # (N,)
    flat = ~torch.isfinite(c[rows])
    warn_zero_gradient(int(flat.sum()), len(x), "they stay as they are")
    return Problem(x, y, gradient, c, rate, torch.zeros_like(y, dtype=torch.bool)), rows[~flat]


def _search(model, problem: Problem, confidence: float, steps: int, targeted: bool) -> tuple[Tensor, Tensor]:
    """Minimise by Adam from d = 0: the shortest success met and its norm (n,), inf where none.

    An image with a `known` success that has not succeeded halfway here leaves: its c is too small.
    """
    best, shortest = problem.x.clone(), torch.full_like(problem.c, torch.inf)
    at = _first_iterate(problem)
    for step in range(steps):
        at = _adam(at, problem, step, steps)
        point = problem.x + at.d
        logits, gradient = query(model, point, lambda z: signed_margin(z, problem.y, targeted), step < steps - 1)
        at = at._replace(violation=violation(logits, problem.y, targeted, confidence), gradient=gradient)
        size = torch.where(at.violation < 0, vector_norm(at.d, dim=(1, 2, 3)), torch.inf)
        keep_shorter(best, shortest, at.rows, point, size)
        if step == steps // 2 < steps - 1 and (hopeless := problem.known & (shortest[at.rows] == torch.inf)).any():
            problem, at = keep(~hopeless, problem), keep(~hopeless, at)
            if len(at.rows) == 0:
                break
    return best, shortest


def _first_iterate(problem: Problem) -> Iterate:
    """At x, where the margin is missing."""
    zero = torch.zeros_like(problem.x)
    rows = torch.arange(len(zero), device=zero.device)
    w = (2 * _centre(problem.x)).asin()
    return Iterate(rows, w, zero, zero, zero, torch.ones_like(problem.c), problem.gradient)


def _centre(x: Tensor) -> Tensor:
    """Half the sine of the angle at which each pixel begins."""
    return INSIDE * (x - 0.5)


def _adam(at: Iterate, problem: Problem, step: int, steps: int) -> Iterate:
    """One step of Adam on ||d||^2 + c max(violation, 0), with a rate that fades with a cosine.

    The sine is at its end at a finite angle, and since Adam's steps do not shrink with the
    slope, a black pixel turns grey at once.
    """
    slope = 2 * at.d - per_sample(problem.c * (at.violation > 0), at.d) * at.gradient  # by the pixels
    slope = slope * at.w.cos() / 2  # by the angle
    first = BETAS[0] * at.first + (1 - BETAS[0]) * slope
    second = BETAS[1] * at.second + (1 - BETAS[1]) * slope.square()
    unbiased = (second / (1 - BETAS[1] ** (step + 1))).sqrt() + TINY
    fade = 0.001 + 0.999 * (1 + math.cos(math.pi * step / steps)) / 2
    w = at.w - per_sample(problem.rate, at.w) * (fade / (1 - BETAS[0] ** (step + 1))) * first / unbiased
    d = (problem.x + w.sin() / 2 - _centre(problem.x)).clamp(0, 1) - problem.x
    return at._replace(w=w, d=d, first=first, second=second)
