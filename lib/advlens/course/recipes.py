"""How each checkpoint is trained, `advlens record checkpoint-lenet-mnist`; nets of other seeds, kept in the cache.

float16 on disk halves the size; every accuracy in a card is measured after the
rounding, on the network that `zoo.pretrained` gives.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Callable, Iterator

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from advlens import data, hebbian, training, zoo
from advlens.course import records
from advlens.data import Dataset
from advlens.defences.distillation import cross_entropy_at
from advlens.evaluation import logits, wilson_interval
from advlens.paths import data_folder

try:
    import fcntl
except ImportError:  # Windows: two processes that ask for the same net both train it, to the same bits
    fcntl = None

adam = partial(torch.optim.Adam, weight_decay=1e-5)
sgd = partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-4)


@dataclass(frozen=True)
class Recipe:
    """All settings of a training; its repr says them, and its digest tells it from every other recipe.

    prepare: what happens before `training.fit`, (model, sets, seed) -> the part to train, and on what.
    temperature: that of the cross-entropy.
    """

    network: str
    epochs: int
    optimizer: Callable
    peak: float
    augment: Callable | None = None
    bfloat16: bool = False  # faster on some processors only; several times slower on those without such instructions
    batch_size: int = 128
    prepare: Callable | None = None
    temperature: float = 1.0
    __repr__ = training.settings

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits."""
        return training.digest(repr(self))

    def options(self) -> dict:
        """For `training.fit`."""
        return dict(epochs=self.epochs, batch_size=self.batch_size, augment=self.augment, bfloat16=self.bfloat16,
                    optimizer=self.optimizer, learning_rate=training.one_cycle(self.peak, self.epochs),
                    loss=cross_entropy_at(self.temperature))


def learn_features(model: nn.Module, sets: list[Dataset], seed: int, **rule) -> tuple[nn.Module, list[Dataset]]:
    """Learn the first weights of a HebbianNet without labels; what is left to train, and on what.

    These weights stay, so what the hidden units answer is computed once: the sets hold
    activities (N, hidden) in place of images, and the readout alone goes to `training.fit`.
    """
    body, readout = model[:4], model[4:]
    first, generator = body[2].weight, torch.Generator().manual_seed(seed)
    images = body[:2](sets[0].images)  # normalised, (N, 784)
    with torch.no_grad():
        first.copy_(hebbian.learn(images, len(first), generator=generator, progress=True, **rule))
    return readout, [replace(part, images=logits(body, part.images)) for part in sets]


