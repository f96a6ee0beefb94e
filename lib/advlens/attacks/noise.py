"""Random noise: what an eps does without any knowledge of the net.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1])
>>> noise(net, x, y, eps=0.1).sub(x).abs()[0, 0]
tensor([[0.1000, 0.1000],
        [0.1000, 0.1000]])
"""

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.boundary import signed_margin, succeeds
from advlens.inputs import check_eps, check_logits, checked, forward, frozen

KINDS = ("signs", "uniform")


def noise(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", kind: str = "signs",
          draws: int = 10, targeted: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Random noise, the best of a few draws: the yardstick that every attack has to beat.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    eps: a number or (N,), in pixel units.  norm: "linf" or "l2".
    kind: "signs", every pixel + or - the same amount, so that the norm is eps (before the
    result is cut to [0, 1]); "uniform", a point drawn uniformly from the ball.

    Returns, for each image, the first draw that succeeds, or else the one with the largest
    margin.  All images share the random numbers, so with a generator the result of an image
    does not depend on its neighbours.  Cost: at most `draws` forward passes an image.
    Raises TypeError or ValueError for input outside this contract.  Source: carlini2019 (as a check of attacks).
    """
    x = checked(x, y, draws=draws)
    geometry.check_norm(norm, geometry.BALLS)
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    eps = check_eps(eps, x)
    result, strongest = x.clone(), torch.full_like(eps, -torch.inf)
    rows = torch.arange(len(x), device=x.device)  # the images that still stand
    with frozen(model), torch.no_grad():
        for _ in range(draws):
            d = _unit(x[:1], norm, kind, generator) * geometry.per_sample(eps[rows], x)  # (n, C, H, W)
            point = (x[rows] + d).clamp_(0, 1)
            logits = forward(model, point)
            check_logits(logits, point, y[rows])
            value, success = signed_margin(logits, y[rows], targeted), succeeds(logits, y[rows], targeted)
            better = success | (value > strongest[rows])
            result[rows[better]], strongest[rows[better]] = point[better], value[better]
            rows = rows[~success]
            if len(rows) == 0:
                break
    return result


def _unit(like: Tensor, norm: str, kind: str, generator: torch.Generator | None) -> Tensor:
    """Noise (1, C, H, W) for eps = 1."""
    one = like.new_ones(1)
    if kind == "uniform":
        return geometry.random_point(like, one, norm, generator)
    signs = geometry.random_point(like, one, "linf", generator).sign()
    return signs if norm == "linf" else signs / like[0].numel() ** 0.5
