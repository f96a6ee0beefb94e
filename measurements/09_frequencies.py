"""Chapter 09: frequencies.  LeNets trained with and without noise; what JPEG leaves of sinusoids and of a first layer;
spectra of noises; accuracy on filtered and corrupted images, attacks confined to a ring of frequencies, and Fourier
heat maps.

A ring is one of RINGS parts of all frequencies of an image, from the lowest up, of equal NUMBER of frequencies (nearly:
frequencies of one radius stay together).  Filtered images and waves are not cut to [0, 1] unless it is said.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, jpeg, spectral, training, zoo
from advlens.attacks.losses import log_odds
from advlens.course import recipes
from advlens.course.measuring import Grid, nested
from advlens.inputs import image_gradient
from advlens.models import LeNet

SEED, SEEDS, RINGS = 0, range(5), 8
SIGMA, TRAINED_ON, EPOCHS = 0.2, 20_000, 6  # of the noise in training; the training with and without it
SMALL = ("lenet", "plain", "noise")  # LeNets: the course's; trained alike but for less long, without and with noise


def trained(sigma: float, seed: int) -> nn.Module:
    """A LeNet trained on a part of MNIST, with Gaussian noise of this size on each batch; kept in the cache."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the initial weights
        model = LeNet()
    kept = data.cache_folder() / "training" / f"09-lenet-sigma{sigma}-seed{seed}.safetensors"
    kept.parent.mkdir(parents=True, exist_ok=True)
    train = data.load("mnist", "train").sample(TRAINED_ON, seed=SEED)
    training.fit(model, train, epochs=EPOCHS, augment=training.noise(sigma), seed=seed, optimizer=recipes.adam,
                 learning_rate=training.one_cycle(4e-3, EPOCHS), checkpoint=kept, progress=False)
    return model.requires_grad_(False).eval()


def network(net: str, seed: int) -> nn.Module:
    if net in ("plain", "noise"):
        return trained(SIGMA if net == "noise" else 0.0, seed)
    return zoo.pretrained(net, "cifar10_lossless") if net == "cifar_net" else recipes.pretrained(net, seed=seed)


# --- waves through JPEG --------------------------------------------------------------

QUALITIES = (1, 3, 5, 6, 7, 10, 13, 16, 30, 75)
WAVES = [{"contrast": contrast, "mean": mean} for contrast, mean in (
    (0.02, 0.5), (0.04, 0.5), (0.05, 0.5), (0.07, 0.5), (0.1, 0.5), (0.2, 0.5), (0.5, 0.5),
    (0.05, 0.25), (0.1, 0.25), (0.2, 0.25))]  # mean: the grey that the wave swings around


def survival(contrast: float, mean: float) -> dict:
    """Of the waves of 28 x 28 pixels: which share comes out of the codec as one even grey at each of two phases, and
    what share of a wave's length is left at its own frequency, the mean; by quality.

    Of a frequency and its opposite one is taken, and 0 is left out.
    """
    frequency = spectral.frequencies(28, 28).flatten(0, 1)[28 * 14 + 15:]  # what stands after the middle
    waves = torch.stack([spectral.sinusoids((1, 28, 28), frequency, phase, contrast=contrast) + mean - 0.5
                         for phase in (0.4, 0.4 + math.pi / 2)]).float()  # (2, F, 1, 28, 28)
    size = _at(waves - mean, frequency).norm(dim=0)
    found = {}
    for quality in QUALITIES:
        coded = jpeg.compress(waves.flatten(0, 1), quality).view_as(waves)
        even = coded.flatten(2).amax(2) == coded.flatten(2).amin(2)  # (2, F)
        kept = _at(coded, frequency).norm(dim=0) / size
        found[quality] = {"even": even.all(0).float().mean().item(), "kept": kept.mean().item()}
    return found


def _at(waves: Tensor, frequency: Tensor) -> Tensor:
    """|FFT| of the waves (P, F, 1, H, W) at the frequency of each, (P, F)."""
    height, width = waves.shape[-2:]
    spectrum = torch.fft.fft2(waves[:, :, 0]).abs().flatten(2)
    place = frequency[:, 0].remainder(height) * width + frequency[:, 1].remainder(width)
    return spectrum.gather(2, place.expand(len(waves), -1)[..., None])[..., 0]


