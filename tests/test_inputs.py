"""Bad input: one clear exception that names the argument, what was given and what is allowed."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from advlens.attacks import bim, fgm, fgsm, pgd
from advlens.evaluation import evaluate, robust_accuracy, robust_curve
from advlens.inputs import ProbabilitiesWarning, check_amount, check_logits, frozen, image_gradient

ATTACKS = {"fgsm": fgsm, "fgm": fgm, "bim": bim, "pgd": partial(pgd, steps=2),
           "pgd-l2": partial(pgd, steps=2, norm="l2")}

# Everything public that takes images: the same complaint everywhere.
CALLS = {name: partial(attack, eps=0.1) for name, attack in ATTACKS.items()} | {
    "evaluate": lambda model, x, y: evaluate(model, x, x, y),
    "robust_accuracy": lambda model, x, y: robust_accuracy(model, x, y, partial(fgsm, eps=0.1)),
    "robust_curve": lambda model, x, y: robust_curve(model, x, y, fgsm, [0.0, 0.1]),
}
everywhere = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def with_nan(x):
    x = x.clone()
    x[0, 0, 0, 0] = math.nan
    return x


@everywhere
@pytest.mark.parametrize("spoil, error, message", [
    (lambda x: (255 * x).byte(), TypeError, r"x is torch.uint8; give floats in \[0, 1\]"),
    (lambda x: x.long(), TypeError, "x is torch.int64"),
    (lambda x: x.numpy(), TypeError, "x is a ndarray; give a float tensor"),
    (lambda x: 255 * x, ValueError, r"x lies in \[.*\]; pixels belong in \[0, 1\]"),
    (lambda x: x - 0.5, ValueError, r"x lies in \[-0.5"),
    (lambda x: x + 1.2e-7, ValueError, r"x leaves \[0, 1\] by 1.2e-07, as rounding does: give x.clamp\(0, 1\)"),
    (lambda x: x - 1e-5, ValueError, r"x leaves \[0, 1\] by 1.0e-05"),
    (lambda x: x * math.inf, ValueError, "x holds NaN"),  # 0 * inf
    (lambda x: x + math.inf, ValueError, r"x lies in \[inf, inf\]"),
    (with_nan, ValueError, "x holds NaN"),
    (lambda x: x[0], ValueError, r"x has shape \(2, 6, 6\); give \(N, C, H, W\).*unsqueeze"),
    (lambda x: x.flatten(1), ValueError, r"x has shape \(8, 72\)"),
    (lambda x: x[:0], ValueError, r"x is empty, its shape is \(0, 2, 6, 6\)"),
], ids=["uint8", "int64", "numpy", "0-255", "centred", "above by rounding", "below by rounding",
        "inf times 0", "inf", "NaN", "one image", "flat", "empty"])
def test_wrong_images(call, spoil, error, message, net, batch):
    with pytest.raises(error, match=message):
        call(net, spoil(batch[0]), batch[1])


@everywhere
@pytest.mark.parametrize("spoil, error, message", [
    (lambda y: y[:5], ValueError, r"y has shape \(5,\) for 8 images; give \(8,\)"),
    (lambda y: y[:, None], ValueError, r"y has shape \(8, 1\)"),
    (lambda y: y.float(), TypeError, "y is torch.float32; give int64 class numbers"),
    (lambda y: y.int(), TypeError, "y is torch.int32"),
    (lambda y: y.tolist(), TypeError, "y is list"),
    (lambda y: y - 5, ValueError, "y holds -[1-5]; class numbers start at 0"),
    (lambda y: y + 5, ValueError, r"y holds [5-9], but the model has 5 classes \(0 to 4\)"),
], ids=["short", "column", "float", "int32", "list", "negative", "too large"])
def test_wrong_labels(call, spoil, error, message, net, batch):
    with pytest.raises(error, match=message):
        call(net, batch[0], spoil(batch[1]))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("eps, error, message", [
    (-0.1, ValueError, "eps = -0.1.*not negative"),
    (math.nan, ValueError, "eps = nan.*finite"),
    (math.inf, ValueError, "eps = inf.*finite"),
    (torch.tensor(8 * [0.1] + [0.1]), ValueError, r"eps has shape \(9,\); give one number, or \(8,\)"),
    (torch.full((8, 1, 1, 1), 0.1), ValueError, r"eps has shape \(8, 1, 1, 1\)"),
    (torch.tensor([0.1] * 7 + [-0.1]), ValueError, "eps = .*not negative"),
    (torch.tensor([0.1] * 7 + [math.nan]), ValueError, "eps = .*finite"),
], ids=["negative", "NaN", "infinite", "long", "wrong shape", "one negative", "one NaN"])
def test_wrong_eps(attack, eps, error, message, net, batch):
    with pytest.raises(error, match=message):
        attack(net, *batch, eps=eps)


@pytest.mark.parametrize("attack", [fgsm, fgm, partial(pgd, steps=2)], ids=["fgsm", "fgm", "pgd"])
@pytest.mark.parametrize("eps", ["0.1", None, [[0.1], [0.1, 0.2]]])
def test_eps_of_a_wrong_type(attack, eps, net, batch):
    with pytest.raises(TypeError, match="eps is .*; give one number, or a tensor"):
        attack(net, *batch, eps=eps)


@pytest.mark.parametrize("eps",
                         [np.float32(0.1), np.float64(0.1), torch.tensor(0.1), 0, torch.zeros(8, dtype=torch.int64)])
def test_any_kind_of_number_is_an_eps(eps, net, batch):
    assert (fgsm(net, *batch, eps=eps) - batch[0]).abs().max() <= 0.1 + 1e-6


@everywhere
def test_a_model_that_returns_probabilities_is_noticed(call, net, batch):
    """PEERS 13."""
    with pytest.warns(ProbabilitiesWarning, match="look like probabilities.*remove the softmax"):
        call(nn.Sequential(net, nn.Softmax(1)), *batch)


@pytest.mark.filterwarnings("error::advlens.inputs.ProbabilitiesWarning")
@everywhere
def test_logits_are_not_taken_for_probabilities(call, net, batch):
    call(net, *batch)


@everywhere
@pytest.mark.parametrize("tail, message", [
    (nn.Flatten(0), "the model returns shape"),
    (nn.Unflatten(1, (5, 1)), "the model returns shape"),
], ids=["flat", "a map"])
def test_a_model_of_another_shape(call, tail, message, net, batch):
    with pytest.raises(ValueError, match=message):
        call(nn.Sequential(net, tail), *batch)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_model_that_returns_one_number_that_is_not_finite(value):
    x, y = torch.rand(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="the model returns NaN or infinite values"):
        check_logits(torch.tensor([[0.0, 1.0, 2.0], [0.0, value, 2.0]]), x, y)


def test_a_model_that_returns_more_than_logits():
    with pytest.raises(TypeError, match=r"the model returns a tuple; logits are one tensor \(N, classes\)"):
        check_logits((torch.zeros(2, 3), None), torch.rand(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64))


def test_the_first_class_that_is_not_there():
    x, logits = torch.rand(2, 1, 2, 2), torch.randn(2, 3)
    check_logits(logits, x, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"y holds 3, but the model has 3 classes \(0 to 2\)"):
        check_logits(logits, x, torch.tensor([0, 3]))


def test_the_gradient_of_each_image_is_its_own():
    x = torch.rand(3, 1, 2, 2, requires_grad=True)
    value = x.pow(2).sum((1, 2, 3))
    for retain in (True, False):
        assert torch.equal(image_gradient(value, x, retain_graph=retain), 2 * x)
    other = torch.rand(3, requires_grad=True)
    for cut in (value.detach(), other * 1):
        with pytest.raises(ValueError, match="cuts its logits off.*BPDA"):
            image_gradient(cut, x)


@pytest.mark.parametrize("value, error, message", [
    ("1", TypeError, "rate is '1'; give a number"),
    (True, TypeError, "rate is True"),
    (None, TypeError, "rate is None"),
    (math.nan, ValueError, "rate = nan; give a finite number > 0"),
    (math.inf, ValueError, "rate = inf"),
    (-1, ValueError, "rate = -1"),
    (0, ValueError, "rate = 0; give a finite number > 0"),
])
def test_wrong_amounts(value, error, message):
    with pytest.raises(error, match=message):
        check_amount(value, "rate", above_zero=True)
    if value == 0:
        check_amount(value, "rate")
    check_amount(np.float32(0.5), "rate", above_zero=True)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_eps_that_wants_a_gradient_gives_images_that_want_none(attack, net, batch):
    assert not attack(net, *batch, eps=torch.full((8,), 0.1, requires_grad=True)).requires_grad


def test_adversarial_images_of_another_shape(net, batch):
    x, y = batch
    with pytest.raises(ValueError, match="adversarial has shape .*they must agree"):
        evaluate(net, x, x[:3], y)
    with pytest.raises(ValueError, match="adversarial lies in"):
        evaluate(net, x, x + 1, y)
    with pytest.raises(TypeError, match="adversarial is torch.uint8"):
        evaluate(net, x, (255 * x).byte(), y)


def test_frozen_gives_everything_back(net):
    """PEERS 11: the mode of every submodule, every flag, and that after an exception too."""
    net[2].eval()
    net[1].bias.requires_grad_(False)
    modes, flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    with pytest.raises(KeyError), frozen(net) as same:
        assert same is net
        assert not any(m.training for m in net.modules()) and not any(p.requires_grad for p in net.parameters())
        raise KeyError
    assert [m.training for m in net.modules()] == modes and [p.requires_grad for p in net.parameters()] == flags


def state(model):
    return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]


class HoldsBatchNorm(nn.Sequential):
    """Batch normalisation stays in evaluation mode, as in fine-tuning."""

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


class Merges(nn.Module):
    """In evaluation mode the weights hold an update that training keeps apart, and are counted as frozen."""

    def __init__(self):
        super().__init__()
        self.inner, self.update, self.merged, self.calls = nn.Linear(4, 3), torch.ones(3, 4), False, []
        nn.init.constant_(self.inner.weight, 0.5)  # so that adding and taking away leaves no rounding

    def train(self, mode=True):
        self.calls.append(mode)
        if mode == self.merged:
            self.inner.weight.data.add_(self.update, alpha=-1 if mode else 1)
            self.merged = not mode
            self.inner.bias.requires_grad_(mode)
        return super().train(mode)

    def forward(self, x):
        return self.inner(x.flatten(1))


@pytest.mark.parametrize("wrap", [lambda m: m, nn.Sequential, partial(torch.compile, backend="eager")],
                         ids=["bare", "inside", "compiled"])
def test_frozen_undoes_what_train_of_the_module_itself_did(wrap):
    """A module with a `train()` of its own, alone, inside another one and compiled, in every mixture of modes."""
    merges = Merges()
    model, weight = wrap(merges), merges.inner.weight.detach().clone()
    before = state(model)
    with pytest.raises(KeyError), frozen(model):
        assert torch.equal(merges.inner.weight, weight + 1) and state(model) == ([False] * len(before[0]), [False] * 2)
        raise KeyError
    assert torch.equal(merges.inner.weight, weight) and state(model) == before
    model.eval()
    merges.inner.train()  # a part that trains alone
    before, merges.calls = state(model), []
    with frozen(model), frozen(model):
        assert not merges.inner.training
    assert state(model) == before and True not in merges.calls and torch.equal(merges.inner.weight, weight + 1)


def test_frozen_keeps_batch_normalisation_where_it_was():
    for bn_trains in (False, True):  # the second against the module's own will: it is not ours to correct
        model = HoldsBatchNorm(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout())
        model.train()
        model[1].training = bn_trains
        before = state(model)
        with frozen(model):
            assert not any(state(model)[0])
        assert state(model) == before


def test_a_module_that_stays_in_training_mode_by_its_own_will():
    """Dropout that votes: its `train()` knows one mode.  frozen asks, and does not insist."""
    class Votes(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    model = nn.Sequential(nn.Linear(2, 2), Votes())
    with frozen(model):
        assert [m.training for m in model.modules()] == [False, False, True]
    assert all(m.training for m in model.modules())


def test_a_model_in_evaluation_mode_is_not_asked_again():
    """Some refuse: what torch.export makes has neither mode."""
    model = torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (torch.rand(2, 1, 2, 2),)).module()
    for module in model.modules():
        module.training = False
    with pytest.raises(NotImplementedError):
        model.eval()
    with frozen(model):
        model(torch.rand(2, 1, 2, 2))


@pytest.mark.parametrize("make",
                         [lambda net: lambda x: net(x), lambda net: partial(net.forward), lambda net: net.__call__,
                                  lambda net: torch.compile(lambda x: net(x), backend="eager")],
                         ids=["lambda", "partial", "method", "compiled function"])
def test_a_function_is_a_model_whose_mode_is_its_owners_affair(make, net, batch):
    net[4].eval()  # dropout; the rest trains
    model, before = make(net), state(net)
    with frozen(model) as same:
        assert same is model and state(net) == before
    net.eval()
    assert torch.equal(bim(model, *batch, eps=0.1, steps=2), bim(net, *batch, eps=0.1, steps=2))
    assert evaluate(model, batch[0], batch[0], batch[1]).success.shape == (8,)


def test_a_compiled_module_is_attacked_as_it_is(net, batch):
    compiled, before = torch.compile(net, backend="eager"), state(net)
    assert torch.equal(bim(compiled, *batch, eps=0.1, steps=2), bim(net, *batch, eps=0.1, steps=2))
    assert state(net) == before and all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("model", [None, "lenet", {"weight": torch.ones(1)}])
def test_what_cannot_be_called_is_no_model(model):
    message = "the model is a .*; give an nn.Module, or a function from images to logits"
    with pytest.raises(TypeError, match=message), frozen(model):
        pass
