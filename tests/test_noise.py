"""Random noise: which draw is kept, and how many are looked at.  Its contract: test_contract.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlens.attacks.noise import noise
from advlens.evaluation import evaluate, logits
from advlens.geometry import norm as length

start = lambda: torch.Generator().manual_seed(0)


class Bright(nn.Module):
    """Two classes: is the image brighter than one half?"""

    def forward(self, x):
        rise = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-rise, rise], 1)


@pytest.fixture
def grey():
    return torch.full((3, 2, 5, 5), 0.5, dtype=torch.float64)


@pytest.mark.parametrize("norm, kind, entry, size", [
    ("linf", "signs", 0.1, 0.1), ("l2", "signs", 0.1 / 50 ** 0.5, 0.1), ("linf", "uniform", None, 0.1),
    ("l2", "uniform", None, 0.1)])
def test_each_kind_of_noise_fills_its_ball(norm, kind, entry, size, grey):
    d = torch.cat([noise(Bright(), grey, torch.ones(3, dtype=torch.int64), eps=0.1, norm=norm, kind=kind, draws=1,
                         generator=g)[:1] - grey[:1]
                   for g in (torch.Generator().manual_seed(s) for s in range(40))])
    sizes = length(d, norm)
    assert sizes.max() <= size + 1e-9 and sizes.max() > 0.95 * size
    # 40 draws reach both sides of every pixel
    assert abs(d.sign().mean()) < 0.1 and (d.amax(0) > 0).all() and (d.amin(0) < 0).all()
    if entry is not None:
        torch.testing.assert_close(d.abs(), torch.full_like(d, entry), rtol=0, atol=1e-12)
    elif norm == "linf":
        assert 0.045 < d.abs().mean() < 0.055


@pytest.mark.parametrize("targeted", [False, True])
def test_the_largest_margin_comes_back_where_no_draw_succeeds(targeted, grey):
    """And with more draws it only grows."""
    x, y = grey - 0.2, torch.full((3,), int(targeted))
    brightness = [noise(Bright(), x, y, eps=0.05, draws=n, targeted=targeted, generator=start()).mean((1, 2, 3))
                  for n in range(1, 12)]
    assert all((b >= a).all() for a, b in zip(brightness, brightness[1:])) and brightness[-1][0] > brightness[0][0]


def test_exactly_the_images_that_some_draw_flips_are_fooled():
    x = torch.tensor([0.45, 0.35, 0.1]).view(3, 1, 1, 1)  # one pixel: its noise is +eps or -eps
    y = torch.zeros(3, dtype=torch.int64)
    found = evaluate(Bright(), x, noise(Bright(), x, y, eps=0.2, draws=20, generator=start()), y)
    assert found.success.tolist() == [True, True, False]


def test_an_image_leaves_with_its_first_success(work, grey):
    """Image 0 falls at once, image 1 never: 1 + 7 draws.  A later, stronger draw is not looked at."""
    model, y = Bright(), torch.tensor([0, 0])
    x = torch.stack([grey[0] + 0.4, grey[0] - 0.4])
    with work(model) as passes:
        first = noise(model, x, y, eps=0.05, draws=7, generator=start())
    assert (passes.forward, passes.backward) == (8, 0)
    assert torch.equal(first[0], noise(model, x, y, eps=0.05, draws=1, generator=start())[0])


def test_each_image_has_its_own_eps(net, batch):
    x, eps = batch[0].double(), torch.linspace(0, 0.7, 8)
    net = net.double()
    y = logits(net, x).argmax(1)
    d = (noise(net, x, y, eps=eps, generator=start()) - x).abs().flatten(1).amax(1)
    assert d[0] == 0 and (d <= eps + 1e-7).all() and (d[1:] > 0.9 * eps[1:]).all()


@pytest.mark.parametrize("change, message", [
    (dict(norm="l1"), "unknown norm 'l1'; known: linf, l2"),
    (dict(kind="salt"), "unknown kind 'salt'; known: signs, uniform"),
    (dict(draws=0), "draws = 0; give at least 1"), (dict(eps=-0.1), "eps = -0.1"),
])
def test_a_wrong_argument_gets_one_clear_error(change, message, net, batch):
    with pytest.raises(ValueError, match=message):
        noise(net, *batch, **dict(eps=0.1) | change)
