"""Chapter 02: what the trained networks still get wrong, one trained without augmentation, and each trained with five
seeds.
"""

from __future__ import annotations

from functools import partial

import torch

from advlens import attacks, data, evaluation, zoo
from advlens.course import recipes
from advlens.course.measuring import Grid, device, nested

NETS = ("lenet", "mnist_resnet", "cifar_net", "vgg_blocks")
SEEDS = range(5)
# For each net an eps at which attacks leave some images and not all.
EPS = {"lenet": 0.1, "mnist_resnet": 0.1, "fully_connected": 0.05, "cifar_net": 1 / 255}
IMAGES = {"lenet": 1000, "mnist_resnet": 200, "fully_connected": 1000, "cifar_net": 200}  # attacked, for every seed


def confusion(net: str) -> dict:
    """Accuracy, confusion matrix, first misclassified test image, mean confidence when right and when wrong."""
    test = data.load(zoo.NETWORKS[net][1], "test")
    probabilities = evaluation.logits(zoo.pretrained(net).to(device()), test.images).softmax(1)  # (N, classes)
    confidence, predicted = probabilities.max(1)
    right = predicted == test.labels
    first = int((~right).nonzero()[0])
    k = len(test.classes)
    return {
        "accuracy": evaluation.rate(right)._asdict(),
        "matrix": torch.bincount(k * test.labels + predicted, minlength=k * k).view(k, k).tolist(),  # rows: true class
        "classes": list(test.classes),
        "first mistake": {"index": first, "label": int(test.labels[first]), "predicted": int(predicted[first]),
                          "confidence": confidence[first].item()},
        "mean confidence": {"right": confidence[right].mean().item(), "wrong": confidence[~right].mean().item()},
    }


def plain_vgg() -> dict:
    """VggBlocks trained without augmentation, with a schedule of our own: the card with its learning curve."""
    card = recipes.train("vgg_blocks_plain-cifar10")
    return {key: value for key, value in card.items() if key != "provenance"}


def one_seed(net: str, seed: int) -> dict:
    """A net trained from this seed (weights stay in the cache): accuracy clean, under PGD-40 and under the strongest
    attack.

    Accuracy: complete test set.  Attacks: the same IMAGES for every seed.
    """
    model = recipes.pretrained(net, seed=seed).to(device())
    test = data.load(zoo.NETWORKS[net][1], "test")
    some, left = test.sample(1000)[:IMAGES[net]], {}
    for name, attack in (("pgd", partial(attacks.pgd, first_success=True)), ("strongest", attacks.strongest)):
        strike = partial(attack, eps=EPS[net], generator=torch.Generator().manual_seed(0))
        left[name] = evaluation.robust_accuracy(model, some, attack=strike)._asdict()
    return {"test accuracy": evaluation.accuracy(model, test)._asdict()} | left


def seeds(results: list) -> dict:
    """All values by seed, and their mean with its t interval."""
    net, by_seed = results[0][0]["net"], nested("seed")(results)
    over = {key: evaluation.over_seeds([value[key]["value"] for value in by_seed.values()])._asdict()
            for key in ("test accuracy", "pgd", "strongest")}
    return {"eps": EPS[net], "seeds": by_seed, "over seeds": over}


RECORDS = {
    "02-confusion": Grid(confusion, [{"net": net} for net in NETS], nested("net"), ["mnist test", "cifar10 test"]),
    "02-plain-vgg": Grid(plain_vgg, data=["cifar10 train", "cifar10 test"], seed=0),
} | {
    f"02-seeds-{net}": Grid(one_seed, [{"net": net, "seed": seed} for seed in SEEDS], seeds,
                            [f"{zoo.NETWORKS[net][1]} train", f"{zoo.NETWORKS[net][1]} test"], 0) for net in EPS
}
