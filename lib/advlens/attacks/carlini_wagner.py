"""Carlini and Wagner's attack: distance and margin in one sum, its weight found by search.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> x = torch.full((2, 1, 2, 2), 0.5)
>>> y = net(x).argmax(1)
>>> (net(carlini_wagner(net, x, y)).argmax(1) != y).all().item()
True
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from advlens.attacks.boundary import gain, look, missing
from advlens.geometry import ZeroGradientWarning, norm, per_sample
from advlens.inputs import check_amount, check_images, check_labels, check_logits, frozen

FACTOR = 4.0        # how far the weight moves while only one side of its bracket is known
BETAS = 0.9, 0.999  # Adam's
TINY = 1e-12
INSIDE = 0.9999
ENOUGH = 0.001
PATIENCE = 10


def carlini_wagner(model: nn.Module, x: Tensor, y: Tensor, *, confidence: float = 0.0, steps: int = 100, searches: int = 5,
                   learning_rate: float = 0.1, targeted: bool = False) -> Tensor:
    """Minimise ||x' - x||^2 + c max(confidence - gain, 0) over x' in the box, for several c per image.

    gain is the best other logit minus that of y, and the reverse when `targeted`.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    Returns the shortest success met, one whose gain is above `confidence`; with confidence
    0 it lies just beyond the boundary (`evaluate` reports the margin).  x itself where there
    was none, with a ZeroGradientWarning where no gradient led anywhere, and where x
    succeeds already.
    Cost: at most searches x steps x (forward + backward); one search needs a forward pass more.
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
        logits, slope = look(model, x, lambda z: gain(z, y, targeted))  # the first gradient of every search
        check_logits(logits, x, y)
        if not torch.isfinite(slope).all():
            raise ValueError("the input gradient is not finite: the model overflows on these images")
        already = ((logits.argmax(1) == y) == targeted) & (gain(logits, y, targeted) >= confidence)
        # A linear margin would need half of this c.  It follows the scale of the logits, which therefore changes nothing.
        c = 4 * missing(logits, y, targeted, confidence) / norm(slope, "l2").square()  # (N,)
        flat = ~already & ~torch.isfinite(c)
        if flat.any():
            warnings.warn(f"the input gradient is 0 for {int(flat.sum())} of {len(x)} images: they stay as they are. "
                          "A masked gradient is not robustness.", ZeroGradientWarning, stacklevel=2)
        rows = (~already & ~flat).nonzero().squeeze(1)  # the images still searched
        shortest = x.new_full((len(x),), torch.inf)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)  # the largest c that failed, the smallest that succeeded
        for _ in range(searches):
            if len(rows) == 0:
                break
            point, size = _search(model, x[rows], y[rows], c[rows], slope[rows], confidence, steps, learning_rate, targeted)
            found = size < torch.inf
            low[rows] = torch.where(found, low[rows], c[rows])
            high[rows] = torch.where(found, c[rows], high[rows])
            c[rows] = _next(low[rows], high[rows])

            shorter = size < shortest[rows]
            converged = found & ~(size < (1 - ENOUGH) * shortest[rows])
            result[rows[shorter]], shortest[rows[shorter]] = point[shorter], size[shorter]
            rows = rows[~converged]
    return result


def _next(low: Tensor, high: Tensor) -> Tensor:
    """The c to try next, (n,): the geometric middle of the bracket, or beyond the only side that is known."""
    return torch.where(high == torch.inf, low * FACTOR, torch.where(low == 0, high / FACTOR, (low * high).sqrt()))


def _search(model, x, y, c, slope, confidence, steps, learning_rate, targeted) -> tuple[Tensor, Tensor]:
    """Minimise ||d||^2 + c missing+ from d = 0 by Adam: the shortest success met and its norm (n,), inf where there was none.

    The variable is an angle w: a pixel is (1 + sin w) / 2.  As with the source's tanh, every w is a pixel in the
    box; but tanh takes infinitely long to leave a pixel of exactly 0 or 1, and from 0.999999 still 50 steps.  On
    the sine a black pixel turns grey in a few steps, since Adam's do not shrink with the slope.
    """
    best, shortest = x.clone(), torch.full_like(c, torch.inf)
    rows = torch.arange(len(x), device=x.device)  # those that still move
    centre = INSIDE * (x - 0.5)
    w = (2 * centre).asin()
    first, second = torch.zeros_like(x), torch.zeros_like(x)  # Adam's moments
    lack, lowest, before = torch.ones_like(c), torch.full_like(c, torch.inf), torch.full_like(c, torch.inf)
    d = torch.zeros_like(x)
    for step in range(steps):
        gradient = (2 * d - per_sample(c * (lack > 0), d) * slope) * w.cos() / 2
        fade = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient.square()
        unbiased = (second / (1 - BETAS[1] ** (step + 1))).sqrt() + TINY
        w = w - learning_rate * fade / (1 - BETAS[0] ** (step + 1)) * first / unbiased
        point = (x + w.sin() / 2 - centre).clamp(0, 1)
        d = point - x
        logits, slope = look(model, point, lambda z: gain(z, y, targeted), gradient=step < steps - 1)

        lack, size = missing(logits, y, targeted, confidence), norm(d, "l2")
        shorter = (lack < 0) & (size < shortest[rows])
        best[rows[shorter]], shortest[rows[shorter]] = point[shorter], size[shorter]
        lowest = torch.minimum(lowest, size.square() + c * lack.clamp_min(0))
        if PATIENCE and (step + 1) % max(1, steps // PATIENCE) == 0 and step < steps - 1:
            moves = lowest < 0.9999 * before
            before = lowest
            if not moves.all():
                x, y, c, w, centre, d, slope, lack, first, second, lowest, before, rows = (
                    t[moves] for t in (x, y, c, w, centre, d, slope, lack, first, second, lowest, before, rows))
                if len(rows) == 0:
                    break
    return best, shortest
