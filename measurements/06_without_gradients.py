"""Chapter 06: without gradients.  Transfer from net to net, attacks on scores and on labels, one pixel, and what each
attacker has to know and to ask.
"""

from __future__ import annotations

from functools import partial
from typing import Callable

import torch
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry
from advlens.attacks.losses import margin
from advlens.course import recipes
from advlens.course.measuring import Grid, device, nested
from advlens.layers import Scale
from advlens.models import Ensemble

SEED, IMAGES = 0, 300
SMALL = [f"{kind}/{seed}" for kind in ("lenet", "fully_connected") for seed in range(5)]
NETS = [*SMALL, "mnist_resnet/0", "hebbian_bp/0", "hebbian_bio/0"]


# --- from net to net -------------------------------------------------------------

TRANSFER_EPS, TRANSFER_STEPS = 0.1, 20


def transfer(source: str) -> dict:
    """Which share of the images that a target classifies right is fooled by examples made on a source, by target.

    source: one of NETS, or "noise" for random signs.
    """
    test = _images()
    if source == "noise":
        signs = torch.randint(0, 2, test.images.shape, generator=_generator()) * 2.0 - 1
        adversarial = (test.images + TRANSFER_EPS * signs).clamp(0, 1)
    else:
        adversarial = attacks.pgd(_net(source), *_on_device(test), eps=TRANSFER_EPS, steps=TRANSFER_STEPS,
                                  generator=_generator()).cpu()
    return {name: evaluation.rate(fooled)._asdict() for name, fooled in _fooled(NETS, test, adversarial).items()}


def transfer_values(results: list) -> dict:
    return {"eps": TRANSFER_EPS, "steps": TRANSFER_STEPS, "images": IMAGES, "nets": NETS,
            "fooled": nested("source")(results)}


# --- how far examples travel: budget, momentum, several nets ----------------------

TRAVEL_EPS, TRAVEL_STEPS = (0.05, 0.1, 0.15, 0.2, 0.3), 10
SOURCES = {"one": ["lenet/0"], "two": ["lenet/0", "fully_connected/0"],
           "four": ["lenet/0", "lenet/1", "fully_connected/0", "fully_connected/1"]}
TARGETS = [f"{kind}/{seed}" for kind in ("lenet", "fully_connected") for seed in (2, 3, 4)] + ["mnist_resnet/0"]
WALKS = {"fgsm": ("one", None), "bim": ("one", 0.0), "momentum": ("one", 1.0), "two nets": ("two", 1.0),
         "two nets, no momentum": ("two", 0.0), "four nets": ("four", 1.0)}


def travel(walk: str, eps: float) -> dict:
    """Which of the images that a target classifies right are fooled, and the mean length of the perturbation.

    "to the edge": the same perturbation with every pixel moved by the whole eps, in the direction it has.
    """
    sources, momentum = WALKS[walk]
    test = _images()
    nets = [_net(name) for name in SOURCES[sources]]
    model = nets[0] if len(nets) == 1 else Ensemble(nets)
    x, y = _on_device(test)
    steps = TRAVEL_STEPS if momentum is not None else 1
    adversarial = attacks.pgd(model, x, y, eps=eps, steps=steps, step_size=eps / steps, random_start=False,
                              momentum=momentum or 0.0).cpu()
    pushed = (test.images + eps * (adversarial - test.images).sign()).clamp(0, 1)
    return {name: {"l2": geometry.norm(images - test.images, "l2").mean().item(),
                   "fooled": {target: fooled.tolist() for target, fooled in _fooled(TARGETS, test, images).items()}}
            for name, images in (("as it is", adversarial), ("to the edge", pushed))}


def travel_values(results: list) -> dict:
    """Rates by walk, eps, form and target; "momentum" against "bim" on the same images of each target."""
    kept = {(point["walk"], point["eps"]): value for point, value in results}
    table: dict = {}
    for (walk, eps), forms in kept.items():
        for form, found in forms.items():
            table.setdefault(walk, {}).setdefault(str(eps), {})[form] = told = {
                "l2": found["l2"], "targets": {target: evaluation.rate(torch.tensor(hits))._asdict()
                                               for target, hits in found["fooled"].items()}}
            if walk == "momentum":
                other = kept["bim", eps][form]["fooled"]
                told["against bim"] = {target: evaluation.paired(torch.tensor(hits),
                                                                 torch.tensor(other[target]))._asdict()
                                       for target, hits in found["fooled"].items()}
    return {"eps": TRAVEL_EPS, "steps": TRAVEL_STEPS, "images": IMAGES, "sources": SOURCES, "targets": TARGETS,
            "walks": table}


