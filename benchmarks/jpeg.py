"""JPEG as a layer against Pillow and Kornia: `python benchmarks/jpeg.py`.

512 images of CIFAR-10's size, forward only.  Goal: at least 4 times faster than a loop
over Pillow and than Kornia.  The note tells how far each is from what Pillow gives.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import compare
from advlens import data
from advlens.jpeg import JPEG, compress, tables

QUALITY = 75
IMAGES = 512


def pillow_loop(x: Tensor) -> Tensor:
    """What everybody writes: one image after the other."""
    coded = []
    for pixels in (x * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
        coded.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2).float() / 255


def einsum(x: Tensor) -> Tensor:
    """The least that a codec has to do: blocks, DCT, quantisation and back, no colours, one table for all."""
    k = torch.arange(8.0)
    dct = torch.cos((2 * k + 1) * k[:, None] * torch.pi / 16) / 2
    dct[0] /= 2**0.5
    step = tables(QUALITY)[0] / 255
    blocks = x.unflatten(3, (-1, 8)).unflatten(2, (-1, 8))
    q = torch.einsum("ui,nchiwj,vj->nchwuv", dct, blocks - 0.5, dct) / step
    return (torch.einsum("ui,nchwuv,vj->nchiwj", dct, q.round() * step, dct) + 0.5).clamp(0, 1).reshape(x.shape)


@torch.no_grad()
def table() -> str:
    x = data.load("cifar10", "test", fallback="shapes").images[:IMAGES].contiguous()
    kornia = compare.peer("kornia.enhance").JPEGCodecDifferentiable()
    layer, quality = JPEG(QUALITY), torch.tensor([float(QUALITY)])
    sides = {
        "advlens JPEG": lambda: layer(x),
        "Pillow, a loop": lambda: pillow_loop(x),
        "advlens compress": lambda: compress(x, QUALITY),
        "Kornia": lambda: kornia(x, quality),
        "einsum, no colours": lambda: einsum(x),
    }
    real = pillow_loop(x)
    far = {name: (255 * (side() - real)).pow(2).mean().sqrt().item() for name, side in sides.items()}
    note = "RMSE to Pillow, in levels: " + ", ".join(f"{name} {value:.3f}" for name, value in far.items())
    return compare.times(f"JPEG, quality {QUALITY}, 4:2:0, forward ({len(x)} images {tuple(x.shape[1:])})",
                         "Pillow's loop and Kornia >= 4", sides, note=note, repetitions=9)


if __name__ == "__main__":
    print(compare.HEADER)
    print(table())
