"""FGSM, FGM, BIM and PGD: the ball, what they find, and the least work.  Their contract: test_contract.py.

"PEERS n" names a mistake of other libraries that the test would catch here.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advlens import geometry
from advlens.attacks import bim, fgm, fgsm, gradient, pgd
from advlens.evaluation import evaluate, logits, robust_accuracy, transfer
from nets import After

start = lambda seed=0: torch.Generator().manual_seed(seed)

# name -> (attack without randomness, its norm)
FIXED = {
    "fgsm": (fgsm, "linf"),
    "fgm": (fgm, "l2"),
    "bim": (partial(bim, steps=5), "linf"),
    "bim-l2": (partial(bim, steps=5, norm="l2"), "l2"),
    "pgd": (partial(pgd, steps=5, random_start=False), "linf"),
    "pgd-l2": (partial(pgd, steps=5, random_start=False, norm="l2"), "l2"),
    "pgd-margin": (partial(pgd, steps=5, random_start=False, loss="margin"), "linf"),
    "fgsm-mse": (partial(fgsm, loss="mse"), "linf"),
    "pgd-first-success": (partial(pgd, steps=5, random_start=False, first_success=True), "linf"),
    "pgd-momentum": (partial(pgd, steps=5, random_start=False, momentum=1.0), "linf"),
    "pgd-momentum-l2": (partial(pgd, steps=5, random_start=False, momentum=0.5, norm="l2"), "l2"),
}
# A new generator at each call, so that a call can be repeated.
RANDOM = {
    "pgd-random": (lambda *a, **k: pgd(*a, steps=5, generator=start(), **k), "linf"),
    "pgd-l2-random": (lambda *a, **k: pgd(*a, steps=5, norm="l2", generator=start(), **k), "l2"),
    "pgd-restarts": (lambda *a, **k: pgd(*a, steps=3, restarts=3, generator=start(), **k), "linf"),
}
ALL = FIXED | RANDOM
over = lambda attacks: pytest.mark.parametrize("attack, norm", attacks.values(), ids=attacks.keys())


@over(ALL)
@pytest.mark.parametrize("targeted", [False, True])
def test_results_stay_in_the_box_and_in_the_ball(attack, norm, targeted, net, batch):
    """PEERS 12."""
    x = batch[0]
    y = (logits(net, x).argmax(1) + targeted) % 5  # nothing succeeds at the start, so every image has to move
    eps = 0.3 if norm == "linf" else 1.5
    adversarial = attack(net, x, y, eps=eps, targeted=targeted)
    assert adversarial.shape == x.shape and adversarial.dtype == x.dtype and not adversarial.requires_grad
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    assert (geometry.norm(adversarial - x, norm) <= eps + 1e-6).all()
    assert (geometry.norm(adversarial - x, norm) > 0.1 * eps).all(), "the attack did not move"


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), eps=st.floats(0, 2), name=st.sampled_from(sorted(ALL)))
def test_any_image_and_any_eps_stay_in_the_box_and_in_the_ball(seed, eps, name):
    attack, norm = ALL[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        x, y = torch.rand(3, 3, 2, 2).mul(1.5).sub(0.25).clamp(0, 1), torch.randint(0, 3, (3,))
    adversarial = attack(model, x, y, eps=eps)
    assert adversarial.min() >= 0 and adversarial.max() <= 1
    assert (geometry.norm(adversarial - x, norm) <= eps + 1e-6).all()


@over(ALL)
def test_black_and_white_images_move(attack, norm, net, batch):
    """PEERS 2: an image of nothing but 0 and 1 is no dead end."""
    x = batch[0].round()
    y = logits(net, x).argmax(1)
    adversarial = attack(net, x, y, eps=0.4)
    assert 0 <= adversarial.min() and adversarial.max() <= 1
    assert (geometry.norm(adversarial - x, "linf") > 0.01).all()


@over(ALL)
def test_eps_zero_returns_the_images(attack, norm, net, batch):
    x, y = batch
    adversarial = attack(net, x, y, eps=0.0)
    assert torch.equal(adversarial, x) and adversarial.data_ptr() != x.data_ptr()


@over(FIXED)
def test_eps_per_image_equals_one_call_for_each(attack, norm, net, batch):
    net, x, y = net.double(), batch[0].double(), batch[1]
    eps = torch.linspace(0, 0.35, len(x), dtype=torch.float64)
    together = attack(net, x, y, eps=eps)
    alone = torch.cat([attack(net, x[i:i + 1], y[i:i + 1], eps=eps[i].item()) for i in range(len(x))])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-9)


def test_step_size_per_image_equals_one_call_for_each(net, batch):
    net, x, y = net.double(), batch[0].double(), batch[1]
    step = torch.linspace(0.01, 0.1, len(x))
    attack = partial(pgd, net, eps=0.2, steps=3, random_start=False)
    alone = torch.cat([attack(x[i:i + 1], y[i:i + 1], step_size=step[i].item()) for i in range(len(x))])
    torch.testing.assert_close(alone, attack(x, y, step_size=step), rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_confident_logits_change_nothing_for_the_margin_loss(norm, net, batch):
    """PEERS 6."""
    net, x, y = net.double(), batch[0].double(), batch[1]
    attack = partial(pgd, x=x, y=y, eps=0.2, norm=norm, steps=5, random_start=False, loss="margin")
    torch.testing.assert_close(attack(After(net, lambda z: 100.0 * z)), attack(net), rtol=0, atol=1e-9)


def test_a_generator_makes_the_random_start_repeatable(net, batch):
    runs = [pgd(net, *batch, eps=0.1, steps=1, step_size=0.0, generator=start(seed)) for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; run the tests on a machine with one")
def test_results_stay_on_the_device_of_the_images(net, batch):
    x, y = (t.cuda() for t in batch)
    adversarial = pgd(net.cuda(), x, y, eps=0.1, steps=3, generator=start())  # a generator of the CPU
    assert adversarial.device == x.device
    torch.testing.assert_close(adversarial.cpu(), pgd(net.cpu(), *batch, eps=0.1, steps=3, generator=start()),
                               atol=1e-4, rtol=0)


# --- what the attacks find ------------------------------------------------------

class Linear(nn.Module):
    """Two classes, w.x + b > 0 for class 1: the smallest perturbation is known in every norm."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(12, generator=start()).double())

    def forward(self, x):
        score = (x.flatten(1) - 0.5) @ self.w
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("targeted", [False, True])
@over(ALL)
def test_a_linear_model_falls_exactly_at_its_known_distance(attack, norm, targeted, n):
    """The hyperplane lies at |w.x| / ||w||_q (q the dual norm): 1 % less never succeeds, 1 % more always does.

    Five steps from a random point have not yet turned all the way: they get 30 %.
    """
    reach = 1.3 if (attack, norm) in RANDOM.values() else 1.01
    model = Linear()
    x = (0.5 + 0.02 * torch.randn(n, 3, 2, 2, generator=start(3))).double()  # far from 0 and 1: no clipping
    right = logits(model, x).argmax(1)
    y = 1 - right if targeted else right
    w = model.w.detach().view(1, 3, 2, 2)
    distance = ((x - 0.5) * w).flatten(1).sum(1).abs() / geometry.norm(w, {"linf": "l1", "l2": "l2"}[norm])
    below = evaluate(model, x, attack(model, x, y, eps=0.99 * distance, targeted=targeted), y, targeted=targeted)
    above = evaluate(model, x, attack(model, x, y, eps=reach * distance, targeted=targeted), y, targeted=targeted)
    assert not below.success.any() and above.success.all()
    size = getattr(above, norm)
    assert (size <= reach * distance + 1e-12).all()


