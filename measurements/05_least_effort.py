"""Chapter 05: least effort.  Success against norm, what it costs, pairs of classes, subtle noise, pairs of pixels, and
linear nets whose nearest boundary is known."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from advlens import attacks, data, evaluation, zoo
from advlens.attacks.boundary import signed_margin
from advlens.course import recipes
from advlens.course.measuring import Grid, nested
from advlens.geometry import per_sample
from advlens.inputs import forward, frozen, image_gradient

SEED = 0
SEEDS = range(5)  # trainings of a net
BOTH = ["mnist test", "cifar10 test"]


# --- success against norm ------------------------------------------------------------

IMAGES = {"lenet": 150, "mnist_resnet": 20, "cifar_net": 16}
NEAREST = {"lbfgs": attacks.lbfgs, "deepfool": attacks.deepfool, "carlini_wagner": attacks.carlini_wagner,
           "ddn": attacks.ddn, "fmn": attacks.fmn}


def success(net: str, attack: str) -> dict:
    """The norms of the attack on each image that the net classifies right (None where it fails), and what it costs for
    each: passes, and seconds of one processor.
    """
    model = zoo.pretrained(net)
    x, y = _classified_right(model, zoo.NETWORKS[net][1], IMAGES[net])
    began = time.process_time()
    with evaluation.passes(model) as work:
        adversarial = NEAREST[attack](model, x, y)
    seconds = time.process_time() - began
    judged = evaluation.evaluate(model, x, adversarial, y)
    norms = {name: _rounded(torch.where(judged.success, size, torch.inf)) for name, size in
             (("l2", judged.l2), ("linf", judged.linf))}
    return {"images": len(y), "fooled": int(judged.success.sum()), **norms, "forward": work.forward / len(y),
            "backward": work.backward / len(y), "seconds": seconds / len(y)}


# --- what the published Carlini-Wagner costs --------------------------------------------

EFFORT_IMAGES = 12
EFFORTS = [{"version": version, "searches": searches, "steps": steps, "learning_rate": rate} for
           version, searches, steps, rate in (
               ("published", 9, 1000, 0.01), ("published", 9, 100, 0.01), ("published", 5, 100, 0.1),
               ("ours", 5, 100, 0.1), ("ours", 9, 1000, 0.1))]


def effort(version: str, searches: int, steps: int, learning_rate: float) -> dict:
    """L2 norms of two versions of Carlini-Wagner on the same images of LeNet, and their passes."""
    model = zoo.pretrained("lenet")
    x, y = _classified_right(model, "mnist", EFFORT_IMAGES)
    strike = {"published": published, "ours": attacks.carlini_wagner}[version]
    with evaluation.passes(model) as work:
        adversarial = strike(model, x, y, searches=searches, steps=steps, learning_rate=learning_rate)
    judged = evaluation.evaluate(model, x, adversarial, y)
    clean = (x == 0) | (x == 1)
    return {"images": len(y), "l2": _rounded(torch.where(judged.success, judged.l2, torch.inf)),
            "forward": work.forward / len(y), "backward": work.backward / len(y),
            "black or white moved": ((adversarial - x).abs() > 0.5 / 255)[clean].float().mean().item(),
            "others moved": ((adversarial - x).abs() > 0.5 / 255)[~clean].float().mean().item()}


def published(model: nn.Module, x: Tensor, y: Tensor, *, searches: int, steps: int, learning_rate: float) -> Tensor:
    """Carlini and Wagner's L2 attack with the choices of their paper and code, without leaving a search early.

    A pixel is (1 + tanh w) / 2, with 0.999999 of the way to black and white; c begins at 0.001, and Adam's
    step stays as it is (carlini2017, sec. V and VI).
    """
    start = (0.999999 * (2 * x - 1)).atanh()
    best, shortest = x.clone(), torch.full((len(x),), torch.inf)
    c, low, high = torch.full((len(x),), 1e-3), torch.zeros(len(x)), torch.full((len(x),), torch.inf)
    with frozen(model), torch.enable_grad():
        for _ in range(searches):
            w, reached = start.clone().requires_grad_(), torch.zeros(len(x), dtype=torch.bool)
            adam = torch.optim.Adam([w], lr=learning_rate)
            for _ in range(steps):
                point = (1 + w.tanh()) / 2
                margin = signed_margin(forward(model, point), y, False)
                size = (point - start.tanh() / 2 - 0.5).flatten(1).norm(dim=1)
                better = (margin > 0) & (size < shortest)
                best[better], shortest[better] = point.detach()[better], size.detach()[better]
                reached |= margin > 0
                adam.zero_grad()
                (size.square() + c * (-margin).clamp_min(0)).sum().backward()
                adam.step()
            low, high = torch.where(reached, low, c), torch.where(reached, c, high)
            c = torch.where(high < torch.inf, (low + high) / 2, 10 * c)
    return best.clamp(0, 1)


# --- from every class to every class -------------------------------------------------------

EACH = 6  # images of each class


def targets(seed: int) -> list[list[float]]:
    """Median distance (10, 10) from images of one class (down) to another class (across), by targeted DDN; nan where
    they are the same.
    """
    model = recipes.pretrained("lenet", "mnist", seed=seed)
    test = data.load("mnist", "test").sample(2000, SEED)
    test = test[evaluation.classified_right(model, test)]
    table = []
    for k in range(10):
        x = test.images[test.labels == k][:EACH]
        aims = torch.arange(10).repeat_interleave(len(x))
        clean = x.repeat(10, 1, 1, 1)
        found = evaluation.evaluate(model, clean, attacks.ddn(model, clean, aims, targeted=True), aims, targeted=True)
        sizes = torch.where(found.success, found.l2, torch.inf).view(10, -1).median(1).values
        table.append([None if target == k else round(sizes[target].item(), 4) for target in range(10)])
    return table


# --- how subtle? ---------------------------------------------------------------------------

EIGHTS = 60
LADDERS = {"fgsm": (attacks.fgsm, torch.arange(1, 201) / 200), "fgm": (attacks.fgm, torch.arange(1, 201) / 20)}


def eights(seed: int) -> dict:
    """Eights that FGSM, FGM and Carlini-Wagner all turn, each with its least step: how large is the noise, by five
    measures, and where does it lead?

    FGSM and FGM: the first eps of a ladder of 200 that fools.  l0: pixels changed by more than half a grey level.
    """
    model = recipes.pretrained("lenet", "mnist", seed=seed)
    test = data.load("mnist", "test")
    test = test[test.labels == 8]
    test = test[evaluation.classified_right(model, test)][:EIGHTS]
    x, y = test.images, test.labels
    noisy = {name: _first_of_ladder(model, x, y, *ladder) for name, ladder in LADDERS.items()}
    noisy["carlini_wagner"] = attacks.carlini_wagner(model, x, y)
    return {"images": len(y), **{name: _subtle(model, x, adversarial, y) for name, adversarial in noisy.items()}}


def _first_of_ladder(model: nn.Module, x: Tensor, y: Tensor, step, ladder: Tensor) -> Tensor:
    """For each image the first eps of the ladder that fools; the clean image where none does."""
    result, open_ = x.clone(), torch.arange(len(x))
    for eps in ladder.tolist():
        adversarial = step(model, x[open_], y[open_], eps=eps)
        fooled = ~evaluation.classified_right(model, adversarial, y[open_])
        result[open_[fooled]] = adversarial[fooled]
        open_ = open_[~fooled]
        if len(open_) == 0:
            break
    return result


def _subtle(model: nn.Module, x: Tensor, adversarial: Tensor, y: Tensor) -> dict:
    """Five measures of the change of each image, and the answer."""
    from skimage.metrics import structural_similarity

    judged = evaluation.evaluate(model, x, adversarial, y)
    similar = [structural_similarity(a.numpy(), b.numpy(), data_range=1.0) for
               a, b in zip(x.squeeze(1).double(), adversarial.squeeze(1).double())]
    return {"success": judged.success.tolist(), "l0": ((adversarial - x).abs() > 0.5 / 255).flatten(1).sum(1).tolist(),
            "l1": _rounded(judged.l1), "l2": _rounded(judged.l2), "linf": _rounded(judged.linf),
            "ssim": [round(float(value), 5) for value in similar],
            "answer": evaluation.logits(model, adversarial).argmax(1).tolist()}


# --- pairs of pixels -------------------------------------------------------------------------

JSMA = {"images": 100, "gamma": 0.5}
CHOICES = ("best pair", "two largest of the target", "two largest of the margin")


def pairs(choice: str, seed: int) -> list[int | None]:
    """How many pixels must turn white until LeNet says a given target, drawn at random; None where it never does.

    The best pair is that of JSMA; the shortcuts raise the two pixels with the largest slope.
    """
    model = recipes.pretrained("lenet", "mnist", seed=seed)
    x, y = _classified_right(model, "mnist", JSMA["images"])
    target = (y + torch.randint(1, 10, y.shape, generator=torch.Generator().manual_seed(SEED))) % 10
    if choice == "best pair":
        adversarial = attacks.jsma(model, x, y, target=target, gamma=JSMA["gamma"])
    else:
        adversarial = _two_largest(model, x, target, of_margin=choice.endswith("margin"))
    judged = evaluation.evaluate(model, x, adversarial, target, targeted=True)
    return [int(count) if reached else None for count, reached in zip(judged.l0, judged.success)]


def _two_largest(model: nn.Module, x: Tensor, target: Tensor, of_margin: bool) -> Tensor:
    """White for the two pixels with the largest slope of the target's logit, or of its margin, again and again."""
    point = x.clone()
    with frozen(model), torch.enable_grad():
        for _ in range(int(JSMA["gamma"] * x[0].numel() / 2) + 1):
            here = point.clone().requires_grad_()
            logits = forward(model, here)
            walks = logits.argmax(1) != target
            own = logits.gather(1, target[:, None]).squeeze(1)
            slope = image_gradient(signed_margin(logits, target, True) if of_margin else own, here).flatten(1)
            slope[point.flatten(1) > 0.99] = -torch.inf
            white = point.flatten(1).scatter(1, slope.topk(2).indices, 1.0).view_as(x)
            point = torch.where(per_sample(walks, x), white, point)
            if not walks.any():
                break
    return point


