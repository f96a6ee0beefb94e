"""Counting: shapes without overlap, three protocols of size, nets that count, and detection with a known answer."""

from __future__ import annotations

import os

import pytest
import torch
from shapely.geometry import Polygon
from torch import nn

from advlens import layers
from advlens.course import counting

seeded = lambda seed=0: torch.Generator().manual_seed(100 * int(os.environ.get("ADVLENS_TEST_SEED", "0")) + seed)
small = dict(side=32, most=2, smallest=5, largest=9)


@pytest.fixture(scope="module", params=counting.SIZES)
def scenes(request):
    return request.param, counting.draw(60, sizes=request.param, generator=seeded())


def sides(boxes):
    """Width of each shape; a square is as high, a triangle too."""
    assert torch.equal(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return boxes[:, 2] - boxes[:, 0]


def test_images_and_truth_agree(scenes):
    found = scenes[1]
    assert found.images.shape == (60, 1, 64, 64) and found.images.dtype == torch.float32
    assert set(found.images.unique().tolist()) == {0.0, 1.0}
    assert found.counts.shape == (60, 2) and found.counts.min() == 0 and found.counts.max() == 4
    for image, count, kinds, boxes in zip(found.images, found.counts, found.kinds, found.boxes):
        assert torch.equal(torch.bincount(kinds, minlength=2), count) and len(boxes) == count.sum()
        left = image[0].clone()
        for kind, (x0, y0, x1, y1) in zip(kinds, boxes.tolist()):
            inside = left[y0:y1, x0:x1]
            assert inside.any(0).all() and inside.any(1).all(), "the box is not the smallest one"
            assert kind == 1 or inside.all(), "a square fills its box"
            assert kind == 0 or not inside.all()
        for x0, y0, x1, y1 in boxes.tolist():
            left[y0:y1, x0:x1] = 0
        assert not left.any(), "something stands outside all boxes"


def test_no_two_shapes_touch(scenes):
    """Checked again, with Shapely, for all pairs: also the pixels of their edges stay apart."""
    for corners in scenes[1].corners:
        shapes = [Polygon(c).buffer(0.5, join_style="mitre") for c in corners]
        assert all(not a.intersects(b) for k, a in enumerate(shapes) for b in shapes[:k])


def test_sizes_follow_the_protocol(scenes):
    protocol, found = scenes
    within = [sides(boxes) for boxes in found.boxes if len(boxes) > 1]
    everything = torch.cat([sides(boxes) for boxes in found.boxes])
    assert 6 <= everything.min() and everything.max() <= 14
    if protocol == "equal":
        assert everything.unique().tolist() == [10]
    elif protocol == "varied":
        assert sum(len(s.unique()) > 1 for s in within) > 0.8 * len(within)
        assert set(everything.tolist()) == set(range(6, 15))
    else:
        assert all(len(s.unique()) == 1 for s in within)
        assert len({s[0].item() for s in within}) >= 7


def test_one_size_an_image_does_not_tell_the_count():
    found = counting.draw(400, side=80, sizes="per image", generator=seeded(1))
    pairs = torch.tensor([[len(b), sides(b)[0]] for b in found.boxes if len(b)]).double()
    assert torch.corrcoef(pairs.T)[0, 1].abs() < 0.25  # five standard errors of independent draws


def test_the_same_generator_draws_the_same_images():
    a, b, other = (counting.draw(5, sizes="varied", generator=seeded(s)) for s in (3, 3, 4))
    assert torch.equal(a.images, b.images) and a.corners == b.corners and not torch.equal(a.images, other.images)


def test_shapes_that_cannot_be_placed_are_an_error():
    with pytest.raises(ValueError, match="found no place in 50 images of 16 x 16; give fewer, smaller ones or a lar"):
        counting.draw(5, side=16, most=9, smallest=6, largest=6, generator=seeded())


@pytest.mark.parametrize("options, message", [
    (dict(n=0), "n = 0; give at least 1"),
    (dict(n=1, most=0), "most = 0; give at least 1"),
    (dict(n=1, sizes="random"), "unknown sizes 'random'; known: equal, varied, per image"),
    (dict(n=1, smallest=2), "smallest = 2, largest = 14, side = 64"),
    (dict(n=1, smallest=9, largest=8), "smallest = 9, largest = 8"),
    (dict(n=1, largest=65), "largest = 65, side = 64"),
])
def test_bad_scenes_get_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        counting.draw(**options)


# --- nets --------------------------------------------------------------------------

@pytest.mark.parametrize("activation", counting.ACTIVATIONS)
def test_a_net_learns_to_count(activation):
    """Better on new images than the best constant; outputs are never negative."""
    train, test = (counting.draw(n, generator=seeded(s), **small) for n, s in ((400, 0), (100, 1)))
    net = counting.CountingNet(activation, side=32)
    before = [p.clone() for p in net.parameters()]
    history = counting.fit(net, train, epochs=12, learning_rate=4e-3, progress=False)
    with torch.no_grad():
        answers = net(test.images)
    assert len(history) == 12 and history[-1] < 0.8 * history[0] and not net.training
    assert all((a != b).any() for a, b in zip(before, net.parameters()))
    error = (answers - test.counts).pow(2).mean()
    assert error < 0.8 * test.counts.float().var(0, correction=0).mean() and answers.min() >= 0


def test_training_repeats_itself():
    train = counting.draw(40, generator=seeded(), **small)
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(counting.CountingNet("relu", side=32))
        counting.fit(nets[-1], train, epochs=1, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters()))


