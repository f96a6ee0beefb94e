"""Which frequencies an image holds, and which a network hears.

Every picture here is (H, W) with the frequency 0 in the middle, at (H // 2, W // 2), as
`torch.fft.fftshift` puts it: entry (H // 2 + u, W // 2 + v) belongs to u periods down the
image and v periods across it.

>>> blur = torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
>>> _ = torch.nn.init.constant_(blur.weight, 1 / 9)
>>> response = transfer_function(blur, (1, 8, 8))
>>> response.shape, response[4, 5].item() > response[4, 7].item()
(torch.Size([8, 8]), True)
"""

import math
from typing import Callable

import torch
from torch import Tensor, nn

from advlens.inputs import check_at_least_one, check_float, forward, frozen


def frequencies(height: int, width: int) -> Tensor:
    """All frequencies (H, W, 2) of an H x W image, in periods per image: down and across, 0 in the middle."""
    u, v = (torch.arange(n) - n // 2 for n in (height, width))
    return torch.stack(torch.meshgrid(u, v, indexing="ij"), dim=-1)


def radii(height: int, width: int) -> Tensor:
    """How high each of `frequencies` is, whatever its direction, (H, W): in periods along the shorter side."""
    sides = torch.tensor([height, width])
    scale = sides.min() / sides  # exactly 1 on a square image, so whole radii stay whole
    return (frequencies(height, width) * scale).norm(dim=2)


def band(images: Tensor, low: float, high: float) -> Tensor:
    """Images or perturbations (..., H, W) with a ring of their frequencies only: low <= radius < high.

    radius: as `radii` has it, so 0 to infinity keeps everything, and the mean goes with radius 0.  Nothing is cut
    to [0, 1].  Linear, and a projection: it is its own gradient, and twice is once.
    Raises TypeError or ValueError unless they are floating point with two dimensions or more, and low < high.
    """
    check_float(images, "images", "(..., H, W)")
    if images.ndim < 2 or min(images.shape[-2:]) < 1:
        raise ValueError(f"images has shape {tuple(images.shape)}; give (..., H, W)")
    if not 0 <= low < high:
        raise ValueError(f"the ring from {low} to {high} holds nothing; give 0 <= low < high")
    radius = torch.fft.ifftshift(radii(*images.shape[-2:])).to(images.device)
    return torch.fft.ifft2(torch.fft.fft2(images) * ((low <= radius) & (radius < high))).real


def sinusoids(shape: tuple[int, int, int], frequency: Tensor, phase: float | Tensor = 0.0, *,
              contrast: float = 0.25) -> Tensor:
    """Grey images (N, C, H, W), float64: 1/2 + contrast cos(2 pi (u y / H + v x / W) + phase).

    shape: (C, H, W).  frequency: (N, 2), rows (u, v) as `frequencies` has them.
    phase: a number or (N,), in radians.  contrast: amplitude, above 0 and up to 1/2, so
    that the pixels stay in [0, 1].  Raises ValueError for another shape or contrast.
    """
    _check(shape, contrast)
    channels, height, width = shape
    if frequency.ndim != 2 or frequency.shape[1] != 2:
        raise ValueError(f"frequency has shape {tuple(frequency.shape)}; give (N, 2), one row (u, v) for each image")
    y, x = (torch.arange(n, dtype=torch.float64) / n for n in (height, width))
    u, v = frequency.double().view(-1, 2, 1, 1).unbind(1)  # (N, 1, 1)
    phase = torch.as_tensor(phase, dtype=torch.float64).view(-1, 1, 1)
    waves = torch.cos(2 * math.pi * (u * y[:, None] + v * x) + phase)  # (N, H, W)
    return (0.5 + contrast * waves)[:, None].repeat(1, channels, 1, 1)


@torch.no_grad()
def transfer_function(net: nn.Module, shape: tuple[int, int, int], *, contrast: float = 0.25, phases: int = 8,
                      transform: Callable[[Tensor], Tensor] | None = None, per_channel: bool = False,
                      batch_size: int = 512) -> Tensor:
    """How strongly a layer or a network answers to each frequency of its input image, (H, W).

    The answer to a sinusoid is what it changes in the output, ||net(sinusoid) - net(grey)||,
    over what it changes in the image, ||sinusoid - grey||, where grey is 1/2 everywhere;
    both are root mean squares over `phases` phases, evenly spread over a period.  For a
    linear layer that is its gain, whatever the contrast: for one filter with circular
    padding |FFT of the filter|.  A net that is not linear answers differently at each
    contrast.  At frequency 0 the sinusoid is a uniform change of the grey.

    shape: (C, H, W), the image's.  contrast: amplitude, above 0 and up to 1/2.
    transform: done to sinusoids and grey before the net sees them, for example `JPEG(10)`;
    the change of the image is measured before it.  per_channel: one response for each of
    the K outputs or filters, (K, H, W).  The net runs in evaluation mode and is left as
    it was.  Cost: H x W x phases / 2 forward passes, since f and -f are one sinusoid.
    Raises TypeError or ValueError for another shape, contrast, number of phases or batch
    size, and when the net returns NaN.  Source: unam2021.
    """
    _check(shape, contrast)
    if not isinstance(phases, int) or phases < 3:
        raise ValueError(f"phases = {phases!r}; give a whole number from 3: fewer do not average over a period")
    check_at_least_one(batch_size=batch_size)
    which, where = _pairs(*shape[1:])
    frequency = frequencies(*shape[1:]).flatten(0, 1)[which].repeat_interleave(phases, 0)  # (F * phases, 2)
    phase = (2 * math.pi * torch.arange(phases) / phases).repeat(len(which))
    own = _own_number(net)

    def answer(x: Tensor) -> Tensor:
        out = _wide(forward(net, x if transform is None else transform(x)))
        return out.reshape(*out.shape[:2], -1) if per_channel else out.reshape(len(out), 1, -1)  # (N, K or 1, ...)

    changes, sizes = [], []
    with frozen(net):
        grey = answer(torch.full((1, *shape), 0.5).to(own))
        for f, p in zip(frequency.split(batch_size), phase.split(batch_size)):
            x = sinusoids(shape, f, p, contrast=contrast).to(own)
            changes.append((answer(x) - grey).pow(2).sum(2))
            sizes.append((_wide(x) - 0.5).flatten(1).pow(2).sum(1))
    change = torch.cat(changes).unflatten(0, (-1, phases)).sum(1)  # (F, K or 1)
    response = (change / torch.cat(sizes).view(-1, phases).sum(1, keepdim=True)).sqrt()
    if torch.isnan(response).any():
        raise ValueError("the net returns NaN on sinusoids")
    response = response[where].T.unflatten(1, shape[1:])
    return response if per_channel else response[0]


def log_spectrum(images: Tensor) -> Tensor:
    """log(1 + |FFT|) of each channel, (N, C, H, W), frequency 0 in the middle.

    images: (N, C, H, W), also perturbations, whose pixels may be negative.
    Raises TypeError or ValueError unless they are floating point, finite and 4-dimensional.
    """
    check_float(images, "images", "(N, C, H, W)")
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"images has shape {tuple(images.shape)}; give (N, C, H, W), at least one image")
    if not torch.isfinite(images).all():
        raise ValueError("images holds NaN or infinite values")
    return torch.fft.fftshift(torch.fft.fft2(images).abs(), dim=(-2, -1)).log1p()


