"""Trials of the certificates: does any attack succeed where none can?  `python benchmarks/certificates.py`

Two tables, made in about three minutes on one thread.  Interval bounds: each network of the zoo at eps
where something can still be certified, and a dense net trained for bounds at eps where attacks bite.  Randomised
smoothing: attacks in l2 within each image's radius, their gradients averaged over the noise.
Goal: of all trials, 0 succeed; in every row certified <= under PGD <= clean.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from advlens import attacks, data, models, training, zoo
from advlens.attacks import EOT
from advlens.attacks.apgd import apgd
from advlens.attacks.noise import noise
from advlens.certify import certified, interval_training, smoothed
from advlens.evaluation import logits, robust_accuracy
from advlens.geometry import ZeroGradientWarning
from advlens.layers import Normalize

IMAGES, FEW, TRAINING_IMAGES = 200, 40, 20_000
DEEP = ("mnist_resnet", "cifar_net", "vgg_blocks")  # FEW images: their passes take a hundred times as long
EPS = {"lenet": (3e-4, 1e-3, 3e-3), "mnist_resnet": (1e-5, 3e-5, 1e-4), "fully_connected": (3e-3, 1e-2, 2e-2),
       "cifar_net": (1e-7, 3e-7), "vgg_blocks": (1e-7, 3e-7),
       "hebbian_bio": (3e-3, 1e-2, 2e-2), "hebbian_bp": (3e-3, 1e-2, 2e-2)}
TRAINED_EPS = (0.02, 0.05, 0.1)
ATTACKS = {
    "PGD, margin, 3 starts": partial(attacks.pgd, steps=20, loss="margin", restarts=3, first_success=True),
    "PGD, log-odds": partial(attacks.pgd, steps=20),
    "APGD, DLR": partial(apgd, steps=20, loss="dlr"),
    "noise, 50 draws": partial(noise, draws=50),
}
SMOOTHED = {"lenet": 0.25, "fully_connected": 0.25}  # deviation of the noise
DRAWS, SMOOTHED_IMAGES = 1000, 50
start = lambda: torch.Generator().manual_seed(0)


class Row(NamedTuple):
    """A line of a table, and its trials."""

    text: str
    tried: int
    succeeded: int


def bounds(name, model, test, eps) -> Row:
    """Certify at one eps, and try each attack on each image that is certified."""
    x, y = test.images, test.labels
    clean = (logits(model, x).argmax(1) == y).double().mean().item()
    attack = {kind: partial(walk, eps=eps, generator=start()) for kind, walk in ATTACKS.items()}
    left = robust_accuracy(model, x, y, attack["PGD, margin, 3 starts"]).value
    sure = certified(model, x, y, eps)
    share, tried, hits = sure.double().mean().item(), int(sure.sum()) * len(attack), 0
    if tried:
        found = [logits(model, walk(model, x[sure], y[sure])).argmax(1) for walk in attack.values()]
        hits = int((torch.stack(found) != y[sure]).sum())
    order = "" if share <= left <= clean else "   BROKEN: certified <= under PGD <= clean"
    return Row(f"{name:<28}{eps:>9.0e}{clean:>9.1%}{share:>11.1%}{left:>11.1%}{tried:>8}{hits:>11}{order}", tried, hits)


def smoothing(name, model, test, sigma) -> Row:
    """Attack the smoothed net at 99.9 % of each radius; another class that it is sure of there is a success."""
    x, y = test.images[:SMOOTHED_IMAGES], test.labels[:SMOOTHED_IMAGES]
    prediction, radius = smoothed(model, x, sigma=sigma, n=DRAWS, generator=start())
    sure, right = prediction >= 0, prediction == y
    noisy = EOT(model, lambda images, draw: images + sigma * torch.randn(images.shape[1:], generator=draw), samples=16)
    moved = attacks.pgd(noisy, x[sure], prediction[sure], eps=0.999 * radius[sure], norm="l2", steps=20, loss="margin",
                        generator=start())
    again = smoothed(model, moved, sigma=sigma, n=DRAWS, generator=start()).prediction
    hits, tried = int(((again >= 0) & (again != prediction[sure])).sum()), int(sure.sum())
    share, typical = right.double().mean().item(), radius[right].median().item()
    return Row(f"{name:<28}{sigma:>9.2f}{share:>20.1%}{typical:>11.3f}{tried:>8}{hits:>11}", tried, hits)


def trained_for_bounds(train):
    """A small dense net whose bounds are tight, trained here."""
    torch.manual_seed(0)
    net = nn.Sequential(Normalize(*models.MNIST_PIXELS), nn.Flatten(),
                        nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    training.fit(net, train, epochs=20, learning_rate=training.one_cycle(2e-3, 20), progress=False,
                 objective=interval_training(eps=0.1, warmup=1, ramp=10))
    return net


def table() -> str:
    """Both tables, and the sum of all trials."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ZeroGradientWarning)  # nets that saturate: a trial is a trial
    sets = {name: data.load(real, "test", fallback=embedded)[:FEW if name in DEEP else IMAGES]
            for name, (_, real, embedded) in zoo.NETWORKS.items()}
    nets = {name: zoo.pretrained(name, test.name) for name, test in sets.items()}
    tight = trained_for_bounds(data.load("mnist", "train", fallback="digits")[:TRAINING_IMAGES])
    upper = [bounds(name, nets[name], sets[name], eps) for name, grid in EPS.items() for eps in grid]
    upper += [bounds("784-100-100-10, for bounds", tight, sets["lenet"], eps) for eps in TRAINED_EPS]
    lower = [smoothing(name, nets[name], sets[name], sigma) for name, sigma in SMOOTHED.items()]
    head = "{:<28}{:>9}{:>9}{:>11}{:>11}{:>8}{:>11}".format
    tried, succeeded = (sum(getattr(row, count) for row in upper + lower) for count in ("tried", "succeeded"))
    return "\n".join([
        head("interval bounds, linf", "eps", "clean", "certified", "under PGD", "tried", "succeeded"),
        *(row.text for row in upper),
        f"n = {IMAGES}, {FEW} for {', '.join(DEEP)}",
        f"tried: certified images x {len(ATTACKS)} attacks ({'; '.join(ATTACKS)})", "",
        head("randomised smoothing, l2", "sigma", "", "certified", "radius", "tried", "succeeded"),
        *(row.text for row in lower),
        f"n = {SMOOTHED_IMAGES}, {DRAWS} draws; certified: right and sure; radius: their median", "",
        f"attacks tried inside certified radii: {tried}, succeeded: {succeeded}",
    ])


if __name__ == "__main__":
    print(table())
