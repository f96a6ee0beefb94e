"""Checks of chapter 00: the size of a perturbation, and random noise against an attack."""

from __future__ import annotations

import torch

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.course.checks import hint


def sizes(function) -> None:
    """Check `function(x, adversarial)`: a dict with "linf", "l2" and "l0", each (N,), one number for each image."""
    x, adversarial = _pair()
    d = adversarial - x
    got = hint.call(function, x, adversarial)
    hint.require(isinstance(got, dict),
                 f"The result is a {type(got).__name__}: return a dict with the keys \"linf\", \"l2\" and \"l0\".")
    for p in ("linf", "l2", "l0"):
        hint.require(p in got,
                     f"The key {p!r} is missing in the dict: it has {', '.join(map(repr, got)) or 'no keys'}.")
        value = torch.as_tensor(got[p])
        hint.require(value.ndim > 0, f"{p!r} is one number for the whole batch: give one for each image, shape "
                                     f"({len(x)},). Flatten with d.flatten(1) first.")
        hint.require(value.shape == (len(x),),
                     f"{p!r} has shape {tuple(value.shape)}: give one number for each image, shape ({len(x)},).")
    flat = d.flatten(1)
    own = "That is the size of the images themselves: measure the perturbation, adversarial - x."
    hint.compare(got["linf"], geometry.norm(d, "linf"), {
        "Linf is the largest change, up or down: take .abs() before the maximum.": flat.amax(1),
        "For Linf you take the mean over the pixels: it is the maximum.": flat.abs().mean(1),
        own: geometry.norm(adversarial, "linf"),
    }, "Linf is not the largest absolute change of each image.")
    print("ok  Linf: the largest change of a pixel")
    hint.compare(got["l2"], geometry.norm(d, "l2"), {
        "L2 lacks its root: the sum of squares is the squared norm.": flat.square().sum(1),
        "For L2 you take the mean of the squares: it is their sum, then the root.": flat.square().mean(1).sqrt(),
        "That is L1, the sum of absolute values: square first, then take the root of the sum.": flat.abs().sum(1),
        own: geometry.norm(adversarial, "l2"),
    }, "L2 is not the root of the sum of squares of each image.")
    print("ok  L2: the Euclidean length")
    hint.compare(got["l0"], geometry.norm(d, "l0"), {
        "L0 counts channels: a pixel counts once, also when its red, green and blue all change. Take .any(dim=1) over "
        "the channels.": (flat != 0).sum(1),
        "L0 counts the pixels where all channels change: one changed channel is enough, .any(dim=1).":
            (d != 0).all(1).flatten(1).sum(1),
        "L0 is a number of pixels here, not a share of them.": geometry.norm(d, "l0") / d[0, 0].numel(),
        "L0 counts the pixels that stay the same: count those that change.": d[0, 0].numel() - geometry.norm(d, "l0"),
    }, "L0 is not the number of changed pixels of each image.")
    print("ok  L0: the number of changed pixels")


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Colour images, and changes of different kinds: none, one pixel down, single channels, sparse, everywhere."""
    x = hint.small_images(5, low=0.3, high=0.7, channels=3)
    d = torch.zeros_like(x)
    d[1, :, 2, 3] = -0.25
    d[2, 0, 1, 1], d[2, 2, 4, 5] = 0.125, -0.2
    d[3, 1, ::2] = 0.1
    d[4] = (torch.arange(3 * 36).view(3, 6, 6) % 7 - 3.5) / 30
    return x, x + d


def noise_against_fgsm(share_noise: float, share_fgsm: float) -> None:
    """Check the shares of the first 100 test digits whose prediction noise and FGSM change at eps = 0.1."""
    hint.answered(share_noise=share_noise, share_fgsm=share_fgsm)
    digits, eps = data.load("digits", "test")[:100], 0.1
    net = zoo.pretrained("lenet", "digits")
    x, y = digits.images, digits.labels
    before = evaluation.logits(net, x).argmax(1)
    changed = lambda images: (evaluation.logits(net, images).argmax(1) != before).double().mean().item()
    sign = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise, fgsm = changed((x + eps * sign).clamp(0, 1)), changed(attacks.fgsm(net, x, y, eps=eps))
    shared = lambda expected, name: {
        f"`{name}` is in percent: give the share, a number between 0 and 1.": 100 * expected,
        f"`{name}` is the share of predictions that stay: count those that change.": 1 - expected,
    }
    hint.compare(float(share_fgsm), fgsm, shared(fgsm, "share_fgsm") | {
        "`share_fgsm` is the share under noise: did you exchange the two?": noise,
        "`share_fgsm` is measured at eps = 0.1 / 255: eps is in pixel units of [0, 1] already.":
            changed(attacks.fgsm(net, x, y, eps=eps / 255)),
        "`share_fgsm` uses twice the eps of the noise: both get eps = 0.1.":
            changed(attacks.fgsm(net, x, y, eps=2 * eps)),
    }, "`share_fgsm` is not the share of the 100 images whose prediction attacks.fgsm changes at eps = 0.1.",
                 tolerance=0.004)
    print("ok  the share that FGSM changes")
    hint.compare(float(share_noise), noise, shared(noise, "share_noise") | {
        "`share_noise` is measured on the attacked images: did you exchange the two?": fgsm,
    }, "`share_noise` is not the share of the 100 images whose prediction the noise of the task changes: add it to x, "
       "clamp to [0, 1], predict again.",
        tolerance=0.004)
    print("ok  the share that noise changes")
