"""HopSkipJump: known distances, labels alone, starts, its budget, and a peer.  Its contract: test_contract.py."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlens import geometry
from advlens.attacks.decision import _jump, _Walk, hop_skip_jump
from advlens.evaluation import evaluate, logits
from nets import After, Constant

seeded = lambda seed=0: torch.Generator().manual_seed(seed)
NORMS = ("l2", "linf")
both = pytest.mark.parametrize("norm", NORMS)


@pytest.fixture
def case(net, batch):
    x = batch[0].double()
    net = net.double().eval()
    return net, x, logits(net, x).argmax(1)


class Linear(nn.Module):
    """Two classes and a flat boundary: the distance is known in both norms."""

    def __init__(self):
        super().__init__()
        w = torch.randn(1, 5, 5, generator=seeded(), dtype=torch.float64)
        self.w = w - w.mean()  # grey images lie on the boundary

    def forward(self, x):
        rise = (x * self.w).sum((1, 2, 3))
        return torch.stack([-rise, rise], 1)

    def distance(self, x, norm):
        return logits(self, x)[:, 1].abs() / (self.w.norm() if norm == "l2" else self.w.abs().sum())


@pytest.fixture
def near():
    """Eight images near to grey: no pixel meets 0 or 1 on the way."""
    return 0.5 + 0.1 * torch.randn(8, 1, 5, 5, generator=seeded(), dtype=torch.float64).clamp(-2, 2)


@pytest.mark.parametrize("targeted", [False, True])
@both
def test_a_linear_model_falls_at_its_known_distance(norm, targeted, near):
    model = Linear()
    y = logits(model, near).argmax(1)
    y = 1 - y if targeted else y
    found = evaluate(model, near,
                     hop_skip_jump(model, near, y, norm=norm, queries=4000, targeted=targeted, generator=seeded()), y,
                     targeted=targeted)
    ratio = getattr(found, norm) / model.distance(near, norm)
    assert found.success.all() and (ratio >= 1 - 1e-9).all()
    assert ratio.median() < (1.02 if norm == "l2" else 1.1) and ratio.max() < (1.05 if norm == "l2" else 1.3), ratio


@both
def test_labels_are_enough(norm, case):
    """Scores are hidden: the same images come back."""
    net, x, y = case
    hidden = After(net, lambda z: 10.0 * F.one_hot(z.argmax(1), 5).to(z))
    plain = hop_skip_jump(net, x, y, norm=norm, queries=600, generator=seeded())
    assert evaluate(net, x, plain, y).success.all()
    assert torch.equal(hop_skip_jump(hidden, x, y, norm=norm, queries=600, generator=seeded()), plain)


@both
def test_more_queries_come_nearer(norm, case):
    net, x, y = case
    sizes = [geometry.norm(hop_skip_jump(net, x, y, norm=norm, queries=q, generator=seeded()) - x, norm)
             for q in (30, 400, 3000)]
    assert (sizes[1] <= sizes[0]).all() and (sizes[2] <= sizes[1]).all() and sizes[2].median() < 0.5 * sizes[0].median()


@pytest.mark.parametrize("queries", [1, 5, 37, 300, 1000])
@both
def test_no_image_costs_more_than_its_queries_and_one(norm, queries, case):
    net, x, y = case
    seen = torch.zeros(8, dtype=torch.int64)
    for i in range(8):
        spied = After(net, lambda z: (seen[i].add_(len(z)), z)[1])
        hop_skip_jump(spied, x[i:i + 1], y[i:i + 1], norm=norm, queries=queries, generator=seeded())
    assert (seen <= queries + 1).all(), seen
    assert queries < 1000 or (seen > 0.7 * queries).all(), seen


def test_a_jump_stops_where_the_queries_end(near):
    """Nothing succeeds, so each image tries until its own queries are spent, and stays where it is."""
    walk = _Walk(torch.arange(2), near[:2], torch.zeros(2, dtype=torch.int64), near[2:4], torch.tensor([0, 3]))
    never = lambda images, labels: torch.zeros_like(labels, dtype=torch.bool)
    after = _jump(never, walk, torch.ones_like(near[:2]), torch.ones(2, dtype=torch.float64), 5)
    assert after.used.tolist() == [5, 5] and torch.equal(after.point, near[2:4])


@both
def test_chunks_of_probes_change_nothing(norm, case):
    net, x, y = case
    expected = hop_skip_jump(net, x, y, norm=norm, queries=500, generator=seeded())
    for size in (1, 24, 10_000):
        torch.testing.assert_close(hop_skip_jump(net, x, y, norm=norm, queries=500, batch_size=size,
                                                 generator=seeded()), expected, rtol=0, atol=1e-7)


def test_a_walk_begins_at_the_given_start(case):
    """One query for the start, and the rest for the way to the boundary: the result lies between start and image."""
    net, x, _ = case
    y = logits(net, x).argmax(1)
    starts = x[(y[:, None] != y).to(torch.int64).argmax(1)]  # for each image the first one of another class
    target = logits(net, starts).argmax(1)
    adversarial = hop_skip_jump(net, x, target, queries=40, targeted=True, starts=starts, generator=seeded())
    assert evaluate(net, x, adversarial, target, targeted=True).success.all()
    way, d = (starts - x).flatten(1), (adversarial - x).flatten(1)
    torch.testing.assert_close(F.cosine_similarity(way, d), torch.ones(8, dtype=torch.float64))
    assert (d.norm(dim=1) < way.norm(dim=1)).all()


def test_a_start_that_does_not_succeed_is_replaced(case):
    net, x, y = case
    assert evaluate(net, x, hop_skip_jump(net, x, y, queries=300, starts=x, generator=seeded()), y).success.all()


def test_starts_are_of_every_grain(case):
    """A net that knows contrast only falls to coarse images, where noise of single pixels would never do."""

    class Coarse(nn.Module):
        def forward(self, x):
            spread = F.avg_pool2d(x, 14).flatten(1).std(1)
            return torch.stack([torch.full_like(spread, 0.1), spread], 1)

    x, y = torch.full((2, 1, 28, 28), 0.5), torch.zeros(2, dtype=torch.int64)
    assert evaluate(Coarse(), x, hop_skip_jump(Coarse(), x, y, queries=200, generator=seeded()), y).success.all()


@both
def test_where_no_start_succeeds_the_image_comes_back(norm, batch, work):
    model = Constant(2.0, 0.5)
    with work(model) as passes:
        assert torch.equal(hop_skip_jump(model, batch[0], torch.zeros(8, dtype=torch.int64), norm=norm), batch[0])
    assert (passes.forward, passes.backward) == (8 * 101, 0)


@pytest.mark.parametrize("norm", NORMS)
def test_not_farther_than_foolbox(norm, peer, lenet, digits):
    """At equal queries; the factor leaves room for luck."""
    foolbox = peer("foolbox")
    x = digits.images[:10]
    y = logits(lenet, x).argmax(1)
    queries = []
    counted = After(lenet, lambda z: queries.append(len(z)) or z).eval()
    attack = foolbox.attacks.HopSkipJumpAttack(steps=3, constraint=norm)
    theirs = attack(foolbox.PyTorchModel(counted, bounds=(0, 1)), x, foolbox.criteria.Misclassification(y),
                    epsilons=None)[1]
    ours = hop_skip_jump(lenet, x, y, norm=norm, queries=sum(queries) // 10, generator=seeded())
    found = evaluate(lenet, x, ours, y)
    assert found.success.all() and getattr(found, norm).median() <= 1.15 * geometry.norm(theirs - x, norm).median()


@pytest.mark.parametrize("change, message", [
    (dict(norm="l1"), "unknown norm 'l1'; known: linf, l2"), (dict(queries=0), "queries = 0; give at least 1"),
    (dict(batch_size=0), "batch_size = 0; give at least 1"),
    (dict(starts=torch.zeros(1, 2, 6, 6)), r"starts has shape \(1, 2, 6, 6\)"),
    (dict(starts=torch.full((8, 2, 6, 6), 2.0)), r"starts lies in \[2, 2\]"),
])
def test_a_wrong_argument_gets_one_clear_error(change, message, net, batch):
    with pytest.raises(ValueError, match=message):
        hop_skip_jump(net, *batch, **change)