CODED = (1, 3, 5, 7, 10, 13, 16, 30, 75)
LOUD = (0.05, 0.15, 0.5)  # contrasts


def coded(net: str, seed: int) -> dict:
    """What JPEG before it changes in the transfer function of a first convolution, by contrast and quality.

    "change": the length of the difference over the length of the function without JPEG; "correlation": of the two;
    "filters": the correlation for each filter on its own, the median.
    """
    layer, found = network(net, seed)[:2], {}
    for contrast in LOUD:
        options = {"contrast": contrast, "phases": 4, "per_channel": True}
        before = spectral.transfer_function(layer, (1, 28, 28), **options)  # (K, H, W)
        by = found[str(contrast)] = {}
        for quality in CODED:
            after = spectral.transfer_function(layer, (1, 28, 28), transform=jpeg.JPEG(quality), **options)
            one, other = (each.pow(2).sum(0).sqrt().flatten() for each in (before, after))
            by[str(quality)] = {"change": ((other - one).norm() / one.norm()).item(),
                                "correlation": _correlation(one[None], other[None]).item(),
                                "filters": _correlation(before.flatten(1), after.flatten(1)).median().item()}
    return found


# --- spectra of noises -----------------------------------------------------------------

EPS, LENGTH = {"lenet": 0.1, "cifar_net": 2 / 255}, {"lenet": 1.0, "cifar_net": 0.25}  # l-infinity; l2 of FGM
SPECTRA_IMAGES = {"lenet": 60, "cifar_net": 20}


def spectra(net: str, seed: int) -> dict:
    """Where in the frequencies the energy of images and of noises lies, and which spectra are alike.

    "energy": for each picture the share of its energy in each ring (frequency 0 left out), the mean over images.
    "alike": correlations of the log spectra of FGSM's and FGM's noise, before pixels are cut to [0, 1]: of one image,
    of different images, and with FGM's noise after its pixels were shuffled; and that of the pixels themselves.
    """
    model = network(net, seed)
    x, y = _images(net, SPECTRA_IMAGES[net], model)
    point = x.clone().requires_grad_()
    gradient = image_gradient(log_odds(model(point), y), point)
    step = {name: geometry.steepest(gradient, norm) for name, norm in (("FGSM", "linf"), ("FGM", "l2"))}
    found = {"FGSM": attacks.fgsm(model, x, y, eps=EPS[net]), "FGM": attacks.fgm(model, x, y, eps=LENGTH[net]),
             "PGD": attacks.pgd(model, x, y, eps=EPS[net], generator=_generator()),
             "CW": attacks.carlini_wagner(model, x, y, **({} if net in SMALL else {"steps": 50, "searches": 3}))}
    fooled = {name: (~evaluation.classified_right(model, images, y)).float().mean().item()
              for name, images in found.items()}
    pictures = {"clean": x} | {f"{name} attacked": images for name, images in found.items()}
    pictures |= {name: images - x for name, images in found.items()}
    pictures |= {f"{name} shuffled": shuffled(pictures[name]) for name in found}
    pictures |= {f"{name} step": d for name, d in step.items()}
    pictures = {name: d[d.flatten(1).norm(dim=1) > 0] for name, d in pictures.items()}  # CW returns x where it fails
    log = {name: _log(d) for name, d in (step | {"shuffled": shuffled(step["FGM"])}).items()}
    alike = {"same image": _correlation(log["FGSM"], log["FGM"]),
             "other image": _correlation(log["FGSM"], log["FGM"].roll(1, 0)),
             "shuffled": _correlation(log["FGSM"], log["shuffled"]),
             "pixels": _correlation(step["FGSM"].flatten(1), step["FGM"].flatten(1))}
    return {"images": len(x), "fooled": fooled, "energy": {name: energy(d) for name, d in pictures.items()},
            "alike": {name: values.mean().item() for name, values in alike.items()}}


def energy(d: Tensor) -> list[float]:
    """The share of the energy in each ring, frequency 0 left out, the mean over images."""
    power = torch.fft.fftshift(torch.fft.fft2(d - d.mean((2, 3), keepdim=True)).abs().square(), dim=(2, 3)).sum(1)
    share = torch.stack([power[:, ring].sum(1) for ring in masks(*d.shape[2:])], 1)  # (N, RINGS)
    return (share / share.sum(1, keepdim=True)).mean(0).tolist()


