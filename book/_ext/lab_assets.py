"""Gives the site the networks of the live lab as scripts.

    _static/lab/weights-<net>-<data>.js   one network of data/checkpoints: its layers, and its weights in float16

Scripts, because a page cannot fetch a file from file://; base64 of float16, because a host compresses that well and
the checkpoints are stored in float16: nothing is lost.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from torch import nn

from advlens import data, models, zoo

NETS = ("lenet", "mnist_resnet", "fully_connected", "cifar_net")
START = "((globalThis.lensLab ??= {}).weights ??= {})[%s] = %s;\n"


def layers(module: nn.Module) -> tuple[list[list], list]:
    """The layers as book/_static/lab/engine.js names them, and the tensors that they take, in their order.

    Raises ValueError for a module that the engine does not have.
    """
    spec, tensors = [], []

    def add(name, *settings, takes=()):
        spec.append([name, *settings])
        tensors.extend(takes)

    for layer in module:
        match layer:
            case models.Normalize():
                add("normalize", layer.mean.flatten().tolist(), layer.std.flatten().tolist())
            case nn.Conv2d(stride=(1, 1), dilation=(1, 1), groups=1, kernel_size=(k, _), padding=(p, _)):
                add("conv", layer.out_channels, k, p, takes=[layer.weight, layer.bias])
            case nn.Linear():
                add("linear", layer.out_features, takes=[layer.weight, layer.bias])
            case nn.BatchNorm2d():
                add("batchnorm", layer.eps, takes=[layer.weight, layer.bias, layer.running_mean, layer.running_var])
            case nn.MaxPool2d(kernel_size=k, stride=s, padding=0) if k == s:
                add("maxpool", k)
            case nn.AvgPool2d(kernel_size=k, stride=s, padding=0) if k == s:
                add("avgpool", k)
            case nn.AdaptiveAvgPool2d(output_size=1):
                add("mean")
            case nn.ReLU():
                add("relu")
            case nn.Sigmoid():
                add("sigmoid")
            case models.IdentityBlock():
                inner, takes = layers(layer.residual)
                add("residual", inner, takes=takes)
                add("relu")
            case nn.Flatten() | nn.Dropout():  # in evaluation, on numbers that lie in order anyway
                pass
            case _:
                raise ValueError(f"the lab's engine has no layer for {layer}")
    return spec, tensors


def weights(net: str, trained_on: str) -> str:
    """The script of one network.  Raises ValueError where float16 would lose something."""
    shape = [1, 28, 28] if trained_on in ("mnist", "digits") else [3, 32, 32]
    spec, tensors = layers(zoo.pretrained(net, trained_on))
    numbers = b""
    for tensor in tensors:
        half = tensor.detach().numpy().astype("<f2")
        if not (half == tensor.numpy()).all():
            raise ValueError(f"{net}-{trained_on}: the checkpoint is not in float16")
        numbers += half.tobytes()
    return START % (json.dumps(f"{net}-{trained_on}"), json.dumps(
        {"shape": shape, "classes": data.CLASSES[trained_on], "layers": spec,
         "numbers": base64.b64encode(numbers).decode()}, separators=(",", ":")))


def write(folder: Path) -> None:
    """All scripts, into the folder of the lab."""
    folder.mkdir(parents=True, exist_ok=True)
    for net in NETS:
        for trained_on in zoo.NETWORKS[net][1:]:
            (folder / f"weights-{net}-{trained_on}.js").write_text(weights(net, trained_on))


def write_into_site(app, error):
    if error is None and app.builder.format == "html":
        write(Path(app.outdir) / "_static" / "lab")


def setup(app):
    app.connect("build-finished", write_into_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
