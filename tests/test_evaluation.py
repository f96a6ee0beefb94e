"""Judging attacks: recomputed success, curves over survivors, honest intervals."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import nn

from advlens import evaluation
from advlens.attacks import fgsm, pgd
from advlens.evaluation import (
    Curve,
    accuracy,
    evaluate,
    logits,
    over_seeds,
    paired,
    rate,
    robust_accuracy,
    robust_curve,
    transfer,
    wilson_interval,
)
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


# --- pairs and seeds -----------------------------------------------------------

def pairs(only_a, only_b, both, neither):
    """Two bool tensors with these counts, shuffled alike."""
    a = torch.tensor([True] * only_a + [False] * only_b + [True] * both + [False] * neither)
    b = torch.tensor([False] * only_a + [True] * only_b + [True] * both + [False] * neither)
    order = torch.randperm(len(a))
    return a[order], b[order]


def score(only_a, only_b, n, d):
    """The score statistic of the difference d, its variance from the likelihood, made large by brute force where the
    shares differ by d.
    """
    def unlikely(q):  # q: share of images that only b holds; q + d: that only a holds
        rest = 1 - 2 * q - d
        return -(only_a * math.log(max(q + d, 1e-300)) + only_b * math.log(max(q, 1e-300))
                 + (n - only_a - only_b) * math.log(max(rest, 1e-300)))

    q = optimize.minimize_scalar(unlikely, bounds=(max(0.0, -d), (1 - d) / 2), method="bounded",
                                 options={"xatol": 1e-12}).x
    return (only_a - only_b - n * d) / math.sqrt(n * (2 * q + d - d * d))


@pytest.mark.parametrize("only_a, only_b, n",
                         [(12, 2, 50), (3, 9, 100), (40, 25, 1000), (7, 0, 60), (0, 1, 44), (5, 5, 30)])
def test_the_paired_interval_is_where_the_score_test_turns(only_a, only_b, n):
    """The definition of tango1998: |score| = 1.96 at both ends; the likelihood is maximised by brute force."""
    both = (n - only_a - only_b) // 2
    found = paired(*pairs(only_a, only_b, both, n - only_a - only_b - both))
    assert (found.n, found.only_a, found.only_b) == (n, only_a, only_b)
    assert found.difference == pytest.approx((only_a - only_b) / n) and found.low <= found.difference <= found.high
    assert score(only_a, only_b, n, found.low) == pytest.approx(1.96, abs=2e-3)
    assert score(only_a, only_b, n, found.high) == pytest.approx(-1.96, abs=2e-3)


def test_the_paired_interval_covers_the_truth_in_95_of_100_samples():
    generator, truth, n, trials = torch.Generator().manual_seed(0), (0.12, 0.05), 100, 600
    covered = 0
    for _ in range(trials):
        u = torch.rand(n, generator=generator)
        found = paired(u < truth[0], (u >= truth[0]) & (u < sum(truth)))
        covered += found.low <= truth[0] - truth[1] <= found.high
    assert 0.93 < covered / trials < 0.98


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (1, 0), (8, 1), (9, 9), (3, 12)])
def test_mcnemar_is_exact(only_a, only_b):
    """The chance of a split at least as uneven, by a fair coin; images that agree say nothing."""
    n = only_a + only_b
    uneven = sum(math.comb(n, k) for k in range(n + 1) if abs(k - n / 2) >= abs(only_a - n / 2))
    for both in (1, 200):
        assert paired(*pairs(only_a, only_b, both, 3)).p == pytest.approx(uneven / 2 ** n)


def test_equal_and_opposite_answers_have_intervals():
    yes, no = torch.ones(20, dtype=torch.bool), torch.zeros(20, dtype=torch.bool)
    same, all_a, all_b = paired(yes, yes), paired(yes, no), paired(no, yes)
    z2 = 1.959964 ** 2
    assert (same.low, same.high) == (pytest.approx(-z2 / (20 + z2)), pytest.approx(z2 / (20 + z2)))  # Wilson's at 0
    assert all_a.difference == all_a.high == 1 and all_a.low > 0.5 and (all_b.low, all_b.high) == (-1, -all_a.low)


def test_a_pair_prints_itself():
    text = str(paired(*pairs(12, 2, 30, 6)))
    assert text.startswith("Of 50 images only the first holds 12, only the second 2: a difference of +20.0% (95 %: +6.")
    assert text.endswith("exact McNemar test: p = 0.013).")


@pytest.mark.parametrize("a, b, error, message", [
    (torch.ones(3), torch.ones(3, dtype=torch.bool), TypeError, "a is torch.float32; give a bool tensor"),
    (torch.ones(3, dtype=torch.bool), [True] * 3, TypeError, "b is list; give a bool tensor"),
    (torch.ones(3, dtype=torch.bool), torch.ones(4, dtype=torch.bool), ValueError, r"shapes \(3,\) and \(4,\)"),
    (torch.ones(0, dtype=torch.bool), torch.ones(0, dtype=torch.bool), ValueError, "at least one"),
    (torch.ones(2, 2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool), ValueError, r"give \(N,\)"),
])
def test_a_pair_refuses_what_is_none(a, b, error, message):
    with pytest.raises(error, match=message):
        paired(a, b)


def test_seeds_give_the_t_interval():
    values = [0.981, 0.984, 0.979, 0.986, 0.983]
    found = over_seeds(values)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.values == tuple(values) and found.mean == pytest.approx(sum(values) / 5)
    assert (found.low, found.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))
    assert str(found) == "0.9826 (95 %: 0.9792 to 0.986; 5 seeds: 0.981, 0.984, 0.979, 0.986, 0.983)"


@pytest.mark.parametrize("values", [[], [0.98], [0.98, math.nan], [0.9, math.inf]])
def test_seeds_refuse_what_has_no_spread(values):
    with pytest.raises(ValueError, match="values = .*at least two"):
        over_seeds(values)


# --- accuracy --------------------------------------------------------------------

def test_accuracy_is_that_of_the_net_at_rest(net, batch):
    """The net comes in training mode, with dropout and batch statistics."""
    x, y = batch
    modes = [m.training for m in net.modules()]
    share = accuracy(net, x, y, batch_size=3)
    assert [m.training for m in net.modules()] == modes
    assert share == rate(net.eval()(x).argmax(1) == y)


@pytest.mark.parametrize("ask", [
    lambda net, *images, then: accuracy(net, *images),
    lambda net, *images, then: robust_accuracy(net, *images, attack=partial(fgsm, eps=0.1)),
    lambda net, *images, then: robust_curve(net, *images, attack=fgsm, eps=[0, 0.1]),
    lambda net, *images, then: transfer(net, net, *images, attack=partial(fgsm, eps=0.1)),
    lambda net, *images, then: [v.tolist() for v in evaluate(net, *images[:1], then, *images[1:])],
], ids=["accuracy", "robust_accuracy", "robust_curve", "transfer", "evaluate"])
def test_a_dataset_stands_for_images_and_labels(ask, lenet, some):
    then = (some.images + 0.1).clamp(0, 1)
    assert ask(lenet, some, then=then) == ask(lenet, some.images, some.labels, then=then)


def test_a_dataset_has_its_own_labels(lenet, some):
    with pytest.raises(TypeError, match="x is a Dataset, which has its labels: leave y out"):
        robust_accuracy(lenet, some, fgsm)
    with pytest.raises(TypeError, match="y is NoneType"):
        robust_accuracy(lenet, some.images, attack=fgsm)
    for ask in (robust_accuracy, partial(robust_curve, eps=[0.1]), partial(transfer, lenet)):
        with pytest.raises(TypeError, match="attack is None; give a function"):
            ask(lenet, some)


def test_a_plain_function_and_a_compiled_module_are_models(lenet, some):
    attack = partial(pgd, eps=0.05, steps=3, random_start=False)
    compiled = torch.compile(lenet, backend="eager")
    for model in (lambda x: lenet(x), compiled):
        assert accuracy(model, some) == accuracy(lenet, some)
        assert robust_accuracy(model, some, attack=attack) == robust_accuracy(lenet, some, attack=attack)


def test_a_model_works_where_its_weights_are(lenet):
    x = torch.zeros(1)
    far = nn.BatchNorm2d(1, affine=False, device="meta")  # buffers only
    assert evaluation.device_of(nn.Linear(1, 1, device="meta"), x).type == evaluation.device_of(far, x).type == "meta"
    assert evaluation.device_of(lambda x: x, x) == evaluation.device_of(nn.ReLU(), x) == x.device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; run the tests on a machine with one")
def test_batches_go_to_the_model_and_results_come_back(lenet, some):
    there, attack = lenet.cuda(), partial(fgsm, eps=0.1)
    here = lenet.cpu()
    expected = logits(here, some.images), robust_accuracy(here, some, attack=attack).value
    there = here.cuda()
    assert logits(there, some.images).device.type == "cpu"
    torch.testing.assert_close(logits(there, some.images), expected[0], rtol=1e-3, atol=1e-3)
    assert robust_accuracy(there, some, attack=attack).value == pytest.approx(expected[1], abs=0.05)
    assert evaluate(there, some, some.images.cuda()).success.device.type == "cpu"


def test_logits_have_the_precision_of_the_images(lenet, some):
    z = logits(lambda x: lenet(x).half(), some.images)
    assert z.dtype == torch.float32 and torch.equal(z, lenet(some.images).half().float())


def test_a_model_that_changes_its_input_in_place_changes_nothing(lenet, some):
    spoil, kept = lambda x: lenet(x.sub_(0.5).div_(0.5)), some.images.clone()
    accuracy(spoil, some)
    evaluate(spoil, some, some.images)
    robust_accuracy(spoil, some, attack=lambda m, x, y: x)
    assert torch.equal(some.images, kept)


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
    assert all(low <= a <= high for a, low, high in zip(curve.accuracy, curve.low, curve.high))


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


class Threshold(nn.Module):
    """Class 0 while the mean pixel stays below 0.5."""

    def forward(self, x):
        rise = x.mean((1, 2, 3))
        return torch.stack([torch.full_like(rise, 0.5), rise], 1)


# Distances to the threshold 0.05, 0.15, 0.25, 0.35; the last image is wrong from the start.
BRIGHT = torch.tensor([0.45, 0.35, 0.25, 0.15, 0.90]).view(5, 1, 1, 1)
ZEROS = torch.zeros(5, dtype=torch.int64)


def test_an_attack_that_repairs_a_mistake_does_not_raise_the_accuracy():
    darken = lambda model, x, y: torch.zeros_like(x)  # everything becomes class 0, which is right
    assert robust_accuracy(Threshold(), BRIGHT, ZEROS, darken).value == 0.8 == accuracy(Threshold(), BRIGHT,
                                                                                        ZEROS).value


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
    with pytest.raises(ValueError,
                       match=r"the attack's result has shape \(1, 1, 28, 28\) for images \(.*they must agree"):
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
