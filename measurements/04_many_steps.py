"""Chapter 04: many steps.  FGSM against PGD, the knobs of PGD, its schedules and starts, confident nets, the
strongest attack."""

from __future__ import annotations

import warnings
from functools import partial, reduce

import torch
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.attacks.losses import cross_entropy
from advlens.course.measuring import Grid, device, nested
from advlens.layers import Scale

SEED = 0
MNIST_EPS = (0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 77 / 255)  # 77/255 is the budget of cutilli2021
CIFAR_EPS = tuple(k / 255 for k in (0, 0.5, 1, 1.5, 2, 3, 4, 8))
L2_EPS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3)
NETS = {"lenet": MNIST_EPS, "mnist_resnet": MNIST_EPS, "fully_connected": MNIST_EPS, "cifar_net": CIFAR_EPS,
        "vgg_blocks": CIFAR_EPS}
BOTH = ["mnist test", "cifar10 test"]


# --- curves --------------------------------------------------------------------

def curve(net: str, attack: str, eps: list[float], norm: str = "linf", images: int = 1000) -> dict:
    """Accuracy of a net against eps under an attack."""
    model, test = _net_and_images(net, images)
    seeded = {"norm": norm, "generator": _generator()}
    strike = {"fgsm": attacks.fgsm, "fgm": attacks.fgm, "bim": attacks.bim, "noise": partial(attacks.noise, **seeded),
              "pgd": partial(attacks.pgd, steps=40, first_success=True, **seeded),
              "strongest": partial(attacks.strongest, **seeded)}[attack]
    return evaluation.robust_curve(model, test, attack=strike, eps=eps, batch_size=250)._asdict()


def curves(results: list) -> dict:
    """Each net's curves, beside its accuracy on the complete test set."""
    nets = {name: {"test accuracy": zoo.card(name)["test accuracy"]} | found for name,
            found in nested("net", "attack")(results).items()}
    return {"steps": 40, "nets": nets}


# --- steps, step size, starts -----------------------------------------------------

KNOBS_EPS, KNOBS_IMAGES = 0.1, 500
STEPS = (1, 2, 5, 10, 20, 40, 100)
STEP_SIZES = (0.5, 1.0, 2.5, 5.0, 10.0)  # in units of eps / steps
STARTS = range(20)
CELLS = [{"steps": steps, "step_size": size, "start": 0} for steps in STEPS for size in STEP_SIZES]


def knobs(steps: int, step_size: float, start: int | None) -> list[int]:
    """Which of LeNet's images still stand after PGD; start: seed of the random start, or None to start at x."""
    net, test = _net_and_images("lenet", KNOBS_IMAGES)
    adversarial = attacks.pgd(net, *_on_device(test), eps=KNOBS_EPS, steps=steps,
                              step_size=step_size * KNOBS_EPS / steps, random_start=start is not None,
                              first_success=True, generator=_generator(start or 0))
    return evaluation.classified_right(net, adversarial.cpu(), test.labels).nonzero().flatten().tolist()


def knob_table(results: list) -> dict:
    """Accuracy for steps x step sizes, with and without a random start, and after 1 to 20 starts."""
    standing = {tuple(point.values()): set(images) for point, images in results}
    after = [reduce(set.intersection, [standing[40, 2.5, start] for start in range(n + 1)]) for n in STARTS]
    left = lambda steps, size, start: len(standing[steps, size, start]) / KNOBS_IMAGES
    return {"eps": KNOBS_EPS, "images": KNOBS_IMAGES, "steps": STEPS, "reach": STEP_SIZES,
            "accuracy": [[left(steps, size, 0) for size in STEP_SIZES] for steps in STEPS],
            "after starts": [evaluation.rate(torch.arange(KNOBS_IMAGES) < len(images))._asdict() for images in after],
            "start at x": left(40, 2.5, None), "random start": left(40, 2.5, 0)}


