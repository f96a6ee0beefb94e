"""The checks of chapter 12 meet the answers that students really give: each known mistake earns its own hint."""

from __future__ import annotations

import pytest
import torch

from advlens import hebbian
from advlens.course import checks
from advlens.course.checks import ch12
from advlens.kernels import krotov_hopfield
from wrong_answers import hint, slips

# --- the pencil ------------------------------------------------------------------

PENCIL = {"p = 2": [3, 2, 1], "p = 3": [3, 4, 1], "g": [-0.5, 1, 0], "new": [[0.8, 0.6], [2.2, -2.5], [0, 1]]}
ROWS, IMAGE = torch.tensor([[1.0, 1.0], [2.0, -2.0], [0.0, 1.0]]), torch.tensor([[2.0, 1.0]])


def test_the_pencil_numbers_pass(capsys):
    checks.three_units(lambda: PENCIL)
    assert "who wins, who unlearns" in capsys.readouterr().out


def test_the_pencil_says_what_the_library_says():
    for p in (2, 3):
        assert hebbian.currents(ROWS, IMAGE, p=p)[0].tolist() == PENCIL[f"p = {p}"]
    new = ROWS.clone()
    krotov_hopfield.update_(new, IMAGE, p=2, k=2, delta=0.5, step=0.5)
    assert torch.allclose(new, torch.tensor(PENCIL["new"]))
    known = ch12.PENCIL["new"][1]
    for words, p, k in (("Ranks count from 1", 2, 3), ("p = 2 again", 3, 2)):
        wrong = next(v for text, v in known.items() if words in text)
        assert torch.allclose(ch12._update(ROWS, IMAGE, p, k, 0.5, 0.5), torch.tensor(wrong))


@slips({
    "'p = 2': Those are the currents for p = 3": {"p = 2": [3, 4, 1]},
    "'p = 2': With p = 2 the factor": {"p = 2": [3, 6, 1]},
    "'p = 2': The factor |W|^(p - 2) is |W|^p - 2": {"p = 2": [-3, 4, -1]},
    "'p = 2' is not right yet": {"p = 2": [1, 1, 1]},
    "'p = 2' takes three numbers": {"p = 2": 3},
    "'p = 3': Those are the currents for p = 2": {"p = 3": [3, 2, 1]},
    "The bars around W": {"p = 3": [3, 12, 1]},
    "'p = 3': The factor |W|^(p - 2) is |W|^p - 2": {"p = 3": [-3, 12, -1]},
    "the exponent p - 2 is 1": {"p = 3": [3, 8, 1]},
    "That is g for p = 2": {"g": [1, -0.5, 0]},
    "'g': Ranks count from 1": {"g": [0, 1, -0.5]},
    "the others rest": {"g": [-0.5, 1, -0.5]},
    "its g is negative": {"g": [0.5, 1, 0]},
    "and not with 1": {"g": [-1, 1, 0]},
    "Those are ranks": {"g": [2, 1, 3]},
    "Those are the changes": {"new": [[-0.2, -0.4], [0.2, -0.5], [0, 0]]},
    "The division by m = 2.5": {"new": [[0.5, 0], [2.5, -3.25], [0, 1]]},
    "one number for all rows": {"new": [[0.75, 0.5], [2.2, -2.5], [0, 1]]},
    "The factor of the step": {"new": [[0.6, 0.2], [2.4, -3], [0, 1]]},
    "its bracket is multiplied by -1/2": {"new": [[0.8, 0.6], [1.8, -1.5], [0, 1]]},
    "'new': Ranks count from 1": {"new": [[0.75, 0.5], [2, -2], [-0.25, 1]]},
    "the row is multiplied by its current": {"new": [[1.333, 1], [2, -2.5], [0, 1]]},
    "Here p = 2 again": {"new": ch12._update(ROWS, IMAGE, 3, 2, 0.5, 0.5).tolist()},
    "'new' takes three rows": {"new": [0.8, 0.6]},
})
def test_three_units(words, wrong):
    assert words in hint(checks.three_units, lambda: PENCIL | wrong)