def shuffled(d: Tensor) -> Tensor:
    """Each noise with its pixels in another order; the channels of a pixel stay together."""
    orders = torch.stack([torch.randperm(d[0, 0].numel(), generator=generator) for generator in [_generator()]
                          for _ in d])
    return d.flatten(2).gather(2, orders[:, None].expand(-1, d.shape[1], -1)).view_as(d)


def _log(d: Tensor) -> Tensor:
    """Log spectra (N, ...) of noises brought to one size, without frequency 0."""
    d = d / d.flatten(1).pow(2).mean(1).sqrt().view(-1, 1, 1, 1)
    middle = torch.zeros(d.shape[2:], dtype=torch.bool)
    middle[d.shape[2] // 2, d.shape[3] // 2] = True
    return spectral.log_spectrum(d)[:, :, ~middle].flatten(1)


# --- filtered and corrupted images ---------------------------------------------------------

CUTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16)
FILTERED_IMAGES = {"cifar_net": 200}  # 300 digits


def filtered(net: str, seed: int) -> dict:
    """Accuracy on low-, high- and band-passed images, and on corrupted ones, with the median length of the change."""
    model = network(net, seed)
    x, y = _images(net, FILTERED_IMAGES.get(net, 300))
    right = lambda images: evaluation.classified_right(model, images, y).float().mean().item()
    free = lambda images: _right(model, images, y)
    found = {"clean": right(x), "low": {str(r): free(spectral.band(x, 0, r)) for r in CUTS},
             "high": {str(r): free(spectral.band(x, r, math.inf)) for r in CUTS},
             "ring": [free(spectral.band(x, low, high)) for low, high in pairwise(edges(*x.shape[2:]))]}
    found["corrupted"] = {
        name: {str(how): {"accuracy": right(images), "length": geometry.norm(images - x, "l2").median().item()}
               for how in strengths for images in [corrupt(x, how)]}
        for name, (corrupt, strengths) in CORRUPTIONS.items()}
    near = slice(0, 100 if net in SMALL else 20)
    stands = evaluation.classified_right(model, x[near], y[near])
    distance = geometry.norm(attacks.ddn(model, x[near][stands], y[near][stands]) - x[near][stands], "l2")
    return found | {"images": len(x), "ddn": distance.median().item(), "ddn images": len(distance)}


def noisy(x: Tensor, sigma: float) -> Tensor:
    return (x + sigma * torch.randn(x.shape, generator=_generator())).clamp(0, 1)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; sigma in pixels.  The border is continued by its own values."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-torch.arange(-reach, reach + 1.0).square() / (2 * sigma ** 2))
    kernel = (weights[:, None] * weights / weights.sum() ** 2).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, (reach,) * 4, mode="replicate"), kernel, groups=x.shape[1]).clamp(0, 1)