SCHEDULE_NETS, SCHEDULE_EPS = ("lenet", "hebbian_bio", "hebbian_bp"), (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
SCHEDULES = {"2/255": 2 / 255, "2.5 eps / 40": None}


def schedule(net: str, step: str, eps: float) -> dict:
    """Accuracy under forty steps of PGD, of 2/255 as in belaustegui2022 or growing with eps; 500 images.

    The two nets of the source are attacked as there: cross-entropy of the logits / 10^5.
    """
    model, test = _net_and_images(net, 500)
    loss = "ce" if net == "lenet" else lambda z, y: cross_entropy(z / 1e5, y)
    strike = partial(attacks.pgd, eps=eps, steps=40, step_size=SCHEDULES[step], loss=loss, generator=_generator())
    return evaluation.robust_accuracy(model, test, attack=strike, batch_size=250)._asdict()


def starts() -> dict:
    """Twenty walks from random starts on each of 100 images: where their losses end, and how far apart they end."""
    eps, walks, steps = 0.1, 20, 100
    net, test = _net_and_images("lenet", 110)
    x, y = _on_device(test[evaluation.classified_right(net, test)][:100])
    generator = _generator()
    ends = [attacks.pgd(net, x, y, eps=eps, steps=steps, generator=generator) for _ in range(walks)]
    logits = torch.stack([evaluation.logits(net, end) for end in ends])  # (walks, images, K)
    loss = torch.stack([cross_entropy(z, y) for z in logits])
    noises = (torch.stack(ends) - x).flatten(2)  # (walks, images, pixels)
    apart = (noises[:, None] - noises[None]).norm(dim=-1).sum((0, 1)) / (walks * (walks - 1))
    fooled = logits.argmax(2) != y
    corner = (noises.abs() > 0.99 * eps) | ((x + noises.view(walks, *x.shape)).flatten(2) % 1 == 0)
    clean = cross_entropy(evaluation.logits(net, x), y)
    return {"eps": eps, "images": len(y), "starts": walks, "steps": steps,
            "clean loss": clean.mean().item(),
            "mean": loss.mean(0).tolist(), "low": loss.amin(0).tolist(), "high": loss.amax(0).tolist(),
            "within images": loss.var(0).mean().sqrt().item(), "between images": loss.mean(0).std().item(),
            "start decides": ((fooled.any(0)) & ~fooled.all(0)).float().mean().item(),
            "distance": apart.mean().item(), "length": noises.norm(dim=-1).mean().item(),
            "pixels at the edge": corner.float().mean().item()}


# --- confident nets ------------------------------------------------------------------

TEMPERATURES = (1, 10, 100, 1000, 10_000, 100_000)
SWEEP = {"eps": 0.15, "steps": 20}  # of the temperatures
TABLE = {"eps": 0.1, "steps": 40}  # of the losses
HEBBIAN = {"eps": 0.15, "steps": 40}
LOSSES = ("naive_ce", "ce", "margin")


def confident(what: str, **settings) -> dict:
    return {"gradient": gradient, "fooled": fooled}[what](**settings)


def gradient(factor: float) -> dict:
    """LeNet with its logits times a factor: how sure it is, and how often the cross-entropy's gradient is exactly 0."""
    net, x, y = _classified_right("lenet", factor)
    return {"gap": (-evaluation.evaluate(net, x, x, y).margin).median().item(),
            "zero gradient": {str(t): _zero_gradients(net, x, y, t) for t in TEMPERATURES},
            "zero loss": (cross_entropy(evaluation.logits(net, x), y) == 0).float().mean().item()}


def fooled(net: str, factor: float, loss: str, eps: float, steps: int, temperature: float | None = None) -> dict:
    """Share of images, all classified right, that PGD fools; a temperature divides the logits of the naive
    cross-entropy.
    """
    model, x, y = _classified_right(net, factor)
    climbed = loss if temperature is None else lambda z, y: cross_entropy(z / temperature, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", geometry.ZeroGradientWarning)  # it is what the record is about
        adversarial = attacks.pgd(model, x, y, eps=eps, steps=steps, loss=climbed, first_success=True,
                                  generator=_generator())
    return evaluation.rate(~evaluation.classified_right(model, adversarial, y))._asdict()


def confident_points() -> list[dict]:
    lenet = {"what": "fooled", "net": "lenet"}
    sweep = [lenet | SWEEP | {"factor": factor, "loss": loss} | more for factor in (1, 10, 100) for loss, more in
             [*(("naive_ce", {"temperature": t}) for t in TEMPERATURES), ("margin", {})]]
    table = [lenet | TABLE | {"factor": factor, "loss": loss} for loss in LOSSES for factor in (1, 10, 100, 1000)]
    hebbian = [{"what": "fooled", "net": net, "factor": 1, "loss": loss} | HEBBIAN
               for net in ("hebbian_bio", "hebbian_bp") for loss in LOSSES]
    return [{"what": "gradient", "factor": factor} for factor in (1, 10, 100)] + sweep + table + hebbian


def confident_values(results: list) -> dict:
    """"logits": gradients and the sweep of temperatures by factor; "losses": by loss and factor; "hebbian": by net and
    loss.
    """
    chosen = lambda **keys: [(point, value) for point,
                             value in results if all(point.get(key) == wanted for key, wanted in keys.items())]
    by_factor = nested("factor")(chosen(what="gradient"))
    naive = nested("factor", "temperature")([r for r in chosen(net="lenet", loss="naive_ce", **SWEEP)])
    margin = nested("factor")(chosen(net="lenet", loss="margin", **SWEEP))
    table = nested("loss", "factor")(chosen(net="lenet", **TABLE))
    hebbian = nested("net", "loss")([(p, v) for p, v in results if p.get("net", "").startswith("hebbian")])
    return {"images": margin["1"]["n"], "temperatures": TEMPERATURES, **SWEEP,
            "logits": {factor: found | {"naive_ce": naive[factor], "margin": margin[factor]} for factor,
                       found in by_factor.items()},
            "losses eps": TABLE["eps"], "losses steps": TABLE["steps"], "losses": table,
            "hebbian eps": HEBBIAN["eps"], "hebbian steps": HEBBIAN["steps"], "hebbian": hebbian}


# --- the honest end ----------------------------------------------------------------------

IN_THE_BALL = {"linf": ("noise", "fgsm", "bim", "pgd", "strongest"), "l2": ("fgm", "pgd", "strongest")}


def honest_points() -> list[dict]:
    """LeNet from random noise to the strongest attack, in both balls and without a ball; five nets at one eps."""
    lenet = [{"net": "lenet", "attack": attack, "eps": list(MNIST_EPS if norm == "linf" else L2_EPS), "norm": norm}
             for norm, names in IN_THE_BALL.items() for attack in names]
    nets = [{"net": net, "attack": attack, "eps": [0.1 if NETS[net] is MNIST_EPS else 2 / 255], "norm": "linf"}
            for net in NETS for attack in ("noise", "fgsm", "pgd", "strongest")]
    unbounded = {"net": "lenet", "attack": "strongest", "eps": [1.0], "norm": "linf"}
    return [point | {"images": 300} for point in (*lenet, unbounded, *nets)]  # the first 300 of the 1,000


def honest_values(results: list) -> dict:
    curves = [(point, value) for point, value in results if len(point["eps"]) > 1]
    at_one = [(point | {"eps": point["eps"][0]}, _at_one_eps(value)) for point,
              value in results if len(point["eps"]) == 1]
    balls = nested("norm", "attack")(curves)
    balls["l2"]["pgd-l2"] = balls["l2"].pop("pgd")  # the name by which the plots know it
    nets = nested("net", "attack")([(point, value) for point, value in at_one if point["eps"] < 1])
    eps = {point["net"]: point["eps"] for point, _ in at_one if point["eps"] < 1}
    (unbounded,) = (value for point, value in at_one if point["eps"] == 1)
    return {"images": unbounded["n"], **balls, "unbounded": unbounded,
            "nets": {net: {"eps": eps[net]} | found for net, found in nets.items()}}


def _at_one_eps(curve: dict) -> dict:
    """A curve of one point as a rate."""
    return {"value": curve["accuracy"][0], "low": curve["low"][0], "high": curve["high"][0], "n": curve["n"]}


# --- what they share ------------------------------------------------------------------------

def _zero_gradients(net: nn.Module, x: Tensor, y: Tensor, temperature: float) -> float:
    """Share of images whose cross-entropy at this temperature has an input gradient of exactly 0 in every pixel."""
    point = x.clone().requires_grad_()
    gradient = torch.autograd.grad(cross_entropy(net(point) / temperature, y).sum(), point)[0]
    return (gradient == 0).flatten(1).all(1).float().mean().item()


def _net_and_images(name: str, n: int) -> tuple[nn.Module, data.Dataset]:
    """A pretrained net and n test images of the data set it was trained on, always the same ones."""
    return zoo.pretrained(name).to(device()), data.load(zoo.NETWORKS[name][1], "test").sample(n, seed=SEED)


def _classified_right(name: str, factor: float) -> tuple[nn.Module, Tensor, Tensor]:
    """A net with its logits times a factor, and those of 1,000 images that it classifies right."""
    net, test = _net_and_images(name, 1000)
    x, y = _on_device(test[evaluation.classified_right(net, test)])
    return nn.Sequential(net, Scale(factor)).eval(), x, y


def _on_device(test: data.Dataset) -> tuple[Tensor, Tensor]:
    return test.images.to(device()), test.labels.to(device())


def _generator(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


RECORDS = {
    "04-curves": Grid(curve, [{"net": net, "attack": attack, "eps": list(eps)} for net,
                              eps in NETS.items() for attack in ("fgsm", "pgd")],
                      curves, BOTH, SEED),
    "04-knobs": Grid(knobs, [*CELLS, *({"steps": 40, "step_size": 2.5, "start": start}
                                       for start in (None, *STARTS[1:]))], knob_table, ["mnist test"], SEED),
    "04-schedule": Grid(schedule, [{"net": net, "step": step, "eps": eps} for net in SCHEDULE_NETS
                                   for step in SCHEDULES for eps in SCHEDULE_EPS],
                        nested("net", "step", "eps"), ["mnist test"], SEED),
    "04-starts": Grid(starts, data=["mnist test"], seed=SEED),
    "04-confident": Grid(confident, confident_points(), confident_values, ["mnist test"], SEED),
    "04-honest": Grid(curve, honest_points(), honest_values, BOTH, SEED),
}
