"""Auto-PGD: its schedule, its optimum on linear nets, its work, and a peer.  Its contract: test_contract.py."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from advlens import geometry
from advlens.attacks import pgd
from advlens.attacks.apgd import Memory, _checkpoints, _judge, _nothing_yet, _remember, apgd
from advlens.attacks.gradient import Answer, Walk
from advlens.attacks.losses import cross_entropy, margin
from advlens.evaluation import evaluate, logits, passes
from nets import After

seeded = lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def case(net, batch):
    net, x = net.double().eval(), batch[0].double()
    return net, x, logits(net, x).argmax(1)


# --- the schedule ----------------------------------------------------------------------

def test_checkpoints_are_the_papers():
    """p = 0, .22, .41, .57, .70, .80, .87, .93, .99, times the steps, rounded up; few steps: each checkpoint once."""
    assert list(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(_checkpoints(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert list(_checkpoints(20)) == [5, 9, 12, 14, 16, 18, 19, 20]
    assert all(sum(_checkpoints(n).values()) <= n and min(_checkpoints(n)) >= 1 for n in range(1, 30))


def test_a_checkpoint_halves_where_too_few_steps_rose_or_the_maximum_stands():
    """Four images: all is well; 3 of 4 steps rose, not more; no new maximum; no new maximum, but halved last time."""
    n, now, peak = 4, torch.full((4, 1, 1, 1), 0.1), torch.full((4, 1, 1, 1), 0.2)
    walk = Walk(torch.arange(n), now, torch.zeros(n, dtype=torch.int64), now, torch.ones(n), torch.full((n,), 2.0), now)
    memory = Memory(now, torch.zeros(n), peak, torch.tensor([2.0, 2, 1, 1]), peak, torch.tensor([4.0, 3, 4, 4]),
                    torch.ones(n), torch.tensor([False, False, False, True]))
    after, memory, gradient = _judge(memory, walk, now, 4)
    assert after.step_size.tolist() == [2, 1, 1, 2] and memory.halved.tolist() == [False, True, True, False]
    back = torch.where(torch.tensor([False, True, True, False])[:, None, None, None], peak, now)
    assert torch.equal(after.point, back) and torch.equal(gradient, back)
    assert memory.rises.tolist() == [0] * 4 and memory.earlier.tolist() == [2, 2, 1, 1]


def test_the_maximum_and_the_rises_are_remembered():
    """Two images, three points: the loss of the first falls and comes back half the way, that of the second rises."""
    point = lambda v: torch.full((2, 1, 1, 1), v)
    walk = Walk(torch.arange(2), point(0.0), torch.tensor([0, 0]), point(0.0), torch.ones(2), torch.ones(2), point(0.0))
    memory = _nothing_yet(walk)
    for v, loss in ((0.1, [3.0, 1.0]), (0.2, [1.0, 2.0]), (0.3, [2.0, 3.0])):
        memory = _remember(memory, walk._replace(point=point(v)), Answer(torch.tensor(loss), torch.zeros(2), point(-v)))
    assert memory.peak.flatten().tolist() == pytest.approx([0.1, 0.3]) and memory.peak_loss.tolist() == [3, 3]
    assert torch.equal(memory.peak_gradient, -memory.peak)
    assert memory.rises.tolist() == [1, 2] and memory.loss.tolist() == [2, 3]


def test_the_first_step_is_two_eps_and_the_second_keeps_a_quarter_of_it():
    """One pixel, two logits: where the walk goes can be told by hand."""
    seen = []
    model = After(nn.Identity(), lambda x: seen.append(x.item()) or torch.cat([0 * x, x - 9], 1).flatten(1))
    x, y = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.tensor([1])
    apgd(model, x, y, eps=0.1, steps=5, random_start=False, loss=lambda z, y: -(z[:, 1] + 9 - 0.47).abs())
    # The loss is largest at 0.47.  0.5 - 0.2 is cut to 0.4; then three quarters of the way to 0.6, a quarter of -0.1.
    assert seen[:3] == pytest.approx([0.5, 0.4, 0.4 + 0.75 * 0.2 - 0.25 * 0.1])


# --- what it finds ---------------------------------------------------------------------

@pytest.mark.parametrize("norm, eps", [("linf", 0.1), ("l2", 0.3)])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_on_a_linear_net_it_ends_at_the_optimum(norm, eps, targeted, loss):
    """Two classes: the loss rises with <w, x>, so the best point of the ball is known."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    x, y = 0.3 + 0.4 * torch.rand(3, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 0])
    w = (net[1].weight[1] - net[1].weight[0]).view(1, 1, 4, 4)
    up = torch.where((y == 0) == targeted, -1.0, 1.0)[:, None, None, None] * w
    optimum = x + eps * (up.sign() if norm == "linf" else up / geometry.norm(up, "l2")[:, None, None, None])
    found = apgd(net, x, y, eps=eps, norm=norm, loss=loss, targeted=targeted, generator=seeded())
    torch.testing.assert_close(found, optimum, rtol=0, atol=1e-9 if norm == "linf" else 1e-3)