def paler(x: Tensor, factor: float) -> Tensor:
    """Less contrast: each pixel nearer to the mean of its image."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + factor * (x - mean)


def turned(x: Tensor, degrees: float) -> Tensor:
    """Rotated about the middle; outside is black."""
    a = math.radians(degrees)
    turn = torch.tensor([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0]]).expand(len(x), 2, 3)
    return F.grid_sample(x, F.affine_grid(turn, list(x.shape), align_corners=False), align_corners=False).clamp(0, 1)


CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "noise": (noisy, (0.05, 0.1, 0.2, 0.3, 0.4)), "blur": (blurred, (0.5, 1.0, 1.5, 2.0, 3.0)),
    "contrast": (paler, (0.75, 0.5, 0.25, 0.1, 0.05)), "rotation": (turned, (10, 20, 30, 45, 60))}


# --- attacks confined to a ring ------------------------------------------------------------------

RING_EPS, RING_IMAGES = {"lenet": 2.0, "cifar_net": 0.5}, {"lenet": 60, "cifar_net": 20}


def confined(model: nn.Module, x: Tensor, y: Tensor, eps: float, low: float, high: float, *, steps: int = 20,
             clamp: bool = False) -> tuple[Tensor, Tensor]:
    """PGD in the l2 ball whose steps are filtered to a ring: which images stay right at every step (N,), and the last
    perturbation.  clamp: the net sees the sum cut to [0, 1], so what arrives has other frequencies and is shorter.
    """
    seen = (lambda d: (x + d).clamp(0, 1)) if clamp else (lambda d: x + d)
    d, stands = torch.zeros_like(x), torch.ones_like(y, dtype=torch.bool)
    for _ in range(steps):
        point = d.clone().requires_grad_()
        z = model(seen(point))
        stands &= z.argmax(1) == y
        uphill = spectral.band(image_gradient(log_odds(z, y), point), low, high)
        d = geometry.project(d + 2.5 * eps / steps * geometry.steepest(uphill, "l2"), x.new_full((len(x),), eps), "l2")
    with torch.no_grad():
        stands &= model(seen(d)).argmax(1) == y
    return stands, seen(d) - x


def rings(net: str, seed: int) -> dict:
    """Accuracy under PGD confined to each ring, and to none (last), at one l2 norm: with sums that leave [0, 1]
    ("free") and, for the course's LeNets, with sums cut to it ("cut"), where it also says the median length of what
    arrives, and how much of its energy lies in the ring."""
    model, kind = network(net, seed), net if net in RING_EPS else "lenet"
    (x, y), eps = _images(net, RING_IMAGES[kind]), RING_EPS[kind]
    found = {"images": len(x), "clean": _right(model, x, y), "eps": eps, "free": [], "cut": []}
    for low, high in [*pairwise(edges(*x.shape[2:])), (0, math.inf)]:
        found["free"].append(confined(model, x, y, eps, low, high)[0].float().mean().item())
        if net != "lenet":
            continue
        stands, d = confined(model, x, y, eps, low, high, clamp=True)
        length = d.flatten(1).norm(dim=1)
        inside = (spectral.band(d, low, high).flatten(1).norm(dim=1) / length).square()
        found["cut"].append({"accuracy": stands.float().mean().item(), "length": length.median().item(),
                             "inside": inside.mean().item()})
    return found


# --- one wave at a time -------------------------------------------------------------------------

HEAT_LENGTH, HEAT_IMAGES = {"lenet": 6.0, "cifar_net": 2.0}, {"lenet": 40, "cifar_net": 20}


def heat(net: str, seed: int) -> dict:
    """Error of the net when one wave of one l2 norm is added to each image, at a random phase, for each frequency:
    as a map (H, W) and as the mean in each ring; the same cut to [0, 1] (rings alone; the course's LeNets);
    the transfer function of the first layer and of the whole net, the mean in each ring."""
    model, kind = network(net, seed), net if net in HEAT_LENGTH else "lenet"
    x, y = _images(net, HEAT_IMAGES[kind])
    free = _heat(model, x, y, HEAT_LENGTH[kind], clamp=False)
    found = {"images": len(x), "clean": 1 - _right(model, x, y), "rings": in_rings(free),
             "map": [[round(value, 4) for value in row] for row in free.tolist()]}
    if net == "lenet":
        found["rings cut"] = in_rings(_heat(model, x, y, HEAT_LENGTH[kind], clamp=True))
    for name, part in (("first layer", model[:2]), ("net", model)):
        for contrast in (0.05, 0.25):
            response = spectral.transfer_function(part, tuple(x.shape[1:]), contrast=contrast, phases=4)
            found[f"{name}, {contrast}"] = in_rings(response)
    return found


def _heat(model: nn.Module, x: Tensor, y: Tensor, length: float, *, clamp: bool) -> Tensor:
    """Errors by frequency (H, W); f and -f are one wave."""
    height, width = x.shape[2:]
    frequency = spectral.frequencies(height, width).flatten(0, 1)
    own = torch.arange(len(frequency))
    opposite = (-frequency[:, 0] + height // 2).remainder(height) * width + (-frequency[:, 1] + width // 2).remainder(
        width)
    errors, generator = torch.zeros(len(frequency)), _generator()
    for i in own[own <= opposite].tolist():
        phase = 2 * math.pi * torch.rand(len(x), generator=generator)
        wave = (spectral.sinusoids(tuple(x.shape[1:]), frequency[i].expand(len(x), 2), phase) - 0.5).float()
        wave = wave * (length / wave.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
        seen = x + wave
        errors[i] = errors[opposite[i]] = 1 - _right(model, seen.clamp(0, 1) if clamp else seen, y)
    return errors.view(height, width)


# --- photographs -----------------------------------------------------------------------------

def photographs(part: str) -> dict:
    """The colour net, one training, on lossless photographs."""
    return {"spectra": spectra, "filters": filtered, "rings": rings, "heat": heat}[part]("cifar_net", SEED)


def of_photographs(results: list) -> dict:
    return nested("part")(results) | {"edges": edges(32, 32)[1:-1], "length": HEAT_LENGTH["cifar_net"]}


# --- what they share --------------------------------------------------------------------------------

def edges(height: int, width: int, count: int = RINGS) -> list[float]:
    """The radii that part all frequencies into `count` rings of nearly equal number."""
    radius = spectral.radii(height, width).flatten().sort().values
    inner = [radius[round(k * len(radius) / count)].item() for k in range(1, count)]
    return [0.0, *inner, math.inf]


def masks(height: int, width: int) -> list[Tensor]:
    radius = spectral.radii(height, width)
    return [(low <= radius) & (radius < high) for low, high in pairwise(edges(height, width))]


def in_rings(values: Tensor) -> list[float]:
    """The mean of (H, W) in each ring."""
    return [values[ring].mean().item() for ring in masks(*values.shape)]


def _images(net: str, n: int, model: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """The first n of 1,000 test images (lossless photographs for the colour net); with a model, of those it has right.
    """
    test = data.load("cifar10_lossless" if net == "cifar_net" else "mnist", "test").sample(1000, seed=SEED)
    if model is not None:
        test = test[:2 * n]
        test = test[evaluation.classified_right(model, test)]
    return test.images[:n], test.labels[:n]


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, y: Tensor) -> float:
    """Accuracy on what need not lie in [0, 1]."""
    return torch.cat([model(part).argmax(1) for part in images.split(500)]).eq(y).float().mean().item()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Of the rows of (N, M), (N,)."""
    a, b = (each - each.mean(1, keepdim=True) for each in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-30)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def by_net(results: list) -> dict:
    """Values by net and seed, with the radii that part the rings of digits and how many frequencies each holds."""
    return {"edges": edges(28, 28)[1:-1], "frequencies": [int(ring.sum()) for ring in masks(28, 28)],
            "sigma": SIGMA, "trained on": TRAINED_ON, "epochs": EPOCHS, "nets": nested("net", "seed")(results)}


def heat_table(results: list) -> dict:
    """As `by_net`; of the maps the mean over the seeds alone."""
    values = by_net(results)
    for net, seeds in values["nets"].items():
        maps = torch.tensor([found.pop("map") for found in seeds.values()])
        seeds["map"] = [[round(value, 3) for value in row] for row in maps.mean(0).tolist()]
    return values | {"length": HEAT_LENGTH["lenet"]}


BOTH, PHOTOS = ["mnist train", "mnist test"], ["cifar10_lossless train", "cifar10_lossless test"]
LENETS = [{"net": net, "seed": seed} for net in SMALL for seed in SEEDS]
PARTS = ("spectra", "filters", "rings", "heat")

RECORDS = {
    "09-jpeg": Grid(survival, WAVES, nested("mean", "contrast"), seed=SEED),
    "09-layers": Grid(coded, [*({"net": "lenet", "seed": seed} for seed in SEEDS),
                              {"net": "mnist_resnet", "seed": SEED}], nested("net", "seed"), BOTH, SEED),
    "09-spectra": Grid(spectra, LENETS[:5], by_net, BOTH, SEED),
    "09-filters": Grid(filtered, [*LENETS, {"net": "mnist_resnet", "seed": SEED}], by_net, BOTH, SEED),
    "09-rings": Grid(rings, LENETS, by_net, BOTH, SEED),
    "09-heat": Grid(heat, LENETS, heat_table, BOTH, SEED),
    "09-colour": Grid(photographs, [{"part": part} for part in PARTS], of_photographs, PHOTOS, SEED),
}
