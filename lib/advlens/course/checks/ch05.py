"""Checks of chapter 05: a DeepFool step with a pencil and in code, two searches for the least budget, a shorter
"minimum".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.course.checks import hint

HIGH, ROUNDS = 8.0, 10  # the bisection of the measurement


def three_classes(function) -> None:
    """Check `function()`: a dict with two distances, the nearest class and the point after one DeepFool step.

    Logits W x + b with W = [[1, 1], [4, 5], [1, 2]], b = (1.3, -2, 0.7), at x = (0.5, 0.2), where class 0 is
    predicted; overshoot 0.1.
    """
    got = hint.by_hand(function, "distances", "nearest", "point")
    for key in ("distances", "point"):
        hint.require(isinstance(got[key], (list, tuple)) and len(got[key]) == 2, f"{key!r} holds two numbers.")
    hint.compare(got["distances"], [0.2, 0.4], {
        "Those are the gaps between the logits: divide each by the length of w_k - w_0.": [1.0, 0.4],
        "Divide by the length of the difference w_k - w_0: both logits move when x does.": [1 / 41**0.5, 0.4 / 5**0.5],
        "You divided by the squared length: take the root.": [1 / 25, 0.4],
        "You divided by the sum of the entries: the length is the root of the sum of squares.": [1 / 7, 0.4],
        "A distance is not negative: divide z_0 - z_k by the length.": [-0.2, -0.4],
        "You forgot the biases: z = W x + b.": [-0.46, -0.2],
    }, "`distances` is not (z_0 - z_k) / ||w_k - w_0|| for k = 1 and 2.", tolerance=1e-3)
    print("ok  both distances")
    hint.require(got["nearest"] != 2, "Class 2 has the nearest logit, 1.6 after 2. But its boundary is further away "
                                      "than that of class 1: compare the distances.")
    hint.require(got["nearest"] == 1, "`nearest` is the number of a class, 1 or 2.")
    print("ok  the nearest class")
    x, unit = torch.tensor([0.5, 0.2]), torch.tensor([0.6, 0.8])
    hint.compare(got["point"], x + 0.22 * unit, {
        "That is the point on the boundary: with overshoot 0.1 the step is 1.1 times as long.": x + 0.2 * unit,
        "The overshoot is a share of the distance: go 1.1 times as far, not 0.1 further.": x + 0.3 * unit,
        "You go away from class 1: its logit rises along w_1 - w_0.": x - 0.22 * unit,
        "That is the step alone: add it to x.": 0.22 * unit,
        "That is five times too far: the step has the length 1.1 times 0.2, so both the gap and w_1 - w_0 are divided "
        "by 5, the length.": x + 1.1 * unit,
        "You go along w_1 alone: the boundary is perpendicular to w_1 - w_0.":
            x + 0.22 * torch.tensor([4.0, 5.0]) / 41**0.5,
        "That is the step to class 2.": x + 0.44 * torch.tensor([0.0, 1.0]),
    }, "`point` is not x + 1.1 * distance * (w_1 - w_0) / ||w_1 - w_0||.", tolerance=1e-3)
    print("ok  the point just beyond the boundary")


def deepfool_step(function) -> None:
    """Check `function(model, x, y, overshoot)`: (1 + overshoot) times as far as the nearest linearised boundary."""
    model = _uneven_net()
    x = hint.small_images(16, low=0.3, high=0.7)
    y = model(x).argmax(1)
    got = hint.in_both_modes(function, model, x, y, 0.1)
    step = lambda **slip: _step(model, x, y, 0.1, **slip)
    right = step()
    hint.compare(got, right, {
        "The images come back unchanged. The own class lies at distance 0: leave it out of the search.": x,
        "You go away from the other class: step along the gradient of z_k - z_y.": 2 * x - right,
        "You return the step alone: add it to x.": right - x,
        "You take the class with the nearest logit: divide each gap by its slope before you take the smallest.":
            step(nearest=lambda gap, slope: gap),
        "You take the furthest boundary: the smallest distance counts.": step(nearest=lambda gap, slope: -gap / slope),
        "The nearest class of one image is used for all: each image has its own nearest class.":
            step(nearest=lambda gap, slope: (gap / slope)[:1].expand_as(gap)),
        "The step is the gap times the gradient: divide by the squared length of the gradient.":
            step(size=lambda gap, slope: gap),
        "Divide the gap by the length of the gradient twice: once for the distance, once for the direction.":
            step(size=lambda gap, slope: gap / slope),
        "The length of the gradient is that of the whole batch: take one norm for each image.":
            step(length=lambda slopes: slopes.flatten(2).norm(dim=2).square().sum(0, keepdim=True).sqrt()
                 .expand(len(slopes), -1)),
        "You take the gradient of z_k alone: both logits move, so take that of z_k - z_y.": step(difference=False),
        "The step ends on the boundary: go (1 + overshoot) times as far.": _step(model, x, y, 0.0),
        "The step is `overshoot` times the distance: it should be 1 + overshoot times.": _step(model, x, y, -0.9),
        "The step has the length of the gap over the sum of |gradient|: that is the distance by the largest change "
        "of a pixel. Take the Euclidean length.": step(length=lambda slopes: slopes.flatten(2).abs().sum(2)),
        "There is a softmax: the straight lines are those of the logits.": step(scores=lambda z: z.softmax(1)),
    }, "The result is not x + (1 + overshoot) * gap / ||g||^2 * g for the class k with the smallest gap / ||g||, "
       "where gap = z_y - z_k, and g is the gradient of z_k - z_y.")
    print("ok  one step to the nearest linearised boundary")

    linear = _linear_net()
    y = linear(x).argmax(1)
    z = linear(hint.attack(function, linear, x, y, 0.0))
    hint.require(_gap(z, y).abs().max() < 1e-4,
                 "On a linear net of ten classes a step with overshoot 0 does not end where two logits are equal. "
                 "Does the search see every class?")
    z = linear(hint.attack(function, linear, x, y, 0.02))
    hint.require((z.argmax(1) != y).all(),
                 "On a linear net of ten classes a step with overshoot 0.02 should change every answer.")
    print("ok  exact on a linear net of ten classes")

    edge = hint.small_images(16, seed=1).mul(2).sub(0.5).clamp(0, 1)  # many pixels at 0 and at 1
    y = model(edge).argmax(1)
    got = hint.attack(function, model, edge, y, 0.1)
    hint.require(got.min() >= 0 and got.max() <= 1,
                 "Pixels leave [0, 1], so this is no image any more: end with .clamp(0, 1).")
    hint.compare(got, _step(model, edge, y, 0.1), {}, "On images with black and white pixels the result is wrong: "
                                                      "clamp the sum x + step to [0, 1], nothing else.")
    print("ok  pixels stay in [0, 1]")


def _step(model, x, y, overshoot, *, scores=lambda z: z, difference=True,
          length=lambda slopes: slopes.flatten(2).norm(dim=2), nearest=lambda gap, slope: gap / slope,
          size=lambda gap, slope: gap / slope.square()) -> Tensor:
    """The step of the exercise, and what becomes of it with one slip."""
    point, rows = x.clone().requires_grad_(), torch.arange(len(x))
    z = scores(model(point))
    own = z.gather(1, y[:, None])
    rise = z - own if difference else z
    slopes = torch.stack([torch.autograd.grad(r.sum(), point, retain_graph=True)[0] for r in rise.unbind(1)], 1)
    gap, slope = (own - z).detach(), length(slopes)  # (N, K)
    k = nearest(gap, slope).scatter(1, y[:, None], torch.inf).argmin(1)
    far = size(gap, slope)[rows, k]
    return (x + (1 + overshoot) * geometry.per_sample(far, x) * slopes[rows, k]).clamp(0, 1)


def _uneven_net() -> nn.Module:
    """A small net in which the nearest logit is often not that of the nearest class: one is steep, one is flat."""
    net = hint.small_net()
    with torch.no_grad():
        net[6].weight[:2] *= torch.tensor([[3.0], [1 / 3]])
    return net


def _linear_net() -> nn.Sequential:
    """Ten classes, 6x6 images; logits so close together that a step to the nearest boundary stays inside the box."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 10)).eval()


