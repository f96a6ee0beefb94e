"""Chapter 01: facts about the two data sets, and how far our copy of CIFAR-10 is from the original."""

from __future__ import annotations

import torch
from torch import Tensor

from advlens import data, evaluation, models, zoo
from advlens.course.measuring import Grid
from advlens.data import box_and_offset

# Standard deviations of CIFAR-10's training pixels as everybody quotes them, from the original files.
ORIGINAL_STD = models.CIFAR10_PIXELS[1]


def sets() -> dict:
    """Counts, means and deviations of both sets; the box and the centre of MNIST's digits; LeNet on the two halves of
    its test set.
    """
    values = {}
    for name in ("mnist", "cifar10"):
        for split in ("train", "test"):
            part = data.load(name, split)
            values[f"{name} {split}"] = {"images": len(part), "counts": part.class_counts.tolist(),
                                         "mean": part.mean.tolist(), "std": part.std.tolist()}
            if name == "mnist":
                values[f"{name} {split}"] |= ink(part.images)
    test = data.load("mnist", "test")
    wrong = evaluation.logits(zoo.pretrained("lenet"), test.images).argmax(1) != test.labels
    values["lenet errors"] = {"first half": int(wrong[:5000].sum()), "second half": int(wrong[5000:].sum()),
                              "images": 5000}
    return values


def ink(images: Tensor) -> dict:
    """How large the digits of images (N, 1, H, W) are, and how far their centre of mass is from the centre."""
    height, width, offset = box_and_offset(images)
    return {"share in a box of 20": ((height <= 20) & (width <= 20)).double().mean().item(),
            "share with a side of 20": (torch.maximum(height, width) == 20).double().mean().item(),
            "mean offset": offset.mean(0).tolist(), "largest offset": (offset - offset.mean(0)).abs().max().item()}


def copy() -> dict:
    """The CIFAR-10 copy at JPEG quality 75 against the same images without loss, in levels of 1/255.

    The lossless images are the first of the training set, in the same order.
    """
    lossless = data.load("cifar10_lossless", "test")
    training = data.load("cifar10", "train")
    same = training[:len(lossless)]
    if not torch.equal(same.labels, lossless.labels):
        raise ValueError("the lossless images are not the first training images: their labels differ")
    change = (same.images - lossless.images).mul(255).round()  # (N, 3, 32, 32), whole levels
    size = change.abs().flatten(1)
    return {
        "images": len(lossless),
        "rms": change.pow(2).mean().sqrt().item(),
        "rms per image": size.pow(2).mean(1).sqrt().quantile(torch.tensor([0.05, 0.5, 0.95])).tolist(),
        "largest per image": size.amax(1).quantile(torch.tensor([0.05, 0.5, 0.95])).tolist(),
        "images within 8": (size.amax(1) <= 8).double().mean().item(),
        "share": [(size == k).double().mean().item() for k in range(32)],  # of values that moved by k levels
        "unchanged": (size == 0).double().mean().item(),
        "std of the copy": training.std.tolist(), "std of the original": ORIGINAL_STD,
    }


RECORDS = {
    "01-sets": Grid(sets, data=["mnist train", "mnist test", "cifar10 train", "cifar10 test"]),
    "01-copy": Grid(copy, data=["cifar10 train", "cifar10_lossless test"]),
}
