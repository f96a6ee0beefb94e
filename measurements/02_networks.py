"""Chapter 02: what the four trained networks still get wrong, and a network trained without augmentation."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm.auto import tqdm

from advlens import data, evaluation, zoo
from advlens.course import recipes

NETS = ("lenet", "mnist_resnet", "cifar_net", "vgg_blocks")


def confusion():
    """Per network: accuracy, confusion matrix, first misclassified test image, mean confidence when right and when wrong."""
    values, sources = {}, {}
    for name in tqdm(NETS, desc="confusion", unit="net"):
        test = data.load(zoo.NETWORKS[name][1], "test")
        probabilities = evaluation.logits(zoo.pretrained(name), test.images).softmax(1)  # (N, classes)
        confidence, predicted = probabilities.max(1)
        right = predicted == test.labels
        first = int((~right).nonzero()[0])
        k = len(test.classes)
        values[name] = {
            "accuracy": evaluation.rate(right)._asdict(),
            "matrix": torch.bincount(k * test.labels + predicted, minlength=k * k).view(k, k).tolist(),  # rows: true class
            "classes": list(test.classes),
            "first mistake": {"index": first, "label": int(test.labels[first]), "predicted": int(predicted[first]),
                              "confidence": confidence[first].item()},
            "mean confidence": {"right": confidence[right].mean().item(), "wrong": confidence[~right].mean().item()},
        }
        sources[test.source] = None
    return values, "; ".join(sources), None


def plain_vgg():
    """VggBlocks trained marinelli's way, without augmentation: the card with its learning curve."""
    scratch = Path("build") / "training"
    card = recipes.train("vgg_blocks_plain-cifar10", scratch, scratch)
    return {key: value for key, value in card.items() if key != "provenance"}, card["source"], card["seed"]


RECORDS = {"02-confusion": confusion, "02-plain-vgg": plain_vgg}
