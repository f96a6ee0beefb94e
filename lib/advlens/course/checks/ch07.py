"""Checks of chapter 07: masks with a pencil, a shaking network, black-and-white digits, and a sealed network."""

from __future__ import annotations

import warnings
from functools import cache
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.course.checks import hint

# --- the pencil ------------------------------------------------------------------

PENCIL = {
    "log-odds": (-20.0, {
        "Wrong sign: the log-odds are the other logit minus the own one, so a sure network has negative ones.": 20.0,
        "That is the factor 1 - p. The log-odds are the difference of the two logits.": 2e-9,
    }),
    "true sign": (-1.0, {
        "Wrong sign: a brighter pixel raises the own logit by 3 and the other by 1, so the loss falls.": 1.0,
        "The factor is small and not 0: with a pencil nothing is rounded away.": 0.0,
        "Only the sign is asked: -1, 0 or 1.": -2.0,
    }),
    "float32 sign": (1.0, {
        "That is the true sign. In float32 p - 1 is exactly 0: cross this term out, and look at the sign of what is "
        "left.": -1.0,
        "Only p - 1 is rounded to 0. The other term, q = 2e-9, is far above the smallest number of float32: "
        "floats are dense near 0.": 0.0,
    }),
    "at 120": (0.0, {
        "e^-120 is about 8e-53, below the smallest positive number of float32: now q is 0 as well.": 1.0,
        "That is the true sign: p - 1 is still 0 in float32, and at 120 so is q.": -1.0,
    }),
    "stair": (0.0, {
        "You left the stair out: between two steps it is flat, and a factor 0 makes the product 0.": 0.6,
        "That is the slope with the stand-in. The true derivative of the stair at 0.3 is 0.": 0.5,
        "A stair rises only at its edges, and 0.3 is not one: its derivative there is 0.": 1.0,
    }),
    "BPDA": (0.5, {
        "You took the slope at x. The forward pass is exact, so what comes after the stair is seen at r(x) = 0.25.":
            0.6,
        "That is the true slope. On the way back BPDA takes 1 for the stair.": 0.0,
        "That is the slope of the stand-in alone: multiply it by the slope of the square at r(x).": 1.0,
    }),
    "EOT": (1.0, {
        "That is the mean of the signs. EOT takes the mean first: (5 - 1 - 1) / 3.": -1 / 3,
        "Two of three signs are negative, but EOT takes no vote: the mean comes first, then the sign.": -1.0,
        "Only the sign is asked: -1, 0 or 1.": 3.0,
    }),
}


def masks(function) -> None:
    """Check `function()`: seven short answers about a float32 gradient, a stair with BPDA, and EOT."""
    got = hint.by_hand(function, *PENCIL)
    for key, (right, mistakes) in PENCIL.items():
        hint.require(isinstance(got[key], (int, float)), f"{key!r} is one number.")
        slips = {f"{key!r}: {text}": wrong for text, wrong in mistakes.items()}
        hint.compare(got[key], right, slips, f"{key!r} is another number: write the chain rule down, factor by factor.",
                     tolerance=1e-12)
    print("ok  what float32 loses, what a stair hides, and what a mean finds")


# --- a network that shakes ----------------------------------------------------------

class Shaky(nn.Module):
    """A false defence: each image of each pass is moved by up to `most` pixels, drawn anew; pixels that leave return
    on the other side.  `seen` counts the images.
    """

    def __init__(self, net: nn.Module, most: int = 2):
        super().__init__()
        self.net, self.most = net, most
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        moves = torch.randint(-self.most, self.most + 1, (len(x), 2)).tolist()
        return self.net(torch.stack([image.roll(move, (1, 2)) for image, move in zip(x, moves)]))

    def each(self, x: Tensor) -> list[Tensor]:
        """The images moved in every way that can be drawn."""
        reach = range(-self.most, self.most + 1)
        return [x.roll(move, (2, 3)) for move in product(reach, reach)]


def eot(function) -> None:
    """Check `function(model, x, y, eps, draws)`: one step along the sign of the mean gradient of `draws` passes."""
    model, x, y = _shaking(0, 1)
    hint.in_both_modes(function, model, x, y, 0.05, 4)
    _follows_the_mean(function, model, x, y)
    print("ok  first the mean of fresh gradients, then the sign")
    edge = hint.small_images(len(x), seed=1).mul(2).sub(0.5).clamp(0, 1)
    got = hint.attack(function, model, edge, y, 0.2, 4)
    hint.require(got.min() >= 0 and got.max() <= 1,
                 "Pixels leave [0, 1], so this is no image any more: end with .clamp(0, 1).")
    far = (got - edge).abs().max().item()
    hint.require(abs(far - 0.2) < 1e-5, f"At eps = 0.2 your largest change of a pixel is {far:.3f}: one step of "
                                        "length eps.")
    print("ok  pixels stay in [0, 1]")


def eot_in_colour(function) -> None:
    """The same on colour images and another network."""
    _follows_the_mean(function, *_shaking(1, 3))