def _gap(z: Tensor, y: Tensor) -> Tensor:
    """The logit of y minus the best other one, (N,)."""
    own = z.gather(1, y[:, None])
    return (own - z.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True)).squeeze(1).detach()


def two_searches(least: dict, median: dict, shorter: dict) -> None:
    """Check the measurement of chapter 05: the fully connected net, 100 test digits, bisection of PGD against DDN.

    least: {"pgd": (100,), "ddn": (100,)}, the least eps at which PGD was seen to fool each image, and DDN's norms.
    median: {"pgd": ., "ddn": .} of these.  shorter: {"pgd": n, "ddn": n}, for how many images each is clearly the
    shorter one.
    """
    hint.answered(least=least, median=median, shorter=shorter)
    for name, values in (("least", least), ("median", median), ("shorter", shorter)):
        hint.require(set(values) == {"pgd", "ddn"}, f'`{name}` needs the keys "pgd" and "ddn".')
    for name in least:
        shape = tuple(torch.as_tensor(least[name]).shape)
        hint.require(shape == (100,), f"`least[{name!r}]` has shape {shape}: it holds one number for each of the 100 "
                                      "images, (100,).")
    net, x, y, _ = hint.hundred_digits("fully_connected")
    low, high = _bisection(net, x, y)
    if not hint.close(least["pgd"], high, 1e-3):  # the wrong searches take a while
        _slip_of_the_search(least["pgd"], net, x, y, low, high)
    print("ok  a bisection for each image")
    change = attacks.ddn(net, x, y) - x
    norms = geometry.norm(change, "l2")
    hint.compare(least["ddn"], norms, {
        "`least['ddn']` is the largest change of a pixel: take the l2 norm.": geometry.norm(change, "linf"),
        "`least['ddn']` is the size of the images: measure adversarial - x.": geometry.norm(x + change, "l2"),
        "`least['ddn']` lacks its root: the l2 norm is the root of the sum of squares.": norms.square(),
    }, "`least['ddn']` is not the l2 norm of attacks.ddn(net, x, y) - x.", tolerance=1e-3)
    print("ok  DDN's norms")

    for name, values in (("pgd", high), ("ddn", norms)):
        hint.compare([float(median[name])], [values.median()], {
            f"`median[{name!r}]` is the mean: a few hard images pull it up. Take the median.": [values.mean()],
        }, f"`median[{name!r}]` is not the median over the 100 images.", tolerance=5e-3)
    counts = torch.tensor([(norms > high).sum(), (norms < low).sum()])
    hint.compare([int(shorter[name]) for name in ("pgd", "ddn")], counts, {
        "The two counts are exchanged: where DDN's norm is above the upper end, PGD is the shorter one.":
            counts.flip(0),
        "You count ties for DDN: the search knows each eps only to within the last interval, so ask whether DDN's norm "
        "is below its lower end.": [counts[0], (norms < high).sum()],
    }, "`shorter` is not: \"pgd\", the images with DDN's norm above the upper end; \"ddn\", those with DDN's norm "
       "below the lower end.", tolerance=0.5)
    print("ok  image by image, neither search is always the shorter one")


