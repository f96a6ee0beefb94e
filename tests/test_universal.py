"""One image for every class: masks, what the net sees, and that it stops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from advlens import zoo
from advlens.attacks import mask_image
from advlens.attacks.universal import squares, stripes
from nets import After

start = lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def linear():
    """One logit for each row of a 1x6x6 image, larger where the row is darker."""
    class Rows(nn.Module):
        def forward(self, x):
            return -x.sum((1, 3))

    return Rows()


def judged(model, image, masks):
    """What the net sees under each mask, computed here one by one: success (K,) and margin (K,)."""
    logits = []
    for mask in masks:
        view = image.clone()
        view[:, :, mask] = 0
        with torch.no_grad():
            logits.append(model.eval()(view)[0])
    z = torch.stack(logits)
    own = z.diagonal()
    others = z.masked_fill(torch.eye(len(masks), z.shape[1], dtype=torch.bool), -torch.inf).amax(1)
    return own > others, own - others


@pytest.mark.parametrize("network, data, channels, masks", [
    ("lenet", "digits", 1, stripes(10, 28)),
    ("lenet", "digits", 1, squares(10, 28)),
    ("lenet", "digits", 1, ~stripes(3, 28)),
    ("cifar_net", "shapes", 3, squares(4, 32)),
], ids=["lenet-stripes", "lenet-squares", "lenet-inverse", "cifar_net-squares"])
def test_one_image_is_every_class(network, data, channels, masks):
    model = zoo.pretrained(network, data)
    found = mask_image(model, masks, channels=channels, learning_rate=0.5, steps=600, generator=start())
    success, margin = judged(model, found.image, masks)
    assert found.image.shape == (1, channels, *masks.shape[1:]) and 0 <= found.image.min() and found.image.max() <= 1
    assert found.success.all() and torch.equal(found.success, success)
    torch.testing.assert_close(found.margin, margin, rtol=0, atol=1e-4)
    assert found.steps == len(found.losses) - 1 < 600 and found.losses[-1] < found.losses[0]


def test_ten_classes_of_real_mnist(real):
    real("mnist", "test")
    model = zoo.pretrained("lenet", "mnist")
    found = mask_image(model, squares(10, 28), channels=1, learning_rate=1.0, steps=500, generator=start())
    assert found.success.all() and judged(model, found.image, squares(10, 28))[0].all()


def test_it_stops_at_the_first_image_that_is_every_class(linear):
    """Hiding row k makes it the darkest, so the random image already is every class: no step is needed."""
    found = mask_image(linear, stripes(6, 6), channels=1, generator=start())
    assert found.steps == 0 and len(found.losses) == 1 and found.success.all()
    assert torch.equal(found.image, mask_image(linear, stripes(6, 6), channels=1, steps=0, generator=start()).image)


def test_it_keeps_the_best_point_where_no_image_is_every_class(linear, work):
    """The inverse view: row k is the only one seen, so class k has the smallest logit unless it is black, and then all
    tie.
    """
    masks = ~stripes(6, 6)
    with work(linear) as done:
        found = mask_image(linear, masks, channels=1, steps=7, generator=start())
    assert not found.success.all() and len(found.losses) == 8
    assert len(set(found.losses)) == 8 and found.losses[found.steps] == min(found.losses), (
        "one class holds all the time: the lowest loss counts")
    assert (done.forward, done.backward) == (8 * 6, 8 * 6)


def test_the_best_point_is_returned_not_the_last(net):
    """With far too long steps the pixels jump between 0 and 1; what comes back is the best image it met."""
    masks, seen = stripes(5, 6), []
    net[6].weight.data.mul_(10)
    hook = net.register_forward_hook(lambda module, inputs, logits: seen.append(logits.detach()))
    found = mask_image(net, masks, channels=2, learning_rate=50.0, steps=15, generator=start(2))
    hook.remove()
    right = torch.stack([(z.argmax(1) == torch.arange(5)).sum() for z in seen])
    assert found.success.sum() == right.max() and right[found.steps] == right.max()
    equals = [loss for loss, hits in zip(found.losses, right) if hits == right.max()]
    assert found.losses[found.steps] == min(equals)
    assert right[-1] < right.max() or found.losses[-1] > min(equals), (
        "the last point is the best: this test shows nothing")


def test_one_step_is_the_clamped_descent_of_the_mean_cross_entropy(net):
    net.double().eval()
    masks, met = stripes(5, 6), []
    hook = net.register_forward_pre_hook(lambda module, inputs: met.append(inputs[0].detach()))
    mask_image(net, masks, channels=2, steps=1, learning_rate=3.0, generator=start())
    hook.remove()
    first = torch.rand(1, 2, 6, 6, generator=start())
    torch.testing.assert_close(met[0].float(), first * ~masks[:, None])
    first.requires_grad_()
    loss = nn.functional.cross_entropy(net.float()(first * ~masks[:, None]), torch.arange(5))
    moved = (first - 3.0 * torch.autograd.grad(loss, first)[0]).clamp(0, 1)
    torch.testing.assert_close(met[1].float(), moved.detach() * ~masks[:, None], rtol=0, atol=1e-5)


def test_a_generator_makes_it_repeatable(net):
    run = lambda seed: mask_image(net, stripes(5, 6), channels=2, steps=3, generator=start(seed)).image
    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))


def test_the_model_is_left_as_it_was(net):
    """PEERS 10, 11."""
    net[2].eval()
    modes, state = [m.training for m in net.modules()], {k: v.clone() for k, v in net.state_dict().items()}
    with torch.no_grad():
        mask_image(net, stripes(5, 6), channels=2, steps=3, generator=start())
    with pytest.raises(ValueError):
        mask_image(net, stripes(6, 6), channels=2)
    assert [m.training for m in net.modules()] == modes and all(p.requires_grad and p.grad is None
                                                                for p in net.parameters())
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


def test_half_precision_and_a_model_that_works_in_place(net):
    """Inside the model and around the call; the image that comes back is float32, and not the model's."""
    masks = stripes(5, 6)
    find = lambda model: mask_image(model, masks, channels=2, steps=3, generator=start())
    plain = find(net)
    assert torch.equal(find(After(net, lambda z: z.bfloat16().float())).image,
                       find(After(net, lambda z: z.bfloat16())).image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = find(net)
    assert found.image.dtype == plain.image.dtype and found.margin.dtype == plain.margin.dtype

    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x.mul_(2).div_(2))

    assert torch.equal(find(InPlace()).image, plain.image)