def test_pgd_finds_more_than_one_step_and_one_step_more_than_noise(lenet, digits):
    """On a trained net the order is noise < FGSM <= PGD; random noise never beats PGD."""
    some, eps = digits[:100], 0.15
    signs = torch.randint(0, 2, some.images.shape, generator=start()).mul(2).sub(1)
    attacks = {
        "noise": lambda m, x, y: (x + eps * signs[:len(x)]).clamp(0, 1),
        "fgsm": partial(fgsm, eps=eps),
        "pgd": partial(pgd, eps=eps, steps=10, generator=start()),
    }
    kept = {name: robust_accuracy(lenet, some.images, some.labels, a).value for name, a in attacks.items()}
    assert kept["pgd"] <= kept["fgsm"] < kept["noise"] - 0.1


def test_an_unbounded_attack_always_succeeds(lenet, digits):
    some = digits[:40]
    assert robust_accuracy(lenet, some.images, some.labels,
                           partial(pgd, eps=1.0, steps=10, loss="margin", generator=start())).value == 0


def test_targeted_attacks_reach_their_target(lenet, digits):
    some = digits[:40]
    target = (some.labels + 1) % 10
    adversarial = pgd(lenet, some.images, target, eps=0.4, steps=30, loss="margin", targeted=True, generator=start())
    assert evaluate(lenet, some.images, adversarial, target, targeted=True).success.float().mean() > 0.9


