"""Where the ink of a digit lies: its extent and its centre of mass."""

import torch
from torch import Tensor


def box_and_offset(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Height (N,) and width (N,) of the box around the ink, and where its centre of mass is, (N, 2).

    images: (N, 1, H, W), black (0) on the outside; ink is what is above 0.  Sizes are int64, in
    pixels.  The centre of mass is (down, right), in pixels from the centre of the image.
    Raises ValueError for another shape and for an image without ink.

    >>> image = torch.zeros(1, 1, 5, 5)
    >>> image[0, 0, 0:2, 1:4] = 1  # two rows of three
    >>> box_and_offset(image)
    (tensor([2]), tensor([3]), tensor([[-1.5000,  0.0000]]))
    """
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images has shape {tuple(images.shape)}; give (N, 1, H, W)")
    rows, columns = images.sum(3).squeeze(1), images.sum(2).squeeze(1)  # ink in rows (N, H), columns (N, W)
    if (rows.amax(1) <= 0).any():
        raise ValueError(f"{(rows.amax(1) <= 0).sum()} of {len(images)} images hold no ink")
    offset = torch.stack([_centre(rows), _centre(columns)], 1)  # (N, 2)
    return _extent(rows), _extent(columns), offset


def _centre(ink: Tensor) -> Tensor:
    """Centre of mass of (N, length), from the middle, (N,)."""
    place = torch.arange(ink.shape[1], dtype=ink.dtype, device=ink.device) - (ink.shape[1] - 1) / 2
    return ink @ place / ink.sum(1)


def _extent(ink: Tensor) -> Tensor:
    """From the first to the last place with ink, (N, length) -> (N,)."""
    place = torch.arange(ink.shape[1], device=ink.device)
    first, last = torch.where(ink > 0, place, ink.shape[1]).amin(1), torch.where(ink > 0, place, -1).amax(1)
    return last - first + 1
