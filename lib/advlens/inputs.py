"""What every public function shares: checks of images, labels and eps, the state of the model, its gradient."""

from __future__ import annotations

import contextlib
import math
import numbers
import warnings
from itertools import chain
from typing import Callable, Collection, TypeVar

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]  # images (N, C, H, W) -> logits (N, K): a module, or a plain function


class ProbabilitiesWarning(UserWarning):
    """The model seems to return probabilities instead of logits."""


def check_images(x: Tensor, name: str = "x") -> None:
    """Raise unless x is (N, C, H, W), floating point, finite, in [0, 1] and not empty."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is a {type(x).__name__}; give a float tensor (N, C, H, W) in [0, 1]")
    if not x.is_floating_point():
        raise TypeError(f"{name} is {x.dtype}; give floats in [0, 1], for example {name}.float() / 255")
    if x.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; give (N, C, H, W), for one image {name}.unsqueeze(0)")
    if x.numel() == 0:
        raise ValueError(f"{name} is empty, its shape is {tuple(x.shape)}; give at least one image")
    low, high = x.min().item(), x.max().item()
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"{name} holds NaN")
    if 0 < max(-low, high - 1) < 1e-4:
        raise ValueError(f"{name} leaves [0, 1] by {max(-low, high - 1):.1e}, as rounding does: "
                         f"give {name}.clamp(0, 1)")
    if low < 0 or high > 1:
        raise ValueError(f"{name} lies in [{low:.4g}, {high:.4g}]; pixels belong in [0, 1] "
                         "(normalisation is the model's first layer)")


def check_labels(y: Tensor, n: int, name: str = "y") -> None:
    """Raise unless y is (n,), int64 and not negative."""
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        given = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"{name} is {given}; give int64 class numbers of shape ({n},)")
    if y.shape != (n,):
        raise ValueError(f"{name} has shape {tuple(y.shape)} for {n} images; give ({n},)")
    if y.min() < 0:
        raise ValueError(f"{name} holds {y.min().item()}; class numbers start at 0")


def check_logits(logits: Tensor, x: Tensor, y: Tensor) -> None:
    """Raise when the model's output does not fit x and y; warn when it looks like probabilities."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"the model returns a {type(logits).__name__}; logits are one tensor (N, classes)")
    if logits.ndim != 2 or len(logits) != len(x):
        raise ValueError(f"the model returns shape {tuple(logits.shape)} for {len(x)} images; logits are (N, classes)")
    if y.max() >= logits.shape[1]:
        raise ValueError(f"y holds {y.max().item()}, but the model has {logits.shape[1]} classes "
                         f"(0 to {logits.shape[1] - 1})")
    if not torch.isfinite(logits).all():
        raise ValueError("the model returns NaN or infinite values")
    if (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-3):
        warnings.warn("the model's outputs are positive and sum to 1: they look like probabilities. "
                      "Attacks need logits; remove the softmax.", ProbabilitiesWarning, stacklevel=3)


def forward(model: Model, images: Tensor) -> Tensor:
    """The model's logits (N, K) in the precision of the images, where everything that decides is computed.

    The model may compute in half precision, and gets a copy: one that normalises in place
    cannot change the caller's images.
    """
    logits = model(images.clone())
    return logits.to(images.dtype) if isinstance(logits, Tensor) and logits.is_floating_point() else logits


def device_of(model: Model, x: Tensor) -> torch.device:
    """Where the model computes: with its first parameter or buffer; a model without any, where x is."""
    tensors = chain(model.parameters(), model.buffers()) if isinstance(model, nn.Module) else ()
    return next((tensor.device for tensor in tensors), x.device)


def logits(model: Model, x: Tensor, batch_size: int = 500) -> Tensor:
    """The model's logits (N, classes) in evaluation mode, batch by batch, without gradients.

    Batches go to the model's device, and the logits come back to that of x.
    """
    check_at_least_one(batch_size=batch_size)
    device = device_of(model, x)
    with frozen(model), torch.no_grad():
        return torch.cat([forward(model, part.to(device)) for part in x.split(batch_size)]).to(x.device)