def test_the_pixels_of_the_default_images_are_those_of_the_normalisation():
    images = counting.draw(300, sizes="per image", generator=seeded()).images
    assert abs(images.mean() - counting.PIXELS[0][0]) < 0.02 and abs(images.std() - counting.PIXELS[1][0]) < 0.04


@pytest.mark.parametrize("call, message", [
    (lambda: counting.CountingNet("gelu"), "unknown activation 'gelu'; known: relu, softplus, sigmoid"),
    (lambda: counting.CountingNet(side=60), "side = 60, width = 8; give a multiple of 8"),
    (lambda: counting.CountingNet(side=0), "side = 0, width = 8"),
    (lambda: counting.fit(nn.Flatten(), None, epochs=0), "epochs = 0; give at least 1"),
])
def test_bad_nets_get_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- detection ---------------------------------------------------------------------

class Regions(nn.Module):
    """Counts the filled ones among three known boxes: each a smooth step of its mean; its curvature fills the box."""

    boxes = torch.tensor([[1, 2, 6, 7], [9, 1, 13, 5], [4, 9, 12, 14]])

    def forward(self, x):
        means = [x[:, 0, y0:y1, x0:x1].mean((1, 2)) for x0, y0, x1, y1 in self.boxes.tolist()]
        return torch.stack([torch.sigmoid(9 * (m - 0.6)) for m in means], 1)  # 0.5 % when empty, 97 % when full


@pytest.fixture
def regions():
    """Images that show boxes 0 and 2, all three, and none; what there is to find."""
    shown = [[0, 2], [0, 1, 2], []]
    x = torch.zeros(3, 1, 16, 16, dtype=torch.float64)
    for image, boxes in zip(x, shown):
        for x0, y0, x1, y1 in Regions.boxes[boxes].tolist():
            image[0, y0:y1, x0:x1] = 1
    return x, [Regions.boxes[boxes].view(-1, 4) for boxes in shown]


@pytest.mark.parametrize("threshold", ["auto", 0.5, 1e-3])
def test_detection_finds_what_the_net_counts(regions, threshold):
    x, truth = regions
    before = x.clone()
    found = counting.detect(Regions(), x, threshold=threshold)
    assert [sorted(f.tolist()) for f in found] == [sorted(t.tolist()) for t in truth]
    assert counting.precision_recall(found, truth, overlap=1.0) == (1.0, 1.0)
    assert torch.equal(x, before)


class Overcounts(Regions):
    """Regions that says 100 more for each of its three."""

    def forward(self, x):
        return super().forward(x) + 100


def test_a_net_that_counts_too_many_is_given_no_box_twice(regions):
    """Black is found once the objects are: painting it black again would go on for ever."""
    x, truth = regions
    found = counting.detect(Overcounts(), x)
    assert [sorted(f.tolist()) for f in found] == [sorted(t.tolist()) for t in truth]


def test_detection_by_a_net_that_answers_in_half_precision(regions):
    """And by a plain function."""
    class Half(Regions):
        def forward(self, x):
            return super().forward(x).bfloat16()

    x, truth = regions
    assert counting.precision_recall(counting.detect(Half(), x, threshold=0.5), truth, overlap=1.0) == (1.0, 1.0)
    assert counting.detect(lambda images: Regions()(images), x)[0].shape == (2, 4), "a function is a net too"


