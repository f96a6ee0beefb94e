"""DeepFool: to the nearest boundary of the linearised net, again and again, until the class changes.

The logits of this net are the first two pixels, so the boundary between its classes is where they are equal:

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
>>> net[1].weight.data = torch.eye(2, 4)
>>> x = torch.tensor([0.75, 0.5, 0.5, 0.5]).view(1, 1, 2, 2)
>>> deepfool(net, x, torch.tensor([0])).flatten()
tensor([0.6224, 0.6276, 0.5000, 0.5000])
"""

import torch
from torch import Tensor, nn

from advlens.geometry import check_finite, norm, per_sample, warn_zero_gradient
from advlens.inputs import check_amount, check_logits, checked, forward, frozen, image_gradient

# Added to each step, in pixel units: a relative overshoot alone shrinks with the step, and where
# the box cuts the step off, the walk would approach the boundary for ever and never cross it.
BEYOND = 1e-4


def deepfool(model: nn.Module, x: Tensor, y: Tensor, *, steps: int = 50, overshoot: float = 0.02) -> Tensor:
    """DeepFool, L2: a small perturbation that changes the class.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,).  overshoot: each step goes
    (1 + overshoot) times as far as the nearest boundary of the linearised net, and 1e-4
    further.  Returns images in [0, 1]: the first point of each walk that is not
    classified as y; x itself where that is x, or where no such point is found in `steps`.

    Where the box cuts off most of each step, the walk slows down, and may not arrive although
    there is such a point.

    Cost: F + (c - 1) B for the first step with c classes; a later step measures only the
    classes that can be nearest (`_nearest_boundary`), at most 2 F + (c - 1) B.
    Raises TypeError or ValueError for input outside the contract.
    Source: moosavi2016, algorithm 2.
    """
    x = checked(x, y, steps=steps)
    check_amount(overshoot, "overshoot")
    result, point = x.clone(), x
    rows = torch.arange(len(x), device=x.device)  # where those that walk stand in `result`
    with frozen(model):
        for step in range(steps + 1):
            image, logits = _leaf(model, point)  # (n, C, H, W), (n, c)
            if step == 0:
                check_logits(logits, x, y)
                slopes = torch.full_like(logits, torch.inf, requires_grad=False)
            fooled = logits.argmax(1) != y
            result[rows[fooled]] = point[fooled]
            if step == steps:
                break
            distance, direction = _nearest_boundary(model, image, logits, y, slopes, ~fooled)
            walks = ~fooled & (distance < torch.inf)
            warn_zero_gradient(int((~fooled & ~walks).sum()), len(x), "they stay as they are")
            if not walks.any():
                break
            length = (1 + overshoot) * (distance + BEYOND)  # (n,)
            point = (point + per_sample(length, x) * direction).clamp_(0, 1)
            point, y, rows, slopes = (t[walks] for t in (point, y, rows, slopes))
    return result


def _leaf(model, point) -> tuple[Tensor, Tensor]:
    """The images as a leaf of the graph, and their logits."""
    with torch.enable_grad():
        image = point.detach().requires_grad_()
        return image, forward(model, image)


def _nearest_boundary(model, image, logits, y, slopes, wanted) -> tuple[Tensor, Tensor]:
    """Distance (n,) and unit direction (n, C, H, W) to the nearest of the c - 1 linearised boundaries.

    The boundary to class k lies at (z_y - z_k) / slope_k, slope_k being the norm of the
    gradient of z_k - z_y.  The logits of all classes come with one forward pass; each
    slope costs a backward pass.  `slopes` (n, c) holds those measured last, inf at first,
    and is updated in place: measure the class that seems nearest, until the nearest one has
    been measured here.  That takes all classes on the first step, later mostly one or two.
    Only rows that are `wanted` (n,) count.
    """
    every, own = torch.arange(len(y), device=y.device), y[:, None]
    gap = (logits.gather(1, own) - logits).detach()  # (n, c)
    measured = torch.zeros_like(gap, dtype=torch.bool).scatter_(1, own, True)
    distance, direction = torch.full_like(gap[:, 0], torch.inf), torch.zeros_like(image, requires_grad=False)
    rows, point = every, image.detach()  # the rows that the graph from `image` to `logits` holds
    while True:
        seems = torch.where(slopes > 0, gap / slopes, torch.inf).scatter_(1, own, torch.inf)
        k = seems.argmin(1)  # (n,)
        unsure = wanted & ~measured[every, k]
        if not unsure.any():
            return distance, direction
        if 2 * unsure.sum() < len(rows):  # a new graph of these few is cheaper than to drag the others along
            rows = unsure.nonzero().squeeze(1)
            image, logits = _leaf(model, point[rows])
        at = k[rows]
        with torch.enable_grad():
            difference = logits.gather(1, at[:, None]) - logits.gather(1, own[rows])
            gradient = image_gradient(difference, image, retain_graph=True)
        slope = norm(gradient, "l2")
        check_finite(slope)
        slopes[rows, at], measured[rows, at] = slope, True
        reach = gap[rows, at] / slope  # inf or NaN, and so never nearer, where the slope is 0
        nearer = reach < distance[rows]
        distance[rows[nearer]] = reach[nearer]
        direction[rows[nearer]] = gradient[nearer] / per_sample(slope[nearer], gradient)
