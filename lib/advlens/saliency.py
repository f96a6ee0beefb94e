"""Where does a net look?  Gradients, Grad-CAM, and how pixels act on each other.

>>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(16, 3))
>>> x, y = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2])
>>> magnitude(gradient(net, x, y)).shape, grad_cam(net, net[1], x, y).shape
(torch.Size([2, 4, 4]), torch.Size([2, 2, 2]))
>>> pixel_interactions(net, x, torch.tensor([[0, 0], [3, 1]])).shape
torch.Size([2, 1, 4, 4])
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlens.inputs import check_images, check_labels, check_logits, forward, frozen, image_gradient


def gradient(model: nn.Module, x: Tensor, y: Tensor | None = None) -> Tensor:
    """The signed gradient of one output with respect to the images, (N, C, H, W).

    x: images (N, C, H, W) in [0, 1].  y: classes (N,), whose logits are differentiated;
    without y it is the sum of all outputs (the total of a counting net).  One forward and
    one backward pass.  Raises TypeError or ValueError for input outside the contract.
    Source: simonyan2015, sec. 3; unam2021, 3.5.
    """
    _check(x, y)
    with frozen(model), torch.enable_grad():
        point = x.detach().requires_grad_()
        return image_gradient(_score(model, point, y), point)


def magnitude(gradient: Tensor) -> Tensor:
    """Saliency as it is drawn: the largest |gradient| among a pixel's channels, (N, C, H, W) -> (N, H, W).

    Source: simonyan2015, sec. 3.1; cutilli2021, 2.1.5.
    """
    return gradient.abs().amax(1)


def grad_cam(model: nn.Module, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Where a layer sees evidence for class y: relu(sum over channels of mean gradient x activation), (N, h, w).

    layer: the part of `model` whose maps (N, channels, h, w) are weighed, usually the
    last convolution; `upsample` brings the result to the images' size.  One forward pass,
    and a backward pass that ends at the layer.
    Raises ValueError for a layer that is no part of the model, is not called exactly once or
    returns no maps; TypeError or ValueError for other input outside the contract.
    Source: selvaraju2017, eqs. 1 and 2; unam2021, 3.5.
    """
    _check(x, y)
    name, wanted = f"the layer {type(layer).__name__}", "maps (N, channels, h, w)"
    if not isinstance(model, nn.Module) or not any(layer is part for part in model.modules()):
        raise ValueError(f"{name} is no part of the model; give one of its own, for example model[3]")
    seen: list[Tensor] = []

    def cut(module, inputs, output):
        if not isinstance(output, Tensor):
            raise ValueError(f"{name} returns a {type(output).__name__}; Grad-CAM needs one that returns {wanted}")
        seen.append(output.detach().requires_grad_())  # the graph begins here: nothing below is differentiated
        return seen[-1].clone()  # the next layer may work in place

    hook = layer.register_forward_hook(cut)
    try:
        with frozen(model), torch.enable_grad():
            score = _score(model, x.detach(), y)
    finally:
        hook.remove()
    if len(seen) != 1 or seen[0].ndim != 4:
        found = f"returns shape {tuple(seen[0].shape)}" if len(seen) == 1 else f"is called {len(seen)} times"
        raise ValueError(f"{name} {found}; Grad-CAM needs one that is called once and returns {wanted}")
    maps = seen[0]  # (N, channels, h, w)
    weights = image_gradient(score, maps).to(x.dtype).mean((2, 3), keepdim=True)  # (N, channels, 1, 1)
    return (weights * maps.detach()).sum(1).relu()


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear enlargement of maps (N, h, w) to (N, *size), to lay them over images."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False).squeeze(1)


def pixel_interactions(model: nn.Module, x: Tensor, pixels: Tensor, y: Tensor | None = None) -> Tensor:
    """How every pixel changes the saliency of one pixel: second derivatives, (N, C, H, W).

    pixels: (N, 2) int64, row and column of one pixel in each image.  Its saliency is
    max over channels of |d output / d pixel|, for the output of class y or, without y, the
    sum of all outputs; the result is the gradient of that saliency.  Needs smooth
    activations.  Cost: forward, backward, and a backward pass through both.
    Raises ValueError where there is saliency and every second derivative is exactly 0;
    TypeError or ValueError for input outside the contract.
    Source: cutilli2021, part 1 ("network whisperer").
    """
    _check(x, y)
    _check_pixels(pixels, x)
    row, column = pixels.unbind(1)
    with frozen(model), torch.enable_grad():
        point = x.detach().requires_grad_()
        slope = image_gradient(_score(model, point, y), point, create_graph=True)
        saliency = slope[torch.arange(len(x), device=x.device), :, row, column].abs().amax(1)  # (N,)
        result = _gradient_or_zero(saliency.sum(), point)
    if saliency.any() and not result.any():  # a slope, and no curvature
        raise ValueError(f"every second derivative of {type(model).__name__} is exactly 0 on these images: "
                         "it is piecewise linear (ReLU, max pooling). Use smooth activations such as nn.Softplus")
    return result


def is_piecewise_linear(model: nn.Module, x: Tensor) -> bool:
    """Whether all second derivatives of the logits are exactly 0 on the images x (N, C, H, W), as in nets of ReLUs.

    Looks at one mixture of the logits along one direction, both drawn at random from a
    fixed seed: a curvature that is there is missed with probability 0.
    """
    _check(x, None)
    generator = torch.Generator().manual_seed(0)

    def draw(values: Tensor) -> Tensor:
        return torch.randn(values.shape, generator=generator).to(x)

    with frozen(model), torch.enable_grad():
        point = x.detach().requires_grad_()
        outputs = forward(model, point).flatten(1)  # (N, K)
        slope = image_gradient((outputs * draw(outputs)).sum(1), point, create_graph=True)
        return not _gradient_or_zero((slope * draw(x)).sum(), point).any()


def _check(x: Tensor, y: Tensor | None) -> None:
    check_images(x)
    if y is not None:
        check_labels(y, len(x))


def _check_pixels(pixels: Tensor, x: Tensor) -> None:
    n, _, height, width = x.shape
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.int64 or pixels.shape != (n, 2):
        given = f"{pixels.dtype} {tuple(pixels.shape)}" if isinstance(pixels, Tensor) else type(pixels).__name__
        raise ValueError(f"pixels is {given}; give int64 of shape ({n}, 2), row and column of one pixel in each image")
    if (pixels < 0).any() or (pixels >= torch.tensor([height, width], device=pixels.device)).any():
        raise ValueError(f"pixels holds {pixels.tolist()}; rows lie in 0 to {height - 1}, columns in 0 to {width - 1}")


def _score(model: nn.Module, x: Tensor, y: Tensor | None) -> Tensor:
    """The number (N,) whose gradient is asked for: the logit of class y, or the sum of all outputs."""
    outputs = forward(model, x)
    if y is None:
        return outputs.flatten(1).sum(1)
    check_logits(outputs, x, y)
    return outputs.gather(1, y[:, None]).squeeze(1)


def _gradient_or_zero(value: Tensor, point: Tensor) -> Tensor:
    """d value / d point, also where autograd finds no way from one to the other (a linear net)."""
    if not value.requires_grad:
        return torch.zeros_like(point)
    return torch.autograd.grad(value, point, allow_unused=True, materialize_grads=True)[0]
