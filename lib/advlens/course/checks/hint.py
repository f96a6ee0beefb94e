"""What all checks share: call the answer, compare it, and fail with one hint."""

from __future__ import annotations

import contextlib
from typing import Callable

import torch
from torch import Tensor, nn

from advlens import data, evaluation, zoo
from advlens.course.checks.closed import CheckFailed, closed_book
from advlens.course.checks.remote import Spy
from advlens.layers import Normalize

MEAN, STD = 0.5, 0.25  # of the small network below


def require(condition, hint: str) -> None:
    """Fail with the hint unless the condition holds."""
    if not condition:
        raise CheckFailed(hint)


def call(function: Callable, *arguments):
    """The result of the reader's function, or a hint when there is none.  The library's solutions are closed to it."""
    require(callable(function), "Give the check the function itself, without parentheses and arguments.")
    name = getattr(function, "__name__", "the function")
    try:
        with closed_book(*arguments):
            result = function(*arguments)
    except CheckFailed:  # it called a solution
        raise
    except NotImplementedError:
        raise CheckFailed(f"{name} is not written yet: replace the line `raise NotImplementedError` by your code, "
                          "run that cell, then this one.") from None
    except Exception as error:  # whatever it is, the reader should see it beside the name of the function
        raise CheckFailed(f"{name} stopped with {type(error).__name__}: {error}") from error
    require(result is not None, f"{name} returns nothing: end it with `return` and the result.")
    return result


def by_hand(function: Callable, *keys: str) -> dict:
    """The dict that the function of a warm-up returns.  Fail where it is none, or lacks one of the keys."""
    got = call(function)
    require(isinstance(got, dict), f"The result is a {type(got).__name__}: return the dict of the task.")
    for key in keys:
        require(key in got, f"The key {key!r} is missing in the dict.")
    return got


def answered(**variables) -> None:
    """Fail when a variable of a measurement is still empty."""
    for name, value in variables.items():
        inside = value.values() if isinstance(value, dict) else [value]
        require(all(v is not None and v is not ... for v in inside),
                f"`{name}` is not measured yet: fill it in, run that cell, then this one.")


def close(got, expected, tolerance: float = 1e-4) -> bool:
    """Do 99 % of the numbers agree?  (Where a gradient is almost 0, rounding may decide its sign.)"""
    got, expected = torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(expected, dtype=torch.float64)
    return got.shape == expected.shape and ((got - expected).abs() <= tolerance).double().mean().item() >= 0.99


def compare(got, expected, mistakes: dict, otherwise: str, tolerance: float = 1e-4) -> None:
    """Fail unless `got` is `expected`; the hint is the first of `mistakes` {hint: wrong result} that agrees with
    `got`.
    """
    if close(got, expected, tolerance):
        return
    for hint, wrong in mistakes.items():
        require(not close(got, wrong, tolerance), hint)
    raise CheckFailed(otherwise)


def images(result, x: Tensor) -> Tensor:
    """Fail unless `result` is a batch like x: type, shape, finite, and free of any graph."""
    require(isinstance(result, Tensor), f"The result is a {type(result).__name__}: return a tensor like x.")
    require(result.shape == x.shape,
            f"The result has shape {tuple(result.shape)}, x has {tuple(x.shape)}: return one image for each image.")
    require(result.dtype == x.dtype, f"The result is {result.dtype}, x is {x.dtype}: keep the type of x.")
    require(torch.isfinite(result).all(),
            "The result holds NaN or infinity: is there a division by a norm that can be 0?")
    require(not result.requires_grad, "The result still hangs on the graph of the gradient: return it with .detach().")
    return result


def attack(function: Callable, model: nn.Module, x: Tensor, y: Tensor, *arguments) -> Tensor:
    """Call function(model, x, y, *arguments) and fail unless it returns images and leaves x and the model alone."""
    before = x.clone()
    with _watched(model):
        result = call(function, model, x, y, *arguments)
    require(not x.requires_grad,
            "You set requires_grad on the x of your caller: work on x.clone().requires_grad_() instead.")
    require(torch.equal(x, before), "You changed the images of your caller in place: work on a copy, x.clone().")
    return images(result, x)


