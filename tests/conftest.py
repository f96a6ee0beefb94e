"""What the tests share: small nets, real data where it is, and no way to the network."""

from __future__ import annotations

import ipaddress
import os
import socket

import pytest
import torch
from torch import Tensor, nn

from advlens import data, models

REAL_DATA = ("needs real {}: set ADVLENS_DATA to a folder with mnist.npz and cifar10.npz, "
             "or torchvision's files, and run the tests again")


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """Whatever a test does, it reaches nothing but this machine."""
    really_connect = socket.socket.connect

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise OSError(f"tests do not use the network, but {host} was asked for")
        return really_connect(self, address)

    def resolve(host, *rest, **more):
        if host in (None, "", "localhost", "127.0.0.1", "::1", b"localhost", b"127.0.0.1"):
            return really_resolve(host, *rest, **more)
        raise OSError(f"tests do not use the network, but {host} was asked for")

    really_resolve = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket, "getaddrinfo", resolve)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small nets on one thread: as fast, and the workers of `pytest -n` do not fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real():
    """real(name, split): real data, or a skip that says how to run the test."""

    def load(name: str, split: str) -> data.Dataset:
        try:
            return data.load(name, split)
        except data.DataUnavailable:
            if os.environ.get("ADVLENS_STANDIN") == "never":
                raise  # real data was asked for: a skip would hide that there is none
            pytest.skip(REAL_DATA.format(name))

    return load


@pytest.fixture(scope="session")
def mnist(real) -> data.Dataset:
    return real("mnist", "test")


@pytest.fixture(scope="session")
def cifar10(real) -> data.Dataset:
    return real("cifar10", "test")


@pytest.fixture(scope="session")
def digits() -> data.Dataset:
    return data.load("digits", "test")


@pytest.fixture
def lenet() -> nn.Module:
    return models.pretrained("lenet", "digits")


@pytest.fixture
def fully_connected() -> nn.Module:
    return models.pretrained("fully_connected", "digits")


@pytest.fixture
def net() -> nn.Sequential:
    """A small smooth net with batch normalisation and dropout, in training mode, for 2x6x6 images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            models.Normalize([0.5, 0.4], [0.3, 0.2]),
            nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Softplus(), nn.Dropout(0.5),
            nn.Flatten(), nn.Linear(288, 5),
        )


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Eight images (8, 2, 6, 6) whose pixels also touch 0 and 1, and labels of five classes."""
    generator = torch.Generator().manual_seed(1)
    x = (1.4 * torch.rand(8, 2, 6, 6, generator=generator) - 0.2).clamp(0, 1)
    return x, torch.randint(0, 5, (8,), generator=generator)


class Work:
    """Counts the forward and backward passes of a model, in images, while it is open."""

    def __init__(self, model: nn.Module):
        self.forward = self.backward = 0
        self.model = model

    def __enter__(self) -> Work:
        def entered(module, inputs):
            self.forward += len(inputs[0])
            if inputs[0].requires_grad:
                # The hook runs when the gradient of the images has been computed.
                inputs[0].register_hook(lambda gradient: self._returned(len(gradient)))

        self._hook = self.model.register_forward_pre_hook(entered)
        return self

    def _returned(self, images: int) -> None:
        self.backward += images

    def __exit__(self, *problem) -> None:
        self._hook.remove()


@pytest.fixture
def work():
    return Work
