"""The checks of chapter 10 meet the answers that students really give: each known mistake earns its own hint."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlens import attacks, data, evaluation, models, zoo
from advlens.course import checks
from advlens.course.checks import ch10
from wrong_answers import hint, slips

# --- the pencil ------------------------------------------------------------------

PENCIL = {"first": 21_760, "further": 65_792, "five": 348_354, "slope 10": 4.5e-5, "slope 20": 2.1e-9, "stored 20": 0,
          "temperature": 20, "after": 0.40}


def test_the_pencil_numbers_pass(capsys):
    checks.sure(lambda: PENCIL)
    assert "what float32 keeps of a sure answer" in capsys.readouterr().out


def test_the_pencil_says_what_torch_says():
    count = [zoo.count(models.LeNet(n))["total"] for n in range(6)]
    assert count[5] == PENCIL["five"] and count[2] - count[1] == PENCIL["further"]
    assert count[0] - 850 == ch10.FEATURES and count[1] == ch10.FEATURES + PENCIL["first"] + 2_570
    for gap, key in ((10.0, "slope 10"), (20.0, "stored 20")):
        kept = 1 - torch.tensor([[gap, 0.0]]).softmax(1)[0, 0].item()
        assert kept == pytest.approx(PENCIL[key], rel=0.02, abs=1e-12)


@slips({
    "'first': You left the biases out": {"first": 84 * 256},
    "256 of them, not 84": {"first": 84 * 256 + 84},
    "The first one reads the 84 numbers": {"first": 65_792},
    "'first' is another number": {"first": 30_840},
    "'further': You left the biases out": {"further": 65_536},
    "a further one reads the 256": {"further": 21_760},
    "The old last layer is still counted": {"five": 349_204},
    "The new last layer is missing": {"five": 345_784},
    "still has its 850 parameters": {"five": 346_634},
    "one further layer too many": {"five": 414_146},
    "All five are counted as further": {"five": 392_386},
    "Those are the extra layers alone": {"five": 284_928},
    "'slope 10': That is p": {"slope 10": 0.99995},
    "a pencil can": {"slope 10": 0},
    "'slope 20': That is p": {"slope 20": 1},
    "1 - p = 1 / (1 + e^20)": {"slope 20": 0},
    "That is the true factor": {"stored 20": 2.06e-9},
    "the distance from 1 to its neighbour": {"stored 20": 6e-8},
    "That is the mean": {"temperature": 26},
    "the temperature divides": {"temperature": 0.05},
    "That is the smallest gap": {"temperature": 8},
    "That is the largest gap": {"temperature": 50},
    "the gap of this image is now": {"after": 3.35e-4},
    "'after': That is p": {"after": 0.6},
    "the image with the median gap": {"after": 0.269},
    "'after' is one number": {"after": [0.4, 0.27, 0.08]},
})
def test_sure(words, wrong):
    assert words in hint(checks.sure, lambda: PENCIL | wrong)


def test_a_warm_up_that_is_not_written_says_so():
    def unwritten():
        raise NotImplementedError

    assert "unwritten is not written yet" in hint(checks.sure, unwritten)
    assert "'after' is missing" in hint(checks.sure, lambda: {k: v for k, v in PENCIL.items() if k != "after"})


# --- a temperature -------------------------------------------------------------------

def guest(function):
    """In evaluation mode and without a graph; the mode is restored."""
    def answer(model, x):
        was = model.training
        model.eval()
        with torch.no_grad():
            result = function(model, x)
        model.train(was)
        return result
    return answer


def gap(logits):
    first, second = logits.topk(2, dim=1).values.T
    return first - second


def divided_by(number):
    """number(logits) -> what the logits are divided by, and returned as the temperature."""
    def answer(model, x):
        logits = model(x)
        return number(logits), logits / number(logits)
    return guest(answer)


def median_and(change):
    """The right temperature, and change(logits, temperature)."""
    return guest(lambda model, x: (gap(model(x)).median(), change(model(x), gap(model(x)).median())))


def sorted_by_hand(logits):
    ordered = logits.sort(1, descending=True).values
    return (ordered[:, 0] - ordered[:, 1]).median().item()


def with_a_graph(model, x):
    was = model.training
    logits = model.eval()(x)
    model.train(was)
    return gap(logits).median(), logits / gap(logits).median()


@pytest.mark.parametrize("answer", [divided_by(lambda z: gap(z).median()), divided_by(sorted_by_hand), with_a_graph],
                         ids=["topk", "sort", "graph"])
def test_the_right_temperature_passes(answer, capsys):
    checks.temperature(answer)
    ch10.temperature_in_colour(answer)
    assert capsys.readouterr().out.count("ok") == 2


def shrinks_the_weights(model, x):
    divisor = gap(model(x)).median()
    with torch.no_grad():
        model[-1].weight /= divisor
        model[-1].bias /= divisor
    return divisor, model(x)


def forgets_the_mode(model, x):
    return gap(model.eval()(x)).median(), model(x) / gap(model(x)).median()


@slips({
    "That is the mean of the gaps": divided_by(lambda z: gap(z).mean()),
    "That is the largest gap": divided_by(lambda z: gap(z).max()),
    "That is the smallest gap": divided_by(lambda z: gap(z).min()),
    "the median gap itself": guest(lambda m, x: (1 / gap(m(x)).median(), m(x) / gap(m(x)).median())),
    "gap to the smallest logit": divided_by(lambda z: (z.amax(1) - z.amin(1)).median()),
    "mean of the other logits": divided_by(lambda z: (z.amax(1) - (z.sum(1) - z.amax(1)) / 3).median()),
    "median of the largest logit": divided_by(lambda z: z.amax(1).median()),
    "spread of the logits": divided_by(lambda z: z.std()),
    "gap between probabilities": divided_by(lambda z: gap(z.softmax(1)).median()),
    "lacks its sign": divided_by(lambda z: -gap(z).median()),
    "the first two classes": divided_by(lambda z: (z[:, 0] - z[:, 1]).median()),
    "is not the median over the images": divided_by(lambda z: 2 * gap(z).median()),
    "one number for the whole network": divided_by(lambda z: gap(z)[:, None]),
    "come back as they were": median_and(lambda z, t: z),
    "You multiply by the temperature": median_and(lambda z, t: z * t),
    "Each image has its own divisor": median_and(lambda z, t: z / gap(z)[:, None]),
    "Those are probabilities": median_and(lambda z, t: (z / t).softmax(1)),
    "divide before, not after": median_and(lambda z, t: z.softmax(1) / t),
    "only divide": median_and(lambda z, t: (z - z.amax(1, keepdim=True)) / t),
    "are not model(x) divided": median_and(lambda z, t: (z + 1) / t),
    "return (N, classes)": median_and(lambda z, t: gap(z) / t),
    "Return two things": guest(lambda m, x: gap(m(x)).median()),
    "weights of the model are other ones": guest(shrinks_the_weights),
    "in training mode": lambda m, x: (gap(m(x)).median(), m(x)),
    "comes back in another mode": forgets_the_mode,
    "The model was never called": lambda m, x: (1.0, x.flatten(1)[:, :4]),
    "changed the images of your caller": guest(lambda m, x: (gap(m(x.mul_(1.0).clamp_(0, 0.5))).median(), m(x))),
})
def test_temperature(words, wrong):
    assert words in hint(checks.temperature, wrong)


# --- ten trainings -------------------------------------------------------------------

@pytest.fixture(scope="module")
def measured():
    """The right `left` and `rises`."""
    left = ch10._left()
    return left, {name: sum(b > a for a, b in zip(pair[2], pair[20])) for name, pair in left.items()}


def test_the_right_measurement_passes_and_has_something_to_tell(measured, capsys):
    left, rises = measured
    checks.trainings(left, rises)
    assert capsys.readouterr().out.count("ok") == 2
    assert rises == {"FGSM, naive": 5, "FGSM, margin": 5, "PGD, margin": 0}


def test_float32_is_not_what_the_single_step_suffers_from():
    """The reason why answer b is wrong: along the log-odds, where nothing is lost, the step leaves the same."""
    for epochs in ch10.EPOCHS:
        net = checks.trained(epochs, 0)
        honest = ch10.rights(net, lambda net, x, y: attacks.fgsm(net, x, y, eps=ch10.EPS))
        assert honest == pytest.approx(ch10._left()["FGSM, naive"][epochs][0], abs=0.01)


def test_the_same_seed_gives_the_same_network_and_spends_nothing():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    net, again = (ch10.trained.__wrapped__(1, 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters()))
    assert torch.equal(before, torch.get_rng_state()) and not net.training


def change(name, epochs, values):
    return lambda left, rises: (left | {name: left[name] | {epochs: values(left)}}, rises)


@slips({
    "need the key 'PGD, margin'": lambda left, rises: ({k: left[k] for k in list(left)[:2]}, rises),
    "`rises['FGSM, naive']` is not measured yet": lambda left, rises: (left, rises | {"FGSM, naive": None}),
    "`left['FGSM, naive'][2]` is not measured yet": change("FGSM, naive", 2, lambda left: [None] * 5),
    "holds five accuracies": change("FGSM, margin", 20, lambda left: left["FGSM, margin"][20][:3]),
    "in percent": change("FGSM, naive", 2, lambda left: [100 * a for a in left["FGSM, naive"][2]]),
    "That is the success": change("PGD, margin", 2, lambda left: [1 - a for a in left["PGD, margin"][2]]),
    "accuracy without an attack": change("PGD, margin", 20, lambda left: [
        ch10.rights(checks.trained(20, seed), lambda net, x, y: x) for seed in range(5)]),
    "The epochs are exchanged": change("FGSM, naive", 2, lambda left: left["FGSM, naive"][20]),
    "All five are the same network": change("FGSM, naive", 20, lambda left: left["FGSM, naive"][20][:1] * 5),
    "Those are the numbers of FGSM, naive": change("FGSM, margin", 20, lambda left: left["FGSM, naive"][20]),
    "the default loss": change("PGD, margin", 2, lambda left: [
        ch10.rights(checks.trained(2, seed), lambda net, x, y: attacks.pgd(
            net, x, y, eps=0.15, generator=torch.Generator().manual_seed(0))) for seed in range(5)]),
    "is not the share of the 360": change("FGSM, naive", 2, lambda left: [0.5, 0.4, 0.3, 0.2, 0.1]),
    "is a share": lambda left, rises: (left, rises | {"FGSM, naive": 1.0}),
    "counts the trainings in which the accuracy falls": lambda left, rises: (left, rises | {"PGD, margin": 5}),
    "compare the two lists seed by seed": lambda left, rises: (left, rises | {"FGSM, margin": 3}),
})
def test_trainings(words, wrong, measured):
    assert words in hint(checks.trainings, *wrong(*measured))


# --- a network that remembers --------------------------------------------------------------

class Logarithm(nn.Module):
    def __init__(self, temperature):
        super().__init__()
        self.inner = checks.Memory()
        self.inner.temperature = temperature

    def forward(self, x):
        return self.inner(x).log()


@pytest.fixture(scope="module")
def fifty():
    digits = data.load("digits", "test")[100:150]
    return digits.images, digits.labels


def walked(model, x, y, **options):
    return attacks.pgd(model, x, y, **{"eps": 0.2, "generator": torch.Generator().manual_seed(0)} | options)


@pytest.mark.parametrize("temperature, loss", [(100.0, "ce"), (100.0, "naive_ce"), (1000.0, "margin"), (1e5, "margin")])
def test_the_network_that_remembers_falls_with_its_knob_turned(temperature, loss, fifty, capsys):
    checks.memory(walked(Logarithm(temperature), *fifty, loss=loss))
    assert "fool the network that remembers" in capsys.readouterr().out


quiet = pytest.mark.filterwarnings("ignore::advlens.geometry.ZeroGradientWarning",
                                   "ignore:the model's outputs are positive and sum to 1")


@quiet
@slips({
    "not measured yet": lambda x, y: None,
    "return a tensor": lambda x, y: x.numpy(),
    "has shape": lambda x, y: x[:40],
    "Pixels leave [0, 1]": lambda x, y: x - 0.1,
    "stay in the ball": lambda x, y: walked(Logarithm(100.0), x, y, eps=0.3),
    "in their order": lambda x, y: walked(Logarithm(100.0), x, y).flip(0),
    "what does the knob do": lambda x, y: walked(checks.Memory(), x, y, loss="naive_ce"),
    "Which slope can a loss made of them have": lambda x, y: walked(checks.Memory(), x, y, loss="margin"),
    "all ten numbers": lambda x, y: x,
    "something gets through": lambda x, y: walked(zoo.pretrained("fully_connected", "digits"), x, y),
    "the class that is nearest": lambda x, y: walked(Logarithm(1e5), x, y),
    "Walk many steps": lambda x, y: attacks.fgsm(Logarithm(100.0), x, y, eps=0.2),
})
def test_memory(words, wrong, fifty):
    assert words in hint(checks.memory, wrong(*fifty))


def test_what_the_makers_say_is_true(fifty):
    """Every training image right, always sure, no slope at 1; the knob changes no answer."""
    model, train = checks.Memory().eval(), data.load("digits")
    says = evaluation.logits(model, train.images)
    assert (says.argmax(1) == train.labels).all()
    x, y = fifty
    point = x.clone().requires_grad_()
    p = model(point)
    assert set(p.unique().tolist()) == {0, 1} and not list(model.children()) and not list(model.parameters())
    slope, = torch.autograd.grad(F.cross_entropy(p, y), point)
    assert not slope.any()
    model.temperature = 1000.0
    assert torch.equal(model(x).argmax(1), p.argmax(1)) and model(x).min() > 0