# --- linear nets: the optimum is known -----------------------------------------------------------

LINEAR = {"images": 500, "classes": 10, "side": 8}


def linear(attack: str, settings: dict) -> dict:
    """Ten linear nets of random weights: the attack's L2 norm over the true distance, and whether it ended in another
    class than the nearest.  All walks stay far from the edge of [0, 1].
    """
    generator = torch.Generator().manual_seed(SEED)
    features, each = LINEAR["side"] ** 2, LINEAR["images"] // 10
    ratios, missed = [], []
    for _ in range(10):
        net = nn.Sequential(nn.Flatten(), nn.Linear(features, LINEAR["classes"])).eval()
        net[1].weight.data = torch.randn(LINEAR["classes"], features, generator=generator)
        net[1].bias.data = -net[1].weight.data.sum(1) / 2  # at grey, all classes are equal
        x = 0.2 + 0.6 * torch.rand(each, 1, LINEAR["side"], LINEAR["side"], generator=generator)
        y, distance, nearest = _true_distance(net, x)
        adversarial = NEAREST[attack](net, x, y, **settings)
        judged = evaluation.evaluate(net, x, adversarial, y)
        ratios.append(torch.where(judged.success, judged.l2 / distance, torch.inf))
        missed.append(evaluation.logits(net, adversarial).argmax(1) != nearest)
    return {"ratio": _rounded(torch.cat(ratios)), "missed": torch.cat(missed).tolist()}


