"""Trained networks, their cards, and tables of their layers.

>>> pretrained("lenet", "digits")(torch.zeros(1, 1, 28, 28)).shape
torch.Size([1, 10])
"""

import json
from pathlib import Path
from typing import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from advlens.inputs import check_known, device_of, frozen
from advlens.layers import Normalize
from advlens.models import CifarNet, FullyConnected, HebbianNet, LeNet, MnistResNet, VggBlocks
from advlens.paths import data_folder

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
# name -> a further real data set: without the images that are its test set, of which no JPEG codec has seen a pixel
HELD_OUT = {"cifar_net": ("cifar10_lossless",)}


def pretrained(name: str, data: str | None = None) -> nn.Module:
    """A trained network in evaluation mode, its parameters frozen.

    name: one of NETWORKS.  data: the data set it was trained on, by default the real
    one; pass `dataset.name` to follow a stand-in.  How each was trained, and how well
    it does, stands in its card: `card(name, data)`.
    Raises ValueError for an unknown name, FileNotFoundError or ValueError for a
    checkpoint that is missing or unreadable.
    """
    path = _checkpoint(name, data)
    with torch.random.fork_rng(devices=[]):  # weights that are overwritten: spend no random numbers of the caller's
        model = NETWORKS[name][0]()
    try:
        weights = load_file(path)
        model.load_state_dict({key: value.float() if value.is_floating_point() else value
                               for key, value in weights.items()})
    except (SafetensorError, RuntimeError) as broken:
        raise ValueError(f"{path} is not a checkpoint of {name} ({str(broken).splitlines()[0]}): "
                         "restore it from the repository") from broken
    return model.requires_grad_(False).eval()


def card(name: str, data: str | None = None) -> dict:
    """What is known about a checkpoint: data and its source, epochs, seed, device, seconds, accuracy, history."""
    return json.loads(_checkpoint(name, data).with_suffix(".json").read_text())


def _checkpoint(name: str, data: str | None) -> Path:
    check_known("network", name, NETWORKS)
    known = NETWORKS[name][1:] + HELD_OUT.get(name, ())
    if data is not None and data not in known:
        raise ValueError(f"{name} was not trained on {data!r}; known: {', '.join(known)}")
    path = data_folder() / "checkpoints" / f"{name}-{data or known[0]}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: restore it from the repository, "
                                f"or train it with `advlens record checkpoint-{path.stem}`")
    return path


# --- counting parameters -------------------------------------------------------

def count(model: nn.Module) -> dict[str, int]:
    """Numbers that a model stores: total, trainable, and running statistics that are not trained."""
    trainable = sum(p.numel() for p in model.parameters())
    running = sum(b.numel() for name, b in model.named_buffers() if name.split(".")[-1].startswith("running_"))
    return {"total": trainable + running, "trainable": trainable, "non-trainable": running}


def _image_shape(model: nn.Module) -> tuple[int, int, int]:
    told = {layer.mean.numel() for layer in model.modules() if isinstance(layer, Normalize)}
    for channels, side in ((1, 28), (3, 32)):
        if told == {channels}:
            return channels, side, side
    raise ValueError("the model has no layer Normalize for grey or RGB images that tells their shape; "
                     "give image_shape=(C, H, W)")


@torch.no_grad()
def summary(model: nn.Module, image_shape: tuple[int, int, int] | None = None) -> str:
    """A table of layers, output shapes and parameters, in the manner of the sources.

    image_shape: (C, H, W); by default the shape that the model's `Normalize` tells.
    Raises ValueError where none tells it.
    """
    x = torch.zeros(1, *(image_shape or _image_shape(model)))
    rows = [("layer", "output", "numbers")]

    def note(layer, inputs, output):
        own = count(layer)["total"]
        rows.append((type(layer).__name__, "x".join(map(str, output.shape[1:])), f"{own:,}" if own else "-"))

    hooks = [layer.register_forward_hook(note) for layer in model.children()]
    try:
        with frozen(model):
            model(x.to(device_of(model, x)))
    finally:
        for hook in hooks:
            hook.remove()
    line = "-" * 46
    head, *body = (f"{name:<20}{output:>14}{number:>12}" for name, output, number in rows)
    foot = [f"{key:<20}{value:>26,}" for key, value in count(model).items()]
    return "\n".join([head, line, *body, line, *foot])
