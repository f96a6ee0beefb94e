"""Checks of chapter 00: one step by hand, the size of a perturbation, noise that is as harmful as an attack, shifts."""

from __future__ import annotations

import torch

from advlens import attacks, geometry
from advlens.course.checks import hint

WEIGHTS, FOUR = torch.tensor([3.0, -1, 2, -2]), torch.tensor([0.5, 0.4, 0.3, 0.6])


def four_pixels(function) -> None:
    """Check `function()`: a dict with the step, the moved pixels, their score and the smallest eps of the warm-up."""
    got = hint.by_hand(function, "step", "moved", "score", "smallest")
    step = -WEIGHTS.sign()
    score = (WEIGHTS @ FOUR).item()
    hint.compare(got["step"], step, {
        "That step makes the score larger, and the answer safer: go the other way.": -step,
        "FGSM takes only the sign: every pixel moves by the same eps, whatever its weight.": -WEIGHTS,
        "FGSM takes only the sign, and it goes against the weights.": WEIGHTS,
        "The step is the direction alone, four times 1 or -1: eps comes in `moved`.": 0.1 * step,
    }, "`step` is not the sign by which each pixel must move so that the score falls.")
    print("ok  the step")
    moved = FOUR + 0.1 * step
    hint.compare(got["moved"], moved, {
        "`moved` went the wrong way: the score grew.": FOUR - 0.1 * step,
        "`moved` went by a whole step of 1: multiply by eps = 0.1.": FOUR + step,
        "`moved` holds the change alone: add it to the image.": 0.1 * step,
    }, "`moved` is not the image plus 0.1 times the step.")
    hint.compare(got["score"], (WEIGHTS @ moved).item(), {
        "`score` is that of the image before the step.": score,
        "`score` is the change of the score: add what it was before.": (WEIGHTS @ moved).item() - score,
    }, "`score` is not the score of the moved image.")
    print("ok  the image after the step, and its score")
    length = WEIGHTS.abs().sum().item()
    hint.compare(got["smallest"], score / length, {
        "That is the distance in the L2 norm: here every pixel may move by eps, so divide by the sum of the absolute "
        "weights.": score / WEIGHTS.norm().item(),
        "You divide by the number of pixels: but a pixel with a large weight does more.": score / 4,
        "You divide by the sum of the weights with their signs: each pixel moves in its own best direction, so the "
        "absolute values count.": score / WEIGHTS.sum().item(),
        "That is the score itself: how much does it fall for each unit of eps?": score,
    }, "`smallest` is not the eps at which the score becomes 0.")
    print("ok  the smallest eps")


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


def louder(share_fgsm: float, shares, factor: int) -> None:
    """Check how much larger noise must be than FGSM at eps = 0.1 to change as many answers of `fully_connected`.

    shares: of the first 100 test digits, whose answer noise of 1 to 10 times 0.1 changes.
    """
    hint.answered(share_fgsm=share_fgsm, shares=shares, factor=factor)
    net, x, y, sign = hint.hundred_digits("fully_connected")
    changed = hint.changes(net, x)
    fgsm = changed(attacks.fgsm(net, x, y, eps=0.1))
    hint.compare(float(share_fgsm), fgsm, hint.wrong_shares(fgsm, "share_fgsm") | {
        "`share_fgsm` is measured at eps = 0.1 / 255: eps is in pixel units of [0, 1] already.":
            changed(attacks.fgsm(net, x, y, eps=0.1 / 255)),
        "`share_fgsm` is the share under noise: did you exchange the two?": changed((x + 0.1 * sign).clamp(0, 1)),
    }, "`share_fgsm` is not the share of the 100 images whose answer attacks.fgsm changes at eps = 0.1.",
                 tolerance=0.004)
    print("ok  the share that FGSM changes")
    noise = torch.tensor([changed((x + k * 0.1 * sign).clamp(0, 1)) for k in range(1, 11)])
    given = torch.tensor([float(share) for share in shares])
    hint.require(len(given) == 10, f"`shares` has {len(given)} entries: one for each k from 1 to 10.")
    hint.compare(given, noise, hint.wrong_shares(noise, "shares") | {
        "`shares` comes from noise that was not clamped: clamp the sum to [0, 1], it must be an image.":
            torch.tensor([changed(x + k * 0.1 * sign) for k in range(1, 11)]),
        "`shares` grows by k / 255: k * 0.1 is in pixel units already.":
            torch.tensor([changed((x + k / 255 * sign).clamp(0, 1)) for k in range(1, 11)]),
        "`shares` comes from the same noise for every k: multiply it by k.": noise[:1].expand(10),
    }, "`shares` is not the share of changed answers for the noise of the task times k, k from 1 to 10.",
                 tolerance=0.004)
    print("ok  the shares that noise changes")
    first = int((noise >= fgsm).nonzero()[0]) + 1
    hint.compare(float(factor), first, {
        "`factor` is the position in the list, which counts from 0: give k itself.": first - 1,
        "`factor` is the size of the noise: give the number k by which 0.1 is multiplied.": first / 10,
    }, "`factor` is not the first k at which noise changes at least as many answers as FGSM.")
    print("ok  the factor")


def shifts(changed, lengths) -> None:
    """Check shifts of the first 100 test digits by 1 to 5 pixels to the right: the share of LeNet's answers that
    change, and the median L2 length of the change.
    """
    hint.answered(changed=changed, lengths=lengths)
    net, x, *_ = hint.hundred_digits("lenet")
    share, steps = hint.changes(net, x), range(1, 6)
    right = lambda k: torch.nn.functional.pad(x, (k, -k))
    lists = {"changed": [float(v) for v in changed], "lengths": [float(v) for v in lengths]}
    for name, given in lists.items():
        hint.require(len(given) == 5, f"`{name}` has {len(given)} entries: one for each shift, 1 to 5 pixels.")
    expected = torch.tensor([share(right(k)) for k in steps])
    hint.compare(lists["changed"], expected, hint.wrong_shares(expected, "changed") | {
        "`changed` belongs to a shift to the left: the first column must become black.":
            torch.tensor([share(right(-k)) for k in steps]),
        "`changed` belongs to a shift downwards: the last dimension is the width.":
            torch.tensor([share(torch.nn.functional.pad(x, (0, 0, k, -k))) for k in steps]),
    }, "`changed` is not the share of the 100 images whose answer a shift to the right changes.", tolerance=0.004)
    print("ok  the shares that a shift changes")
    d = [(right(k) - x).flatten(1) for k in steps]
    length = torch.stack([change.norm(dim=1) for change in d])  # (5, 100)
    hint.compare(lists["lengths"], length.median(1).values, {
        "`lengths` holds the mean: the task asks for the median.": length.mean(1),
        "`lengths` is the L-infinity norm: take the Euclidean length.":
            torch.stack([change.abs().amax(1) for change in d]).median(1).values,
        "`lengths` is one length for all images together: measure each image, then take the median.":
            torch.stack([change.norm() for change in d]),
        "`lengths` lacks the root: the sum of squares is the squared length.": length.square().median(1).values,
    }, "`lengths` is not the median Euclidean length of the change by each shift.", tolerance=0.01)
    print("ok  the lengths of the shifts")
