"""What the tests share: small nets, real data where it is, and no way to the network."""

from __future__ import annotations

import importlib
import ipaddress
import os
import random
import socket
import subprocess
import sys
import textwrap
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

# Without a GPU the Triton kernels run through Triton's interpreter, which has to be asked for before Triton's import.
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"

from advlens import data, evaluation, layers, zoo  # noqa: E402

SEED = int(os.environ.get("ADVLENS_TEST_SEED", "0"))  # another one: do the tests hang on a lucky draw?

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


@pytest.fixture(autouse=True)
def one_seed():
    """Each test draws the same numbers, whatever ran before it in the same process."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - peers draw from the global generator
    torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def device() -> str:
    """Where the Triton kernels are tested: a GPU when there is one, else the CPU, through Triton's interpreter."""
    return DEVICE


COMPILER = r"""
import re, subprocess, tempfile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from triton.knobs import nvidia

def compiled(kernel, signature, constants, architecture, num_warps=4):
    source = ASTSource(kernel, signature=signature | dict.fromkeys(constants, "constexpr"), constexprs=constants)
    return compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": num_warps}).asm

def spilled(*args):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled(*args)["cubin"])
        file.flush()
        usage = subprocess.run([nvidia.cuobjdump.path, "-res-usage", file.name], capture_output=True, text=True,
                           check=True).stdout
    return int(re.search(r"STACK:(\d+)", usage)[1])
"""


@pytest.fixture(scope="session")
def without_interpreter():
    """without_interpreter(code): what code prints in a process where Triton compiles, for a GPU that need not be there.

    Two functions are defined there: `compiled` gives what the compiler made of a kernel, "ptx" and "cubin";
    `spilled` the bytes of local memory that each thread needs because its registers do not suffice.
    """
    pytest.importorskip("triton", reason="needs Triton: pip install triton (Linux)")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", COMPILER + textwrap.dedent(code)], env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def peer():
    """peer(name): the library, or a skip; ADVLENS_REQUIRE_PEERS=1 (set by .ci/run) makes its absence a failure."""
    data.torchvision_datasets()  # torchattacks imports torchvision
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # adv-lib imports it for plots that nobody asks for here
    sys.modules["visdom"].Visdom = None

    def load(name: str) -> ModuleType:
        try:
            return importlib.import_module(name)
        except ImportError as missing:
            if os.environ.get("ADVLENS_REQUIRE_PEERS") == "1":
                raise
            pytest.skip(f"needs the peers ({missing}): install the extra `bench` without dependencies, as the "
                        "Makefile does")

    return load


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
    return zoo.pretrained("lenet", "digits")


@pytest.fixture
def fully_connected() -> nn.Module:
    return zoo.pretrained("fully_connected", "digits")


@pytest.fixture
def net() -> nn.Sequential:
    """A small smooth net with batch normalisation and dropout, in training mode, for 2x6x6 images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            layers.Normalize([0.5, 0.4], [0.3, 0.2]),
            nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Softplus(), nn.Dropout(0.5),
            nn.Flatten(), nn.Linear(288, 5),
        )


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Eight images (8, 2, 6, 6) whose pixels also touch 0 and 1, and labels of five classes."""
    generator = torch.Generator().manual_seed(1)
    x = (1.4 * torch.rand(8, 2, 6, 6, generator=generator) - 0.2).clamp(0, 1)
    return x, torch.randint(0, 5, (8,), generator=generator)


@pytest.fixture
def work():
    """Counts forward and backward passes, in images."""
    return evaluation.passes


@pytest.fixture
def case(net, batch):
    """The small net in float64 and evaluation mode, images, and the classes that it gives them."""
    x, net = batch[0].double(), net.double().eval()
    return net, x, evaluation.logits(net, x).argmax(1)
