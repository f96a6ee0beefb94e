"""The networks of the sources, with exactly their parameter counts.

Every model takes images in [0, 1] of shape (N, C, H, W) and returns logits of
shape (N, classes).  Its first layer is `Normalize`, so an epsilon is always in
pixel units.  Sources: unam2021 (app. A), marinelli, cutilli2021 (3.1.5), belaustegui2022 (2).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from advlens.inputs import frozen
from advlens.paths import data_folder


class Normalize(nn.Module):
    """(x - mean) / std per channel; x is (N, C, H, W).  Constants, not parameters."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


# Mean and standard deviation of the training images, per channel.
# tests/test_models.py recomputes them from the data.
MNIST_PIXELS = ([0.1307], [0.3081])
CIFAR10_PIXELS = ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])


def LeNet(extra: int = 0, classes: int = 10, dropout: float = 0.25) -> nn.Sequential:
    """LeNet for 28x28 grey images, with `extra` dense layers of 256 before the last one.

    61,706 parameters for extra = 0.  Source: unam2021, app. A and 3.4.
    """
    layers = [
        Normalize(*MNIST_PIXELS),
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2),  # (N, 6, 14, 14)
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),            # (N, 16, 5, 5)
        nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(120, 84), nn.ReLU(),
    ]
    width = 84
    for _ in range(extra):
        layers += [nn.Linear(width, 256), nn.ReLU()]
        width = 256
    return nn.Sequential(*layers, nn.Linear(width, classes))


class IdentityBlock(nn.Module):
    """x + F(x), where F is two 3x3 convolutions with batch normalisation."""

    def __init__(self, channels: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.residual(x))


def MnistResNet(classes: int = 10) -> nn.Sequential:
    """Residual network for 28x28 grey images: 152,842 numbers, 152,202 of them trainable.

    Source: unam2021, app. A.
    """
    return nn.Sequential(
        Normalize(*MNIST_PIXELS),
        nn.Conv2d(1, 64, 7, padding=3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3),  # (N, 64, 9, 9)
        IdentityBlock(64), IdentityBlock(64),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),                                           # (N, 64)
        nn.Linear(64, classes),
    )


def CifarNet(classes: int = 10, dropout: float = 0.1) -> nn.Sequential:
    """Three blocks of two convolutions with batch normalisation, for 32x32 RGB images.

    552,362 numbers, 551,466 of them trainable.  Source: unam2021, app. A.
    """
    layers: list[nn.Module] = [Normalize(*CIFAR10_PIXELS)]
    width = 3
    for channels in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(channels)]
            width = channels
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(),
                         nn.Dropout(2 * dropout), nn.Linear(128, classes))


def VggBlocks(classes: int = 10, dropout: float = 0.2) -> nn.Sequential:
    """Three VGG blocks without batch normalisation, for 32x32 RGB images: 550,570 parameters.

    He initialisation, dropout after each pooling.  Source: marinelli.
    """
    layers: list[nn.Module] = [Normalize(*CIFAR10_PIXELS)]
    width = 3
    for channels in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
            width = channels
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(),
                        nn.Dropout(dropout), nn.Linear(128, classes))
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net


def FullyConnected(classes: int = 10) -> nn.Sequential:
    """FC-100-100-10 with sigmoids, for 28x28 grey images: 89,610 parameters.

    Source: cutilli2021, 3.1.5.
    """
    return nn.Sequential(
        Normalize(*MNIST_PIXELS), nn.Flatten(),
        nn.Linear(784, 100), nn.Sigmoid(),
        nn.Linear(100, 100), nn.Sigmoid(),
        nn.Linear(100, classes),
    )


class RePU(nn.Module):
    """Rectified power unit, relu(x)^power (krotov2019)."""

    def __init__(self, power: float):
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x).pow(self.power)

    def extra_repr(self) -> str:
        return f"{self.power}"


