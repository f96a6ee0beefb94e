"""Chapter 10: capacity.  LeNet after five numbers of epochs, and with further dense layers, in five training seeds: the
FGSM curves as the source reports them, why they rise, and what stands under stronger attacks."""

from __future__ import annotations

import copy
import json
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, training
from advlens.attacks.losses import cross_entropy, log_odds, margin
from advlens.audit import audit
from advlens.course.measuring import Grid, nested
from advlens.layers import Scale
from advlens.models import LeNet

SEED, SEEDS = 0, range(5)
FEW, ALL = 10_000, 60_000  # training images: few enough to fit them all, and for thirty trainings on two cores; all
EPOCHS, FULL_EPOCHS, DEPTH_EPOCHS = (1, 3, 10, 20, 40), (1, 3, 10, 20), 10
DEPTHS = (0, 2, 4, 6, 10, 20)
LEARNING_RATE, BATCH = 1e-3, 128  # Adam's usual rate, constant, and no augmentation: the source tells neither
adam = partial(torch.optim.Adam, fused=True)

warnings.simplefilter("ignore", geometry.ZeroGradientWarning)  # vanishing gradients are what the records are about


# --- the trainings -----------------------------------------------------------------

class Keep(NamedTuple):
    """For `training.fit(watch=...)`: writes the weights after these epochs into the folder."""

    folder: str
    epochs: tuple[int, ...]

    def __call__(self, model: nn.Module, history: training.History) -> dict[str, float]:
        if len(history) in self.epochs:
            path = Path(self.folder) / f"{len(history)}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            weights = {name: value.contiguous() for name, value in model.state_dict().items()}
            save_file(weights, part := path.with_suffix(".part"))
            os.replace(part, path)
        return {}


def trained(extra: int, epochs: int, seed: int, images: int = FEW) -> nn.Module:
    """LeNet with `extra` dense layers after so many epochs on so many images: from the cache, or trained now."""
    folder = _folder(extra, seed, images)
    if not (folder / f"{epochs}.safetensors").exists():
        train(extra, seed, images)
    model = LeNet(extra=extra)
    model.load_state_dict(load_file(folder / f"{epochs}.safetensors"))
    return model.requires_grad_(False).eval()


def train(extra: int, seed: int, images: int = FEW) -> None:
    """One training, all of whose snapshots go to the cache; what was interrupted goes on."""
    folder = _folder(extra, seed, images)
    kept = FULL_EPOCHS if images == ALL else EPOCHS if extra == 0 else EPOCHS[:3]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LeNet(extra=extra).to(memory_format=torch.channels_last)
    history = training.fit(model, data.load("mnist")[:images], epochs=max(kept), optimizer=adam,
                           learning_rate=LEARNING_RATE, batch_size=BATCH, seed=seed, watch=Keep(str(folder), kept),
                           checkpoint=folder / "interrupted.safetensors", progress=False)
    (folder / "history.json").write_text(json.dumps(vars(history)))
    (folder / "interrupted.safetensors").unlink()


def _folder(extra: int, seed: int, images: int) -> Path:
    """Of one training in the cache, by all of its settings."""
    source = data.load("mnist").source
    told = f"LeNet {extra} {training.settings(adam)} {LEARNING_RATE} {BATCH} {images} {source} seed {seed}"
    return data.cache_folder() / "capacity" / f"{extra}-{seed}-{training.digest(told)}"


# --- what is measured of one net ------------------------------------------------------

EPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
CURVE_IMAGES, STRONG_IMAGES, STRONG_EPS = 200, 60, 0.1


