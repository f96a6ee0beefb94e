"""Checks of chapter 04: a walk by hand, projected gradient descent, restarts, and a network that rounds its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from advlens import attacks, data, evaluation, zoo
from advlens.course.checks import hint


def pgd(function) -> None:
    """Check `function(model, x, y, eps, step_size, steps)`: steps along the sign, each projected into the Linf ball
    around x and into [0, 1].
    """
    model = hint.small_net()
    x = hint.small_images(low=0.3, high=0.7)
    y = (model(x).argmax(1) + 1) % 4  # never the prediction
    hint.in_both_modes(function, model, x, y, 0.1, 0.15, 1)

    short = (0.3, 0.02, 5)  # never at the edge of the ball: every step shows
    walk = lambda budget, **slips: _walk(model, x, y, *budget, **slips)
    got = hint.attack(function, model, x, y, *short)
    hint.compare(got, walk(short), {
        "The images come back unchanged: return the point where the walk ended.": x,
        "Wrong sign: this walks downhill. Add the step.": walk(short, sign=-1),
        "The projection is around 0: clamp the difference x' - x to [-eps, eps], not the image.":
            walk(short, ball="zero"),
        "You step along the gradient itself: take its sign, so that every pixel moves by step_size.":
            walk(short, direction=lambda g: g),
        "All images get the same noise: a mean over the batch mixes them. Take the gradient of the sum of the losses, "
        "and keep one for each image.":
            walk(short, direction=lambda g: g.mean(0, keepdim=True).sign().expand_as(g)),
        "The steps are those of FGM: for Linf take gradient.sign(), not gradient / norm.":
            walk(short, direction=lambda g: g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)),
        "The gradient is taken only once, at x: take it anew at the point of each step.": walk(short, anew=False),
        "The gradients of all steps add up: take a fresh one with torch.autograd.grad, or set x.grad to None.":
            walk(short, forget=False),
        "There is one step too few: `steps` counts them all.": walk((0.3, 0.02, 4)),
        "There is one step too many: `steps` counts them all.": walk((0.3, 0.02, 6)),
        "Each step has length eps: it should have length step_size.": walk((0.3, 0.3, 5)),
    }, "The walk does not end where sign steps of length step_size along the cross-entropy of y end. Start at x, "
       "without a random start.")
    print("ok  every step goes along the sign of a fresh gradient")

    long = (0.1, 0.15, 4)  # steps beyond the ball: the projection decides
    got = hint.attack(function, model, x, y, *long)
    previous = ("The projection is around the previous point, so the walk drifts away: the ball stays around the "
                "clean x.")
    hint.compare(got, walk(long), {
        "There is no projection: after each step bring x' - x back into [-eps, eps].": walk(long, ball=None),
        previous: walk(long, ball="previous"),
    }, _fallback(got, x, long[0]))
    print("ok  stays in the ball around x")

    edge = hint.small_images(seed=1).mul(2).sub(0.5).clamp(0, 1)
    got = hint.attack(function, model, edge, y, 0.2, 0.1, 4)
    hint.require(got.min() >= 0 and got.max() <= 1,
                 "Pixels leave [0, 1], so this is no image any more: clamp to [0, 1] after each projection.")
    hint.compare(got, _walk(model, edge, y, 0.2, 0.1, 4), {
        "You clamp to [0, 1] only at the end: clamp after each step, or the gradients are taken outside the box.":
            _walk(model, edge, y, 0.2, 0.1, 4, box="end"),
    }, "On images with black and white pixels the result is wrong: after each step, first the ball, then the clamp "
       "to [0, 1].")
    print("ok  pixels stay in [0, 1]")


def _fallback(got, x, eps: float) -> str:
    far = (got - x).abs().max().item()
    if far > eps + 1e-5:
        return (f"The result leaves the ball: a pixel changes by {far:.3f} at eps = {eps}. "
                "After each step bring x' - x back into [-eps, eps].")
    return ("With steps longer than eps the result is wrong: step, then clamp x' - x to [-eps, eps], "
            "then clamp x' to [0, 1], in each round.")


def _walk(model, x, y, eps, step_size, steps, *, ball="x", box="each", sign=1, direction=torch.sign, anew=True,
          forget=True):
    """The walk of the exercise, and what becomes of it with one slip."""
    point, gradient = x.clone(), torch.zeros_like(x)
    for step in range(steps):
        if anew or step == 0:
            here = point.clone().requires_grad_()
            fresh, = torch.autograd.grad(F.cross_entropy(model(here), y, reduction="sum"), here)
            gradient = fresh if forget else gradient + fresh
        before, point = point, point + sign * step_size * direction(gradient)
        if ball == "zero":
            point = point.clamp(-eps, eps)
        elif ball is not None:
            centre = x if ball == "x" else before
            point = centre + (point - centre).clamp(-eps, eps)
        if box == "each":
            point = point.clamp(0, 1)
    return point.clamp(0, 1)


def restarts(accuracy: dict) -> None:
    """Check the robust accuracy of LeNet on 100 test digits under PGD with 1, 2 and 5 restarts: {1: ..., 2: ..., 5:
    ...}.
    """
    hint.answered(accuracy=accuracy)
    hint.require(set(accuracy) == {1, 2, 5}, f"`accuracy` has the keys {sorted(accuracy)}: it needs 1, 2 and 5.")
    digits = data.load("digits", "test")[:100]
    net = zoo.pretrained("lenet", "digits")
    x, y = digits.images, digits.labels
    got = [float(accuracy[r]) for r in (1, 2, 5)]
    expected = [evaluation.robust_accuracy(net, x, y, _attack(r)).value for r in (1, 2, 5)]
    clean = evaluation.rate(evaluation.logits(net, x).argmax(1) == y).value
    hint.require(max(got) <= 1, "`accuracy` is in percent: give shares between 0 and 1.")
    hint.require(not hint.close(got, [clean] * 3, 0.015),
                 "That is the accuracy without an attack: predict the attacked images.")
    hint.require(not hint.close(got, [1 - e for e in expected], 0.025),
                 "That is the success of the attack: robust accuracy is the share that stays right.")
    hint.require(got[0] >= got[1] >= got[2],
                 "The accuracy rises with more restarts, and that cannot be: an image counts as robust only if it "
                                            "stands every start. Use the same seed for each, and let restarts= do the "
                                            "counting.")
    hint.require(got[0] > got[2], "All three are the same: pass restarts=1, 2 and 5 to the attack.")
    hint.compare(got, expected, {}, "The accuracies are not those of attacks.pgd with eps = 0.1, steps = 3 and the "
                                    "seed of the task.", tolerance=0.045)
    print("ok  robust accuracy with 1, 2 and 5 restarts")


def _attack(restarts: int):
    seed = torch.Generator().manual_seed(0)
    return lambda model, x, y: attacks.pgd(model, x, y, eps=0.1, steps=3, restarts=restarts, generator=seed)


HAND = {"after step 1": (0.42, 1.0), "after step 2": (0.4, 1.0)}


def two_steps(function) -> None:
    """Check what `function()` says of the walk by hand: {"after step 1": (pixel 1, pixel 2), "after step 2": ...}.

    From (0.5, 0.95), gradient (-3, 2) everywhere, eps = 0.1, two steps of 0.08 in the maximum norm.
    """
    points = hint.call(function)
    hint.require(isinstance(points, dict) and set(points) == set(HAND),
                 f"Return a dict with the keys {sorted(HAND)}, each a pair of pixels.")
    mistakes = {
        "Wrong sign: pixel 1 has a negative gradient, so a darker pixel raises the loss.": [(0.58, 0.87), (0.6, 0.85)],
        "Pixel 2 is brighter than white: after each step clamp to [0, 1].": [(0.42, 1.03), (0.4, 1.05)],
        "Pixel 1 leaves the ball in the second step: it may change by 0.1 in all, counted from the clean image.":
            [(0.42, 1.0), (0.34, 1.0)],
        "You step along the gradient itself: take its sign, so that every pixel moves by the step size.":
            [(0.4, 1.0), (0.4, 1.0)],
        "You step by eps: each step has length 0.08, and only the sum is limited by eps.": [(0.4, 1.0), (0.4, 1.0)],
    }
    for place, (name, expected) in enumerate(HAND.items()):
        hint.compare(points[name], expected, {text: walk[place] for text, walk in mistakes.items()},
                     f"The point {name} is another one: add 0.08 times the sign of the gradient, bring each pixel back "
                     "to within 0.1 of the clean image, then to [0, 1].", tolerance=1e-6)
    print("ok  both steps, both fences")


class Rounded(nn.Module):
    """A network that sees only five grey levels: its input is rounded to quarters."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net((4 * x).round() / 4)


