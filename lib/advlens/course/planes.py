"""What a net says on a plane through image space, spanned by an image and two directions.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]])
>>> u, v = torch.eye(4)[1].view_as(x), torch.eye(4)[2].view_as(x)
>>> logits_on_plane(net, x, u, v, across=[0, 1], up=[0, 1, 2]).argmax(2)
tensor([[0, 1],
        [2, 1],
        [2, 2]])
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from advlens import inputs
from advlens.inputs import Model


def logits_on_plane(model: Model, x: Tensor, u: Tensor, v: Tensor, across: Sequence[float] | Tensor,
                    up: Sequence[float] | Tensor, *, batch_size: int = 500) -> Tensor:
    """The logits of x + a u + b v, (len(up), len(across), K): a along the columns, b along the rows.

    x: one image (1, C, H, W) in [0, 1].  u, v: directions of the same shape, of any sign and length.
    across, up: the values of a and of b.

    Nothing is clamped: where a pixel leaves [0, 1], the net is asked about a point of the plane that is
    no image.  Raises TypeError or ValueError for input outside this.
    """
    inputs.check_images(x)
    if len(x) != 1:
        raise ValueError(f"x holds {len(x)} images; a plane goes through one: give x[i:i + 1]")
    for name, direction in (("u", u), ("v", v)):
        _check_direction(direction, x, name)
    inputs.check_at_least_one(batch_size=batch_size)
    a, b = _places(across, x, "across"), _places(up, x, "up")

    rows, columns = torch.cartesian_prod(torch.arange(len(b)), torch.arange(len(a))).T
    logits = []
    for row, column in zip(rows.split(batch_size), columns.split(batch_size)):
        points = x + a[column].view(-1, 1, 1, 1) * u + b[row].view(-1, 1, 1, 1) * v
        logits.append(inputs.logits(model, points, batch_size))
    return torch.cat(logits).view(len(b), len(a), -1)


def _check_direction(direction: Tensor, x: Tensor, name: str) -> None:
    """Raise unless `direction` is finite, floating point and has the shape of x."""
    inputs.check_float(direction, name, str(tuple(x.shape)))
    if direction.shape != x.shape:
        raise ValueError(f"{name} has shape {tuple(direction.shape)}; give a direction of the image's, "
                         f"{tuple(x.shape)}")
    if not torch.isfinite(direction).all():
        raise ValueError(f"{name} holds NaN or infinite values")


def _places(values: Sequence[float] | Tensor, x: Tensor, name: str) -> Tensor:
    """One axis of the grid, (n,), with the type and the device of x."""
    try:
        places = torch.as_tensor(values, dtype=x.dtype, device=x.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} is {values!r}; give a list of numbers") from error
    if places.ndim != 1 or len(places) == 0:
        raise ValueError(f"{name} has shape {tuple(places.shape)}; give a list of numbers, at least one")
    if not torch.isfinite(places).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return places