def radial_average(spectrum: Tensor) -> Tensor:
    """Mean over rings of equal frequency, whatever its direction: (..., H, W) -> (..., R).

    Entry r is the mean where the frequency, in periods along the shorter side, rounds to
    r; r ends at half that side, so the corners, where rings are not complete, stay out.
    Raises ValueError for fewer than two dimensions or less than 2x2.
    """
    if spectrum.ndim < 2 or min(spectrum.shape[-2:]) < 2:
        raise ValueError(f"spectrum has shape {tuple(spectrum.shape)}; give (..., H, W), at least 2x2")
    height, width = spectrum.shape[-2:]
    ring = radii(height, width).round().long().flatten().to(spectrum.device)  # (H * W,)
    rings = min(height, width) // 2 + 1
    inside = ring < rings
    total = spectrum.new_zeros(*spectrum.shape[:-2], rings)
    total.index_add_(-1, ring[inside], spectrum.flatten(-2)[..., inside])
    return total / torch.bincount(ring[inside], minlength=rings)


def _pairs(height: int, width: int) -> tuple[Tensor, Tensor]:
    """f and -f are one sinusoid: the entries (F,) of `frequencies` to compute, and which of them each (H W,) is."""
    rows, columns = (2 * (n // 2) - torch.arange(n) for n in (height, width))  # where -f stands
    opposite = rows.remainder(height)[:, None] * width + columns.remainder(width)
    return torch.minimum(opposite.flatten(), torch.arange(height * width)).unique(return_inverse=True)


def _check(shape: tuple[int, int, int], contrast: float) -> None:
    if len(shape) != 3 or not all(isinstance(n, int) for n in shape) or shape[0] < 1 or min(shape[1:]) < 2:
        raise ValueError(f"shape = {tuple(shape)}; give (C, H, W), at least (1, 2, 2)")
    if not 0 < contrast <= 0.5:
        raise ValueError(f"contrast = {contrast}; give more than 0 and at most 0.5: "
                         "the pixels 0.5 + contrast cos(...) belong in [0, 1]")


def _own_number(net: Callable[[Tensor], Tensor]) -> Tensor:
    """A tensor in whose type and on whose device the net computes; float32 for a net without numbers."""
    numbers = (*net.parameters(), *net.buffers()) if isinstance(net, nn.Module) else ()
    return next((t for t in numbers if t.is_floating_point()), torch.empty(0))


def _wide(values: Tensor) -> Tensor:
    """At least float32: in half precision squares overflow."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
