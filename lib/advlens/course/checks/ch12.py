"""Checks of chapter 12: three units with a pencil, one update by the rank rule, three beginnings, and settings with
which every unit finds work.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from advlens import data
from advlens.course.checks import hint

# --- the pencil ------------------------------------------------------------------

PENCIL = {
    "p = 2": ([3, 2, 1], {
        "Those are the currents for p = 3.": [3, 4, 1],
        "With p = 2 the factor |W|^0 is 1, and the weights keep their sign: the second unit gets 2 * 2 - 2 * 1.":
            [3, 6, 1],
        "The factor |W|^(p - 2) is |W|^p - 2 in your numbers: p - 2 is the exponent.": [-3, 4, -1],
    }),
    "p = 3": ([3, 4, 1], {
        "Those are the currents for p = 2.": [3, 2, 1],
        "The bars around W are missing: |W| W is negative where W is, W * W is not.": [3, 12, 1],
        "The factor |W|^(p - 2) is |W|^p - 2 in your numbers: p - 2 is the exponent.": [-3, 12, -1],
        "For p = 3 the exponent p - 2 is 1, not 2.": [3, 8, 1],
    }),
    "g": ([-0.5, 1, 0], {
        "That is g for p = 2. With p = 3 the second unit has the largest current.": [1, -0.5, 0],
        "Ranks count from 1, the winner: with k = 2 the runner-up unlearns.": [0, 1, -0.5],
        "Only the unit of rank k unlearns: the others rest.": [-0.5, 1, -0.5],
        "The unit of rank k unlearns: its g is negative.": [0.5, 1, 0],
        "The unit of rank k unlearns with Delta = 1/2, and not with 1.": [-1, 1, 0],
        "Those are ranks. g is 1 for rank 1, -Delta for rank k, and 0 for the others.": [2, 1, 3],
    }),
    "new": ([[0.8, 0.6], [2.2, -2.5], [0, 1]], {
        "Those are the changes: add them to the rows.": [[-0.2, -0.4], [0.2, -0.5], [0, 0]],
        "The division by m = 2.5 is missing, or your m is 1: the largest entry counts without its sign.":
            [[0.5, 0], [2.5, -3.25], [0, 1]],
        "The largest absolute entry is one number for all rows: 2.5.": [[0.75, 0.5], [2.2, -2.5], [0, 1]],
        "The factor of the step, 1/2, is missing.": [[0.6, 0.2], [2.4, -3], [0, 1]],
        "The runner-up unlearns: its bracket is multiplied by -1/2.": [[0.8, 0.6], [1.8, -1.5], [0, 1]],
        "Ranks count from 1, the winner: with k = 2 the second unit unlearns, and the third one rests.":
            [[0.75, 0.5], [2, -2], [-0.25, 1]],
        "The bracket is x - I W: the row is multiplied by its current.": [[4 / 3, 1], [2, -2.5], [0, 1]],
        "Here p = 2 again: the first unit wins.": [[37 / 36, 19 / 18], [5 / 3, -1.5], [0, 1]],
    }),
}


def three_units(function) -> None:
    """Check `function()`: the currents of three units for p = 2 and 3, who learns, and one update of their rows."""
    got = hint.by_hand(function, *PENCIL)
    for key, (right, mistakes) in PENCIL.items():
        slips = {f"{key!r}: {text}": wrong for text, wrong in mistakes.items()}
        hint.compare(_numbers(got[key], key, torch.tensor(right).shape), right, slips,
                     f"{key!r} is not right yet: write the formula down, put the numbers in, and go unit by unit.",
                     tolerance=6e-3)
    print("ok  who wins, who unlearns, and what becomes of three rows")


def _numbers(value, key: str, shape) -> Tensor:
    form = "three numbers, one for each unit" if len(shape) == 1 else "three rows of two numbers, [[., .], [., .], ...]"
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise hint.CheckFailed(f"{key!r} takes {form}.") from None
    hint.require(numbers.shape == shape, f"{key!r} takes {form}.")
    return numbers


# --- one update --------------------------------------------------------------------------

def rank_rule(function) -> None:
    """Check `function(w, x, p, k, delta, step)`: new weights after one mini-batch by the rank rule."""
    _one_update(function, 5, 8, 6, 3, 3, 0)
    _one_update(function, 4, 7, 5, 2, 2, 1)
    print("ok  one mini-batch, with p = 3 and p = 2; the weights and images of the caller stay as they were")
    _one_update(function, 6, 1, 4, 3, 4, 2)
    _one_update(function, 4, 6, 5, 3, 4, 3)
    print("ok  one image alone, and k equal to the number of units")
    w, x = torch.rand(3, 5, generator=torch.Generator().manual_seed(4)), torch.tensor([[1.0, 0.5, 0.0, 1.0, 0.2]])
    for n in range(300):
        w = _call(function, w, x, 3, 2, 0.0, 0.1 * (1 - n / 300))
    length = w.abs().pow(3).sum(1)
    hint.require((length - 1).abs().min() < 0.02,
                 "After 300 updates with one image the winner should lie on the sphere: the sum of |W|^3 is "
                 f"{length[(length - 1).abs().argmin()]:.2f}. One update was right. Does your function remember "
                 "something from call to call?")
    print("ok  after many updates the winner lies on the sphere")


def rank_rule_elsewhere(function) -> None:
    """The same with other sizes and powers, and on digits."""
    _one_update(function, 7, 30, 12, 4.5, 5, 5)
    _one_update(function, 3, 9, 4, 2, 3, 6)
    x = data.load("digits", "test")[:40].images.flatten(1)
    w = torch.randn(9, 784, generator=torch.Generator().manual_seed(7))
    hint.compare(_call(function, w, x, 3, 7, 0.2, 0.05), _update(w, x, 3, 7, 0.2, 0.05), {},
                 "With 40 digits and 9 units the new weights are not those of the rule.", tolerance=1e-4)


def _one_update(function, units: int, examples: int, inputs: int, p: float, k: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    w, x = torch.randn(units, inputs, generator=g), torch.rand(examples, inputs, generator=g)
    hint.compare(_call(function, w, x, p, k, 0.4, 0.3), _update(w, x, p, k, 0.4, 0.3), _slips(w, x, p, k, 0.4, 0.3),
                 f"With w {tuple(w.shape)}, x {tuple(x.shape)}, p = {p} and k = {k} the new weights are not those of "
                 "the rule. Write one image with a loop first: its currents, its two units, their brackets.",
                 tolerance=1e-4)


def _call(function, w: Tensor, x: Tensor, *settings) -> Tensor:
    """function(w, x, p, k, delta, step), after a look at its shape and its traces."""
    mine, given = w.clone(), x.clone()
    got = hint.call(function, mine, given, *settings)
    hint.require(torch.equal(mine, w), "You changed the weights of your caller in place (+= does that): return new "
                                       "ones, w + ...")
    hint.require(torch.equal(given, x), "You changed the images of your caller in place: work on a copy.")
    hint.require(isinstance(got, Tensor), f"The result is a {type(got).__name__}: return a tensor like w.")
    hint.require(got.shape == w.shape, f"The result has shape {tuple(got.shape)}, w has {tuple(w.shape)}: return one "
                                       "row of weights for each unit.")
    hint.require(torch.isfinite(got).all(), "The new weights hold NaN or infinity: a negative weight to a broken power "
                                            "is no number. Are the bars around W missing?")
    return got.detach()


def _currents(w: Tensor, x: Tensor, p: float) -> Tensor:
    return x @ (w * w.abs() ** (p - 2)).T


def _g(currents: Tensor, k: int, delta: float) -> Tensor:
    """1 for the winner of each image, -delta for the unit of rank k, (N, K)."""
    order = currents.argsort(1, descending=True)
    g = torch.zeros_like(currents).scatter_(1, order[:, :1], 1.0)
    return g.scatter_(1, order[:, k - 1:k], -delta) if k <= currents.shape[1] else g


def _change(w: Tensor, x: Tensor, g: Tensor, currents: Tensor) -> Tensor:
    return g.T @ x - (g * currents).sum(0)[:, None] * w


def _update(w: Tensor, x: Tensor, p: float, k: int, delta: float, step: float) -> Tensor:
    currents = _currents(w, x, p)
    change = _change(w, x, _g(currents, k, delta), currents)
    return w + step * change / change.abs().max()


def _slips(w: Tensor, x: Tensor, p: float, k: int, delta: float, step: float) -> dict:
    """What is not quite this rule: {hint: the weights it gives}."""
    currents = _currents(w, x, p)
    g = _g(currents, k, delta)
    change = _change(w, x, g, currents)
    scaled = lambda change: w + step * change / change.abs().max()
    by = lambda g: scaled(_change(w, x, g, currents))
    ranked = lambda other: scaled(_change(w, x, _g(other, k, delta), other))
    order = currents.argsort(1, descending=True)
    up_to_k = _g(currents, k, delta).scatter_(1, order[:, 1:k], -delta)
    online = w
    for one in x[:, None]:
        online = _update(online, one, p, k, delta, step)
    return {
        "Those are the changes: return the new weights, w plus the changes.": scaled(change) - w,
        "Ranks count from 1, the winner. You punish the unit after the k-th: in Python the k-th has the index k - 1.":
            by(_g(currents, k + 1, delta)),
        "The bars are missing in the currents: |W|^(p - 2) W keeps the sign of W.": ranked(x @ (w ** (p - 1)).T),
        "The factor in the currents is |W|^p - 2 in your code: p - 2 is the exponent.":
            ranked(x @ (w * (w.abs() ** p - 2)).T),
        "Your currents are W x, whatever p is: the factor |W|^(p - 2) is missing.": ranked(x @ w.T),
        "The exponent in the currents is p - 2, and then comes W itself: you have one power too many.":
            ranked(x @ (w * w.abs() ** (p - 1)).T),
        "Wrong sign of Delta: the unit of rank k unlearns.": by(g.where(g >= 0, -g)),
        "The unit of rank k unlearns with Delta, and not with 1.": by(g.where(g >= 0, -torch.ones_like(g))),
        "Nobody unlearns: the unit of rank k has g = -Delta.": by(g.clamp_min(0)),
        "All units from rank 2 to rank k unlearn in your code: only the k-th does.": by(up_to_k),
        "You rank upwards: the largest current has rank 1.": by(_g(-currents, k, delta)),
        "The division by the largest absolute entry is missing.": w + step * change,
        "You average over the batch and do not divide by the largest absolute entry.": w + step * change / len(x),
        "You divide each row by its own largest entry: it is one number for the whole change.":
            w + step * change / change.abs().amax(1, keepdim=True).clamp_min(1e-12),
        "The largest entry counts without its sign: abs first, then max.": w + step * change / change.max(),
        "You divide by the length of the change: it is the largest absolute entry.": w + step * change / change.norm(),
        "The factor of the step is missing.": w + change / change.abs().max(),
        "Wrong sign: the change is added.": w - step * change / change.abs().max(),
        "The bracket is x - I W: the row is multiplied by the current.":
            scaled(g.T @ x - g.sum(0)[:, None] * w),
        "The bracket lacks the part that is taken away, I W: then nothing holds the length.": scaled(g.T @ x),
        "The current in the bracket is W x in your code. It is the same current that decides the ranks.":
            scaled(_change(w, x, g, x @ w.T)),
        "You change the weights after each image: all images of a mini-batch meet the weights that came in.": online,
    }


# --- three beginnings -----------------------------------------------------------------------

STARTS, SEEDS, UNITS, EPOCHS, BATCH = ("long", "short", "images"), range(5), 16, 20, 100
RULE = {"p": 3, "k": 2, "delta": 0.4, "step": 0.1}


def beginnings(winners: dict, sphere: dict) -> None:
    """Check the measurement: how many of 16 units win an image, and how many lie on the sphere, at the end.

    Both: {"long": five numbers, "short": five, "images": five}, for the seeds 0 to 4.
    """
    for what, given in (("winners", winners), ("sphere", sphere)):
        hint.require(isinstance(given, dict) and set(given) == set(STARTS),
                     f"`{what}` needs the keys {', '.join(STARTS)}.")
        for name in STARTS:
            hint.require(isinstance(given[name], (list, tuple, Tensor)) and len(given[name]) == len(SEEDS),
                         f"`{what}[{name!r}]` holds five numbers, one for each of the seeds 0 to 4.")
            hint.require(all(v is not None for v in given[name]),
                         f"`{what}[{name!r}]` is not measured yet: fill it in, run that cell, then this one.")
    x = _digits()
    for name in STARTS:
        ends = [_ends(name, seed) for seed in SEEDS]
        first = [_start(name, x, seed, RULE["p"])[0] for seed in SEEDS]
        shares = [_wins(w, x, RULE["p"]) for w in ends]
        _counts(winners[name], f"winners[{name!r}]", [int((s > 0).sum()) for s in shares], {
            "that is the number of images that the busiest unit wins. Count the units that win at least one.":
                [int(s.max()) for s in shares],
            "those units win nothing. Count the ones that win.": [int((s == 0).sum()) for s in shares],
            "that is a share. Count the units.": [(s > 0).double().mean().item() for s in shares],
            "those are the numbers at the start. Measure the weights that `train` returns.":
                [int((_wins(w, x, RULE["p"]) > 0).sum()) for w in first]})
    print("ok  how many units win")
    for name in STARTS:
        ends = [_ends(name, seed) for seed in SEEDS]
        _counts(sphere[name], f"sphere[{name!r}]", [_round(w, RULE["p"]) for w in ends], {
            "that is with p = 2. Here the length is the cube root of the sum of |W|^3.": [_round(w, 2) for w in ends],
            "the bars around W are missing.": [int(((w ** 3).sum(1) - 1).abs().le(0.06).sum()) for w in ends],
            "those are the numbers at the start. Measure the weights that `train` returns.":
                [_round(_start(name, _digits(), seed, RULE["p"])[0], RULE["p"]) for seed in SEEDS]})
    print("ok  how many rows lie on the sphere")


def _counts(got, name: str, right: list, slips: dict) -> None:
    """One unit more or less passes where many win: a unit may win its only image by a hair."""
    numbers = [float(v) for v in got]
    room = [1 if 1 < r < UNITS else 0 for r in right]
    if all(v == int(v) and abs(v - r) <= free for v, r, free in zip(numbers, right, room)):
        return
    for text, wrong in slips.items():
        hint.require(not hint.close(numbers, wrong, 1e-3), f"`{name}`: {text}")
    raise hint.CheckFailed(f"`{name}` is not the number of units at the end of training, for the seeds 0 to 4. Does "
                           "every seed start anew, with the weights and the generator of `start`?")


@cache
def _digits() -> Tensor:
    return data.load("digits").images.flatten(1)


@cache
def _ends(name: str, seed: int) -> Tensor:
    w, g = _start(name, _digits(), seed, RULE["p"])
    return _train(_digits(), w, g, **RULE)


def _start(name: str, x: Tensor, seed: int, p: float) -> tuple[Tensor, torch.Generator]:
    """The first rows (16, D): N(0, 1), the same on the sphere, or images on the sphere; and the generator."""
    g = torch.Generator().manual_seed(seed)
    w = x[torch.randperm(len(x), generator=g)[:UNITS]] if name == "images" else torch.randn(UNITS, x.shape[1],
                                                                                           generator=g)
    return (w if name == "long" else w / _lengths(w, p)[:, None]), g


def _train(x: Tensor, w: Tensor, g: torch.Generator, p: float, k: int, delta: float, step: float) -> Tensor:
    batches = [rows for _ in range(EPOCHS) for rows in torch.randperm(len(x), generator=g).split(BATCH)]
    for n, rows in enumerate(batches):
        w = _update(w, x[rows], p, k, delta, step * (1 - n / len(batches)))
    return w


def _lengths(w: Tensor, p: float) -> Tensor:
    return w.abs().pow(p).sum(1).pow(1 / p)


def _round(w: Tensor, p: float) -> int:
    """How many rows lie on the sphere, within 2 %."""
    return int(((_lengths(w, p) - 1).abs() < 0.02).sum())


def _wins(w: Tensor, x: Tensor, p: float) -> Tensor:
    """How many images each unit wins."""
    return torch.bincount(_currents(w, x, p).argmax(1), minlength=len(w))


# --- every unit at work -------------------------------------------------------------------------

SEALED, LOT, LEAST, ALIKE = (11, 12, 13), 1000, 5, 0.92


def at_work(settings) -> None:
    """Check settings of the rank rule with which every one of 16 units finds work, on sealed images and seeds."""
    hint.answered(settings=settings)
    hint.require(isinstance(settings, dict) and set(settings) == {"start", *RULE},
                 f"`settings` needs the keys start, {', '.join(RULE)}.")
    hint.answered(settings=settings)
    hint.require(settings["start"] in STARTS, f"`start` is one of {', '.join(STARTS)}.")
    p, k, delta, step = (settings[key] for key in RULE)
    hint.require(all(isinstance(v, (int, float)) and math.isfinite(v) for v in (p, k, delta, step)),
                 "p, k, delta and step are numbers.")
    hint.require(2 <= p <= 10, f"p = {p}: the rule needs at least 2 (and more than 10 is not tried here).")
    hint.require(isinstance(k, int) and 2 <= k <= UNITS, f"k = {k}: a rank from 2 to {UNITS}.")
    hint.require(delta >= 0 and step >= 0, "delta and step are not negative.")
    all_idle, all_few, all_apart, all_alike = zip(*(_work(settings, seed) for seed in SEALED))
    idle, few, apart, alike = max(all_idle), min(all_few), max(all_apart), min(all_alike)
    hint.require(idle < UNITS - 1, "One unit wins every image. Which start, and how long a step, lets one row "
                                   "become so good that no other ever learns?")
    hint.require(not idle, f"{idle} of {UNITS} units win no image of a lot. From which start is each row near some "
                           "image at once, and how long may a step be, so that it stays so?")
    hint.require(few >= LEAST, f"All units win, but one has only {few} of {LOT} images. Is it driven away from them "
                               "(which setting does that?), or has another row come by in long steps?")
    hint.require(apart < 0.02, f"All units have work, but a row is {100 * apart:.0f} % away from the sphere: it "
                               "learns too little.")
    hint.require(alike >= ALIKE, f"All units have work, but the mean cosine of an image and its winner is "
                                 f"{alike:.3f}: the rows must learn, and not only stay what they were.")
    print(f"ok  on three sealed lots every unit wins at least {few} of {LOT} images, all rows are within "
          f"{100 * apart:.1f} % of the sphere, and the mean cosine is at least {alike:.3f}")


def _work(settings: dict, seed: int) -> tuple[int, int, float, float]:
    """Idle units, the least images a unit wins, the largest distance from the sphere, the mean cosine."""
    x, rule = _digits(), {key: settings[key] for key in RULE}
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(100 + seed))[:LOT]]
    w = _train(x, *_start(settings["start"], x, seed, rule["p"]), **rule)
    if not torch.isfinite(w).all():
        raise hint.CheckFailed("The weights grow to infinity: a smaller step?")
    wins, own = _wins(w, x, rule["p"]), _currents(w, x, rule["p"]).argmax(1)
    alike = F.cosine_similarity(x, w[own]).mean().item()
    return int((wins == 0).sum()), int(wins.min()), (_lengths(w, rule["p"]) - 1).abs().max().item(), alike
