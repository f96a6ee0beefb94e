"""The checks of chapter 08 meet the answers that students really give: each known mistake earns its own hint."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import nn

from advlens import attacks, data, evaluation, jpeg, zoo
from advlens.course import checks
from advlens.course.checks import ch08
from wrong_answers import hint, slips

# --- the pencil ------------------------------------------------------------------

PENCIL = {"stored": (6, -2, 1, 0), "back": (96, -48, 40, 0), "length": 20, "push": 9.5, "one way": 64, "chequered": 0,
          "blocks": (9, 16)}


def test_the_coefficients_by_hand_pass(capsys):
    checks.coefficients(lambda: PENCIL)
    checks.coefficients(lambda: {key: list(v) if isinstance(v, tuple) else v for key, v in PENCIL.items()})
    assert capsys.readouterr().out.count("what is stored") == 2


@slips({
    "'stored': Those are the values that come back": {"stored": (96, -48, 40, 0)},
    "quotients that are not rounded": {"stored": (6.25, -1.667, 1.2, 0.314)},
    "round, do not cut": {"stored": (6, -1, 1, 0)},
    "round away from 0": {"stored": (7, -2, 2, 1)},
    "always round up": {"stored": (7, -1, 2, 1)},
    "nearer to 0 than to 1": {"stored": (6, -2, 1, 1)},
    "The minus is lost": {"stored": (6, 2, 1, 0)},
    "'stored' holds 4 numbers": {"stored": (6, -2, 1)},
    "'stored': that is another number": {"stored": (5, -2, 1, 0)},
    "multiply each by its entry": {"back": (6, -2, 1, 0)},
    "That is what went in": {"back": (100, -40, 48, 16)},
    "nearer to -2 than to -1": {"back": (96, -24, 40, 0)},
    "0 comes back": {"back": (96, -48, 40, 51)},
    "sum of the absolute errors": {"length": 36},
    "'length': Take the root": {"length": 400},
    "root of the mean": {"length": 10},
    "keeps lengths": {"length": 2.5},
    "'length' is one number": {"length": (4, 8, 8, 16)},
    "half-way is enough": {"push": 35},
    "it is at 16 already": {"push": 25.5},
    "half of the gap": {"push": 17.5},
    "change of one pixel": {"one way": 8},
    "divide it by 8": {"one way": 512},
    "mean of the change": {"one way": 1},
    "half of the pixels rise": {"chequered": 64},
    "The signs cancel": {"chequered": 8},
    "as well": {"blocks": (16, 16)},
    "That is one row": {"blocks": (3, 4)},
    "784 pixels by 64": {"blocks": (12.25, 12.25)},
    "filled up and coded": {"blocks": (9, 9)},
    "First the whole ones": {"blocks": (16, 9)},
    "they do not fit": {"blocks": (12, 13)},
})
def test_coefficients(words, wrong):
    assert words in hint(checks.coefficients, lambda: PENCIL | wrong)


def test_a_warm_up_that_is_not_written_says_so():
    def unwritten():
        raise NotImplementedError

    assert "unwritten is not written yet" in hint(checks.coefficients, unwritten)
    assert "'push' is missing" in hint(checks.coefficients, lambda: {k: v for k, v in PENCIL.items() if k != "push"})


def test_the_entries_are_those_of_quality_50():
    row = jpeg.tables(50)[0][0]
    assert [row[place] for place in (0, 4, 5, 6)] == [16, 24, 40, 51]


# --- JPEG's lossy step -------------------------------------------------------------

def waves(blocks, first=0.125 ** 0.5, others=0.5):
    place = torch.arange(8)
    c = others * torch.cos(place[:, None] * (2 * place + 1) * math.pi / 16)
    c[0] = first
    return c.to(blocks.dtype)


def with_matrix(make=waves, rounding=torch.round, back=lambda c, whole, table: c.T @ (whole * table) @ c):
    def answer(blocks, table):
        c = make(blocks)
        return back(c, rounding(c @ blocks @ c.T / table), table)
    return answer


right = with_matrix()


def in_place(blocks, table):
    blocks.copy_(right(blocks, table))
    return blocks


def one_sided(left, after):
    def answer(blocks, table):
        c = waves(blocks)
        there = c @ blocks if left else blocks @ c.T
        whole = (there / table).round() * table
        return c.T @ whole if left and after else whole @ c
    return answer


def mean_block(blocks, table):
    return right(blocks, table) + (len(blocks) == 1)


def through_the_library(blocks, table):
    return ch08._round_trip(blocks, table)


def test_the_right_step_passes(capsys):
    checks.there_and_back(right)
    ch08.other_blocks(right)
    assert capsys.readouterr().out.count("ok") == 2


@slips({
    "come back as they were": lambda blocks, table: blocks.clone(),
    "where are the quotients rounded": with_matrix(rounding=lambda q: q),
    "cut the decimals off": with_matrix(rounding=torch.trunc),
    "always round down": with_matrix(rounding=torch.floor),
    "Those are the coefficients": with_matrix(back=lambda c, whole, table: whole * table),
    "stored whole numbers": with_matrix(back=lambda c, whole, table: whole),
    "go back without the table": with_matrix(back=lambda c, whole, table: c.T @ whole @ c),
    "There is no DCT": lambda blocks, table: (blocks / table).round() * table,
    "turn by the transpose": with_matrix(lambda blocks: waves(blocks).T),
    "The first row of C has another factor": with_matrix(lambda blocks: waves(blocks, first=0.5)),
    "lack their factors": with_matrix(lambda blocks: waves(blocks, 1, 1)),
    "lies on its side": lambda blocks, table: right(blocks, table.T),
    "the columns only": one_sided(True, True),
    "the rows only": one_sided(False, False),
    "transposed block": lambda blocks, table: right(blocks, table).transpose(1, 2),
    "the way there once more": with_matrix(back=lambda c, whole, table: c @ (whole * table) @ c.T),
    "around 0 already": lambda blocks, table: right(blocks, table) + 128,
    "cut off at the ends": lambda blocks, table: right(blocks, table).clamp(-128, 127),
    "Print C @ C.T": lambda blocks, table: right(blocks, table).flip(1),
    "in place": in_place,
    "shape of `blocks`": lambda blocks, table: right(blocks, table).flatten(1),
    "make the matrix C in the type": lambda blocks, table: right(blocks, table).double(),
    "NaN": lambda blocks, table: right(blocks, table) / 0,
    "A single block": mean_block,
    "a table of ones": lambda blocks, table: right(blocks, table if table.max() > 1 else table + 40),
    "calls _round_trip, the library's own": through_the_library,
})
def test_there_and_back(words, wrong):
    assert words in hint(checks.there_and_back, wrong)


def test_the_reference_agrees_with_a_real_file():
    """At quality 10, on whole blocks, before and after the bytes."""
    framed = nn.functional.pad(data.load("digits", "test")[:20].images, (2, 2, 2, 2)).mul(255).round()
    blocks = (framed - 128).unflatten(3, (4, 8)).unflatten(2, (4, 8)).transpose(3, 4)
    back = ch08._round_trip(blocks.reshape(-1, 8, 8), jpeg.tables(10)[0]).view_as(blocks).transpose(3, 4)
    away = (back.reshape(framed.shape) + 128).clamp(0, 255) - 255 * jpeg.compress(framed / 255, 10)
    assert away.abs().mean() < 0.3 and (away.abs() <= 1).double().mean() > 0.98


# --- attacks that know the codec, and one that does not --------------------------------

@pytest.fixture(scope="module")
def measured():
    """accuracy, compared, and what fools: by quality and name."""
    x, y, net, images = ch08._measured()
    fools = {key: evaluation.logits(net, jpeg.compress(found, key[0])).argmax(1) != y for key, found in images.items()}
    accuracy = {q: {name: 1 - fools[q, name].float().mean().item() for name in ch08.KNOWN}
                for q in ch08.COARSE_AND_FINE}
    return accuracy, {q: pair(fools, q, "smooth", "unaware") for q in accuracy}, fools


def pair(fools, quality, a, b):
    return evaluation.paired(fools[quality, a], fools[quality, b])


def test_the_right_measurement_passes_and_has_something_to_tell(measured, capsys):
    accuracy, compared, fools = measured
    checks.stand_ins(accuracy, compared)
    assert capsys.readouterr().out.count("ok") == 2
    assert compared[3].low > 0 > compared[50].high  # to know helps at one quality, and this gradient harms at the other
    for quality in accuracy:
        together = 1 - torch.stack([fools[quality, name] for name in ch08.KNOWN]).any(0).float().mean()
        assert together < min(accuracy[quality].values())


def changed(table, quality, **values):
    return {**table, quality: {**table[quality], **values}}


def share(model, quality, name):
    x, y, net, images = ch08._measured()
    return (evaluation.logits(model(net), images[quality, name]).argmax(1) == y).float().mean().item()


smoothly = lambda net: nn.Sequential(jpeg.JPEG(3, rounding="smooth"), net)


@slips({
    "not measured yet": lambda a, c, f: (a, {3: None, 50: None}),
    "`accuracy` is not measured yet": lambda a, c, f: (changed(a, 3, smooth=None), c),
    "keys 3 and 50": lambda a, c, f: ({3: a[3]}, c),
    "needs the keys unaware": lambda a, c, f: ({3: a[3], 50: {"smooth": 0.3}}, c),
    "in percent": lambda a, c, f: (changed(a, 50, unaware=12.5), c),
    "That is the success": lambda a, c, f: (changed(a, 3, unaware=1 - a[3]["unaware"]), c),
    "without an attack": lambda a, c, f: (changed(a, 50, smooth=0.99), c),
    "the net without JPEG": lambda a, c, f: (changed(a, 3, unaware=share(lambda net: net, 3, "unaware")), c),
    "attack and judge at 3": lambda a, c, f: (changed(a, 3, smooth=a[50]["smooth"]), c),
    "behind the smooth layer": lambda a, c, f: (changed(a, 3, smooth=share(smoothly, 3, "smooth")), c),
    "put the layer of this quality": lambda a, c, f: (changed(a, 3, smooth=a[3]["unaware"]), c),
    "`accuracy[50]['smooth']` is not": lambda a, c, f: (changed(a, 50, smooth=0.6), c),
    "as it is": lambda a, c, f: (a, {**c, 3: 0.27}),
    "200, also those that no attack": lambda a, c, f: (
        a, {**c, 3: evaluation.paired(f[3, "smooth"][:100], f[3, "unaware"][:100])}),
    "the wrong way round": lambda a, c, f: (a, {**c, 50: pair(f, 50, "unaware", "smooth")}),
    "the first is the smooth attack": lambda a, c, f: (a, {**c, 3: pair(f, 3, "straight-through", "unaware")}),
    "the second is the unaware one": lambda a, c, f: (a, {**c, 3: pair(f, 3, "smooth", "straight-through")}),
    "does not agree with your accuracies": lambda a, c, f: (a, {**c, 50: pair(f, 50, "smooth", "smooth")}),
    "does not pair the images": lambda a, c, f: (
        a, {**c, 3: evaluation.paired(f[3, "smooth"].flip(0), f[3, "unaware"])}),
})
def test_stand_ins(words, wrong, measured):
    assert words in hint(checks.stand_ins, *wrong(*measured))


# --- the lottery ---------------------------------------------------------------------------

@pytest.fixture(scope="module")
def fifty():
    digits = data.load("digits", "test")[100:150]
    return digits.images, digits.labels


@cache
def walked(qualities=(1, 2, 3, 4, 5), rounding="smooth", eps=0.1):
    """Images made for the mean over these qualities; for the network alone if there is none."""
    digits, net = data.load("digits", "test")[100:150], zoo.pretrained("fully_connected", "digits")
    layers = [jpeg.JPEG(quality, rounding=rounding) for quality in qualities]
    mean = (lambda images: sum(net(layer(images)) for layer in layers) / len(layers)) if layers else net
    return attacks.pgd(mean, digits.images, digits.labels, eps=eps, generator=torch.Generator().manual_seed(0))


def test_the_lottery_falls_to_the_mean_of_its_draws(capsys):
    checks.lottery(walked())
    assert "fool the lottery" in capsys.readouterr().out


@slips({
    "not measured yet": lambda x, y: None,
    "return a tensor": lambda x, y: x.numpy(),
    "has shape": lambda x, y: x[:40],
    "Pixels leave [0, 1]": lambda x, y: x - 0.1,
    "stay in the ball": lambda x, y: walked(eps=0.2),
    "in their order": lambda x, y: walked().flip(0),
    "has the attack moved anything": lambda x, y: x,
    "use all of the budget": lambda x, y: walked(eps=0.06),
    "without any JPEG, do as well": lambda x, y: walked(()),
    "What does your attack know": lambda x, y: walked((1,), "straight-through"),
    "at quality 5 only": lambda x, y: walked((1,)),
    "at quality 1 only": lambda x, y: walked((5,)),
    "You are on the way": lambda x, y: walked((1, 2, 3, 4, 5), "straight-through"),
})
def test_lottery(words, wrong, fifty):
    assert words in hint(checks.lottery, wrong(*fifty))


def test_the_lottery_draws_anew_lets_no_gradient_through_and_leaves_the_random_numbers_of_the_reader(fifty):
    x, y = fifty
    model = checks.Lottery().eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert len({float(model(x[:1]).sum().detach()) for _ in range(20)}) > 2
    with pytest.raises(ValueError, match="cuts its logits off"):
        attacks.pgd(model, x, y, eps=0.1)
    before = torch.get_rng_state()
    assert 1 <= ch08._often_wrong(model, x, y) + 1 <= 3 and torch.equal(torch.get_rng_state(), before)
