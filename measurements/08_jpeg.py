"""Chapter 08: JPEG as a defence.  Colour nets that never met a JPEG, trained on the images without loss."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from advlens import data, evaluation, jpeg, training
from advlens.course import recipes
from advlens.course.measuring import Grid, nested
from advlens.models import CifarNet

SEED = 0
QUALITIES = (5, 10, 20, 40, 60, 75, 90)


# --- colour nets that never met a JPEG --------------------------------------------------

SMALL, TRAINED_ON = recipes.Recipe("cifar_net", 16, recipes.sgd, 0.1, recipes.photos, batch_size=64), 3000
SMALL_SEEDS = range(3)


def small_net(seed: int) -> CifarNet:
    """CifarNet trained on the first 3,000 images without loss, in 16 epochs; kept in the cache."""
    path = data.cache_folder() / "checkpoints" / f"cifar_net-lossless-{SMALL.digest}-seed{seed}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the initial weights
        net = CifarNet().to(memory_format=torch.channels_last)
    if path.exists():
        net.load_state_dict(load_file(path))
    else:
        training.fit(net, _lossless()[:TRAINED_ON], seed=seed, progress=False, **SMALL.options())
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in net.state_dict().items()}, Path(path))
    return net.requires_grad_(False).eval()


def small(seed: int) -> dict:
    """Accuracy of such a net on its own images, and on the other 1,000, as they are and after each quality."""
    net, sets = small_net(seed), _lossless()
    rest = sets[TRAINED_ON:]
    return {"train": evaluation.accuracy(net, sets[:TRAINED_ON]).value, "clean": _right(net, rest.images, rest.labels),
            "quality": {q: _right(net, jpeg.compress(rest.images, q), rest.labels) for q in QUALITIES}}


# --- what they share ------------------------------------------------------------------

def _lossless() -> data.Dataset:
    return data.load("cifar10_lossless", "test")


def _right(net: nn.Module, images: Tensor, y: Tensor) -> float:
    return evaluation.classified_right(net, images, y).float().mean().item()


RECORDS = {
    "08-small": Grid(small, [{"seed": seed} for seed in SMALL_SEEDS], nested("seed"), ["cifar10_lossless test"], SEED),
}