SZEGEDY_IMAGES, FULLY = 200, SMALL[5:]


def smallest(source: str) -> dict:
    """Images that L-BFGS makes on one fully connected net towards the next class: the share that each misclassifies."""
    test = _images(SZEGEDY_IMAGES)
    x, y = _on_device(test)
    found = attacks.lbfgs(_net(source), x, (y + 1) % 10, searches=8, steps=30, targeted=True).cpu()
    wrong = lambda name, images: evaluation.rate(~evaluation.classified_right(_net(name), images, test.labels))
    return {"distortion": (found - test.images).square().flatten(1).mean(1).sqrt().mean().item(),
            "l2": geometry.norm(found - test.images, "l2").mean().item(),
            "clean": wrong(source, test.images)._asdict(),
            "wrong": {name: wrong(name, found)._asdict() for name in FULLY}}


def smallest_values(results: list) -> dict:
    return {"images": SZEGEDY_IMAGES, "sources": nested("source")(results)}


# --- what each attacker asks ---------------------------------------------------------

ASKED = {"lenet": 0.1, "fully_connected": 0.05, "hebbian_bp": 0.1}  # net -> eps
ASKED_IMAGES, QUERIES, FULL_STEPS, WIDTH = 40, 3000, 10, 0.01
PAIRS = 25  # random directions a step
OUTSIDE = {"lenet": ["fully_connected/0", "hebbian_bp/0"], "fully_connected": ["lenet/0", "hebbian_bp/0"],
           "hebbian_bp": ["lenet/0", "fully_connected/0"]}  # nets of other kinds, to borrow from