def test_a_warm_up_that_is_not_written_says_so():
    def unwritten():
        raise NotImplementedError

    assert "unwritten is not written yet" in hint(checks.three_units, unwritten)
    assert "'g' is missing" in hint(checks.three_units, lambda: {k: v for k, v in PENCIL.items() if k != "g"})


# --- one update --------------------------------------------------------------------------

def variant(power=lambda w, p: w * w.abs() ** (p - 2), rank=lambda k: k - 1, loss=lambda delta: -delta,
            bracket=lambda g, x, y, w: g.T @ x - (g * y).sum(0)[:, None] * w,
            scale=lambda c: c / c.abs().max(), end=lambda w, change, step: w + step * change):
    """The rule, with one of its parts exchanged."""
    def answer(w, x, p, k, delta, step):
        y = x @ power(w, p).T
        order = y.argsort(1, descending=True)
        g = torch.zeros_like(y).scatter_(1, order[:, :1], 1.0)
        g.scatter_(1, order[:, rank(k)].view(len(x), -1), loss(delta))
        return end(w, scale(bracket(g, x, y, w)), step)
    return answer


def with_loops(w, x, p, k, delta, step):
    """The rule as it is printed."""
    change = torch.zeros_like(w)
    for one in x:
        currents = [float((row.abs() ** (p - 2) * row) @ one) for row in w]
        ranked = sorted(range(len(w)), key=lambda i: -currents[i])
        for i, g in ((ranked[0], 1), (ranked[k - 1], -delta)):
            change[i] += g * (one - currents[i] * w[i])
    return w + step * change / change.abs().max()


def with_topk(w, x, p, k, delta, step):
    y = x @ (w.sign() * w.abs().pow(p - 1)).T
    top = y.topk(k, dim=1).indices
    g = torch.nn.functional.one_hot(top[:, 0], len(w)) - delta * torch.nn.functional.one_hot(top[:, -1], len(w))
    change = torch.einsum("ni,nd->id", g, x) - torch.einsum("ni,ni->i", g, y)[:, None] * w
    return torch.add(w, change, alpha=step / change.abs().max().item())


@pytest.mark.parametrize("answer", [variant(), with_loops, with_topk], ids=["matrix", "loops", "topk"])
def test_the_right_update_passes(answer, capsys):
    checks.rank_rule(answer)
    ch12.rank_rule_elsewhere(answer)
    assert capsys.readouterr().out.count("ok") == 3


def test_the_reference_is_the_update_of_the_library():
    g = torch.Generator().manual_seed(0)
    w, x = torch.randn(6, 10, generator=g), torch.rand(20, 10, generator=g)
    for p, k in ((2, 2), (3, 4), (4.5, 6)):
        theirs = w.clone()
        krotov_hopfield.update_(theirs, x, p=p, k=k, delta=0.4, step=0.1)
        assert torch.allclose(ch12._update(w, x, p, k, 0.4, 0.1), theirs, atol=1e-5)


def in_place(w, x, *settings):
    w += variant()(w, x, *settings) - w
    return w


def one_by_one(w, x, *settings):
    for one in x.split(1):
        w = variant()(w, one, *settings)
    return w


def from_nought(w, x, p, k, delta, step):
    """Ranks counted from 0; where no unit has the rank, nobody unlearns."""
    return variant(rank=lambda k: k)(w, x, p, k, delta, step) if k < len(w) else w


def upwards(w, x, p, k, delta, step):
    y = x @ (w * w.abs() ** (p - 2)).T
    order = y.argsort(1)
    g = torch.zeros_like(y).scatter_(1, order[:, :1], 1.0).scatter_(1, order[:, k - 1:k], -delta)
    change = g.T @ x - (g * y).sum(0)[:, None] * w
    return w + step * change / change.abs().max()


class Forgetful:
    """Right for the first twenty calls, then it stands still."""

    def __init__(self):
        self.calls = 0

    def __call__(self, w, *rest):
        self.calls += 1
        return variant()(w, *rest) if self.calls < 20 else w.clone()


def by_the_library(w, x, p, k, delta, step):
    new = w.clone()
    krotov_hopfield.update_(new, x, p=p, k=k, delta=delta, step=step)
    return new