def step(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """FGSM as it is usually written: along the naive cross-entropy, and where its gradient is 0 the image stays."""
    return (x + eps * _gradient(model, x, y, cross_entropy).sign()).clamp(0, 1)


def epochs(epochs: int, seed: int) -> dict:
    return told(trained(0, epochs, seed))


def depths(extra: int, seed: int) -> dict:
    return told(trained(extra, DEPTH_EPOCHS, seed))


def full(epochs: int, seed: int) -> dict:
    """The same, of a LeNet that was trained on all of MNIST."""
    return told(trained(0, epochs, seed, ALL))


def told(net: nn.Module) -> dict:
    """Accuracy and size of the logits; FGSM in four forms, PGD, the distance by DDN."""
    x, y = _images(CURVE_IMAGES)
    gap = (-margin(evaluation.logits(net, x), y)).median().item()
    found = {"train accuracy": _share(net, *_all("train")), "test accuracy": _share(net, *_all("test")),
             "clean": _share(net, x, y), "gap": gap, **_precision(net, x, y)}
    if found["test accuracy"] < 0.2:  # it never learnt: nothing to attack
        return found
    double, smaller = copy.deepcopy(net).double(), nn.Sequential(net, Scale(1 / gap))
    steps = {"naive": partial(step, net, x, y), "64 bits": lambda eps: step(double, x.double(), y, eps).float(),
             "rescaled": partial(step, smaller, x, y), "log-odds": lambda eps: attacks.fgsm(net, x, y, eps=eps)}
    found["fgsm"] = {name: [_share(net, attack(eps), y) for eps in EPS] for name, attack in steps.items()}
    x, y = x[:STRONG_IMAGES], y[:STRONG_IMAGES]
    walk = partial(attacks.pgd, first_success=True, generator=_generator())
    found["pgd"] = list(evaluation.robust_curve(net, x, y, walk, EPS).accuracy)
    found["naive pgd"] = _share(net, walk(net, x, y, eps=STRONG_EPS, loss="naive_ce"), y)
    return found | {"distance": _distance(net, x, y)}


def _precision(net: nn.Module, x: Tensor, y: Tensor) -> dict:
    """Of the images that are classified right, in float32: share whose naive cross-entropy has no gradient, and whose
    gradient has more than a tenth of its signs wrong, against the log-odds in float64."""
    right = evaluation.classified_right(net, x, y)
    x, y = x[right], y[right]
    naive = _gradient(net, x, y, cross_entropy)
    exact = _gradient(copy.deepcopy(net).double(), x.double(), y, log_odds)
    wrong = (naive.sign() != exact.sign()).flatten(1).float().mean(1)
    return {"zero": (naive == 0).flatten(1).all(1).float().mean().item(),
            "wrong signs": (wrong > 0.1).float().mean().item()}


def _distance(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Median l2 norm that DDN needs, over the images that are classified right; a failure counts as infinite."""
    right = evaluation.classified_right(net, x, y)
    x, y = x[right], y[right]
    found = evaluation.evaluate(net, x, attacks.ddn(net, x, y), y)
    return torch.where(found.success, found.l2, torch.inf).median().item()


# --- tables -----------------------------------------------------------------------------

SETTINGS = {"images": CURVE_IMAGES, "strong images": STRONG_IMAGES, "strong eps": STRONG_EPS,
            "eps": EPS, "depth epochs": DEPTH_EPOCHS, "learning rate": LEARNING_RATE, "batch": BATCH}


def table(key: str, images: int = FEW) -> Callable[[list], dict]:
    """By epochs or layers, then by seed."""
    return lambda results: SETTINGS | {"trained on": images, "nets": nested(key, "seed")(results)}


# --- the strongest attack, and an audit ---------------------------------------------------

NAMED = {"1 epoch": (0, 1), "10 epochs": (0, 10), "40 epochs": (0, 40), "10 layers": (10, DEPTH_EPOCHS)}


def strongest(net: str, seed: int) -> dict:
    """Which images still stand, in rows of the first STRONG_IMAGES, and how many were right before the attack."""
    model, (x, y) = trained(*NAMED[net], seed), _images(STRONG_IMAGES)
    images = attacks.strongest(model, x, y, eps=STRONG_EPS, generator=_generator())
    return {"clean": _share(model, x, y),
            "standing": evaluation.classified_right(model, images, y).nonzero().flatten().tolist()}


def audited(net: str) -> dict:
    """The findings of an audit of the first training of a net; transfer from the second."""
    model, other = (trained(*NAMED[net], seed) for seed in (0, 1))
    report = audit(model, *_images(60), eps=STRONG_EPS, other=other)
    return {"passed": report.passed, "images": report.findings[0].share.n,
            "findings": {f.name: {"share": f.share.value, "passed": f.passed} for f in report.findings},
            "success": {name: share.value for name, share in report.success.items()}}


# --- what they share --------------------------------------------------------------------------

def _images(n: int) -> tuple[Tensor, Tensor]:
    """The first n of the 1,000 test images that chapter 04 uses."""
    test = data.load("mnist", "test").sample(1000, seed=SEED)[:n]
    return test.images, test.labels


def _all(split: str) -> tuple[Tensor, Tensor]:
    """The first 10,000 images of a split: those that most nets were trained on, or all test images."""
    part = data.load("mnist", split)[:FEW]
    return part.images, part.labels


def _share(model: nn.Module, images: Tensor, y: Tensor) -> float:
    return evaluation.accuracy(model, images, y).value


def _gradient(model: nn.Module, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    point = x.clone().requires_grad_()
    return torch.autograd.grad(loss(model(point), y).sum(), point)[0]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


BOTH = ["mnist train", "mnist test"]

RECORDS = {
    "10-epochs": Grid(epochs, [{"epochs": count, "seed": seed} for seed in SEEDS for count in EPOCHS],
                      table("epochs"), BOTH, SEED),
    "10-depths": Grid(depths, [{"extra": extra, "seed": seed} for seed in SEEDS for extra in DEPTHS[1:]],
                      table("extra"), BOTH, SEED),
    "10-strongest": Grid(strongest, [{"net": net, "seed": seed} for seed in SEEDS for net in NAMED], table("net"), BOTH,
                         SEED),
    "10-full": Grid(full, [{"epochs": count, "seed": seed} for seed in SEEDS for count in reversed(FULL_EPOCHS)],
                    table("epochs", ALL), BOTH, SEED),
    "10-audit": Grid(audited, [{"net": net} for net in ("1 epoch", "40 epochs", "10 layers")], nested("net"), BOTH,
                     SEED),
}