KROTOV_HOPFIELD = dict(p=2, k=2, delta=0.4, step=0.1)
digits, photos = training.shift(2), training.flip_and_shift(4)
RECIPES = {
    "lenet-mnist": Recipe("lenet", 20, adam, 4e-3, digits),
    "mnist_resnet-mnist": Recipe("mnist_resnet", 10, adam, 5e-3, digits),
    "fully_connected-mnist": Recipe("fully_connected", 40, adam, 5e-3, training.shift(1)),
    "cifar_net-cifar10": Recipe("cifar_net", 36, sgd, 0.1, photos, bfloat16=True),
    "cifar_net-cifar10_lossless": Recipe("cifar_net", 12, sgd, 0.1, photos),  # at full precision, hence fewer epochs
    "vgg_blocks-cifar10": Recipe("vgg_blocks", 36, sgd, 0.03, photos, bfloat16=True),
    "lenet-digits": Recipe("lenet", 30, adam, 4e-3, digits, batch_size=32),
    "mnist_resnet-digits": Recipe("mnist_resnet", 15, adam, 5e-3, digits, batch_size=32),
    "fully_connected-digits": Recipe("fully_connected", 100, adam, 5e-3, training.shift(1), batch_size=32),
    "cifar_net-shapes": Recipe("cifar_net", 20, sgd, 0.05, photos, batch_size=64),
    "vgg_blocks-shapes": Recipe("vgg_blocks", 20, sgd, 0.02, photos, batch_size=64),
    # belaustegui2022 takes 300 epochs of plain cross-entropy.  With logits this large that is nearly a loss with
    # corners; seen through a temperature it is smooth (what that does: the record 12-readout).  The
    # temperature is in the loss and not in the net, whose softmax saturates as the source's does.  Only
    # training needs it: an attack along the log-odds has its gradient without one.
    "hebbian_bio-mnist": Recipe("hebbian_bio", 100, torch.optim.Adam, 1e-3, batch_size=100, temperature=1e3,
                                prepare=partial(learn_features, **KROTOV_HOPFIELD, epochs=40, batch_size=100)),
    "hebbian_bp-mnist": Recipe("hebbian_bp", 20, torch.optim.Adam, 1e-3, batch_size=100, temperature=1e3),
    "hebbian_bio-digits": Recipe("hebbian_bio", 60, torch.optim.Adam, 1e-3, batch_size=32, temperature=1e3,
                                 prepare=partial(learn_features, **KROTOV_HOPFIELD, epochs=200, batch_size=32)),
    "hebbian_bp-digits": Recipe("hebbian_bp", 30, torch.optim.Adam, 1e-3, batch_size=32, temperature=1e3),
    # As marinelli, no augmentation and no weight decay; learning rate and epochs are ours.  Not a checkpoint of the
    # book: its learning curve is the record 02-plain-vgg.
    "vgg_blocks_plain-cifar10": Recipe("vgg_blocks", 18, partial(torch.optim.SGD, momentum=0.9), 0.03, bfloat16=True),
}


def pretrained(name: str, data: str | None = None, *, seed: int = 0) -> nn.Module:
    """`zoo.pretrained` for any training seed: 0 from the repository, others from the cache, trained when missing.

    A kept net counts only when it was made by today's recipe and from the data that are here.  Several
    processes may ask at once: one trains, the others wait.  Raises ValueError for an unknown net or a
    negative seed, and as `train`.
    """
    key = _key(name, data)
    if _in_repository(key, seed):
        return zoo.pretrained(name, data)
    with torch.random.fork_rng(devices=[]):  # the first weights are overwritten: spend none of the caller's numbers
        model = zoo.NETWORKS[RECIPES[key].network][0]()
    model.load_state_dict(_at_full_precision(load_file(_kept(key, seed))))
    return model.requires_grad_(False).eval()


def card(name: str, data: str | None = None, *, seed: int = 0) -> dict:
    """The card of the net that `pretrained` gives."""
    key = _key(name, data)
    if _in_repository(key, seed):
        return zoo.card(name, data)
    return json.loads(_kept(key, seed).with_suffix(".json").read_text())


def train(key: str, folder: Path | None = None, *, seed: int = 0) -> dict:
    """Train one recipe; write the weights (float16) and their card to `folder`; return the card.

    The training starts from nothing, unless the same recipe was interrupted at the same commit with the
    same seed: then it goes on.  folder: by default the repository's for seed 0, and the cache's for others.
    Raises KeyError for an unknown recipe, DataUnavailable without its data.
    """
    recipe, dataset, commit = RECIPES[key], key.rsplit("-", 1)[1], records.commit("data/checkpoints")
    folder = folder or (data_folder() if _in_repository(key, seed) else data.cache_folder()) / "checkpoints"
    sets = [data.load(dataset), data.load(dataset, "test")]
    began = time.monotonic()
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the initial weights
        model = zoo.NETWORKS[recipe.network][0]().to(memory_format=torch.channels_last)
    if recipe.prepare is None and torch.cuda.is_available():  # what is learnt without labels stays on the CPU
        model = model.cuda()
    part, seen = recipe.prepare(model, sets, seed) if recipe.prepare else (model, sets)
    prepared = time.monotonic() - began
    run = f"{_stem(key, seed)}-{training.digest(repr(recipe), commit)}"
    interrupted = data.cache_folder() / "training" / f"{run}.safetensors"
    history = training.fit(part, seen[0], validation=seen[1], seed=seed, checkpoint=interrupted, **recipe.options())
    weights = {name: (value.half() if value.is_floating_point() else value).cpu()
               for name, value in model.state_dict().items()}
    model.load_state_dict(_at_full_precision(weights))
    made = records.provenance(f"advlens record checkpoint-{key}", source=sets[0].source, seed=seed, commit=commit,
                              seconds=prepared + sum(history.seconds))  # also of the epochs before an interruption
    told = _card(recipe, model, sets, history, seed) | {"provenance": made}
    _write(folder / f"{_stem(key, seed)}.safetensors", weights, told)
    interrupted.unlink()
    return told


