"""Transfer functions against what is known exactly, and the spectra around them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlens.jpeg import JPEG
from advlens.layers import Normalize, Scale
from advlens.spectral import band, frequencies, log_spectrum, radial_average, radii, sinusoids, transfer_function

SHAPES = [(1, 6, 6), (1, 7, 5), (3, 5, 8), (2, 2, 3)]


def circular(shape, filters=4, size=3, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Conv2d(shape[0], filters, size, padding=size // 2, padding_mode="circular").double()


def gain(conv, shape):
    """|FFT| of each filter (K, H, W), frequency 0 in the middle; all C channels hear the same wave."""
    spectrum = torch.fft.fft2(conv.weight.detach().sum(1), s=shape[1:]).abs() / math.sqrt(shape[0])
    return torch.fft.fftshift(spectrum, dim=(-2, -1))


# --- waves -----------------------------------------------------------------------

def test_frequencies_are_those_of_the_shifted_fft():
    for height, width in ((4, 5), (7, 6)):
        u, v = frequencies(height, width).unbind(2)
        assert torch.equal(u[:, 0].double(), torch.fft.fftshift(torch.fft.fftfreq(height, 1 / height)).double())
        assert torch.equal(v[0].double(), torch.fft.fftshift(torch.fft.fftfreq(width, 1 / width)).double())


def test_a_sinusoid_holds_its_own_frequency_only():
    shape, frequency = (2, 8, 6), torch.tensor([[1, 2], [-3, 1], [0, 2]])
    waves = sinusoids(shape, frequency, 0.7, contrast=0.2) - 0.5
    assert waves.shape == (3, *shape) and torch.equal(waves[:, 0], waves[:, 1])
    assert waves[0, 0, 1, 3].item() == pytest.approx(0.2 * math.cos(2 * math.pi * (1 * 1 / 8 + 2 * 3 / 6) + 0.7))
    for wave, (u, v) in zip(waves, frequency):
        spectrum = torch.fft.fftshift(torch.fft.fft2(wave[0]).abs())
        for sign in (1, -1):
            assert spectrum[4 + sign * u, 3 + sign * v].item() == pytest.approx(0.2 * 48 / 2)
            spectrum[4 + sign * u, 3 + sign * v] = 0
        assert spectrum.max() < 1e-12


@pytest.mark.parametrize("contrast", [1e-3, 0.25, 0.5])
def test_sinusoids_are_images(contrast):
    waves = sinusoids((1, 9, 9), frequencies(9, 9).view(-1, 2), torch.linspace(0, 6, 81), contrast=contrast)
    assert waves.min() >= 0 and waves.max() <= 1 and (waves - 0.5).abs().max() <= contrast + 1e-15


# --- transfer functions ------------------------------------------------------------

@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("contrast, phases", [(0.5, 3), (0.25, 8), (0.01, 5)])
def test_a_filter_has_the_transfer_function_of_its_fft(shape, contrast, phases):
    conv = circular(shape, size=3 if min(shape[1:]) >= 3 else 1)
    options = {"contrast": contrast, "phases": phases}
    response = transfer_function(conv, shape, per_channel=True, **options)
    torch.testing.assert_close(response, gain(conv, shape), rtol=0, atol=1e-12)
    together = gain(conv, shape).pow(2).sum(0).sqrt()
    torch.testing.assert_close(transfer_function(conv, shape, **options), together, rtol=0, atol=1e-12)


def test_batches_change_nothing():
    shape, conv = (1, 6, 5), circular((1, 6, 5))
    whole = transfer_function(conv, shape)
    for batch_size in (1, 7, 10_000):
        torch.testing.assert_close(transfer_function(conv, shape, batch_size=batch_size), whole, rtol=0, atol=1e-14)


def test_a_whole_net_against_the_slow_way(net):
    """Every frequency on its own, f and -f both, the definition word for word."""
    net, shape, contrast, phases = net.double().eval(), (2, 6, 6), 0.3, 5
    response = transfer_function(net, shape, contrast=contrast, phases=phases)
    grey = torch.full((1, *shape), 0.5, dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    with torch.no_grad():
        for i in range(6):
            for j in range(6):
                change = size = 0
                for k in range(phases):
                    wave = contrast * torch.cos(2 * math.pi * ((i - 3) * y / 6 + (j - 3) * x / 6 + k / phases)).double()
                    change += (net(grey + wave) - net(grey)).pow(2).sum()
                    size += 2 * wave.pow(2).sum()
                assert response[i, j].item() == pytest.approx((change / size).sqrt().item(), rel=1e-5)


def test_f_and_minus_f_answer_alike(lenet):
    response = transfer_function(lenet, (1, 28, 28), phases=3)
    assert response.shape == (28, 28) and response.dtype == torch.float32 and (response > 0).all()
    inner = response[1:, 1:]  # row and column 0 are the frequency -n/2, which is its own opposite
    assert torch.equal(inner, inner.flip(0, 1)) and torch.equal(response[0, 1:], response[0, 1:].flip(0))


def test_only_a_net_that_is_not_linear_sees_the_contrast(net):
    linear, shape = circular((2, 6, 6)), (2, 6, 6)
    small, large = (transfer_function(linear, shape, contrast=c) for c in (0.01, 0.5))
    torch.testing.assert_close(small, large, rtol=1e-9, atol=0)
    small, large = (transfer_function(net.double(), shape, contrast=c) for c in (0.01, 0.5))
    assert ((small - large).abs() > 1e-3 * small).any()


def test_a_transform_stands_before_the_net():
    """A blur in front multiplies the gains; JPEG at quality 1 silences weak waves."""
    shape = (1, 16, 16)
    conv, blur = circular(shape, 1, seed=1), circular(shape, 1, seed=2)
    both = transfer_function(conv, shape, transform=blur)
    torch.testing.assert_close(both, (gain(conv, shape) * gain(blur, shape))[0], rtol=0, atol=1e-12)
    assert not both.requires_grad
    plain = nn.Identity()
    torch.testing.assert_close(transfer_function(plain, shape), torch.ones(16, 16))
    silent = transfer_function(plain, shape, transform=JPEG(1), contrast=0.02)
    assert silent.max() == 0
    fine = transfer_function(plain, shape, transform=JPEG(100))
    torch.testing.assert_close(fine, torch.ones(16, 16), rtol=0, atol=0.02)
    coarse = transfer_function(plain, shape, transform=JPEG(5), contrast=0.07)
    assert coarse[8, 9] > 0.5 and coarse[0, 0] == 0  # the lowest passes, the highest is gone


def test_a_net_without_parameters_has_the_type_of_its_buffers():
    response = transfer_function(Normalize([0.5], [0.25]).double(), (1, 5, 6))
    torch.testing.assert_close(response, torch.full((5, 6), 4.0, dtype=torch.float64))
    coded = transfer_function(nn.Identity(), (1, 8, 8), transform=JPEG(90))
    assert torch.equal(transfer_function(JPEG(90), (1, 8, 8)), coded)  # whole numbers are no type for images


def test_filters_of_a_layer_and_logits_of_a_net(lenet):
    assert transfer_function(lenet[1], (1, 12, 12), per_channel=True, phases=3).shape == (6, 12, 12)
    assert transfer_function(lenet, (1, 28, 28), per_channel=True, phases=3).shape == (10, 28, 28)


def test_the_net_is_left_as_it_was_and_works_half(net, work):
    """Half of the frequencies: the others are the same waves."""
    net[2].eval()
    modes = [module.training for module in net.modules()]
    with work(net) as passes:
        response = transfer_function(net, (2, 6, 6), phases=4)
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(response, transfer_function(net.eval(), (2, 6, 6), phases=4)), "it ran in training mode"
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert passes.forward == 1 + 4 * (36 + 4) // 2 and passes.backward == 0  # 4 frequencies are their own opposites


def test_half_precision_and_functions():
    """A net in half precision, one that only answers in it, and a function: the response of the same filter."""
    blur = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
    nn.init.constant_(blur.weight, 1 / 9)
    exact = transfer_function(blur, (1, 6, 8))
    assert torch.equal(transfer_function(lambda x: blur(x), (1, 6, 8)), exact)
    loud = nn.Sequential(blur, Scale(1000.0))  # squares of its answers overflow in float16
    for net in (lambda x: loud(x).half(), copy.deepcopy(loud).half()):
        response = transfer_function(net, (1, 6, 8))
        assert response.dtype == torch.float32
        torch.testing.assert_close(response / 1000, exact, rtol=1e-2, atol=5e-3)


# --- spectra -----------------------------------------------------------------------

def test_log_spectrum():
    x = torch.rand(3, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    spectrum = log_spectrum(x)
    assert spectrum.shape == x.shape
    torch.testing.assert_close(spectrum[:, :, 2, 3], x.sum((2, 3)).abs().log1p())
    assert log_spectrum(torch.zeros(1, 1, 4, 4)).max() == 0


def test_radial_average_against_a_loop():
    spectrum = torch.rand(2, 7, 8, generator=torch.Generator().manual_seed(0))
    rings = [[] for _ in range(4)]
    for i in range(7):
        for j in range(8):
            r = round(7 * math.hypot((i - 3) / 7, (j - 4) / 8))
            if r < 4:
                rings[r].append(spectrum[:, i, j])
    torch.testing.assert_close(radial_average(spectrum), torch.stack([torch.stack(ring).mean(0) for ring in rings], 1))


def test_radial_average_of_a_ring():
    spectrum = torch.zeros(9, 9)
    spectrum[4, 4 + 3] = spectrum[4 - 3, 4] = 1
    average = radial_average(spectrum)
    assert average.shape == (5,) and average[3] > 0 and average.sum() == average[3]
    assert torch.equal(radial_average(torch.ones(2, 3, 8, 8)), torch.ones(2, 3, 5))
    assert torch.equal(radial_average(torch.ones(2, 2)), torch.ones(2))


def test_blur_lowers_the_high_frequencies(digits):
    x = digits.images[:20]
    sharp, blurred = (radial_average(log_spectrum(images)).mean((0, 1)) for images in (x, F.avg_pool2d(x, 3, 1, 1)))
    assert (blurred[8:] < sharp[8:]).all()


# --- rings ---------------------------------------------------------------------------

@pytest.mark.parametrize("height, width", [(8, 8), (7, 7), (6, 9), (9, 6)])
def test_a_ring_lets_its_own_waves_pass_and_no_others(height, width):
    """A wave of each frequency on its own: it passes whole or not at all, as its distance from the middle says."""
    low, high = 1.5, 3.0
    waves = sinusoids((1, height, width), frequencies(height, width).view(-1, 2), 0.3) - 0.5
    for wave, (u, v) in zip(waves, frequencies(height, width).view(-1, 2).tolist()):
        inside = low <= min(height, width) * math.hypot(u / height, v / width) < high
        torch.testing.assert_close(band(wave, low, high), wave * inside, rtol=0, atol=1e-12)


def test_rings_part_an_image_and_are_projections():
    x = torch.rand(2, 3, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parts = [band(x, low, high) for low, high in ((0, 0.5), (0.5, 2), (2, 3.3), (3.3, math.inf))]
    torch.testing.assert_close(sum(parts), x)
    torch.testing.assert_close(parts[0], x.mean((2, 3), keepdim=True).expand_as(x))
    for part, (low, high) in zip(parts, ((0, 0.5), (0.5, 2), (2, 3.3))):
        assert part.dtype == x.dtype and torch.equal(part[1, 2], band(x[1, 2], low, high)), "channels meet"
        torch.testing.assert_close(band(part, low, high), part)
        assert (part * parts[3]).sum().abs() < 1e-12
    torch.testing.assert_close(band(x, 0, math.inf), x)


def test_a_ring_is_its_own_gradient():
    x = torch.rand(1, 1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    weights = torch.rand(1, 1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    slope, = torch.autograd.grad((band(x, 1, 2.5) * weights).sum(), x)
    torch.testing.assert_close(slope, band(weights, 1, 2.5))


def test_radii():
    assert radii(4, 8)[2].tolist() == [2, 1.5, 1, 0.5, 0, 0.5, 1, 1.5] and radii(4, 8)[0, 4] == 2
    assert radii(5, 5)[2, 2] == 0 and radii(5, 5)[0, 0].item() == pytest.approx(math.hypot(2, 2))


def test_whole_radii_of_square_images_are_exact():
    for side in range(3, 65):
        exact = frequencies(side, side).double().norm(dim=2)
        whole = exact == exact.round()
        assert torch.equal(radii(side, side)[whole].double(), exact[whole]), side


@pytest.mark.parametrize("side", [9, 28, 35, 41])
def test_a_wave_on_the_limit_belongs_above_it(side):
    waves = sinusoids((1, side, side), torch.tensor([[3, 4], [4, -3], [0, 4], [4, 0]]), 0.3) - 0.5
    on, below = waves[:2], waves[2:]  # radius 5, and 4
    torch.testing.assert_close(band(waves, 5, math.inf), torch.cat([on, below * 0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(band(waves, 0, 5), torch.cat([on * 0, below]), rtol=0, atol=1e-12)


# --- bad input -----------------------------------------------------------------------

@pytest.mark.parametrize("contrast", [0, -0.1, 0.6, math.nan])
def test_contrast_that_leaves_the_box(contrast):
    with pytest.raises(ValueError, match="contrast.*0.5"):
        transfer_function(nn.Identity(), (1, 4, 4), contrast=contrast)
    with pytest.raises(ValueError, match="contrast.*0.5"):
        sinusoids((1, 4, 4), torch.zeros(1, 2), contrast=contrast)


@pytest.mark.parametrize("shape", [(4, 4), (1, 1, 4, 4), (1, 1, 8), (1, 8, 0), (0, 8, 8), (1, 8.0, 8)])
def test_shapes_that_are_no_images(shape):
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        transfer_function(nn.Identity(), shape)
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        sinusoids(shape, torch.zeros(1, 2))


@pytest.mark.parametrize("options, words", [({"phases": 2}, "phases = 2"), ({"phases": 4.0}, "phases = 4.0"),
                                            ({"batch_size": 0}, "batch_size = 0")])
def test_too_few_phases_or_images(options, words):
    with pytest.raises(ValueError, match=words):
        transfer_function(nn.Identity(), (1, 4, 4), **options)


@pytest.mark.parametrize("shape", [(2,), (4, 3), (1, 1, 2)])
def test_frequencies_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        sinusoids((1, 4, 4), torch.zeros(shape))


def test_a_net_that_returns_nan():
    class Broken(nn.Module):
        def forward(self, x):
            return x * torch.nan if x.mean() > 0.7 else x  # at frequency 0 alone

    with pytest.raises(ValueError, match="NaN"):
        transfer_function(Broken(), (1, 4, 4), batch_size=1)


@pytest.mark.parametrize("images, error, words", [
    (torch.zeros(1, 1, 4, 4, dtype=torch.uint8), TypeError, "uint8"),
    ([[1.0]], TypeError, "list"),
    (torch.zeros(1, 4, 4), ValueError, "shape"),
    (torch.zeros(0, 1, 4, 4), ValueError, "shape"),
    (torch.full((1, 1, 4, 4), torch.nan), ValueError, "NaN"),
    (torch.full((1, 1, 4, 4), torch.inf), ValueError, "infinite"),
])
def test_spectra_of_what_is_no_image(images, error, words):
    with pytest.raises(error, match=words):
        log_spectrum(images)


@pytest.mark.parametrize("images, low, high, error, words", [
    (torch.zeros(4, 4, dtype=torch.int64), 0, 1, TypeError, "int64"), (torch.zeros(4), 0, 1, ValueError, "shape"),
    (torch.zeros(4, 4), 2, 2, ValueError, "ring"), (torch.zeros(4, 4), -1, 2, ValueError, "ring"),
    (torch.zeros(4, 4), 0, math.nan, ValueError, "ring")])
def test_rings_that_hold_nothing(images, low, high, error, words):
    with pytest.raises(error, match=words):
        band(images, low, high)


@pytest.mark.parametrize("spectrum", [torch.zeros(4), torch.zeros(3, 1, 8)])
def test_radial_average_of_what_is_no_picture(spectrum):
    with pytest.raises(ValueError, match="2x2"):
        radial_average(spectrum)