def test_the_strongest_point_is_returned_not_the_last(net, batch):
    """PEERS 4, 5: with far too long steps the walk jumps about; what comes back is the best point it met."""
    x, y = batch
    losses, points = [], []

    def watched(logits, y):
        value = nn.functional.cross_entropy(logits, y, reduction="none")
        losses.append((value.detach(), logits.argmax(1) != y))
        return value

    hook = net.register_forward_pre_hook(lambda module, inputs: points.append(inputs[0].detach().clone()))
    adversarial = pgd(net, x, y, eps=0.3, step_size=0.6, steps=6, random_start=False, loss=watched)
    hook.remove()
    values = torch.stack([v for v, _ in losses])
    fooled = torch.stack([f for _, f in losses])
    score = values + 1e3 * fooled  # success goes before loss
    best = score.argmax(0)
    assert torch.equal(adversarial, torch.stack(points)[best, torch.arange(len(x))])
    assert (best != len(points) - 1).any(), "the last point is always the best: this test shows nothing"


@pytest.mark.parametrize("attack", [fgsm, fgm, bim, pgd])
def test_the_loss_that_is_given_is_the_one_that_is_climbed(attack, net, batch):
    climbed = []
    attack(net, *batch, eps=0.1, loss=lambda logits, y: climbed.append(1) or logits.gather(1, y[:, None]).squeeze(1))
    assert climbed


def test_the_default_step_is_five_halves_of_an_even_share(net, batch):
    walk = partial(pgd, net, *batch, eps=0.1, steps=5, random_start=False)
    assert torch.equal(walk(), walk(step_size=2.5 * 0.1 / 5)) and not torch.equal(walk(), walk(step_size=0.1 / 5))


@pytest.mark.parametrize("momentum", [0.5, 1.0])
def test_momentum_is_algorithm_1_of_dong2018(momentum, net, batch):
    """The walk: also with images that leave it on the way."""
    x, y = batch
    logits(net, x)
    visited, memory = [x], torch.zeros_like(x)
    for _ in range(4):
        point = visited[-1].clone().requires_grad_()
        slope = torch.autograd.grad(nn.functional.cross_entropy(net.eval()(point), y), point)[0]
        memory = momentum * memory + slope / slope.abs().sum((1, 2, 3), keepdim=True)
        visited.append((x + (visited[-1] + 0.05 * memory.sign() - x).clamp(-0.1, 0.1)).clamp(0, 1))
    seen = []
    hook = net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    walk = partial(pgd, net, x, y, eps=0.1, step_size=0.05, steps=4, random_start=False, momentum=momentum)
    walk()
    hook.remove()
    torch.testing.assert_close(torch.stack(seen), torch.stack(visited), rtol=0, atol=1e-6)
    assert not torch.equal(walk(), walk(momentum=0.0))
    leaving = walk(first_success=True)
    alone = torch.cat([pgd(net, x[i:i + 1], y[i:i + 1], eps=0.1, step_size=0.05, steps=4, random_start=False,
                           momentum=momentum, first_success=True) for i in range(len(x))])
    torch.testing.assert_close(leaving, alone, rtol=0, atol=1e-6)


