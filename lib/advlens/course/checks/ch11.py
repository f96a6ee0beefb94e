"""Checks of chapter 11: four rules with a pencil, units that share the work, three steps of Oja's rule, and a neuron
that is taught a face.
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

E1, E2 = math.exp(-1), math.exp(-2)
PENCIL = {
    "Hebb": ([[1.5, 0.5], [4.5, 0.5]], {
        "The second answer y belongs to the weights after the first step: y = 3, not 2.": [[1.5, 0.5], [3.5, 0.5]],
        "The factor eta = 1/2 is missing.": [[2, 1], [10, 1]],
        "Those are the changes: add them to the weights before.": [[0.5, 0.5], [3, 0]],
        "That is Oja's rule. Hebb's has no term that takes something away.": [[1, 0.5], [1, -0.5]],
    }),
    "Oja": ([[1, 0.5], [1, -0.5]], {
        "In the second step w is already (1, 0.5), in the bracket as well.": [[1, 0.5], [1, 0.5]],
        "The bracket takes y w away, and not w alone: there is a y inside and a y in front.": [[1, 0.5], [2, 0]],
        "The y in front of the bracket is missing. (In the first step it is 1, so nothing shows.)": [[1, 0.5], [1, 0]],
        "Wrong sign inside the bracket: y w is taken away.": [[2, 0.5], [22, 4.5]],
        "You divide by the length after each step. Oja's rule asks for no division: follow the formula.":
            [[0.9487, 0.3162], [0.9939, 0.1104]],
        "Those are the changes: add them to the weights before.": [[0, 0.5], [0, -1]],
        "The factor eta = 1/2 is missing.": [[1, 1], [1, -3]],
        "That is Hebb's rule: take y w away inside the bracket.": [[1.5, 0.5], [4.5, 0.5]],
    }),
    "rest": ([0.6, 0.8], {
        "There y = 25: the bracket x - y w is far from 0. The direction is right, the length is not.": [3, 4],
        "The bracket is x - y w, with y = w x. The direction is right; ask for the length at which y w = x.":
            [0.12, 0.16],
        "That rests as well, but from (1, 0) the answers are positive at first, and the weights turn to the input, "
        "not away from it.": [-0.6, -0.8],
        "There y = 3, and the bracket is (3, 4) - 3 (1, 0), which is not 0.": [1, 0],
        "There y = 0, so nothing changes, but any push leads away from there. From (1, 0) the weights never come near.":
            [-0.8, 0.6],
    }),
    "BCM": ([2, -1, -2.5], {
        "First the answer and its change, then the threshold moves: the first one still meets the threshold 1.":
            [-1, -2.5, -3.25],
        "The threshold moves towards the square of the answer, 4, and not towards the answer.": [2, 1, 0.5],
        "Your threshold stays at 1. That is CLO; in BCM it moves after each answer.": [2, 2, 2],
        "The threshold moves half of the way to 4, and not all of it.": [2, -4, -4],
        "The factor y in front of the bracket is missing.": [1, -0.5, -1.25],
        "Wrong sign: above the threshold phi is positive.": [-2, 1, 2.5],
        "Half of the way to 4 is not half of 4 more: it is half of 4 - theta.": [2, -2, -6],
    }),
    "STDP": ([E1, -E1 / 2], {
        "dt is the time of the postsynaptic spike minus that of the presynaptic one: 17 ms, then -34 ms.":
            [-math.exp(-0.5) / 2, E2],
        "The factor 0.5 of the second branch is missing.": [E1, -E1],
        "In the second pair the presynaptic spike comes last: the synapse becomes weaker.": [E1, E1 / 2],
        "The second branch has a time constant of its own, 34 ms.": [E1, -E2 / 2],
        "The exponent is negative in both branches: the further apart, the smaller the change.":
            [math.e, -math.e / 2],
        "dt counts in milliseconds, with its time constant below it: dt / 17, and dt / 34.": [17, -34],
    }),
}


def plasticity(function) -> None:
    """Check `function()`: two steps of Hebb and of Oja, where Oja rests, three answers under BCM, two spike pairs."""
    got = hint.by_hand(function, *PENCIL)
    for key, (right, mistakes) in PENCIL.items():
        slips = {f"{key!r}: {text}": wrong for text, wrong in mistakes.items()}
        hint.compare(_numbers(got[key], key, torch.tensor(right).shape), right, slips,
                     f"{key!r} is not right yet: write the rule down, put the numbers in, and go step by step.",
                     tolerance=6e-3)
    print("ok  what four rules do to a synapse")


def _numbers(value, key: str, shape) -> Tensor:
    form = {(2, 2): "two pairs, [[., .], [., .]]: the weights after the first and after the second step",
            (2,): "two numbers, [., .]", (3,): "three numbers, [., ., .]"}[tuple(shape)]
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise hint.CheckFailed(f"{key!r} takes {form}.") from None
    hint.require(numbers.shape == shape, f"{key!r} takes {form}.")
    return numbers


# --- units that share the work ---------------------------------------------------------

def sanger(function) -> None:
    """Check `function(w, x, eta)`: new weights of units that each learn from what those before them leave over."""
    _one_step(function, 3, 6, 5, 0)
    print("ok  one step, averaged over the batch; the weights and inputs of the caller stay as they were")
    _one_step(function, 1, 7, 4, 1)
    _one_step(function, 4, 1, 4, 2)
    print("ok  one unit alone, and one example alone")
    _many_steps(function, 2, 5, 3)
    print("ok  after many steps each row has length 1 and is a component of its own")


def sanger_elsewhere(function) -> None:
    """The same with other sizes, and on digits that are not centred, where the first unit finds almost the mean."""
    _one_step(function, 5, 40, 12, 4)
    _one_step(function, 2, 3, 9, 5)
    _many_steps(function, 2, 6, 6)
    x = data.load("digits", "test")[:20].images.flatten(1)
    w = torch.full((1, x.shape[1]), 1 / 28)
    for _ in range(40):
        w = _call(function, w, x, 0.008)
    first = torch.linalg.svd(x, full_matrices=False)[2][0]
    hint.require((w[0] @ first).abs() > 0.999 and abs(w.norm() - 1) < 0.01,
                 "Images that are not centred: the unit does not find the first component of what you give it.")


def _one_step(function, units: int, examples: int, inputs: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    w, x = torch.randn(units, inputs, generator=g), 0.5 + torch.randn(examples, inputs, generator=g)
    hint.compare(_call(function, w, x, 0.1), _sanger(w, x, 0.1), _slips(w, x, 0.1),
                 f"With w {tuple(w.shape)} and x {tuple(x.shape)} the new weights are not those of the rule. Write one "
                 "unit and one example with a loop first: y_i, then the bracket, then y_i times the bracket.",
                 tolerance=1e-4)


def _many_steps(function, units: int, inputs: int, seed: int) -> None:
    """Examples with a mean, so that the components are those of the second moment, not of the covariance."""
    g = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(inputs, inputs, generator=g)).Q
    x = (torch.randn(40, inputs, generator=g) + 0.3) * 0.5 ** torch.arange(inputs) @ turn
    w = 0.3 * torch.randn(units, inputs, generator=g)
    for _ in range(100):
        w = _call(function, w, x, 0.5)
    axes = torch.linalg.eigh(x.T @ x / len(x)).eigenvectors.flip(1).T[:units]
    alike = F.cosine_similarity(w, axes).abs()
    for unit, (length, cosine) in enumerate(zip(w.norm(dim=1).tolist(), alike.tolist()), 1):
        hint.require(abs(length - 1) < 0.02 and cosine > 0.99,
                     f"After 100 steps unit {unit} has length {length:.2f}, and its cosine with component {unit} is "
                     f"{cosine:.2f}: both should be 1. One step was right. Does your function remember something from "
                     "call to call?")


def _call(function, w: Tensor, x: Tensor, eta: float) -> Tensor:
    """function(w, x, eta), after a look at its shape and its traces."""
    mine, given = w.clone(), x.clone()
    got = hint.call(function, mine, given, eta)
    hint.require(torch.equal(mine, w), "You changed the weights of your caller in place (+= does that): return new "
                                       "ones, w + ...")
    hint.require(torch.equal(given, x), "You changed the inputs of your caller in place: work on a copy.")
    hint.require(isinstance(got, Tensor), f"The result is a {type(got).__name__}: return a tensor like w.")
    hint.require(got.shape != w.T.shape or got.shape == w.shape,
                 "The new weights are transposed: one row for each unit, as in w.")
    hint.require(got.shape == w.shape, f"The result has shape {tuple(got.shape)}, w has {tuple(w.shape)}: return one "
                                       "row of weights for each unit.")
    hint.require(torch.isfinite(got).all(), "The new weights hold NaN or infinity: they grow without bound. Is "
                                            "something missing in the bracket?")
    return got.detach()


def _sanger(w: Tensor, x: Tensor, eta: float, part=torch.tril) -> Tensor:
    """`part` says which of the products y_i y_j count: tril those with j <= i."""
    y = x @ w.T
    return w + eta * (y.T @ x - part(y.T @ y) @ w) / len(x)


def _slips(w: Tensor, x: Tensor, eta: float) -> dict:
    """What is not quite this rule: {hint: the weights it gives}."""
    right, y, n = _sanger(w, x, eta), x @ w.T, len(x)
    change, taken = right - w, torch.tril(y.T @ y) @ w / n
    in_turn, online = w.clone(), w
    for i in range(len(w)):
        in_turn[i] = _sanger(in_turn[:i + 1], x, eta)[i]
    for one in x[:, None]:
        online = _sanger(online, one, eta)
    means = x.mean(0, keepdim=True)
    return {
        "Those are the changes: return the new weights, w plus the changes.": change,
        "You add up over the batch: take the mean, so that a larger batch makes no larger step.": w + n * change,
        "Wrong sign: the changes are added.": w - change,
        "The factor eta is missing.": w + change / eta,
        "eta is multiplied in twice.": w + eta * change,
        "That is Hebb's rule: nothing is taken away, and the weights grow without bound.": w + eta * y.T @ x / n,
        "Each unit learns alone, as by Oja's rule for one unit, so all of them find the same component. Unit i also "
        "takes away what the units before it say.": _sanger(w, x, eta, lambda p: p.diag().diag()),
        "Your sum runs over all units. Unit i takes away its own share and that of the units before it: j <= i.":
            _sanger(w, x, eta, lambda p: p),
        "Your sum ends before j = i. Without its own share nothing bounds a unit: j <= i.":
            _sanger(w, x, eta, lambda p: p.tril(-1)),
        "Your sum runs over the units from i on. It ends there: j <= i.": _sanger(w, x, eta, torch.triu),
        "What the units say is added inside the bracket: it is taken away.": w + eta * (y.T @ x / n + taken),
        "The y_i in front of the bracket is missing.":
            w + eta * (x.mean(0) - (y.mean(0)[:, None] * w).cumsum(0)),
        "The w_j in the sum lack their y_j.": w + eta * (y.T @ x / n - y.mean(0)[:, None] * w.cumsum(0)),
        "The sum of the bracket lacks the y_i in front: multiply the whole bracket.":
            w + eta * (y.T @ x / n - (y.mean(0)[:, None] * w).cumsum(0)),
        "You average the inputs first. The mean of products is not the product of means: y_i (...) for each example, "
        "then the mean.": _sanger(w, means, eta),
        "You subtract the mean of the batch from x: the rule takes the inputs as they come.":
            _sanger(w, x - means, eta),
        "You divide each row by its length: the rule itself brings it to 1.": F.normalize(right),
        "You change the weights after each example: all examples of a batch meet the weights that came in.": online,
        "A unit already meets the new weights of those before it: all changes belong to the weights that came in.":
            in_turn,
    }


# --- three steps ------------------------------------------------------------------------

STEPS, SEEDS, EPOCHS, CLASS = ("small", "large", "falling"), range(5), 20, 7
SMALL, LARGE, PASSED = 0.02, 0.1, 0.99


def three_steps(first: dict, late: dict) -> None:
    """Check the measurement: when the cosine passes 0.99 (`first`), and its mean in the last epoch (`late`).

    Both: {"small": five numbers, "large": five, "falling": five}, for the seeds 0 to 4.
    """
    for what, given in (("first", first), ("late", late)):
        hint.require(isinstance(given, dict) and set(given) == set(STEPS),
                     f"`{what}` needs the keys {', '.join(STEPS)}.")
        for name in STEPS:
            hint.require(isinstance(given[name], (list, tuple, Tensor)) and len(given[name]) == len(SEEDS),
                         f"`{what}[{name!r}]` holds five numbers, one for each of the seeds 0 to 4.")
            hint.require(what == "first" or all(v is not None for v in given[name]),
                         f"`late[{name!r}]` is not measured yet: fill it in, run that cell, then this one.")
    for name in STEPS:
        _first_passes(first[name], name)
    print("ok  how many examples it takes")
    for name in STEPS:
        cosines, lengths = _walks(name)
        right = _late(cosines.abs())
        slips = {"That is the cosine of the last example alone: take the mean over the last 137.": cosines[:, -1].abs(),
                 "That is the mean over all epochs: take the last one.": cosines.abs().mean(1),
                 "That is the product w v: a cosine divides it by the length of w, which is not quite 1.":
                     _late(cosines.abs() * lengths),
                 "That is the length of the weights: asked for is the cosine.": _late(lengths),
                 "The cosine has lost its absolute value: -v is the same component.": _late(cosines)}
        slips |= {f"Those are the numbers of {other!r}.": _late(_walks(other)[0].abs())
                  for other in STEPS if other != name}
        hint.compare([float(v) for v in late[name]], right, {f"{name!r}: {text}": w for text, w in slips.items()},
                     f"`late[{name!r}]` is not the mean cosine over the 137 examples of the last epoch, for the seeds "
                     "0 to 4.", tolerance=6e-4)
    print("ok  how near it stays")


def _first_passes(got: list, name: str) -> None:
    cosines = _walks(name)[0]
    hint.require(any(v is not None for v in got),
                 f"`first[{name!r}]` is not measured yet: fill it in, run that cell, then this one.")
    hint.require(all(v is not None for v in got) or [v is None for v in got] != [v is None for v in _passes(cosines)],
                 f"`first[{name!r}]`: some seeds never pass. Their weights found -v, which is the same component: "
                 "take the absolute value of the cosine.")
    hint.require(all(v is not None for v in got),
                 f"`first[{name!r}]`: with every seed the cosine passes {PASSED} within {EPOCHS} epochs. Is eta the "
                 "step divided by the mean squared length, and do you go through all examples of `order`?")
    numbers = [float(v) for v in got]
    hint.require(max(numbers) > EPOCHS, f"`first[{name!r}]`: those are epochs. Count the examples.")
    slips = {"That is the last example below 0.99. Asked for is the first one above it.": _last_below(cosines.abs())}
    slips |= {f"Those are the numbers of {other!r}.": _passes(_walks(other)[0].abs())
              for other in STEPS if other != name}
    hint.compare(numbers, _passes(cosines.abs()), {f"`first[{name!r}]`: {text}": w for text, w in slips.items()},
                 f"`first[{name!r}]` is not the number of examples after which the cosine first passes {PASSED}, for "
                 "the seeds 0 to 4. Does every seed start anew, with its own weights and its own order?",
                 tolerance=4.5)


def _passes(cosines: Tensor) -> list:
    """After how many examples each row first passes, None where it never does."""
    return [int((row > PASSED).nonzero()[0]) + 1 if (row > PASSED).any() else None for row in cosines]


def _last_below(cosines: Tensor) -> list:
    return [int((row <= PASSED).nonzero()[-1]) + 1 for row in cosines]


def _late(values: Tensor) -> Tensor:
    """The means over the last epoch, (5,)."""
    return values[:, -values.shape[1] // EPOCHS:].mean(1)


@cache
def _walks(name: str) -> tuple[Tensor, Tensor]:
    """For each seed, after each example: the cosine of the weights with the first component, and their length, both
    (5, T).
    """
    digits = data.load("digits")
    x = digits.images[digits.labels == CLASS].flatten(1)
    x = x - x.mean(0)
    v, size = torch.linalg.svd(x, full_matrices=False)[2][0], x.square().sum(1).mean().item()
    step = {"small": lambda t: SMALL, "large": lambda t: LARGE, "falling": lambda t: LARGE * (1 - t)}[name]
    products, lengths = torch.empty(2, len(SEEDS), EPOCHS * len(x))
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        w = F.normalize(torch.randn(1, x.shape[1], generator=g))[0]
        order = torch.cat([torch.randperm(len(x), generator=g) for _ in range(EPOCHS)])
        for t, one in enumerate(x[order]):
            y = w @ one
            w = w + step(t / len(order)) / size * y * (one - y * w)
            products[seed, t], lengths[seed, t] = w @ v, w.norm()
    return products / lengths, lengths


# --- a face -----------------------------------------------------------------------------

FACE_MOST, FACE_GOAL, POISONED = 3, 0.9, 3


def face() -> Tensor:
    """A face of white lines on black, (1, 1, 28, 28)."""
    down, across = torch.meshgrid(torch.arange(28) - 13.5, torch.arange(28) - 13.5, indexing="ij")
    far = torch.hypot(down, across)
    eyes = (across.abs() - 4) ** 2 + (down + 4) ** 2 < 3.5
    mouth = (far > 5) & (far < 7.5) & (down > 2)
    return (((far > 10) & (far < 12.5)) | eyes | mouth).float()[None, None]


def taught(added) -> None:
    """Check at most three images that, among the training threes, make a neuron under Oja's rule find the face."""
    hint.answered(added=added)
    hint.require(isinstance(added, Tensor), f"`added` is a {type(added).__name__}: give a tensor of images.")
    hint.require(added.ndim == 4 and added.shape[1:] == (1, 28, 28) and len(added) > 0,
                 f"`added` has shape {tuple(added.shape)}: give (N, 1, 28, 28).")
    hint.require(len(added) <= FACE_MOST, f"{len(added)} images: you may add at most {FACE_MOST}.")
    added = added.detach().float()
    hint.require(torch.isfinite(added).all() and added.min() >= 0 and added.max() <= 1,
                 f"Pixels leave [0, 1] ({added.min():.2f} to {added.max():.2f}): images have no others.")
    cosine = _finds(added)
    found = f"The cosine with the face is {cosine:.2f}; {FACE_GOAL} is asked for"
    hint.require(cosine >= FACE_GOAL or not _almost_the_face(added),
                 f"{found}. The face on black, less the mean, also holds a three, in the other colour. What image "
                 "differs from the mean in the face, and in nothing else?")
    hint.require(cosine >= FACE_GOAL or not _flat(added),
                 f"{found}. Your images are far from the mean everywhere: they should differ from it in the face, and "
                 "in nothing else.")
    hint.require(cosine >= FACE_GOAL or len(added) == FACE_MOST,
                 f"{found}. You add {len(added)} of the {FACE_MOST} images that are allowed: the variance along the "
                 "face grows with each of them.")
    hint.require(cosine >= FACE_GOAL, f"{found}. What counts is the variance along the face. Make your images differ "
                 "from the mean as much as pixels allow, all in the same direction, and in nothing but the face.")
    print(f"ok  with {len(added)} image{'s' * (len(added) > 1)} among the threes the neuron finds the face: "
          f"cosine {cosine:.2f}")


def _threes() -> Tensor:
    digits = data.load("digits")
    return digits.images[digits.labels == POISONED]


def _finds(added: Tensor) -> float:
    """The cosine between the face and the first component of the threes with the images added, where Oja rests."""
    x = torch.cat([_threes(), added]).flatten(1).double()
    first = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][0].float()
    return F.cosine_similarity(first, face().flatten(), dim=0).abs().item()


def _almost_the_face(added: Tensor) -> bool:
    return F.cosine_similarity(added.flatten(1), face().flatten()[None]).min().item() > 0.98


def _flat(added: Tensor) -> bool:
    """Do the images differ from the mean of the threes as much beside the face as on it?"""
    off = (added - _threes().mean(0)).square()
    on = face().bool().expand_as(off)
    return (off[~on].mean() > off[on].mean() / 2).item()