def _true_distance(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Answer, distance to the nearest hyperplane and the class behind it, all (N,)."""
    logits, weight = evaluation.logits(net, x), net[1].weight.data
    y = logits.argmax(1)
    gap = logits.gather(1, y[:, None]) - logits
    distance = (gap / (weight[y][:, None] - weight[None]).norm(dim=2)).scatter_(1, y[:, None], torch.inf)
    return y, *distance.min(1)


# --- several trainings ------------------------------------------------------------------------------

def trainings(net: str, seed: int) -> dict:
    """Median distance (DDN, L2) of one training of a net, over the same 200 images, and how often it was right."""
    model = recipes.pretrained(net, "mnist", seed=seed)
    test = data.load("mnist", "test").sample(200, SEED)
    judged = evaluation.evaluate(model, test, attacks.ddn(model, test.images, test.labels))
    right = evaluation.classified_right(model, test)
    return {"images": len(test), "right": int(right.sum()), "fooled": int((judged.success & right).sum()),
            "median l2": judged.l2[right & judged.success].median().item()}


# --- what they share ---------------------------------------------------------------------------------

def _classified_right(model: nn.Module, dataset: str, n: int) -> tuple[Tensor, Tensor]:
    """The first n images of a sample of the test set that the model classifies right."""
    test = data.load(dataset, "test").sample(2 * n, SEED)
    test = test[evaluation.classified_right(model, test)][:n]
    return test.images, test.labels


def _rounded(values: Tensor) -> list[float | None]:
    """To four digits; None for what is not finite, which JSON does not know."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]


def by_attack(results: list) -> dict:
    """"ddn, steps 100": the settings beside the name."""
    return {", ".join([point["attack"], *(f"{key} {value}" for key, value in point["settings"].items())]): value
            for point, value in results}


RECORDS = {
    "05-success": Grid(success, [{"net": net, "attack": attack} for net in IMAGES for attack in NEAREST],
                       nested("net", "attack"), BOTH, SEED),
    "05-effort": Grid(effort, EFFORTS, lambda results: [point | value for point, value in results], ["mnist test"],
                      SEED),
    "05-targets": Grid(targets, [{"seed": seed} for seed in SEEDS], nested("seed"), ["mnist test"], SEED),
    "05-eights": Grid(eights, [{"seed": seed} for seed in SEEDS], nested("seed"), ["mnist test"], SEED),
    "05-pairs": Grid(pairs, [{"choice": choice, "seed": seed} for choice in CHOICES for seed in SEEDS],
                     lambda results: JSMA | {"pixels": nested("choice", "seed")(results)}, ["mnist test"], SEED),
    "05-linear": Grid(linear, [{"attack": attack, "settings": settings} for attack, settings in
                               (("deepfool", {}), ("lbfgs", {}), ("carlini_wagner", {}), ("ddn", {}),
                                ("ddn", {"steps": 1000}))],
                      lambda results: LINEAR | {"attacks": by_attack(results)}, [], SEED),
    "05-trainings": Grid(trainings, [{"net": net, "seed": seed} for net in ("lenet", "fully_connected")
                                     for seed in SEEDS], nested("net", "seed"), ["mnist test"], SEED),
}
