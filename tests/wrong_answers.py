"""What the tests of the checks share: the hint that a wrong answer earns, and what wrong answers are made of."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F

from advlens.course import checks


def hint(check, *answers) -> str:
    with pytest.raises(checks.CheckFailed) as failed:
        check(*answers)
    return str(failed.value)


def slips(table: dict):
    """Parametrize over {part of the hint: wrong answer}."""
    return pytest.mark.parametrize("words, wrong", table.items(),
                                   ids=[re.sub(r"\W+", "-", words)[:40] for words in table])


def gradient(model, x, y, reduction="sum", before=lambda z: z):
    point = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(before(model(point)), y, reduction=reduction), point)[0]


def in_evaluation_mode(function):
    """A good guest, whose only slip is in the step itself."""
    def attack(model, *arguments):
        was = model.training
        model.eval()
        answer = function(model, *arguments)
        model.train(was)
        return answer
    return attack


def step(model, x, y, eps):
    return (x + eps * gradient(model, x, y).sign()).clamp(0, 1)
