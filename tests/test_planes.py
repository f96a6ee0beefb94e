"""What a net says on a plane: the right point at the right place, nothing clamped, clear errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlens import inputs
from advlens.course.planes import logits_on_plane


@pytest.fixture
def net():
    """Two channels of 3 x 3 pixels, four classes, and a layer that only evaluation mode leaves alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(18, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 4)).train()


@pytest.fixture
def plane():
    """An image and two directions."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, 2, 3, 3, generator=generator)
    u, v = torch.randn(2, 1, 2, 3, 3, generator=generator)
    return x, u, v


def test_each_entry_is_the_net_at_its_point(net, plane):
    x, u, v = plane
    across, up = [-1.5, 0.0, 0.5, 2.0], [-0.25, 0.0, 3.0]
    found = logits_on_plane(net, x, u, v, across, up)
    assert found.shape == (3, 4, 4)
    for j, b in enumerate(up):
        for i, a in enumerate(across):
            assert torch.allclose(found[j, i], inputs.logits(net, x + a * u + b * v)[0], atol=1e-6)


def test_nothing_is_clamped(plane):
    x, u, v = plane
    found = logits_on_plane(nn.Flatten(), x, u, v, [5.0], [-7.0])
    assert torch.allclose(found[0, 0], (x + 5 * u - 7 * v).flatten(), atol=1e-5)
    assert found.max() > 1 and found.min() < 0


@pytest.mark.parametrize("batch_size", [1, 4, 5, 100])
def test_batches_change_nothing(net, plane, batch_size):
    across, up = torch.linspace(-1, 1, 4), torch.linspace(0, 2, 3)
    asked = []
    hook = net.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))
    found = logits_on_plane(net, *plane, across, up, batch_size=batch_size)
    hook.remove()
    assert torch.allclose(found, logits_on_plane(net, *plane, across, up), atol=1e-6)
    assert max(asked) <= batch_size and sum(asked) == 12


def test_leaves_the_net_as_it_was(net, plane):
    logits_on_plane(net, *plane, [0.0], [0.0])
    assert all(module.training for module in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_keeps_the_precision(net, plane):
    found = logits_on_plane(net.double(), *(t.double() for t in plane), [0, 1], [0])
    assert found.dtype == torch.float64 and not found.requires_grad


@pytest.mark.parametrize("change, error, words", [
    ({"x": torch.rand(2, 2, 3, 3)}, ValueError, "one"),
    ({"x": torch.rand(2, 3, 3)}, ValueError, "unsqueeze"),
    ({"x": torch.full((1, 2, 3, 3), 2.0)}, ValueError, r"\[0, 1\]"),
    ({"u": torch.rand(2, 3, 3)}, ValueError, "u has shape"),
    ({"v": torch.ones(1, 2, 3, 3, dtype=torch.int64)}, TypeError, "v is"),
    ({"v": torch.full((1, 2, 3, 3), torch.nan)}, ValueError, "v holds NaN"),
    ({"across": []}, ValueError, "across"),
    ({"across": ["a"]}, TypeError, "across"),
    ({"up": [[0.0]]}, ValueError, "up"),
    ({"up": [float("inf")]}, ValueError, "up holds"),
    ({"batch_size": 0}, ValueError, "batch_size"),
])
def test_errors_name_what_was_given(net, plane, change, error, words):
    given = dict(zip("xuv", plane)) | {"across": [0.0], "up": [0.0]} | change
    with pytest.raises(error, match=words):
        logits_on_plane(net, **given)
