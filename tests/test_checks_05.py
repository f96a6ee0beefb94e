"""The checks of chapter 05 against known wrong answers: each fails with the hint that names its mistake."""

import pytest
import torch

from advlens import attacks, evaluation, geometry
from advlens.course import checks
from wrong_answers import hint, in_evaluation_mode, slips

# --- the pencil ---------------------------------------------------------------------

def three_classes(**changed):
    return lambda: {"distances": [0.2, 0.4], "nearest": 1, "point": [0.632, 0.376]} | changed


def test_the_right_step_by_hand_passes(capsys):
    checks.three_classes(three_classes())
    checks.three_classes(three_classes(distances=(0.2, 0.4)))
    assert capsys.readouterr().out.count("ok") == 6


@slips({
    "gaps between the logits": dict(distances=[1, 0.4]),
    "both logits move when x does": dict(distances=[0.1562, 0.1789]),
    "squared length": dict(distances=[0.04, 0.4]),
    "sum of the entries": dict(distances=[1 / 7, 0.4]),
    "is not negative": dict(distances=[-0.2, -0.4]),
    "forgot the biases": dict(distances=[-0.46, -0.2]),
    "`distances` is not (z_0 - z_k)": dict(distances=[0.4, 0.2]),
    "'distances' holds two numbers": dict(distances=0.2),
    "nearest logit, 1.6 after 2": dict(nearest=2),
    "number of a class, 1 or 2": dict(nearest=0),
    "the point on the boundary": dict(point=[0.62, 0.36]),
    "not 0.1 further": dict(point=[0.68, 0.44]),
    "away from class 1": dict(point=[0.368, 0.024]),
    "the step alone": dict(point=[0.132, 0.176]),
    "five times too far": dict(point=[1.16, 1.08]),
    "along w_1 alone": dict(point=[0.6374, 0.3718]),
    "the step to class 2": dict(point=[0.5, 0.64]),
    "`point` is not x + 1.1": dict(point=[0.5, 0.2]),
    "'point' holds two numbers": dict(point=[0.5, 0.2, 0]),
})
def test_three_classes(words, wrong):
    assert words in hint(checks.three_classes, three_classes(**wrong))


def test_a_key_or_the_dict_is_missing():
    assert "'nearest' is missing" in hint(checks.three_classes, lambda: {"distances": [0.2, 0.4]})
    assert "return the dict" in hint(checks.three_classes, lambda: [0.2, 0.4])


# --- the step -----------------------------------------------------------------------

def parts(model, x, y, before=lambda z: z, own=True):
    """Gaps and slopes (N, K), gradients (N, K, C, H, W)."""
    point = x.clone().requires_grad_()
    z = before(model(point))
    mine = z[torch.arange(len(y)), y][:, None]
    gradients = [torch.autograd.grad((z[:, k] - own * mine[:, 0]).sum(), point, retain_graph=True)[0]
                 for k in range(z.shape[1])]
    gradients = torch.stack(gradients, 1)
    return (mine - z).detach(), gradients.flatten(2).norm(dim=2), gradients


def stepper(pick=lambda gap, slope: gap / slope, far=lambda gap, slope: gap / slope**2, sign=1, extra=1.0, base=1,
            clamp=True, slope_of=None, skip=True, **how):
    @in_evaluation_mode
    def step(model, x, y, overshoot):
        gap, slope, gradients = parts(model, x, y, **how)
        slope = slope_of(gradients) if slope_of else slope
        told = pick(gap, slope)
        if skip:
            told = told.scatter(1, y[:, None], torch.inf)
        k, rows = told.nan_to_num(0).argmin(1), torch.arange(len(x))
        size = far(gap, slope)[rows, k].nan_to_num(0).view(-1, 1, 1, 1)
        result = base * x + sign * (extra + overshoot) * size * gradients[rows, k]
        return result.clamp(0, 1) if clamp else result
    return step


def test_the_right_step_passes(capsys):
    checks.deepfool_step(stepper())
    assert capsys.readouterr().out.count("ok") == 4


def only_four_classes(model, x, y, overshoot):
    """The gaps of the first four classes only, as on the small network."""
    return stepper(pick=lambda gap, slope: torch.where(torch.arange(gap.shape[1]) < 4, gap / slope, 1e9))(
        model, x, y, overshoot)


