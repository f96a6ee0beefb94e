"""Checks of chapter 09: frequencies with a pencil, energy in rings, the noise of three networks, a silent alarm."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from advlens import attacks, data, evaluation, spectral, zoo
from advlens.course.checks import hint

# --- the pencil ------------------------------------------------------------------

HALF = math.sqrt(0.5)
PENCIL = {
    "sizes": ([7, 5, 1, 5], {
        "A size is never negative: the size of -1 is 1.": [7, 5, -1, 5],
        "You left the imaginary parts out: 3 - 4i has the size 5.": [7, 3, 1, 3],
        "The size of p + qi is the root of p^2 + q^2, not the sum of p and q.": [7, 7, 1, 7],
        "These are the squares of the sizes: take the root.": [49, 25, 1, 25],
        "You divided by 4. The sum of the task has no factor in front.": [1.75, 1.25, 0.25, 1.25],
        "One size is missing: k runs from 0 to 3.": [7, 5, 1],
    }),
    "energy": ([25, 100], {
        "The second number is the sum of the sizes. Square each size first.": [25, 18],
        "The first number is the sum of the pixels. Square each pixel first.": [7, 100],
        "These are lengths: an energy has no root.": [5, 10],
        "Frequency 3 has energy as well: 49 + 25 + 1 + 25.": [25, 75],
        "First the row, then its spectrum.": [100, 25],
    }),
    "share": (0.51, {
        "That is the share of frequency 0. What do the other three hold?": 0.49,
        "That is a share of the sizes: an energy is the square of a size.": 11 / 18,
        "Give the share, a number between 0 and 1.": 51,
        "Frequency 3 counts as well: it is the same stripe as frequency 1.": 0.26,
    }),
    "mean": ([1, HALF, 0], {
        "You forgot the factor 1/2 of the filter.": [2, 2 * HALF, 0],
        "At frequency 1 the sum is 1/2 - i/2: its size is the root of 1/4 + 1/4.": [1, 0.5, 0],
        "At frequency 1 the sum is 1/2 - i/2: its size is no sum of the two halves.": [1, 1, 0],
        "That is the other way round: a mean keeps what is the same in all pixels.": [0, HALF, 1],
    }),
    "difference": ([0, 2 * HALF, 2], {
        "At frequency 1 the sum is 1 + i: its size is a root.": [0, 1, 2],
        "At frequency 1 the sum is 1 + i, and its size is the root of 1 + 1.": [0, 2, 2],
        "These are the squares of the gains.": [0, 2, 4],
        "That is the other way round: neighbours that are equal have the difference 0.": [2, 2 * HALF, 0],
    }),
    "chain": ([0, 1, 0], {
        "Gains do not add up. What the first filter leaves goes through the second one: multiply.": [1, 3 * HALF, 2],
        "Take no mean of the gains. What the first filter leaves goes through the second one: multiply.":
            [0.5, 1.5 * HALF, 1],
        "That is the difference alone: multiply each of its gains by that of the mean.": [0, 2 * HALF, 2],
    }),
}


def four_frequencies(function) -> None:
    """Check `function()`: the spectrum of four pixels, its energy, and the gains of two filters and of their chain."""
    got = hint.by_hand(function, *PENCIL)
    for key, (right, mistakes) in PENCIL.items():
        count = len(right) if isinstance(right, list) else 1
        numbers = torch.as_tensor(_numbers(got[key], key), dtype=torch.float64)
        slips = {f"{key!r}: {text}": wrong for text, wrong in mistakes.items()}
        hint.compare(numbers.tolist() if numbers.ndim else numbers.item(), right, slips,
                     f"{key!r} is not right yet: it takes {count} number{'s' * (count > 1)}. Write the sum down, term "
                     "by term, with the powers of the table.", tolerance=6e-3)
    print("ok  the frequencies of four pixels, and what two filters make of them")


def _numbers(value, key: str):
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    hint.require(values and all(isinstance(v, (int, float)) for v in values),
                 f"{key!r} holds something that is no number: sizes, energies and gains are real.")
    return values if isinstance(value, (list, tuple)) else value


# --- energy in rings ----------------------------------------------------------------

def ring_energy(function) -> None:
    """Check `function(images, edges)`: the share of each image's energy in each ring of frequencies."""
    noise = _noise(4, 3, 8, 8)
    before = noise.clone()
    hint.call(function, noise, [0, 2, 3, 5, 9])
    hint.require(torch.equal(noise, before), "You changed the images of your caller in place.")
    _rings(function, noise, [0, 2, 3, 5, 9])
    print("ok  the shares of four rings, one row for each image")
    _rings(function, noise, [0, 5])
    _rings(function, noise, [2, 4.5])
    _rings(function, 1000 * noise + 400, [0, 1, 9])
    print("ok  rings that leave something out, and images of any brightness")
    _rings(function, _noise(2, 1, 9, 9), [0, 1.5, 4.6, 7])
    print("ok  odd sizes")


