"""Checks of chapter 03: the fast gradient sign method, and the smallest eps that flips an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.course.checks import hint


def fgsm(function) -> None:
    """Check `function(model, x, y, eps)`: x + eps * sign(gradient of the cross-entropy), clamped to [0, 1]."""
    model, eps = hint.small_net(), 0.05
    x = hint.small_images(low=0.3, high=0.7)  # far from 0 and 1: nothing to clamp
    predicted = model(x).argmax(1)
    y = (predicted + 1) % 4  # never the prediction: the label given is what counts
    for training in (False, True):
        got = hint.attack(function, model.train(training), x, y, eps)
        model.eval()
    print("ok  returns images, and leaves x and the model as they were")

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


FGSM_GRID = [i / 100 for i in range(1, 51)]  # the grids of the task, in pixel units
FGM_GRID = [i / 10 for i in range(1, 101)]


def _flips(net, digits, attack, eps: float) -> bool:
    adversarial = attack(net, digits.images, digits.labels, eps=eps)
    return bool(evaluation.logits(net, adversarial).argmax(1) != digits.labels)


def _gradient(model, x, loss):
    point = x.clone().requires_grad_()
    return torch.autograd.grad(loss(model(point)), point)[0]