def asked(net: str, attack: str) -> dict:
    """How many of the images, all classified right, still stand after so many queries each: [[queries, standing]]."""
    model, x, y = _classified_right(net, ASKED_IMAGES)
    eps = ASKED[net]
    strike: dict[str, Callable] = {
        "white box": partial(_at_once, partial(attacks.pgd, steps=40, loss="margin", first_success=True,
                                               generator=_generator())),
        "white box, naive": partial(_at_once, partial(attacks.pgd, steps=40, loss="naive_ce", first_success=True,
                                                      generator=_generator())),
        "transfer": partial(_borrowed, OUTSIDE[net]), "same kind": partial(_borrowed, [f"{net}/1"]),
        "true gradient": partial(_climb, _true_slope, 0, FULL_STEPS, 2.5 / FULL_STEPS),
        "finite differences": partial(_climb, _differences, 2 * x[0].numel(), FULL_STEPS, 2.5 / FULL_STEPS),
        "random directions": partial(_climb, _random_slope(), 2 * PAIRS, QUERIES // (2 * PAIRS), 0.05),
        "square": _square, "hop_skip_jump": partial(_at_once, partial(_nearest, queries=QUERIES), queries=QUERIES)}
    standing = strike[attack](model, x, y, eps)
    left = standing[-1][1]
    return {"eps": eps, "standing": standing,
            "fooled": evaluation.rate(torch.arange(len(x)) >= left)._asdict()}


def _at_once(attack: Callable, model: nn.Module, x: Tensor, y: Tensor, eps: float, queries: int = 0) -> list:
    """An attack of which only the end counts."""
    adversarial = attack(model, x, y, eps=eps)
    return [[0, len(x)], [queries, int(evaluation.classified_right(model, adversarial, y).sum())]]


def _borrowed(sources: list[str], model: nn.Module, x: Tensor, y: Tensor, eps: float) -> list:
    """Examples made on other nets, with momentum.  The hebbian net speaks in thousands: each gets the same spread."""
    nets = [_net(name) for name in sources]
    spread = [evaluation.logits(net, x).std(1).mean().item() for net in nets]
    same = [nn.Sequential(net, Scale(1 / size)) for net, size in zip(nets, spread)]
    attack = partial(attacks.pgd, Ensemble(same), steps=20, step_size=eps / 20, random_start=False, momentum=1.0)
    return _at_once(lambda _, x, y, eps: attack(x, y, eps=eps), model, x, y, eps)


def _nearest(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, queries: int) -> Tensor:
    """HopSkipJump's answer where it lies in the ball, else the clean image."""
    found = attacks.hop_skip_jump(model, x, y, norm="linf", queries=queries, generator=_generator())
    return torch.where(geometry.per_sample(geometry.norm(found - x, "linf") <= eps, x), found, x)


def _square(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> list:
    """Square asks once for each image that stands, so the sizes of its calls tell how many do."""
    sizes: list[int] = []
    hook = model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    try:
        adversarial = attacks.square(model, x, y, eps=eps, queries=QUERIES, generator=_generator())
    finally:
        hook.remove()
    left = int(evaluation.classified_right(model, adversarial, y).sum())
    asked = sizes[1:]  # the first call looks at the clean images
    return [[0, len(x)], *([k, n] for k, (n, before) in enumerate(zip(asked[1:], asked), 1) if n < before),
            [len(asked), left]]


def _climb(slope: Callable, price: int, steps: int, share: float, model: nn.Module, x: Tensor, y: Tensor,
           eps: float) -> list:
    """BIM along an estimated gradient of the margin; images that are fooled leave.  One query a step looks."""
    standing, queries, clean, point = [[0, len(x)]], 0, x, x
    for _ in range(steps):
        g = torch.cat([slope(lambda z: margin(model(z), label.expand(len(z))), image[None])
                       for image, label in zip(point, y)])
        point = (clean + (point + share * eps * g.sign() - clean).clamp(-eps, eps)).clamp(0, 1)
        stays = evaluation.classified_right(model, point, y)
        queries += price + 1
        standing.append([queries, int(stays.sum())])
        clean, point, y = clean[stays], point[stays], y[stays]
        if len(y) == 0:
            break
    return standing


@torch.no_grad()
def _differences(score: Callable, x: Tensor) -> Tensor:
    """The slope of score at one image (1, C, H, W), pixel by pixel, with two queries for each."""
    nudges = WIDTH * torch.eye(x.numel(), device=x.device).view(-1, *x.shape[1:])
    up, down = (x + nudges).clamp(0, 1), (x - nudges).clamp(0, 1)
    return ((score(up) - score(down)) / (up - down).flatten(1).sum(1)).view(x.shape)


def _true_slope(score: Callable, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(score(x).sum(), x)[0]


def _random_slope() -> Callable:
    """The slope in PAIRS random directions, two queries each, and their mean weighted by it."""
    generator = _generator()

    @torch.no_grad()
    def slope(score: Callable, x: Tensor) -> Tensor:
        u = 0.05 * torch.randn(PAIRS, *x.shape[1:], generator=generator).to(x)
        up, down = (x + u).clamp(0, 1), (x - u).clamp(0, 1)
        rise = score(up) - score(down)
        return (geometry.per_sample(rise, u) * (up - down)).mean(0, keepdim=True)

    return slope


def asked_values(results: list) -> dict:
    return {"eps": ASKED, "images": ASKED_IMAGES, "queries": QUERIES, "steps": FULL_STEPS,
            "nets": nested("net", "attack")(results)}


def asked_points() -> list[dict]:
    some = ["white box", "transfer", "square", "hop_skip_jump"]
    every = {"lenet": ["same kind", "true gradient", "finite differences", "random directions"],
             "fully_connected": ["same kind", "true gradient", "finite differences", "random directions"],
             "hebbian_bp": ["white box, naive", "random directions"]}
    return [{"net": net, "attack": attack} for net in ASKED for attack in some + every[net]]


# --- labels only: how near --------------------------------------------------------------

LABEL_QUERIES, LABEL_IMAGES = (100, 250, 500, 1000, 2500, 5000), 40


def labels(queries: int | None) -> list[float]:
    """The l2 norm that HopSkipJump finds for each of LeNet's images; None: DDN, which has the gradient."""
    model, x, y = _classified_right("lenet", LABEL_IMAGES)
    if queries is None:
        found = attacks.ddn(model, x, y, steps=200)
    else:
        found = attacks.hop_skip_jump(model, x, y, queries=queries, generator=_generator())
    result = evaluation.evaluate(model, x, found, y)
    return torch.where(result.success, result.l2, torch.inf).nan_to_num(posinf=-1.0).tolist()  # -1: nothing found


def label_values(results: list) -> dict:
    found = {str(point["queries"]): value for point, value in results}
    return {"images": LABEL_IMAGES, "queries": LABEL_QUERIES, "white box": found.pop("None"), "l2": found}


# --- one pixel ----------------------------------------------------------------------------

PIXEL_IMAGES, PALETTE = 150, (0.0, 1.0, 0.25, 0.5, 0.75)
POPULATIONS = {"evolution": (100, 38), "small evolution": (40, 9)}  # population, generations


def one_pixel(net: str, search: str) -> list[int]:
    """Which of the first images that the net classifies right fall to one pixel."""
    model, x, y = _classified_right(net, PIXEL_IMAGES)
    if search == "exhaustive":
        found = attacks.one_pixel_exhaustive(model, x, y, values=torch.tensor(PALETTE)[:, None])
    else:
        population, generations = POPULATIONS[search]
        found = attacks.one_pixel(model, x, y, population=population, generations=generations, generator=_generator())
    return (~evaluation.classified_right(model, found, y)).nonzero().flatten().tolist()


def one_pixel_values(results: list) -> dict:
    """Rates by net and search, and the exhaustive search against evolution on the same images."""
    hits = {(point["net"], point["search"]): torch.zeros(PIXEL_IMAGES, dtype=torch.bool).index_fill(
        0, torch.tensor(fallen, dtype=torch.int64), True) for point, fallen in results}
    searches = {search for _, search in hits}
    return {"images": PIXEL_IMAGES, "palette": PALETTE,
            "queries": {"exhaustive": 784 * len(PALETTE)} | {name: population * (generations + 1) for name, (
                population, generations) in POPULATIONS.items()},
            "fooled": {net: {search: evaluation.rate(hits[net, search])._asdict() for search in searches
                             if (net, search) in hits} for net, _ in hits},
            "paired": {net: {search: evaluation.paired(hits[net, "exhaustive"], hits[net, search])._asdict()
                             for search in POPULATIONS if (net, search) in hits} for net, _ in hits}}


# --- what they share ------------------------------------------------------------------------

def _net(name: str) -> nn.Module:
    """The net of a kind and a training seed, "lenet/3"."""
    kind, _, seed = name.partition("/")
    return recipes.pretrained(kind, "mnist", seed=int(seed or 0)).to(device())


def _images(n: int = IMAGES) -> data.Dataset:
    """Test images, always the same ones."""
    return data.load("mnist", "test").sample(n, seed=SEED)


def _classified_right(name: str, n: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A net, and the first n of the images that it classifies right."""
    net, test = _net(name), _images(2 * n)
    return net, *_on_device(test[evaluation.classified_right(net, test)][:n])


def _fooled(names: list[str], test: data.Dataset, adversarial: Tensor) -> dict[str, Tensor]:
    """For each net, which of the images that it classifies right clean it classifies wrong attacked, (n,) bool."""
    found = {}
    for name in names:
        net = _net(name)
        right = evaluation.classified_right(net, test)
        found[name] = ~evaluation.classified_right(net, adversarial[right], test.labels[right])
    return found


def _on_device(test: data.Dataset) -> tuple[Tensor, Tensor]:
    return test.images.to(device()), test.labels.to(device())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


MNIST = ["mnist test"]
RECORDS = {
    "06-transfer": Grid(transfer, [{"source": name} for name in (*NETS, "noise")], transfer_values, MNIST, SEED),
    "06-travel": Grid(travel, [{"walk": walk, "eps": eps} for walk in WALKS for eps in TRAVEL_EPS], travel_values,
                      MNIST, SEED),
    "06-smallest": Grid(smallest, [{"source": name} for name in FULLY], smallest_values, MNIST, SEED),
    "06-queries": Grid(asked, asked_points(), asked_values, MNIST, SEED),
    "06-labels": Grid(labels, [{"queries": queries} for queries in (None, *LABEL_QUERIES)], label_values, MNIST, SEED),
    "06-one-pixel": Grid(one_pixel, [{"net": net, "search": search} for net in ("lenet", *SMALL[5:])
                                     for search in ("exhaustive", *POPULATIONS)], one_pixel_values, MNIST, SEED),
}