def ring_energy_elsewhere(function) -> None:
    """The same on the colour images and on other rings; on odd sizes no frequency lies on an edge."""
    shapes = data.load("shapes", "test")[:6].images
    _rings(function, shapes, [0, 1, 4, 8, 16, 23])
    _rings(function, shapes[:, :1] - 0.5, [5, 10])
    _rings(function, shapes[:, :, :27, :27], [0, 0.5, 4.6, 7.3, 50])


def _noise(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(0)) / 4 + 0.1


def _rings(function, x: Tensor, edges: list) -> None:
    got = hint.call(function, x, edges)
    count = len(edges) - 1
    hint.require(isinstance(got, Tensor), f"The result is a {type(got).__name__}: return a tensor (N, R).")
    hint.require(not got.is_complex(), "The result is complex: an energy is the square of the size, .abs().square().")
    hint.require(got.shape != (len(x), x.shape[1], count),
                 "You give shares for each channel: add the energies of the channels of an image first.")
    hint.require(got.shape != (count,), "You give one row for the whole batch: each image has its own shares.")
    hint.require(got.shape != (len(x), count + 1), f"{count + 1} edges make {count} rings.")
    hint.require(got.shape == (len(x), count),
                 f"The result has shape {tuple(got.shape)}: one row for each of the {len(x)} images, one column for "
                 f"each of the {count} rings.")
    hint.require(torch.isfinite(got).all(), "The result holds NaN or infinity.")
    hint.compare(got, _shares(x, edges), _slips(x, edges), _wrong_wave(function, x.shape[-1], edges))


def _wrong_wave(function, size: int, edges: list) -> str:
    """Which wave does not land in its ring?"""
    u, v = (t.flatten() for t in torch.broadcast_tensors(*_whole(size, size)))
    y, x = torch.arange(size)[:, None] / size, torch.arange(size) / size
    waves = torch.cos(2 * math.pi * (u.view(-1, 1, 1) * y + v.view(-1, 1, 1) * x) + 0.4)[:, None]
    got = torch.as_tensor(hint.call(function, waves, edges))
    far = (got - _shares(waves, edges)).abs().amax(1)
    worst = far.argmax().item()
    if far[worst] < 1e-3:
        return ("Each wave on its own lands in its ring, but not a sum of waves of several channels: which power of "
                "|F(u, v)| do you add up, and what do you divide by?")
    shown = ", ".join(f"{value:.2f}" for value in got[worst].tolist())
    return (f"A wave with {u[worst]:.0f} periods down and {v[worst]:.0f} across on {size} x {size} pixels has the "
            f"radius {math.hypot(u[worst], v[worst]):.2f}. With the edges {edges} you give it the shares {shown}.")


def _shares(x: Tensor, edges: list) -> Tensor:
    return _in_rings(_energy(x), _radius(x.shape[-1]), edges) / _total(_energy(x))


def _energy(x: Tensor) -> Tensor:
    """|FFT|^2, the channels added up, in the order of fft2, (N, H, W)."""
    return torch.fft.fft2(x).abs().square().sum(1)


def _total(energy: Tensor) -> Tensor:
    return energy.sum((-2, -1))[:, None]


def _in_rings(energy: Tensor, radius: Tensor, edges: list, until=torch.lt) -> Tensor:
    rings = [(low <= radius) & until(radius, torch.tensor(float(high))) for low, high in zip(edges, edges[1:])]
    return torch.stack([(energy * ring).sum((-2, -1)) for ring in rings], 1)


