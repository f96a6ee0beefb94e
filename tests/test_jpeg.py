"""JPEG: the layer against Pillow, its gradients, its kernel.

"PEERS n" names a mistake of other libraries that the test would catch here.
"""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torch import nn

from advlens import data, jpeg
from advlens.attacks import pgd
from advlens.inputs import frozen
from advlens.jpeg import JPEG, SUBSAMPLINGS, THREADED, compress, tables
from advlens.kernels import jpeg as twin

QUALITIES = [1, 5, 10, 30, 50, 75, 90, 95, 100]
SIZES = [(32, 32), (27, 30), (16, 9), (3, 5), (5, 3), (1, 1)]


@pytest.fixture(scope="module")
def shapes():
    return data.load("shapes", "test").sample(12).images.double()


@pytest.fixture(scope="module")
def grey(digits):
    return digits.sample(12).images.double()


def levels(a, b):
    """By how many of the 255 levels two batches differ, pixel by pixel."""
    return (255 * (a.double() - b.double())).abs()


def rmse(a, b):
    return levels(a, b).pow(2).mean().sqrt().item()


# --- against the real codec ----------------------------------------------------

@pytest.mark.parametrize("quality", [*range(1, 101, 9), 10, 50, 75, 90, 95])
def test_the_tables_are_those_in_the_file(quality):
    """PEERS 17: a transposed luminance table."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    written = Image.open(file).quantization
    for table, entry in zip(tables(quality), (written[0], written[1])):
        assert table.flatten().tolist() == list(entry)


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("quality", QUALITIES)
def test_in_double_precision_every_byte_is_libjpegs(quality, subsampling, shapes, grey):
    for images in (shapes, grey):
        assert torch.equal(JPEG(quality, subsampling)(images), compress(images, quality, subsampling))


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("height, width", SIZES)
def test_every_size_is_libjpegs(height, width, subsampling, shapes):
    """Edges that are no multiples of 8 or 16, odd sizes, and images too narrow to interpolate in."""
    for images in (shapes[:3, :, :height, :width], shapes[:3, :1, :height, :width]):
        assert torch.equal(JPEG(40, subsampling)(images), compress(images, 40, subsampling))


def test_every_quality_is_libjpegs(shapes, grey):
    """PEERS 17: NaN at quality 100."""
    for quality in range(1, 101):
        for images in (shapes[:1], grey[:1]):
            assert torch.equal(JPEG(quality)(images), compress(images, quality))


@pytest.mark.parametrize("name", ["shapes", "digits", "cifar10", "mnist"])
@pytest.mark.parametrize("quality", [10, 50, 75, 95])
def test_in_single_precision_it_is_close_to_libjpeg(name, quality, real):
    x = real(name, "test").sample(64).images
    far = levels(JPEG(quality)(x), compress(x, quality))
    assert far.pow(2).mean().sqrt() <= 0.1  # asked for: .75 in grey, 1.5 in colour
    assert (far > 0.01).double().mean() <= 1e-3


def test_noise_and_pixels_of_0_and_1(shapes):
    generator = torch.Generator().manual_seed(0)
    for images in (torch.rand(4, 3, 20, 20, generator=generator), shapes[:4].round().float()):
        for subsampling in SUBSAMPLINGS:
            assert rmse(JPEG(30, subsampling)(images), compress(images, 30, subsampling)) <= 0.2


def test_pixels_are_rounded_not_cut_off():
    """PEERS 17: `(x * 255).astype(uint8)` truncates."""
    x = torch.full((1, 1, 8, 8), 99.6 / 255)
    assert (compress(x, 100) * 255).round().unique().tolist() == [100]
    assert (JPEG(100)(x) * 255).round().unique().tolist() == [100]


def test_low_quality_loses_more_and_the_colours_first(shapes):
    loss = [rmse(JPEG(quality)(shapes), shapes) for quality in (1, 10, 50, 100)]
    assert loss == sorted(loss, reverse=True)
    assert rmse(JPEG(90, "4:4:4")(shapes), shapes) < rmse(JPEG(90, "4:2:0")(shapes), shapes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("codec", [lambda x: compress(x, 20), JPEG(20), JPEG(20, rounding="smooth")],
                         ids=["compress", "layer", "smooth"])
def test_type_shape_and_range_stay(codec, dtype, shapes):
    for x in (shapes[:2].to(dtype), shapes[:2, :1].to(dtype), shapes[:2].to(dtype, memory_format=torch.channels_last)):
        coded = codec(x)
        assert coded.dtype == dtype and coded.shape == x.shape and coded.is_contiguous()
        assert coded.min() >= 0 and coded.max() <= 1 and torch.isfinite(coded).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_nothing_before_the_codec(dtype, shapes):
    x = shapes[:4].to(dtype)
    assert torch.equal(compress(x, 90), compress(x.double(), 90).to(dtype))


@pytest.mark.parametrize("rounding", jpeg.ROUNDINGS)
def test_neighbours_change_nothing(rounding, shapes):
    codec = JPEG(20, rounding=rounding)
    together = codec(shapes)
    torch.testing.assert_close(together[3:4], codec(shapes[3:4]), rtol=0, atol=1e-12)
    torch.testing.assert_close(codec(shapes.flip(0)).flip(0), together, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk, parts", [(1, [1] * 12), (5 * 3 * 32 * 32 + 1, [5, 5, 2])])
def test_a_batch_in_many_parts_is_the_same(chunk, parts, shapes, monkeypatch):
    whole, sizes, coded = JPEG(20)(shapes), [], twin._coded
    monkeypatch.setattr(twin, "CHUNK", chunk)
    monkeypatch.setattr(twin, "_coded", lambda x, *rest: sizes.append(len(x)) or coded(x, *rest))
    assert torch.equal(JPEG(20)(shapes), whole) and sizes == parts


# --- gradients -------------------------------------------------------------------

def gradient(codec, x, weight):
    x = x.clone().requires_grad_()
    return torch.autograd.grad((codec(x) * weight).sum(), x)[0]


@pytest.fixture(scope="module")
def slope():
    return torch.randn(2, 3, 13, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("channels, subsampling", [(1, "4:2:0"), (1, "4:4:4"), (3, "4:4:4")])
def test_straight_through_is_the_identity_where_no_resolution_is_lost(channels, subsampling, shapes, slope):
    """PEERS 17: the slope is 1, also for pixels of exactly 0 and 1, and whatever the quality."""
    x, w = shapes[:2, :channels, :13, :18].round(), slope[:, :channels]
    for quality in (1, 50, 100):
        torch.testing.assert_close(gradient(JPEG(quality, subsampling), x, w), w, rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_straight_through_has_the_gradient_of_the_codec_without_roundings(channels, subsampling, slope, monkeypatch):
    """The smooth codec, its sine switched off, is that linear codec: cosines and all."""
    w = slope[:, :channels]
    x = torch.rand(w.shape, generator=torch.Generator().manual_seed(4)).double() * 0.2 + 0.4
    straight = gradient(JPEG(30, subsampling), x, w)
    monkeypatch.setattr(jpeg.torch, "sin", torch.zeros_like)
    torch.testing.assert_close(straight, gradient(JPEG(30, subsampling, "smooth"), x, w), rtol=0, atol=2e-3)


@pytest.mark.parametrize("channels, subsampling", [(1, "4:4:4"), (3, "4:4:4"), (3, "4:2:0")])
def test_smooth_gradient_is_the_true_one(channels, subsampling):
    x = torch.rand(1, channels, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    assert torch.autograd.gradcheck(JPEG(30, subsampling, "smooth"), x.requires_grad_())


def test_smooth_rounding_meets_the_codec_at_whole_numbers(grey):
    """Coded twice, the coefficients are nearly whole numbers, where smooth and true rounding agree."""
    once = JPEG(50)(grey)
    apart = [rmse(JPEG(50, rounding="smooth")(x), JPEG(50)(x)) for x in (grey, once)]
    assert apart[1] < 0.5 * apart[0]


def test_smooth_slope_is_1_on_average(slope):
    """PEERS 17: the cubic shrinks gradients to a quarter."""
    x = torch.rand(64, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.8 + 0.1
    x.requires_grad_()
    codec = JPEG(90, rounding="smooth")
    mean = codec(x).mean((2, 3)).sum()  # through the coefficient of frequency 0 alone
    assert torch.autograd.grad(mean, x)[0].sum().item() / 64 == pytest.approx(1, abs=0.3)


def test_a_second_derivative_passes_straight_through(shapes):
    x = shapes[:1].clone().requires_grad_()
    first = torch.autograd.grad(JPEG(50)(x).pow(3).sum(), x, create_graph=True)[0]
    assert torch.autograd.grad(first.sum(), x)[0].abs().max() > 0.1


def test_without_gradients_nothing_is_kept(shapes):
    assert not JPEG(50)(shapes).requires_grad
    with torch.no_grad():
        assert not JPEG(50)(shapes.clone().requires_grad_()).requires_grad
    assert not compress(shapes.clone().requires_grad_(), 50).requires_grad
    assert not twin.round_trip(shapes.clone().requires_grad_(), *tables(50), subsample=True).requires_grad


def test_nothing_is_trainable():
    """PEERS 17: constants that an optimiser would move."""
    for rounding in jpeg.ROUNDINGS:
        codec = JPEG(50, rounding=rounding)
        assert list(codec.parameters()) == [] and codec.state_dict() == {}


def test_half_precision_models_keep_the_tables(shapes):
    assert torch.equal(JPEG(37).half().luminance, tables(37)[0])


@pytest.mark.parametrize("rounding", jpeg.ROUNDINGS)
def test_mixed_precision_leaves_the_codec_alone(rounding, shapes):
    codec, x = JPEG(90, rounding=rounding), shapes[:2].float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = codec(x)
    assert torch.equal(mixed, codec(x))


def test_an_attack_goes_through_the_codec(lenet, digits):
    """What BPDA is for: with its gradient PGD breaks what JPEG seems to protect."""
    some = digits.sample(20)
    defended = nn.Sequential(JPEG(20), lenet)
    adversarial = pgd(defended, some.images, some.labels, eps=0.3, steps=10, random_start=False)
    with frozen(lenet), torch.no_grad():
        clean = (lenet(compress(some.images, 20)).argmax(1) == some.labels).double().mean()
        left = (lenet(compress(adversarial, 20)).argmax(1) == some.labels).double().mean()
    assert clean >= 0.8 and left <= 0.2


# --- bad input -------------------------------------------------------------------

X = torch.full((1, 3, 8, 8), 0.5)


@pytest.mark.parametrize("make", [lambda q: JPEG(q), lambda q: compress(X, q), tables],
                         ids=["layer", "compress", "tables"])
@pytest.mark.parametrize("quality, error", [(0, ValueError), (101, ValueError), (-5, ValueError), (50.0, TypeError),
                                            ("50", TypeError), (True, TypeError), (None, TypeError)])
def test_quality_outside_1_to_100(make, quality, error):
    with pytest.raises(error, match="quality.*1 to 100"):
        make(quality)


@pytest.mark.parametrize("make", [lambda s: JPEG(50, s), lambda s: compress(X, 50, s)], ids=["layer", "compress"])
def test_unknown_subsampling(make):
    with pytest.raises(ValueError, match="4:1:1.*4:2:0, 4:4:4"):
        make("4:1:1")


def test_unknown_rounding():
    with pytest.raises(ValueError, match="cubic.*straight-through, smooth"):
        JPEG(50, rounding="cubic")


@pytest.mark.parametrize("codec", [lambda x: compress(x, 50), JPEG(50), JPEG(50, rounding="smooth")],
                         ids=["compress", "layer", "smooth"])
@pytest.mark.parametrize("x, error, words", [
    (torch.full((1, 2, 8, 8), 0.5), ValueError, "2 channels"),
    (torch.full((1, 4, 8, 8), 0.5), ValueError, "4 channels"),
    (X[0], ValueError, "shape"),
    (X[:0], ValueError, "empty"),
    (X * 3, ValueError, r"\[0, 1\]"),
    (X - 1, ValueError, r"\[0, 1\]"),
    (X * torch.nan, ValueError, "NaN"),
    ((X * 255).byte(), TypeError, "uint8"),
    (X.numpy(), TypeError, "ndarray"),
])
def test_what_is_no_image(codec, x, error, words):
    with pytest.raises(error, match=words):
        codec(x)


# --- the kernel ------------------------------------------------------------------

@pytest.fixture
def kernel():
    pytest.importorskip("triton")
    from advlens.kernels import jpeg_triton
    return jpeg_triton


CASES = [((2, 1, 32, 32), False), ((2, 3, 32, 32), False), ((2, 3, 32, 32), True), ((1, 3, 50, 37), True),
         ((1, 3, 37, 50), False),
         ((1, 1, 28, 28), True), ((2, 3, 3, 5), True), ((1, 3, 5, 3), True), ((1, 3, 1, 1), True),
         ((1, 1, 9, 70), False)]


@pytest.mark.parametrize("shape, subsample", CASES)
@pytest.mark.parametrize("quality", [10, 90])
def test_every_byte_of_the_kernel_is_the_twins_and_libjpegs(shape, subsample, quality, kernel, device):
    x = torch.randint(256, shape, generator=torch.Generator().manual_seed(5)) / 255
    ours = kernel.round_trip(x.to(device), *tables(quality), subsample=subsample).cpu()
    assert torch.equal(ours, twin.round_trip(x.double(), *tables(quality), subsample=subsample).float())
    assert torch.equal(ours, compress(x, quality, "4:2:0" if subsample else "4:4:4"))


@pytest.mark.parametrize("pattern", ["black and white", "half-way between levels"])
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_the_kernel_on_the_largest_coefficients_and_on_ties(pattern, quality, kernel, device):
    generator = torch.Generator().manual_seed(8)
    x = torch.rand(1, 3, 40, 40, generator=generator).round()
    if pattern == "half-way between levels":
        x = (torch.randint(255, x.shape, generator=generator) + 0.5) / 255
    assert torch.equal(kernel.round_trip(x.to(device), *tables(quality), subsample=True).cpu(), compress(x, quality))


@pytest.mark.parametrize("shape, subsample", CASES[:3])
def test_the_kernel_takes_bfloat16(shape, subsample, kernel, device):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(6)).bfloat16()
    ours = kernel.round_trip(x.to(device), *tables(60), subsample=subsample).cpu()
    assert ours.dtype == torch.bfloat16
    wanted = compress(x.float(), 60, "4:2:0" if subsample else "4:4:4")
    # the interpreter cuts the last bit off, a GPU rounds it
    torch.testing.assert_close(ours.float(), wanted, rtol=2**-7, atol=0)


def test_the_kernel_takes_images_that_are_not_contiguous(kernel, device):
    x = torch.rand(1, 20, 17, 3, generator=torch.Generator().manual_seed(7)).to(device).permute(0, 3, 1, 2)
    torch.testing.assert_close(kernel.round_trip(x, *tables(50), subsample=True),
                               kernel.round_trip(x.contiguous(), *tables(50), subsample=True))


@pytest.mark.parametrize("x, words", [(X.double(), "float64"), (X.half(), "float16"), (X[:, :2], "2 channels")])
def test_the_kernel_names_what_it_does_not_take(x, words, kernel):
    with pytest.raises(ValueError, match=words):
        kernel.round_trip(x, *tables(50), subsample=True)


def test_the_twin_names_what_it_does_not_take():
    with pytest.raises(ValueError, match="2 channels"):
        twin.round_trip(X[:, :2], *tables(50), subsample=True)


def test_the_kernels_compile_for_gpus_and_stay_in_registers(without_interpreter):
    """Each once, on one of two generations and for one of two types; a program of three planes spills a little.

    And no product with 510 is fused with a sum: the ties would be others than on a CPU.
    """
    *sizes, fused = without_interpreter("""
        from advlens.kernels import jpeg_triton as k

        sizes = dict.fromkeys(("height", "width", "tiles", "across"), "i32")
        tile, constants = {"TILE": k.TILE}, {"dct": "*fp16", "tables": "*i32"}
        for kernel, x, architecture, pointers, options, warps in (
            (k._planes, "*fp32", 90, {"out": "*fp32", **constants}, {"CHANNELS": 3, **tile}, k.WARPS),
            (k._planes, "*bf16", 80, {"out": "*bf16", **constants}, {"CHANNELS": 1, **tile}, k.WARPS),
            (k._subsampled, "*bf16", 80, {"y": "*u8", "c": "*u8", **constants}, tile, k.WARPS),
        ):
            print(spilled(kernel, {"x": x, **pointers, **sizes}, options, architecture, warps))
        pointers = {"y": "*u8", "c": "*u8", "out": "*fp32", **sizes}
        print(spilled(k._interpolated, pointers, {"NARROW": False, **tile}, 90))
        pointers = {"x": "*fp32", "out": "*fp32", **constants, **sizes}
        ptx = compiled(k._planes, pointers, {"CHANNELS": 1, **tile}, 90)["ptx"]
        products = [line for line in ptx.splitlines() if "0f43FF0000" in line]  # 510
        print(not products or any("fma" in line for line in products))
        """).split()
    assert [int(size) <= limit for size, limit in zip(sizes, (256, 0, 0, 0), strict=True)] == [True] * 4
    assert fused == "False"


@pytest.mark.parametrize("channels, side", [(1, 130), (3, 130), (1, 12), (3, 12)],
                         ids=["grey, threads", "colour, threads", "grey", "colour"])
def test_images_keep_their_order_and_each_is_coded_alone(channels, side):
    x = torch.rand(5, channels, side, 140, generator=torch.Generator().manual_seed(0))
    assert (x[0, 0].numel() >= THREADED) == (side == 130)
    assert torch.equal(compress(x, 50), torch.cat([compress(image[None], 50) for image in x]))


# --- another implementation --------------------------------------------------------

def test_nearer_to_the_real_codec_than_kornia(peer, shapes):
    kornia = peer("kornia.enhance")
    x = shapes.float()
    for quality in (10, 75):
        theirs = kornia.jpeg_codec_differentiable(x, torch.tensor([float(quality)]))
        assert rmse(JPEG(quality)(x), compress(x, quality)) < 0.1 * rmse(theirs, compress(x, quality))
        assert rmse(JPEG(quality)(x), theirs) < 6  # and the same picture