def test_a_net_that_works_in_place_detects_the_same(regions):
    class InPlace(Regions):
        def forward(self, x):
            return super().forward(x.neg_().neg_().add_(0.25)) if not x.requires_grad else super().forward(x + 0.25)

    class Plain(Regions):
        def forward(self, x):
            return super().forward(x + 0.25)

    x, before = regions[0], regions[0].clone()
    assert all(map(torch.equal, counting.detect(InPlace(), x), counting.detect(Plain(), x)))
    assert torch.equal(x, before)


def test_detection_is_per_image(regions):
    x = regions[0]
    together = counting.detect(Regions(), x)
    assert all(torch.equal(counting.detect(Regions(), x[k:k + 1])[0], together[k]) for k in range(3))


def test_detection_leaves_the_net_as_it_was(regions):
    net = counting.CountingNet("sigmoid", side=16).double().train()
    counting.detect(net, regions[0])
    assert all(m.training for m in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_detection_says_why_a_relu_net_cannot_do_it():
    net = counting.CountingNet("relu", side=32)
    images = counting.draw(4, generator=seeded(), **small).images
    assert net(images).sum(1).round().max() >= 1
    with pytest.raises(ValueError, match="second derivative .* exactly 0"):
        counting.detect(net, images)


def test_an_image_without_objects_has_no_boxes():
    blank = nn.Sequential(layers.Normalize([0.0], [1.0]), nn.Flatten(), nn.Linear(64, 2), nn.ReLU())
    nn.init.constant_(blank[2].bias, -9.0)
    found, = counting.detect(blank, torch.zeros(1, 1, 8, 8))
    assert found.shape == (0, 4)


@pytest.mark.parametrize("call, error, message", [
    (lambda x: counting.detect(Regions(), x, threshold=0.0), ValueError,
     r"threshold = 0.0; give a share in \(0, 1\], or 'auto'"),
    (lambda x: counting.detect(Regions(), x, threshold="kmeans"), ValueError, "threshold = 'kmeans'"),
    (lambda x: counting.detect(Regions(), x * 2), ValueError, "pixels belong in \\[0, 1\\]"),
    (lambda x: counting.detect(Regions(), (x * 255).byte()), TypeError, "x is torch.uint8"),
    (lambda x: counting.detect(nn.Sequential(Regions(), nn.Threshold(9.0, float("nan"))), x), ValueError,
     "counts that are not finite"),
])
def test_bad_detection_input_gets_one_clear_error(regions, call, error, message):
    with pytest.raises(error, match=message):
        call(regions[0])


# --- precision and recall ----------------------------------------------------------

boxes = lambda *rows: torch.tensor(rows, dtype=torch.int64).view(-1, 4)


@pytest.mark.parametrize("found, truth, expected", [
    ([boxes([0, 0, 4, 4])], [boxes([0, 0, 4, 4])], (1, 1)),
    ([boxes([0, 0, 4, 4])], [boxes([0, 0, 4, 8])], (1, 1)),  # intersection / union = 16 / 32
    ([boxes([0, 0, 4, 4])], [boxes([0, 0, 4, 9])], (0, 0)),  # 16 / 36
    ([boxes([0, 0, 4, 4], [0, 0, 4, 5])], [boxes([0, 0, 4, 4])], (1 / 2, 1)),  # one truth counts once
    ([boxes([0, 0, 4, 4])], [boxes([0, 0, 4, 4], [6, 6, 9, 9])], (1, 1 / 2)),
    # never across images
    ([boxes([0, 0, 2, 2], [4, 4, 8, 8]), boxes()], [boxes([4, 4, 8, 8]), boxes([0, 0, 2, 2])], (1 / 2, 1 / 2)),
    ([boxes([0, 0, 6, 10], [0, 0, 10, 10])], [boxes([0, 0, 10, 10], [0, 0, 5, 10])], (1, 1)),  # the best pair first
    ([boxes()], [boxes([0, 0, 2, 2])], (1, 0)),
    ([boxes()], [boxes()], (1, 1)),
])
def test_precision_and_recall_by_hand(found, truth, expected):
    assert counting.precision_recall(found, truth) == pytest.approx(expected)


def test_bad_boxes_get_one_clear_error():
    with pytest.raises(ValueError, match="found has 1 images, truth 2"):
        counting.precision_recall([boxes()], [boxes(), boxes()])
    with pytest.raises(ValueError, match="overlap = 0"):
        counting.precision_recall([], [], overlap=0)
