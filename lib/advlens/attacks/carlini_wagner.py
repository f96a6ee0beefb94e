"""Carlini and Wagner's attack: distance and margin in one sum, its weight found by search.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> round((net(carlini_wagner(net, x, y)) - net(x)).norm().item(), 2)  # the nearest tie lies at 0.4 / sqrt(2)
0.28
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm  # geometry.norm also guards against underflow: gradients need that, d does not

from advlens.attacks.boundary import gain, look, missing, reach, start
from advlens.geometry import ZeroGradientWarning, norm, per_sample
from advlens.inputs import check_amount, check_images, check_labels, frozen

FACTOR = 10.0        # how far c moves while only one side of its bracket is known
ENOUGH = 0.005       # an image whose norm a successful search shortens by a smaller share is done
BETAS = 0.9, 0.999   # Adam's
TINY = 1e-12         # Adam's, small because gradients here follow the scale of the distance
INSIDE = 0.9999      # black and white pixels start this close to the ends of the sine, where it would be flat


def carlini_wagner(model: nn.Module, x: Tensor, y: Tensor, *, confidence: float = 0.0, steps: int = 100, searches: int = 5,
                   learning_rate: float = 0.1, targeted: bool = False) -> Tensor:
    """Carlini-Wagner, L2: minimise ||x' - x||^2 + c max(confidence - gain, 0) over images x', for several c each.

    The gain is the best other logit minus that of y, the reverse when `targeted`; a success
    has a gain above `confidence`.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    searches: how many c are tried.  steps: of Adam for each c.  learning_rate: its largest.
    Returns the shortest success met; with confidence 0 it lies just beyond the boundary
    (`evaluate` reports the margin).  x itself where there was none, and where x succeeds
    already.  Warns (ZeroGradientWarning) where the gradient at x is 0: those stay as they are.
    Cost: at most searches x steps x (forward + backward), and one forward pass when searches = 1.
    Raises TypeError or ValueError for input outside the contract.
    Source: carlini2017, sec. V; unam2021, 2.2.1.
    """
    check_images(x)
    check_labels(y, len(x))
    check_amount(confidence, "confidence")
    check_amount(learning_rate, "learning_rate", above_zero=True)
    for name, number in (("steps", steps), ("searches", searches)):
        if number < 1:
            raise ValueError(f"{name} = {number}; give at least 1")
    x = x.detach()
    result = x.clone()
    with frozen(model):
        logits, slope, rows = start(model, x, y, targeted, confidence)  # the first gradient of every search; the rows to search
        distance = reach(logits, slope, y, targeted, confidence)  # (N,)
        # Twice the c that a linear margin needs.  It follows the scale of the logits, which therefore changes nothing.
        c = 4 * distance / norm(slope, "l2")  # (N,)
        # Adam's first step moves each pixel by up to rate / 2, whatever the gradient: in all, not beyond twice that distance.
        rate = (4 * distance / x[0].numel() ** 0.5).clamp_max(learning_rate)  # (N,)
        flat = ~torch.isfinite(c[rows])
        if flat.any():
            warnings.warn(f"the input gradient is 0 for {int(flat.sum())} of {len(x)} images: they stay as they are. "
                          "A masked gradient is not robustness.", ZeroGradientWarning, stacklevel=2)
        rows = rows[~flat]
        ceiling = 1e15 * c  # beyond it the distance counts for nothing, and the squares in Adam come near overflow
        shortest = x.new_full((len(x),), torch.inf)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)  # the largest c that failed, the smallest that succeeded
        for _ in range(searches):
            if len(rows) == 0:
                break
            # Each search starts at x.  From the best point so far it would end in the same local minimum, and find less.
            known = shortest[rows] < torch.inf
            point, size = _search(model, x[rows], y[rows], c[rows], slope[rows], known, confidence, steps, rate[rows], targeted)
            found = size < torch.inf
            low[rows] = torch.where(found, low[rows], c[rows])
            high[rows] = torch.where(found, c[rows], high[rows])
            c[rows] = _next(low[rows], high[rows])

            shorter = size < shortest[rows]
            converged = found & ~(size < (1 - ENOUGH) * shortest[rows])
            result[rows[shorter]], shortest[rows[shorter]] = point[shorter], size[shorter]
            rows = rows[~converged & (c[rows] < ceiling[rows])]
    return result


def _next(low: Tensor, high: Tensor) -> Tensor:
    """The c to try next, (n,): the geometric middle of the bracket, or beyond the only side that is known."""
    return torch.where(high == torch.inf, low * FACTOR, torch.where(low == 0, high / FACTOR, (low * high).sqrt()))


def _search(model, x, y, c, slope, known, confidence, steps, rate, targeted) -> tuple[Tensor, Tensor]:
    """Minimise ||d||^2 + c max(missing, 0) by Adam, from d = 0: the shortest success met and its norm (n,), inf where none.

    The variable is an angle w, a pixel (1 + sin w) / 2: as with the source's tanh, each w is a pixel in the box.
    But tanh reaches 0 and 1 only at infinity, and pixels that start there, or near, hardly move; the sine is at
    its end at a finite angle, and since Adam's steps do not shrink with the slope a black pixel turns grey at once.
    The rate (n,) fades with a cosine: on the boundary Adam jumps to and fro by the length of its step.
    An image with a `known` (n,) success that has not succeeded halfway here leaves: its c is too small.
    """
    best, shortest = x.clone(), torch.full_like(c, torch.inf)
    rows = torch.arange(len(x), device=x.device)  # those that still move
    centre = INSIDE * (x - 0.5)
    w = (2 * centre).asin()
    first, second = torch.zeros_like(x), torch.zeros_like(x)  # Adam's moments
    lack = torch.ones_like(c)
    d = torch.zeros_like(x)
    for step in range(steps):
        gradient = (2 * d - per_sample(c * (lack > 0), d) * slope) * w.cos() / 2
        fade = 0.001 + 0.999 * (1 + math.cos(math.pi * step / steps)) / 2
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient.square()
        unbiased = (second / (1 - BETAS[1] ** (step + 1))).sqrt() + TINY
        w = w - per_sample(rate, w) * (fade / (1 - BETAS[0] ** (step + 1))) * first / unbiased
        point = (x + w.sin() / 2 - centre).clamp(0, 1)
        d = point - x
        logits, slope = look(model, point, lambda z: gain(z, y, targeted), gradient=step < steps - 1)

        lack, size = missing(logits, y, targeted, confidence), vector_norm(d, dim=(1, 2, 3))
        shorter = (lack < 0) & (size < shortest[rows])
        best[rows[shorter]], shortest[rows[shorter]] = point[shorter], size[shorter]
        if step == steps // 2 and (hopeless := known[rows] & (shortest[rows] == torch.inf)).any():
            x, y, c, rate, w, centre, d, slope, lack, first, second, rows = (
                t[~hopeless] for t in (x, y, c, rate, w, centre, d, slope, lack, first, second, rows))
            if len(rows) == 0:
                break
    return best, shortest
