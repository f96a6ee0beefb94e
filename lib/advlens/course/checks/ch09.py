"""Checks of chapter 09: frequencies with a pencil, a low-pass filter, where noise has its energy, what passes."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from advlens import attacks, data, evaluation, zoo
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


# --- a low-pass filter ----------------------------------------------------------------

class LowPass(nn.Module):
    """Keeps the frequencies (u, v) of an image with u^2 + v^2 <= radius^2, in periods per image."""

    def __init__(self, radius: float):
        super().__init__()
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:
        return _through(x, _disc(*x.shape[-2:], self.radius))


def low_pass(function) -> None:
    """Check `function(images, r)`: it keeps the frequencies with u^2 + v^2 <= r^2, and nothing else."""
    noise = _noise(3, 2, 8, 8)
    before = noise.clone()
    got = hint.call(function, noise, 2.5)
    hint.require(torch.equal(noise, before), "You changed the images of your caller in place.")
    hint.require(not (isinstance(got, Tensor) and got.is_complex()),
                 "The result is complex: its imaginary part is rounding error alone, so return the real part, .real.")
    for radius in (2.5, 3, 0):
        _filters(function, noise, radius)
    print("ok  frequencies inside the disc stay, all others are gone")
    for shape in ((9, 9), (7, 12), (11, 6)):
        _filters(function, _noise(2, 3, *shape), 2.5)
    print("ok  of odd and even size, square or not")


def low_pass_elsewhere(function) -> None:
    """The same on the colour images, with radii from nothing but the mean to everything."""
    shapes = data.load("shapes", "test")[:6].images
    for x, radii in ((shapes, (0, 1, 5, 50)), (shapes[:, :, :27, :31], (0.5, 4.6, 7.3))):
        for radius in radii:  # on odd sizes no frequency lies on the edge, where rounding would decide
            _filters(function, x, radius)


def _noise(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(0)) / 4


def _filters(function, x: Tensor, radius: float) -> None:
    got = hint.images(hint.call(function, x, radius), x)
    keep = _disc(*x.shape[-2:], radius)
    right = _through(x, keep)
    if not hint.close(got, right):
        hint.compare(got, right, _slips(x, radius, keep), _wrong_stripes(function, *x.shape[-2:], radius))


def _wrong_stripes(function, height: int, width: int, radius: float) -> str:
    """Which stripes do not come back as they should?"""
    u, v = (t.flatten() for t in torch.broadcast_tensors(*_whole(height, width)))
    y, x = torch.arange(height)[:, None] / height, torch.arange(width) / width
    stripes = torch.cos(2 * math.pi * (u.view(-1, 1, 1) * y + v.view(-1, 1, 1) * x) + 0.4)[:, None]
    back = hint.images(hint.call(function, stripes, radius), stripes)
    gain = (back * stripes).sum((1, 2, 3)) / stripes.square().sum((1, 2, 3))
    worst = (gain - (u ** 2 + v ** 2 <= radius ** 2).float()).abs().argmax().item()
    return (f"On {height} x {width} pixels with r = {radius}, stripes with {u[worst]:.0f} periods down and "
            f"{v[worst]:.0f} across come back at {gain[worst]:.2f} of their contrast. Inside the disc it should be 1, "
            "outside 0.")


def _slips(x: Tensor, radius: float, keep: Tensor) -> dict:
    """What a filter does that is not quite this one: {hint: its result}."""
    height, width = x.shape[-2:]
    u, v = _whole(height, width)
    right, spectrum = _through(x, keep), torch.fft.fft2(x)
    middle = (torch.arange(height)[:, None] - height // 2) ** 2 + (torch.arange(width) - width // 2) ** 2
    shift = torch.fft.fftshift
    both = (-2, -1)
    centred = shift(spectrum, both) * (middle <= radius ** 2)
    by_pixel = (u / height) ** 2 + (v / width) ** 2
    near = lambda distance: _through(x, distance <= radius ** 2)
    return {
        "All images come back as they were: fftfreq counts periods per pixel. Multiply by the number of pixels.": x,
        "You keep what lies outside the disc: that is a high-pass.": x - right,
        "The centre of your disc and that of the spectrum differ: fft2 puts frequency 0 into the corner, and "
        "fftshift into the middle. Take both the same way.": torch.fft.ifft2(spectrum * (middle <= radius ** 2)).real,
        "You shifted the spectrum, and did not shift it back before ifft2.": torch.fft.ifft2(centred).real,
        "You shifted forth twice. The way back is ifftshift: on odd sizes the two differ.":
            torch.fft.ifft2(shift(centred, both)).real,
        "You keep a square: |u| <= r and |v| <= r. A disc has u^2 + v^2 <= r^2.":
            _through(x, (u.abs() <= radius) & (v.abs() <= radius)),
        "You keep a diamond: |u| + |v| <= r. A disc has u^2 + v^2 <= r^2.": _through(x, u.abs() + v.abs() <= radius),
        "You left the edge out: frequencies with u^2 + v^2 = r^2 belong to the disc.":
            _through(x, u ** 2 + v ** 2 < radius ** 2),
        "u^2 + v^2 is compared with r: square the radius too.": _through(x, u ** 2 + v ** 2 <= radius),
        "r is the radius of the disc, not its diameter.": near(4 * (u ** 2 + v ** 2)),
        "Frequency 0, the mean of the image, is gone: it lies inside the disc.": right - x.mean(both, keepdim=True),
        "Only frequencies with positive u and v are left. Each stripe has two entries, (u, v) and (-u, -v), and the "
        "negative frequency -k stands at entry n - k: fftfreq knows.": _through(x, keep & (u >= 0) & (v >= 0)),
        "You filter along one direction only: a frequency has two numbers, u down and v across.": near(v ** 2 + 0 * u),
        "You filter along one direction only: there is u down as well as v across.": near(u ** 2 + 0 * v),
        "You take the absolute value. The filtered noise has negative pixels: take the real part, .real.": right.abs(),
        "You clamp to [0, 1]. The function must also filter noise, which has negative pixels.": right.clamp(0, 1),
        "You filter the mean over the channels: each channel on its own.": right.mean(1, keepdim=True).expand_as(x),
        "You filter the mean over the batch: each image on its own.": right.mean(0, keepdim=True).expand_as(x),
        "The result is n times too small or too large: fft2 and ifft2 with the same `norm`.":
            right * math.sqrt(height * width),
        "The result is n times too small: fft2 and ifft2 with the same `norm`.": right / math.sqrt(height * width),
        "The image is not square, and you count all periods along its height (`spectral.band` takes the shorter side). "
        "Here u is counted along the height and v along the width.": near(by_pixel * height ** 2),
        "The image is not square, and you count all periods along its width (`spectral.band` takes the shorter side). "
        "Here u is counted along the height and v along the width.": near(by_pixel * width ** 2),
    }


def _through(x: Tensor, keep: Tensor) -> Tensor:
    return torch.fft.ifft2(torch.fft.fft2(x) * keep.to(x.device)).real


def _disc(height: int, width: int, radius: float) -> Tensor:
    u, v = _whole(height, width)
    return u ** 2 + v ** 2 <= radius ** 2


def _whole(height: int, width: int) -> tuple[Tensor, Tensor]:
    """u (H, 1) and v (1, W): whole numbers, in the order of fft2."""
    return torch.fft.fftfreq(height, 1 / height).round()[:, None], torch.fft.fftfreq(width, 1 / width).round()[None]


# --- where noise has its energy ----------------------------------------------------------

CUT, NOISE_EPS = 4.5, 1.5


def high_share(share: dict, accuracy: dict) -> None:
    """Check the shares of the energy above the cut-off, and the accuracies of the fully connected net."""
    hint.answered(share=share, accuracy=accuracy)
    for name, given, keys in (("share", share, ("digits", "noise", "shuffled")),
                              ("accuracy", accuracy, ("attacked", "shuffled", "filtered"))):
        hint.require(set(given) == set(keys), f"`{name}` needs the keys {', '.join(keys)}.")
        hint.require(all(float(value) <= 1 for value in given.values()),
                     f"A number of `{name}` is in percent, or no mean over the digits: give shares between 0 and 1.")
    x, y, net, noise, mixed = _measured()
    shown = {"digits": x, "noise": noise, "shuffled": mixed}
    above = {name: _above(images, CUT) for name, images in shown.items()}
    counted = (~_disc(*x.shape[-2:], CUT)).double().mean().item()
    for name in shown:
        got, right = float(share[name]), above[name].mean().item()
        others = {f"That is the share of {text}.": above[other].mean().item() for other, text in
                  (("digits", "the clean digits"), ("noise", "the noise"), ("shuffled", "the shuffled noise"))
                  if other != name}
        hint.compare(got, right, {f"{name!r}: {text}": wrong for text, wrong in {
            "That is the share below the cut-off.": 1 - right,
            "You divided lengths: an energy is a sum of squares.": above[name].sqrt().mean().item(),
            "You measured the attacked images: take the noise alone, adversarial - x.":
                _above(x + shown[name], CUT).mean().item(),
            "That is the share of the frequencies, each counted once: weigh them by their energy.": counted,
            **others,
        }.items()}, f"`share[{name!r}]` is not the mean over the digits of the share of the energy above r = {CUT}.",
            tolerance=5e-3)
    print("ok  three shares of the energy above the cut-off")
    right_with = lambda images: (evaluation.logits(net, images).argmax(1) == y).double().mean().item()
    right = {"attacked": right_with(x + noise), "shuffled": right_with((x + mixed).clamp(0, 1)),
             "filtered": right_with(_kept(x + noise))}
    mistakes = {
        "attacked": {"That is the accuracy on the clean digits.": right_with(x)},
        "shuffled": {"You shuffled the attacked images: shuffle the noise, and add it to the digits.":
                     right_with(_mixed(x + noise))},
        "filtered": {"You filtered the noise alone: the filter meets the attacked image as it is.":
                     right_with((x + _kept(noise)).clamp(0, 1)),
                     "You clamped what the filter gives: show it to the network as it is.":
                     right_with(_kept(x + noise).clamp(0, 1)),
                     "You filtered the clean digits: filter the attacked ones.": right_with(_kept(x)),
                     "That is without the filter.": right["attacked"],
                     "You show what lies above the cut-off: keep what lies below.":
                     right_with(x + noise - _kept(x + noise))},
    }
    for name, value in right.items():
        slips = {"That is the success of the attack: count the digits that are classified right.": 1 - value,
                 **mistakes[name]}
        hint.compare(float(accuracy[name]), value, {f"{name!r}: {text}": wrong for text, wrong in slips.items()},
                     f"`accuracy[{name!r}]` is not the share of the hundred digits that is classified right.",
                     tolerance=0.025)
    print("ok  what the attack, its pixels in another order, and the filter do to the accuracy")


@cache
def _measured() -> tuple:
    """The hundred digits, their labels, the net, the noise of the task, and the noise with its pixels shuffled."""
    digits, net = data.load("digits", "test")[:100], zoo.pretrained("fully_connected", "digits")
    x, y = digits.images, digits.labels
    noise = attacks.pgd(net, x, y, eps=NOISE_EPS, norm="l2", steps=20, random_start=False) - x
    return x, y, net, noise, _mixed(noise)


def _mixed(images: Tensor) -> Tensor:
    order = torch.randperm(images[0].numel(), generator=torch.Generator().manual_seed(0))
    return images.flatten(1)[:, order].view_as(images)


def _kept(images: Tensor) -> Tensor:
    return _through(images, _disc(*images.shape[-2:], CUT))


def _above(images: Tensor, radius: float) -> Tensor:
    """The share of the energy of each image above the radius, (N,)."""
    kept = _through(images.double(), _disc(*images.shape[-2:], radius))
    return 1 - kept.flatten(1).square().sum(1) / images.double().flatten(1).square().sum(1).clamp_min(1e-30)


# --- under the filter ------------------------------------------------------------------------

RADIUS, LENGTH, GOAL, RIPPLE = 4, 1.0, 43, 1e-4


def under_the_filter(images) -> None:
    """Check fifty images: a change of length 1 at most, below the cut-off, that fools LeNet with and without filter."""
    hint.answered(images=images)
    digits = data.load("digits", "test")[100:150]
    x, y = 0.2 + 0.6 * digits.images, digits.labels
    images = hint.images(images, x)
    hint.require(images.min() >= 0 and images.max() <= 1,
                 f"Pixels leave [0, 1] ({images.min():.2f} to {images.max():.2f}). The greys leave room for a change "
                 "of 0.2: is the length at most 1?")
    change = images - x
    hint.require(change.flatten(1).norm(dim=1).max() > 1e-3, "These are the clean images.")
    filtered = LowPass(RADIUS)
    hint.require(not torch.allclose(filtered(images), images, atol=1e-4),
                 "You filtered the images: then the change holds all that the filter took from the digit. Filter the "
                 "change alone, and add it to x.")
    length = change.flatten(1).norm(dim=1).max().item()
    hint.require(length <= LENGTH + 1e-3, f"A change has the length {length:.2f}, and {LENGTH:.0f} is allowed. The "
                                          "images are the grey digits 100 to 149, in their order.")
    share = _above(change, RADIUS).max().item()
    hint.require(share <= RIPPLE, f"In one image {share:.1%} of the energy of the change lies above r = {RADIUS}. "
                                  "Filter each gradient before the step; a sign, a clamp or a random start after it "
                                  "brings high frequencies back.")
    lenet = zoo.pretrained("lenet", "digits")
    wrong = lambda shown: evaluation.logits(lenet, shown).argmax(1) != y
    plain, behind = wrong(images), wrong(filtered(images))
    found = (f"{int(plain.sum())} of 50 images fool LeNet alone, {int(behind.sum())} behind the filter, and "
             f"{int((plain & behind).sum())} both ways")
    hint.require(max(plain.sum(), behind.sum()) > 15,
                 f"{found}: hardly more than the filter spoils by itself. Walk up the loss, in several steps, along "
                 "the part of the gradient that lies below the cut-off.")
    hint.require(behind.sum() - plain.sum() < 8 or plain.sum() >= GOAL,
                 f"{found}. You attacked the network behind the filter, and it reacts in another way without it: take "
                 "the gradient of the network alone, or of both.")
    both = int((plain & behind).sum())
    hint.require(both >= GOAL, f"{found}; {GOAL} are asked for. Use all of the length: normalise each step, and walk "
                               "on when the image is fooled already.")
    print(f"ok  {both} of 50 images are wrong with and without the filter, by a change that passes it")
