"""Square Attack: its squares, what it keeps, its count of queries, and a peer.  Its contract: test_contract.py."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import nn

from advlens import attacks, geometry
from advlens.attacks.losses import log_odds, margin
from advlens.attacks.square import _bump, _exchange, _share, _Walk, square
from advlens.evaluation import evaluate, logits, passes
from nets import After

module = sys.modules["advlens.attacks.square"]  # `advlens.attacks.square` itself is the function
seeded = lambda seed=0: torch.Generator().manual_seed(seed)
both = pytest.mark.parametrize("norm, eps", [("linf", 0.1), ("l2", 1.0)])


class Linear(nn.Module):
    """Two classes; class 1 gains with every pixel, each with its own weight: the best corner of the ball is known."""

    def __init__(self, bias):
        super().__init__()
        self.w = torch.randn(1, 8, 8, generator=seeded(), dtype=torch.float64)
        self.bias = bias

    def forward(self, x):
        rise = ((x - 0.5) * self.w).sum((1, 2, 3)) - self.bias
        return torch.stack([-rise, rise], 1)


@pytest.mark.parametrize("norm, eps, share", [("linf", 0.1, 0.9), ("l2", 0.5, 0.6)])
def test_a_linear_model_is_climbed(norm, eps, share):
    """Almost to the top in l-infinity, where single pixels come last; no query can pass the top."""
    model, x, y = Linear(bias=100.0), torch.full((2, 1, 8, 8), 0.5, dtype=torch.float64), torch.zeros(2,
                                                                                                      dtype=torch.int64)
    top = eps * (model.w.abs().sum() if norm == "linf" else model.w.norm())
    rise = logits(model, square(model, x, y, eps=eps, norm=norm, queries=800, generator=seeded()))[:, 1] + 100
    assert (share * top <= rise).all() and (rise <= top + 1e-9).all(), rise / top


@both
@pytest.mark.parametrize("targeted", [False, True])
def test_more_queries_of_one_schedule_are_never_weaker(norm, eps, targeted, case, monkeypatch):
    """Each point is kept only where the margin rises."""
    monkeypatch.setattr(module, "_share", lambda query, queries: 0.2)  # so that a longer search begins as a shorter one
    net, x, y = case
    y = (y + 1) % 5 if targeted else y
    value = [(log_odds if targeted else margin)(logits(net,
                                                       square(net, x, y, eps=eps / 10, norm=norm, queries=q,
                                                              targeted=targeted, generator=seeded())), y)
             for q in (1, 5, 25, 125)]
    sign = -1 if targeted else 1
    assert all((sign * b >= sign * a - 1e-12).all() for a, b in zip(value, value[1:])) and not torch.equal(value[0],
                                                                                                           value[-1])


@both
def test_an_image_leaves_when_it_is_fooled_and_each_query_is_counted(norm, eps, case):
    net, x, y = case
    y[-1] = (y[-1] + 1) % 5  # wrong already: one look
    queries, seen = 30, []
    spied = After(net, lambda z: seen.append(len(z)) or z)
    adversarial = square(spied, x, y, eps=eps, norm=norm, queries=queries, generator=seeded())
    standing = (~evaluate(net, x, adversarial, y).success).sum()
    assert 0 < standing < 7, "choose another eps: some are to fall and some to stand"
    assert seen[:2] == [8, 7] and len(seen) == queries + 1 and seen == sorted(seen, reverse=True)
    assert standing <= seen[-1] < 7 and torch.equal(adversarial[-1], x[-1])


@pytest.mark.parametrize("queries", [1, 2, 7])
def test_an_image_that_stands_costs_its_queries_and_one(queries, case):
    net, x, y = case
    with passes(net) as work:
        square(net, x, y, eps=0, queries=queries, generator=seeded())
    assert (work.forward, work.backward) == (8 * (queries + 1), 0)


def test_the_stripes_come_first(case):
    """One value of +-eps for each column and channel."""
    net, x, y = case
    x = x * 0 + 0.5
    y = logits(net, x).argmax(1)
    d = square(net, x, y, eps=0.001, queries=1, generator=seeded()) - x
    torch.testing.assert_close(d.abs(), torch.full_like(d, 0.001), rtol=0, atol=1e-12)
    assert torch.equal(d, d[:, :, :1].expand_as(d)) and len(d[0, 0, 0].sign().unique()) == 2


def test_every_square_of_linf_is_a_change(case):
    """On grey images half of the proposals would repeat what stands there: a query lost."""
    net, x, _ = case
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return torch.stack([-x.sum((1, 2, 3)), x.sum((1, 2, 3)) - 1e4], 1)  # brighter is better, never enough

    x = x[:1, :1]
    square(Spy(), x, torch.zeros(1, dtype=torch.int64), eps=0.3, queries=60, generator=seeded())
    best = seen[1]
    for point in seen[2:]:
        assert not torch.equal(point, best)
        rows, columns = (point != best)[0, 0].any(1).sum(), (point != best)[0, 0].any(0).sum()
        assert rows <= 6 and columns <= 6
        best = point if point.sum() > best.sum() else best


@both
def test_points_lie_in_the_ball_and_use_it(norm, eps, lenet, digits):
    x, y = digits.images[:10], digits.labels[:10]
    eps = eps * torch.linspace(0, 1, 10)
    size = geometry.norm(square(lenet, x, y, eps=eps, norm=norm, queries=20, generator=seeded()) - x, norm)
    assert (size <= eps + 1e-6).all() and size[0] == 0 and (size[1:] > 0.6 * eps[1:]).all()


def test_an_exchange_empties_one_square_and_fills_another_up_to_eps(monkeypatch):
    """What lies outside both squares stays: the new bump takes the norm of both, and what was left of eps."""
    x = torch.full((2, 2, 9, 9), 0.5, dtype=torch.float64)
    best = x + 0.01 * torch.randn(x.shape, generator=seeded(), dtype=torch.float64)
    to, away = (..., slice(0, 3), slice(0, 3)), (..., slice(5, 8), slice(4, 7))
    windows = iter([to, away])
    monkeypatch.setattr(module, "_window", lambda *a: next(windows))
    eps = torch.tensor([0.2, 0.3], dtype=torch.float64)
    walk = _Walk(torch.arange(2), x, torch.zeros(2, dtype=torch.int64), geometry.per_sample(eps, x), best,
                 torch.zeros(2))
    point = _exchange(walk, 0.1, seeded())
    outside = torch.ones(9, 9, dtype=torch.bool)
    outside[to] = outside[away] = False
    assert (point[away] == x[away]).all() and (point[to] != best[to]).all()
    torch.testing.assert_close(point[..., outside], best[..., outside], rtol=0, atol=1e-9)
    torch.testing.assert_close(geometry.norm(point - x, "l2"), eps)


def test_a_bump_is_a_hill_and_a_hole():
    for side in (1, 2, 3, 5, 9):
        bump = _bump(side, torch.zeros(1, dtype=torch.float64), seeded())
        assert bump.shape == (side, side) and math.isclose(bump.norm().item(), 1)
    bump = _bump(5, torch.zeros(1, dtype=torch.float64), seeded(3))
    bump = bump.T if (bump[0] < 0).any() and (bump[0] > 0).any() else bump
    # By hand: rings 0, 1, 2 of a hill of 2 rows are worth 1 + 1/4 + 1/9, 1/4 + 1/9 and 1/9.
    hill = torch.tensor([[1, 3.25, 3.25, 3.25, 1], [1, 3.25, 12.25, 3.25, 1]], dtype=torch.float64) / 9
    hole = torch.tensor([[1, 3.25, 3.25, 3.25, 1], [1, 3.25, 12.25, 3.25, 1], [1, 3.25, 3.25, 3.25, 1]],
                        dtype=torch.float64) / 9
    expected = torch.cat([hill / hill.norm(), -hole / hole.norm()]) / 2 ** 0.5
    torch.testing.assert_close(bump, expected)


def test_the_squares_shrink_on_the_schedule_of_the_source():
    """After 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the queries."""
    after = (0, 1, 2, 6, 21, 51, 150, 300, 500, 700, 900)
    assert [0.8 / _share(query, 1000) for query in after] == [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 9), (1, 7, 4)])
@both
def test_small_and_narrow_images(norm, eps, shape):
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3))
    x = torch.rand(2, *shape, generator=seeded())
    y = logits(net, x).argmax(1)
    adversarial = square(net, x, y, eps=eps, norm=norm, queries=30, generator=seeded())
    assert torch.isfinite(adversarial).all() and (geometry.norm(adversarial - x, norm) <= eps + 1e-6).all()


def test_a_net_without_a_gradient_falls(lenet, digits):
    """Pixels as whole numbers cut the gradient off; the scores are still there."""
    x, y = digits.images[:40], digits.labels[:40]

    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = lenet

        @torch.no_grad()
        def forward(self, x):
            return self.net((x * 255).round().to(torch.uint8).float() / 255)

    with pytest.raises(ValueError, match="BPDA"):
        attacks.pgd(Rounded(), x, y, eps=0.2)
    assert evaluate(Rounded(), x, square(Rounded(), x, y, eps=0.2, queries=400, generator=seeded()),
                    y).success.float().mean() >= 0.95


@pytest.mark.parametrize("norm, eps, name", [("linf", 0.12, "Linf"), ("l2", 2.0, "L2")])
def test_not_weaker_than_torchattacks(norm, eps, name, peer, lenet, digits):
    """At equal queries, three images of luck allowed."""
    x, y = digits.images[:60], digits.labels[:60]
    ours = square(lenet, x, y, eps=eps, norm=norm, queries=150, generator=seeded())
    theirs = peer("torchattacks").Square(lenet.eval(), norm=name, eps=eps, n_queries=150, seed=0)(x, y)
    success = [evaluate(lenet, x, a, y).success.float().mean().item() for a in (ours, theirs)]
    assert success[0] >= success[1] - 0.05 and success[0] > 0.3, success


@pytest.mark.parametrize("change, message", [
    (dict(norm="l1"), "unknown norm 'l1'; known: linf, l2"), (dict(queries=0), "queries = 0; give at least 1"),
    (dict(eps=-0.1), "eps = -0.1"),
])
def test_a_wrong_argument_gets_one_clear_error(change, message, net, batch):
    with pytest.raises(ValueError, match=message):
        square(net, *batch, **dict(eps=0.1) | change)
