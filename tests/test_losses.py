"""The losses that attacks make large: one number per image, with the right gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st

from advlens.attacks import losses

quick = settings(max_examples=40, deadline=None)
cases = given(seed=st.integers(0, 10_000), n=st.integers(1, 6), k=st.integers(2, 7), scale=st.sampled_from([0.1, 1.0, 30.0]))


def draw(seed, n, k, scale):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, k, generator=generator, dtype=torch.float64), torch.randint(0, k, (n,), generator=generator)


@quick
@cases
def test_margin_by_a_plain_loop(seed, n, k, scale):
    logits, y = draw(seed, n, k, scale)
    slow = [max(z for j, z in enumerate(row) if j != label) - row[label] for row, label in zip(logits.tolist(), y.tolist())]
    torch.testing.assert_close(losses.margin(logits, y), torch.tensor(slow, dtype=torch.float64))


@quick
@cases
def test_margin_is_positive_exactly_where_y_is_not_predicted(seed, n, k, scale):
    logits, y = draw(seed, n, k, scale)
    assert torch.equal(losses.margin(logits, y) > 0, logits.argmax(1) != y)


@quick
@cases
def test_mean_squared_error_by_a_plain_loop(seed, n, k, scale):
    logits, y = draw(seed, n, k, scale)
    probabilities = logits.softmax(1).tolist()
    slow = [sum((p - (j == label)) ** 2 for j, p in enumerate(row)) / k for row, label in zip(probabilities, y.tolist())]
    torch.testing.assert_close(losses.mean_squared_error(logits, y), torch.tensor(slow, dtype=torch.float64))


@quick
@cases
def test_cross_entropy_is_minus_the_log_probability(seed, n, k, scale):
    logits, y = draw(seed, n, k, scale)
    expected = -logits.log_softmax(1)[torch.arange(n), y]
    torch.testing.assert_close(losses.cross_entropy(logits, y), expected)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("shift", [-100.0, 100.0])
def test_a_constant_added_to_the_logits_changes_nothing(name, shift):
    """PEERS 1: logits times a 0/1 mask turn negative logits into 0."""
    logits, y = draw(0, 6, 5, 1.0)
    torch.testing.assert_close(losses.LOSSES[name](logits + shift, y), losses.LOSSES[name](logits, y))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_one_number_per_image_whatever_its_neighbours(name):
    """PEERS 3, 14."""
    logits, y = draw(1, 6, 5, 1.0)
    together = losses.LOSSES[name](logits, y)
    assert together.shape == (6,)
    alone = torch.cat([losses.LOSSES[name](logits[i:i + 1], y[i:i + 1]) for i in range(6)])
    torch.testing.assert_close(alone, together)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_the_gradient_is_the_slope(name):
    logits, y = draw(2, 4, 5, 1.0)
    assert torch.autograd.gradcheck(lambda z: losses.LOSSES[name](z, y), logits.requires_grad_())


def test_the_direction_of_the_margins_gradient_knows_no_scale():
    """PEERS 6: at logits x 1000 the cross-entropy of a right answer has no gradient left, the margin all of it."""
    logits = torch.tensor([[3.0, 1.0, -2.0]]).mul(1000).requires_grad_()
    y = torch.tensor([0])
    slope = lambda loss: torch.autograd.grad(loss(logits, y).sum(), logits)[0]
    assert torch.equal(slope(losses.cross_entropy), torch.zeros(1, 3))
    assert torch.equal(slope(losses.margin), torch.tensor([[-1.0, 1.0, 0.0]]))


def test_names_and_functions():
    assert losses.named("ce") is losses.cross_entropy and losses.named(F.cross_entropy) is F.cross_entropy
    with pytest.raises(ValueError, match="unknown loss 'hinge'; known: ce, margin, mse"):
        losses.named("hinge")
