"""The checks of chapter 09 meet the answers that students really give: each known mistake earns its own hint."""

from __future__ import annotations

import math

import pytest
import torch

from advlens import attacks, data, evaluation, spectral, zoo
from advlens.course import checks
from advlens.course.checks import ch09
from wrong_answers import gradient, hint, slips

fft2, fftfreq, fftshift = torch.fft.fft2, torch.fft.fftfreq, torch.fft.fftshift

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


# --- energy in rings ------------------------------------------------------------------

def radius(n):
    f = fftfreq(n, 1 / n)
    return torch.hypot(f[:, None], f)


def size2(x):
    return fft2(x).abs().square()


def rings(weight, of, edges):
    """Sums of weight (N, H, W) over the rings of `of`, (N, R)."""
    parts = [weight * ((low <= of) & (of < high)) for low, high in zip(edges, edges[1:])]
    return torch.stack([part.sum((-2, -1)) for part in parts], -1)


def shares(weight=lambda x: size2(x).sum(1), of=radius):
    """The measure with another weight or another radius."""
    def answer(x, edges):
        w = weight(x)
        return rings(w, of(x.shape[-1]), edges) / w.sum((-2, -1)).unsqueeze(-1)
    return answer


right = shares()


def centred(x, edges):
    """With frequency 0 in the middle, and the library's radii."""
    n = x.shape[-1]
    energy = fftshift(size2(x), (-2, -1)).sum(1)
    return rings(energy, spectral.radii(n, n), edges) / energy.sum((1, 2))[:, None]


def by_parseval(x, edges):
    energy = lambda d: d.square().flatten(1).sum(1)
    return torch.stack([energy(spectral.band(x, low, high)) / energy(x) for low, high in zip(edges, edges[1:])], 1)


def in_a_loop(x, edges):
    return torch.stack([right(image[None], edges)[0] for image in x])


@pytest.mark.parametrize("answer", [right, centred, by_parseval, in_a_loop])
def test_a_right_measure_passes(answer, capsys):
    checks.ring_energy(answer)
    ch09.ring_energy_elsewhere(answer)
    assert capsys.readouterr().out.count("ok") == 3


def energies(x, edges):
    return right(x, edges) * size2(x).sum((1, 2, 3))[:, None]


def upper(x, edges):
    energy, r = size2(x).sum(1), radius(x.shape[-1])
    parts = [(energy * ((low < r) & (r <= high))).sum((1, 2)) for low, high in zip(edges, edges[1:])]
    return torch.stack(parts, 1) / energy.sum((1, 2))[:, None]


def both_edges(x, edges):
    energy, r = size2(x).sum(1), radius(x.shape[-1])
    parts = [(energy * ((low <= r) & (r <= high))).sum((1, 2)) for low, high in zip(edges, edges[1:])]
    return torch.stack(parts, 1) / energy.sum((1, 2))[:, None]


def means(x, edges):
    counted = rings(torch.ones(1, *x.shape[-2:]), radius(x.shape[-1]), edges)
    density = right(x, edges) / counted
    return density / density.sum(1, keepdim=True)


def without_zero(x):
    energy = size2(x).sum(1)
    energy[:, 0, 0] = 0
    return energy


def in_place(x, edges):
    x.sub_(x.mean())
    return right(x, edges)


def along(n):
    f = fftfreq(n, 1 / n)
    return f[:, None], f


