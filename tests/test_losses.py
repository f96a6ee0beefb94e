"""The losses that attacks make large: one number per image, with the right gradient."""

from __future__ import annotations

import copy
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from advlens import data, zoo
from advlens.attacks import bim, fgsm, losses, pgd
from advlens.evaluation import evaluate, logits
from advlens.geometry import ZeroGradientWarning
from nets import After

quick = settings(max_examples=40, deadline=None)
cases = given(seed=st.integers(0, 10_000), n=st.integers(1, 6), k=st.integers(2, 7),
              scale=st.sampled_from([0.1, 1.0, 30.0]))


def draw(seed, n, k, scale):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, k, generator=generator, dtype=torch.float64), torch.randint(0, k, (n,),
                                                                                              generator=generator)


@quick
@cases
def test_margin_by_a_plain_loop(seed, n, k, scale):
    logits, y = draw(seed, n, k, scale)
    slow = [max(z for j, z in enumerate(row) if j != label) - row[label] for row,
            label in zip(logits.tolist(), y.tolist())]
    torch.testing.assert_close(losses.margin(logits, y), torch.tensor(slow, dtype=torch.float64))


@quick
@cases
def test_margin_is_positive_exactly_where_y_is_not_predicted(seed, n, k, scale):
    logits, y = draw(seed, n, k, scale)
    assert torch.equal(losses.margin(logits, y) > 0, logits.argmax(1) != y)


@quick
@cases
def test_mean_squared_error_by_a_plain_loop(seed, n, k, scale):
    logits, y = draw(seed, n, k, scale)
    probabilities = logits.softmax(1).tolist()
    slow = [sum((p - (j == label)) ** 2 for j, p in enumerate(row)) / k for row,
            label in zip(probabilities, y.tolist())]
    torch.testing.assert_close(losses.mean_squared_error(logits, y), torch.tensor(slow, dtype=torch.float64))


@quick
@cases
def test_cross_entropy_is_minus_the_log_probability(seed, n, k, scale):
    logits, y = draw(seed, n, k, scale)
    expected = -logits.log_softmax(1)[torch.arange(n), y]
    torch.testing.assert_close(losses.cross_entropy(logits, y), expected)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("shift", [-100.0, 100.0])
def test_a_constant_added_to_the_logits_changes_nothing(name, shift):
    """PEERS 1: logits times a 0/1 mask turn negative logits into 0."""
    logits, y = draw(0, 6, 5, 1.0)
    torch.testing.assert_close(losses.LOSSES[name](logits + shift, y), losses.LOSSES[name](logits, y))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_one_number_per_image_whatever_its_neighbours(name):
    """PEERS 3, 14."""
    logits, y = draw(1, 6, 5, 1.0)
    together = losses.LOSSES[name](logits, y)
    assert together.shape == (6,)
    alone = torch.cat([losses.LOSSES[name](logits[i:i + 1], y[i:i + 1]) for i in range(6)])
    torch.testing.assert_close(alone, together)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_gradient_is_the_slope(name):
    logits, y = draw(2, 4, 5, 1.0)
    assert torch.autograd.gradcheck(lambda z: losses.LOSSES[name](z, y), logits.requires_grad_())


# --- log-odds: what "ce" follows -------------------------------------------------------

NETS = {"lenet": "digits", "fully_connected": "digits", "mnist_resnet": "digits", "hebbian_bio": "digits",
        "hebbian_bp": "digits", "cifar_net": "shapes", "vgg_blocks": "shapes"}


def slope(loss, function, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(function(x), y).sum(), x)[0]


