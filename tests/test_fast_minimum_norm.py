"""Fast minimum norm in l-infinity: known optima, the peer, the least work.  Its contract: test_contract.py.

"PEERS n" names a mistake of other libraries that the test would catch here.
"""

from __future__ import annotations

import math
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from advlens.attacks import ddn, fmn
from advlens.evaluation import evaluate, logits
from advlens.geometry import ZeroGradientWarning
from nets import After


def linear(seed, features, classes, scale=1.0):
    """A linear net in double precision whose classes are about equally likely in the middle of the box."""
    w = scale * torch.randn(classes, features, generator=torch.Generator().manual_seed(seed)).double()
    net = nn.Sequential(nn.Flatten(), nn.Linear(features, classes)).double()
    with torch.no_grad():
        net[1].weight.copy_(w)
        net[1].bias.copy_(-w.sum(1) / 2)
    return net


def distance(net, x, y, k):
    """The smallest eps (N,) with which an image can get from class y to class k (N,) of a linear net; inf where none
    does.

    Each pixel goes by eps against the difference of the weights, or as far as the box lets it.
    """
    w = (net[1].weight[k] - net[1].weight[y]).detach()  # (N, n)
    z = logits(net, x)
    gap = (z.gather(1, y[:, None]) - z.gather(1, k[:, None])).squeeze(1)
    room = torch.where(w > 0, 1 - x.flatten(1), x.flatten(1))
    gained = lambda eps: (w.abs() * torch.minimum(room, eps[:, None])).sum(1)
    low, high = torch.zeros_like(gap), torch.ones_like(gap)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = torch.where(gained(middle) < gap, middle, low), torch.where(gained(middle) < gap, high, middle)
    return torch.where(gained(torch.ones_like(gap)) > gap, high, torch.inf)


@pytest.mark.parametrize("shape, classes, targeted",
                         [((1, 2, 4), 2, False), ((1, 2, 4), 2, True), ((1, 4, 4), 3, False), ((3, 8, 8), 10, False)])
def test_linear_nets_fall_at_their_known_distance(shape, classes, targeted):
    """Nets that differ a million times in scale; pixels near the walls.  One image in ten may end at another class.

    Targets with two classes only: to beat all others at once is another problem than to beat one.
    """
    ratio = []
    for seed in range(6):
        net = linear(seed, math.prod(shape), classes, 10.0 ** (seed - 3))
        x = torch.rand(8, *shape, generator=torch.Generator().manual_seed(seed)).double()
        own = logits(net, x).argmax(1)
        ways = torch.stack([distance(net, x, own, (own + k) % classes) for k in range(1, classes)])
        y, optimum = ((own + 1) % classes, ways[0]) if targeted else (own, ways.amin(0))
        adversarial = fmn(net, x, y, targeted=targeted)
        found = evaluate(net, x, adversarial, y, targeted=targeted)
        possible = torch.isfinite(optimum)
        assert (found.linf[found.success] >= (1 - 1e-9) * optimum[found.success]).all()
        assert torch.equal(adversarial[~found.success], x[~found.success]) and found.success[optimum < 0.5].all()
        ratio.append(torch.where(found.success, found.linf, torch.inf)[possible] / optimum[possible])
    ratio = torch.cat(ratio)
    assert ratio.median() < 1.001 and (ratio <= 1.01).double().mean() > 0.9, ratio


def test_the_first_radius_is_the_distance_to_the_linearised_boundary():
    """Far from the walls a linear net of two classes needs no search."""
    net = linear(0, 48, 2)
    x = (0.5 + 0.02 * torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))).double()
    y = logits(net, x).argmax(1)
    found = evaluate(net, x, fmn(net, x, y, steps=2), y)
    assert found.success.all() and (found.linf <= 1.01 * distance(net, x, y, 1 - y) + 1e-4).all()


def length(model, x, adversarial, y):
    found = evaluate(model, x, adversarial, y)
    return torch.where(found.success, found.linf, torch.inf)


