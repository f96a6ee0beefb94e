"""Gradient magnitude reduction (GMR): a net that is punished for its slope at the training images.

>>> from advlens import data, training
>>> from torch.nn import Flatten, Linear, Sequential, Softplus
>>> net = Sequential(Flatten(), Linear(784, 20), Softplus(), Linear(20, 10))
>>> history = training.fit(net, data.load("digits")[:64], epochs=1, objective=gradient_magnitude(0.5), progress=False)
"""

import warnings
from dataclasses import dataclass, field
from weakref import WeakSet

import torch
from torch import Tensor

from advlens.inputs import check_amount
from advlens.saliency import is_piecewise_linear
from advlens.training import plain


class NoCurvatureWarning(UserWarning):
    """A gradient penalty on a net whose logits have no second derivative."""


@dataclass(frozen=True)
class gradient_magnitude:  # lower case, as all objectives: it is used as a function
    """The objective loss + weight x mean over the images of ||d loss / d image||_2, by double backpropagation.

    For `training.fit(..., objective=gradient_magnitude())`; the loss is the one of `fit`.  The slope
    of a cross-entropy carries the factor 1 - p, so an image that the net is sure of is hardly
    punished, however steep its log-odds: that is the source's objective, and it is kept.
    Counted in passes twice a plain step, 6 forward passes' worth against 3; by the clock a
    little more (`benchmarks/training.py`).

    A NoCurvatureWarning tells when the net is piecewise linear (ReLU).  The penalty still
    trains such a net: its slope depends on the weights, and within a linear region they
    make it smaller.  What is lost are the terms with the second derivative of the
    activations.  Raises TypeError or ValueError unless weight is a finite number >= 0.
    Source: cutilli2021, 3.2 (weight 0.5); drucker1992 and ross2018 punish the square.
    """

    weight: float = 0.5
    _seen: WeakSet = field(default_factory=WeakSet, init=False, repr=False, compare=False)  # nets already looked at

    def __post_init__(self):
        check_amount(self.weight, "weight")

    def __call__(self, model, x, y, loss, generator):
        if model not in self._seen and is_piecewise_linear(model, x):
            warnings.warn(f"the logits of {type(model).__name__} have no second derivative on these images (ReLU, max "
                          "pooling): the penalty flattens the linear regions that the training images lie in, through "
                          "the weights, and sees nothing of how the slope changes beside them. Smooth activations such "
                          "as nn.Softplus bring those terms back.", NoCurvatureWarning, stacklevel=4)  # fit's caller
        self._seen.add(model)
        x = x.detach().requires_grad_()
        value, logits = plain(model, x, y, loss, generator)
        return value + self.weight * input_gradient(value, x).flatten(1).norm(dim=1).mean(), logits


def input_gradient(value: Tensor, x: Tensor) -> Tensor:
    """Gradient of each image's own loss, (N, C, H, W), itself differentiable; `value` is the mean over the batch.

    With batch normalisation in training mode the images of a batch share their loss, and
    the gradient holds what each does to the others as well.
    """
    return torch.autograd.grad(len(x) * value, x, create_graph=True)[0]
