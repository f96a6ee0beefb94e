"""Pairing logits: adversarial (ALP), clean (CLP), and squeezing them all.

The three terms are functions of logits; the three objectives add them to the loss of
`training.fit`.  They make logits small and alike, which an attack with few steps can
mistake for robustness.  What is paired or squeezed is the logits themselves and no softmax of
them, so nothing here saturates; the walk of ALP follows the log-odds, as all our walks.

>>> a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 6.0]])
>>> distance(a, b).item(), size(torch.tensor([[3.0, 4.0]])).item()
(12.5, 5.0)
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from advlens.defences.adversarial import check_walk, walk
from advlens.inputs import check_amount
from advlens.training import plain


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


@dataclass(frozen=True)
class adversarial_pairing:  # lower case, as all objectives: it is used as a function
    """ALP, the objective: loss on clean images and their PGD examples, half each, + weight x distance between the two.

    eps: in pixel units; the walk is that of `pgd_training`.  Cost: 2 steps forward
    passes' worth, and a step on twice the images.
    Raises TypeError or ValueError for weight, eps, norm or steps out of range.
    Source: kannan2018, 3.1 (weight 0.5 to 1).
    """

    weight: float = 0.5
    eps: float = field(kw_only=True)
    norm: str = field(default="linf", kw_only=True)
    steps: int = field(default=7, kw_only=True)

    def __post_init__(self):
        check_amount(self.weight, "weight")
        check_walk(self.eps, self.norm, self.steps, None, "ce")

    def __call__(self, model, x, y, loss, generator):
        worst = walk(model, x, y, eps=self.eps, norm=self.norm, steps=self.steps, generator=generator)
        value, logits = plain(model, torch.cat([x, worst]), y.repeat(2), loss, generator)
        clean, adversarial = logits.chunk(2)  # (N, K) each
        return value + self.weight * distance(clean, adversarial), adversarial


@dataclass(frozen=True)
class clean_pairing:
    """CLP, the objective: loss + weight x distance between the logits of random pairs of images, of any classes.

    The batches of `fit` are in random order, so the first half is paired with the second;
    in an odd batch the last image has no partner.  To be used with
    `augment=training.noise(0.5)`, as kannan2018 does.  Costs a plain step.
    Raises TypeError or ValueError unless weight is a finite number >= 0.  Source: kannan2018, 3.2.
    """

    weight: float = 0.5

    def __post_init__(self):
        check_amount(self.weight, "weight")

    def __call__(self, model, x, y, loss, generator):
        value, logits = plain(model, x, y, loss, generator)
        half = len(x) // 2
        return value + self.weight * distance(logits[:half], logits[half:2 * half]), logits


@dataclass(frozen=True)
class squeezing:
    """Logit squeezing, the objective: loss + weight x mean norm of the logits.

    To be used with `augment=training.noise(0.5)`, as kannan2018 does.  Costs a plain step.
    Raises TypeError or ValueError unless weight is a finite number >= 0.  Source: kannan2018, 3.3.
    """

    weight: float = 0.05

    def __post_init__(self):
        check_amount(self.weight, "weight")

    def __call__(self, model, x, y, loss, generator):
        value, logits = plain(model, x, y, loss, generator)
        return value + self.weight * size(logits), logits