def _slip_of_the_search(found, net, x, y, low, high) -> None:
    """Fail with the hint to what went wrong in the bisection, whose right ends are low and high."""
    hint.compare(found, high, {
        "That is the lower end, a budget at which PGD fails: the upper end is the smallest eps that worked.": low,
        "That is the middle of the last interval: the upper end is the smallest eps that worked.": (low + high) / 2,
        "The ends are exchanged: where PGD fools the image the upper end comes down, elsewhere the lower end goes up.":
            _bisection(net, x, y, exchanged=True)[1],
        "There is one round too few: halve the interval ten times.": _bisection(net, x, y, rounds=ROUNDS - 1)[1],
        "There is one round too many: halve the interval ten times.": _bisection(net, x, y, rounds=ROUNDS + 1)[1],
        "That is PGD in the largest change of a pixel: pass norm=\"l2\".": _bisection(net, x, y, norm="linf")[1],
    }, "`least['pgd']` is not the upper end after ten rounds between 0 and 8 with attacks.pgd(net, x, y, eps=middle, "
       'norm="l2", steps=20, random_start=False).', tolerance=1e-3)


def _bisection(net, x, y, *, rounds=ROUNDS, norm="l2", exchanged=False) -> tuple[Tensor, Tensor]:
    """Both ends (N,) of the interval in which the least budget of each image was seen to lie."""
    low, high = torch.zeros(len(x)), torch.full((len(x),), HIGH)
    for _ in range(rounds):
        middle = (low + high) / 2
        adversarial = attacks.pgd(net, x, y, eps=middle, norm=norm, steps=20, random_start=False)
        fooled = (evaluation.logits(net, adversarial).argmax(1) != y) ^ exchanged
        low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
    return low, high