@slips({
    "You add up |F(u, v)|. An energy": shares(lambda x: fft2(x).abs().sum(1)),
    "which is for pictures": shares(lambda x: fft2(x).abs().log1p().sum(1)),
    "real part alone": shares(lambda x: fft2(x).real.square().sum(1)),
    "These are energies and no shares": energies,
    "divide by that of the whole": lambda x, e: right(x, e) / right(x, e).sum(1, keepdim=True),
    "larger by the number of pixels": lambda x, e: energies(x, e) / x.square().sum((1, 2, 3))[:, None],
    "square roots of the shares": lambda x, e: right(x, e).sqrt(),
    "a ring with more frequencies holds more": means,
    "All images have the same row": lambda x, e: right(x.transpose(0, 1).flatten(1, 2).reshape(1, -1, *x.shape[-2:]), e)
        .expand(len(x), -1),
    "different orders": shares(of=lambda n: fftshift(radius(n))),
    "fftshift without dim": lambda x, e: rings(fftshift(size2(x)).sum(1), fftshift(radius(x.shape[-1])), e)
        / fftshift(size2(x)).sum((1, 2, 3))[:, None],
    "at the lower edge belongs": upper,
    "on an edge counts twice": both_edges,
    "the larger of |u| and |v|": shares(
        of=lambda n: torch.maximum(along(n)[0].abs(), along(n)[1].abs())),
    "the radius as |u| + |v|": shares(of=lambda n: along(n)[0].abs() + along(n)[1].abs()),
    "lacks its root": shares(of=lambda n: radius(n) ** 2),
    "in periods per pixel": shares(of=lambda n: radius(n) / n),
    "run from 0 to n - 1": shares(of=lambda n: torch.hypot(torch.arange(n)[:, None].float(), torch.arange(n).float())),
    "Frequency 0 is left out: it": shares(without_zero),
    "Frequency 0 is left out of the rings": lambda x, e: rings(without_zero(x), radius(x.shape[-1]), e)
        / size2(x).sum((1, 2, 3))[:, None],
    "You average the channels": shares(lambda x: size2(x.mean(1))),
    "one channel only": shares(lambda x: size2(x)[:, 0]),
    "is complex": shares(lambda x: fft2(x).square().sum(1)),
    "shares for each channel": shares(size2),
    "one row for the whole batch": lambda x, e: right(x, e).mean(0),
    "5 edges make 4 rings": lambda x, e: right(x, [*e, 99]),
    "one column for each of the 4 rings": lambda x, e: right(x, e)[:2],
    "return a tensor (N, R)": lambda x, e: right(x, e).tolist(),
    "holds NaN": lambda x, e: right(x, e) * float("nan"),
    "in place": in_place,
    "A wave with": lambda x, e: right(x.mT.flip(3) * torch.linspace(0, 1, x.shape[-1]), e),
    "library's own solution": lambda x, e: ch09._shares(x, e),
})
def test_ring_energy(words, wrong):
    assert words in hint(checks.ring_energy, wrong)


def test_only_the_hidden_test_meets_large_images():
    small = lambda x, e: right(x, e) if x.shape[-1] < 20 else right(x[..., :20, :20], e)
    checks.ring_energy(small)
    assert "has the radius" in hint(ch09.ring_energy_elsewhere, small)


# --- the noise of three networks -------------------------------------------------------------

@pytest.fixture(scope="module")
def measured():
    """The right answer, and what it is made of."""
    x, y, nets, noise = ch09._measured()
    above = lambda d, power=1: right(d, [4.5, 20]).pow(power).mean().item()
    reads = lambda name, images: (evaluation.logits(nets[name], images).argmax(1) == y).float().mean().item()
    share = {name: above(d) for name, d in noise.items()}
    filtered = {name: reads(name, spectral.band(x + d, 0, 4.5)) for name, d in noise.items()}
    return share, filtered, above, reads, x, noise


def test_the_right_measurement_passes_and_has_something_to_tell(measured, capsys):
    share, filtered, _, reads, x, noise = measured
    checks.three_spectra(share, filtered)
    assert capsys.readouterr().out.count("ok") == 2
    brought = {name: filtered[name] - reads(name, x + noise[name]) for name in noise}
    assert share["mnist_resnet"] > 2 * share["fully_connected"] and max(share.values()) < 0.5
    assert brought["mnist_resnet"] > max(brought["fully_connected"], brought["lenet"]) + 0.1
    assert min(brought.values()) > 0  # the second half of letter b is wrong for each
    assert min(reads(name, x) for name in noise) >= 0.98


RES, FC = "mnist_resnet", "fully_connected"


