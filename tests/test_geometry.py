"""The four functions of geometry: what defines them, for any perturbation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from advlens import geometry

BALLS = ("linf", "l2")
quick = settings(max_examples=40, deadline=None)

seeds = st.integers(0, 2**20)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
# Gradients of confident nets are tiny, those of bad losses huge; both are squared somewhere.
scales = st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30])


def noise(seed, shape, scale=1.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def radii(seed, n):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed + 1)) + 0.01


@pytest.mark.parametrize("p, expected", [("linf", 4.0), ("l2", math.sqrt(9 + 16 + 4)), ("l1", 9.0), ("l0", 2.0)])
def test_norms_by_hand(p, expected):
    d = torch.zeros(1, 2, 2, 2)
    d[0, 0, 0, 0], d[0, 1, 0, 0], d[0, 1, 1, 1] = 3.0, -4.0, 2.0  # two pixels, one of them in both channels
    assert geometry.norm(d, p).item() == pytest.approx(expected)


@quick
@given(seeds, shapes, scales, st.sampled_from(["l2", "l1", "linf"]))
def test_norm_is_torchs_norm_at_any_scale(seed, shape, scale, p):
    d = noise(seed, shape, scale)
    order = {"l2": 2, "l1": 1, "linf": math.inf}[p]
    expected = d.double().flatten(1).norm(p=order, dim=1)
    torch.testing.assert_close(geometry.norm(d, p).double(), expected, rtol=1e-5, atol=0)


@quick
@given(seeds, shapes, scales, st.sampled_from(BALLS))
def test_projection_is_inside_idempotent_and_leaves_inner_points(seed, shape, scale, p):
    d, eps = noise(seed, shape, scale), radii(seed, shape[0])
    inside = geometry.project(d, eps, p)
    assert (geometry.norm(inside, p) <= eps * (1 + 1e-6)).all()
    torch.testing.assert_close(geometry.project(inside, eps, p), inside, rtol=1e-6, atol=0)
    small = d / geometry.per_sample(geometry.norm(d, p), d) * geometry.per_sample(eps, d) * 0.99
    assert torch.equal(geometry.project(small, eps, p), small)


@quick
@given(seeds, shapes, st.sampled_from(BALLS))
def test_projection_is_the_nearest_point(seed, shape, p):
    """Obtuse angle: <d - P(d), q - P(d)> <= 0 for every q in the ball, which only the nearest point satisfies."""
    d, eps = noise(seed, shape, 3.0).double(), radii(seed, shape[0]).double()
    nearest = geometry.project(d, eps, p)
    for other in range(5):
        q = geometry.random_point(d, eps, p, torch.Generator().manual_seed(other))
        assert (((d - nearest) * (q - nearest)).flatten(1).sum(1) <= 1e-9).all()


@quick
@given(seeds, shapes, scales, st.sampled_from(BALLS))
def test_steepest_maximises_the_inner_product(seed, shape, scale, p):
    """On the unit ball the maximum of <g, d> is the dual norm of g (Hölder), and steepest reaches it."""
    g = noise(seed, shape, scale).double()
    d = geometry.steepest(g, p)
    assert (geometry.norm(d, p) <= 1 + 1e-12).all()
    dual = geometry.norm(g, {"linf": "l1", "l2": "l2"}[p])
    torch.testing.assert_close((g * d).flatten(1).sum(1), dual, rtol=1e-9, atol=0)


@pytest.mark.parametrize("p", BALLS)
def test_a_zero_gradient_gives_a_random_unit_step_and_a_warning(p):
    """PEERS 9: never NaN.  The other images of the batch keep their own step."""
    g = torch.zeros(3, 2, 4, 4)
    g[1] = noise(1, (2, 4, 4))
    with pytest.warns(geometry.ZeroGradientWarning, match="2 of 3 images") as caught:
        d = geometry.steepest(g, p)
    assert caught[0].filename == __file__
    assert torch.isfinite(d).all()
    torch.testing.assert_close(geometry.norm(d, p), torch.ones(3))
    assert torch.equal(d[1:2], geometry.steepest(g[1:2], p))
    assert torch.equal(d[0], d[2]), "the same direction wherever an image stands in its batch"


@pytest.mark.parametrize("p", BALLS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_refused(p, bad):
    g = torch.ones(2, 1, 2, 2)
    g[0, 0, 0, 0] = bad
    with pytest.raises(ValueError, match="gradient is not finite"):
        geometry.steepest(g, p)


@pytest.mark.parametrize("p", BALLS)
def test_a_tiny_gradient_gives_a_full_step(p):
    """PEERS 9, 14: 1e-30 squared is 0 in float32; the step has length 1 all the same."""
    g = noise(0, (2, 1, 5, 5), 1e-30)
    torch.testing.assert_close(geometry.norm(geometry.steepest(g, p), p), torch.ones(2))


@pytest.mark.parametrize("p", BALLS)
def test_eps_is_per_image(p):
    d, eps = noise(0, (3, 1, 4, 4), 5.0), torch.tensor([0.0, 0.1, 100.0])
    inside = geometry.project(d, eps, p)
    assert torch.equal(inside[0], torch.zeros_like(d[0])) and torch.equal(inside[2], d[2])
    assert geometry.norm(inside, p)[1].item() == pytest.approx(0.1)
    start = geometry.random_point(d, eps, p, torch.Generator().manual_seed(0))
    assert (geometry.norm(start, p) <= eps).all() and geometry.norm(start, p)[2] > 1


def test_random_points_fill_the_l2_ball_uniformly():
    """PEERS 9: in n dimensions the radius follows r^n, and no direction is preferred."""
    n, dims, eps = 4000, 12, 0.7
    like, radius = torch.zeros(n, 3, 2, 2), torch.full((n,), eps)
    points = geometry.random_point(like, radius, "l2", torch.Generator().manual_seed(0)).flatten(1).double()
    assert stats.kstest((points.norm(dim=1) / eps).numpy() ** dims, "uniform").pvalue > 0.01
    # One coordinate of a uniform direction in n dimensions: (1 + u) / 2 is Beta((n-1)/2, (n-1)/2).
    unit = points / points.norm(dim=1, keepdim=True)
    for axis in range(dims):
        assert stats.kstest((unit[:, axis].numpy() + 1) / 2,
                            stats.beta((dims - 1) / 2, (dims - 1) / 2).cdf).pvalue > 0.001
    covariance = unit.T @ unit / n
    torch.testing.assert_close(covariance, torch.eye(dims, dtype=torch.float64) / dims, rtol=0, atol=0.01)


def test_random_points_fill_the_linf_ball_uniformly():
    like = torch.zeros(500, 2, 3, 3)
    points = geometry.random_point(like, torch.full((500,), 0.3), "linf", torch.Generator().manual_seed(0)).double()
    assert points.abs().max() <= 0.3
    assert stats.kstest((points.flatten().numpy() / 0.3 + 1) / 2, "uniform").pvalue > 0.01
    # Each pixel is its own draw: no correlation between neighbours (Captum broadcasts over the width).
    flat = points.flatten(1)
    correlation = torch.corrcoef(flat.T) - torch.eye(18, dtype=torch.float64)
    assert correlation.abs().max() < 0.2


@pytest.mark.parametrize("p", BALLS)
def test_random_points_repeat_with_a_generator_and_leave_the_global_one_alone(p):
    like, eps = torch.zeros(3, 1, 4, 4), torch.full((3,), 0.1)
    before = torch.get_rng_state()
    first, again, other = (geometry.random_point(like, eps, p, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_steepest_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    with pytest.warns(geometry.ZeroGradientWarning):
        geometry.steepest(torch.zeros(1, 1, 2, 2), "linf")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_zero_gradient_is_reported_once_and_by_name():
    def attack():
        geometry.warn_zero_gradient(0, 5, "nothing")
        geometry.warn_zero_gradient(2, 5, "they stay as they are")

    with pytest.warns(geometry.ZeroGradientWarning) as caught:
        attack()
    assert [str(w.message)
            for w in caught] == ["the input gradient is exactly 0 for 2 of 5 images: they stay as they are. "
                                                "A masked gradient is not robustness."]
    assert caught[0].filename == __file__


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(bad):
    geometry.check_finite(torch.tensor([1e38, -1e38, 0.0]))
    with pytest.raises(ValueError, match="the input gradient is not finite: the model or the loss overflows"):
        geometry.check_finite(torch.tensor([[0.0, 1.0], [bad, 2.0]]))


@pytest.mark.parametrize("call", [
    lambda d: geometry.norm(d, "l7"),
    lambda d: geometry.project(d, torch.ones(1), "l1"),
    lambda d: geometry.steepest(d, "l0"),
    lambda d: geometry.random_point(d, torch.ones(1), "l1"),
])
def test_an_unknown_norm_is_refused_with_the_known_ones(call):
    with pytest.raises(ValueError, match="unknown norm .*known: linf, l2"):
        call(torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_numbers_are_drawn_from_the_generator_in_the_type_that_is_asked_for(dtype):
    seeded, like = lambda: torch.Generator().manual_seed(3), torch.empty(0, dtype=dtype)
    drawn = geometry.draw(torch.randint, 0, 9, (50,), like=like, generator=seeded())
    assert drawn.dtype == dtype and torch.equal(drawn, torch.randint(0, 9, (50,), generator=seeded()).to(dtype))
    torch.manual_seed(4)
    drawn, expected = geometry.draw(torch.randperm, 50, like=like, generator=None), seeded().manual_seed(4)
    assert torch.equal(drawn, torch.randperm(50, generator=expected).to(dtype))