def image_gradient(value: Tensor, images: Tensor, *, retain_graph: bool = False, create_graph: bool = False) -> Tensor:
    """The gradient (N, C, H, W) of each image's own value (N,).

    Samples do not mix, so the gradient of the sum holds each one's own.
    Raises ValueError where nothing leads from the images to the value, RuntimeError in inference mode.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError("torch.inference_mode() is on, and nothing has a gradient there; "
                           "leave it, or use torch.no_grad(), which attacks may override")
    if value.requires_grad:
        gradient, = torch.autograd.grad(value, images, torch.ones_like(value), retain_graph or create_graph,
                                        create_graph, allow_unused=True)
        if gradient is not None:
            return gradient
    raise ValueError("the model cuts its logits off from the images (a codec, rounding through integers, no_grad), "
                     "so there is no gradient to follow: attack advlens.attacks.BPDA(model, forward, backward), "
                     "or use an attack without gradients")


def check_eps(eps: float | Tensor, x: Tensor, name: str = "eps") -> Tensor:
    """eps as an (N,) tensor on the device of x.  Raise unless it is a number or (N,), finite and >= 0."""
    try:
        values = torch.as_tensor(eps, dtype=x.dtype, device=x.device).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} is {eps!r}; give one number, or a tensor ({len(x)},), one for each image") from error
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(x)):
        raise ValueError(f"{name} has shape {tuple(values.shape)}; give one number, or ({len(x)},), one for each image")
    if not torch.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"{name} = {values.tolist()}; it must be finite and not negative, in pixel units of [0, 1]")
    return values.expand(len(x))


def check_amount(value: float, name: str, *, above_zero: bool = False) -> None:
    """Raise unless value is a finite number, >= 0 or, when asked, > 0."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; give a number")
    if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        raise ValueError(f"{name} = {value}; give a finite number {'> 0' if above_zero else '>= 0'}")


def check_known(what: str, given: object, known: Collection[str]) -> None:
    """Raise ValueError, with the known names, unless what was given is one of them."""
    if given not in known:
        raise ValueError(f"unknown {what} {given!r}; known: {', '.join(known)}")


def check_float(x: Tensor, name: str, shape: str) -> None:
    """Raise TypeError unless x is a floating-point tensor; `shape` says in words which one to give."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} is {given}; give a float tensor {shape}")


def check_at_least_one(**counts: int) -> None:
    """Raise unless each of the named counts is a whole number, and at least 1."""
    for name, count in counts.items():
        if not isinstance(count, numbers.Integral):
            raise TypeError(f"{name} is {count!r}; give a whole number")
        if count < 1:
            raise ValueError(f"{name} = {count}; give at least 1")


def checked(x: Tensor, y: Tensor, **counts: int) -> Tensor:
    """The images without their graph.  Raise unless x are images, y their labels, and each named count at least 1."""
    check_images(x)
    check_labels(y, len(x))
    check_at_least_one(**counts)
    return x.detach()


Rows = TypeVar("Rows", bound=tuple)


def keep(mask: Tensor, state: Rows) -> Rows:
    """The rows that the mask (N,) marks, or that an index names, of a NamedTuple of tensors (N, ...)."""
    return type(state)(*(value[mask] for value in state))


@contextlib.contextmanager
def frozen(model: Model):
    """Evaluation mode and no parameter gradients inside; everything as it was afterwards, also after an exception.

    The rule: an `nn.Module`, compiled or not, is put into the mode that its own `eval()` gives, and
    what its own `train()` did besides is undone by calling it again.  Any other function is taken as
    it is: it has no mode, and that of a net which it calls is its owner's affair.
    Raises TypeError for what cannot be called.
    """
    if not callable(model):
        raise TypeError(f"the model is a {type(model).__name__}; "
                        "give an nn.Module, or a function from images to logits")
    if not isinstance(model, nn.Module):
        yield model
        return
    modes = [(m, m.training) for m in model.modules()]
    flags = [(p, p.requires_grad) for p in model.parameters()]
    try:
        if any(training for _, training in modes):
            model.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield model
    finally:
        for module, training in modes:
            if module.training != training and getattr(module.train, "__func__", None) is not nn.Module.train:
                module.train(training)  # it may do more than set the flag: merge weights, keep others as they are
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