def _card(recipe: Recipe, model: nn.Module, sets: list[Dataset], history: training.History, seed: int) -> dict:
    """What is known about a trained net, without its provenance."""
    accuracy = {split.split: training.accuracy(model, split) for split in sets}
    hits = round(accuracy["test"] * len(sets[1]))
    curves = {name: values for name, values in vars(history).items() if values and name != "seconds"}
    words = {type(None): "none", training.shift: "shift", training.flip_and_shift: "shift and flip"}
    return {
        "network": recipe.network, "data": sets[0].name, "source": sets[0].source,
        **({"without labels": recipe.prepare.keywords} if recipe.prepare else {}),
        "epochs": len(history), "batch size": recipe.batch_size, "temperature": recipe.temperature, "seed": seed,
        "optimizer": getattr(recipe.optimizer, "func", recipe.optimizer).__name__,
        "augmentation": words[type(recipe.augment)],
        "recipe": recipe.digest, "settings": repr(recipe),
        "train accuracy": accuracy["train"], "test accuracy": accuracy["test"],
        "test accuracy 95 %": list(wilson_interval(hits, len(sets[1]))), "test images": len(sets[1]),
        "history": {name: [round(v, 5) for v in values] for name, values in curves.items()},
    }


def _write(path: Path, weights: dict[str, Tensor], card: dict) -> None:
    """Weights and card, each whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in weights.items()}, part)
    os.replace(part, path)
    part.write_text(json.dumps(card, indent=1) + "\n")
    os.replace(part, path.with_suffix(".json"))


# --- nets of other training seeds ------------------------------------------------

def _kept(key: str, seed: int) -> Path:
    """The weights of a seed in the cache, trained anew when they are missing, or of another recipe or other data."""
    path = data.cache_folder() / "checkpoints" / f"{_stem(key, seed)}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    source = data.load(key.rsplit("-", 1)[1], "test").source
    with _alone(path.with_suffix(".lock")):
        files = path, path.with_suffix(".json")
        told = json.loads(files[1].read_text()) if all(file.exists() for file in files) else {}
        if (told.get("recipe"), told.get("source")) != (RECIPES[key].digest, source):
            train(key, path.parent, seed=seed)
    return path


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time inside, the others wait; the lock goes with its process, however that ends."""
    with path.open("w") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(name: str, data: str | None) -> str:
    """The key of the recipe of a net, by default on its real data."""
    key = f"{name}-{data or (zoo.NETWORKS[name][1] if name in zoo.NETWORKS else '')}"
    if key not in RECIPES:
        raise ValueError(f"no recipe for the network {name!r} on {data or 'real data'}; known: {', '.join(RECIPES)}")
    return key


def _in_repository(key: str, seed: int) -> bool:
    """Weights of the first seed are committed, those of other seeds and of nets that only a record shows are not."""
    if seed < 0:
        raise ValueError(f"seed = {seed}; give 0 for the committed weights, or a number above for other ones")
    return seed == 0 and key.rsplit("-", 1)[0] in zoo.NETWORKS


def _stem(key: str, seed: int) -> str:
    return f"{key}-seed{seed}" if seed else key


def _at_full_precision(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
