"""Other libraries as oracles: the same images from the same attack.

Peers return the last point of a walk, ours the strongest one.  So the last point
that our walk looks at must be the peer's result, and what it returns must be that
point or one with a larger loss.  Everything runs in double precision: the sign of a
gradient is not continuous, and rounding must not decide it.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from advlens.attacks import bim, fgm, fgsm, pgd
from advlens.evaluation import logits

EPS = [0.03, 0.1, 0.3]


@pytest.fixture(scope="module")
def torchattacks(peer):
    return peer("torchattacks")


@pytest.fixture(scope="module")
def foolbox(peer):
    return peer("foolbox")


@pytest.fixture(params=["lenet", "fully_connected"])
def case(request, digits):
    """A trained net and 40 images, in double precision."""
    model = request.getfixturevalue(request.param).double()
    some = digits.sample(40)
    return model, some.images.double(), some.labels


def with_foolbox(foolbox, attack, case, eps):
    model, x, y = case
    return attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, foolbox.criteria.Misclassification(y),
                  epsilons=eps)[1]


def assert_same_walk(attack, case, theirs, atol, **options):
    model, x, y = case
    met = []
    hook = model.register_forward_pre_hook(lambda module, inputs: met.append(inputs[0].detach().clone()))
    ours = attack(model, x, y, **options)
    hook.remove()
    torch.testing.assert_close(met[-1], theirs, rtol=0, atol=atol)

    mine, other = logits(model, ours), logits(model, theirs)
    fooled, beaten = mine.argmax(1) != y, other.argmax(1) != y
    loss = lambda z: F.cross_entropy(z, y, reduction="none")
    same = (ours - theirs).abs().flatten(1).amax(1) <= atol
    assert (same | (fooled & ~beaten) | ((fooled == beaten) & (loss(mine) > loss(other)))).all()


@pytest.mark.parametrize("eps", EPS)
def test_fgsm_equals_torchattacks(eps, case, torchattacks):
    model, x, y = case
    torch.testing.assert_close(fgsm(model, x, y, eps=eps), torchattacks.FGSM(model, eps=eps)(x, y), rtol=0, atol=1e-6)


@pytest.mark.parametrize("eps", EPS)
def test_fgsm_equals_foolbox(eps, case, foolbox):
    model, x, y = case
    theirs = with_foolbox(foolbox, foolbox.attacks.LinfFastGradientAttack(random_start=False), case, eps)
    torch.testing.assert_close(fgsm(model, x, y, eps=eps), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("eps", [0.3, 1.0, 3.0])
def test_fgm_equals_foolbox(eps, case, foolbox):
    model, x, y = case
    theirs = with_foolbox(foolbox, foolbox.attacks.L2FastGradientAttack(random_start=False), case, eps)
    ours = fgm(model, x, y, eps=eps, loss="naive_ce")  # as the peer: in float32 its lengths differ from the log-odds'
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("eps", EPS)
def test_bim_equals_torchattacks(eps, case, torchattacks):
    model, x, y = case
    theirs = torchattacks.BIM(model, eps=eps, alpha=eps / 10, steps=10)(x, y)
    assert_same_walk(bim, case, theirs, 1e-6, eps=eps, steps=10)


@pytest.mark.parametrize("eps", EPS)
def test_bim_equals_foolbox(eps, case, foolbox):
    attack = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=eps / 10, steps=10, random_start=False)
    assert_same_walk(bim, case, with_foolbox(foolbox, attack, case, eps), 1e-6, eps=eps, steps=10)


@pytest.mark.parametrize("eps", EPS)
def test_pgd_equals_torchattacks(eps, case, torchattacks):
    model, x, y = case
    theirs = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=10, random_start=False)(x, y)
    assert_same_walk(pgd, case, theirs, 1e-6, eps=eps, step_size=eps / 4, steps=10, random_start=False)


@pytest.mark.parametrize("eps", EPS)
def test_pgd_equals_foolbox(eps, case, foolbox):
    attack = foolbox.attacks.LinfProjectedGradientDescentAttack(abs_stepsize=eps / 4, steps=10, random_start=False)
    theirs = with_foolbox(foolbox, attack, case, eps)
    assert_same_walk(pgd, case, theirs, 1e-6, eps=eps, step_size=eps / 4, steps=10, random_start=False)


@pytest.mark.parametrize("eps", [0.3, 1.0, 3.0])
def test_pgd_in_the_l2_ball_equals_foolbox(eps, case, foolbox):
    attack = foolbox.attacks.L2ProjectedGradientDescentAttack(abs_stepsize=eps / 4, steps=10, random_start=False)
    theirs = with_foolbox(foolbox, attack, case, eps)
    assert_same_walk(pgd, case, theirs, 1e-5, eps=eps, norm="l2", step_size=eps / 4, steps=10, random_start=False)


def test_targeted_pgd_equals_torchattacks(case, torchattacks):
    model, x, y = case
    target = (y + 1) % 10
    peers = torchattacks.PGD(model, eps=0.1, alpha=0.02, steps=5, random_start=False)
    peers.set_mode_targeted_by_label(quiet=True)
    theirs = peers(x, target)
    ours = pgd(model, x, target, eps=0.1, step_size=0.02, steps=5, random_start=False, targeted=True)
    distance = lambda images: F.cross_entropy(logits(model, images), target, reduction="none")
    same = (ours - theirs).abs().flatten(1).amax(1) <= 1e-6
    assert (same | (distance(ours) < distance(theirs))).all() and same.any()