def shorten(function) -> None:
    """Check `function(model, x, y, adversarial)`: shorter adversarial images than those that were handed over."""
    digits = data.load("digits", "test")[100:140]
    net = zoo.pretrained("fully_connected", "digits").requires_grad_(True)
    right = evaluation.logits(net, digits.images).argmax(1) == digits.labels
    x, y = digits.images[right], digits.labels[right]
    reported = attacks.carlini_wagner(net, x, y, confidence=10)
    handed = reported.clone()
    got = hint.attack(function, net, x, y, handed)
    hint.require(torch.equal(handed, reported), "You changed the reported images in place: work on a copy.")
    hint.require(got.min() >= 0 and got.max() <= 1, "Pixels leave [0, 1]: between two images there is always an image.")
    before, after = (evaluation.evaluate(net, x, images, y) for images in (reported, got))
    lost, longer = int((~after.success).sum()), int((after.l2 > before.l2 + 1e-4).sum())
    side = ("You return the end of the search at which the answer is still right: return the other end, the last point "
            "that fooled the network.")
    hint.require(lost < len(x) or after.margin.median() < -0.1, side)
    hint.require(lost < len(x), "None of your images fools the network any more: what is shorter has to fool it still.")
    hint.require(lost == 0, f"{lost} of your {len(x)} images do not fool the network any more: keep, for each image, "
                            "the last point that did.")
    hint.require(longer == 0, f"{longer} of your {len(x)} images are further from x than those of the report: the "
                              "points between are x + t * (adversarial - x), with t between 0 and 1.")
    share = after.l2 / before.l2
    hint.require(share.min() < 0.999, "Nothing became shorter. Look at the margin of the reported images: are they at "
                                      "the boundary?")
    hint.require(share.max() - share.min() > 1e-3,
                 f"Every image was shortened to the same share, {share[0]:.2f}: each has its own, so search for each "
                 "image separately.")
    hint.require(after.margin.median() < 0.1,
                 f"The median margin is still {after.margin.median():.1f}: the boundary lies nearer on the same line. "
                 "Halve the interval more often, towards the point where the answer changes.")
    hint.require(share.median() < 0.75, f"The median image has kept {share.median():.0%} of its norm; on the line from "
                                        "x to the reported image two thirds are enough.")
    nearest = evaluation.evaluate(net, x, attacks.ddn(net, x, y), y).l2.median()
    print(f"ok  median l2 norm: {before.l2.median():.2f} in the report, {after.l2.median():.2f} now. "
          f"DDN, with other directions: {nearest:.2f}")
