"""False defences: each is a model by the contract, hides what it says it hides, and falls to the attack it names."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from advlens import audit, evaluation
from advlens.attacks import BPDA, EOT, fgsm, pgd
from advlens.attacks.adaptive import identity
from advlens.defences.masking import Cut, Rounded, Shaken, rounded, shaken
from advlens.inputs import logits

generator = lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def case(net, batch):
    return net.eval(), *batch


def test_rounded_takes_the_nearest_of_evenly_spaced_values():
    x = torch.tensor([0.0, 0.24, 0.26, 0.74, 0.76, 1.0])
    assert rounded(x, 3).tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert rounded(x, 2).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def test_shaken_keeps_the_shape_and_draws_once_for_all_images(case):
    _, x, _ = case
    moved = shaken(x, generator())
    assert moved.shape == x.shape
    torch.testing.assert_close(shaken(x[2:3], generator()), moved[2:3])
    assert not torch.equal(shaken(x, generator(1)), moved)
    assert torch.equal(shaken(x, generator(), smallest=1.0, deviation=0.0), x)


def test_a_shrunken_image_stands_whole_on_black():
    """The share is drawn between `smallest` and 1, so the bright area tells the size; the place is inside."""
    white = torch.ones(1, 1, 20, 20)
    sides = [shaken(white, generator(seed), 0.5, 0.0).sum().sqrt().item() for seed in range(40)]
    assert 10 <= min(sides) < 12 and 18 < max(sides) <= 20
    assert all(side == pytest.approx(round(side)) for side in sides)


@pytest.mark.parametrize("wrap, same", [
    (partial(Rounded, levels=16), lambda net, x: net(rounded(x, 16))),
    (partial(Shaken, seed=3), lambda net, x: net(shaken(x, generator(3)))),
    (Cut, lambda net, x: net(x)),
], ids=["rounded", "shaken", "cut"])
def test_a_false_defence_is_a_model(wrap, same, case):
    """The logits that its docstring says, in evaluation mode with the net, neighbours changing nothing."""
    net, x, _ = case
    assert torch.equal(wrap(net)(x), same(net, x))
    torch.testing.assert_close(wrap(net)(x[2:3]), wrap(net)(x)[2:3])
    defended = wrap(net.train()).eval()
    assert not net.training and dict(defended.named_parameters()).keys() == {f"model.{n}" for n, _ in
                                                                             net.named_parameters()}


def test_shaken_answers_anew_each_time_and_repeatably_from_its_seed(case):
    net, x, _ = case
    first, second = Shaken(net), Shaken(net)
    before = torch.get_rng_state()
    answers = [first(x), first(x)]
    assert not torch.equal(*answers)
    assert all(torch.equal(answer, second(x)) for answer in answers)
    assert torch.equal(before, torch.get_rng_state())


def test_what_each_hides_is_found_and_comes_back_under_the_attack_that_it_names(case):
    net, x, _ = case
    y = logits(net, x).argmax(1)
    look = lambda model: (audit.randomised(model, x).all().item(),
                          audit.zero_gradient(audit.Connected(model), x, y, "margin").all().item())
    assert look(Rounded(net, 16)) == (False, True) and look(Cut(net)) == (False, True)
    assert look(Shaken(net))[0]
    for attacked in (BPDA(net, partial(rounded, levels=16)), BPDA(net, identity), EOT(net, shaken, 4)):
        assert look(attacked) == (False, False)


def test_a_model_off_the_graph_is_refused_by_gradient_attacks(case):
    net, x, y = case
    with pytest.raises(ValueError, match="cuts its logits off"):
        fgsm(Cut(net), x, y, eps=0.1)


@pytest.mark.filterwarnings("ignore::advlens.geometry.ZeroGradientWarning")
def test_rounding_blinds_pgd_and_bpda_sees_again(case):
    net, x, _ = case
    model, y = Rounded(net, 32), logits(Rounded(net, 32), x).argmax(1)
    fooled = lambda attacked: evaluation.evaluate(
        model, x, pgd(attacked, x, y, eps=0.1, steps=10, generator=generator()), y).success.sum()
    assert fooled(BPDA(net, partial(rounded, levels=32))) > fooled(model)


@pytest.mark.parametrize("build, message", [
    (lambda net: Rounded(net, 1), "levels"), (lambda net: Shaken(net, 0.0), "smallest"),
    (lambda net: Shaken(net, 1.5), "smallest"), (lambda net: Shaken(net, deviation=-1.0), "deviation"),
])
def test_wrong_settings_are_named(build, message, net):
    with pytest.raises(ValueError, match=message):
        build(net)
