"""Defensive distillation: a student learns a teacher's soft answers, both at a temperature that is later removed.

A net trained on softmax(logits / T) grows logits about T times as large.  Used without
T its softmax saturates and the gradient of its cross-entropy vanishes: an attack by
`loss="naive_ce"` is blinded, and the net no safer.  The log-odds ("ce") and the margin see
through it (carlini2017).  Training keeps the cross-entropy, at T: there the vanishing factor
1 - p is right, an image that is learnt has nothing more to say; log-odds would never be content.

>>> from advlens import data
>>> teacher, student = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)) for _ in range(2))
>>> histories = distil(teacher, student, data.load("digits")[:64], temperature=20, epochs=1, progress=False)
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlens.data import Dataset
from advlens.inputs import check_amount, forward, frozen
from advlens.training import History, fit, settings


def distil(teacher: nn.Module, student: nn.Module, train: Dataset, *, temperature: float,
           **options) -> tuple[History, History]:
    """Train the teacher on the labels and then the student on the teacher, both at `temperature`; two Histories.

    The temperature is in the losses and nowhere in the nets: both return their logits as
    they are, which is a temperature of 1.  options: those of `training.fit`, except
    `loss`, `objective` and `checkpoint`.  Raises TypeError or ValueError unless temperature
    is a finite number > 0, for two nets that are one, and as `training.fit`.
    Source: papernot2016distillation, sec. IV (temperatures 1 to 100).
    """
    soft = cross_entropy_at(temperature)
    if teacher is student:
        raise ValueError("teacher and student are one net; give two, of the same architecture in the source")
    if options.get("checkpoint") is not None:
        raise ValueError("one checkpoint for two nets: the student would resume as the teacher; "
                         "call fit twice, each with its own file")
    return (fit(teacher, train, loss=soft, **options),
            fit(student, train, loss=soft, objective=taught_by(teacher, temperature), **options))


@dataclass(frozen=True)
class cross_entropy_at:  # lower case: it is used as a function
    """The loss (logits (N, K), y) -> cross-entropy of softmax(logits / temperature); y: labels or probabilities."""

    temperature: float

    def __post_init__(self):
        check_amount(self.temperature, "temperature", above_zero=True)

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits / self.temperature, y)


@dataclass(frozen=True)
class taught_by:  # lower case, as all objectives
    """The objective whose labels are softmax(teacher(images) / temperature).

    Give `fit` the loss at the same temperature.  The teacher answers for the images as they are
    augmented, in evaluation mode: one forward pass more than a plain step.  The training
    accuracy counts the true labels.
    Raises ValueError when teacher and student have different classes.
    """

    teacher: nn.Module
    temperature: float
    __repr__ = settings  # the net by a digest that sees its weights

    def __post_init__(self):
        check_amount(self.temperature, "temperature", above_zero=True)

    def __call__(self, model, x, y, loss, generator):
        with frozen(self.teacher), torch.no_grad():
            answers = (forward(self.teacher, x) / self.temperature).softmax(1)  # (N, K)
        logits = forward(model, x)
        if logits.shape != answers.shape:
            raise ValueError(f"the teacher returns {tuple(answers.shape)}, the student {tuple(logits.shape)}; "
                             "they must have the same classes")
        return loss(logits, answers), logits