def test_momentum_helps_examples_to_travel(lenet, fully_connected, digits):
    some = digits[:200]
    walk = partial(bim, eps=0.15, steps=10)
    heavy = partial(pgd, eps=0.15, steps=10, step_size=0.015, random_start=False, momentum=1.0)
    assert transfer(lenet, fully_connected, some, attack=heavy).value < transfer(
        lenet, fully_connected, some, attack=walk).value


def test_success_goes_before_loss():
    """A point that fools, then one that does not: neither its larger loss nor its place in the walk brings it back."""
    zero, y = torch.zeros(3, 1, 1, 1), torch.zeros(3, dtype=torch.int64)
    best = gradient.Strongest(zero.clone(), torch.full((3,), -math.inf), torch.zeros(3, dtype=torch.bool))

    def meet(point, loss, success):
        walk = gradient.Walk(torch.arange(3), zero, y, zero + point, torch.ones(3), torch.ones(3), zero)
        gradient._keep_strongest(best, walk, gradient.Answer(torch.tensor(loss), torch.tensor(success), None))

    meet(1.0, [5.0, 5.0, 5.0], [True, False, False])
    meet(2.0, [9.0, 1.0, 9.0], [False, True, False])
    meet(3.0, [5.0, 1.0, 9.0], [True, True, False])  # as good is not better
    assert best.image.flatten().tolist() == [1, 2, 2]
    assert best.loss.tolist() == [5, 1, 9] and best.success.tolist() == [True, True, False]


def test_one_step_of_pgd_moves(net, batch):
    """PEERS 5: adv-lib's pgd_linf returns the clean image after one step without random start."""
    assert torch.equal(pgd(net, *batch, eps=0.1, steps=1, step_size=0.1, random_start=False),
                       fgsm(net, *batch, eps=0.1))
    assert torch.equal(bim(net, *batch, eps=0.1, steps=1), fgsm(net, *batch, eps=0.1))
    assert torch.equal(bim(net, *batch, eps=0.1, steps=1, norm="l2"), fgm(net, *batch, eps=0.1))


class Bumps(nn.Module):
    """One pixel, loss landscape with many hills: where a walk ends depends on where it starts."""

    def forward(self, x):
        t = x.flatten(1).mean(1)
        hill = torch.sin(40 * t) + t
        return torch.stack([torch.full_like(hill, 9.0), hill], 1)  # class 0 always wins: nothing succeeds


def test_restarts_keep_the_worst_for_each_image():
    """PEERS 8: per image, neither the last restart nor the best of the batch.  In float32 losses this small tie."""
    x, y = torch.linspace(0.3, 0.7, 6).double().view(6, 1, 1, 1), torch.zeros(6, dtype=torch.int64)
    attack = partial(pgd, Bumps(), x, y, eps=0.1, steps=3, step_size=0.02)
    value = lambda adversarial: -evaluate(Bumps(), x, adversarial, y).margin
    generator = start()
    each = torch.stack([value(attack(generator=generator)) for _ in range(4)])
    together = value(attack(restarts=4, generator=start()))
    torch.testing.assert_close(together, each.amin(0))
    assert len(each.argmin(0).unique()) > 1 and (each[-1] > together
                                                 + 0.1).any(), "one start is best for all: this shows nothing"


def test_more_restarts_fool_more(lenet, digits):
    """The same first start: what one restart fools, four fool, and some more."""
    some = digits[:60]
    attack = partial(pgd, lenet, some.images, some.labels, eps=0.07, steps=2)
    one, four = (evaluate(lenet, some.images, attack(restarts=r, generator=start()), some.labels).success
                 for r in (1, 4))
    assert (one <= four).all() and one.sum() < four.sum()