def rounded(function) -> None:
    """Check `function(model, x, y, eps, attack)`: does it fool LeNet behind a rounding of its input?

    `model.net` is LeNet; `attack` is the library's PGD, handed over because here its use is the task.
    """
    digits = data.load("digits", "test")[100:160]
    model = Rounded(zoo.pretrained("lenet", "digits").requires_grad_(True)).eval()
    x, y, eps = digits.images, digits.labels, 0.15
    got = hint.attack(function, model, x, y, eps, attacks.pgd)
    far = (got - x).abs().max().item()
    hint.require(far <= eps + 1e-5, f"A pixel changes by {far:.3f} at eps = {eps}: stay in the ball.")
    hint.require(got.min() >= 0 and got.max() <= 1, "Pixels leave [0, 1]: clamp.")
    fooled = evaluation.evaluate(model, x, got, y).success
    hint.require(fooled.double().mean() >= 0.1,
                 f"{int(fooled.sum())} of {len(x)} images are fooled. The rounding is flat between two levels, so its "
                 "gradient is 0 everywhere and PGD walks blindly. Which part of the model does have a gradient?")
    hint.require(fooled.double().mean() >= 0.9,
                 f"{int(fooled.sum())} of {len(x)} images are fooled; at least nine in ten can be. Is every image "
                 "attacked with all of the budget, with enough steps, and towards a higher loss?")
    print(f"ok  {int(fooled.sum())} of {len(x)} images fool the network behind the rounding")
