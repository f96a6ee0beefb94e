"""Chapter 12: competing hidden units.  What each setting of the rank rule does at reduced size, our two departures from
the source with and without, who wins by the differential equations, and how long an update takes in three ways."""

from __future__ import annotations

import base64
import time
import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from advlens import data, evaluation, hebbian, zoo
from advlens.course.measuring import Grid, nested
from advlens.defences.distillation import cross_entropy_at
from advlens.kernels import krotov_hopfield
from advlens.models import HebbianNet

IMAGES, EPOCHS, BATCH, POWER = 10_000, 10, 100, 4.5
SETTINGS = {"p": 2, "k": 2, "delta": 0.4, "step": 0.1, "units": 100}
OTHERS = {"p": (3, 5), "k": (4, 7), "delta": (0.0, 0.2, 0.6), "step": (0.02, 0.5), "units": (25, 400)}
SEEDS, SHOWN = range(3), 8


# --- one setting at a time -----------------------------------------------------------

def trained(changed: str, value: float, seed: int) -> dict:
    """100 units learnt without labels from 10,000 images: where the rows end, who wins, what a readout makes
    of their answers.

    `changed` is the setting that differs from SETTINGS; or "rows": random directions, or images of the training set.
    """
    (x, y), (test, truth) = _pixels("train"), _pixels("test")
    if changed == "rows":
        p, units, generator = 2, SETTINGS["units"], torch.Generator().manual_seed(seed)
        start = torch.randn(units, x.shape[1], generator=generator)
        weights = F.normalize(start if value == "random" else x[torch.randperm(len(x), generator=generator)[:units]])
    else:
        rule = SETTINGS | {changed: value}
        p, units = rule["p"], rule.pop("units")
        weights = hebbian.learn(x, units, **rule, epochs=EPOCHS, batch_size=BATCH,
                                generator=torch.Generator().manual_seed(seed))
    wins = torch.bincount(hebbian.currents(weights, x, p=p).argmax(1), minlength=units) / len(x)
    norms = weights.abs().pow(p).sum(1).pow(1 / p)
    return {"sphere": _share((norms - 1).abs() <= 0.01), "norms": norms.quantile(torch.tensor([0, 0.5, 1.0])).tolist(),
            "win": _share(wins > 0), "most": wins.max().item(),
            "ridge": {power: ridge(weights, power, x, y, test, truth) for power in (1, POWER)},
            "features": _packed(weights[:SHOWN]) if seed == 0 else ""}


def ridge(weights: Tensor, power: float, x: Tensor, y: Tensor, test: Tensor, truth: Tensor) -> float:
    """Test accuracy of a linear readout of relu(W x)^power by ridge regression on the classes, in closed form."""
    answers = lambda images: (images @ weights.T).clamp_min(0).double().pow(power)
    scale = answers(x).mean(0).clamp_min(1e-30)
    full = lambda images: F.pad(answers(images) / scale, (0, 1), value=1.0)  # a constant for the bias
    h = full(x)
    matrix = h.T @ h
    matrix += 1e-4 * matrix.trace() / len(matrix) * torch.eye(len(matrix), dtype=matrix.dtype)
    readout = torch.linalg.solve(matrix, h.T @ F.one_hot(y, 10).double())
    return _share((full(test) @ readout).argmax(1) == truth)


def settings_table(results: list) -> dict:
    """By setting and value: each number for the seeds, in order."""
    by = nested("changed", "value", "seed")(results)
    over = lambda seeds: ({key: [found[key] for found in seeds.values()] for key in ("sphere", "norms", "win", "most")}
                          | {f"ridge {power}": [found["ridge"][str(power)] for found in seeds.values()]
                             for power in (1, POWER)} | {"features": seeds["0"]["features"]})
    return {"images": IMAGES, "epochs": EPOCHS, "batch": BATCH, "default": SETTINGS, "shown": SHOWN,
            "settings": {changed: {value: over(seeds) for value, seeds in values.items()}
                         for changed, values in by.items()}}


# --- with and without our departures ---------------------------------------------------------