@over(RANDOM)
def test_an_image_alone_starts_where_it_starts_in_a_batch(attack, norm, net, batch):
    """All images share each draw, scaled to the ball of each."""
    net, x, y = net.double(), batch[0].double(), batch[1]
    eps = torch.linspace(0.05, 0.35, len(x), dtype=torch.float64)
    together = attack(net, x, y, eps=eps)
    alone = torch.cat([attack(net, x[i:i + 1], y[i:i + 1], eps=eps[i].item()) for i in range(len(x))])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-9)


def test_first_success_succeeds_where_the_full_walk_does(lenet, digits):
    some = digits[:60]
    full = pgd(lenet, some.images, some.labels, eps=0.1, steps=10, random_start=False)
    quick = pgd(lenet, some.images, some.labels, eps=0.1, steps=10, random_start=False, first_success=True)
    a, b = (evaluate(lenet, some.images, adversarial, some.labels).success for adversarial in (full, quick))
    assert torch.equal(a, b) and a.any() and not a.all()


def test_success_equals_reevaluation(lenet, digits):
    """PEERS 4, 15: judged again one image at a time, the same images are fooled, and margins say how far."""
    some = digits[:30]
    adversarial = pgd(lenet, some.images, some.labels, eps=0.1, steps=10, generator=start())
    result = evaluate(lenet, some.images, adversarial, some.labels)
    alone = torch.cat([evaluate(lenet, some.images[i:i + 1], adversarial[i:i + 1], some.labels[i:i + 1]).success
                       for i in range(30)])
    clear = result.margin.abs() > 1e-4
    assert torch.equal(result.success[clear], alone[clear]) and clear.sum() > 25
    assert torch.equal(result.success, result.margin > 0)


def test_transfer_is_never_stronger_than_white_box(lenet, fully_connected, digits):
    some = digits[:100]
    attack = partial(pgd, eps=0.1, steps=10, random_start=False)
    own = robust_accuracy(fully_connected, some.images, some.labels, attack).value
    borrowed = robust_accuracy(fully_connected, some.images, some.labels, lambda model, x, y: attack(lenet, x, y)).value
    assert own < borrowed


def test_half_precision_and_double_precision_are_kept(net, batch):
    for dtype in (torch.float64, torch.bfloat16):
        adversarial = pgd(net.to(dtype), batch[0].to(dtype), batch[1], eps=0.1, steps=2, generator=start())
        assert adversarial.dtype == dtype and torch.isfinite(adversarial).all()


# --- work: forward and backward passes, counted, not timed ------------------------

@pytest.mark.parametrize("attack", [fgsm, fgm], ids=["fgsm", "fgm"])
def test_one_step_costs_one_forward_and_one_backward(attack, net, batch, work):
    with work(net) as done:
        attack(net, *batch, eps=0.1)
    assert (done.forward, done.backward) == (8, 8)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_k_steps_of_pgd_cost_k_backwards_and_one_more_forward(k, net, batch, work):
    """The last forward pass judges the last point; without it PEERS 5 would be back."""
    with work(net) as done:
        pgd(net, *batch, eps=0.1, steps=k, generator=start())
    assert (done.forward, done.backward) == (8 * (k + 1), 8 * k)


class OneByOne(nn.Module):
    """Image i is fooled as soon as its mean pixel exceeds its threshold: who falls when is known."""

    def forward(self, x):
        rise = x.mean((1, 2, 3))
        return torch.stack([torch.full_like(rise, 0.55), rise], 1)