def _shaking(seed: int, channels: int) -> tuple:
    """A shaking network that is very sure in some draws and wrong in others, so that few gradients are large."""
    net = hint.small_net(seed, channels)
    with torch.no_grad():
        net[6].weight.mul_(3)
    model, x = Shaky(net, most=1).eval(), hint.small_images(24, 0.3, 0.7, channels, seed)
    with torch.no_grad():
        return model, x, sum(net(moved) for moved in model.each(x)).argmax(1)


def _follows_the_mean(function, model, x, y, eps: float = 0.05, draws: int = 144) -> None:
    """Judged where the mean gradient is so far from 0 that `draws` draws cannot miss its sign."""
    before = model.seen.item()
    got = hint.attack(function, model, x, y, eps, draws)
    asked = (model.seen.item() - before) / len(x)
    hint.require(asked > 1.5, "You asked the network once for each image. It draws anew in each pass: take the "
                              "gradient of each of `draws` passes.")
    hint.require(asked >= draws, f"You asked the network {asked:.0f} times for each image, and draws = {draws}: take "
                                 "one gradient for each draw.")
    each = _gradients(model, x, y)  # (K, N, C, H, W)
    mean, spread = each.mean(0), each.std(0, correction=0) / draws ** 0.5
    clear = mean.abs() > 5 * spread
    told = lambda direction: direction.sign()[clear]
    taken = got - x
    hint.require((taken[clear].abs() > 0).double().mean() > 0.5,
                 "The images come back unchanged: add eps times the sign of the mean gradient.")
    hint.require(not _one_draw(taken, each), "The step follows the gradient of a single draw: is every pass the same "
                                             "because a seed is set inside the loop, or is only the last one kept?")
    agrees = lambda direction: (told(taken) == told(direction)).double().mean().item()
    if agrees(mean) < 0.99:
        slips = {
            "Wrong sign: this walks downhill. Add the step to x.": -mean,
            "You take the sign of each gradient and then the mean, so the many small gradients outvote the few large "
            "ones. First the mean, then the sign.": each.sign().mean(0),
            "You average the logits and take one gradient. Here each pass has its own loss: average the gradients.":
                _of_mean_logits(model, x, y),
            "You average over the images of the batch: keep the mean over draws of each image apart.":
                mean.mean(0, keepdim=True).expand_as(mean),
        }
        best = max(slips, key=lambda text: agrees(slips[text]))
        hint.require(agrees(slips[best]) < 0.9 or agrees(slips[best]) <= agrees(mean), best)  # slips are drawn as well
        raise hint.CheckFailed("The step does not go along the sign of the mean gradient of the cross-entropy of y.")
    size = taken[clear].abs()
    hint.require(size.min() > eps - 1e-5 and size.max() < eps + 1e-5,
                 "Every pixel moves by eps: take the sign of the mean gradient, not the mean gradient itself.")


def _gradients(model: Shaky, x, y) -> Tensor:
    """Of the loss behind every move, (K, N, C, H, W)."""
    point = x.clone().requires_grad_()
    losses = [F.cross_entropy(model.net(moved), y, reduction="sum") for moved in model.each(point)]
    return torch.stack([torch.autograd.grad(loss, point, retain_graph=True)[0] for loss in losses])


def _of_mean_logits(model, x, y) -> Tensor:
    point = x.clone().requires_grad_()
    logits = torch.stack([model.net(moved) for moved in model.each(point)]).mean(0)
    return torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), point)[0]


def _one_draw(taken: Tensor, each: Tensor) -> bool:
    """Does the step of every image agree with the gradient of one move?"""
    same = (taken.sign() == each.sign()).flatten(2).double().mean(2)  # (K, N)
    return bool((same.amax(0) >= 0.99).all())


# --- black and white ------------------------------------------------------------------

