"""The checks of chapters 02 and 03 against known wrong answers: each fails with the hint that names its mistake."""

from functools import partial

import pytest
import torch

from advlens import data, evaluation, zoo
from advlens.course import checks
from wrong_answers import gradient, hint, in_evaluation_mode, slips, step

# --- 02, the pencil -------------------------------------------------------------

def two_neurons(**changed):
    return lambda: {"hidden": [1.5, 0.0], "output": 2.0, "slopes": [4.0, -2.0]} | changed


def test_the_right_network_by_hand_passes(capsys):
    checks.two_neurons(two_neurons())
    checks.two_neurons(two_neurons(hidden=(1.5, 0), output=[2]))
    assert capsys.readouterr().out.count("ok") == 6


@slips({
    "negative before the ReLU": dict(hidden=[1.5, -1.5]),
    "bias of the second hidden neuron": dict(hidden=[1.5, -0.5]),
    "no bias and no ReLU": dict(hidden=[1.5, 0.5]),
    "down the columns of W: each neuron": dict(hidden=[1.0, 0.0]),
    "`hidden` is not relu": dict(hidden=[7.0, 0.0]),
    "bias of the output": dict(output=3.0),
    "after the ReLU: the second one is 0": dict(output=-4.0),
    "`output` is not v h - 1": dict(output=0.0),
    "switched off, so it passes no blame": dict(slopes=[-4.0, 10.0]),
    "On the way back go down the columns": dict(slopes=[4.0, -4.0]),
    "go one layer further back": dict(slopes=[2.0, 0.0]),
    "signs are turned": dict(slopes=[-4.0, 2.0]),
    "`slopes` is not dz/dx": dict(slopes=[1.0, 1.0]),
    "'hidden' holds 3 numbers": dict(hidden=[1.5, 0, 2]),
})
def test_two_neurons(words, wrong):
    assert words in hint(checks.two_neurons, two_neurons(**wrong))


def test_a_key_or_the_dict_is_missing():
    assert "'slopes' is missing" in hint(checks.two_neurons, lambda: {"hidden": [1.5, 0.0], "output": 2.0})
    assert "return the dict" in hint(checks.two_neurons, lambda: [1.5, 0.0])
    assert "return the dict" in hint(checks.both_steps, lambda: [1.5, 0.0])


# --- 02, silenced kernels ---------------------------------------------------------

def lesions(bias=True, fresh=True):
    digits, net, found = data.load("digits", "test"), zoo.pretrained("lenet", "digits"), []
    for k in range(6):
        net = zoo.pretrained("lenet", "digits") if fresh else net
        net[1].weight[k].zero_()
        if bias:
            net[1].bias[k] = 0
        found.append(evaluation.accuracy(net, digits).value)
    return found


def test_silenced_kernels():
    right = lesions()
    most = right.index(min(right))
    checks.silenced(right, most)
    for words, accuracy, index in (
            ("stay silent once", lesions(fresh=False), most),
            ("Only the weights are zero", lesions(bias=False), most),
            ("shares of wrong answers", [1 - a for a in right], most),
            ("accuracy of the network as it was", [zoo.card("lenet", "digits")["test accuracy"]] * 6, most),
            ("in percent", [100 * a for a in right], most),
            ("has 5 entries", right[:5], most),
            ("with kernel k silenced", right[::-1], most),
            ("counts the kernels from 1", right, most + 1),
            ("misses least", right, right.index(max(right))),
            ("not measured yet", None, most)):
        assert words in hint(checks.silenced, accuracy, index), words


# --- 03, the pencil -------------------------------------------------------------

FGSM, FGM = [0.1, 1.0, 0.5, 0.1], [0.17, 0.99, 0.5, 0.12]


def test_the_right_steps_by_hand_pass(capsys):
    checks.both_steps(lambda: {"fgsm": FGSM, "fgm": tuple(FGM)})
    assert capsys.readouterr().out.count("ok") == 2


@pytest.mark.parametrize("words, fgsm, fgm", [
    ("brighter than white", [0.1, 1.05, 0.5, 0.1], FGM),
    ("Wrong sign", [0.3, 0.85, 0.5, 0.0], FGM),
    ("the step alone", [-0.1, 0.1, 0.0, 0.1], FGM),
    ("multiplied by g", [0.17, 0.99, 0.5, 0.12], FGM),
    ("its sign is 0", [0.1, 1.0, 0.6, 0.1], FGM),
    ("`fgsm` is not", [0.0, 0.0, 0.0, 0.0], FGM),
    ("did not divide", FGSM, [0.161, 1.0, 0.5, 0.156]),
    ("sum of |g|", FGSM, [0.1795, 0.9774, 0.5, 0.0821]),
    ("squared length", FGSM, [0.1769, 0.9808, 0.5, 0.0923]),
    ("the step alone", FGSM, [-0.03, 0.04, 0.0, 0.12]),
    ("Wrong sign", FGSM, [0.23, 0.91, 0.5, 0.0]),
    ("`fgm` is not", FGSM, FGSM),
    ("key 'fgm'", FGSM, FGM[:3]),
])
def test_both_steps(words, fgsm, fgm):
    assert words in hint(checks.both_steps, lambda: {"fgsm": fgsm, "fgm": fgm})


# --- 03, all on one value -----------------------------------------------------------

def largest_value(model, x, y, eps, *, find=torch.abs, push=torch.sign, shared=False, clamp=True, turn=1):
    """Right but for the mode of the model, or with one slip."""
    g = gradient(model, x, y).flatten(1)
    where = find(g).argmax(1, keepdim=True)
    if shared:
        where = g.abs().amax(0).argmax().expand(len(x), 1)
    step = torch.zeros_like(g).scatter_(1, where, push(g.gather(1, where)))
    moved = x + turn * eps * step.view_as(x)
    return moved.clamp(0, 1) if clamp else moved


def slip(**changed):
    return in_evaluation_mode(partial(largest_value, **changed))


def forgets_the_mode(model, x, y, eps):
    model.eval()
    return largest_value(model, x, y, eps)


def test_the_right_largest_value_passes(capsys):
    checks.largest_value(slip())
    assert capsys.readouterr().out.count("ok") == 3


@slips({
    "Wrong sign": slip(turn=-1),
    "not the largest in size": slip(find=lambda g: g),
    "One position is used": slip(shared=True),
    "That is FGSM": in_evaluation_mode(step),
    "always becomes brighter": slip(push=torch.ones_like),
    "take its sign": slip(push=lambda g: g),
    "A value leaves [0, 1]": slip(clamp=False),
    "come back unchanged": slip(turn=0),
    "The result is not x": slip(turn=0.5),
    "in another mode": forgets_the_mode,
})
def test_largest_value(words, wrong):
    assert words in hint(checks.largest_value, wrong)
