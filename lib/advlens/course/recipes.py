"""How each committed checkpoint was trained: `advlens record checkpoint-lenet-mnist`.

float16 on disk halves the size; every accuracy in a card is measured after the
rounding, on the network that `zoo.pretrained` gives.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from advlens import data, hebbian, training, zoo
from advlens.course import records
from advlens.data import Dataset
from advlens.defences.distillation import cross_entropy_at
from advlens.evaluation import logits, wilson_interval

adam = partial(torch.optim.Adam, weight_decay=1e-5)
sgd = partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-4)


def _recipe(network, epochs, optimizer, peak, augment=None, bfloat16=False, batch_size=128, prepare=None, temperature=1.0):
    return {"network": network, "prepare": prepare, "temperature": temperature,
            "fit": dict(epochs=epochs, optimizer=optimizer, learning_rate=training.one_cycle(peak, epochs), augment=augment,
                        bfloat16=bfloat16, batch_size=batch_size, loss=cross_entropy_at(temperature))}


def learn_features(model: nn.Module, sets: list[Dataset], seed: int, **rule) -> tuple[nn.Module, list[Dataset]]:
    """Learn the first weights of a HebbianNet without labels; what is left to train, and on what.

    These weights stay, so what the hidden units answer is computed once: the sets hold
    activities (N, hidden) in place of images, and the readout alone goes to `training.fit`.
    """
    body, readout = model[:4], model[4:]
    first, generator = body[2].weight, torch.Generator().manual_seed(seed)
    images = body[:2](sets[0].images).bfloat16()  # normalised, (N, 784)
    with torch.no_grad():
        first.copy_(hebbian.learn(images, len(first), generator=generator, progress=True, **rule))
    return readout, [replace(part, images=logits(body, part.images)) for part in sets]


digits, photos = training.shift(2), training.flip_and_shift(4)
RECIPES = {
    "lenet-mnist": _recipe("lenet", 20, adam, 4e-3, digits),
    "mnist_resnet-mnist": _recipe("mnist_resnet", 10, adam, 5e-3, digits, bfloat16=True),
    "fully_connected-mnist": _recipe("fully_connected", 40, adam, 5e-3, training.shift(1)),
    "cifar_net-cifar10": _recipe("cifar_net", 36, sgd, 0.1, photos, bfloat16=True),
    "vgg_blocks-cifar10": _recipe("vgg_blocks", 36, sgd, 0.03, photos, bfloat16=True),
    "lenet-digits": _recipe("lenet", 30, adam, 4e-3, digits, batch_size=32),
    "mnist_resnet-digits": _recipe("mnist_resnet", 15, adam, 5e-3, digits, bfloat16=True, batch_size=32),
    "fully_connected-digits": _recipe("fully_connected", 100, adam, 5e-3, training.shift(1), batch_size=32),
    "cifar_net-shapes": _recipe("cifar_net", 20, sgd, 0.05, photos, bfloat16=True, batch_size=64),
    "vgg_blocks-shapes": _recipe("vgg_blocks", 20, sgd, 0.02, photos, bfloat16=True, batch_size=64),
    # belaustegui2022 takes 300 epochs of plain cross-entropy.  With logits this large that is a loss with a
    # corner, and every step a jump; seen through a temperature it is smooth, and fewer epochs do.  The
    # temperature is in the loss and not in the net, whose softmax saturates as the source's does.
    "hebbian_bio-mnist": _recipe("hebbian_bio", 100, torch.optim.Adam, 1e-3, batch_size=100, temperature=1e3,
                                 prepare=partial(learn_features, p=2, k=2, delta=0.4, step=0.1, epochs=40, batch_size=100)),
    "hebbian_bp-mnist": _recipe("hebbian_bp", 20, torch.optim.Adam, 1e-3, batch_size=100, temperature=1e3),
    "hebbian_bio-digits": _recipe("hebbian_bio", 60, torch.optim.Adam, 1e-3, batch_size=32, temperature=1e3,
                                  prepare=partial(learn_features, p=2, k=2, delta=0.4, step=0.1, epochs=200, batch_size=32)),
    "hebbian_bp-digits": _recipe("hebbian_bp", 30, torch.optim.Adam, 1e-3, batch_size=32, temperature=1e3),
    # marinelli's own way: no augmentation and no weight decay.  Not a checkpoint of the book:
    # its learning curve is the record 02-plain-vgg.
    "vgg_blocks_plain-cifar10": _recipe("vgg_blocks", 18, partial(torch.optim.SGD, momentum=0.9), 0.03, bfloat16=True),
}


def train(key: str, folder: Path, work: Path, seed: int = 0) -> dict:
    """Train one recipe, write `folder/key.safetensors` (float16) and its card `folder/key.json`.

    `work` keeps the resumable training checkpoint.
    """
    recipe, dataset = RECIPES[key], key.rsplit("-", 1)[1]
    train_set, test_set = data.load(dataset), data.load(dataset, "test")
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the initial weights
        model = zoo.NETWORKS[recipe["network"]][0]().to(memory_format=torch.channels_last)
    began = time.monotonic()
    part, sets = model, [train_set, test_set]
    if recipe["prepare"] is not None:
        part, sets = recipe["prepare"](model, sets, seed)
    history = training.fit(part, sets[0], validation=sets[1], seed=seed, checkpoint=work / f"{key}.training.safetensors", **recipe["fit"])
    seconds = time.monotonic() - began
    weights = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / f"{key}.safetensors")
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    accuracy = {split.split: training.accuracy(model, split) for split in (train_set, test_set)}
    hits = round(accuracy["test"] * len(test_set))
    fit = recipe["fit"]
    card = {
        "network": recipe["network"], "data": dataset, "source": train_set.source,
        **({"without labels": recipe["prepare"].keywords} if recipe["prepare"] else {}),
        "epochs": len(history), "batch size": fit["batch_size"], "temperature": recipe["temperature"], "seed": seed,
        "optimizer": getattr(fit["optimizer"], "func", fit["optimizer"]).__name__,
        "augmentation": "none" if fit["augment"] is None else "shift and flip" if fit["augment"] is photos else "shift",
        "train accuracy": accuracy["train"], "test accuracy": accuracy["test"],
        "test accuracy 95 %": list(wilson_interval(hits, len(test_set))), "test images": len(test_set),
        "history": {name: [round(v, 5) for v in values] for name, values in vars(history).items() if values},
        "provenance": records.provenance(f"advlens record checkpoint-{key}", source=train_set.source, seed=seed, seconds=seconds),
    }
    (folder / f"{key}.json").write_text(json.dumps(card, indent=1) + "\n")
    return card