def in_both_modes(function: Callable, model: nn.Module, x: Tensor, y: Tensor, *arguments) -> Tensor:
    """`attack` on the model in evaluation mode and in training mode.  Returns the images of the latter."""
    for training in (False, True):
        result = attack(function, model.train(training), x, y, *arguments)
    model.eval()
    print("ok  returns images, and leaves x and the model as they were")
    return result


@contextlib.contextmanager
def _watched(model: nn.Module):
    """Fail when the model was run in training mode, or is not left as it was."""
    training = [module.training for module in model.modules()]
    spy = Spy()
    hooks = [module.register_forward_pre_hook(spy) for module in model.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        after = [module.training for module in model.modules()]
        for module, mode in zip(model.modules(), training):
            module.training = mode
        polluted = any(p.grad is not None for p in model.parameters())
        frozen = not all(p.requires_grad for p in model.parameters())
        model.zero_grad(set_to_none=True)
        model.requires_grad_(True)
    require(spy.seen, "The model was never called: the gradient of the loss needs its logits, model(x).")
    require(not any(spy.seen),
            "The attack ran the model in training mode, where dropout and batch statistics blur the gradient: "
                           "call model.eval() first.")
    require(after == training, "The model comes back in another mode: remember model.training, and restore it at the "
                               "end with model.train(was).")
    require(not polluted, "Your function leaves gradients on the parameters of the model, and they would leak into the "
                          "next training step: "
                          "take torch.autograd.grad(loss, x) instead of loss.backward().")
    require(not frozen, "The parameters of the model come back with requires_grad = False: leave them as they were.")


def small_net(seed: int = 0, channels: int = 1) -> nn.Sequential:
    """A network for 6x6 images and 4 classes, with everything that training mode changes."""
    with torch.random.fork_rng(devices=[]):  # the reader's own random numbers stay as they are
        torch.manual_seed(seed)
        net = nn.Sequential(
            Normalize([MEAN] * channels, [STD] * channels),
            nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(),
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 36, 4),
        ).eval()
    with torch.no_grad():  # curved and sure, as trained nets are: in a nearly linear net many mistakes change nothing
        net[1].weight.mul_(4)
        net[6].weight.mul_(4)
    return net


def small_images(n: int = 8, low: float = 0.0, high: float = 1.0, channels: int = 1, seed: int = 0) -> Tensor:
    """Random images (n, channels, 6, 6) with pixels in [low, high]."""
    return low + (high - low) * torch.rand(n, channels, 6, 6, generator=torch.Generator().manual_seed(seed))


def hundred_digits(name: str) -> tuple:
    """A net, the first hundred test digits, their labels, and the coin flips of the tasks."""
    digits = data.load("digits", "test")[:100]
    sign = torch.randint(0, 2, digits.images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return zoo.pretrained(name, "digits"), digits.images, digits.labels, sign


def fifty_digits(given, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """What breaks a model: the images given, the test digits 100 to 149 that they come from, and the labels.  Fail
    where the images leave [0, 1] or the l-infinity ball of radius eps.
    """
    answered(images=given)
    digits = data.load("digits", "test")[100:150]
    x, found = digits.images, images(given, digits.images)
    require(found.min() >= 0 and found.max() <= 1,
            f"Pixels leave [0, 1] ({found.min():.2f} to {found.max():.2f}): the last thing you do is a clamp.")
    far = (found - x).abs().max().item()
    require(far <= eps + 1e-5, f"A pixel changes by {far:.3f} at eps = {eps}: stay in the ball around the digits 100 "
                               "to 149, in their order.")
    return found, x, digits.labels


def changes(net: nn.Module, x: Tensor) -> Callable[[Tensor], float]:
    """The share of the images x whose answer changes when others take their place."""
    before = evaluation.logits(net, x).argmax(1)
    return lambda images: (evaluation.logits(net, images).argmax(1) != before).double().mean().item()


def wrong_shares(expected, name: str) -> dict:
    """What often goes wrong with a share: {hint: wrong result}."""
    return {f"`{name}` is in percent: give the share, a number between 0 and 1.": 100 * expected,
            f"`{name}` is the share of answers that stay: count those that change.": 1 - expected}
