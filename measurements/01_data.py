"""Chapter 01: facts about the two data sets, who wrote MNIST, and how far our copy of CIFAR-10 is from the original."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advlens import attacks, data, evaluation, models, zoo
from advlens.course import recipes
from advlens.course.measuring import Grid, nested
from advlens.data import box_and_offset

# Standard deviations of CIFAR-10's training pixels as everybody quotes them, from the original files.
ORIGINAL_STD = models.CIFAR10_PIXELS[1]


def sets() -> dict:
    """Counts, means and deviations of both sets; the box and the centre of MNIST's digits."""
    values = {}
    for name in ("mnist", "cifar10"):
        for split in ("train", "test"):
            part = data.load(name, split)
            values[f"{name} {split}"] = {"images": len(part), "counts": part.class_counts.tolist(),
                                         "mean": part.mean.tolist(), "std": part.std.tolist()}
            if name == "mnist":
                values[f"{name} {split}"] |= ink(part.images)
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
        "median": change.abs().median().item(),
        "rms per image": size.pow(2).mean(1).sqrt().quantile(torch.tensor([0.05, 0.5, 0.95])).tolist(),
        "largest per image": size.amax(1).quantile(torch.tensor([0.05, 0.5, 0.95])).tolist(),
        "images within 8": (size.amax(1) <= 8).double().mean().item(),
        "share": [(size == k).double().mean().item() for k in range(32)],  # of values that moved by k levels
        "unchanged": (size == 0).double().mean().item(),
        "std of the copy": training.std.tolist(), "std of the original": ORIGINAL_STD,
    }


# --- who wrote MNIST -------------------------------------------------------------

# QMNIST (yadav2019) traces every digit of MNIST to its writer.  Its extended labels are files of
# github.com/facebookresearch/qmnist; they belong into $ADVLENS_DATA/QMNIST/raw.
WRITERS_SHA256 = {"train": "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f",
                  "test": "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06"}
STUDENTS = 4  # the series hsf_4 of NIST's collection; the series 0 to 3 are by employees


def extended_labels(split: str) -> Tensor:
    """QMNIST's labels of MNIST's images, in MNIST's order, (N, 8): class, series, writer and what else is known.

    Raises FileNotFoundError without the file, ValueError for another file.
    """
    path = Path(os.environ["ADVLENS_DATA"]) / "QMNIST" / "raw" / f"qmnist-{split}-labels-idx2-int.gz"
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != WRITERS_SHA256[split]:
        raise ValueError(f"{path} is not the file that QMNIST published")
    numbers = np.frombuffer(gzip.decompress(packed), ">i4")  # magic number, rows, columns, then the rows
    labels = torch.from_numpy(numbers[3:].reshape(-1, 8).astype(np.int64))
    mnist = data.load("mnist", split)
    labels = labels[:len(mnist)]  # of the 60,000 test labels, the first 10,000 are MNIST's
    if not torch.equal(labels[:, 0], mnist.labels):
        raise ValueError(f"{path}: the classes are not those of MNIST in its order")
    return labels


def writers() -> dict:
    """How many of MNIST's digits are by students and how many by employees, and by how many people; and where in the
    test set the students' digits stand.
    """
    values = {"writers from": "QMNIST (Yadav & Bottou, 2019), extended labels"}
    for split in ("train", "test"):
        _, series, writer = extended_labels(split)[:, :3].T
        by_students = series == STUDENTS
        values[split] = {who: {"digits": int(which.sum()), "writers": len(writer[which].unique())}
                         for who, which in (("students", by_students), ("employees", ~by_students))}
        values[split]["students in halves"] = [int(half.sum()) for half in by_students.chunk(2)]
    return values


def halves(net: str, seed: int) -> dict:
    """Mistakes of a net on MNIST's test digits, by who wrote them; seed: of its training."""
    test = data.load("mnist", "test")
    wrong = ~evaluation.classified_right(recipes.pretrained(net, seed=seed), test)
    by_students = extended_labels("test")[:, 1] == STUDENTS
    return {who: {"mistakes": int(wrong[which].sum()), "digits": int(which.sum())}
            for who, which in (("students", by_students), ("employees", ~by_students))}


# --- what JPEG does to an attack ----------------------------------------------------

COPY_EPS = (1 / 255, 2 / 255, 4 / 255)


def attacked_copy(net: str) -> dict:
    """A net on the same 4,000 images without loss, as the JPEG copy, and moved as far as JPEG moves them but each value
    up or down by a coin: accuracy as they are, and under FGSM.

    The net was trained on the copy, these images among them.  paired: the lossless images against the copy.
    """
    model, lossless = zoo.pretrained(net), data.load("cifar10_lossless", "test")
    copied = data.load("cifar10", "train")[:len(lossless)]
    if not torch.equal(copied.labels, lossless.labels):
        raise ValueError("the lossless images are not the first training images: their labels differ")
    coins = torch.randint(0, 2, lossless.images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    shuffled = (lossless.images + coins * (copied.images - lossless.images).abs()).clamp(0, 1)
    x = {"lossless": lossless.images, "copy": copied.images, "coins": shuffled}
    right = {"0": {name: evaluation.classified_right(model, images, lossless.labels) for name, images in x.items()}}
    for eps in COPY_EPS:
        right[f"{255 * eps:.0f}"] = {name: _after_fgsm(model, images, lossless.labels, eps)
                                     for name, images in x.items()}
    return {level: {name: evaluation.rate(which)._asdict() for name, which in of.items()}
            | {"paired": evaluation.paired(of["lossless"], of["copy"])._asdict()} for level, of in right.items()}


def _after_fgsm(model, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Which images are classified right under FGSM, (N,)."""
    return torch.cat([evaluation.classified_right(model, attacks.fgsm(model, images, labels, eps=eps), labels)
                      for images, labels in zip(x.split(500), y.split(500))])


RECORDS = {
    "01-sets": Grid(sets, data=["mnist train", "mnist test", "cifar10 train", "cifar10 test"]),
    "01-writers": Grid(writers, data=["mnist train", "mnist test"]),
    "01-halves": Grid(halves, [{"net": net, "seed": seed} for net in ("lenet", "fully_connected") for seed in range(5)],
                      nested("net", "seed"), ["mnist test"]),
    "01-copy": Grid(copy, data=["cifar10 train", "cifar10_lossless test"]),
    "01-copy-attacked": Grid(attacked_copy, [{"net": net} for net in ("cifar_net", "vgg_blocks")], nested("net"),
                             ["cifar10 train", "cifar10_lossless test"], seed=0),
}
