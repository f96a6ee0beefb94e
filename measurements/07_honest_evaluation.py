"""Chapter 07: honest evaluation.  False defences before and after they are broken, what rounding to few levels does,
what float32 loses of a gradient, distillation, the parts and the price of the strongest attack, and the sandwich of
attack and certificate."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from typing import Callable

import torch
from torch import Tensor, nn

from advlens import attacks, certify, data, evaluation, geometry, training, zoo
from advlens.attacks.adaptive import identity
from advlens.attacks.losses import cross_entropy, log_odds, margin
from advlens.attacks.strongest import STANDARD, felled_by
from advlens.audit import audit
from advlens.course import recipes
from advlens.course.measuring import Grid, nested
from advlens.defences.distillation import distil
from advlens.defences.masking import Cut, Rounded, Shaken, rounded, shaken
from advlens.layers import Scale
from advlens.models import LeNet

SEED, SEEDS = 0, range(5)
EPS = {"lenet": 0.1, "fully_connected": 0.05, "hebbian_bio": 0.15, "hebbian_bp": 0.15}
LEVELS, FACTOR = 16, 100  # of rounding; of the logits
DRAWS, JUDGED = 20, 20  # of EOT; fresh answers by which a net that draws at random is judged

warnings.simplefilter("ignore", geometry.ZeroGradientWarning)  # masked gradients are what the records are about


# --- false defences, before and after ----------------------------------------------

def defended(name: str, net: nn.Module, draws: int = DRAWS) -> tuple[nn.Module, nn.Module]:
    """The net behind a false defence, and what an attacker who knows the defence attacks instead."""
    return {
        "none": (net, net),
        "rounded": (Rounded(net, LEVELS), attacks.BPDA(net, partial(rounded, levels=LEVELS))),
        "shaken": (Shaken(net, seed=1), attacks.EOT(net, shaken, draws)),
        "scaled": (nn.Sequential(net, Scale(FACTOR)),) * 2,
        "cut": (Cut(net), attacks.BPDA(net, identity)),
    }[name]


BLIND = {"fgsm": partial(attacks.fgsm, loss="naive_ce"),
         "pgd naive": partial(attacks.pgd, loss="naive_ce", first_success=True),
         "pgd": partial(attacks.pgd, first_success=True), "pgd, whole walk": attacks.pgd}
BROKEN_IMAGES = 100


def broken(defence: str, seed: int) -> dict:
    """How often a defended LeNet is wrong about each image after each attack, eps 0.1.

    Over JUDGED answers where the net draws at random.  "transfer" comes from the LeNet of the next seed,
    "undefended" from the same LeNet without its defence.
    """
    net, other = (recipes.pretrained("lenet", seed=each % len(SEEDS)) for each in (seed, seed + 1))
    model, known = defended(defence, net)
    x, y = _images("lenet", BROKEN_IMAGES)
    seeded = lambda strike, source: strike(source, x, y, eps=EPS["lenet"], **_drawing(strike))
    found = {"clean": x, "noise": seeded(attacks.noise, model)}
    found |= {name: seeded(strike, model) for name, strike in BLIND.items()}
    found |= {"adaptive": seeded(attacks.pgd, known), "transfer": seeded(attacks.pgd, other),
              "undefended": seeded(attacks.pgd, net),
              "square": seeded(partial(attacks.square, queries=300), model)}
    if defence in ("none", "rounded"):  # "scaled" decides as "none" does, and "shaken" answers otherwise each time
        found["strongest"] = seeded(attacks.strongest, known)
    return {name: _wrong(model, images, y, JUDGED if defence == "shaken" else 1) for name, images in found.items()}


def broken_table(results: list) -> dict:
    """Accuracy by defence, attack and seed, with mean and t interval; counts are of all images."""
    accuracy = {defence: {} for defence in DEFENCES}
    for point, found in results:
        for attack, wrong in found.items():
            accuracy[point["defence"]].setdefault(attack, []).append(1 - sum(wrong) / len(wrong))
    return {"images": BROKEN_IMAGES, "eps": EPS["lenet"], "levels": LEVELS, "draws": DRAWS, "judged": JUDGED,
            "factor": FACTOR,
            "accuracy": {defence: {attack: evaluation.over_seeds(values)._asdict() for attack, values in found.items()}
                         for defence, found in accuracy.items()}}


DEFENCES = ("none", "rounded", "shaken", "scaled")  # with the graph cut it is "none", once the cut is known


# --- an audit, before and after ------------------------------------------------------

def audited(defence: str, attacked: str) -> dict:
    """The findings of an audit of LeNet behind a defence, of the model as it is or as a knowing attacker sees it."""
    model, known = defended(defence, recipes.pretrained("lenet"), draws=5)
    report = audit(known if attacked == "known" else model, *_images("lenet", 60), eps=EPS["lenet"],
                   other=recipes.pretrained("lenet", seed=1))
    return {"passed": report.passed, "images": report.findings[0].share.n,
            "findings": {f.name: {"share": f.share.value, "passed": f.passed} for f in report.findings},
            "success": {name: share.value for name, share in report.success.items()}}


# --- few levels ------------------------------------------------------------------------

LEVEL_COUNTS, LEVEL_EPS, LEVEL_IMAGES = (2, 4, 16), (0.1, 0.2), 60


def levels(levels: int, eps: float, seed: int) -> dict:
    """Accuracy of LeNet behind rounding, under PGD as it is, BPDA and Square; and how many pixels can change level."""
    net = recipes.pretrained("lenet", seed=seed)
    model, known = Rounded(net, levels), attacks.BPDA(net, partial(rounded, levels=levels))
    x, y = _images("lenet", LEVEL_IMAGES)
    strike = {"clean": x, "pgd": attacks.pgd(model, x, y, eps=eps, generator=_generator()),
              "bpda": attacks.pgd(known, x, y, eps=eps, generator=_generator()),
              "square": attacks.square(model, x, y, eps=eps, queries=300, generator=_generator())}
    moves = rounded((x + eps).clamp(0, 1), levels) != rounded((x - eps).clamp(0, 1), levels)
    return {"accuracy": {name: 1 - sum(_wrong(model, images, y)) / len(y) for name, images in strike.items()},
            "pixels": moves.float().mean().item()}


def levels_table(results: list) -> dict:
    """By levels and eps: accuracy of each attack over the seeds, share of pixels that the budget can move."""
    by = nested("levels", "eps", "seed")(results)
    over = lambda seeds, name: evaluation.over_seeds([found["accuracy"][name] for found in seeds.values()])._asdict()
    return {"images": LEVEL_IMAGES, "levels": {
        count: {eps: {"pixels": seeds["0"]["pixels"]} | {name: over(seeds, name) for name in seeds["0"]["accuracy"]}
                for eps, seeds in by_eps.items()} for count, by_eps in by.items()}}


# --- what float32 loses ------------------------------------------------------------------

FLOAT_IMAGES = 300


def floats(net: str, seed: int) -> dict:
    """The input gradient of both forms of one loss in float32, against float64: share of images where it is exactly 0,
    where more than a tenth of its signs are wrong, and what FGSM and PGD then fool.

    "points": PGD along the log-odds on the images whose cross-entropy has no gradient at all, how many there are.
    """
    model, eps = recipes.pretrained(net, seed=seed), EPS[net]
    x, y = _images(net, FLOAT_IMAGES)
    right = evaluation.classified_right(model, x, y)
    x, y = x[right], y[right]
    exact = _gradient(copy.deepcopy(model).double(), x.double(), y, log_odds)
    found, dead = {}, None
    for name, loss in (("naive_ce", cross_entropy), ("ce", log_odds)):
        gradient = _gradient(model, x, y, loss)
        zero = (gradient == 0).flatten(1).all(1)
        dead = zero if dead is None else dead
        wrong = ((gradient.sign() != exact.sign()) & (exact != 0)).flatten(1).float().mean(1)
        fooled = {attack.__name__: _share(_wrong(model, attack(model, x, y, eps=eps, loss=name, **more), y))
                  for attack, more in ((attacks.fgsm, {}), (attacks.pgd, {"generator": _generator()}))}
        found[name] = {"zero": zero.float().mean().item(), "wrong signs": (wrong > 0.1).float().mean().item()} | fooled
    points = {"n": int(dead.sum())}
    if dead.any():
        images = attacks.pgd(model, x[dead], y[dead], eps=eps, generator=_generator())
        points["fooled"] = evaluation.rate(~evaluation.classified_right(model, images, y[dead]))._asdict()
    return {"images": len(y), "eps": eps, "losses": found, "points": points}


# --- defensive distillation ------------------------------------------------------------------

TEMPERATURES, DISTILLED_IMAGES = (100,), 100
TRAINED_ON, EPOCHS = 20_000, 3


def distilled(temperature: float, seed: int) -> dict:
    """A LeNet distilled from another one at this temperature, and what is left of it under each attack at eps 0.1."""
    train = data.load("mnist", "train").sample(TRAINED_ON, seed=SEED)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the initial weights
        teacher, student = LeNet(), LeNet()
    distil(teacher, student, train, temperature=temperature, epochs=EPOCHS, seed=seed, progress=False,
           learning_rate=training.one_cycle(4e-3, EPOCHS))
    student.requires_grad_(False).eval()
    test, (x, y) = data.load("mnist", "test"), _images("lenet", DISTILLED_IMAGES)
    strike = partial(attacks.pgd, x=x, y=y, eps=EPS["lenet"])
    cooled = nn.Sequential(student, Scale(1 / temperature))
    found = {"pgd naive": strike(student, loss="naive_ce", generator=_generator()),
             "pgd divided": strike(cooled, loss="naive_ce", generator=_generator()),
             "pgd": strike(student, generator=_generator()),
             "margin": strike(student, loss="margin", generator=_generator()),
             "strongest": attacks.strongest(student, x, y, eps=EPS["lenet"], generator=_generator())}
    return {"test accuracy": evaluation.accuracy(student, test).value,
            "gap": (-margin(evaluation.logits(student, x), y)).median().item(),
            "zero gradient": (_gradient(student, x, y, cross_entropy) == 0).flatten(1).all(1).float().mean().item(),
            **{name: 1 - _share(_wrong(student, images, y)) for name, images in found.items()}}


def distilled_table(results: list) -> dict:
    by = nested("temperature", "seed")(results)
    return {"images": DISTILLED_IMAGES, "trained on": TRAINED_ON, "epochs": EPOCHS, "eps": EPS["lenet"],
            "temperatures": {t: {name: evaluation.over_seeds([found[name] for found in seeds.values()])._asdict()
                                 for name in seeds["0"]} for t, seeds in by.items()}}


# --- the parts of the strongest attack, and effort ------------------------------------------------

EFFORT_IMAGES = 200
LADDER = {"FGSM": attacks.fgsm,
          "PGD, 10 steps": partial(attacks.pgd, steps=10, first_success=True),
          "PGD, 40 steps": partial(attacks.pgd, first_success=True),
          "PGD, 5 x 40 steps": partial(attacks.pgd, first_success=True, restarts=5)}
PARTS = ("clean", *(stage.name for stage in STANDARD), "square", None)


def effort(net: str, seed: int) -> dict:
    """Which part of the strongest attack fells each image, and rungs of a ladder: what stands and passes an image."""
    model, (x, y) = recipes.pretrained(net, seed=seed), _images(net, EFFORT_IMAGES)
    rungs = {}
    for name, attack in LADDER.items():
        with evaluation.passes(model) as work:
            images = attack(model, x, y, eps=EPS[net], **_drawing(attack))
        rungs[name] = _rung(work, evaluation.classified_right(model, images, y))
    found = {}
    for name in ("standard", "thorough") if (net, seed) == ("fully_connected", SEED) else ("standard",):
        with evaluation.passes(model) as work:
            found[name] = felled_by(model, x, y, eps=EPS[net], effort=name, generator=_generator())
        rungs[name] = _rung(work, evaluation.classified_right(model, found[name].images, y))
    return {"by": [PARTS.index(part) for part in found["standard"].by], "rungs": rungs}


def _rung(work: evaluation.Passes, standing: Tensor) -> dict:
    return {"forward": work.forward / len(standing), "backward": work.backward / len(standing),
            "standing": standing.nonzero().flatten().tolist()}


def effort_table(results: list) -> dict:
    """By net: how many images each part felled in each training seed; the ladder of each seed, what stands paired."""
    by = nested("net", "seed")(results)
    parts = ["wrong already", *PARTS[1:-1], "still standing"]
    values = {}
    for net, seeds in by.items():
        counts = {part: [found["by"].count(i) for found in seeds.values()] for i, part in enumerate(parts)}
        ladder = {seed: {name: {"forward": rung["forward"], "backward": rung["backward"],
                                "left": len(rung["standing"])} for name, rung in found["rungs"].items()}
                  for seed, found in seeds.items()}
        pairs = {seed: _pair(found["rungs"]["PGD, 5 x 40 steps"]["standing"], found["rungs"]["standard"]["standing"])
                 for seed, found in seeds.items()}
        values[net] = {"eps": EPS[net], "parts": counts, "ladder": ladder, "restarts and strongest": pairs}
    return {"images": EFFORT_IMAGES, "nets": values}


def _pair(restarts: list[int], strongest: list[int]) -> dict:
    """How many images only one of two attacks fooled."""
    felled = lambda standing: torch.tensor([i not in standing for i in range(EFFORT_IMAGES)])
    return evaluation.paired(felled(strongest), felled(restarts))._asdict()


# --- attack above, certificate below --------------------------------------------------------------------

SANDWICH_EPS = {"linear": (0.01, 0.02, 0.03, 0.04, 0.06), "fully_connected": (0.002, 0.005, 0.01, 0.02, 0.04)}
SANDWICH_IMAGES = 200


def sandwich(net: str) -> dict:
    """Accuracy under the strongest attack, and certified accuracy, at each eps; and whether any image is in both."""
    model = _linear(SEED) if net == "linear" else zoo.pretrained(net)
    x, y = _images("lenet", SANDWICH_IMAGES)
    clean = evaluation.classified_right(model, x, y)
    standing, above, below, broken = clean.clone(), [], [], 0
    for eps in SANDWICH_EPS[net]:
        rows = standing.nonzero().flatten()
        images = attacks.strongest(model, x[rows], y[rows], eps=eps, generator=_generator())
        standing[rows] = evaluation.classified_right(model, images, y[rows])
        safe = certify.certified(model, x, y, eps)
        broken += int((safe & ~standing).sum())
        above.append(standing.float().mean().item())
        below.append(safe.float().mean().item())
    return {"clean": clean.float().mean().item(), "above": above, "below": below, "broken": broken}


def _linear(seed: int) -> nn.Module:
    """Softmax regression on the pixels of MNIST."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    training.fit(model, data.load("mnist", "train"), epochs=3, seed=seed, progress=False)
    return model.requires_grad_(False).eval()


