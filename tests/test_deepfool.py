"""DeepFool: the same walk as the plain algorithm and as adv-lib, and the least work.  Its contract:
test_contract.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlens import geometry, zoo
from advlens.attacks import deepfool
from advlens.evaluation import evaluate, logits
from advlens.geometry import ZeroGradientWarning
from nets import Constant


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
    assert torch.equal(deepfool(model, x, y, steps=1), found)  # the last step is judged, too
    near = evaluate(model, x, deepfool(model, x, y, overshoot=0.0), y)
    assert near.success.all() and (near.l2 <= 1.01 * distance + 1e-4).all()


def test_the_walk_is_the_one_that_measures_all_classes_at_every_step(net, batch):
    net = net.double().eval()
    x, y = right(net, (batch[0].double(), None))
    torch.testing.assert_close(deepfool(net, x, y), plain(net, x, y), rtol=0, atol=1e-9)


def test_a_step_that_the_box_cuts_off_still_ends_beyond_the_boundary(lenet, digits):
    """PEERS 7: ink and paper at exactly 1 and 0, where a relative overshoot alone does not arrive."""
    x = digits.images[:60].round()
    y = logits(lenet, x).argmax(1)
    assert evaluate(lenet, x, deepfool(lenet, x, y), y).success.all()
    assert evaluate(lenet, x, deepfool(lenet, x, y, overshoot=0.0), y).success.all()


def within(model, x, y, ours, theirs):
    """Share of images with the same L2 norm within 2 %, and the ratio of the medians; all have to succeed."""
    a, b = evaluate(model, x, ours, y), evaluate(model, x, theirs, y)
    assert a.success[b.success].all(), "a success of the peer that is none of ours"
    moved = b.success & (b.l2 > 0)
    a, b = a.l2[moved], b.l2[moved]
    return ((a / b - 1).abs() <= 0.02).double().mean().item(), (a.median() / b.median()).item()


@pytest.mark.parametrize("name", ["lenet", "fully_connected"])
def test_success_and_norms_of_adv_lib(name, digits, peer):
    model, some = zoo.pretrained(name, "digits").double(), digits.sample(80)
    x, y = some.images.double(), some.labels
    same, ratio = within(model, x, y, deepfool(model, x, y), peer("adv_lib.attacks").df(model, x, y, steps=50))
    assert same >= 0.9 and 0.98 <= ratio <= 1.02


@pytest.mark.parametrize("name", ["lenet", "fully_connected"])
def test_success_and_norms_of_adv_lib_on_mnist(name, mnist, peer):
    """Hundred per cent, norms within 2 %: on most images the same, at the median always."""
    model, some = zoo.pretrained(name, "mnist"), mnist.sample(200)
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
    assert steps[0] == 60 and 0 < min(steps)
    assert passes.backward >= 9 * 60  # all classes, once
    assert passes.backward - 9 * 60 <= passes.forward - 60
    assert passes.backward <= 0.5 * 9 * passes.forward, "half of what all classes at all steps cost"


def test_finished_images_leave_the_batch(fully_connected, digits, work):
    """An image costs the same work beside images that walk for longer or measure more classes: at most 10 % more."""
    net = fully_connected.double()
    x, y = right(net, (digits.images[:30].double(), None))
    cost = []
    for i in range(30):
        with work(net) as passes:
            deepfool(net, x[i:i + 1], y[i:i + 1])
        cost.append(passes.forward + passes.backward)
    with work(net) as together:
        deepfool(net, x, y)
    assert max(cost) > min(cost)
    assert sum(cost) <= together.forward + together.backward <= 1.1 * sum(cost)


def test_a_net_without_gradient_costs_one_look(batch, work):
    net = Constant(0.0, 0.0, 0.0)
    with work(net) as passes, pytest.warns(ZeroGradientWarning):
        deepfool(net, batch[0], torch.zeros(8, dtype=torch.int64))
    assert (passes.forward, passes.backward) == (8, 2 * 8)


# --- bad input --------------------------------------------------------------------------

@pytest.mark.parametrize("options, error, message", [
    ({"steps": 0}, ValueError, "steps = 0"),
    ({"overshoot": -0.1}, ValueError, "overshoot = -0.1"),
    ({"overshoot": float("nan")}, ValueError, "overshoot = nan"),
    ({"overshoot": "0.02"}, TypeError, "overshoot"),
])
def test_wrong_options_are_named(options, error, message, net, batch):
    with pytest.raises(error, match=message):
        deepfool(net, *batch, **options)
