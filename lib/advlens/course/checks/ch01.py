"""Checks of chapter 01: from stored bytes to images, and the statistics of a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from advlens import data
from advlens.course.checks import hint


def to_images(function) -> None:
    """Check `function(raw)`: uint8 (N, H, W) or (N, H, W, C) -> float32 (N, C, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    # 200 at most: the largest value of a batch is not always 255
    grey = torch.randint(0, 201, (4, 5, 7), generator=generator, dtype=torch.uint8)
    colour = torch.randint(0, 256, (3, 5, 7, 3), generator=generator, dtype=torch.uint8)
    for raw, pixels, name in ((grey, grey.unsqueeze(1), "grey"), (colour, colour.permute(0, 3, 1, 2), "colour")):
        before = raw.clone()
        got = hint.call(function, raw)
        hint.require(torch.equal(raw, before),
                     "You changed the raw images of your caller in place: work on a copy, raw.float() makes one.")
        hint.require(isinstance(got, Tensor), f"The result is a {type(got).__name__}: return a tensor.")
        _shape(got, raw, pixels)
        hint.require(got.is_floating_point(), f"The result is {got.dtype}: whole numbers cut off everything between 0 "
                                              "and 1. Call raw.float() before you divide.")
        hint.require(got.dtype == torch.float32,
                     f"The result is {got.dtype}: return float32, as the networks expect, with .float().")
        hint.compare(got, pixels.float() / 255, {
            "The pixels still lie in [0, 255]: divide by 255.": pixels.float(),
            "The division cut off everything below 1: call raw.float() before you divide by 255.":
                (pixels // 255).float(),
            "A byte goes to 255, not to 256: divide by 255, so that white is 1.": pixels.float() / 256,
            "You divide by the largest value of the batch: a dark batch would become brighter. Divide by 255.":
                pixels.float() / pixels.max(),
            "The bytes wrapped around at 256: uint8 arithmetic forgets what is above. Call raw.float() first.":
                (pixels * 255).float(),
            "You map to [-1, 1]: images of this course lie in [0, 1].": pixels.float() / 127.5 - 1,
            "You standardise: mean and standard deviation belong into the first layer of the model, not into "
            "the images.": _standard(pixels),
            "The numbers are right but in the wrong order: reshape and view only cut the bytes anew. Move the channels "
            "with raw.permute(0, 3, 1, 2).":
                raw.reshape(pixels.shape).float() / 255,
        }, f"The {name} images are not the bytes divided by 255.")
        print(f"ok  {name} images: float32 (N, C, H, W) in [0, 1]")


def _shape(got: Tensor, raw: Tensor, pixels: Tensor) -> None:
    if got.shape == pixels.shape:
        return
    hint.require(not (raw.ndim == 3 and got.shape == raw.shape),
                 "Grey images lack their channel: (N, H, W) becomes (N, 1, H, W), with raw.unsqueeze(1).")
    hint.require(not (raw.ndim == 4 and got.shape == raw.shape),
                 "The channels still come last: PyTorch wants (N, C, H, W), with raw.permute(0, 3, 1, 2).")
    hint.require(got.shape != pixels.mT.shape,
                 "Height and width are exchanged: only the channels move, raw.permute(0, 3, 1, 2).")
    raise hint.CheckFailed(f"raw has shape {tuple(raw.shape)} and the result {tuple(got.shape)}: it should be "
                           f"{tuple(pixels.shape)}, (N, C, H, W).")


def _standard(pixels: Tensor) -> Tensor:
    scaled = pixels.float() / 255
    return (scaled - scaled.mean()) / scaled.std()


def statistics(mean: float, std: float, counts, most_frequent: int) -> None:
    """Check mean, standard deviation, class counts and the most frequent class of the training digits."""
    hint.answered(mean=mean, std=std, counts=counts, most_frequent=most_frequent)
    digits, test = data.load("digits", "train"), data.load("digits", "test")
    pixels = digits.images.double()
    hint.compare(float(mean), pixels.mean().item(), {
        "`mean` is in grey levels 0 to 255: the images lie in [0, 1].": 255 * pixels.mean().item(),
        "`mean` is that of the test images: load the split \"train\".": test.images.double().mean().item(),
        "`mean` is that of the drawn pixels only: black pixels count as well.": pixels[pixels > 0].mean().item(),
    }, "`mean` is not the mean over all pixels of all training images.")
    hint.compare(float(std), pixels.std().item(), {
        "`std` is the mean of the standard deviations of single images: take one standard deviation over all pixels.":
            pixels.flatten(1).std(1).mean().item(),
        "`std` is the spread of the mean brightness: take one standard deviation over all pixels.":
            pixels.flatten(1).mean(1).std().item(),
        "`std` is the variance: take the root.": pixels.var().item(),
        "`std` is the mean over pixel positions: take one standard deviation over all pixels.":
            pixels.std(0).mean().item(),
    }, "`std` is not the standard deviation over all pixels of all training images.")
    print("ok  mean and standard deviation")
    expected = digits.labels.bincount(minlength=10)
    counted = torch.as_tensor([float(c) for c in counts])
    hint.require(len(counted) == 10,
                 f"`counts` has {len(counted)} entries: one for each of the ten classes, in their order.")
    hint.compare(counted, expected, {
        "`counts` holds shares: give whole numbers of images.": expected / expected.sum(),
        "`counts` is sorted by size: keep the order of the classes, 0 to 9.": expected.sort(descending=True).values,
        "`counts` belongs to the test images: load the split \"train\".": test.labels.bincount(minlength=10),
    }, "`counts` is not the number of training images of each class: labels.bincount() counts them.")
    print("ok  class counts")
    top = int(expected.argmax())
    hint.compare(float(most_frequent), top, {
        "`most_frequent` is the number of images: give the class, a number from 0 to 9.": int(expected.max()),
        "That is the rarest class: look for the largest count.": int(expected.argmin()),
    }, "`most_frequent` is not the class with the largest count.")
    print("ok  the most frequent class")