@slips({
    "return the new weights, w plus": variant(end=lambda w, change, step: step * change),
    "the k-th has the index k - 1": from_nought,
    "The bars are missing in the currents": variant(power=lambda w, p: w ** (p - 1)),
    "|W|^p - 2 in your code": variant(power=lambda w, p: w * (w.abs() ** p - 2)),
    "whatever p is": variant(power=lambda w, p: w),
    "one power too many": variant(power=lambda w, p: w * w.abs() ** (p - 1)),
    "Wrong sign of Delta": variant(loss=lambda delta: delta),
    "with Delta, and not with 1": variant(loss=lambda delta: -1.0),
    "Nobody unlearns": variant(loss=lambda delta: 0.0),
    "All units from rank 2 to rank k": variant(rank=lambda k: slice(1, k)),
    "You rank upwards": upwards,
    "The division by the largest absolute entry is missing": variant(scale=lambda c: c),
    "You divide each row": variant(scale=lambda c: c / c.abs().amax(1, keepdim=True).clamp_min(1e-12)),
    "abs first, then max": variant(scale=lambda c: c / c.max()),
    "You divide by the length": variant(scale=lambda c: c / c.norm()),
    "You average over the batch": lambda w, x, *s: variant(scale=lambda c: c / len(x))(w, x, *s),
    "The factor of the step": variant(end=lambda w, change, step: w + change),
    "Wrong sign: the change is added": variant(end=lambda w, change, step: w - step * change),
    "The bracket is x - I W": variant(bracket=lambda g, x, y, w: g.T @ x - g.sum(0)[:, None] * w),
    "nothing holds the length": variant(bracket=lambda g, x, y, w: g.T @ x),
    "The current in the bracket is W x":
        variant(bracket=lambda g, x, y, w: g.T @ x - (g * (x @ w.T)).sum(0)[:, None] * w),
    "after each image": one_by_one,
    "the weights of your caller in place": in_place,
    "the images of your caller in place": lambda w, x, *s: variant()(w, x.sub_(0.1), *s),
    "return a tensor like w": lambda w, x, *s: variant()(w, x, *s).tolist(),
    "has shape (6, 5)": lambda w, x, *s: variant()(w, x, *s).T,
    "NaN or infinity": lambda w, x, *s: w * float("nan"),
    "are not those of the rule": lambda w, x, *s: variant()(w, x, *s) + 0.01,
    "remember something from call to call": Forgetful(),
    "calls update_, the library's own": by_the_library,
    "calls currents, the library's own": lambda w, x, p, *s: hebbian.currents(w, x, p=p),
    "calls learn, the library's own": lambda w, x, p, k, delta, step: hebbian.learn(x, len(w), p=p, k=k),
    "calls _update, the library's own": lambda w, x, *s: ch12._update(w, x, *s),
})
def test_rank_rule(words, wrong):
    assert words in hint(checks.rank_rule, wrong)


def test_a_power_that_is_no_whole_number_needs_the_bars():
    two_and_three = lambda w, p: w ** (p - 1) * (w.sign() if p % 2 else 1)  # right for whole p alone
    checks.rank_rule(variant(power=two_and_three))
    assert "Are the bars around W missing?" in hint(ch12.rank_rule_elsewhere, variant(power=two_and_three))


def test_the_kernel_is_open_again_after_a_check():
    hint(checks.rank_rule, by_the_library)
    assert hebbian.currents(ROWS, IMAGE)[0].tolist() == [3, 2, 1]


# --- three beginnings -----------------------------------------------------------------------

@pytest.fixture(scope="module")
def measured():
    """The right `winners` and `sphere`, and how many images each unit wins."""
    x = ch12._digits()
    shares = {name: [ch12._wins(ch12._ends(name, seed), x, 3) for seed in range(5)] for name in ch12.STARTS}
    return ({name: [int((s > 0).sum()) for s in of] for name, of in shares.items()},
            {name: [ch12._round(ch12._ends(name, seed), 3) for seed in range(5)] for name in ch12.STARTS}, shares)