class BlackAndWhite(nn.Module):
    """A false defence: every pixel is rounded to 0 or 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.round()


ATTACKS = ("PGD", "transfer", "BPDA", "Square")


def black_and_white(accuracy: dict, together: float) -> None:
    """Check the robust accuracies of the fully connected net behind `BlackAndWhite`, and the share that stands all."""
    hint.answered(accuracy=accuracy, together=together)
    hint.require(set(accuracy) == set(ATTACKS), f"`accuracy` needs the keys {', '.join(ATTACKS)}.")
    got = {name: float(value) for name, value in accuracy.items()}
    hint.require(max(*got.values(), float(together)) <= 1, "A number is in percent: give shares between 0 and 1.")
    x, y, model, images = _measured()
    stands = {name: evaluation.logits(model, found).argmax(1) == y for name, found in images.items()}
    clean = (evaluation.logits(model, x).argmax(1) == y).double().mean().item()
    right = {name: stands[name].double().mean().item() for name in ATTACKS}
    lenet = zoo.pretrained("lenet", "digits")
    behind = _attacked(model[1], x, y)
    on_lenet = evaluation.logits(lenet, images["transfer"]).argmax(1) == y
    on_net = evaluation.logits(model[1], images["BPDA"]).argmax(1) == y
    through_net = evaluation.logits(model, behind).argmax(1) == y
    twice = "That is the number of plain PGD. Did you wrap the whole model? Its own rounding is still in there: " \
            "BPDA takes the network behind the layer, model[1]."
    mistakes = {
        "PGD": {"Attack the model, not the network without the layer.": through_net.double().mean().item()},
        "transfer": {"These images fool LeNet, of course: judge them on the black-and-white model.":
                         on_lenet.double().mean().item(),
                     "These images were made for the network behind the layer: take LeNet's.":
                         through_net.double().mean().item()},
        "BPDA": {twice: right["PGD"], "That is the network without its layer: judge on the model.":
                 on_net.double().mean().item()},
        "Square": {},
    }
    for name in ATTACKS:
        slips = {"That is the accuracy without an attack: predict the attacked images.": clean,
                 "That is the success of the attack: count the images that are still classified right.":
                     1 - right[name], **mistakes[name]}
        hint.compare(got[name], right[name], {f"{name!r}: {text}": wrong for text, wrong in slips.items()},
                     f"`accuracy[{name!r}]` is not the share of the first hundred digits that stands this attack with "
                     "eps = 0.2 and the seed of the task.", tolerance=0.035)
    print("ok  four attacks on the same hundred digits")
    smallest = min(right.values())
    hint.compare(float(together), torch.stack(list(stands.values())).all(0).double().mean().item(), {
        "That is the smallest of the four. An image that stood this attack may fall to another: count the images "
        "that stand all four.": smallest,
        "That is the share that stands at least one attack: an image is safe only where all four fail.":
            torch.stack(list(stands.values())).any(0).double().mean().item(),
        "That is the mean of the four. Count the images that stand all four.": sum(right.values()) / 4,
        "The product holds if the attacks failed independently, and they do not. Count, image by image.":
            torch.tensor(list(right.values())).prod().item(),
    }, "`together` is not the share of images that stand all four attacks.", tolerance=0.025)
    print("ok  what stands all four, image by image")


@cache
def _measured() -> tuple:
    """The hundred digits, the model, and the images of each attack."""
    digits = data.load("digits", "test")[:100]
    x, y, net = digits.images, digits.labels, zoo.pretrained("fully_connected", "digits")
    model = nn.Sequential(BlackAndWhite(), net).eval()
    images = {
        "PGD": _attacked(model, x, y),
        "transfer": _attacked(zoo.pretrained("lenet", "digits"), x, y),
        "BPDA": _attacked(attacks.BPDA(net, torch.round), x, y),
        "Square": attacks.square(model, x, y, eps=0.2, queries=300, generator=torch.Generator().manual_seed(0)),
    }
    return x, y, model, images


def _attacked(source, x, y) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", geometry.ZeroGradientWarning)  # it is what the task is about
        return attacks.pgd(source, x, y, eps=0.2, generator=torch.Generator().manual_seed(0))


# --- a sealed network --------------------------------------------------------------------

class Sealed(nn.Module):
    """The fifth defence.  Ask it, take its gradient, attack it; what is inside is the exercise: do not read on."""

    def __init__(self):
        super().__init__()
        net = zoo.pretrained("fully_connected", "digits")
        secret = torch.randint(0, 2, (1, 28, 28), generator=torch.Generator().manual_seed(7)) * 2.0 - 1
        self._answer = lambda x: 10 * F.one_hot(net(x).argmax(1), 10).to(x.dtype)  # a closure: no module to be found
        # The same values as net(x), and a gradient whose signs are turned in half of the pixels.
        self._lie = lambda x: net(x.detach() * (1 - secret) + x * secret)

    def forward(self, x: Tensor) -> Tensor:
        exact = self._answer(x.detach())
        if not (torch.is_grad_enabled() and x.requires_grad):
            return exact
        lie = self._lie(x)
        return exact + (lie - lie.detach())


SEALED_EPS, SEALED_GOAL = 0.1, 40


def sealed(images) -> None:
    """Check fifty images: inside the ball around the test digits 100 to 149, and at least forty fool `Sealed`."""
    images, x, y = hint.fifty_digits(images, SEALED_EPS)
    model = Sealed().eval()
    wrong = int((evaluation.logits(model, images).argmax(1) != y).sum())
    clean = int((evaluation.logits(model, x).argmax(1) != y).sum())
    hint.require(wrong > clean + 1, f"{wrong} of 50 images are answered wrongly, {clean} of the clean ones are. Every "
                 "walk along the model's own gradient ends here. Which of the audit's attacks did not need that "
                 "gradient, and did it do better?")
    hint.require(wrong >= SEALED_GOAL / 2, f"{wrong} of 50 images are answered wrongly: something gets through. "
                 "The scores are always the same, so an attack by scores is nearly blind; the answers are true. Three "
                 "networks of this course read these digits. Whose images fool the sealed one most?")
    hint.require(wrong >= SEALED_GOAL, f"{wrong} of 50 images are answered wrongly; {SEALED_GOAL} are asked for. Use "
                 "all of the budget, walk to the end (first_success=False), and compare the sources.")
    print(f"ok  {wrong} of 50 images inside the ball fool the sealed network")
