"""JSMA: two features a step, chosen by the saliency of the pair.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
>>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, -1, -1, 1], [0.0, 3, 1, 2]]))
>>> jsma(net, torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]]]), torch.tensor([0]), target=torch.tensor([1]), gamma=0.5)
tensor([[[[0.5000, 1.0000],
          [1.0000, 0.0000]]]])
"""

import torch
from torch import Tensor, nn

from advlens.geometry import check_finite, warn_zero_gradient
from advlens.inputs import check_labels, check_logits, checked, forward, frozen, image_gradient
from advlens.kernels import implementation

EDGE = 0.01  # a feature so near to the edge has arrived: scans are full of 253 and 254, on which a step is wasted


def jsma(model: nn.Module, x: Tensor, y: Tensor, *, target: Tensor, theta: float = 1.0, gamma: float = 0.1) -> Tensor:
    """Jacobian saliency map attack: raise (or lower) two features a step until `target` is predicted.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,).  target: (N,), another class than
    the label.  theta: how far a feature moves in a step, in [-1, 1] and not 0; it stays
    where it is once it is within 0.01 of the edge of [0, 1].  gamma: the largest share of the
    C x H x W features that may change, so the walk has at most gamma C H W / 2 steps.

    The pair p, q is the best of all pairs: the target's logit rises by alpha, the sum of
    the others by beta, and -alpha beta is largest, with alpha > 0 > beta.  Logits, not
    probabilities: those add up to 1, so beta = -alpha, and the map would only know the
    target's gradient, which vanishes where the net is sure.

    Returns images in [0, 1]: the first point that is the target, and the clean image
    where the walk ends before, or no pair is left.  Cost: a forward and two backward
    passes a step for each image that still walks.
    Raises TypeError or ValueError for input outside this contract.
    Source: papernot2016, algorithms 2 and 3.
    """
    x = checked(x, y)
    check_labels(target, len(x), "target")
    if (target == y).any():
        raise ValueError(f"target equals the label in row {(target == y).nonzero()[0].item()}; "
                         "give another class than y for each image")
    if not 0 < abs(theta) <= 1:
        raise ValueError(f"theta = {theta}; give a step in [-1, 1] that is not 0")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma = {gamma}; give a share of the features in (0, 1]")
    result = x.clone()
    rows = torch.arange(len(x), device=x.device)  # where the images that still walk stand in `result`
    steps = int(gamma * x[0].numel() / 2 + 1e-6)  # 0.29 of 100 is 28.999999999999996
    with frozen(model), torch.enable_grad():
        for step in range(steps + 1):
            x.requires_grad_(step < steps)
            logits = forward(model, x)
            if step == 0:
                check_logits(logits, x, y)
                if target.max() >= logits.shape[1]:
                    raise ValueError(f"target holds {target.max().item()}, but the model has {logits.shape[1]} classes "
                                     f"(0 to {logits.shape[1] - 1})")
            reached = logits.argmax(1) == target
            result[rows[reached]] = x.detach()[reached]
            if step == steps or reached.all():
                break
            rise, fall = _slopes(logits, x, target)
            x, target, rows, rise, fall = (t[~reached] for t in (x.detach(), target, rows, rise, fall))
            pair = _best_pair(rise, fall, x.flatten(1), theta)
            some = pair[:, 0] >= 0  # without a pair an image has failed
            if not some.any():
                break
            x, target, rows, pair = (t[some] for t in (x, target, rows, pair))
            x = x.flatten(1).scatter(1, pair, theta, reduce="add").clamp_(0, 1).view_as(x)
    return result


def _slopes(logits: Tensor, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients (N, n) of the target's logit, and of minus the sum of the others: two backward passes for any K."""
    rise = image_gradient(logits.gather(1, target[:, None]), x, retain_graph=True)
    total = image_gradient(logits, x)
    return rise.flatten(1), (rise - total).flatten(1)


def _best_pair(rise: Tensor, fall: Tensor, pixels: Tensor, theta: float) -> Tensor:
    """The pair to move (M, 2), or -1; all arguments (M, n)."""
    size = torch.stack([rise, fall]).abs().amax(2, keepdim=True)  # (2, M, 1)
    check_finite(size)
    warn_zero_gradient(int((size == 0).all(0).sum()), size.shape[1], "there is no pair to move")
    # To lower a feature is to raise its opposite.  Scaled: the product of two small gradients underflows.
    a, b = torch.stack([rise, fall]) * (1.0 if theta > 0 else -1.0) / size.clamp_min(torch.finfo(rise.dtype).tiny)
    free = pixels < 1 - EDGE if theta > 0 else pixels > EDGE
    a, b = (torch.where(free, v, -torch.inf) for v in (a, b))
    index, a, b = contenders(a, b)
    pair = implementation("jsma", a.device.type).best_pair(a, b)
    return torch.where(pair >= 0, index.gather(1, pair.clamp_min(0)), -1)


def contenders(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The features that can be in a best pair: few, so that the search over pairs costs next to nothing.

    (a_p + a_q) (b_p + b_q) grows with each term, so a feature is out of the race once two
    others are at least as large in a and in b: one of them is free to take its place.
    a, b: (N, n).  Returns their indices (N, K), ascending, with their a and b (N, K);
    rows with fewer than K are filled up with -inf.  Exact; for values without order
    (a falling where b rises) nothing falls out, and K = n.
    """
    order = a.argsort(dim=1, descending=True, stable=True)
    ranked = b.gather(1, order)
    largest = ranked.cummax(1).values
    second = torch.minimum(ranked[:, 1:], largest[:, :-1]).cummax(1).values  # second largest of the first 2, 3, ...
    stays = torch.ones_like(order, dtype=torch.bool)
    stays[:, 2:] = ranked[:, 2:] > second[:, :-1]
    stays = torch.zeros_like(stays).scatter_(1, order, stays)
    row, feature = stays.nonzero(as_tuple=True)
    place = stays.cumsum(1)[row, feature] - 1
    index = order.new_zeros(len(a), int(place.max()) + 1)
    index[row, place] = feature
    few = torch.full_like(index, -torch.inf, dtype=a.dtype).repeat(2, 1, 1)
    few[:, row, place] = torch.stack([a, b])[:, row, feature]
    return index, *few