def sandwich_table(results: list) -> dict:
    return {"images": SANDWICH_IMAGES, "nets": {net: {"eps": SANDWICH_EPS[net]} | found for net, found in
                                                nested("net")(results).items()}}


# --- what they share --------------------------------------------------------------------------------------

def _images(net: str, n: int) -> tuple[Tensor, Tensor]:
    """The first n of the 1,000 test images that chapter 04 uses."""
    test = data.load(zoo.NETWORKS[net][1], "test").sample(1000, seed=SEED)[:n]
    return test.images, test.labels


def _wrong(model: nn.Module, images: Tensor, y: Tensor, answers: int = 1) -> list[float]:
    """How often the model is wrong about each image (N,), over so many answers."""
    wrong = sum(~evaluation.classified_right(model, images, y) for _ in range(answers))
    return (wrong / answers).tolist()


def _share(wrong: list[float]) -> float:
    return sum(wrong) / len(wrong)


def _gradient(model: nn.Module, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    point = x.clone().requires_grad_()
    return torch.autograd.grad(loss(model(point), y).sum(), point)[0]


def _drawing(strike: Callable) -> dict:
    """A generator, for an attack that draws random numbers."""
    return {} if getattr(strike, "func", strike) is attacks.fgsm else {"generator": _generator()}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


BOTH = ["mnist train", "mnist test"]
SMALL = ("lenet", "fully_connected")

RECORDS = {
    "07-broken": Grid(broken, [{"defence": defence, "seed": seed} for defence in DEFENCES for seed in SEEDS],
                      broken_table, BOTH, SEED),
    "07-audit": Grid(audited, [{"defence": defence, "attacked": attacked} for defence in (*DEFENCES, "cut")
                               for attacked in ("as it is", "known") if (defence, attacked) != ("none", "known")],
                     nested("defence", "attacked"), BOTH, SEED),
    "07-levels": Grid(levels, [{"levels": count, "eps": eps, "seed": seed} for count in LEVEL_COUNTS
                               for eps in LEVEL_EPS for seed in SEEDS], levels_table, BOTH, SEED),
    "07-floats": Grid(floats, [*({"net": net, "seed": seed} for net in SMALL for seed in SEEDS),
                               *({"net": net, "seed": 0} for net in ("hebbian_bio", "hebbian_bp"))],
                      nested("net", "seed"), BOTH, SEED),
    "07-distilled": Grid(distilled, [{"temperature": t, "seed": seed} for t in TEMPERATURES for seed in SEEDS],
                         distilled_table, BOTH, SEED),
    "07-undistilled": Grid(distilled, [{"temperature": 1, "seed": seed} for seed in SEEDS], distilled_table, BOTH,
                           SEED),
    "07-effort": Grid(effort, [{"net": net, "seed": seed} for net in SMALL for seed in SEEDS], effort_table, BOTH,
                      SEED),
    "07-sandwich": Grid(sandwich, [{"net": net} for net in SANDWICH_EPS], sandwich_table, BOTH, SEED),
}
