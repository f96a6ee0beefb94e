"""The checks of chapter 06 against known wrong answers: each fails with the hint that names its mistake."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from advlens import attacks, data, evaluation, zoo
from advlens.course import checks
from advlens.course.checks import hint as shared
from wrong_answers import hint, slips

# --- the box -----------------------------------------------------------------------


def test_the_box_counts_answers_and_keeps_its_gradient():
    net, x = shared.small_net(), shared.small_images(5)
    scores, labels = checks.Box(net), checks.Box(net, labels_only=True)
    assert torch.equal(scores(x), net(x)) and torch.equal(labels(x[:2]), net(x[:2]).argmax(1))
    assert (int(scores.asked), int(labels.asked)) == (5, 2)
    assert not scores(x).requires_grad and not scores.training
    with pytest.raises(checks.CheckFailed, match="no gradient"):
        scores(x.requires_grad_())


# --- the pencil ----------------------------------------------------------------------

def pencil(**changed):
    right = {"one-sided": [2.2, -1, 2, -0.4], "central": (2, -1, 0, 0), "queries": (785, 1568)}
    return lambda: right | {key.replace("_", "-"): value for key, value in changed.items()}


def test_the_right_slopes_by_hand_pass(capsys):
    checks.differences(pencil())
    assert capsys.readouterr().out.count("ok") == 3


@slips({
    "a slope is divided by the step": dict(one_sided=[0.22, -0.1, 0.2, -0.04]),
    "The signs are turned: the score after": dict(one_sided=[-2.2, 1, -2, 0.4]),
    "You stepped down": dict(one_sided=[1.8, -1, -2, 0.4]),
    "Those are the central ones": dict(one_sided=[2, -1, 0, 0]),
    "is 1.00: subtract it": dict(one_sided=[12.2, 9, 12, 9.6]),
    "`one-sided` is not": dict(one_sided=[0, 0, 0, 0]),
    "lie two steps": dict(central=[4, -2, 0, 0]),
    "divide by the 0.2": dict(central=[0.4, -0.2, 0, 0]),
    "The signs are turned: the score at x + h": dict(central=[-2, 1, 0, 0]),
    "Those are the one-sided ones": dict(central=[2.2, -1, 2, -0.4]),
    "`central` is not": dict(central=[1, 1, 1, 1]),
    "also need the score of the image itself": dict(queries=(784, 1568)),
    "Once is enough": dict(queries=(1568, 1568)),
    "do not need the score of the image itself": dict(queries=(785, 1569)),
    "a digit has 28 x 28": dict(queries=(5, 8)),
    "First the one-sided": dict(queries=(1568, 785)),
    "For each of the 784": dict(queries=(1, 2)),
    "'queries' holds 2 numbers": dict(queries=785),
    "'central' holds 4 numbers": dict(central=[2, -1, 0]),
})
def test_differences(words, wrong):
    assert words in hint(checks.differences, pencil(**wrong))


def test_a_key_is_missing():
    assert "'central' is missing" in hint(checks.differences, lambda: {"one-sided": [2.2, -1, 2, -0.4]})


# --- to the boundary -----------------------------------------------------------------

def bisection(box, x, y, start, steps, *, back="high", more=0, together=None, success=None, turned=False, first=False,
              ask=None):
    """Right, or with one slip."""
    ask = ask(box) if ask else box
    low, high = torch.zeros(len(x)), torch.ones(len(x))
    point = lambda share: x + share.view(-1, 1, 1, 1) * (start - x)
    if first:
        box(x), box(start)
    wanted = box(start) if success else None
    for _ in range(steps + more):
        middle = (low + high) / 2
        answers = ask(point(middle))
        fooled = answers == wanted if success else answers != y
        if together:
            fooled = together(fooled).expand(len(x))
        if turned:
            fooled = ~fooled
        low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
    return point({"high": high, "low": low, "middle": (low + high) / 2}[back])


def scan(box, x, y, start, steps):
    """The first of equal steps that fools the box: no bisection."""
    found = start
    for k in range(steps - 1, -1, -1):
        here = x + k / steps * (start - x)
        found = torch.where((box(here) != y).view(-1, 1, 1, 1), here, found)
    return found


def by_gradient(box, x, y, start, steps):
    return box(x.clone().requires_grad_())


def by_gradient_of_the_answer(box, x, y, start, steps):
    torch.autograd.grad(box(x).sum(), x)


def in_place(box, x, y, start, steps):
    found = bisection(box, x, y, start, steps)
    return x.copy_(found)


def one_by_one(box, x, y, start, steps):
    each = [bisection(box, x[i:i + 1], y[i:i + 1], start[i:i + 1], steps) for i in range(len(x))]
    return torch.cat(each)


@pytest.mark.parametrize("answer", [bisection, one_by_one])
def test_the_right_bisection_passes(answer, capsys):
    checks.to_boundary(answer)
    assert capsys.readouterr().out.count("ok") == 3


slip = partial(partial, bisection)


@slips({
    "come back unchanged": lambda box, x, *others: x.clone(),
    "That is `start`": lambda box, x, y, start, steps: start.clone(),
    "the last points that the box still calls y": slip(back="low"),
    "the middle of what is left": slip(back="middle"),
    "some cross the boundary early": slip(together=torch.any),
    "with a share of its own": slip(together=torch.all),
    "where the class of `start` begins": slip(success="start"),
    "The halves are exchanged": slip(turned=True),
    "one halving too few": slip(more=-1),
    "one halving too many": slip(more=1),
    "The points are not those": scan,
    "no gradient: ask it": by_gradient,
    "stopped with RuntimeError": by_gradient_of_the_answer,
    "in place": in_place,
    "asked 8 times for each image: 6 halvings": slip(first=True),
    "asked 0 times for each image, not 6": slip(ask=lambda box: lambda images: box.net(images).argmax(1)),
    "the library's own solution": lambda box, x, y, start, steps: attacks.hop_skip_jump(box, x, y, starts=start),
    "return a tensor": lambda *arguments: 0.5,
})
def test_to_boundary(words, wrong):
    assert words in hint(checks.to_boundary, wrong)


# --- who fools whom ------------------------------------------------------------------

ATTACK = {"fgm": partial(attacks.fgm, eps=2.5),
          "pgd": partial(attacks.pgd, eps=2.5, norm="l2", steps=10, random_start=False)}


def fell(net, images, x, y):
    return evaluation.evaluate(net, x, images, y).success


@pytest.fixture(scope="module")
def nets():
    """LeNet, the fully connected net, and the digits that both answer right."""
    digits = data.load("digits", "test")
    pair = [zoo.pretrained(name, "digits") for name in ("lenet", "fully_connected")]
    both = evaluation.classified_right(pair[0], digits) & evaluation.classified_right(pair[1], digits)
    return (*pair, digits.images[both], digits.labels[both])


@pytest.fixture(scope="module")
def made(nets):
    """attack -> the images made for LeNet, and those for the other net."""
    lenet, fc, x, y = nets
    return {name: (attack(lenet, x, y), attack(fc, x, y)) for name, attack in ATTACK.items()}


@pytest.fixture(scope="module")
def right(nets, made):
    lenet, fc, x, y = nets
    compared = {name: evaluation.paired(fell(fc, a, x, y), fell(lenet, b, x, y)) for name, (a, b) in made.items()}
    return compared, {name: round(100 * p.difference, 1) for name, p in compared.items()}


def test_the_right_crossings_pass_and_point_both_ways(right, capsys):
    checks.crossings(*right)
    assert capsys.readouterr().out.count("ok") == 2
    compared, points = right
    assert compared["fgm"].low > 0 > compared["pgd"].high  # what the letter of the task stands on
    assert points["fgm"] > 0 > points["pgd"]


def test_more_images_of_pgd_cross_than_of_fgm(nets, made):
    """What refutes the letter c of the task."""
    lenet, fc, x, y = nets
    crossed = {name: (fell(fc, a, x, y).sum(), fell(lenet, b, x, y).sum()) for name, (a, b) in made.items()}
    assert all(many > few for many, few in zip(crossed["pgd"], crossed["fgm"]))


def test_crossings(nets, made, right):
    lenet, fc, x, y = nets
    compared, points = right
    (a, b), p = made["fgm"], compared["fgm"]
    with_one = lambda table: compared | {"fgm": table}
    with_points = lambda number: points | {"fgm": number}
    more = p.only_a - p.only_b
    everything = p._replace(n=len(data.load("digits", "test")))
    for words, table, numbers in (
            ("the wrong way round", with_one(evaluation.paired(fell(lenet, b, x, y), fell(fc, a, x, y))), points),
            ("the white box", with_one(evaluation.paired(fell(lenet, a, x, y), fell(fc, b, x, y))), points),
            ("the two nets on LeNet's images", with_one(evaluation.paired(fell(fc, a, x, y), fell(lenet, a, x, y))),
             points),
            ("not what stays right", with_one(evaluation.paired(~fell(fc, a, x, y), ~fell(lenet, b, x, y))), points),
            ("does not hold, for the attack of the task", with_one(p._replace(only_a=5, only_b=5)), points),
            ("wrong without an attack", with_one(everything), points),
            ("100 digits are compared", with_one(p._replace(n=100)), points),
            ("what evaluation.paired returns", with_one(p.difference), points),
            ("is a share", compared, with_points(p.difference)),
            ("has the wrong sign", compared, with_points(-points["fgm"])),
            ("counts images", compared, with_points(more)),
            ("in per cent of the other share", compared, with_points(100 * more / int(fell(lenet, b, x, y).sum()))),
            ("only one direction fools", compared, with_points(100 * more / (p.only_a + p.only_b))),
            ("is not the difference of the two shares", compared, with_points(50)),
            ("key 'pgd'", {"fgm": p}, points),
            ("not measured yet", {"fgm": p, "pgd": None}, points)):
        assert words in hint(checks.crossings, table, numbers), words


# --- a few pixels --------------------------------------------------------------------

def few(box, x, y, pixels, *, values=(0.0, 1.0), choose=torch.argmax, own=False, stop=True, forget=False, put_back=True,
        again=1):
    """Right, or with one slip."""
    point = x.clone()
    for _ in range(pixels):
        tries, n = [], x.numel()
        here = (x if forget else point).clone()
        for value in values:
            for k in range(n):
                here = here if not put_back else (x if forget else point).clone()
                here.view(-1)[k] = value
                tries.append(here.clone())
        for _ in range(again):
            logits = box(torch.cat(tries))
        others = logits.clone()
        others[:, y] = -torch.inf
        margins = -logits[:, y.item()] if own else others.amax(1) - logits[:, y.item()]
        best = choose(margins)
        point = tries[best]
        if stop and margins[best] > 0:
            break
    return point


def white_ink(box, x, y, pixels):
    """Adds one instead of setting to one, without a clamp."""
    return few(box, x, y, pixels).sub(x).ne(0).float().add(x)


def all_of_x(box, x, y, pixels):
    return x.copy_(few(box, x, y, pixels))


def test_the_right_few_pixels_pass(capsys):
    checks.few_pixels(few)
    assert capsys.readouterr().out.count("ok") == 3


bad = partial(partial, few)


@slips({
    "comes back unchanged": lambda box, x, y, pixels: (box(x), x.clone())[1],
    "never asked the box": lambda box, x, y, pixels: x.clone(),
    "smallest margin": bad(choose=torch.argmin),
    "Only black is tried": bad(values=(0.0,)),
    "is black tried": bad(values=(1.0,)),
    "the score of y alone": bad(own=True),
    "begin each try with the image as it was": bad(put_back=False),
    "does not keep the change with the largest margin": bad(choose=lambda margins: margins.argsort()[-3]),
    "wrong already": bad(stop=False),
    "the second round begins": bad(forget=True),
    "A pixel leaves [0, 1]": white_ink,
    "are 72 tries a round": bad(again=2),
    "in place": all_of_x,
    "no gradient: ask it": lambda box, x, y, pixels: box(x.clone().requires_grad_()),
    "the library's own solution": lambda box, x, y, pixels: attacks.one_pixel_exhaustive(box, x, y),
})
def test_few_pixels(words, wrong):
    assert words in hint(checks.few_pixels, wrong)