@slips({
    "The own class lies at distance 0": stepper(skip=False),
    "away from the other class": stepper(sign=-1),
    "You return the step alone": stepper(base=0, clamp=False),
    "the class with the nearest logit": stepper(pick=lambda gap, slope: gap),
    "the furthest boundary": stepper(pick=lambda gap, slope: -gap / slope),
    "each image has its own nearest class": stepper(pick=lambda gap, slope: (gap / slope)[:1].expand_as(gap)),
    "the gap times the gradient": stepper(far=lambda gap, slope: gap),
    "length of the gradient twice": stepper(far=lambda gap, slope: gap / slope),
    "one norm for each image": stepper(
        slope_of=lambda g: g.transpose(0, 1).flatten(1).norm(dim=1).expand(len(g), -1)),
    "the gradient of z_k alone": stepper(own=False),
    "The step ends on the boundary": lambda model, x, y, overshoot: stepper()(model, x, y, 0.0),
    "it should be 1 + overshoot times": stepper(extra=0.0),
    "the Euclidean length": stepper(slope_of=lambda g: g.flatten(2).abs().sum(2)),
    "There is a softmax": stepper(before=lambda z: z.softmax(1)),
    "for the class k with the smallest gap": stepper(extra=2.0),
    "Does the search see every class": only_four_classes,
    "end with .clamp(0, 1)": stepper(clamp=False),
    "in training mode": lambda model, x, y, overshoot: _in_training_mode(model, x, y, overshoot),
    "the library's own solution": lambda model, x, y, overshoot: attacks.deepfool(model, x, y, steps=1),
    "You changed the images of your caller": lambda model, x, y, overshoot: x.add_(stepper()(model, x, y, overshoot)),
})
def test_deepfool_step(words, wrong):
    assert words in hint(checks.deepfool_step, wrong)


def _in_training_mode(model, x, y, overshoot):
    gap, slope, gradients = parts(model, x, y)
    return x + 0 * gradients[:, 0]