# --- masks ----------------------------------------------------------------------

@pytest.mark.parametrize("count", [1, 2, 7, 10, 58, 64])
def test_stripes_cut_the_image_into_equal_rows(count):
    masks = stripes(count, 64, 48)
    assert masks.shape == (count, 64, 48) and masks.dtype == torch.bool
    assert (masks.sum(0) == 1).all(), "each pixel lies in one stripe"
    rows = masks.any(2).sum(1)
    assert rows.max() - rows.min() <= 1 and torch.equal(masks.any(2), masks.all(2))


@pytest.mark.parametrize("count, side", [(1, 1), (2, 2), (4, 2), (10, 4), (58, 8), (64, 8)])
def test_squares_are_the_cells_of_the_smallest_grid(count, side):
    masks = squares(count, 64)
    assert masks.shape == (count, 64, 64) and (masks.sum(0) <= 1).all()
    assert (masks.sum(0) == 1).all() == (count == side ** 2)
    for k, mask in enumerate(masks):
        rows, columns = mask.any(1).nonzero().squeeze(1), mask.any(0).nonzero().squeeze(1)
        assert mask.sum() == len(rows) * len(columns)
        assert abs(len(rows) - 64 / side) < 1 and abs(len(columns) - 64 / side) < 1
        assert (rows[0] * side // 64, columns[0] * side // 64) == divmod(k, side)


@pytest.mark.parametrize("make, count, message", [
    (stripes, 0, "count = 0 stripes in 8 rows: give 1 to 8"), (stripes, 9, "count = 9 stripes"),
    (squares, 0, "count = 0 squares in 8 x 8 pixels: give 1 to 64"), (squares, 65, "count = 65 squares"),
    (squares, -4, "count = -4"),
    (lambda count, side: squares(count, side, 2), 5, "count = 5 squares in 8 x 2 pixels: give 1 to 4"),
])
def test_masks_that_would_be_empty_are_refused(make, count, message):
    with pytest.raises(ValueError, match=message):
        make(count, 8)


# --- input outside the contract ----------------------------------------------------

@pytest.mark.parametrize("masks, error, message", [
    (torch.ones(2, 6, 6), TypeError, "masks is torch.float32; give a bool tensor"),
    ([[True]], TypeError, "masks is list"),
    (torch.ones(6, 6, dtype=torch.bool), ValueError, r"masks has shape \(6, 6\); give \(K, H, W\)"),
    (torch.ones(2, 1, 6, 6, dtype=torch.bool), ValueError, "masks has shape"),
    (torch.ones(0, 6, 6, dtype=torch.bool), ValueError, "masks has shape"),
    (torch.cat([stripes(3, 6), torch.ones(1, 6, 6, dtype=torch.bool)]), ValueError, "mask 3 hides everything"),
    (torch.cat([torch.zeros(1, 6, 6, dtype=torch.bool), stripes(3, 6)]), ValueError, "mask 0 hides nothing"),
    (stripes(6, 6), ValueError, "6 masks, but the model has 5 classes"),
])
def test_wrong_masks_are_refused(masks, error, message, net):
    with pytest.raises(error, match=message):
        mask_image(net, masks, channels=2)


@pytest.mark.parametrize("options, message", [
    (dict(steps=-1), "steps = -1"), (dict(channels=0), "channels = 0"),
    (dict(learning_rate=0.0), "learning_rate = 0"), (dict(learning_rate=float("nan")), "learning_rate = nan"),
])
def test_wrong_options_are_refused(options, message, net):
    with pytest.raises(ValueError, match=message):
        mask_image(net, stripes(5, 6), **options)


def test_a_model_outside_the_contract_is_named(net):
    with pytest.raises(ValueError, match="the model returns NaN"):
        mask_image(After(net, lambda z: z * torch.nan), stripes(5, 6), channels=2)