@slips({
    "not measured yet": lambda s, f, *m: (s | {RES: None}, f),
    "`share` needs the keys": lambda s, f, *m: ({RES: 0.4}, f),
    "`filtered` needs the keys": lambda s, f, *m: (s, {"lenet": 0.2}),
    "in percent": lambda s, f, *m: ({k: 100 * v for k, v in s.items()}, f),
    "'lenet': That is the share below": lambda s, f, *m: (s | {"lenet": 1 - s["lenet"]}, f),
    "You divided lengths": lambda s, f, above, r, x, noise: (s | {"lenet": above(noise["lenet"], 0.5)}, f),
    "take the noise alone": lambda s, f, above, r, x, noise: (s | {RES: above(x + noise[RES])}, f),
    "'lenet': That is the noise of mnist_resnet": lambda s, f, *m: (s | {"lenet": s[RES]}, f),
    "`share['lenet']` is not": lambda s, f, *m: (s | {"lenet": 0.33}, f),
    "without the filter": lambda s, f, a, reads, x, noise: (s, f | {RES: reads(RES, x + noise[RES])}),
    "filtered the clean digits": lambda s, f, a, reads, x, noise: (s, f | {RES: reads(RES, spectral.band(x, 0, 4.5))}),
    "what lies above": lambda s, f, a, reads, x, noise: (s, f | {FC: reads(FC, spectral.band(x + noise[FC], 4.5, 99))}),
    "share that is wrong": lambda s, f, *m: (s, f | {FC: 1 - f[FC]}),
    "`filtered['mnist_resnet']` is not": lambda s, f, *m: (s, f | {RES: 0.75}),
})
def test_three_spectra(words, wrong, measured):
    assert words in hint(checks.three_spectra, *wrong(*measured))


# --- a silent attack ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def fifty():
    digits = data.load("digits", "test")[100:150]
    return digits.images, digits.labels, zoo.pretrained("lenet", "digits")


def walk(x, y, net, *, steps=20, high=9, turns=5, eps=0.1, silence=0.0):
    """Steps along the slow part of the gradient; then filter and clamp in turns."""
    inside = lambda change: (x + change.clamp(-eps, eps)).clamp(0, 1) - x
    change = torch.zeros_like(x)
    for _ in range(steps):
        slow = spectral.band(gradient(net, x + change, y), 0, high)
        step = 0.4 * slow / slow.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        change = inside(change + step - silence * spectral.band(change, 13.9, 99))
    for _ in range(turns):
        change = inside(spectral.band(change, 0, 13))
    return (x + change).clamp(0, 1)


@pytest.mark.parametrize("answer", [walk, lambda *all: walk(*all, high=6),
                                    lambda *all: walk(*all, high=99, silence=1.0, turns=2)])
def test_a_silent_attack_passes(answer, fifty, capsys):
    checks.silent(answer(*fifty))
    assert "the alarm stays silent" in capsys.readouterr().out


@slips({
    "not measured yet": lambda x, y, net: None,
    "return a tensor": lambda x, y, net: x.numpy(),
    "has shape": lambda x, y, net: x[:40],
    "Pixels leave [0, 1]": lambda x, y, net: x - 0.05,
    "clean images": lambda x, y, net: x,
    "stay in the ball": lambda x, y, net: walk(x, y, net, eps=0.2),
    "in their order": lambda x, y, net: walk(x, y, net).flip(0),
    "LeNet reads most of them": lambda x, y, net: walk(x, y, net, eps=0.03),
    "Filter once more after the clamp": lambda x, y, net: walk(x, y, net, turns=0),
    "hears every sharp edge": lambda x, y, net: attacks.pgd(net, x, y, eps=0.1, steps=10, random_start=False),
    "It is quiet enough": lambda x, y, net: walk(x, y, net, eps=0.075),
})
def test_silent(words, wrong, fifty):
    assert words in hint(checks.silent, wrong(*fifty))


def test_the_alarm_is_as_the_sheet_tells_it(fifty):
    """It hears FGSM and PGD, and few clean digits; a lower limit would not hear the silent attack either."""
    x, y, net = fifty
    alarm = checks.Alarm()
    assert alarm(attacks.fgsm(net, x, y, eps=0.1)).sum() >= 45
    assert alarm(attacks.pgd(net, x, y, eps=0.1, steps=10, random_start=False)).sum() >= 45
    assert alarm(data.load("digits", "test").images).float().mean() < 0.1
    assert alarm.energy(x) == pytest.approx(spectral.band(x, 14, 99).square().sum((1, 2, 3)), rel=1e-3)
    assert alarm.energy(walk(x, y, net)).median() < 2 * alarm.energy(x).median()
