"""DeepFool: the contract, the same walk as the plain algorithm and as adv-lib, and the least work."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlens import geometry, models
from advlens.attacks import deepfool
from advlens.evaluation import evaluate, logits


def right(model, batch):
    """The images, and as labels what the model says: every image has to move."""
    return batch[0], logits(model, batch[0]).argmax(1)


def plain(model, x, y, steps=50, overshoot=0.02):
    """The algorithm of the paper, one image after the other, all classes at every step."""
    result = []
    for image, label in zip(x, y):
        point = image[None]
        for _ in range(steps):
            z = model(point)[0]
            if z.argmax() != label:
                break
            slopes = torch.autograd.functional.jacobian(lambda p: model(p)[0], point)[:, 0]  # (c, C, H, W)
            w, f = slopes - slopes[label], (z - z[label]).abs()
            size = w.flatten(1).norm(dim=1)
            size[label] = 0
            distance = torch.where(size > 0, f / size, torch.inf)
            k = distance.argmin()
            point = (point + (1 + overshoot) * (distance[k] + 1e-4) * w[k] / size[k]).clamp(0, 1)
        result.append(point if model(point)[0].argmax() != label else image[None])
    return torch.cat(result)


class Wrapped(nn.Module):
    def __init__(self, net, change):
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x):
        return self.change(self.net(x))


# --- the contract ---------------------------------------------------------------------

def test_every_image_is_fooled_inside_the_box(net, batch):
    x, y = right(net, batch)
    adversarial = deepfool(net, x, y)
    assert adversarial.shape == x.shape and adversarial.dtype == x.dtype and not adversarial.requires_grad
    assert evaluate(net, x, adversarial, y).success.all()  # also checks [0, 1]


@pytest.mark.parametrize("images", [torch.zeros, torch.ones])
def test_black_and_white_images_are_fooled(images, net):
    """PEERS 2."""
    x, y = right(net, (images(2, 2, 6, 6), None))
    assert evaluate(net, x, deepfool(net, x, y), y).success.all()


def test_a_step_that_the_box_cuts_off_still_ends_beyond_the_boundary(lenet, digits):
    """PEERS 7: ink and paper at exactly 1 and 0, where a relative overshoot alone does not arrive."""
    x = digits.images[:60].round()
    y = logits(lenet, x).argmax(1)
    assert evaluate(lenet, x, deepfool(lenet, x, y), y).success.all()
    assert evaluate(lenet, x, deepfool(lenet, x, y, overshoot=0.0), y).success.all()


def test_what_is_wrong_already_comes_back_unchanged(net, batch):
    x, y = right(net, batch)
    y = torch.where(torch.arange(8) % 2 == 0, (y + 1) % 5, y)
    adversarial = deepfool(net, x, y)
    assert torch.equal(adversarial[::2], x[::2]) and adversarial.data_ptr() != x.data_ptr()
    assert (geometry.norm(adversarial - x, "l2")[1::2] > 0).all()


def test_a_walk_that_does_not_arrive_returns_the_clean_image(lenet, digits):
    """PEERS 4."""
    x, y = right(lenet, (digits.images[:20], None))
    adversarial = deepfool(lenet, x, y, steps=1)
    success = evaluate(lenet, x, adversarial, y).success
    assert not success.all()
    assert torch.equal(adversarial[~success], x[~success])


def test_neighbours_change_nothing(net, batch):
    """PEERS 3."""
    net, (x, y) = net.double(), right(net.double(), (batch[0].double(), None))
    together = deepfool(net, x, y)
    alone = torch.cat([deepfool(net, x[i:i + 1], y[i:i + 1]) for i in range(len(x))])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-9)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    torch.testing.assert_close(deepfool(net, x[order], y[order]), together[order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("change", [lambda z: z - 100, lambda z: z + 100, lambda z: z * 100], ids=["-100", "+100", "x100"])
def test_neither_a_constant_nor_a_factor_of_the_logits_changes_anything(change, net, batch):
    """PEERS 1, 6."""
    net = net.double()
    x, y = right(net, (batch[0].double(), None))
    torch.testing.assert_close(deepfool(Wrapped(net, change), x, y), deepfool(net, x, y), rtol=0, atol=1e-9)


def test_a_zero_gradient_returns_the_images_and_warns(net, batch):
    """PEERS 9."""
    x, y = right(net, batch)
    flat = Wrapped(net, lambda z: z * torch.tensor([0.0]) + torch.tensor([1.0, 0.5, 0, 0, 0]))
    with pytest.warns(geometry.ZeroGradientWarning, match="8 of 8 images"):
        assert torch.equal(deepfool(flat, x, torch.zeros_like(y)), x)


def test_the_model_is_left_as_it_was(net, batch):
    """PEERS 10, 11: modes, flags, no parameter gradients; also after an exception; and it is judged in evaluation mode."""
    net[2].eval()
    net[6].weight.requires_grad_(False)
    modes, flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    x, y = right(net, batch)
    with torch.no_grad():  # works inside no_grad, too
        adversarial = deepfool(net, x, y)
    assert [m.training for m in net.modules()] == modes and [p.requires_grad for p in net.parameters()] == flags

    def broken(z):
        raise KeyError("a layer that fails")

    with pytest.raises(KeyError):
        deepfool(Wrapped(net, broken), x, y)
    assert [m.training for m in net.modules()] == modes and [p.requires_grad for p in net.parameters()] == flags
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(deepfool(net.eval(), x, y), adversarial)


def test_the_images_and_the_global_generator_stay_as_they_are(net, batch):
    x, y = right(net, batch)
    before, state = x.clone(), torch.get_rng_state()
    deepfool(net, x.requires_grad_(), y)
    assert torch.equal(x, before) and x.grad is None and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("options, message", [
    ({"steps": 0}, "steps = 0"), ({"overshoot": -0.1}, "overshoot = -0.1"), ({"overshoot": float("nan")}, "overshoot = nan"),
    ({"y": torch.full((8,), 5)}, "5 classes"), ({"y": torch.zeros(3, dtype=torch.int64)}, "8 images"),
    ({"x": torch.zeros(0, 2, 6, 6)}, "empty"), ({"x": torch.full((8, 2, 6, 6), 1.5)}, r"\[0, 1\]"),
])
def test_bad_input_is_named(options, message, net, batch):
    with pytest.raises(ValueError, match=message):
        deepfool(net, **({"x": batch[0], "y": batch[1]} | options))


def test_other_types_are_named(net, batch):
    with pytest.raises(TypeError, match="float"):
        deepfool(net, batch[0].int(), batch[1])
    with pytest.raises(TypeError, match="overshoot"):
        deepfool(net, *batch, overshoot="0.02")


def test_a_gradient_that_is_not_finite_is_an_error(net, batch):
    x, y = right(net, batch)
    with pytest.raises(ValueError, match="not finite"):
        deepfool(Wrapped(net, lambda z: z + (z - z.detach()).sqrt()), x, y)  # 0 forward, infinite slope


# --- what it finds ----------------------------------------------------------------------

@pytest.mark.parametrize("n", [1, 3, 8])
def test_a_linear_model_falls_at_its_known_distance(n, work):
    """One step, (1 + overshoot) times the distance and 1e-4; with c classes it costs F + (c - 1) B, and F to see it."""
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(4, 12, generator=generator))
        model[1].bias.copy_(-0.5 * model[1].weight.sum(1))
    x = 0.5 + 0.05 * torch.randn(n, 3, 2, 2, generator=generator).double()  # far from 0 and 1: no clipping
    z = logits(model, x)
    y = z.argmax(1)
    w = model[1].weight.detach()
    between = (w[:, None] - w).norm(dim=2)  # (c, c)
    distance = torch.stack([((z[i, y[i]] - z[i]) / between[y[i]]).scatter(0, y[i], torch.inf).min() for i in range(n)])
    with work(model) as passes:
        found = deepfool(model, x, y)
    assert (passes.forward, passes.backward) == (2 * n, 3 * n)
    assert evaluate(model, x, found, y).success.all()
    torch.testing.assert_close(geometry.norm(found - x, "l2"), 1.02 * (distance + 1e-4), rtol=1e-9, atol=0)
    near = evaluate(model, x, deepfool(model, x, y, overshoot=0.0), y)
    assert near.success.all() and (near.l2 <= 1.01 * distance + 1e-4).all()


def test_the_walk_is_the_one_that_measures_all_classes_at_every_step(net, batch):
    net = net.double().eval()
    x, y = right(net, (batch[0].double(), None))
    torch.testing.assert_close(deepfool(net, x, y), plain(net, x, y), rtol=0, atol=1e-9)


def within(model, x, y, ours, theirs):
    """Share of images with the same L2 norm within 2 %, and the ratio of the medians; all have to succeed."""
    a, b = evaluate(model, x, ours, y), evaluate(model, x, theirs, y)
    assert a.success[b.success].all(), "a success of the peer that is none of ours"
    moved = b.success & (b.l2 > 0)
    a, b = a.l2[moved], b.l2[moved]
    return ((a / b - 1).abs() <= 0.02).double().mean().item(), (a.median() / b.median()).item()


@pytest.mark.parametrize("name", ["lenet", "fully_connected"])
def test_success_and_norms_of_adv_lib(name, digits, peer):
    model, some = models.pretrained(name, "digits").double(), digits.sample(80)
    x, y = some.images.double(), some.labels
    same, ratio = within(model, x, y, deepfool(model, x, y), peer("adv_lib.attacks").df(model, x, y, steps=50))
    assert same >= 0.9 and 0.98 <= ratio <= 1.02


@pytest.mark.parametrize("name", ["lenet", "fully_connected"])
def test_success_and_norms_of_adv_lib_on_mnist(name, mnist, peer):
    """Hundred per cent, norms within 2 %: on most images the same, at the median always."""
    model, some = models.pretrained(name, "mnist"), mnist.sample(200)
    x, y = some.images, some.labels
    ours = deepfool(model, x, y)
    assert evaluate(model, x, ours, y).success.all()
    same, ratio = within(model, x, y, ours, peer("adv_lib.attacks").df(model, x, y, steps=50))
    assert same >= 0.75 and 0.98 <= ratio <= 1.02


# --- the least work ---------------------------------------------------------------------

def test_most_steps_measure_one_class_only(lenet, digits, work):
    """Never more than F + (c - 1) B a step, and the images that a new graph takes along; mostly about F + B."""
    x, y = right(lenet, (digits.images[:60], None))
    steps = []
    hook = lenet.register_forward_pre_hook(lambda module, inputs: steps.append(len(inputs[0])))
    with work(lenet) as passes:
        deepfool(lenet, x, y)
    hook.remove()
    assert steps[0] == 60 and steps[-1] <= 60
    assert passes.backward >= 9 * 60  # all classes, once
    assert passes.backward - 9 * 60 <= 2.5 * (passes.forward - 60)
    assert passes.backward <= 0.5 * 9 * passes.forward, "half of what all classes at all steps cost"


def test_finished_images_leave_the_batch(lenet, digits, work):
    """An image costs the same work beside an image that walks for long."""
    x, y = right(lenet, (digits.images[:30], None))
    cost = []
    for i in range(30):
        with work(lenet) as passes:
            deepfool(lenet, x[i:i + 1], y[i:i + 1])
        cost.append(passes.forward)
    with work(lenet) as together:
        deepfool(lenet, x, y)
    assert max(cost) > min(cost)
    assert sum(cost) <= together.forward <= 2 * sum(cost)
