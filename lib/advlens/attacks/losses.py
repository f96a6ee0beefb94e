"""What an attack makes large: one number per image, from logits (N, K) and labels (N,).

>>> margin(torch.tensor([[2.0, 5.0, 1.0]]), torch.tensor([1]))  # class 1 leads by 3
tensor([-3.])
"""

from __future__ import annotations

from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(logits)[y].  Its gradient vanishes where the net is very sure."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Best other logit minus the logit of y: positive exactly where y is not predicted.

    Constants added to the logits change nothing, and neither does a positive factor
    change the direction of its gradient (carlini2017).
    """
    own = logits.gather(1, y[:, None]).squeeze(1)
    # -inf, not a product with a 0/1 mask: negative logits would become 0.
    others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return others - own


def mean_squared_error(logits: Tensor, y: Tensor) -> Tensor:
    """Mean over the classes of (softmax(logits) - one-hot(y))^2, the loss of marinelli."""
    return (logits.softmax(1) - F.one_hot(y, logits.shape[1])).pow(2).mean(1)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "mse": mean_squared_error}


def named(loss: str | Loss) -> Loss:
    """The loss function of that name, or the function itself."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}, or a function (logits, y) -> (N,)")
    return LOSSES[loss]
