"""The Krotov-Hopfield update in plain torch: one matrix product, and two rows to add for each image.

All but two of the hidden units have g = 0 for an image.  So the second matrix product,
g times images, is a sum of single rows, and only rows that were touched are written.

>>> weights = torch.eye(3, 4)
>>> update_(weights, torch.tensor([[1.0, 0.5, 0.0, 1.0]]), p=2, k=2, delta=0.4, step=0.1)
>>> weights[0]  # the winner turns towards the image
tensor([1.0000, 0.0500, 0.0000, 0.1000])
"""

from __future__ import annotations

import torch
from torch import Tensor


def currents(weights: Tensor, images: Tensor, *, p: float = 2) -> Tensor:
    """I_i = <W_i, x>_i = sum_d |W_id|^(p-2) W_id x_d for each image (N, D) and unit, (N, K), in the type of the images.

    The exponent is p - 2.  The code printed in belaustegui2022 reads |W|^p - 2: for p = 2 it
    weighs each product W x by W^2 - 2 in place of 1.  Source: krotov2019.
    """
    dual = weights if p == 2 else weights * weights.abs().pow(p - 2)
    return images @ dual.to(images.dtype).T


def update_(weights: Tensor, images: Tensor, *, p: float, k: int, delta: float, step: float) -> None:
    """Change weights (K, D) in place by one mini-batch of images (N, D).

    W_i += step * dW_i / max|dW|, where dW_i is the sum over the images of g_i (x - <W_i, x>_i W_i);
    g is 1 for the unit with the largest current, -delta for the k-th, and 0 for the rest.
    images in bfloat16: the currents are computed in bfloat16, all else in the type of the weights.
    Source: krotov2019; belaustegui2022, 2.
    """
    ranked = currents(weights, images, p=p).topk(k, dim=1)
    ends = [0, k - 1]  # the winner and the k-th
    g = weights.new_tensor([1.0, -delta])
    units = ranked.indices[:, ends].flatten()  # (2N,)
    strength = (ranked.values[:, ends].to(weights.dtype) * g).flatten()  # (2N,): g_i <W_i, x>_i
    pull = (images.to(weights.dtype)[:, None, :] * g[:, None]).flatten(0, 1)  # (2N, D): g_i x

    rows, place = units.unique(return_inverse=True)
    old = weights[rows]  # (R, D), R <= 2N
    decay = weights.new_zeros(len(rows)).index_add_(0, place, strength)
    change = torch.zeros_like(old).index_add_(0, place, pull).addcmul_(decay[:, None], old, value=-1)
    largest = change.abs().amax().clamp_min(torch.finfo(weights.dtype).tiny)
    weights[rows] = old + change * (step / largest)