class Scale(nn.Module):
    """factor * x, a constant: the 0.01 of `HebbianNet`, or a temperature, `nn.Sequential(model, Scale(1 / T))`."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x

    def extra_repr(self) -> str:
        return f"{self.factor}"


def HebbianNet(hidden: int = 2000, classes: int = 10, power: float = 4.5) -> nn.Sequential:
    """784-hidden-10 without biases for 28x28 grey images, logits 0.01 W2 relu(W1 x)^power: 1,588,000 parameters.

    The power lets few units speak, and makes the logits huge: softmax saturates, and its
    gradient is exactly 0 nearly everywhere.  `hebbian.learn` teaches W1 without labels.
    Source: belaustegui2022, 2; krotov2019.
    """
    return nn.Sequential(
        Normalize(*MNIST_PIXELS), nn.Flatten(),
        nn.Linear(784, hidden, bias=False), RePU(power),
        nn.Linear(hidden, classes, bias=False), Scale(0.01),
    )


# --- pretrained networks -------------------------------------------------------

# name -> (builder, real data set, embedded data set)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "lenet": (LeNet, "mnist", "digits"),
    "mnist_resnet": (MnistResNet, "mnist", "digits"),
    "fully_connected": (FullyConnected, "mnist", "digits"),
    "cifar_net": (CifarNet, "cifar10", "shapes"),
    "vgg_blocks": (VggBlocks, "cifar10", "shapes"),
    "hebbian_bio": (HebbianNet, "mnist", "digits"),  # W1 learnt without labels, then frozen
    "hebbian_bp": (HebbianNet, "mnist", "digits"),   # the same net, all by backpropagation
}


def pretrained(name: str, data: str | None = None) -> nn.Module:
    """A trained network in evaluation mode, its parameters frozen.

    name: one of NETWORKS.  data: the data set it was trained on, by default the real
    one; pass `dataset.name` to follow a stand-in.  How each was trained, and how well
    it does, stands in its card: `card(name, data)`.
    Raises ValueError for an unknown name, FileNotFoundError or ValueError for a
    checkpoint that is missing or unreadable.
    """
    path = _checkpoint(name, data)
    with torch.random.fork_rng(devices=[]):  # the first weights are overwritten: do not spend the caller's random numbers
        model = NETWORKS[name][0]()
    try:
        weights = load_file(path)
        model.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in weights.items()})
    except (SafetensorError, RuntimeError) as broken:
        raise ValueError(f"{path} is not a checkpoint of {name} ({str(broken).splitlines()[0]}): restore it from the repository") from broken
    return model.requires_grad_(False).eval()


def card(name: str, data: str | None = None) -> dict:
    """What is known about a checkpoint: data and its source, epochs, seed, device, seconds, accuracy, history."""
    return json.loads(_checkpoint(name, data).with_suffix(".json").read_text())


def _checkpoint(name: str, data: str | None) -> Path:
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    known = NETWORKS[name][1:]
    if data is not None and data not in known:
        raise ValueError(f"{name} was not trained on {data!r}; known: {', '.join(known)}")
    path = data_folder() / "checkpoints" / f"{name}-{data or known[0]}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: restore it from the repository, or train it with `advlens record checkpoint-{path.stem}`")
    return path


# --- counting parameters -------------------------------------------------------

def count(model: nn.Module) -> dict[str, int]:
    """Numbers that a model stores: total, trainable, and running statistics that are not trained."""
    trainable = sum(p.numel() for p in model.parameters())
    running = sum(b.numel() for name, b in model.named_buffers() if name.rpartition(".")[2].startswith("running_"))
    return {"total": trainable + running, "trainable": trainable, "non-trainable": running}


@torch.no_grad()
def summary(model: nn.Module, image_shape: tuple[int, int, int] | None = None) -> str:
    """A table of layers, output shapes and parameters, in the manner of the sources.

    image_shape: (C, H, W); by default the shape that `Normalize` tells.
    """
    if image_shape is None:
        image_shape = (1, 28, 28) if model[0].mean.numel() == 1 else (3, 32, 32)
    rows: list[tuple[str, str, str]] = []

    def note(name):
        def hook(module, inputs, output):
            own = count(module)["total"]
            rows.append((name, "x".join(map(str, output.shape[1:])), f"{own:,}" if own else "-"))
        return hook

    hooks = [layer.register_forward_hook(note(type(layer).__name__)) for layer in model.children()]
    try:
        with frozen(model):
            model(torch.zeros(1, *image_shape, device=model[0].mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    total = count(model)
    line = "-" * 46
    body = [f"{name:<20}{shape:>14}{number:>12}" for name, shape, number in rows]
    foot = [f"{key:<20}{value:>26,}" for key, value in total.items()]
    return "\n".join([f"{'layer':<20}{'output':>14}{'numbers':>12}", line, *body, line, *foot])