def unwritten(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("check", [checks.deepfool_step, checks.shorten])
def test_not_written_and_not_returned(check):
    assert "unwritten is not written yet" in hint(check, unwritten)
    assert "returns nothing" in hint(check, lambda *arguments: None)


# --- two searches -------------------------------------------------------------------

@pytest.fixture(scope="module")
def found():
    """Both ends of the bisection, with its slips, and the norms of DDN."""
    net, x, y, _ = checks.hint.hundred_digits("fully_connected")

    def search(rounds=10, norm="l2", exchanged=False):
        ends = torch.stack([torch.zeros(100), torch.full((100,), 8.0)])
        for _ in range(rounds):
            middle = ends.mean(0)
            changed = attacks.pgd(net, x, y, eps=middle, norm=norm, steps=20, random_start=False)
            upper = evaluation.evaluate(net, x, changed, y).success.long()
            ends[(1 - upper if exchanged else upper), torch.arange(100)] = middle
        return ends

    change = attacks.ddn(net, x, y) - x
    return search, search(), change, geometry.norm(change, "l2"), x


def answers(found, **changed):
    search, (low, high), _, norms, _ = found
    right = {"least": {"pgd": high, "ddn": norms},
             "median": {"pgd": high.median().item(), "ddn": norms.median().item()},
             "shorter": {"pgd": int((norms > high).sum()), "ddn": int((norms < low).sum())}}
    return tuple((right | changed).values())


def test_two_searches(found, capsys):
    search, (low, high), change, norms, x = found
    least, median, shorter = answers(found)
    checks.two_searches(least, median, shorter)
    checks.two_searches({name: values.tolist() for name, values in least.items()}, median, shorter)
    assert capsys.readouterr().out.count("ok") == 6
    pgd, ddn = lambda values: {"least": least | {"pgd": values}}, lambda values: {"least": least | {"ddn": values}}
    for words, wrong in {
            "`least` is not measured yet": pgd(None),
            "`median` is not measured yet": dict(median={"pgd": 1.0, "ddn": None}),
            'needs the keys "pgd" and "ddn"': dict(shorter={"pgd": 1}),
            "one number for each of the 100": pgd(high.median()),
            "the lower end": pgd(low),
            "the middle of the last interval": pgd((low + high) / 2),
            "The ends are exchanged": pgd(search(exchanged=True)[1]),
            "one round too few": pgd(search(rounds=9)[1]),
            "one round too many": pgd(search(rounds=11)[1]),
            'pass norm="l2"': pgd(search(norm="linf")[1]),
            "`least['pgd']` is not the upper end": pgd(norms),
            "the largest change of a pixel: take the l2 norm": ddn(geometry.norm(change, "linf")),
            "the size of the images": ddn(geometry.norm(x + change, "l2")),
            "lacks its root": ddn(norms.square()),
            "`least['ddn']` is not the l2 norm": ddn(high),
            "`median['pgd']` is the mean": dict(median=median | {"pgd": high.mean()}),
            "`median['ddn']` is the mean": dict(median=median | {"ddn": norms.mean()}),
            "is not the median over the 100 images": dict(median=median | {"ddn": 3.0}),
            "counts are exchanged": dict(shorter={"pgd": shorter["ddn"], "ddn": shorter["pgd"]}),
            "You count ties": dict(shorter=shorter | {"ddn": int((norms < high).sum())}),
            "`shorter` is not": dict(shorter={"pgd": 50, "ddn": 50})}.items():
        assert words in hint(checks.two_searches, *answers(found, **wrong)), words


# --- a shorter minimum ----------------------------------------------------------------

def test_what_the_sheet_says_of_the_network_and_the_report_is_true():
    """All hundred digits are right; and more steps and searches do not bring a confidence of 10 to the boundary."""
    net, x, y, _ = checks.hint.hundred_digits("fully_connected")
    assert (evaluation.logits(net, x).argmax(1) == y).all()
    patient = attacks.carlini_wagner(net, x[:10], y[:10], confidence=10, steps=300, searches=9)
    assert evaluation.evaluate(net, x[:10], patient, y[:10]).margin.min() >= 10


def between(rounds=20, side="fooled", shared=False):
    """The reader's bisection on the way from x to the reported image."""
    def shorten(model, x, y, adversarial):
        ends = torch.stack([torch.zeros(len(x)), torch.ones(len(x))])
        for _ in range(rounds):
            middle = ends.mean(0)
            with torch.no_grad():
                fooled = model(x + middle.view(-1, 1, 1, 1) * (adversarial - x)).argmax(1) != y
            ends[fooled.long(), torch.arange(len(x))] = middle
        share = ends[1] if side == "fooled" else ends[0]
        share = share.max().expand(len(x)) if shared else share
        return x + share.view(-1, 1, 1, 1) * (adversarial - x)
    return shorten


def ask(answer):
    """An answer that also asks the model, as it should."""
    def shorten(model, x, y, adversarial):
        with torch.no_grad():
            model(x)
        return answer(x, adversarial)
    return shorten


def onward(model, x, y, adversarial):
    """Shorter than any point on the line: turn towards the plane that touches the boundary, and search again."""
    for _ in range(5):
        adversarial = between()(model, x, y, adversarial)
        gap, _, gradients = parts(model, adversarial, y)
        k, rows = gap.scatter(1, y[:, None], torch.inf).argmin(1), torch.arange(len(x))
        g = gradients[rows, k]
        foot = ((adversarial - x) * g).flatten(1).sum(1) / g.flatten(1).square().sum(1)
        turned = (x + 1.2 * foot.view(-1, 1, 1, 1) * g).clamp(0, 1)
        with torch.no_grad():
            better = (model(turned).argmax(1) != y) & ((turned - x).flatten(1).norm(dim=1)
                                                       < 1.2 * (adversarial - x).flatten(1).norm(dim=1))
        after = between()(model, x, y, torch.where(better.view(-1, 1, 1, 1), turned, adversarial))
        closer = (after - x).flatten(1).norm(dim=1) < (adversarial - x).flatten(1).norm(dim=1)
        adversarial = torch.where(closer.view(-1, 1, 1, 1), after, adversarial)
    return adversarial


@pytest.mark.parametrize("answer", [between(), onward])
def test_a_shorter_minimum_is_found(answer, capsys):
    checks.shorten(answer)
    printed = capsys.readouterr().out
    assert "ok  median l2 norm" in printed


@slips({
    "None of your images fools": ask(lambda x, adversarial: x.clone()),
    "do not fool the network any more: keep": ask(lambda x, adversarial: x + 0.7 * (adversarial - x)),
    "the end of the search at which": between(side="right"),
    "further from x than those of the report": ask(lambda x, adversarial: (x + 1.05 * (adversarial - x)).clamp(0, 1)),
    "Nothing became shorter": ask(lambda x, adversarial: adversarial.clone()),
    "each has its own, so search": between(shared=True),
    "The median margin is still": between(rounds=2),
    r"Pixels leave [0, 1]": ask(lambda x, adversarial: adversarial + 0.5),
    "the reported images in place": ask(lambda x, adversarial: adversarial.clamp_(0, 0.9)),
    "the library's own solution": lambda model, x, y, adversarial: attacks.ddn(model, x, y),
})
def test_shorten(words, wrong):
    assert words in hint(checks.shorten, wrong)
