"""What an attack makes large: one number per image, from logits (N, K) and labels (N,).

>>> margin(torch.tensor([[2.0, 5.0, 1.0]]), torch.tensor([1]))  # class 1 leads by 3
tensor([-3.])
"""

from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
TINY = 1e-30  # instead of a division by 0


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """Log of the odds against y: logsumexp of the other logits minus the logit of y.

    With p = softmax(logits)[y] this is m = log((1 - p) / p), and the cross-entropy is
    -log p = log(1 + e^m) = softplus(m).  Softplus rises everywhere, so both rank the points of
    an image alike; its slope sigmoid(m) = 1 - p is positive, so both gradients point the
    same way.  But where the net is sure that factor vanishes: 1 - p is computed in float32,
    and the entries of the gradient of the cross-entropy lose their digits, then their
    signs, then everything.  A step that is normalised has no use for the factor, so
    attacks that say "ce" follow m.
    """
    return others(logits, y).logsumexp(1) - own(logits, y)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(logits)[y], as most libraries attack it: in float32 its gradient vanishes where the net is sure."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Best other logit minus the logit of y: positive exactly where y is not predicted.

    Constants added to the logits change nothing, and neither does a positive factor
    change the direction of its gradient (carlini2017).
    """
    return others(logits, y).amax(1) - own(logits, y)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio: the margin divided by the distance from the largest logit to the third largest.

    Neither a constant added to the logits nor a positive factor changes it.
    Raises ValueError for fewer than three classes.  Source: croce2020, eq. 6.
    """
    first, _, third = _largest(logits, 3)
    return margin(logits, y) / (first - third).clamp_min(TINY)


def targeted_dlr(logits: Tensor, target: Tensor) -> Tensor:
    """Best other logit minus the target's, over the distance from the largest to the mean of the third and fourth.

    To be made small.  The true class is not known here, so the best other class stands in
    its place; they are the same until the attack succeeds.
    Raises ValueError for fewer than four classes.  Source: croce2020, eq. 7.
    """
    first, _, third, fourth = _largest(logits, 4)
    return margin(logits, target) / (first - (third + fourth) / 2).clamp_min(TINY)


def mean_squared_error(logits: Tensor, y: Tensor) -> Tensor:
    """Mean over the classes of (softmax(logits) - one-hot(y))^2, the loss of marinelli."""
    return (logits.softmax(1) - F.one_hot(y, logits.shape[1])).pow(2).mean(1)


def own(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of y, (N,)."""
    return logits.gather(1, y[:, None]).squeeze(1)


def others(logits: Tensor, y: Tensor) -> Tensor:
    """The logits (N, K) with -inf in the place of y.  Not a product with a 0/1 mask: negative logits would become 0."""
    return logits.scatter(1, y[:, None], -torch.inf)


def _largest(logits: Tensor, n: int) -> Tensor:
    """The n largest logits in descending order, (n, N)."""
    if logits.shape[1] < n:
        raise ValueError(f"the difference of logits ratio needs at least {n} classes and the model has "
                         f"{logits.shape[1]}: take loss=\"margin\"")
    return logits.topk(n, dim=1).values.T


LOSSES: dict[str, Loss] = {"ce": log_odds, "naive_ce": cross_entropy, "margin": margin, "dlr": dlr,
                           "mse": mean_squared_error}


def named(loss: str | Loss, targeted: bool = False) -> Loss:
    """The loss function of that name, or the function itself: "ce" is `log_odds`, "naive_ce" `cross_entropy`."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}, or a function (logits, y) -> (N,)")
    return targeted_dlr if loss == "dlr" and targeted else LOSSES[loss]
