"""The checks of chapter 11 meet the answers that students really give: each known mistake earns its own hint."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from advlens import data, hebbian
from advlens.course import checks
from advlens.course.checks import ch11
from wrong_answers import hint, slips

# --- the pencil ------------------------------------------------------------------

PENCIL = {"Hebb": [[1.5, 0.5], [4.5, 0.5]], "Oja": [[1, 0.5], [1, -0.5]], "rest": [0.6, 0.8], "BCM": [2, -1, -2.5],
          "STDP": [0.37, -0.185]}


@pytest.mark.parametrize("stdp", [[0.37, -0.185], [0.37, -0.18], (0.368, -0.184)])
def test_the_pencil_numbers_pass(stdp, capsys):
    checks.plasticity(lambda: PENCIL | {"STDP": stdp})
    assert "what four rules do" in capsys.readouterr().out


def test_the_pencil_says_what_the_library_says():
    walks = {"Hebb": torch.tensor([[1.0, 0.0]]), "Oja": torch.tensor([[1.0, 0.0]])}
    for step, x in enumerate(torch.tensor([[[1.0, 1.0]], [[2.0, 0.0]]])):
        walks["Hebb"] = walks["Hebb"] + 0.5 * hebbian.hebb(x, x @ walks["Hebb"].T)
        walks["Oja"] = walks["Oja"] + 0.5 * hebbian.oja(x, x @ walks["Oja"].T, walks["Oja"])
        for rule, w in walks.items():
            assert w[0].tolist() == PENCIL[rule][step]
    w, x = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    for _ in range(200):
        w = w + 0.01 * hebbian.oja(x, x @ w.T, w)
    assert w[0].tolist() == pytest.approx(PENCIL["rest"], abs=1e-4)
    threshold, y, one = torch.tensor([1.0]), torch.tensor([[2.0]]), torch.ones(1, 1)
    for phi in PENCIL["BCM"]:
        assert hebbian.bcm(one, y, threshold).item() == phi
        threshold = hebbian.slide(threshold, y, 0.5)
    assert hebbian.stdp(torch.tensor([17.0, -34.0])).tolist() == pytest.approx(PENCIL["STDP"], abs=6e-3)


@slips({
    "'Hebb': The second answer y": {"Hebb": [[1.5, 0.5], [3.5, 0.5]]},
    "'Hebb': The factor eta": {"Hebb": [[2, 1], [10, 1]]},
    "'Hebb': Those are the changes": {"Hebb": [[0.5, 0.5], [3, 0]]},
    "'Hebb': That is Oja's rule": {"Hebb": PENCIL["Oja"]},
    "'Hebb' is not right yet": {"Hebb": [[1, 1], [2, 2]]},
    "'Hebb' takes two pairs": {"Hebb": [4.5, 0.5]},
    "in the bracket as well": {"Oja": [[1, 0.5], [1, 0.5]]},
    "takes y w away, and not w alone": {"Oja": [[1, 0.5], [2, 0]]},
    "The y in front of the bracket": {"Oja": [[1, 0.5], [1, 0]]},
    "Wrong sign inside": {"Oja": [[2, 0.5], [22, 4.5]]},
    "asks for no division": {"Oja": F.normalize(torch.tensor([[1.5, 0.5], [2.8461, 0.3162]])).tolist()},
    "'Oja': Those are the changes": {"Oja": [[0, 0.5], [0, -1]]},
    "'Oja': The factor eta": {"Oja": [[1, 1], [1, -3]]},
    "That is Hebb's rule": {"Oja": PENCIL["Hebb"]},
    "There y = 25": {"rest": [3, 4]},
    "the length at which y w = x": {"rest": [0.12, 0.16]},
    "not away from it": {"rest": [-0.6, -0.8]},
    "which is not 0": {"rest": [1, 0]},
    "any push leads away": {"rest": [-0.8, 0.6]},
    "'rest' takes two numbers": {"rest": 1},
    "still meets the threshold 1": {"BCM": [-1, -2.5, -3.25]},
    "the square of the answer": {"BCM": [2, 1, 0.5]},
    "That is CLO": {"BCM": [2, 2, 2]},
    "half of the way to 4, and not all": {"BCM": [2, -4, -4]},
    "The factor y in front": {"BCM": [1, -0.5, -1.25]},
    "above the threshold phi is positive": {"BCM": [-2, 1, 2.5]},
    "half of 4 - theta": {"BCM": [2, -2, -6]},
    "'BCM' takes three numbers": {"BCM": ["+", "-", "-"]},
    "17 ms, then -34 ms": {"STDP": [-0.30, 0.135]},
    "factor 0.5 of the second branch": {"STDP": [0.37, -0.37]},
    "the synapse becomes weaker": {"STDP": [0.37, 0.185]},
    "a time constant of its own": {"STDP": [0.37, -0.068]},
    "negative in both branches": {"STDP": [2.718, -1.359]},
    "counts in milliseconds": {"STDP": [17, -34]},
})
def test_plasticity(words, wrong):
    assert words in hint(checks.plasticity, lambda: PENCIL | wrong)


def test_a_warm_up_that_is_not_written_says_so():
    def unwritten():
        raise NotImplementedError

    assert "unwritten is not written yet" in hint(checks.plasticity, unwritten)
    assert "'STDP' is missing" in hint(checks.plasticity, lambda: {k: v for k, v in PENCIL.items() if k != "STDP"})


# --- units that share the work ---------------------------------------------------------

def with_loops(w, x, eta):
    """The rule as it is printed."""
    changes = torch.zeros_like(w)
    for one in x:
        y = w @ one
        for i in range(len(w)):
            left = one - sum(y[j] * w[j] for j in range(i + 1))
            changes[i] += y[i] * left / len(x)
    return w + eta * changes


def products(part):
    """Right, where part(y_i y_j) picks the products with j <= i."""
    def answer(w, x, eta):
        y = x @ w.T
        return w + eta * (y.T @ x - part(y.T @ y) @ w) / len(x)
    return answer


right = products(torch.tril)


def after(change):
    """change(w, new weights, x) instead of the new weights."""
    return lambda w, x, eta: change(w, right(w, x, eta), x)


def left_over(w, x, eta):
    """Each unit gets what those before it leave: the same rule."""
    rest, rows = x, []
    for unit in w:
        y = x @ unit
        rest = rest - y[:, None] * unit
        rows.append(unit + eta * (y[:, None] * rest).mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize("answer", [right, with_loops, left_over])
def test_the_right_units_pass(answer, capsys):
    checks.sanger(answer)
    ch11.sanger_elsewhere(answer)
    assert capsys.readouterr().out.count("ok") == 3


def in_place(w, x, eta):
    w += right(w, x, eta) - w
    return w


def one_by_one(w, x, eta):
    for one in x.split(1):
        w = right(w, one, eta)
    return w


def unit_by_unit(w, x, eta):
    w = w.clone()
    for i in range(len(w)):
        w[i] = right(w[:i + 1], x, eta)[i]
    return w


def without_the_front(w, x, eta):
    y = x @ w.T
    return w + eta * torch.stack([(x - y[:, :i + 1] @ w[:i + 1]).mean(0) for i in range(len(w))])


def without_the_brackets(w, x, eta):
    y = x @ w.T
    return w + eta * torch.stack([(y[:, i:i + 1] * x - y[:, :i + 1] @ w[:i + 1]).mean(0) for i in range(len(w))])


def without_answers(w, x, eta):
    y = x @ w.T
    return w + eta * torch.stack([(y[:, i:i + 1] * (x - w[:i + 1].sum(0))).mean(0) for i in range(len(w))])


class Forgetful:
    """Right for the first twenty calls, then it stands still."""

    def __init__(self):
        self.calls = 0

    def __call__(self, w, x, eta):
        self.calls += 1
        return right(w, x, eta) if self.calls < 20 else w.clone()


@slips({
    "return the new weights, w plus": after(lambda w, new, x: new - w),
    "You add up over the batch": after(lambda w, new, x: w + len(x) * (new - w)),
    "Wrong sign: the changes are added": after(lambda w, new, x: 2 * w - new),
    "The factor eta is missing": lambda w, x, eta: right(w, x, 1.0),
    "multiplied in twice": lambda w, x, eta: right(w, x, eta * eta),
    "That is Hebb's rule": products(torch.zeros_like),
    "Each unit learns alone": products(lambda p: p.diag().diag()),
    "runs over all units": products(lambda p: p),
    "ends before j = i": products(lambda p: p.tril(-1)),
    "from i on": products(torch.triu),
    "is added inside the bracket": products(lambda p: -p.tril()),
    "y_i in front of the bracket is missing": without_the_front,
    "lacks the y_i in front": without_the_brackets,
    "lack their y_j": without_answers,
    "mean of products": lambda w, x, eta: right(w, x.mean(0, keepdim=True), eta),
    "subtract the mean of the batch": lambda w, x, eta: right(w, x - x.mean(0), eta),
    "divide each row by its length": after(lambda w, new, x: F.normalize(new)),
    "after each example": one_by_one,
    "already meets the new weights": unit_by_unit,
    "the weights of your caller in place": in_place,
    "the inputs of your caller in place": lambda w, x, eta: right(w, x.sub_(x.mean(0)), eta),
    "are transposed": after(lambda w, new, x: new.T),
    "has shape (3,)": after(lambda w, new, x: new.mean(1)),
    "return a tensor like w": after(lambda w, new, x: new.tolist()),
    "NaN or infinity": after(lambda w, new, x: new * float("nan")),
    "are not those of the rule": after(lambda w, new, x: new + 0.01),
    "remember something from call to call": Forgetful(),
    "calls oja, the library's own solution": lambda w, x, eta: w + eta * hebbian.oja(x, x @ w.T, w),
    "calls hebb, the library's own": lambda w, x, eta: w + eta * hebbian.hebb(x, x @ w.T),
    "calls first_component, the library's own": lambda w, x, eta: hebbian.first_component(x)[None].expand_as(w),
    "calls _sanger, the library's own": lambda w, x, eta: ch11._sanger(w, x, eta),
})
def test_sanger(words, wrong):
    assert words in hint(checks.sanger, wrong)


def test_the_rules_are_open_again_after_a_check():
    x, w = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    hint(checks.sanger, lambda w, x, eta: hebbian.oja(x, x @ w.T, w))
    assert hebbian.oja(x, x @ w.T, w).tolist() == [[0, 1]]
    assert len(hebbian.first_component(torch.eye(3), epochs=1)) == 3


# --- three steps ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def measured():
    """The right `first` and `late`, and the course of the cosines and lengths."""
    walks = {name: ch11._walks(name) for name in ch11.STEPS}
    return ({name: ch11._passes(c.abs()) for name, (c, _) in walks.items()},
            {name: ch11._late(c.abs()).tolist() for name, (c, _) in walks.items()}, walks)


def test_the_right_measurement_passes_and_has_something_to_tell(measured, capsys):
    first, late, walks = measured
    checks.three_steps(first, late)
    assert capsys.readouterr().out.count("ok") == 2
    assert max(first["large"] + first["falling"]) < min(first["small"]) / 2
    assert max(late["large"]) < 0.99 < 0.995 < min(late["small"]) < max(late["small"]) < min(late["falling"])
    left = {name: 1 - torch.tensor(late[name]) for name in late}
    assert 3 < sum(first["small"]) / sum(first["large"]) < 5 and (left["large"] / left["small"]).min() > 10
    for cosines, _ in walks.values():  # both signs occur, or the bars around the cosine would not be missed
        assert 0 < (cosines[:, -1] < 0).sum() < 5


def test_the_numbers_do_not_hang_on_rounding(measured):
    """In double precision a walk passes at the same place, give or take what the check allows."""
    digits = data.load("digits")
    x = digits.images[digits.labels == 7].flatten(1).double()
    x = x - x.mean(0)
    v, size = torch.linalg.svd(x, full_matrices=False)[2][0], x.square().sum(1).mean()
    g = torch.Generator().manual_seed(3)
    w = F.normalize(torch.randn(1, 784, generator=g)).double()
    order = torch.cat([torch.randperm(len(x), generator=g) for _ in range(20)]).tolist()
    cosines = []
    for i in order:
        w = right(w, x[i:i + 1], 0.1 / size)
        cosines.append((w[0] @ v).abs() / w.norm())
    cosines = torch.stack(cosines)
    assert abs(int((cosines > 0.99).nonzero()[0]) + 1 - measured[0]["large"][3]) <= 1
    assert cosines[-137:].mean().item() == pytest.approx(measured[1]["large"][3], abs=1e-4)


def later(name, values):
    """values(cosines (5, T), lengths (5, T)) instead of late[name]."""
    return lambda first, late, walks: (first, late | {name: values(*walks[name])})


@slips({
    "`first` needs the keys small, large, falling": lambda f, z, w: ({"small": f["small"]}, z),
    "`late['large']` holds five numbers": lambda f, z, w: (f, z | {"large": 0.98}),
    "`late['small']` is not measured yet": lambda f, z, w: (f, z | {"small": [None] * 5}),
    "`first['small']` is not measured yet": lambda f, z, w: (f | {"small": [None] * 5}, z),
    "found -v": lambda f, z, w: ({n: ch11._passes(w[n][0]) for n in f}, z),
    "Is eta the step": lambda f, z, w: (f | {"small": [None, 5, 6, 7, None]}, z),
    "those are epochs": lambda f, z, w: (f | {"small": [n / 137 for n in f["small"]]}, z),
    "last example below 0.99": lambda f, z, w: (f | {"large": ch11._last_below(w["large"][0].abs())}, z),
    "`first['small']`: Those are the numbers of 'large'": lambda f, z, w: (f | {"small": f["large"]}, z),
    "Does every seed start anew": lambda f, z, w: (f | {"large": [212] * 5}, z),
    "last example alone": later("large", lambda c, length: c[:, -1].abs().tolist()),
    "mean over all epochs": later("large", lambda c, length: c.abs().mean(1).tolist()),
    "product w v": later("large", lambda c, length: ch11._late(c.abs() * length).tolist()),
    "length of the weights": later("large", lambda c, length: ch11._late(length).tolist()),
    "lost its absolute value": later("falling", lambda c, length: ch11._late(c).tolist()),
    "'large': Those are the numbers of 'falling'": lambda f, z, w: (f, z | {"large": z["falling"]}),
    "`late['small']` is not the mean": lambda f, z, w: (f, z | {"small": [0.9] * 5}),
})
def test_three_steps(words, wrong, measured):
    assert words in hint(checks.three_steps, *wrong(*measured))


# --- a face -----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pile():
    digits = data.load("digits")
    return digits.images[digits.labels == 3].mean(0), checks.face()


def times(n, image):
    return image.expand(n, -1, -1, -1)


@pytest.mark.parametrize("answer", [lambda mean, face: torch.maximum(mean, face),
                                    lambda mean, face: (mean + face).clamp(0, 1)], ids=["maximum", "sum"])
def test_three_images_teach_the_face(answer, pile, capsys):
    checks.taught(times(3, answer(*pile)))
    assert "finds the face: cosine 0.97" in capsys.readouterr().out


def test_oja_finds_what_the_check_computes(pile):
    """Three orders of the examples; without the three images it finds no face."""
    digits = data.load("digits")
    threes, face = digits.images[digits.labels == 3], checks.face().flatten()
    for images, low, high in ((threes, 0, 0.1), (torch.cat([threes, times(3, torch.maximum(*pile))]), 0.95, 1)):
        x = images.flatten(1)
        for seed in range(3):
            w = hebbian.first_component(x - x.mean(0), generator=torch.Generator().manual_seed(seed))
            assert low <= F.cosine_similarity(w, face, dim=0).abs() <= high


@slips({
    "`added` is not measured yet": lambda mean, face: None,
    "give a tensor of images": lambda mean, face: face.numpy(),
    "give (N, 1, 28, 28)": lambda mean, face: face[0],
    "at most 3": lambda mean, face: times(4, torch.maximum(mean, face)),
    "Pixels leave [0, 1]": lambda mean, face: times(3, mean + face),
    "What image differs": lambda mean, face: times(3, face),
    "also holds a three": lambda mean, face: face,
    "far from the mean everywhere": lambda mean, face: times(3, torch.ones_like(face)),
    "You add 2 of the 3": lambda mean, face: times(2, torch.maximum(mean, face)),
    "all in the same direction": lambda mean, face: torch.cat([times(2, torch.maximum(mean, face)), mean * (1 - face)]),
    "as much as pixels allow": lambda mean, face: times(3, (mean + face / 2).clamp(0, 1)),
    "in nothing but the face": lambda mean, face: times(3, torch.maximum(face, 0 * mean + 0.5)),
})
def test_taught(words, wrong, pile):
    assert words in hint(checks.taught, wrong(*pile))
