"""Checks of chapter 08: four coefficients with a pencil, JPEG's lossy step in code, attacks that know the codec and
one that does not, and a lottery of qualities.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from advlens import attacks, data, evaluation, jpeg, zoo
from advlens.course.checks import hint

# --- the pencil ----------------------------------------------------------------------

# Coefficients 100, -40, 48, 16 at entries 16, 24, 40, 51: the first row of the table at quality 50 holds these.
PENCIL = {
    "stored": ((6, -2, 1, 0), {
        "Those are the values that come back: stored are the whole numbers before the product with the entry.":
            (96, -48, 40, 0),
        "These are quotients that are not rounded: a file holds whole numbers.": (6.25, -5 / 3, 1.2, 16 / 51),
        "-40 / 24 is about -1.67, and the nearest whole number is -2: round, do not cut.": (6, -1, 1, 0),
        "You round away from 0: 1.2 is nearer to 1.": (7, -2, 2, 1),
        "You always round up: round to the nearest whole number.": (7, -1, 2, 1),
        "16 / 51 is about 0.31: nearer to 0 than to 1.": (6, -2, 1, 1),
        "The minus is lost: a coefficient below 0 is stored as a number below 0.": (6, 2, 1, 0),
    }),
    "back": ((96, -48, 40, 0), {
        "Those are the stored numbers: multiply each by its entry.": (6, -2, 1, 0),
        "That is what went in. What comes back is a multiple of the entry.": (100, -40, 48, 16),
        "-40 becomes -2 times 24: -1.67 is nearer to -2 than to -1.": (96, -24, 40, 0),
        "You round up the last one: 16 / 51 is about 0.31, so 0 is stored, and 0 comes back.": (96, -48, 40, 51),
    }),
    "length": (20.0, {
        "That is the sum of the absolute errors. The Euclidean length is the root of the sum of squares.": 36.0,
        "Take the root of the sum of squares.": 400.0,
        "That is the root of the mean of the four: take the sum.": 10.0,
        "You divided by 8 or by 64: this DCT keeps lengths, so the block changes by as much as its coefficients.":
            2.5,
    }),
    "push": (9.5, {
        "The coefficient need not reach its entry, 51: it is rounded, so half-way is enough.": 35.0,
        "That is where the coefficient must be: it is at 16 already.": 25.5,
        "That is half of the gap. From 16 to half of 51: how far is it?": 17.5,
    }),
    "one way": (64.0, {
        "That is the change of one pixel. The first coefficient is the sum of all 64, over 8.": 8.0,
        "That is the sum: divide it by 8.": 512.0,
        "That is the mean of the change, over 8. The first coefficient is the sum over 8.": 1.0,
    }),
    "chequered": (0.0, {
        "In a chequered block half of the pixels rise and half fall: add them up.": 64.0,
        "The signs cancel: there are as many +8 as -8.": 8.0,
    }),
    "blocks": ((9, 16), {
        "28 / 8 is 3.5: only 3 whole blocks fit in a row. Those that are coded: the half ones as well.": (16, 16),
        "That is one row: there are as many rows as columns.": (3, 4),
        "You divided the 784 pixels by 64. But blocks lie in rows: 3 whole ones fit in each direction.": (12.25, 12.25),
        "A block that sticks out is filled up and coded too: 4 in each direction.": (9, 9),
        "First the whole ones, then all that are coded.": (16, 9),
        "12 blocks have as many pixels as the image, but they do not fit: 3 whole ones in each direction.": (12, 13),
    }),
}


def coefficients(function) -> None:
    """Check `function()`: what JPEG does to four coefficients, what an attack must add, and the blocks of a digit."""
    got = hint.by_hand(function, *PENCIL)
    for key, (right, mistakes) in PENCIL.items():
        many = len(right) if isinstance(right, tuple) else 0
        if many:
            hint.require(isinstance(got[key], (list, tuple)) and len(got[key]) == many,
                         f"{key!r} holds {many} numbers.")
        else:
            hint.require(isinstance(got[key], (int, float)), f"{key!r} is one number.")
        slips = {f"{key!r}: {text}": wrong for text, wrong in mistakes.items()}
        hint.compare(got[key], right, slips, f"{key!r}: that is another number. Divide by the entry, round, multiply.",
                     tolerance=0.01)
    print("ok  what is stored, what comes back, and what an attack must add")


# --- JPEG's lossy step ----------------------------------------------------------------------

def there_and_back(function) -> None:
    """Check `function(blocks, table)`: DCT, division by the table, rounding, and all the way back."""
    blocks = _blocks(24, seed=0)
    got = _answer(function, blocks, _table(0))
    _compare(got, blocks, _table(0))
    print("ok  there and back, with the loss of the table")
    fine = torch.ones(8, 8, dtype=torch.int64)
    got = _answer(function, blocks, fine)
    hint.require(0 < (got - blocks).abs().max() < 2, "With a table of ones a pixel may change by a level or two: "
                                                     "coefficients are rounded to whole numbers, and no further.")
    one = _answer(function, blocks[:1], _table(0))
    hint.require(hint.close(one, _round_trip(blocks[:1], _table(0)), 1e-2),
                 "A single block comes back otherwise than the same block among others: keep the blocks apart.")
    print("ok  a table of ones, and a single block")


def other_blocks(function) -> None:
    """The same with other tables, and in double precision."""
    for seed in (1, 2):
        blocks = _blocks(7, seed).double()
        _compare(_answer(function, blocks, _table(seed)), blocks, _table(seed))


def _answer(function, blocks: Tensor, table: Tensor) -> Tensor:
    before, entries = blocks.clone(), table.clone()
    got = hint.call(function, blocks, table)
    hint.require(torch.equal(blocks, before) and torch.equal(table, entries),
                 "You changed the blocks or the table of your caller in place: work on a copy.")
    hint.require(isinstance(got, Tensor) and got.shape == blocks.shape,
                 f"Return a tensor of the shape of `blocks`, {tuple(blocks.shape)}.")
    hint.require(got.dtype == blocks.dtype, f"The result is {got.dtype}, the blocks are {blocks.dtype}: make the "
                                            "matrix C in the type of the blocks.")
    hint.require(torch.isfinite(got).all(), "The result holds NaN or infinity.")
    return got


def _compare(got: Tensor, blocks: Tensor, table: Tensor) -> None:
    slip = lambda **options: _round_trip(blocks, table, **options)
    c = _dct(blocks.dtype)
    uneven = c.clone()
    uneven[0] = 0.5
    cut = lambda q: q.trunc()
    hint.compare(got, slip(), {
        "The blocks come back as they were: where are the quotients rounded?": blocks,
        "You cut the decimals off: round to the nearest whole number.": slip(rounding=cut),
        "You always round down: round to the nearest whole number.": slip(rounding=torch.floor),
        "Those are the coefficients: go back with the two products C' Y C.": slip(home=lambda y: y),
        "Those are the stored whole numbers: multiply them by the table, and go back.":
            slip(home=lambda y: y / table),
        "The whole numbers go back without the table: multiply them by it first.": slip(times=1),
        "There is no DCT: the table divides the coefficients, not the pixels.": slip(matrix=torch.eye(8).to(c)),
        "The pixels turn by the transpose: C B C' there, and C' Y C back.": slip(matrix=c.T),
        "The first row of C has another factor: the root of 1/8, where the others have 1/2.": slip(matrix=uneven),
        "The rows of C lack their factors, the root of 1/8 and 1/2.": slip(matrix=_dct(blocks.dtype, scaled=False)),
        "The table lies on its side: its rows are the vertical frequencies, as in C B C'.":
            _round_trip(blocks, table.T),
        "You transform the columns only: one product on each side, C B C'.":
            c.T @ (table * (c @ blocks / table).round()),
        "You transform the rows only: one product on each side, C B C'.":
            (table * (blocks @ c.T / table).round()) @ c,
        "The way back ends in the transposed block: C' Y C.": slip().transpose(1, 2),
        "The way back is the way there once more: take the transpose, C' Y C.": slip(home=lambda y: c @ y @ c.T),
        "128 is added or taken away: the blocks are around 0 already, and shall come back so.": slip() + 128,
        "Something is cut off at the ends: bytes come later, here nothing is clamped.": slip().clamp(-128, 127),
    }, "The result is not C' Y C with Y = T round(C B C' / T). Print C @ C.T: it is the unit matrix where C is right.",
       tolerance=0.01)


def _blocks(n: int, seed: int) -> Tensor:
    """Blocks (n, 8, 8) in levels around 0, dark, bright and of strong contrast, so that some leave the bytes."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 8, 8, generator=generator) * 255 - 128).sign() * 110 + 18 * torch.randn(
        n, 8, 8, generator=generator).clamp(-1, 1)