STEPS = {"source": {"step": 0.02, "epochs": 100}, "ours": {"step": 0.1, "epochs": 40}}
RATES = {1e-3: 10, 5e-4: 5, 1e-4: 5, 5e-5: 5, 1e-5: 5}  # Adam's rates as the source, with a tenth of its epochs
EVERY = 5  # epochs


def norms(settings: str, seed: int) -> list[float]:
    """The lengths of 100 rows after the source's step and ours: smallest, median, largest, and share within 1 %."""
    x, _ = _pixels("train")
    rule = {key: SETTINGS[key] for key in ("p", "k", "delta")} | STEPS[settings]
    weights = hebbian.learn(x, SETTINGS["units"], **rule, generator=torch.Generator().manual_seed(seed))
    lengths = weights.norm(dim=1)
    return [*lengths.quantile(torch.tensor([0, 0.5, 1.0])).tolist(), _share((lengths - 1).abs() <= 0.01)]


def readout(temperature: float, seed: int) -> dict:
    """A readout of 100 learnt units with the source's rates; the loss divides the logits by a temperature.

    Accuracies after each fifth epoch, and the share of training images whose cross-entropy has lost its gradient.
    """
    (x, y), (test, truth) = _pixels("train"), _pixels("test")
    generator = torch.Generator().manual_seed(seed)
    rule = {key: SETTINGS[key] for key in ("p", "k", "delta", "step")}
    first = hebbian.learn(x, SETTINGS["units"], **rule, epochs=EPOCHS, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the initial weights
        net = HebbianNet(hidden=SETTINGS["units"])
    answers = lambda images: (images @ first.T).clamp_min(0).pow(POWER)
    seen, unseen, last, loss = answers(x), answers(test), net[4:], cross_entropy_at(temperature)
    course = {"train": [], "test": []}
    for rate, epochs in RATES.items():
        for _ in range(epochs // EVERY):
            for _ in range(EVERY):
                optimizer = torch.optim.Adam(last.parameters(), rate)  # anew in each epoch, as the source
                for rows in torch.randperm(len(seen), generator=generator).split(BATCH):
                    optimizer.zero_grad()
                    loss(last(seen[rows]), y[rows]).backward()
                    optimizer.step()
            with torch.no_grad():
                course["train"].append(_share(last(seen).argmax(1) == y))
                course["test"].append(_share(last(unseen).argmax(1) == truth))
    with torch.no_grad():
        z = last(seen)
    point = z.clone().requires_grad_()
    slopes, = torch.autograd.grad(F.cross_entropy(point / temperature, y, reduction="sum"), point)
    lead = z.topk(2, dim=1).values
    return course | {"saturated": _share((slopes == 0).all(1)), "lead": (lead[:, 0] - lead[:, 1]).median().item()}


# --- who wins by the equations -------------------------------------------------------------------

CASES, UNITS, PIXELS = 200, 5, 16


def winners(inhibition: float) -> dict:
    """Random weights and inputs: whether the largest h of the differential equations is the largest current, whether
    the second is the second, and how many h are positive at the end, as nobody learns."""
    generator = torch.Generator().manual_seed(0)
    same, second, positive, failed = 0, 0, [], []
    for case in range(CASES):
        weights, image = (torch.rand(*shape, generator=generator) for shape in ((UNITS, PIXELS), (PIXELS,)))
        course = hebbian.compete(weights, image, threshold=1e9, delta=0.0, inhibition=inhibition, duration=60.0,
                                 samples=2)
        ranks = hebbian.currents(weights, image[None])[0].argsort(descending=True)
        ends = course.activity[-1].argsort(descending=True)
        same, second = same + int(ends[0] == ranks[0]), second + int(ends[1] == ranks[1])
        failed += [case] if ends[0] != ranks[0] else []
        positive.append(int((course.activity[-1] > 1e-6).sum()))
    return {"winner": same, "second": second, "positive": [positive.count(n) for n in range(UNITS + 1)],
            "failed": failed}


# --- how long an update takes -------------------------------------------------------------------------

HIDDEN, ROUNDS = 2000, 30


def speed() -> dict:
    """Median seconds of one update of 2,000 units by 100 images, in three ways, in turn; and how far apart they end.

    From the weights of the committed net, so that images win as they do after learning.
    """
    x, _ = _pixels("train")
    start = zoo.pretrained("hebbian_bio", "mnist")[2].weight.detach().clone()
    rule = {key: SETTINGS[key] for key in ("p", "k", "delta", "step")}
    ways = {"ours": lambda w, batch: krotov_hopfield.update_(w, batch, **rule),
            "sorted, torch": sorted_, "sorted, NumPy": lambda w, batch: arrays(w.numpy(), batch.numpy())}
    seconds, moved = {name: [] for name in ways}, {}
    for batch in x[:ROUNDS * BATCH].split(BATCH):
        for name, update in ways.items():
            weights = start.clone()
            began = time.perf_counter()
            update(weights, batch)
            seconds[name].append(time.perf_counter() - began)
            moved[name] = weights
    apart = {name: ((w - moved["ours"]).norm() / (moved["ours"] - start).norm()).item() for name, w in moved.items()}
    return {"units": HIDDEN, "batch": BATCH, "rounds": ROUNDS, "apart": apart,
            "seconds": {name: float(np.median(taken)) for name, taken in seconds.items()}}


def sorted_(weights: Tensor, batch: Tensor) -> None:
    """In torch: all currents sorted, g as a matrix, two products."""
    drive = batch @ weights.T
    order = drive.argsort(1, descending=True)
    g = torch.zeros_like(drive).scatter_(1, order[:, :1], 1.0)
    g.scatter_(1, order[:, SETTINGS["k"] - 1:SETTINGS["k"]], -SETTINGS["delta"])
    change = g.T @ batch - (g * drive).sum(0)[:, None] * weights
    weights += change * (SETTINGS["step"] / change.abs().amax())


def arrays(weights: np.ndarray, batch: np.ndarray) -> None:
    """The same in NumPy, with the signed power that p = 2 does not need, as the published algorithm has it."""
    p, k = SETTINGS["p"], SETTINGS["k"]
    drive = (np.sign(weights) * np.abs(weights) ** (p - 1)) @ batch.T  # (K, N)
    order, each, g = drive.argsort(axis=0), np.arange(len(batch)), np.zeros_like(drive)
    g[order[-1], each], g[order[-k], each] = 1.0, -SETTINGS["delta"]
    change = g @ batch - (g * drive).sum(1, keepdims=True) * weights
    weights += SETTINGS["step"] * change / np.abs(change).max()


# --- what they share ---------------------------------------------------------------------------------------

def _pixels(split: str) -> tuple[Tensor, Tensor]:
    """Normalised pixels (N, 784) and labels: the first 10,000 of the training set, or the whole test set."""
    part = data.load("mnist", split)[:IMAGES]
    with torch.no_grad():
        return HebbianNet(hidden=1)[:2](part.images), part.labels


def _packed(features: Tensor) -> str:
    """Pictures as text: each row divided by its largest entry, in bytes around 128, zlib, base64."""
    scaled = 128 + 127 * features / features.abs().amax(1, keepdim=True)
    return base64.b64encode(zlib.compress(scaled.round().byte().numpy().tobytes(), 9)).decode()


def _share(which: Tensor) -> float:
    return evaluation.rate(which).value


MNIST = ["mnist train", "mnist test"]

RECORDS = {
    "12-settings": Grid(trained, [*({"changed": "units", "value": SETTINGS["units"], "seed": seed} for seed in SEEDS),
                                  *({"changed": changed, "value": value, "seed": seed}
                                    for changed, values in OTHERS.items() for value in values for seed in SEEDS),
                                  *({"changed": "rows", "value": value, "seed": seed}
                                    for value in ("random", "images") for seed in SEEDS)], settings_table, MNIST, 0),
    "12-readout": Grid(readout, [{"temperature": t, "seed": seed} for t in (1, 1000) for seed in SEEDS],
                       nested("temperature", "seed"), MNIST, 0),
    "12-norms": Grid(norms, [{"settings": name, "seed": seed} for name in STEPS for seed in range(1)],
                     nested("settings", "seed"), MNIST, 0),
    "12-winners": Grid(winners, [{"inhibition": each} for each in (0.2, 0.5, 1.0, 2.0)], nested("inhibition"), (), 0),
    "12-speed": Grid(speed, data=MNIST, seed=0),
}
