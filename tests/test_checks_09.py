"""The checks of chapter 09 meet the answers that students really give: each known mistake earns its own hint."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from advlens import attacks, data, evaluation, spectral, zoo
from advlens.course import checks
from advlens.course.checks import ch09
from wrong_answers import gradient, hint, slips

fft2, ifft2, fftfreq = torch.fft.fft2, torch.fft.ifft2, torch.fft.fftfreq

# --- the pencil ------------------------------------------------------------------

PENCIL = {"sizes": [7, 5, 1, 5], "energy": (25, 100), "share": 0.51, "mean": [1, 0.71, 0],
          "difference": [0, math.sqrt(2), 2], "chain": [0, 1, 0]}


def test_the_frequencies_by_hand_pass(capsys):
    checks.four_frequencies(lambda: PENCIL)
    assert "the frequencies of four pixels" in capsys.readouterr().out


@slips({
    "A size is never negative": {"sizes": [7, 5, -1, 5]},
    "left the imaginary parts out": {"sizes": [7, 3, 1, 3]},
    "not the sum of p and q": {"sizes": [7, 7, 1, 7]},
    "squares of the sizes": {"sizes": [49, 25, 1, 25]},
    "You divided by 4": {"sizes": [1.75, 1.25, 0.25, 1.25]},
    "k runs from 0 to 3": {"sizes": [7, 5, 1]},
    "'sizes' holds something that is no number": {"sizes": [7, 3 - 4j, -1, 3 + 4j]},
    "'sizes' is not right yet: it takes 4 numbers": {"sizes": [7, 4, 1, 4]},
    "Square each size first": {"energy": (25, 18)},
    "Square each pixel first": {"energy": (7, 100)},
    "an energy has no root": {"energy": (5, 10)},
    "Frequency 3 has energy": {"energy": (25, 75)},
    "First the row": {"energy": (100, 25)},
    "share of frequency 0": {"share": 0.49},
    "a share of the sizes": {"share": 0.61},
    "a number between 0 and 1": {"share": 51},
    "the same stripe as frequency 1": {"share": 0.26},
    "'share' is not right yet: it takes 1 number.": {"share": [0.51]},
    "forgot the factor 1/2": {"mean": [2, 1.41, 0]},
    "root of 1/4 + 1/4": {"mean": [1, 0.5, 0]},
    "no sum of the two halves": {"mean": [1, 1, 0]},
    "'mean': That is the other way round": {"mean": [0, 0.71, 1]},
    "its size is a root": {"difference": [0, 1, 2]},
    "the root of 1 + 1": {"difference": [0, 2, 2]},
    "squares of the gains": {"difference": [0, 2, 4]},
    "neighbours that are equal": {"difference": [2, 1.41, 0]},
    "Gains do not add up": {"chain": [1, 2.12, 2]},
    "Take no mean of the gains": {"chain": [0.5, 1.06, 1]},
    "the difference alone": {"chain": [0, 1.41, 2]},
})
def test_four_frequencies(words, wrong):
    assert words in hint(checks.four_frequencies, lambda: PENCIL | wrong)


def test_a_warm_up_that_is_not_written_says_so():
    def unwritten():
        raise NotImplementedError

    assert "unwritten is not written yet" in hint(checks.four_frequencies, unwritten)
    assert "'chain' is missing" in hint(checks.four_frequencies, lambda: {k: PENCIL[k] for k in PENCIL if k != "chain"})


def test_torch_finds_what_the_pencil_finds():
    sizes = lambda *row: torch.fft.fft(torch.tensor(row, dtype=torch.float64)).abs()
    row, mean, difference = sizes(3, 4, 0, 0), sizes(0.5, 0.5, 0, 0)[:3], sizes(1, -1, 0, 0)[:3]
    near = lambda a, key: torch.testing.assert_close(a, torch.as_tensor(PENCIL[key], dtype=a.dtype), atol=6e-3, rtol=0)
    near(row, "sizes"), near(mean, "mean"), near(difference, "difference"), near(mean * difference, "chain")
    assert 1 - row[0] ** 2 / row.square().sum() == pytest.approx(PENCIL["share"])


# --- a low-pass filter ------------------------------------------------------------------

def whole(x):
    height, width = x.shape[-2:]
    return fftfreq(height, 1 / height)[:, None], fftfreq(width, 1 / width)


def where(rule):
    """The filter that keeps the frequencies with rule(u, v, r)."""
    return lambda x, r: ifft2(fft2(x) * rule(*whole(x), r)).real


def disc(u, v, r):
    return u ** 2 + v ** 2 <= r ** 2


right = where(disc)


def shifted(x, r):
    """Another right way: with frequency 0 in the middle."""
    u, v = (torch.fft.fftshift(t, (-2, -1)[:t.ndim]) if t.ndim == 2 else torch.fft.fftshift(t) for t in whole(x))
    spectrum = torch.fft.fftshift(fft2(x), (-2, -1)) * disc(u, v, r)
    return ifft2(torch.fft.ifftshift(spectrum, (-2, -1))).real


def half(x, r):
    """And another: the half of the spectrum that a real image needs."""
    height, width = x.shape[-2:]
    u, v = fftfreq(height, 1 / height)[:, None], torch.fft.rfftfreq(width, 1 / width)
    return torch.fft.irfft2(torch.fft.rfft2(x) * disc(u, v, r), s=(height, width))


def by_pixel(x, r):
    """Multiplied afterwards: rounding leaves u = 2.9999998."""
    height, width = x.shape[-2:]
    return ifft2(fft2(x) * disc(height * fftfreq(height)[:, None], width * fftfreq(width), r)).real


@pytest.mark.parametrize("answer", [right, shifted, half, by_pixel])
def test_a_right_filter_passes(answer, capsys):
    checks.low_pass(answer)
    ch09.low_pass_elsewhere(answer)
    assert capsys.readouterr().out.count("ok") == 2


def middle(x, r, back):
    """A disc around the middle; the spectrum is shifted there, and back by `back`."""
    height, width = x.shape[-2:]
    u, v = torch.arange(height)[:, None] - height // 2, torch.arange(width) - width // 2
    return back(torch.fft.fftshift(fft2(x), (-2, -1)) * disc(u, v, r))


def unshifted(x, r):
    height, width = x.shape[-2:]
    u, v = torch.arange(height)[:, None] - height // 2, torch.arange(width) - width // 2
    return ifft2(fft2(x) * disc(u, v, r)).real


def in_place(x, r):
    answer = right(x, r)
    x.zero_()
    return answer


@slips({
    "periods per pixel": lambda x, r: ifft2(
        fft2(x) * disc(fftfreq(x.shape[-2])[:, None], fftfreq(x.shape[-1]), r)).real,
    "that is a high-pass": lambda x, r: x - right(x, r),
    "Take both the same way": unshifted,
    "did not shift it back": lambda x, r: middle(x, r, lambda s: ifft2(s).real),
    "You shifted forth twice": lambda x, r: middle(x, r, lambda s: ifft2(torch.fft.fftshift(s, (-2, -1))).real),
    "You keep a square": where(lambda u, v, r: (u.abs() <= r) & (v.abs() <= r)),
    "You keep a diamond": where(lambda u, v, r: u.abs() + v.abs() <= r),
    "left the edge out": where(lambda u, v, r: u ** 2 + v ** 2 < r ** 2),
    "square the radius too": where(lambda u, v, r: u ** 2 + v ** 2 <= r),
    "not its diameter": where(lambda u, v, r: disc(u, v, r / 2)),
    "Frequency 0, the mean": where(lambda u, v, r: disc(u, v, r) & (u ** 2 + v ** 2 > 0)),
    "Only frequencies with positive": where(lambda u, v, r: disc(u, v, r) & (u >= 0) & (v >= 0)),
    "-k stands at entry n - k": lambda x, r: ifft2(
        fft2(x) * disc(torch.arange(x.shape[-2])[:, None], torch.arange(x.shape[-1]), r)).real,
    "two numbers, u down": where(lambda u, v, r: (v ** 2 + 0 * u) <= r ** 2),
    "u down as well as v": where(lambda u, v, r: (u ** 2 + 0 * v) <= r ** 2),
    "absolute value": lambda x, r: right(x, r).abs(),
    "You clamp": lambda x, r: right(x, r).clamp(0, 1),
    "mean over the channels": lambda x, r: right(x, r).mean(1, keepdim=True).expand_as(x),
    "mean over the batch": lambda x, r: right(x, r).mean(0, keepdim=True).expand_as(x),
    "with the same `norm`": lambda x, r: ifft2(fft2(x) * disc(*whole(x), r), norm="ortho").real,
    "too small: fft2": lambda x, r: ifft2(fft2(x, norm="ortho") * disc(*whole(x), r)).real,
    "takes the shorter side": lambda x, r: spectral.band(x, 0, r + 1e-4),
    "all periods along its height": lambda x, r: ifft2(
        fft2(x) * disc(whole(x)[0], x.shape[-2] * fftfreq(x.shape[-1]), r)).real,
    "all periods along its width": lambda x, r: ifft2(
        fft2(x) * disc(x.shape[-1] * fftfreq(x.shape[-2])[:, None], whole(x)[1], r)).real,
    "is complex": lambda x, r: ifft2(fft2(x) * disc(*whole(x), r)),
    "in place": in_place,
    "return a tensor": lambda x, r: right(x, r).numpy(),
    "has shape": lambda x, r: right(x, r)[:1],
    "come back at 0.50 of their contrast": lambda x, r: right(x, r) / 2,
    "library's own solution": lambda x, r: checks.LowPass(r)(x),
})
def test_low_pass(words, wrong):
    assert words in hint(checks.low_pass, wrong)


def test_only_the_hidden_test_meets_other_sizes():
    only_small = lambda x, r: right(x, r if x.shape[-1] < 20 else r + 1)
    checks.low_pass(only_small)
    assert "come back at" in hint(ch09.low_pass_elsewhere, only_small)


# --- where noise has its energy -------------------------------------------------------------

def energy_above(d, r=4.5, power=2):
    kept = right(d, r).flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1)
    return (1 - kept ** 2).pow(power / 2).mean().item()


@pytest.fixture(scope="module")
def measured():
    """The right answer, and what it is made of."""
    x, y, net, noise, mixed = ch09._measured()
    accuracy = lambda images: (evaluation.logits(net, images).argmax(1) == y).float().mean().item()
    share = {"digits": energy_above(x), "noise": energy_above(noise), "shuffled": energy_above(mixed)}
    right_with = {"attacked": accuracy(x + noise), "shuffled": accuracy((x + mixed).clamp(0, 1)),
                  "filtered": accuracy(right(x + noise, 4.5))}
    return share, right_with, accuracy


def test_the_right_measurement_passes_and_has_something_to_tell(measured, capsys):
    share, accuracy, _ = measured
    checks.high_share(share, accuracy)
    assert capsys.readouterr().out.count("ok") == 2
    assert share["digits"] < share["noise"] / 2 < 0.15 and share["shuffled"] > 0.8  # both halves of the letter
    assert accuracy["attacked"] + 0.1 < accuracy["filtered"] < 0.6 < accuracy["shuffled"]


X, Y, NET, NOISE, MIXED = range(5)


@slips({
    "not measured yet": lambda s, a, m: (s | {"noise": None}, a),
    "`share` needs the keys": lambda s, a, m: ({"noise": 0.1}, a),
    "`accuracy` needs the keys": lambda s, a, m: (s, {"attacked": 0.1}),
    "in percent": lambda s, a, m: ({k: 100 * v for k, v in s.items()}, a),
    "`accuracy` is in percent": lambda s, a, m: (s, {k: 100 * v for k, v in a.items()}),
    "'noise': That is the share below": lambda s, a, m: (s | {"noise": 1 - s["noise"]}, a),
    "'shuffled': That is the share of the frequencies": lambda s, a, m: (s | {"shuffled": 0.912}, a),
    "You divided lengths": lambda s, a, m: (s | {"noise": energy_above(ch09._measured()[NOISE], power=1)}, a),
    "take the noise alone": lambda s, a, m: (s | {"noise": energy_above(sum(ch09._measured()[i] for i in (X, NOISE)))},
                                             a),
    "'noise': That is the share of the shuffled": lambda s, a, m: (s | {"noise": s["shuffled"]}, a),
    "'shuffled': That is the share of the noise": lambda s, a, m: (s | {"shuffled": s["noise"]}, a),
    "'digits': That is the share of the noise": lambda s, a, m: (s | {"digits": s["noise"]}, a),
    "`share['noise']` is not": lambda s, a, m: (s | {"noise": 0.4}, a),
    "'attacked': That is the success": lambda s, a, m: (s, a | {"attacked": 1 - a["attacked"]}),
    "'attacked': That is the accuracy on the clean": lambda s, a, m: (s, a | {"attacked": m(ch09._measured()[X])}),
    "shuffle the noise, and add it": lambda s, a, m: (s, a | {"shuffled": m(ch09._mixed(attacked()))}),
    "You filtered the noise alone": lambda s, a, m: (s, a | {"filtered": m(
        (ch09._measured()[X] + right(ch09._measured()[NOISE], 4.5)).clamp(0, 1))}),
    "You clamped what": lambda s, a, m: (s, a | {"filtered": m(right(attacked(), 4.5).clamp(0, 1))}),
    "You filtered the clean digits": lambda s, a, m: (s, a | {"filtered": m(right(ch09._measured()[X], 4.5))}),
    "That is without the filter": lambda s, a, m: (s, a | {"filtered": a["attacked"]}),
    "keep what lies below": lambda s, a, m: (s, a | {"filtered": m(attacked() - right(attacked(), 4.5))}),
    "`accuracy['filtered']` is not": lambda s, a, m: (s, a | {"filtered": 0.8}),
})
def test_high_share(words, wrong, measured):
    assert words in hint(checks.high_share, *wrong(*measured))


def attacked():
    return ch09._measured()[X] + ch09._measured()[NOISE]


# --- under the filter ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def fifty():
    digits = data.load("digits", "test")[100:150]
    return 0.2 + 0.6 * digits.images, digits.labels, zoo.pretrained("lenet", "digits")


def norms(d):
    return d.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]


def walk(x, y, net, *, steps=20, radius=4, eps=1.0, through=lambda z: z):
    """PGD in the l2 norm, with steps below the cut-off."""
    change = torch.zeros_like(x)
    for _ in range(steps):
        step = right(gradient(lambda z: net(through(z)), x + change, y), radius)
        change = change + eps / 5 * step / norms(step)
        change = change / (norms(change) / eps).clamp_min(1)
    return x + change


class Confined(torch.nn.Module):
    """The network as a function of an image whose change is filtered first."""

    def __init__(self, net, x):
        super().__init__()
        self.net, self.x = net, x

    def forward(self, z):
        return self.net(self.x + right(z - self.x, 4))


def with_the_library(x, y, net):
    found = attacks.pgd(Confined(net, x), x, y, eps=1.0, norm="l2", steps=20, random_start=False, first_success=False)
    return x + right(found - x, 4)


def behind(x, y, net):
    return walk(x, y, net, through=lambda z: right(z, 4))


def low_noise(x, y, net):
    change = right(torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), 4)
    return x + change / norms(change)


@pytest.mark.parametrize("answer", [walk, with_the_library])
def test_a_change_under_the_filter_passes(answer, fifty, capsys):
    checks.under_the_filter(answer(*fifty))
    assert "with and without the filter" in capsys.readouterr().out


@slips({
    "not measured yet": lambda x, y, net: None,
    "return a tensor": lambda x, y, net: x.numpy(),
    "has shape": lambda x, y, net: x[:40],
    "Pixels leave [0, 1]": lambda x, y, net: x - 0.5,
    "clean images": lambda x, y, net: x,
    "You filtered the images": lambda x, y, net: right(walk(x, y, net, eps=0.6), 4),
    "and 1 is allowed": lambda x, y, net: walk(x, y, net, eps=1.3),
    "in their order": lambda x, y, net: walk(x, y, net).flip(0),
    "lies above r = 4": lambda x, y, net: attacks.pgd(net, x, y, eps=1.0, norm="l2", steps=20, random_start=False),
    "a sign, a clamp": lambda x, y, net: x + 1 / 28 * right(gradient(net, x, y), 4).sign(),
    "hardly more than the filter spoils": low_noise,
    "it reacts in another way without it": behind,
    "Use all of the length": lambda x, y, net: walk(x, y, net, eps=0.7),
})
def test_under_the_filter(words, wrong, fifty):
    assert words in hint(checks.under_the_filter, wrong(*fifty))


def test_the_task_is_as_the_sheet_tells_it(fifty):
    """An attack that does not know the filter is weakened by it; a radius of 2 spoils the clean digits."""
    x, y, net = fifty
    count = lambda images: int((evaluation.logits(net, images).argmax(1) == y).sum())
    oblivious = attacks.pgd(net, x, y, eps=1.0, norm="l2", steps=20, random_start=False)
    assert count(right(oblivious, 4)) > count(oblivious) + 5
    assert count(x) >= 48 and count(right(x, 4)) >= 42 and count(right(x, 2)) < 15
    slope = gradient(lambda z: net(right(z, 4)), x, y, reduction="sum")
    assert slope.flatten(1).abs().amax(1).min() > 0 and F.mse_loss(right(slope, 4), slope) < 1e-9  # the letter c
