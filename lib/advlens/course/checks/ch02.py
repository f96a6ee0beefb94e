"""Checks of chapter 02: a network with a pencil, backpropagation, the number of parameters, silenced kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from advlens import data, evaluation, models, zoo
from advlens.course.checks import hint

NAMES = ("W1", "b1", "W2", "b2")


def two_neurons(function) -> None:
    """Check `function()`: a dict with the hidden neurons, the output and the slopes of the warm-up.

    The network: h = relu(W x + b), z = v h - 1 with W = [[2, -1], [-2, 3]], b = (0, -1), v = (2, 4), at x = (1, 0.5).
    """
    got = _by_hand(function, hidden=2, output=1, slopes=2)
    hint.compare(got["hidden"], [1.5, 0.0], {
        "The second hidden neuron is negative before the ReLU: replace it by zero.": [1.5, -1.5],
        "The bias of the second hidden neuron is missing: W x + b, then the ReLU.": [1.5, -0.5],
        "There is no bias and no ReLU: relu(W x + b).": [1.5, 0.5],
        "You went down the columns of W: each neuron has one row, times x.": [1.0, 0.0],
    }, "`hidden` is not relu(W x + b): for each row of W, multiply by x entry by entry, add up, add the bias.")
    print("ok  the hidden neurons")
    hint.compare(got["output"], [2.0], {
        "The bias of the output is missing: -1.": [3.0],
        "The output sees the hidden neurons after the ReLU: the second one is 0.": [-4.0],
    }, "`output` is not v h - 1.")
    print("ok  the output")
    hint.compare(got["slopes"], [4.0, -2.0], {
        "The second hidden neuron is switched off, so it passes no blame back: its slope is 0.": [-4.0, 10.0],
        "On the way back go down the columns of W: pixel 1 reaches neuron j through W[j][0].": [4.0, -4.0],
        "That is the slope of each hidden neuron: go one layer further back, through W.": [2.0, 0.0],
        "The signs are turned: these are the slopes of z itself, not of minus z.": [-4.0, 2.0],
    }, "`slopes` is not dz/dx: begin with v, set to 0 what the ReLU has switched off, then go back through W.")
    print("ok  the slopes")


def _by_hand(function, **sizes: int) -> dict[str, list[float]]:
    """What `function()` returns: a dict with these keys, each so many numbers."""
    got = hint.by_hand(function, *sizes)
    for key, size in sizes.items():
        numbers = got[key] if isinstance(got[key], (list, tuple)) else [got[key]]
        hint.require(len(numbers) == size, f"{key!r} holds {len(numbers)} numbers: it should hold {size}.")
        got = got | {key: [float(number) for number in numbers]}
    return got


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


def silenced(accuracy, most: int) -> None:
    """Check LeNet's accuracy on the test digits with each kernel of its first layer silenced alone, and the kernel that
    it misses most.
    """
    hint.answered(accuracy=accuracy, most=most)
    hint.require(len(accuracy) == 6, f"`accuracy` has {len(accuracy)} entries: LeNet's first layer has six kernels.")
    given, expected = [float(a) for a in accuracy], _lesions()
    hint.require(max(given) <= 1, "`accuracy` is in percent: give shares between 0 and 1.")
    intact = evaluation.accuracy(zoo.pretrained("lenet", "digits"), data.load("digits", "test")).value
    hint.compare(given, expected, {
        "All six are the accuracy of the network as it was: change net[1].weight[k] and net[1].bias[k] in place.":
            [intact] * 6,
        "The kernels stay silent once they are silenced: load a fresh network for each k.": _lesions(fresh=False),
        "Only the weights are zero, so the kernel still says its bias everywhere: silence net[1].bias[k] as well.":
            _lesions(bias=False),
        "These are the shares of wrong answers: accuracy is the share that is right.": [1 - e for e in expected],
    }, "`accuracy[k]` is not the accuracy on data.load(\"digits\", \"test\") with kernel k silenced.", tolerance=1e-3)
    print("ok  six silenced networks")
    worst = min(range(6), key=lambda k: expected[k])
    hint.compare(float(most), worst, {
        "That counts the kernels from 1: `most` is the index, and it begins at 0.": worst + 1,
        "That is the kernel that LeNet misses least: the most important one leaves the lowest accuracy.":
            max(range(6), key=lambda k: expected[k]),
    }, "`most` is not the kernel whose silence costs most.")
    print("ok  the kernel that LeNet misses most")


def _lesions(bias: bool = True, fresh: bool = True) -> list[float]:
    """Accuracy with each kernel silenced, and what becomes of it with one slip."""
    digits, net, found = data.load("digits", "test"), zoo.pretrained("lenet", "digits"), []
    for k in range(6):
        net = zoo.pretrained("lenet", "digits") if fresh else net
        net[1].weight[k] = 0
        if bias:
            net[1].bias[k] = 0
        found.append(evaluation.accuracy(net, digits).value)
    return found