def _slips(x: Tensor, edges: list) -> dict:
    """What is not quite this measure: {hint: its result}."""
    size, energy, radius = x.shape[-1], _energy(x), _radius(x.shape[-1])
    right, total, spectrum = _shares(x, edges), _total(_energy(x)), torch.fft.fft2(x)
    part = lambda weight, where=radius, **o: _in_rings(weight, where, edges, **o) / _total(weight)
    away = energy.clone()
    away[:, 0, 0] = 0
    u, v = _whole(size, size)
    counted = _in_rings(torch.ones_like(energy), radius, edges).clamp_min(1)
    density = _in_rings(energy, radius, edges) / counted
    after = [(low < radius) & (radius <= high) for low, high in zip(edges, edges[1:])]
    pooled = _in_rings(energy, radius, edges).sum(0, keepdim=True) / total.sum()
    return {
        "You add up |F(u, v)|. An energy is a square: |F(u, v)|^2.": part(spectrum.abs().sum(1)),
        "You add up log |F(u, v)|, which is for pictures. An energy is |F(u, v)|^2.":
            part(spectrum.abs().log1p().sum(1)),
        "You take the real part alone: |F(u, v)|^2 is the square of the size.": part(spectrum.real.square().sum(1)),
        "These are energies and no shares: divide by the energy of the whole image.": right * total,
        "You divide by the energy inside your rings. They need not cover everything: divide by that of the whole "
        "image.": right / right.sum(1, keepdim=True).clamp_min(1e-12),
        "You divide by the energy of the pixels: that of fft2 is larger by the number of pixels. Divide by the sum "
        "over all frequencies.": right * size * size,
        "These are the square roots of the shares.": right.sqrt(),
        "You take the mean over each ring: add up, because a ring with more frequencies holds more.":
            density / density.sum(1, keepdim=True),
        "All images have the same row: each image has its own shares.": pooled.expand_as(right),
        "Your radii and your spectrum are in different orders: fft2 puts frequency 0 into the corner, fftshift and "
        "`spectral.radii` put it in the middle.": part(energy, torch.fft.fftshift(radius)),
        "fftshift without dim=(-2, -1) also moves images and channels to other places.":
            right.roll(len(right) // 2, 0),
        "A frequency at the lower edge belongs to the ring, one at the upper edge does not: low <= r < high.":
            torch.stack([(energy * ring).sum((-2, -1)) for ring in after], 1) / total,
        "A frequency on an edge counts twice: low <= r < high.": part(energy, until=torch.le),
        "You measure the radius as the larger of |u| and |v|: it is the root of u^2 + v^2.":
            part(energy, torch.maximum(u.abs(), v.abs()).expand_as(radius)),
        "You measure the radius as |u| + |v|: it is the root of u^2 + v^2.": part(energy, u.abs() + v.abs()),
        "Your radius lacks its root: it is the root of u^2 + v^2.": part(energy, radius.square()),
        "Your radii are in periods per pixel: the edges are in periods per image.": part(energy, radius / size),
        "Your frequencies run from 0 to n - 1. From the middle on they are the negative ones, -n/2 to -1: a wave with "
        "n - 1 periods looks like one with -1.":
            part(energy, torch.hypot(*torch.meshgrid(*[torch.arange(float(size))] * 2, indexing="ij"))),
        "Frequency 0 is left out: it has the radius 0, and its energy counts.": part(away),
        "Frequency 0 is left out of the rings, but not of the sum: its energy counts in both.":
            _in_rings(away, radius, edges) / total,
        "You average the channels before the transform: waves of opposite sign cancel. Add their energies.":
            part(torch.fft.fft2(x.mean(1)).abs().square()),
        "You look at one channel only: add the energies of all.": part(spectrum[:, 0].abs().square()),
    }


def _radius(size: int) -> Tensor:
    """`spectral.radii` in the order of fft2."""
    return torch.fft.ifftshift(spectral.radii(size, size))


def _whole(height: int, width: int) -> tuple[Tensor, Tensor]:
    """u (H, 1) and v (1, W): whole numbers, in the order of fft2."""
    return torch.fft.fftfreq(height, 1 / height).round()[:, None], torch.fft.fftfreq(width, 1 / width).round()[None]


# --- the noise of three networks ----------------------------------------------------------

NETS, CUT = ("fully_connected", "lenet", "mnist_resnet"), 4.5


def three_spectra(share: dict, filtered: dict) -> None:
    """Check the share of each net's noise above the cut-off, and the accuracy once the filter has taken it away."""
    hint.answered(share=share, filtered=filtered)
    for name, given in (("share", share), ("filtered", filtered)):
        hint.require(set(given) == set(NETS), f"`{name}` needs the keys {', '.join(NETS)}.")
        hint.require(all(float(value) <= 1 for value in given.values()),
                     f"A number of `{name}` is in percent, or no mean over the digits: give shares between 0 and 1.")
    x, y, nets, noise = _measured()
    above = {name: _above(noise[name]) for name in NETS}
    for name in NETS:
        right = above[name].mean().item()
        slips = {"That is the share below the cut-off.": 1 - right,
                 "You divided lengths, or took roots: an energy is a sum of squares.": above[name].sqrt().mean().item(),
                 "You measured the images: take the noise alone, adversarial - x.":
                     _above(x + noise[name]).mean().item()}
        slips |= {f"That is the noise of {other}: each network gets its own attack.": above[other].mean().item()
                  for other in NETS if other != name}
        hint.compare(float(share[name]), right, {f"{name!r}: {text}": wrong for text, wrong in slips.items()},
                     f"`share[{name!r}]` is not the mean over the digits of the share of the energy above r = {CUT}.",
                     tolerance=0.008)
    print("ok  three shares of the energy above the cut-off")
    for name in NETS:
        with_it = lambda images: (evaluation.logits(nets[name], images).argmax(1) == y).double().mean().item()
        attacked = x + noise[name]
        right = with_it(_slow(attacked))
        slips = {"That is without the filter: show the network the filtered images.": with_it(attacked),
                 "You filtered the clean digits: filter the attacked ones.": with_it(_slow(x)),
                 "You show what lies above the cut-off: keep what lies below.": with_it(attacked - _slow(attacked)),
                 "That is the share that is wrong: count the digits that are right.": 1 - right}
        hint.compare(float(filtered[name]), right, {f"{name!r}: {text}": wrong for text, wrong in slips.items()},
                     f"`filtered[{name!r}]` is not the share of the fifty digits that is right once their attacked "
                     "images went through the filter, with nothing before or behind it.", tolerance=0.045)
    print("ok  what the filter brings back")


@cache
def _measured() -> tuple:
    """The fifty digits, their labels, the nets, and the noise of PGD on each."""
    digits = data.load("digits", "test")[:50]
    x, y = digits.images, digits.labels
    nets = {name: zoo.pretrained(name, "digits") for name in NETS}
    return x, y, nets, {name: attacks.pgd(net, x, y, eps=1.5, norm="l2", steps=10, random_start=False) - x
                        for name, net in nets.items()}


def _above(images: Tensor) -> Tensor:
    """The share of the energy of each image above the cut-off, (N,)."""
    return _shares(images, [CUT, images.shape[-1]])[:, 0]


def _slow(images: Tensor) -> Tensor:
    return spectral.band(images, 0, CUT)


# --- an alarm --------------------------------------------------------------------------------

class Alarm:
    """Rings for images whose energy at the radius 14 and above is larger than in 95 of 100 clean training digits."""

    radius = 14

    def __init__(self):
        self.limit = self.energy(data.load("digits", "train").images).quantile(0.95).item()

    def energy(self, images: Tensor) -> Tensor:
        """The energy of each image (N, 1, 28, 28) up there, (N,), as a sum of squared pixels."""
        fast = _radius(images.shape[-1]) >= self.radius
        return (_energy(images) * fast).sum((-2, -1)) / images[0, 0].numel()

    def __call__(self, images: Tensor) -> Tensor:
        """(N,): True where it rings."""
        return self.energy(images) > self.limit


ALARM_EPS, GOAL = 0.1, 30


def silent(images) -> None:
    """Check fifty images in the ball around the digits 100 to 149: thirty fool LeNet and do not ring the alarm."""
    images, x, y = hint.fifty_digits(images, ALARM_EPS)
    hint.require((images - x).abs().max() > 1e-4, "These are the clean images.")
    wrong = evaluation.logits(zoo.pretrained("lenet", "digits"), images).argmax(1) != y
    rings = Alarm()(images)
    count = int((wrong & ~rings).sum())
    found = f"{int(wrong.sum())} of 50 images fool LeNet, the alarm rings for {int(rings.sum())}, {count} do both jobs"
    hint.require(wrong.sum() >= GOAL / 2, f"{found}: LeNet reads most of them. Use all of the budget, and more steps.")
    hint.require(count >= GOAL or (wrong & rings).sum() <= 10,
                 f"{found}. The alarm hears every sharp edge: a sign, and also a clamp, makes fast waves out of slow "
                 "ones. Filter once more after the clamp, clamp again, and do both several times in turns; or let the "
                 "loss itself ask for silence.")
    hint.require(count >= GOAL, f"{found}; {GOAL} are asked for. It is quiet enough, but LeNet reads too many: use all "
                                "of the budget, and let more frequencies through.")
    print(f"ok  {count} of 50 images inside the ball fool LeNet, and the alarm stays silent")
