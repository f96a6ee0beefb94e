"""Checks of chapter 06: slopes from scores with a pencil, a search with labels alone, who fools whom, a few pixels."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.attacks.losses import margin
from advlens.course.checks import hint
from advlens.course.checks.closed import CheckFailed


class Box(nn.Module):
    """A network that only answers: with its scores, or with the class alone.  It counts the images it is asked about,
    and hands out no gradient.
    """

    def __init__(self, net: nn.Module, *, labels_only: bool = False):
        super().__init__()
        self.net, self.labels_only = net, labels_only
        self.register_buffer("asked", torch.tensor(0))  # a buffer comes back from another process
        self.eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            raise CheckFailed("The box gives answers and no gradient: ask it about images without requires_grad.")
        self.asked += len(images)
        logits = self.net(images)
        return logits.argmax(1) if self.labels_only else logits


# --- warm-up ---------------------------------------------------------------------

PLUS, MINUS = torch.tensor([1.22, 0.9, 1.2, 0.96]), torch.tensor([0.82, 1.1, 1.2, 0.96])
HERE, H = 1.0, 0.1  # the score of the image itself, and the step


def differences(function) -> None:
    """Check `function()`: {"one-sided": four slopes, "central": four slopes, "queries": (for a digit, for a digit)}."""
    got = hint.by_hand(function, "one-sided", "central", "queries")
    for key, n in (("one-sided", 4), ("central", 4), ("queries", 2)):
        hint.require(isinstance(got[key], (list, tuple)) and len(got[key]) == n, f"{key!r} holds {n} numbers.")
    hint.compare(got["one-sided"], (PLUS - HERE) / H, {
        "That is the change of the score: a slope is divided by the step of 0.1.": PLUS - HERE,
        "The signs are turned: the score after the step, minus the score before it.": (HERE - PLUS) / H,
        "You stepped down. That is one-sided too, but the task steps up: (s(x + h) - s(x)) / h.": (HERE - MINUS) / H,
        "Those are the central ones: from x to x + h only.": (PLUS - MINUS) / (2 * H),
        "The score of the image itself is 1.00: subtract it.": PLUS / H,
    }, "`one-sided` is not (s(x + h) - s(x)) / h for each pixel.", tolerance=1e-3)
    print("ok  one-sided")
    hint.compare(got["central"], (PLUS - MINUS) / (2 * H), {
        "Between x - h and x + h lie two steps: divide by 0.2.": (PLUS - MINUS) / H,
        "That is the change of the score: divide by the 0.2 between the two points.": PLUS - MINUS,
        "The signs are turned: the score at x + h, minus the score at x - h.": (MINUS - PLUS) / (2 * H),
        "Those are the one-sided ones: central differences do not use the score of x.": (PLUS - HERE) / H,
    }, "`central` is not (s(x + h) - s(x - h)) / (2 h) for each pixel.", tolerance=1e-3)
    print("ok  central")
    hint.compare(got["queries"], [785, 1568], {
        "One-sided differences also need the score of the image itself, once.": [784, 1568],
        "Once is enough for the image itself: its score is the same for every pixel.": [1568, 1568],
        "Central differences do not need the score of the image itself.": [785, 1569],
        "These are the queries for four pixels: a digit has 28 x 28.": [5, 8],
        "First the one-sided, then the central ones.": [1568, 785],
    }, "For each of the 784 pixels, count the scores to ask for; and one more where the image itself is needed.")
    print("ok  the price for a digit")


# --- code ------------------------------------------------------------------------

def to_boundary(function) -> None:
    """Check `function(box, x, y, start, steps)`: bisection between x and start, for each image its own, with labels
    alone.
    """
    net, steps = hint.small_net(), 6
    x, start = hint.small_images(64), hint.small_images(64, seed=1)
    y = net(x).argmax(1)
    fools = net(start).argmax(1) != y
    x, y, start = x[fools], y[fools], start[fools]
    box, before = Box(net, labels_only=True), (x.clone(), start.clone())
    got = hint.images(hint.call(function, box, x, y, start, steps), x)
    hint.require(torch.equal(x, before[0]) and torch.equal(start, before[1]),
                 "You changed the images of your caller in place: work on copies.")
    print("ok  returns images, and leaves x and start as they were")
    walk = partial(_bisect, net, x, y, start, steps)
    hint.compare(got, walk(), {
        "The images come back unchanged: return the points where the search ended.": x,
        "That is `start`: search between it and x, with a share of its own for each image.": start,
        "You return the last points that the box still calls y: return those that fool it.": walk(back="low"),
        "You return the middle of what is left, and nobody has asked the box about it: return the end that fools it.":
            walk(back="middle"),
        "All images share one share: some cross the boundary early, some late. Keep one for each image "
        "(torch.where).": walk(shared=True),
        "You search where the class of `start` begins. Any class but y is a success.":
            walk(wanted=net(start).argmax(1)),
        "The halves are exchanged: where the middle still is y, go on between the middle and start.":
            walk(turned=True),
        "There is one halving too few: `steps` counts them all.": _bisect(net, x, y, start, steps - 1),
        "There is one halving too many: `steps` counts them all.": _bisect(net, x, y, start, steps + 1),
    }, "The points are not those where the search ends. For each image: ask about the middle between the last point "
       "that is y and the last that is not, and put the middle in the place of one of them.")
    print("ok  each image ends just beyond its own boundary")
    asked = int(box.asked)
    hint.require(asked <= len(x) * steps,
                 f"The box was asked {asked / len(x):g} times for each image: {steps} halvings need {steps} answers. "
                 "What x and start are called is known already.")
    hint.require(asked == len(x) * steps,
                 f"The box was asked {asked / len(x):g} times for each image, not {steps} times: call box(images), and "
                 "nothing inside it.")
    print(f"ok  {steps} answers for each image")


def _bisect(net, x, y, start, steps, *, back="high", shared=False, wanted=None, turned=False):
    """The search of the exercise, and what becomes of it with one slip."""
    low, high = torch.zeros(len(x)), torch.ones(len(x))
    point = lambda share: x + geometry.per_sample(share, x) * (start - x)
    for _ in range(steps):
        middle = (low + high) / 2
        with torch.no_grad():
            answers = net(point(middle)).argmax(1)
        fooled = answers != y if wanted is None else answers == wanted
        if shared:
            fooled = fooled.any().expand(len(x))
        fooled = fooled ^ turned
        low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
    return point({"low": low, "high": high, "middle": (low + high) / 2}[back])


# --- measurement -----------------------------------------------------------------

CROSSING = {"fgm": partial(attacks.fgm, eps=2.5),
            "pgd": partial(attacks.pgd, eps=2.5, norm="l2", steps=10, random_start=False)}


def crossings(compared: dict, points: dict) -> None:
    """Check the measurement of chapter 06: LeNet's images against the fully connected net, and the other way round.

    compared: {"fgm": evaluation.paired(...), "pgd": ...}.  points: the two differences, in percentage points.
    """
    hint.answered(compared=compared, points=points)
    digits = data.load("digits", "test")
    nets = [zoo.pretrained(name, "digits") for name in ("lenet", "fully_connected")]
    right = evaluation.classified_right(nets[0], digits) & evaluation.classified_right(nets[1], digits)
    x, y = digits.images[right], digits.labels[right]
    for name in CROSSING:
        for variable, value in (("compared", compared), ("points", points)):
            hint.require(isinstance(value, dict) and name in value, f"`{variable}` is a dict with the key {name!r}.")
        given = compared[name]
        hint.require(isinstance(given, tuple) and len(given) == 7,
                     f"`compared[{name!r}]` is what evaluation.paired returns, as it is.")
        n, only_a, only_b = given[:3]
        hint.require(n != len(digits), "There are digits among them that a net answers wrong without an attack: "
                                       "take only those that both nets answer right.")
        hint.require(n == len(x), f"{n} digits are compared: take all test digits that both nets answer right.")
        made = [CROSSING[name](net, x, y) for net in nets]  # for LeNet, for the other
        fell = lambda net, images: evaluation.evaluate(net, x, images, y).success
        table = lambda a, b: list(evaluation.paired(a, b)[1:3])
        there, back = fell(nets[1], made[0]), fell(nets[0], made[1])
        expected = table(there, back)
        hint.compare([only_a, only_b], expected, {
            f"`compared[{name!r}]` is the wrong way round: first what LeNet's images do to the other net; and True is "
            "what fools, not what stays right.": expected[::-1],
            f"In `compared[{name!r}]` each net meets the images made for itself: that is the white box. Show them to "
            "the other net.": table(fell(nets[0], made[0]), fell(nets[1], made[1])),
            f"`compared[{name!r}]` compares the two nets on LeNet's images: each net meets the images of the other.":
                table(there, fell(nets[0], made[0])),
        }, f"`compared[{name!r}]` does not hold, for the attack of the task, whether LeNet's image fools the fully "
           "connected net, and whether that net's image fools LeNet.", tolerance=4)
        share = (only_a - only_b) / n
        hint.compare(float(points[name]), 100 * share, {
            f"`points[{name!r}]` is a share: percentage points are a hundred times as much.": share,
            f"`points[{name!r}]` has the wrong sign: the first share minus the second.": -100 * share,
            f"`points[{name!r}]` counts images: a difference of shares is divided by all {n} of them.":
                only_a - only_b,
            f"`points[{name!r}]` is in per cent of the other share. Percentage points are the plain difference of two "
            "shares that are in per cent.": 100 * (only_a - only_b) / int(back.sum()),
            f"`points[{name!r}]` is divided by the images that only one direction fools: divide by all {n}.":
                100 * share * n / (only_a + only_b),
        }, f"`points[{name!r}]` is not the difference of the two shares in percentage points.", tolerance=0.06)
        print(f"ok  {name}: both directions on the same {n} digits")


# --- break it --------------------------------------------------------------------

BLACK, PAIR = 36, 24  # of 200 small images: one that a black pixel fools and no white one, one that needs two pixels


def few_pixels(function) -> None:
    """Check `function(box, x, y, pixels)`: pixel by pixel, the black or white one that raises the margin most."""
    net, images = hint.small_net(), hint.small_images(200, seed=5)

    def answer(which: int, pixels: int) -> Tensor:
        x, box = images[which:which + 1], Box(net)
        y, before = net(x).argmax(1), x.clone()
        got = hint.images(hint.call(function, box, x, y, pixels), x)
        hint.require(torch.equal(x, before), "You changed the image of your caller in place: work on x.clone().")
        hint.require(int(box.asked), "You never asked the box: try the pixels with box(images).")
        changed, most = int((got != x).sum()), 2 * x.numel() * pixels
        hint.require(changed <= pixels,
                     f"{changed} pixels differ and {pixels} may: begin each try with the image as it was, or put the "
                     "pixel back.")
        hint.require(got.min() >= 0 and got.max() <= 1, "A pixel leaves [0, 1]: it becomes black (0) or white (1).")
        hint.require(box.asked <= most + pixels + 1,
                     f"The box was asked {int(box.asked)} times: two values for each of the {x.numel()} pixels are "
                     f"{most // pixels} tries a round.")
        return got

    margins = lambda which, x: margin(net(x), net(images[which:which + 1]).argmax(1)).item()
    reached = margins(PAIR, answer(PAIR, 1))
    tried = _tries(images[PAIR:PAIR + 1])
    y = net(images[PAIR:PAIR + 1]).argmax(1)
    every = margin(net(tried), y.expand(len(tried)))
    least_own = every[net(tried)[:, y.item()].argmin()].item()
    hint.compare(reached, every.max().item(), {
        "The image comes back unchanged: also a change that does not fool the box is kept, when it is the best.":
            margins(PAIR, images[PAIR:PAIR + 1]),
        "You keep the try with the smallest margin, so the net becomes surer: keep the largest.": every.min().item(),
        "Only black is tried: try white as well.": every[:36].max().item(),
        "You look at the score of y alone. The margin is the largest other score minus that of y.": least_own,
    }, "One round does not keep the change with the largest margin. Try each pixel with 0 and with 1, all others as "
       "they were.", tolerance=1e-3)
    print("ok  one round keeps the best of all tries")
    hint.require(margins(BLACK, answer(BLACK, 1)) > 0, "There is an image that one black pixel fools, and you do not "
                                                       "find it: is black tried, at every place?")
    hint.require(int((answer(BLACK, 3) != images[BLACK:BLACK + 1]).sum()) == 1,
                 "You go on when the box is wrong already: return as soon as the margin is positive.")
    print("ok  stops as soon as the box is wrong")
    hint.require(margins(PAIR, answer(PAIR, 2)) > 0,
                 "An image stands two changed pixels, and should not: the second round begins with the image that the "
                 "first one left.")
    print("ok  a second pixel helps the first")


def _tries(x: Tensor) -> Tensor:
    """The image (1, 1, H, W) with each pixel set to 0, then with each set to 1, (2 H W, 1, H, W)."""
    place = torch.eye(x.numel(), dtype=torch.bool).view(-1, *x.shape[1:])
    return torch.cat([x.masked_fill(place, value) for value in (0.0, 1.0)])
