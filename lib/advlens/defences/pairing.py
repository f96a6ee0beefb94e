"""Pairing logits: adversarial (ALP), clean (CLP), and squeezing them all.

The three terms are functions of logits; the three objectives add them to the loss of
`training.fit`.  They make logits small and alike, which a cross-entropy attack can
mistake for robustness.

>>> a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 6.0]])
>>> distance(a, b).item(), size(torch.tensor([[3.0, 4.0]])).item()
(12.5, 5.0)
"""

from __future__ import annotations

import torch
from torch import Tensor

from advlens.defences.adversarial import walk
from advlens.inputs import check_amount
from advlens.training import Objective, plain


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of paired logits, both (N, K); 0 for no pairs.

    Raises ValueError for shapes that differ.  Source: kannan2018, 3.1, as the authors' code averages it.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"logits of shape {tuple(a.shape)} and {tuple(b.shape)}; pairs are (N, K) and (N, K)")
    return (a - b).square().sum() / max(1, a.numel())


def size(logits: Tensor) -> Tensor:
    """Mean Euclidean norm of logits (N, K).  Source: kannan2018, 3.3."""
    return logits.norm(dim=1).mean()


def adversarial_pairing(weight: float = 0.5, *, eps: float, norm: str = "linf", steps: int = 7) -> Objective:
    """ALP, the objective: loss on clean images and their PGD examples, half each, + weight x distance between the two.

    eps: in pixel units; the walk is that of `pgd_training`.  Cost: 2 steps forward
    passes' worth, and a step on twice the images.
    Raises TypeError or ValueError for weight, eps, norm or steps out of range.
    Source: kannan2018, 3.1 (weight 0.5 to 1).
    """
    check_amount(weight, "weight")
    uphill = walk(eps=eps, norm=norm, steps=steps)

    def objective(model, x, y, loss, generator):
        both = torch.cat([x, uphill(model, x, y, loss, generator)])  # (2N, C, H, W)
        value, logits = plain(model, both, y.repeat(2), loss, generator)
        clean, adversarial = logits.chunk(2)  # (N, K) each
        return value + weight * distance(clean, adversarial), adversarial

    return objective


def clean_pairing(weight: float = 0.5) -> Objective:
    """CLP, the objective: loss + weight x distance between the logits of random pairs of images, of any classes.

    The batches of `fit` are in random order, so the first half is paired with the second;
    in an odd batch the last image has no partner.  To be used with
    `augment=training.noise(0.5)`, as kannan2018 does.  Costs a plain step.
    Raises TypeError or ValueError unless weight is a finite number >= 0.  Source: kannan2018, 3.2.
    """
    check_amount(weight, "weight")

    def objective(model, x, y, loss, generator):
        value, logits = plain(model, x, y, loss, generator)
        half = len(x) // 2
        return value + weight * distance(logits[:half], logits[half:2 * half]), logits

    return objective


def squeezing(weight: float = 0.05) -> Objective:
    """Logit squeezing, the objective: loss + weight x mean norm of the logits.

    To be used with `augment=training.noise(0.5)`, as kannan2018 does.  Costs a plain step.
    Raises TypeError or ValueError unless weight is a finite number >= 0.  Source: kannan2018, 3.3.
    """
    check_amount(weight, "weight")

    def objective(model, x, y, loss, generator):
        value, logits = plain(model, x, y, loss, generator)
        return value + weight * size(logits), logits

    return objective