@pytest.mark.parametrize("steps", [30, 60])
def test_it_ends_nearer_than_adv_lib_at_equal_passes(steps, peer, lenet, digits):
    x, y = digits.images[:12], logits(lenet, digits.images[:12]).argmax(1)
    theirs = length(lenet, x, peer("adv_lib.attacks").fmn(lenet, x, y, norm=math.inf, steps=steps).clamp(0, 1), y)
    ours = length(lenet, x, fmn(lenet, x, y, steps=steps), y)
    assert torch.isfinite(ours).all() and (ours <= 1.02 * theirs).all(), ours / theirs
    assert (ours / theirs).log().mean() < 0  # and on average nearer


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_success_does_not_hang_on_rounding_nor_on_the_scale(scale, lenet, digits):
    """PEERS 6, 15: on a net however sure; judged in double precision all stay fooled."""
    x, y = digits.images[:12], logits(lenet, digits.images[:12]).argmax(1)
    net = After(lenet, lambda z: scale * z)
    adversarial = fmn(net, x, y, steps=30)
    plain = length(lenet, x, fmn(lenet, x, y, steps=30), y)
    exactly = evaluate(net.double(), x.double(), adversarial.double(), y)
    assert exactly.success.all() and exactly.linf.median() < 1.02 * plain.median()


def test_its_l2_form_is_that_of_ddn(net, batch):
    net, x = net.double(), batch[0].double()
    y = logits(net, x).argmax(1)
    assert torch.equal(fmn(net, x, y, norm="l2", gamma=0.05), ddn(net, x, y))


def test_the_smallest_success_met_comes_back(net, batch):
    """Not the last: with so large a gamma the radius swings."""
    net, x, points = net.double(), batch[0].double(), []
    y = logits(net, x).argmax(1)
    hook = net.register_forward_pre_hook(lambda module, inputs: points.append(inputs[0].detach()))
    adversarial = fmn(net, x, y, steps=20, gamma=0.5)
    hook.remove()
    met = torch.stack([torch.where(logits(net, p).argmax(1) != y, (p - x).abs().amax((1, 2, 3)), torch.inf)
                       for p in points])
    torch.testing.assert_close(length(net, x, adversarial, y), met.amin(0), rtol=1e-4, atol=0)
    assert (met[-1] > 1.01 * met.amin(0)).any(), "the last is the smallest: this test shows nothing"


def test_an_image_on_the_boundary_needs_next_to_nothing():
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, dtype=torch.int64)
    assert (length(nn.Flatten(), x, fmn(nn.Flatten(), x, y), y) < 1e-4).all()


def test_it_costs_its_steps_and_one_forward_pass(work, net, batch):
    y = logits(net, batch[0]).argmax(1)
    with work(net) as spent:
        fmn(net, batch[0], y, steps=7)
    assert (spent.forward, spent.backward) == (8 * 8, 7 * 8)
    with work(net) as spent:
        fmn(net, batch[0], torch.where(torch.arange(8) < 3, y, (y + 1) % 5), steps=7)
    assert (spent.forward, spent.backward) == (8 + 7 * 3, 8 + 6 * 3)


def test_where_the_gradient_vanishes_it_warns(batch):
    flat = After(nn.Flatten(), lambda z: torch.tensor([2.0, 0.0]).expand(len(z), -1) + 0 * z[:, :2])
    with pytest.warns(ZeroGradientWarning), warnings.catch_warnings():
        warnings.simplefilter("always")
        assert torch.equal(fmn(flat, batch[0], torch.zeros(8, dtype=torch.int64), steps=3), batch[0])


@pytest.mark.parametrize("options, error, message", [
    (dict(norm="l1"), ValueError, "unknown norm 'l1'; known: linf, l2"),
    (dict(steps=0), ValueError, "steps = 0; give at least 1"),
    (dict(steps=None), TypeError, "steps is None; give a whole number"),
    (dict(gamma=0.0), ValueError, "gamma = 0.0; give a number between 0 and 1"),
    (dict(gamma=1.0), ValueError, "gamma = 1.0"),
])
def test_wrong_settings(options, error, message, net, batch):
    with pytest.raises(error, match=message):
        partial(fmn, net, *batch)(**options)
