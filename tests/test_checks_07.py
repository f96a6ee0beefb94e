"""The checks of chapter 07 meet the answers that students really give: each known mistake earns its own hint."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from advlens import attacks, data, evaluation, zoo
from advlens.course import checks
from advlens.course.checks import ch07
from wrong_answers import gradient, hint, in_evaluation_mode, slips

# --- the pencil ------------------------------------------------------------------

PENCIL = {"log-odds": -20, "true sign": -1, "float32 sign": 1, "at 120": 0, "stair": 0, "BPDA": 0.5, "EOT": 1}


def test_the_masks_by_hand_pass(capsys):
    checks.masks(lambda: PENCIL)
    assert "what float32 loses" in capsys.readouterr().out


@slips({
    "'log-odds': Wrong sign": {"log-odds": 20},
    "That is the factor 1 - p": {"log-odds": 2e-9},
    "'log-odds' is another number": {"log-odds": 0},
    "'true sign': Wrong sign": {"true sign": 1},
    "nothing is rounded away": {"true sign": 0},
    "Only the sign is asked": {"true sign": -2},
    "cross this term out": {"float32 sign": -1},
    "floats are dense near 0": {"float32 sign": 0},
    "now q is 0 as well": {"at 120": 1},
    "and at 120 so is q": {"at 120": -1},
    "You left the stair out": {"stair": 0.6},
    "the slope with the stand-in": {"stair": 0.5},
    "A stair rises only at its edges": {"stair": 1},
    "seen at r(x) = 0.25": {"BPDA": 0.6},
    "BPDA takes 1 for the stair": {"BPDA": 0},
    "slope of the stand-in alone": {"BPDA": 1},
    "That is the mean of the signs": {"EOT": -1 / 3},
    "EOT takes no vote": {"EOT": -1},
    "is asked: -1, 0 or 1": {"EOT": 3},
    "'EOT' is one number": {"EOT": [-1, -1, 1]},
})
def test_masks(words, wrong):
    assert words in hint(checks.masks, lambda: PENCIL | wrong)


def test_a_warm_up_that_is_not_written_says_so():
    def unwritten():
        raise NotImplementedError

    assert "unwritten is not written yet" in hint(checks.masks, unwritten)
    assert "'EOT' is missing" in hint(checks.masks, lambda: {k: v for k, v in PENCIL.items() if k != "EOT"})


def test_float32_does_what_the_pencil_says():
    """The story of the warm-up, in torch: at 20 the sign of the naive slope is wrong, at 120 it is gone."""
    for own, sign in ((2.0, -1), (20.0, PENCIL["float32 sign"]), (120.0, PENCIL["at 120"])):
        pixel = torch.zeros(1, requires_grad=True)
        logits = torch.stack([own + 3 * pixel, pixel], 1)
        slope, = torch.autograd.grad(F.cross_entropy(logits, torch.tensor([0])), pixel)
        assert slope.sign().item() == sign


# --- a step along the mean gradient --------------------------------------------------

def fresh(model, x, y, draws):
    """One gradient of each pass, (draws, N, C, H, W)."""
    return torch.stack([gradient(model, x, y) for _ in range(draws)])


def along(direction):
    """direction(gradients (draws, N, C, H, W)) -> (N, C, H, W), to be followed by its sign."""
    return in_evaluation_mode(lambda model, x, y, eps, draws:
                              (x + eps * direction(fresh(model, x, y, draws)).sign()).clamp(0, 1))


def in_one_batch(model, x, y, eps, draws):
    """All passes at once, with copies of each image."""
    copies = x.repeat_interleave(draws, 0)
    each = gradient(model, copies, y.repeat_interleave(draws))
    return (x + eps * each.unflatten(0, (-1, draws)).mean(1).sign()).clamp(0, 1)


def of_mean_logits(model, x, y, eps, draws):
    """What attacks.EOT does with a network that shakes by itself."""
    point = x.clone().requires_grad_()
    logits = torch.stack([model(point) for _ in range(draws)]).mean(0)
    slope, = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), point)
    return (x + eps * slope.sign()).clamp(0, 1)


def seeded(model, x, y, eps, draws):
    def again():
        torch.manual_seed(3)
        return gradient(model, x, y)

    return (x + eps * torch.stack([again() for _ in range(draws)]).mean(0).sign()).clamp(0, 1)


@pytest.mark.parametrize("answer", [along(lambda g: g.mean(0)), along(lambda g: g.sum(0)),
                                    in_evaluation_mode(in_one_batch)], ids=["mean", "sum", "batch"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_right_step_passes_whatever_is_drawn(answer, seed, capsys):
    torch.manual_seed(seed)
    checks.eot(answer)
    ch07.eot_in_colour(answer)
    assert capsys.readouterr().out.count("ok") == 3


@slips({
    "First the mean, then the sign": along(lambda g: g.sign().mean(0)),
    "average the gradients": in_evaluation_mode(of_mean_logits),
    "Wrong sign": along(lambda g: -g.mean(0)),
    "average over the images of the batch": along(lambda g: g.mean((0, 1)).expand_as(g[0])),
    "only the last one kept": along(lambda g: g[-1]),
    "a seed is set inside the loop": in_evaluation_mode(seeded),
    "asked the network once": in_evaluation_mode(lambda m, x, y, eps, draws:
                                                 (x + eps * gradient(m, x, y).sign()).clamp(0, 1)),
    "asked the network 10 times": in_evaluation_mode(lambda m, x, y, eps, draws:
                                                     (x + eps * fresh(m, x, y, 10).mean(0).sign()).clamp(0, 1)),
    "come back unchanged": in_evaluation_mode(lambda m, x, y, eps, draws: x + 0 * fresh(m, x, y, draws)[0]),
    "not the mean gradient itself": in_evaluation_mode(lambda m, x, y, eps, draws:
                                                       (x + eps * fresh(m, x, y, draws).mean(0)).clamp(0, 1)),
    "Pixels leave [0, 1]": in_evaluation_mode(lambda m, x, y, eps, draws:
                                              x + eps * fresh(m, x, y, draws).mean(0).sign()),
    "does not go along": along(lambda g: g.mean(0).flip(3)),
    "ran the model in training mode": lambda m, x, y, eps, draws: x + eps * fresh(m, x, y, draws).mean(0).sign(),
    "calls fgsm, the library's own": lambda m, x, y, eps, draws: attacks.fgsm(
        attacks.EOT(m, lambda images, generator: images, draws), x, y, eps=eps),
})
def test_eot(words, wrong):
    torch.manual_seed(0)
    assert words in hint(checks.eot, wrong)


def test_a_shaking_network_draws_anew_for_each_image():
    net = checks.Shaky(torch.nn.Flatten())
    image = torch.rand(1, 1, 6, 6)
    drawn = net(image.expand(40, -1, -1, -1))
    assert len(drawn.unique(dim=0)) > 5 and net.seen == 40
    assert torch.equal(drawn.sort(1).values, image.flatten(1).sort(1).values.expand(40, -1))  # only moved


# --- black and white --------------------------------------------------------------------

@pytest.fixture(scope="module")
def measured():
    """The right answer, and what each image stands."""
    x, y, model, images = ch07._measured()
    stands = {name: evaluation.logits(model, found).argmax(1) == y for name, found in images.items()}
    return ({name: right.float().mean().item() for name, right in stands.items()},
            torch.stack(list(stands.values())).all(0).float().mean().item(), stands, (x, y, model))


@pytest.mark.filterwarnings("ignore::advlens.geometry.ZeroGradientWarning")
def test_the_right_measurement_passes_and_has_something_to_tell(measured, capsys):
    accuracy, together, _, _ = measured
    checks.black_and_white(accuracy, together)
    assert capsys.readouterr().out.count("ok") == 2
    assert accuracy["PGD"] > 0.85 and min(accuracy.values()) > together + 0.025  # each misses what another finds


@slips({
    "not measured yet": lambda a, t, s, m: (a | {"BPDA": None}, t),
    "needs the keys": lambda a, t, s, m: ({"PGD": 0.9}, t),
    "in percent": lambda a, t, s, m: ({k: 100 * v for k, v in a.items()}, t),
    "'BPDA': That is the success": lambda a, t, s, m: (a | {"BPDA": 1 - a["BPDA"]}, t),
    "'Square': That is the accuracy without an attack": lambda a, t, s, m: (a | {"Square": clean(*m)}, t),
    "takes the network behind the layer": lambda a, t, s, m: (a | {"BPDA": a["PGD"]}, t),
    "judge them on the black-and-white model": lambda a, t, s, m: (a | {"transfer": on_itself("lenet", *m)}, t),
    "judge on the model": lambda a, t, s, m: (a | {"BPDA": on_itself("fully_connected", *m)}, t),
    "take LeNet's": lambda a, t, s, m: (a | {"transfer": through_the_layer(*m)}, t),
    "Attack the model": lambda a, t, s, m: (a | {"PGD": through_the_layer(*m)}, t),
    "`accuracy['Square']` is not": lambda a, t, s, m: (a | {"Square": 0.6}, t),
    "smallest of the four": lambda a, t, s, m: (a, min(a.values())),
    "at least one attack": lambda a, t, s, m: (a, torch.stack(list(s.values())).any(0).float().mean().item()),
    "mean of the four": lambda a, t, s, m: (a, sum(a.values()) / 4),
    "product": lambda a, t, s, m: (a, torch.tensor(list(a.values())).prod().item()),
    "`together` is not": lambda a, t, s, m: (a, 0.7),
})
def test_black_and_white(words, wrong, measured):
    assert words in hint(checks.black_and_white, *wrong(*measured))


def clean(x, y, model):
    return (evaluation.logits(model, x).argmax(1) == y).float().mean().item()


def on_itself(name, x, y, model):
    images = ch07._measured()[3]["transfer" if name == "lenet" else "BPDA"]
    return (evaluation.logits(zoo.pretrained(name, "digits"), images).argmax(1) == y).float().mean().item()


def through_the_layer(x, y, model):
    return (evaluation.logits(model, ch07._attacked(model[1], x, y)).argmax(1) == y).float().mean().item()


# --- the sealed network --------------------------------------------------------------------

@pytest.fixture(scope="module")
def fifty():
    digits = data.load("digits", "test")[100:150]
    return digits.images, digits.labels


def walked(name, x, y, **options):
    source = checks.Sealed().eval() if name == "sealed" else zoo.pretrained(name, "digits")
    return attacks.pgd(source, x, y, **{"eps": 0.1, "generator": torch.Generator().manual_seed(0)} | options)


def test_the_sealed_network_falls_to_its_twin(fifty, capsys):
    checks.sealed(walked("fully_connected", *fifty))
    assert "fool the sealed network" in capsys.readouterr().out


@slips({
    "not measured yet": lambda x, y: None,
    "return a tensor": lambda x, y: x.numpy(),
    "has shape": lambda x, y: x[:40],
    "Pixels leave [0, 1]": lambda x, y: x - 0.1,
    "stay in the ball": lambda x, y: walked("fully_connected", x, y, eps=0.2),
    "in their order": lambda x, y: walked("fully_connected", x, y).flip(0),
    "own gradient ends here": lambda x, y: walked("sealed", x, y),
    "own gradient ends": lambda x, y: x,
    "something gets through": lambda x, y: walked("lenet", x, y),
    "compare the sources": lambda x, y: walked("fully_connected", x, y, eps=0.06),
})
def test_sealed(words, wrong, fifty):
    assert words in hint(checks.sealed, wrong(*fifty))


def test_the_sealed_network_shows_neither_its_network_nor_its_slope(fifty):
    """The strongest attack is misled as well; the values with and without a gradient are the same."""
    x, y = fifty
    model = checks.Sealed().eval()
    assert not list(model.children()) and not list(model.parameters())
    point = x.clone().requires_grad_()
    assert torch.allclose(model(point), model(x), atol=1e-4) and set(model(x).unique().tolist()) == {0, 10}
    slope, = torch.autograd.grad(model(point)[:, 0].sum(), point)
    assert slope.abs().flatten(1).amax(1).min() > 0
    images = attacks.strongest(model, x, y, eps=0.1, generator=torch.Generator().manual_seed(0))
    assert (evaluation.logits(model, images).argmax(1) != y).sum() <= 12