def test_a_success_comes_back_before_a_larger_loss():
    """x itself succeeds; the loss draws the walk to where nothing does."""
    model = After(nn.Flatten(), lambda p: torch.cat([0 * p, 0.1 - (p - 0.6).abs(), p - 5], 1))  # class 1 near 0.6
    x, y = torch.full((1, 1, 1, 1), 0.55), torch.tensor([0])
    found = apgd(model, x, y, eps=0.3, steps=5, random_start=False, loss=lambda z, y: z[:, 2])
    assert torch.equal(found, x) and evaluate(model, x, found, y).success.all()


@pytest.mark.parametrize("norm, eps", [("linf", 0.15), ("l2", 2.0)])
def test_it_climbs_higher_than_pgd(norm, eps, fully_connected, digits):
    x, y = digits.images[:60], digits.labels[:60]
    ends = [attack(fully_connected, x, y, eps=eps, norm=norm, steps=100, loss="margin", generator=seeded())
            for attack in (pgd, apgd)]
    plain, auto = (margin(logits(fully_connected, end), y) for end in ends)
    assert auto.mean() > plain.mean() + 1 and (auto > plain).float().mean() > 0.8


def test_it_climbs_as_high_as_adv_lib(peer, fully_connected, digits):
    """The same start, the same loss: on the average image at least 0.999 of what the peer gains."""
    x, y, eps = digits.images[:60], digits.labels[:60], 0.15
    auto_pgd = peer("adv_lib.attacks.auto_pgd")._apgd
    theirs = auto_pgd(fully_connected, x, y, torch.full((60,), eps), float("inf"), x_init=x, loss_function="ce")[2]
    ours = apgd(fully_connected, x, y, eps=eps, random_start=False, loss="naive_ce")
    clean = cross_entropy(logits(fully_connected, x), y).mean()
    assert cross_entropy(logits(fully_connected, ours), y).mean() - clean >= 0.999 * (theirs.mean() - clean)


# --- per sample, and the work ------------------------------------------------------------

@pytest.mark.parametrize("norm, eps", [("linf", 0.1), ("l2", 0.5)])
@pytest.mark.parametrize("first_success", [False, True])
def test_an_image_alone_goes_where_it_goes_in_a_batch(norm, eps, first_success, case):
    net, x, y = case
    eps = torch.linspace(0.2, 2, 8, dtype=torch.float64) * eps
    attack = lambda rows: apgd(net, x[rows], y[rows], eps=eps[rows], norm=norm, steps=30, restarts=2,
                               first_success=first_success, generator=seeded())
    together, order = attack(range(8)), [3, 1, 7, 0, 2, 6, 5, 4]
    assert 0 < evaluate(net, x, together, y).success.sum() < 8, "choose another eps: some are to fall and some to stand"
    assert (geometry.norm(together - x, norm) <= eps + 1e-9).all()
    torch.testing.assert_close(attack(order), together[order], rtol=0, atol=1e-9)
    for i in range(8):
        torch.testing.assert_close(attack([i]), together[[i]], rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_k_steps_cost_k_forward_and_backward_passes_and_one_forward_pass(steps, case):
    net, x, y = case
    with passes(net) as work:
        apgd(net, x, y, eps=1e-4, steps=steps, restarts=2, generator=seeded())
    assert (work.forward, work.backward) == (2 * 8 * (steps + 1), 2 * 8 * steps)  # nothing falls: two walks of each


def test_first_success_and_restarts_leave_out_what_has_fallen(case):
    net, x, y = case
    y[:3] = (y[:3] + 1) % 5  # wrong already: one query each
    with passes(net) as work:
        apgd(net, x, y, eps=1e-4, steps=10, restarts=3, first_success=True, random_start=True, generator=seeded())
    assert (work.forward, work.backward) == (3 + 3 * 5 * 11, 3 + 3 * 5 * 10)


@pytest.mark.parametrize("wrong, message", [
    ({"steps": 0}, "steps = 0"), ({"restarts": 0}, "restarts = 0"), ({"norm": "l1"}, "unknown norm"),
    ({"restarts": 2, "random_start": False}, "the same walk"), ({"loss": "hinge"}, "unknown loss"),
    ({"eps": -1.0}, "eps"), ({"loss": "dlr", "classes": 2}, "at least 3 classes")])
def test_a_wrong_argument_is_named(wrong, message, case):
    net, x, y = case
    if "classes" in wrong:
        net, y = After(net, lambda z: z[:, :wrong["classes"]]), 0 * y
    given = {"eps": 0.1} | {key: value for key, value in wrong.items() if key != "classes"}
    with pytest.raises(ValueError, match=message):
        partial(apgd, net, x, y)(**given)