def test_the_right_measurement_passes_and_has_something_to_tell(measured, capsys):
    winners, sphere, _ = measured
    checks.beginnings(winners, sphere)
    assert capsys.readouterr().out.count("ok") == 2
    assert winners["short"] == [1] * 5 and sphere["short"] == [16] * 5  # d
    assert min(winners["long"]) >= 13 and max(sphere["long"]) < 16  # not a, not b


def test_the_library_finds_the_same(measured):
    """`learn` begins "long" and draws its batches in the same order."""
    w = hebbian.learn(ch12._digits(), 16, p=3, k=2, delta=0.4, step=0.1, epochs=20,
                      generator=torch.Generator().manual_seed(1))
    assert abs(len(hebbian.currents(w, ch12._digits(), p=3).argmax(1).unique()) - measured[0]["long"][1]) <= 1


def first(name, count):
    x = ch12._digits()
    return [count(ch12._start(name, x, seed, 3)[0], x) for seed in range(5)]


@slips({
    "`winners` needs the keys long, short, images": lambda w, s, n: ({"long": w["long"]}, s),
    "`winners['long']` holds five numbers": lambda w, s, n: (w | {"long": 16}, s),
    "`sphere['short']` is not measured yet": lambda w, s, n: (w, s | {"short": [None] * 5}),
    "the busiest unit wins": lambda w, s, n: (w | {"long": [int(v.max()) for v in n["long"]]}, s),
    "those units win nothing": lambda w, s, n: (w | {"short": [15] * 5}, s),
    "that is a share": lambda w, s, n: (w | {"images": [v / 16 for v in w["images"]]}, s),
    "`winners['images']`: those are the numbers at the start": lambda w, s, n: (w | {"images": [16] * 5}, s),
    "`winners['short']`: those are the numbers at the start": lambda w, s, n: (
        w | {"short": first("short", lambda v, x: len(ch12._currents(v, x, 3).argmax(1).unique()))}, s),
    "`winners['long']` is not the number": lambda w, s, n: (w | {"long": [4] * 5}, s),
    "that is with p = 2": lambda w, s, n: (w, s | {"long": [0] * 5}),
    "`sphere['images']`: those are the numbers at the start": lambda w, s, n: (w, s | {"images": [16] * 5}),
    "`sphere['images']` is not the number": lambda w, s, n: (w, s | {"images": [3] * 5}),
    "Does every seed start anew": lambda w, s, n: (w | {"short": [1, 1, 1, 1, 2]}, s),
})
def test_beginnings(words, wrong, measured):
    assert words in hint(checks.beginnings, *wrong(*measured))


# --- every unit at work -------------------------------------------------------------------------

GOOD = {"start": "images", "p": 3, "k": 2, "delta": 0.0, "step": 0.02}


@pytest.mark.parametrize("answer", [{}, {"p": 2, "step": 0.01}, {"p": 2.5}, {"step": 0.05}, {"k": 7, "step": 0.01}],
                         ids=str)
def test_every_unit_at_work(answer, capsys):
    checks.at_work(GOOD | answer)
    assert "every unit wins at least" in capsys.readouterr().out


@pytest.mark.parametrize("back", [{"start": "long"}, {"delta": 0.4}, {"step": 0.1}], ids=str)
@pytest.mark.parametrize("good", [{}, {"p": 2, "step": 0.01}, {"p": 2.5}, {"step": 0.05}], ids=str)
def test_each_of_the_three_changes_is_needed(good, back):
    hint(checks.at_work, GOOD | good | back)


@slips({
    "`settings` is not measured yet": None,
    "`settings` needs the keys": {"p": 3},
    "`start` is one of": GOOD | {"start": "random"},
    "are numbers": GOOD | {"step": "0.1"},
    "the rule needs at least 2": GOOD | {"p": 1},
    "a rank from 2 to 16": GOOD | {"k": 1},
    "are not negative": GOOD | {"delta": -0.1},
    "One unit wins every image": GOOD | {"start": "short"},
    "units win no image": GOOD | {"step": 0.1},
    "driven away": GOOD | {"delta": 0.4},
    "and not only stay what they were": GOOD | {"step": 0.0},
})
def test_at_work(words, wrong):
    assert words in hint(checks.at_work, wrong)