def _table(seed: int) -> Tensor:
    """A table that grows to the right and downwards, differently."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.arange(8)
    return 8 + 9 * place[:, None] + 2 * place + torch.randint(0, 12, (8, 8), generator=generator)


def _dct(dtype: torch.dtype, scaled: bool = True) -> Tensor:
    """The matrix C: row = frequency, column = pixel."""
    place = torch.arange(8, dtype=torch.float64)
    c = torch.cos(place[:, None] * (2 * place + 1) * math.pi / 16)
    if scaled:
        c *= torch.where(place == 0, 0.125 ** 0.5, 0.5)[:, None]
    return c.to(dtype)


def _round_trip(blocks: Tensor, table: Tensor, *, matrix: Tensor | None = None, rounding=torch.round, times=None,
                home=None) -> Tensor:
    """The answer of the exercise, and what becomes of it with one slip."""
    c = _dct(blocks.dtype) if matrix is None else matrix
    y = rounding(c @ blocks @ c.T / table) * (table if times is None else times)
    return c.T @ y @ c if home is None else home(y)


# --- attacks that know the codec, and one that does not ------------------------------------------

KNOWN = ("unaware", "straight-through", "smooth")
COARSE_AND_FINE = (3, 50)


def stand_ins(accuracy: dict, compared: dict) -> None:
    """Check the measurement: the fully connected net behind JPEG of quality 3 and 50, three attacks on 200 digits.

    accuracy: by quality and attack, judged behind the real codec.  compared: by quality,
    evaluation.paired(fooled by smooth, fooled by unaware).
    """
    hint.answered(compared=compared)
    for quality in COARSE_AND_FINE:
        hint.require(quality in accuracy and quality in compared,
                     "`accuracy` and `compared` are dicts with the keys 3 and 50, as the cell has them.")
        hint.answered(accuracy=accuracy[quality])
        hint.require(set(accuracy[quality]) == set(KNOWN), f"`accuracy[{quality}]` needs the keys {', '.join(KNOWN)}.")
    for quality in COARSE_AND_FINE:
        _accuracies(accuracy[quality], quality)
    print("ok  three attacks at two qualities, judged behind the real codec")
    for quality in COARSE_AND_FINE:
        _pairs(compared[quality], accuracy[quality], quality)
    print("ok  the same digits, pair by pair")


def _accuracies(given: dict, quality: int) -> None:
    got = {name: float(value) for name, value in given.items()}
    hint.require(max(got.values()) <= 1, "A number is in percent: give shares between 0 and 1.")
    for name in KNOWN:
        right, slips = _shares(quality, name)
        named = {f"{name!r} at quality {quality}: {text}": wrong for text, wrong in slips.items()}
        hint.compare(got[name], right, named,
                     f"`accuracy[{quality}][{name!r}]` is not the share of the first 200 digits that stands this "
                     "attack with eps = 0.1 and the seed of the task.", tolerance=0.02)


@cache
def _shares(quality: int, name: str) -> tuple[float, dict]:
    """The right share, and {hint: wrong share}."""
    x, y, net, images = _measured()
    share = lambda model, found: (evaluation.logits(model, found).argmax(1) == y).double().mean().item()
    behind = lambda found, at=quality: share(net, jpeg.compress(found, at))
    found, other = images[quality, name], sum(COARSE_AND_FINE) - quality
    right = behind(found)
    slips = {"That is the accuracy without an attack: predict the attacked images.": behind(x),
             "That is the success of the attack: count the images that are still classified right.": 1 - right,
             "Those are the answers of the net without JPEG: send the attacked images through jpeg.compress first.":
                 share(net, found),
             f"That is behind quality {other}, or made for it: attack and judge at {quality}.":
                 behind(images[other, name], other),
             "You judge behind the smooth layer, which is no JPEG: the judge is the real codec, jpeg.compress.":
                 share(nn.Sequential(jpeg.JPEG(quality, rounding="smooth"), net), found)}
    if name != "unaware":
        slips["That is the number of the unaware attack: put the layer of this quality before the network that you "
              "attack."] = behind(images[quality, "unaware"])
    return right, slips


def _pairs(given, left: dict, quality: int) -> None:
    """Against the accuracies, which are right: the difference of the two counts follows from them."""
    hint.require(isinstance(given, tuple) and len(given) == 7,
                 f"`compared[{quality}]` is what evaluation.paired returns, as it is.")
    n, only_a, only_b = given[:3]
    hint.require(n == 200, f"{n} digits are compared: take all 200, also those that no attack fools.")
    more = lambda a, b: n * (float(left[b]) - float(left[a]))
    hint.compare(only_a - only_b, more("smooth", "unaware"), {
        f"`compared[{quality}]` is the wrong way round: first smooth, then unaware; and True is what fools, not what "
        "stays right.": more("unaware", "smooth"),
        f"`compared[{quality}]` compares straight-through with unaware: the first is the smooth attack.":
            more("straight-through", "unaware"),
        f"`compared[{quality}]` compares the two attacks that know the codec: the second is the unaware one.":
            more("smooth", "straight-through"),
    }, f"`compared[{quality}]` does not agree with your accuracies: True where the smooth, and where the unaware "
       "attack fools the judge.", tolerance=0.5)
    x, y, net, images = _measured()
    fools = lambda name: evaluation.logits(net, jpeg.compress(images[quality, name], quality)).argmax(1) != y
    expected = evaluation.paired(fools("smooth"), fools("unaware"))[1]
    hint.require(abs(only_a - expected) <= 6,
                 f"`compared[{quality}]` does not pair the images of one digit: both lists in the order of the digits.")


@cache
def _measured() -> tuple:
    """200 digits, the net, and the images of each attack by (quality, name)."""
    digits = data.load("digits", "test")[:200]
    x, y, net = digits.images, digits.labels, zoo.pretrained("fully_connected", "digits")
    walk = lambda model: attacks.pgd(model, x, y, eps=0.1, generator=torch.Generator().manual_seed(0))
    unaware, images = walk(net), {}
    for quality in COARSE_AND_FINE:
        images[quality, "unaware"] = unaware
        for rounding in jpeg.ROUNDINGS:
            images[quality, rounding] = walk(nn.Sequential(jpeg.JPEG(quality, rounding=rounding), net))
    return x, y, net, images


# --- a lottery of qualities ---------------------------------------------------------------------

QUALITIES, LOTTERY_EPS, DRAWS, OFTEN, LOTTERY_GOAL = (1, 2, 3, 4, 5), 0.1, 20, 18, 33


class Lottery(nn.Module):
    """A defence that draws: in each pass every image goes through the real codec, at a quality of its own from 1 to 5.

    `net` is the network behind the codec.  No gradient comes back.
    """

    def __init__(self):
        super().__init__()
        self.net = zoo.pretrained("fully_connected", "digits")

    def forward(self, x: Tensor) -> Tensor:
        drawn = torch.randint(min(QUALITIES), max(QUALITIES) + 1, (len(x),))
        seen = x.detach().clone()
        for quality in drawn.unique().tolist():
            seen[drawn == quality] = jpeg.compress(x[drawn == quality], quality)
        return self.net(seen)


def lottery(images) -> None:
    """Check fifty images: inside the ball around the test digits 100 to 149, and at least 33 of them fool `Lottery` in
    18 of 20 fresh draws.
    """
    images, x, y = hint.fifty_digits(images, LOTTERY_EPS)
    model = Lottery().eval()
    broken = _often_wrong(model, images, y)
    if broken < LOTTERY_GOAL:
        raise hint.CheckFailed(f"{broken} of 50 images are wrong in {OFTEN} of {DRAWS} fresh draws, and {LOTTERY_GOAL} "
                               f"are asked for. {_what_is_missing(model, images, x, y, broken)}")
    print(f"ok  {broken} of 50 images inside the ball fool the lottery, whatever it draws in {OFTEN} of {DRAWS} passes")


def _what_is_missing(model: Lottery, images: Tensor, x: Tensor, y: Tensor, broken: int) -> str:
    clean, without_jpeg = _for_comparison()
    if broken <= clean + 1:
        return "The clean digits do as well: has the attack moved anything?"
    far = (images - x).abs().max().item()
    if far < 0.9 * LOTTERY_EPS:
        return f"The largest change of a pixel is {far:.3f}: use all of the budget."
    at = {quality: int((evaluation.logits(model.net, jpeg.compress(images, quality)).argmax(1) != y).sum())
          for quality in QUALITIES}
    easy, hard = max(at, key=at.get), min(at, key=at.get)
    if at[easy] - at[hard] >= 10:
        return (f"At quality {easy} they fool {at[easy]}, at quality {hard} only {at[hard]}: they are made for a few "
                "of the draws. Walk along the gradient of a mean over draws (EOT), and let the mean be of many.")
    if broken <= without_jpeg + 1:
        return ("Images made on the network alone, without any JPEG, do as well. What does your attack know of the "
                "codec?")
    return ("You are on the way. Two things can be better: the stand-in (which of the two was the better one at "
            "quality 3, in exercise 3?), and the number of draws in the mean. And let the attack use all of its "
            "budget.")


def _often_wrong(model: Lottery, images: Tensor, y: Tensor) -> int:
    """How many are wrong in most of the draws.  The draws are the check's own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        wrong = sum((evaluation.logits(model, images).argmax(1) != y).int() for _ in range(DRAWS))
    return int((wrong >= OFTEN).sum())


@cache
def _for_comparison() -> tuple[int, int]:
    """How many of the clean digits, and of images that know nothing of JPEG, are wrong in most of the draws."""
    digits, model = data.load("digits", "test")[100:150], Lottery().eval()
    x, y = digits.images, digits.labels
    unaware = attacks.pgd(model.net, x, y, eps=LOTTERY_EPS, generator=torch.Generator().manual_seed(0))
    return _often_wrong(model, x, y), _often_wrong(model, unaware, y)