@quick
@cases
def test_cross_entropy_is_softplus_of_the_log_odds(seed, n, k, scale):
    """So both order the points alike, and where softplus has a slope both gradients point the same way."""
    logits, y = draw(seed, n, k, scale)
    m = losses.log_odds(logits, y)
    torch.testing.assert_close(F.softplus(m), losses.cross_entropy(logits, y), rtol=1e-9, atol=1e-9)
    p = logits.softmax(1)[torch.arange(n), y]
    clear = (p > 1e-6) & (p < 1 - 1e-6)
    torch.testing.assert_close(m[clear], ((1 - p) / p).log()[clear], rtol=1e-6, atol=1e-6)
    naive, ours = (slope(loss, lambda z: z, logits, y) for loss in (losses.cross_entropy, losses.log_odds))
    torch.testing.assert_close(naive, m.sigmoid()[:, None] * ours, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("gap", [5.0, 20.0, 100.0, 1e4])
def test_the_log_odds_keep_in_float32_what_the_cross_entropy_loses(gap):
    """PEERS 6: 1 - p has no digits left, so the pull on the own logit is lost, then all of it."""
    logits, y = torch.tensor([[gap, 0.3, -0.2, 0.0]]), torch.tensor([0])
    exact = slope(losses.log_odds, lambda z: z, logits.double(), y)
    torch.testing.assert_close(slope(losses.log_odds, lambda z: z, logits, y).double(), exact, rtol=1e-5, atol=1e-7)
    naive = slope(losses.cross_entropy, lambda z: z, logits, y)
    assert (naive[0, 0] == 0) == (gap > 17) and (naive == 0).all() == (gap > 104)


@pytest.mark.parametrize("name", NETS)
def test_on_trained_nets_the_signs_of_the_gradient_are_those_of_float64(name):
    """At the scale of the net and a hundred times as sure; the naive form loses whole images there."""
    some = data.load(NETS[name], "test")[:20 if name in ("cifar_net", "vgg_blocks") else 40]
    net = zoo.pretrained(name, NETS[name])
    exactly = copy.deepcopy(net).double()
    wrong = {}
    for scale in (1, 100):
        exact = slope(losses.log_odds, lambda x: scale * exactly(x), some.images.double(), some.labels).sign()
        for loss in (losses.log_odds, losses.cross_entropy):
            signs = slope(loss, lambda x: scale * net(x), some.images, some.labels).sign()
            wrong[loss, scale] = (signs != exact).flatten(1).double().mean(1)  # (N,) share of the pixels
    assert wrong[losses.log_odds, 1].max() < 0.01 and wrong[losses.log_odds, 100].max() < 0.01
    assert (wrong[losses.cross_entropy, 100] > 0.1).double().mean() > 0.5
    if name in ("lenet", "hebbian_bio", "hebbian_bp", "cifar_net"):
        assert (wrong[losses.cross_entropy, 1] > 0.1).double().mean() > 0.15


ATTACKS = {"fgsm": fgsm, "bim": partial(bim, steps=5), "pgd": partial(pgd, steps=10, random_start=False)}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_sure_net_falls_to_ce_and_withstands_naive_ce(attack, lenet, digits):
    """PEERS 6, the lesson of chapter 04: logits x 1 to x 1,000 change nothing, but for the loss that libraries use.

    The sum over the other classes turns into their maximum, so a few images in a hundred decide otherwise.
    """
    some = digits[:60]
    y = logits(lenet, some.images).argmax(1)

    def fooled(loss, scale):
        sure = After(lenet, lambda z: scale * z)
        with warnings.catch_warnings():
            warnings.simplefilter("error" if loss == "ce" else "ignore", ZeroGradientWarning)
            return evaluate(sure, some.images, attack(sure, some.images, y, eps=0.07, loss=loss), y).success

    ce, naive = (torch.stack([fooled(loss, scale) for scale in (1, 10, 100, 1000)]) for loss in ("ce", "naive_ce"))
    assert 0.2 < ce[0].double().mean() < 0.8 and ((ce != ce[0]).double().mean(1) <= 0.05).all()
    assert naive[0].double().mean() > ce[0].double().mean() - 0.1 and (naive.double().mean(1)[2:] < 0.1).all()


# --- difference of logits ratio -----------------------------------------------------------

@quick
@given(seed=st.integers(0, 10_000), n=st.integers(1, 6), k=st.integers(4, 9), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_dlr_by_the_formulas(seed, n, k, scale):
    """croce2020, eq. 6 and 7, image by image; the best other class stands in for the true class in eq. 7."""
    logits, y = draw(seed, n, k, scale)
    plain, targeted = [], []
    for row, label in zip(logits.tolist(), y.tolist()):
        first, _, third, fourth = sorted(row, reverse=True)[:4]
        other = max(z for j, z in enumerate(row) if j != label)
        plain.append(-(row[label] - other) / (first - third))
        targeted.append((other - row[label]) / (first - (third + fourth) / 2))
    torch.testing.assert_close(losses.dlr(logits, y), torch.tensor(plain).double())
    torch.testing.assert_close(losses.targeted_dlr(logits, y), torch.tensor(targeted).double())
    for loss in (losses.dlr, losses.targeted_dlr):
        torch.testing.assert_close(loss(100 * logits - 7, y), loss(logits, y))


def test_dlr_of_equal_logits_is_a_number():
    for loss in (losses.dlr, losses.targeted_dlr):
        assert loss(torch.ones(2, 5), torch.tensor([0, 4])).tolist() == [0, 0]


@pytest.mark.parametrize("loss, classes", [(losses.dlr, 3), (losses.targeted_dlr, 4)])
def test_dlr_names_the_classes_it_needs(loss, classes):
    z, y = torch.randn(3, classes), torch.tensor([0, 1, 2])
    assert loss(z, y).shape == (3,)
    with pytest.raises(ValueError,
                       match=f"needs at least {classes} classes and the model has {classes - 1}: take loss=\"margin\""):
        loss(z[:, 1:], y.clamp_max(1))


@pytest.mark.filterwarnings("ignore::advlens.geometry.ZeroGradientWarning")  # where y comes third the ratio is 1
def test_dlr_climbs_untargeted_and_targeted(lenet, digits):
    some = digits[:20]
    right = logits(lenet, some.images).argmax(1)
    for targeted in (False, True):
        y = (right + targeted) % 10
        adversarial = pgd(lenet, some.images, y, eps=0.3, steps=10, loss="dlr", targeted=targeted, random_start=False)
        assert evaluate(lenet, some.images, adversarial, y, targeted=targeted).success.double().mean() > 0.7


# --- names -----------------------------------------------------------------------------------

def test_names_and_functions():
    for name, function in (("ce", losses.log_odds), ("naive_ce", losses.cross_entropy), ("margin", losses.margin),
                           ("dlr", losses.dlr), ("mse", losses.mean_squared_error)):
        assert losses.named(name) is function
        assert losses.named(name, targeted=True) is (losses.targeted_dlr if name == "dlr" else function)
    assert losses.named(F.cross_entropy, targeted=True) is F.cross_entropy
    with pytest.raises(ValueError, match="unknown loss 'hinge'; known: ce, naive_ce, margin, dlr, mse, or a function"):
        losses.named("hinge")
