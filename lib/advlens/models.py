"""The networks of the sources, with exactly their parameter counts.

Every model takes images in [0, 1] of shape (N, C, H, W) and returns logits of
shape (N, classes).  Its first layer is `Normalize`, so an epsilon is always in
pixel units.  Sources: unam2021 (app. A), marinelli, cutilli2021 (3.1.5), belaustegui2022 (2).
"""

from typing import Sequence

import torch
from torch import Tensor, nn

from advlens.inputs import check_at_least_one, forward
from advlens.layers import Normalize, RePU, Scale

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


def _three_blocks(classes: int, dropouts: tuple[float, float], *, normalised: bool) -> nn.Sequential:
    """Three blocks of two convolutions and two dense layers, for 32x32 RGB images.

    dropouts: after each pooling, and before the last layer.
    """
    layers: list[nn.Module] = [Normalize(*CIFAR10_PIXELS)]
    width = 3
    for channels in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
            layers += [nn.BatchNorm2d(channels)] if normalised else []
            width = channels
        layers += [nn.MaxPool2d(2), nn.Dropout(dropouts[0])]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 128), nn.ReLU(),
                         nn.Dropout(dropouts[1]), nn.Linear(128, classes))


def CifarNet(classes: int = 10, dropout: float = 0.1) -> nn.Sequential:
    """Three blocks of two convolutions with batch normalisation, for 32x32 RGB images.

    552,362 numbers, 551,466 of them trainable.  Source: unam2021, app. A.
    """
    return _three_blocks(classes, (dropout, 2 * dropout), normalised=True)


def VggBlocks(classes: int = 10, dropout: float = 0.2) -> nn.Sequential:
    """Three VGG blocks without batch normalisation, for 32x32 RGB images: 550,570 parameters.

    He initialisation, dropout after each pooling.  Source: marinelli.
    """
    net = _three_blocks(classes, (dropout, dropout), normalised=False)
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


class Ensemble(nn.Module):
    """Several networks as one: the mean of their logits, (N, classes).

    An attack on it looks for what fools all of them.  A network with larger logits counts for
    more: bring them to one scale with `Scale` where that is not wanted.
    Raises ValueError for no model, TypeError for one that is not an nn.Module.
    Source: dong2018, algorithm 2 (with equal weights).
    """

    def __init__(self, models: Sequence[nn.Module]):
        super().__init__()
        check_at_least_one(models=len(models))
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([forward(model, x) for model in self.models]).mean(0)
