"""Checks of chapter 01: units by hand, from bytes to images, the colours of a data set, bytes that wrap around."""

from __future__ import annotations

import torch
from torch import Tensor

from advlens import data
from advlens.course.checks import hint


def units(function) -> None:
    """Check `function()`: a dict with the pixels, the normalised pixels, the levels and the sum of the warm-up."""
    got = hint.by_hand(function, "pixels", "normalised", "levels", "wrapped")
    stored = torch.tensor([0.0, 51, 102, 255])
    hint.compare(got["pixels"], stored / 255, {
        "A byte goes to 255, not to 256: white must become 1.": stored / 256,
        "These are the bytes themselves: divide by 255.": stored,
    }, "`pixels` is not the four bytes divided by 255.")
    print("ok  pixel units")
    hint.compare(got["normalised"], (stored / 255 - 0.2) / 0.4, {
        "You divide before you subtract: first subtract the mean, then divide by the standard deviation.":
            stored / 255 / 0.4 - 0.2,
        "You divide by the variance: the standard deviation is 0.4.": (stored / 255 - 0.2) / 0.16,
        "You multiply by the standard deviation: divide by it.": (stored / 255 - 0.2) * 0.4,
        "You normalise the bytes: take the pixel units.": (stored - 0.2) / 0.4,
    }, "`normalised` is not (pixel - mean) / standard deviation.")
    print("ok  normalised units")
    hint.compare(got["levels"], 0.1 * 0.4 * 255, {
        "You divide by the standard deviation: on the way back it multiplies.": 0.1 / 0.4 * 255,
        "The mean does not matter for a difference: only the standard deviation does.": (0.1 * 0.4 + 0.2) * 255,
        "That is in pixel units: a level is 1/255 of them.": 0.1 * 0.4,
        "You took the epsilon as if it were in pixel units: it is in normalised units.": 0.1 * 255,
    }, "`levels` is not 0.1 normalised units in grey levels.", tolerance=0.01)
    print("ok  grey levels")
    hint.compare(float(got["wrapped"]), 4, {
        "A byte cannot hold 260: 255 is the largest.": 260,
        "A byte does not stop at 255 by itself: that would be clamp.": 255,
        "After 255 comes 0, not 1: 256 becomes 0.": 5,
    }, "`wrapped` is not what a byte makes of 250 + 10.")
    print("ok  the byte that wraps around")


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


def colours(mean, std, levels) -> None:
    """Check mean and standard deviation of each colour of the training shapes, and 0.1 normalised units in levels."""
    hint.answered(mean=mean, std=std, levels=levels)
    shapes = data.load("shapes", "train")
    each = shapes.images.double().transpose(0, 1).flatten(1)  # (3, N*H*W)
    lists = {"mean": mean, "std": std, "levels": levels}
    for name, given in lists.items():
        hint.require(len(torch.as_tensor(given, dtype=torch.float64).flatten()) == 3,
                     f"`{name}` needs three numbers, one for each colour: average over images, height and width, "
                     "dim=(0, 2, 3).")
    hint.require(max(float(m) for m in mean) <= 1, "`mean` is in grey levels 0 to 255: the images lie in [0, 1].")
    hint.compare(mean, each.mean(1), {
        "`mean` is that of the test images: load the split \"train\".":
            data.load("shapes", "test").mean,
        "`mean` is the same for all colours: keep the dimension of the channels.": each.mean().expand(3),
    }, "`mean` is not the mean of each colour over all training images.")
    hint.compare(std, each.std(1), {
        "`std` is the variance: take the root.": each.var(1),
        "`std` is the mean of the standard deviations of single images: take all pixels of a colour at once.":
            shapes.images.double().flatten(2).std(2).mean(0),
        "`std` is the same for all colours: keep the dimension of the channels.": each.std().expand(3),
    }, "`std` is not the standard deviation of each colour over all training images.")
    print("ok  mean and standard deviation")
    hint.compare(levels, 0.1 * 255 * each.std(1), {
        "`levels` is divided by the standard deviation: on the way back to pixels it multiplies.":
            0.1 * 255 / each.std(1),
        "`levels` is in pixel units: multiply by 255.": 0.1 * each.std(1),
        "`levels` adds the mean: a difference has no mean.": 255 * (0.1 * each.std(1) + each.mean(1)),
        "`levels` takes 0.1 as pixel units: it is in normalised units.": torch.full((3,), 25.5),
    }, "`levels` is not 0.1 normalised units in grey levels, for each colour.", tolerance=0.01)
    print("ok  grey levels of each colour")


def accident(wrapped: float, linf: float, changed: float, changed_right: float) -> None:
    """Check what +-8 levels do to the first 100 test digits when they are added in bytes, and when they are not.

    wrapped: share of the pixels that move by more than half.  linf: the largest change.  changed, changed_right:
    share of LeNet's answers that change, in bytes and in pixel units with a clamp.
    """
    hint.answered(wrapped=wrapped, linf=linf, changed=changed, changed_right=changed_right)
    net, x, _, sign = hint.hundred_digits("lenet")
    share = hint.changes(net, x)
    in_bytes = ((x * 255).round() + 8 * sign).remainder(256) / 255
    rightly = (x + 8 / 255 * sign).clamp(0, 1)
    moved = (in_bytes - x).abs()
    far = (moved > 0.5).double().mean().item()
    hint.compare(float(wrapped), far, {
        "`wrapped` is in percent: give the share, a number between 0 and 1.": 100 * far,
        "Nothing wrapped: you left the bytes. Add in uint8, raw + step.": 0,
        "`wrapped` counts every pixel that changed: count those that moved by more than half.":
            (moved > 1e-6).double().mean().item(),
    }, "`wrapped` is not the share of the pixels that move by more than half.", tolerance=0.002)
    hint.compare(float(linf), moved.max().item(), {
        "`linf` is in grey levels: give pixel units.": 255 * moved.max().item(),
        "`linf` is what was intended: measure what came out.": 8 / 255,
    }, "`linf` is not the largest change of a pixel, in pixel units.")
    print("ok  what the bytes did")
    wrong, right = share(in_bytes), share(rightly)
    for name, given, expected, other in (("changed", changed, wrong, right),
                                         ("changed_right", changed_right, right, wrong)):
        hint.compare(float(given), expected, hint.wrong_shares(expected, name) | {
            f"`{name}`: did you exchange the two?": other,
        }, f"`{name}` is not the share of LeNet's answers that change.", tolerance=0.004)
    print("ok  what LeNet makes of it")
