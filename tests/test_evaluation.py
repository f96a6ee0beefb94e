"""Judging attacks: recomputed success, curves over survivors, honest intervals."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats
from torch import nn

from advlens.attacks import fgsm, pgd
from advlens.evaluation import Curve, evaluate, logits, rate, robust_accuracy, robust_curve, wilson_interval
from advlens.inputs import ProbabilitiesWarning

start = lambda: torch.Generator().manual_seed(0)


# --- intervals ---------------------------------------------------------------

@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 10_000), share=st.floats(0, 1))
def test_wilson_equals_scipy(n, share):
    hits = round(share * n)
    low, high = wilson_interval(hits, n)
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert low == pytest.approx(theirs.low, abs=1e-6) and high == pytest.approx(theirs.high, abs=1e-6)
    assert 0 <= low <= hits / n <= high <= 1


def test_wilson_is_not_empty_at_the_ends():
    assert wilson_interval(0, 50)[1] > 0.05 and wilson_interval(50, 50)[0] < 0.95


@pytest.mark.parametrize("hits, n", [(1, 0), (-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses_impossible_counts(hits, n):
    with pytest.raises(ValueError, match=f"hits = {hits} of n = {n}"):
        wilson_interval(hits, n)


def test_rate_counts_and_prints():
    share = rate(torch.tensor([True, True, False, True]))
    assert share.value == 0.75 and share.n == 4 and (share.low, share.high) == wilson_interval(3, 4)
    assert str(share).startswith("75.0% (95 %: ") and str(share).endswith("n = 4)")


# --- evaluate -----------------------------------------------------------------

def test_everything_is_computed_from_the_returned_images(net, batch):
    """PEERS 4: whatever the attack believes, only its images count."""
    x, y = batch
    y = logits(net, x).argmax(1)
    clean = evaluate(net, x, x.clone(), y)
    assert not clean.success.any() and (clean.margin < 0).all()
    for size in (clean.l0, clean.l1, clean.l2, clean.linf):
        assert torch.equal(size, torch.zeros(8))
    moved = x.clone()
    moved[0, :, 2, 3] = (x[0, :, 2, 3] + 0.5) % 1  # both channels of one pixel
    d = (moved - x)[0].abs()
    result = evaluate(net, x, moved, y)
    assert result.l0.tolist() == [1.0] + 7 * [0.0]
    assert result.linf[0] == d.max() and result.l1[0] == pytest.approx(d.sum().item())
    assert result.l2[0].item() == pytest.approx(d.pow(2).sum().sqrt().item())


def test_an_all_black_image_is_judged_like_any_other(net, batch):
    """PEERS 4: Foolbox returned all-zero images where it failed and counted them as successes."""
    x, _ = batch
    black = torch.zeros_like(x)
    y = logits(net, black).argmax(1)  # the net gives black images just this label
    assert not evaluate(net, x, black, y).success.any()


def test_targets_are_hit_or_missed(net, batch):
    x, _ = batch
    predicted = logits(net, x).argmax(1)
    assert evaluate(net, x, x, predicted, targeted=True).success.all()
    assert not evaluate(net, x, x, (predicted + 1) % 5, targeted=True).success.any()


def test_logits_are_those_of_the_net_at_rest_whatever_the_batches(net, batch):
    x, _ = batch
    modes = [m.training for m in net.modules()]
    z = logits(net, x, batch_size=3)
    assert [m.training for m in net.modules()] == modes and not z.requires_grad
    torch.testing.assert_close(z, net.eval()(x).detach())


# --- robust accuracy and curves --------------------------------------------------

EPS = [0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0]


@pytest.fixture
def some(digits):
    return digits[:80]


def test_the_curve_starts_clean_never_rises_and_reaches_zero(lenet, some):
    attack = partial(pgd, steps=10, loss="margin", first_success=True, generator=start())
    curve = robust_curve(lenet, some.images, some.labels, attack, EPS)
    clean = (logits(lenet, some.images).argmax(1) == some.labels).float().mean().item()
    assert curve.eps == EPS and curve.n == 80
    assert curve.accuracy[0] == pytest.approx(clean) and curve.accuracy[-1] == 0
    assert all(a >= b for a, b in zip(curve.accuracy, curve.accuracy[1:]))
    assert all(l <= a <= h for a, l, h in zip(curve.accuracy, curve.low, curve.high))


def test_the_curve_equals_separate_runs_of_a_deterministic_attack(lenet, some):
    """Survivors only: the same accuracy as attacking everybody at each eps and keeping whoever ever fell."""
    attack = partial(pgd, steps=5, random_start=False)
    curve = robust_curve(lenet, some.images, some.labels, attack, EPS[:5])
    standing, slow = torch.ones(80, dtype=torch.bool), []
    for e in EPS[:5]:
        standing &= ~evaluate(lenet, some.images, attack(lenet, some.images, some.labels, eps=e), some.labels).success
        slow.append(standing.float().mean().item())
    assert curve.accuracy == pytest.approx(slow)


def test_robust_accuracy_equals_evaluate(lenet, some):
    attack = partial(fgsm, eps=0.1)
    share = robust_accuracy(lenet, some.images, some.labels, attack)
    before = logits(lenet, some.images).argmax(1) == some.labels
    after = ~evaluate(lenet, some.images, attack(lenet, some.images, some.labels), some.labels).success
    assert share.value == pytest.approx((before & after).float().mean().item()) and share.n == 80


def test_the_size_of_the_batches_changes_nothing(lenet, some):
    attack = partial(fgsm, eps=0.1)
    assert robust_accuracy(lenet, some.images, some.labels, attack, batch_size=7) == \
        robust_accuracy(lenet, some.images, some.labels, attack)


def test_images_that_are_wrong_from_the_start_stay_wrong(lenet, some):
    """An attack that repairs misclassified images must not raise the accuracy above the clean one."""
    wrong = (some.labels + 1) % 10
    assert robust_accuracy(lenet, some.images, wrong, lambda m, x, y: x).value <= 0.05


class Threshold(nn.Module):
    """Class 0 while the mean pixel stays below 0.5."""

    def forward(self, x):
        rise = x.mean((1, 2, 3))
        return torch.stack([torch.full_like(rise, 0.5), rise], 1)


# Distances to the threshold 0.05, 0.15, 0.25, 0.35; the last image is wrong from the start.
BRIGHT = torch.tensor([0.45, 0.35, 0.25, 0.15, 0.90]).view(5, 1, 1, 1)
ZEROS = torch.zeros(5, dtype=torch.int64)


def test_only_survivors_are_attacked():
    attacked = []

    def brighten(model, x, y, *, eps):
        attacked.append(len(x))
        return (x + eps).clamp(0, 1)

    curve = robust_curve(Threshold(), BRIGHT, ZEROS, brighten, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert curve.accuracy == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0])
    assert attacked == [4, 3, 2, 1]  # eps = 0 costs no attack, and nobody is left for 0.5


def test_the_curve_costs_one_look_at_the_clean_images_and_one_at_each_result(work):
    model = Threshold()
    with work(model) as done:
        robust_curve(model, BRIGHT, ZEROS, lambda m, x, y, eps: (x + eps).clamp(0, 1), [0.0, 0.1, 0.2, 0.3, 0.4])
    assert (done.forward, done.backward) == (5 + 4 + 3 + 2 + 1, 0)


def test_counting_ends_with_its_block(work):
    """Also after an exception."""
    model = Threshold()
    with pytest.raises(KeyError), work(model) as done:
        model(BRIGHT)
        raise KeyError
    model(BRIGHT)
    assert (done.forward, done.backward) == (5, 0)


def test_progress_bars_say_what_is_done(lenet, some, capsys):
    robust_curve(lenet, some.images, some.labels, fgsm, [0.1, 0.2], progress=True, batch_size=40)
    shown = capsys.readouterr().err
    assert "eps" in shown and "attack" in shown
    robust_curve(lenet, some.images, some.labels, fgsm, [0.1, 0.2])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("eps", [[], [0.2, 0.1], [0.1, 0.1], [math.nan], [0.0, math.nan], [-0.1, 0.1], [0.1, math.inf]])
def test_a_curve_refuses_a_wrong_list_of_eps(eps, lenet, some):
    with pytest.raises(ValueError, match="eps"):
        robust_curve(lenet, some.images, some.labels, fgsm, eps)


def test_an_attack_that_leaves_the_box_is_refused(lenet, some):
    """PEERS 12: a missing clamp would count as a success."""
    with pytest.raises(ValueError, match=r"the attack's result lies in \[.*pixels belong in \[0, 1\]"):
        robust_accuracy(lenet, some.images, some.labels, lambda m, x, y: x + 0.5)


def test_an_attack_that_loses_images_is_refused(lenet, some):
    """One image for all of them would be compared with every label."""
    with pytest.raises(ValueError, match=r"the attack's result has shape \(1, 1, 28, 28\) for images \(.*they must agree"):
        robust_accuracy(lenet, some.images, some.labels, lambda m, x, y: x[:1])


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_at_least_one_image(batch_size, lenet, some):
    """With -1 there would be no batch, so no attack, and full marks for the net."""
    with pytest.raises(ValueError, match=f"batch_size = {batch_size}; give at least 1"):
        robust_accuracy(lenet, some.images, some.labels, fgsm, batch_size=batch_size)


def test_probabilities_are_noticed(lenet, some):
    """PEERS 13."""
    softmax = nn.Sequential(lenet, nn.Softmax(1))
    with pytest.warns(ProbabilitiesWarning):
        evaluate(softmax, some.images, some.images, some.labels)
    with pytest.warns(ProbabilitiesWarning):
        robust_accuracy(softmax, some.images, some.labels, lambda m, x, y: x)


def test_a_curve_is_plain_numbers(lenet, some):
    """So that it can be written into a record as it is."""
    curve = robust_curve(lenet, some.images, some.labels, fgsm, [0.0, 0.1])
    assert isinstance(curve, Curve)
    assert all(type(v) is float for values in curve[:4] for v in values) and type(curve.n) is int