def test_first_success_walks_only_with_images_that_stand(work):
    # With steps of 0.1 the images fall after 0, 1, 2 and 3 steps; the last one never falls.
    x = torch.tensor([0.60, 0.50, 0.40, 0.30, 0.0]).view(5, 1, 1, 1).repeat(1, 1, 2, 2)
    y = torch.zeros(5, dtype=torch.int64)
    model = OneByOne()
    with work(model) as done:
        adversarial = pgd(model, x, y, eps=0.3, steps=4, step_size=0.1, random_start=False, first_success=True)
    assert done.forward == 5 + 4 + 3 + 2 + 1 and done.backward <= 5 + 4 + 3 + 2
    assert evaluate(model, x, adversarial, y).success.tolist() == [True, True, True, True, False]
    once = pgd(model, x, y, eps=0.1, steps=1, step_size=0.1, random_start=False, first_success=True)
    torch.testing.assert_close((once - x)[:, 0, 0, 0], torch.tensor([0.0, 0.1, 0.1, 0.1, 0.1]))


def test_restarts_cost_only_the_images_that_stand(work):
    x = torch.tensor([0.9, 0.9, 0.9, 0.1]).view(4, 1, 1, 1)
    model = OneByOne()
    with work(model) as done:
        pgd(model, x, torch.zeros(4, dtype=torch.int64), eps=0.05, steps=2, restarts=3, generator=start())
    assert (done.forward, done.backward) == (4 * 3 + 1 * 3 + 1 * 3, 4 * 2 + 1 * 2 + 1 * 2)


@pytest.mark.parametrize("eps, step_size", [((0.02, 0.05, 0.1, 0.3), (0.01, 0.02, 0.03, 0.1)), (0.05, 0.02)],
                         ids=["of each image", "of all"])
def test_restarts_walk_with_the_eps_and_step_of_the_images_that_stand(eps, step_size):
    x, y = torch.tensor([0.9, 0.1, 0.9, 0.2]).view(4, 1, 1, 1), torch.zeros(4, dtype=torch.int64)
    eps, step_size = torch.tensor(eps), torch.tensor(step_size)
    away = pgd(OneByOne(), x, y, eps=eps, step_size=step_size, steps=9, restarts=3, generator=start()) - x
    torch.testing.assert_close(away[[1, 3]].flatten(), eps.expand(4)[[1, 3]])  # uphill to the edge of its own ball


def test_restarts_stop_when_nothing_stands(work):
    model = OneByOne()
    with work(model) as done:
        pgd(model, torch.full((4, 1, 1, 1), 0.9), torch.zeros(4, dtype=torch.int64), eps=0.05, steps=2, restarts=9,
            generator=start())
    assert (done.forward, done.backward) == (12, 8)


# --- input outside the contract (more in test_inputs.py) --------------------------

@pytest.mark.parametrize("attack, change, error, message", [
    (pgd, dict(steps=0), ValueError, "steps = 0; give at least 1"),
    (pgd, dict(steps=2.5), TypeError, "steps is 2.5; give a whole number"),
    (pgd, dict(restarts=0), ValueError, "restarts = 0; give at least 1"),
    (pgd, dict(restarts=2, random_start=False), ValueError, "restarts = 2 with random_start = False"),
    (pgd, dict(norm="l1"), ValueError, "unknown norm 'l1'; known: linf, l2"),
    (pgd, dict(loss="cross entropy"), ValueError,
     "unknown loss 'cross entropy'; known: ce, naive_ce, margin, dlr, mse"),
    (pgd, dict(momentum=-0.5), ValueError, "momentum = -0.5; give a finite number >= 0"),
    (pgd, dict(step_size=-0.1), ValueError, "step_size"),
    (pgd, dict(step_size=math.nan), ValueError, "step_size"),
    (pgd, dict(step_size=torch.ones(3)), ValueError, "step_size has shape"),
    (pgd, dict(loss=lambda logits, y: logits.mean()), ValueError, "the loss returns shape"),
    (bim, dict(steps=0), ValueError, "steps = 0; give at least 1"),
])
def test_wrong_options_are_refused(attack, change, error, message, net, batch):
    with pytest.raises(error, match=message):
        attack(net, *batch, eps=0.1, **change)


def test_bim_takes_a_list_as_the_others_do(net, batch):
    assert torch.equal(bim(net, *batch, eps=[0.1] * 8), bim(net, *batch, eps=0.1))


