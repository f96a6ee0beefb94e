"""Checks of chapter 02: backpropagation by hand, and the number of parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from advlens import models, zoo
from advlens.course.checks import hint

NAMES = ("W1", "b1", "W2", "b2")


def gradients(function) -> None:
    """Check `function(W1, b1, W2, b2, x, y)`: the gradients of sum ||a2 - y||^2 in the order of the arguments, without
    autograd.
    """
    net = _net()
    x, y = net[4:]
    with torch.inference_mode():  # the graph of autograd does not exist in here
        try:
            got = hint.call(function, *(t.clone() for t in net))
        except hint.CheckFailed as failed:
            wanted_graph = any(text in str(failed)
                               for text in ("does not require grad", "nference", "does not have a grad_fn"))
            hint.require(not wanted_graph,
                         "Your function asks autograd: write the four equations yourself, they need only @ and *.")
            raise
    hint.require(isinstance(got, (tuple, list)) and len(got) == 4,
                 "Return four tensors: the gradients of W1, b1, W2 and b2, in this order.")
    for name, value, parameter in zip(NAMES, got, net):
        hint.require(isinstance(value, Tensor), f"The gradient of {name} is a {type(value).__name__}: return a tensor.")
        transposed = value.ndim == parameter.ndim == 2 and value.shape == parameter.T.shape
        hint.require(value.shape == parameter.shape or not transposed,
                     f"The gradient of {name} is transposed: delta stands left, the activation right, delta.T @ a.")
        kept = value.ndim == 2 and parameter.ndim == 1 and len(value) == len(x)
        hint.require(not kept, f"The gradient of {name} still has one row for each sample: sum over the batch.")
        hint.require(value.shape == parameter.shape, f"The gradient of {name} has shape {tuple(value.shape)}, {name} "
                                                     f"has {tuple(parameter.shape)}: they must agree.")
    print("ok  four gradients, each shaped as its parameter")
    right = _equations(*net)
    one = lambda values: torch.cat([v.flatten() for v in values])
    hint.compare(one(got), one(right), {
        "Wrong sign: the error of the output is a2 - y, not y - a2.": -one(right),
        "The gradients are divided by the number of samples: the cost is a sum over the batch, not a mean.":
            one(right) / len(x),
        "A factor 2 is missing: the derivative of (a2 - y)^2 is 2 (a2 - y).": one(right) / 2,
        "sigma' is missing in the output layer: delta2 = 2 * (a2 - y) * a2 * (1 - a2).":
            one(_equations(*net, output_slope=False)),
        "sigma' is missing in the hidden layer: delta1 = (delta2 @ W2) * a1 * (1 - a1).":
            one(_equations(*net, hidden_slope=False)),
        "sigma' is missing in both layers: multiply each delta by a * (1 - a).":
            one(_equations(*net, output_slope=False, hidden_slope=False)),
        "sigma' is taken at a instead of z: in terms of the activation it is a * (1 - a), without another sigmoid.":
            one(_equations(*net, slope=_slope_of_a)),
        "The error of the hidden layer does not pass through W2: delta1 = (delta2 @ W2) * a1 * (1 - a1).":
            one(_equations(*net, through=False)),
    }, "The gradients are not those of the cost: compare each with the four equations, beginning at delta2.",
                 tolerance=1e-5)
    print("ok  all four agree with the derivative of the cost")


def _net() -> list[Tensor]:
    """W1 (4, 3), b1 (4,), W2 (2, 4), b2 (2,), x (5, 3), y (5, 2)."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, 3), (4,), (2, 4), (2,), (5, 3), (5, 2))
    *rest, y = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return [*rest, y.sigmoid()]


def _equations(W1, b1, W2, b2, x, y, *, output_slope=True, hidden_slope=True, through=True,
               slope=lambda a: a * (1 - a)) -> list[Tensor]:
    """The four equations, and what becomes of them without one of their parts."""
    a1 = (x @ W1.T + b1).sigmoid()
    a2 = (a1 @ W2.T + b2).sigmoid()
    delta2 = 2 * (a2 - y) * (slope(a2) if output_slope else 1)
    delta1 = (delta2 @ (W2 if through else torch.ones_like(W2))) * (slope(a1) if hidden_slope else 1)
    return [delta1.T @ x, delta1.sum(0), delta2.T @ a1, delta2.sum(0)]


def _slope_of_a(a: Tensor) -> Tensor:
    return a.sigmoid() * (1 - a.sigmoid())


def one_million(parameters, first: int) -> None:
    """Check the numbers of parameters of LeNet with 0 to 20 extra layers, and the first n above one million."""
    hint.answered(parameters=parameters, first=first)
    expected = [zoo.count(models.LeNet(n))["total"] for n in range(21)]
    weights = [sum(p.numel() for p in models.LeNet(n).parameters() if p.ndim > 1) for n in range(21)]
    given = [float(p) for p in parameters]
    if len(given) == 20:
        hint.compare(given, expected[:20],
                     {"`parameters` begins with one extra layer: the first entry belongs to n = 0.": expected[1:]},
                     "`parameters` has 20 entries: n runs from 0 to 20, so there are 21.")
    hint.require(len(given) == 21, f"`parameters` has {len(given)} entries: n runs from 0 to 20, so there are 21.")
    hint.compare(given, expected, {
        "`parameters` counts the weights without the biases: both are trained.": weights,
        "`parameters` is the same for every n: pass it on, models.LeNet(n).": [expected[0]] * 21,
        "`parameters` counts tensors, not numbers: sum p.numel().":
            [len(list(models.LeNet(n).parameters())) for n in range(21)],
    }, "`parameters[n]` is not the number of parameters of models.LeNet(n).")
    print("ok  parameters for n = 0 to 20")
    answer = next(n for n, p in enumerate(expected) if p > 1_000_000)
    hint.compare(float(first), answer, {
        "That is the last n below one million: take the first above.": answer - 1,
        "That counts the nets from 1: `first` is n itself, and n begins at 0.": answer + 1,
        "That is the number of parameters: `first` is n, the number of extra layers.": expected[answer],
    }, "`first` is not the first n with more than one million parameters.")
    print("ok  the first n above one million")
