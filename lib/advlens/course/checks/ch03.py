"""Checks of chapter 03: both steps with a pencil, FGSM, the smallest eps that flips an image, the 1-norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.course.checks import hint


def both_steps(function) -> None:
    """Check `function()`: a dict with the image after FGSM and after FGM.

    x = (0.2, 0.95, 0.5, 0), g = (-0.3, 0.4, 0, 1.2), eps = 0.1 for FGSM and 0.13 for FGM.
    """
    got = hint.by_hand(function)
    for key in ("fgsm", "fgm"):
        hint.require(key in got and isinstance(got[key], (list, tuple)) and len(got[key]) == 4,
                     f"The dict needs the key {key!r}, with four numbers, one for each pixel.")
    x, g = torch.tensor([0.2, 0.95, 0.5, 0.0]), torch.tensor([-0.3, 0.4, 0.0, 1.2])
    hint.compare(got["fgsm"], (x + 0.1 * g.sign()).clamp(0, 1), {
        "A pixel is brighter than white: clamp to [0, 1] at the end.": x + 0.1 * g.sign(),
        "Wrong sign: the attack goes uphill. Add the step.": (x - 0.1 * g.sign()).clamp(0, 1),
        "That is the step alone: add it to x.": 0.1 * g.sign(),
        "You multiplied by g: FGSM takes only its signs.": x + 0.1 * g,
        "Where the gradient is 0 its sign is 0: this pixel stays where it is.":
            (x + 0.1 * torch.tensor([-1.0, 1, 1, 1])).clamp(0, 1),
    }, "`fgsm` is not x + 0.1 sign(g), clamped to [0, 1].", tolerance=1e-3)
    print("ok  FGSM")
    length = g.norm()
    hint.compare(got["fgm"], x + 0.13 * g / length, {
        "You did not divide by the length of g: the step has length 0.13, whatever g is.": (x + 0.13 * g).clamp(0, 1),
        "You divided by the sum of |g|: the length is the root of the sum of squares.": x + 0.13 * g / g.abs().sum(),
        "You divided by the squared length: take the root.": x + 0.13 * g / length ** 2,
        "That is the step alone: add it to x.": 0.13 * g / length,
        "Wrong sign: the attack goes uphill. Add the step.": (x - 0.13 * g / length).clamp(0, 1),
    }, "`fgm` is not x + 0.13 g / ||g||_2.", tolerance=1e-3)
    print("ok  FGM")


def fgsm(function) -> None:
    """Check `function(model, x, y, eps)`: x + eps * sign(gradient of the cross-entropy), clamped to [0, 1]."""
    model, eps = hint.small_net(), 0.05
    x = hint.small_images(low=0.3, high=0.7)  # far from 0 and 1: nothing to clamp
    predicted = model(x).argmax(1)
    y = (predicted + 1) % 4  # never the prediction: the label given is what counts
    got = hint.in_both_modes(function, model, x, y, eps)

    gradient = _gradient(model, x, lambda z: F.cross_entropy(z, y, reduction="sum"))
    step = eps * gradient.sign()
    flat = geometry.steepest(gradient, "l2")
    toward = _gradient(model, x, lambda z: F.cross_entropy(z, predicted, reduction="sum"))
    twice = _gradient(model, x, lambda z: F.cross_entropy(z.softmax(1), y, reduction="sum"))
    normalised = ("This step is eps in normalised units, not in pixel units: the model normalises by itself, "
                  "so add eps * sign to the pixels, without std.")
    raw = "You step along the gradient itself: FGSM takes gradient.sign(), so that every pixel moves by eps."
    hint.compare(got, x + step, {
        "Wrong sign: this walks downhill, and the loss becomes smaller. Add the step to x, do not subtract it.": x
        - step,
        "The images come back unchanged: add eps * gradient.sign() to them.": x,
        "You return the noise alone: add it to x.": step,
        normalised: x + step * hint.STD,
        normalised + " (Here it was divided by std.)": x + step / hint.STD,
        "eps is in pixel units of [0, 1] already: do not divide it by 255.": x + step / 255,
        "eps is multiplied in twice: the step is eps * sign(gradient), once.": x + eps * step,
        raw: x + eps * gradient,
        raw + " (A mean over the batch makes the step even smaller.)": x + eps * gradient / len(x),
        "That is FGM: you divide the gradient by its Euclidean norm. FGSM takes gradient.sign().": x + eps * flat,
        "The loss is that of the model's own prediction: use the label y you are given.": x + eps * toward.sign(),
        "There is a softmax too many: cross_entropy takes the logits, model(x), as they are.": x + eps * twice.sign(),
    }, "The result is not x + eps * sign(gradient): your largest change of a pixel is "
       f"{(got - x).abs().max().item():.4f} at eps = {eps}. "
       "Take the gradient of cross_entropy(model(x), y) with respect to x.")
    print("ok  every pixel moves by eps, uphill")

    edge = hint.small_images(seed=1).mul(2).sub(0.5).clamp(0, 1)  # many pixels at 0 and at 1
    got = hint.attack(function, model, edge, y, 0.2)
    hint.require(got.min() >= 0 and got.max() <= 1,
                 "Pixels leave [0, 1], so this is no image any more: end with .clamp(0, 1).")
    hint.compare(got, attacks.fgsm(model, edge, y, eps=0.2), {},
                 "On images with black and white pixels the result is wrong: clamp the sum x + step to [0, 1], "
                 "nothing else.")
    print("ok  pixels stay in [0, 1]")


def smallest_eps(smallest: dict, sizes: dict) -> None:
    """Check the measurement of chapter 03 on test image 5 of the digits.

    smallest: {"fgsm": eps, "fgm": eps}.  sizes: {"fgsm": (linf, l2), "fgm": (linf, l2)} of the perturbations.
    """
    hint.answered(smallest=smallest, sizes=sizes)
    for name in ("fgsm", "fgm"):
        hint.require(name in smallest and name in sizes,
                     f"`smallest` and `sizes` need the keys \"fgsm\" and \"fgm\": {name!r} is missing.")
        hint.require(not isinstance(sizes[name], (int, float)) and len(sizes[name]) == 2,
                     f"`sizes[{name!r}]` is a pair: (Linf, L2).")
    digits = data.load("digits", "test")[5:6]
    net = zoo.pretrained("lenet", "digits")
    eps, flipped = {}, {}
    for name, attack, grid in (("fgsm", attacks.fgsm, FGSM_GRID), ("fgm", attacks.fgm, FGM_GRID)):
        flips = [_flips(net, digits, attack, e) for e in grid]
        first = flips.index(True)
        eps[name] = grid[first]
        flipped[name] = attack(net, digits.images, digits.labels, eps=grid[first]) - digits.images
        hint.compare(float(smallest[name]), grid[first], {
            f"That is the last eps at which {name} still fails: take the next one, where the prediction changes.":
                grid[first - 1],
            f"That is the position in the grid: `smallest[{name!r}]` is the eps that stands there.": first,
            f"That is the position in the grid, counted from 1: `smallest[{name!r}]` is the eps that stands there.":
                first + 1,
            f"That is the largest eps at which {name} flips the image: stop at the first.":
                max(e for e, f in zip(grid, flips) if f),
        }, f"`smallest[{name!r}]` is not the first eps of the grid that flips the image: go up from the smallest, "
           "and compare the prediction with the label.")
    print("ok  the smallest eps of both attacks")
    for name, d in flipped.items():
        linf, l2 = (geometry.norm(d, p).item() for p in ("linf", "l2"))
        pixels = d[0].numel()
        hint.compare([float(v) for v in sizes[name]], [linf, l2], {
            f"`sizes[{name!r}]` is the wrong way round: first Linf, then L2.": [l2, linf],
            f"`sizes[{name!r}]` has the L2 norm divided by the number of pixels: it is a sum over pixels, then "
            "the root.": [linf, l2 / pixels],
            f"`sizes[{name!r}]` has the squared L2 norm: take the root.": [linf, l2 ** 2],
            f"`sizes[{name!r}]` holds eps twice: eps is the size in one norm only. Measure both on adversarial - x.":
                [eps[name]] * 2,
            f"`sizes[{name!r}]` is the size of the images, not of the perturbation: measure adversarial - x.":
                [geometry.norm(digits.images + d, p).item() for p in ("linf", "l2")],
        }, f"`sizes[{name!r}]` is not (Linf, L2) of adversarial - x at your smallest eps: clamping counts, so measure "
           "on the clamped images.",
            tolerance=1e-3)
    print("ok  the size of both perturbations in both norms")


def largest_value(function) -> None:
    """Check `function(model, x, y, eps)`: the whole budget on the value of the largest |gradient|, clamped."""
    model, eps = hint.small_net(), 0.2
    x = hint.small_images(low=0.3, high=0.7)
    y = (model(x).argmax(1) + 1) % 4
    got = hint.in_both_modes(function, model, x, y, eps)
    g = _gradient(model, x, lambda z: F.cross_entropy(z, y, reduction="sum"))
    told = lambda step: _at_largest(step, g)
    hint.compare(told(got - x), told(eps * _on_largest(g)), {
        "Wrong sign: this walks downhill. Add eps where the gradient is positive, subtract it where it is negative.":
            told(-eps * _on_largest(g)),
        "The images come back unchanged: add the step to them.": told(0 * g),
        "You took the largest entry, not the largest in size: use g.abs() to find it.":
            told(eps * _on_largest(g, size=False)),
        "One position is used for all images: find the largest entry of each image.": told(eps * _on_shared(g)),
        "That is FGSM: here only one value of each image moves.": told(eps * g.sign()),
        "The value always becomes brighter: take the sign of its gradient.": told(eps * _on_largest(g).abs()),
        "The step is the gradient there: take its sign, so that the value moves by eps.":
            told((x + eps * _on_largest(g) * g.abs()).clamp(0, 1) - x),
    }, "The result is not x + eps * sign(g) on the one value of each image with the largest |g|.")
    print("ok  one value of each image moves by eps, uphill")
    got = hint.attack(function, model, x, y, 2.0)
    hint.require(got.min() >= 0 and got.max() <= 1,
                 "A value leaves [0, 1], so this is no image any more: end with .clamp(0, 1).")
    hint.compare(told(got - x), told((x + 2 * _on_largest(g)).clamp(0, 1) - x), {},
                 "With a budget beyond 1 the result is wrong: clamp the sum to [0, 1], nothing else.")
    print("ok  pixels stay in [0, 1]")


def _at_largest(step, g):
    """Per image, the step where |g| is largest, and the sum of all its other entries in size, (N, 2)."""
    flat = step.flatten(1)
    there = flat.gather(1, g.flatten(1).abs().argmax(1, keepdim=True))
    return torch.cat([there, flat.abs().sum(1, keepdim=True) - there.abs()], 1)


def _on_largest(g, size: bool = True):
    """The sign of g at the largest |g| (or the largest g) of each image, 0 elsewhere; shaped as g."""
    flat = g.flatten(1)
    where = (flat.abs() if size else flat).argmax(1, keepdim=True)
    return torch.zeros_like(flat).scatter_(1, where, flat.gather(1, where).sign()).view_as(g)


def _on_shared(g):
    """The sign of g at one position of all images, that of the largest |g| of the batch."""
    flat = g.flatten(1)
    where = flat.abs().amax(0).argmax()
    step = torch.zeros_like(flat)
    step[:, where] = flat[:, where].sign()
    return step.view_as(g)


FGSM_GRID = [i / 100 for i in range(1, 51)]  # the grids of the task, in pixel units
FGM_GRID = [i / 10 for i in range(1, 101)]


def _flips(net, digits, attack, eps: float) -> bool:
    adversarial = attack(net, digits.images, digits.labels, eps=eps)
    return bool(evaluation.logits(net, adversarial).argmax(1) != digits.labels)


def _gradient(model, x, loss):
    point = x.clone().requires_grad_()
    return torch.autograd.grad(loss(model(point)), point)[0]
