"""Chapter 08: JPEG as a defence.  What each quality costs and gives back, digits against photographs with and without
their colours, attackers that do not know of the JPEG and attackers that do, chance, and images that are larger.

Every answer is judged behind the real codec; colour is measured on the images of CIFAR-10 that no codec has touched.
"""

from __future__ import annotations

from functools import partial
from typing import Callable

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, jpeg, training, zoo
from advlens.course import recipes
from advlens.course.measuring import Grid, nested
from advlens.defences.compression import random_blocks, random_quality
from advlens.defences.masking import Randomized
from advlens.layers import Normalize
from advlens.models import CIFAR10_PIXELS, CifarNet, LeNet

SEED, SEEDS = 0, range(5)
QUALITIES = (90, 75, 50, 20, 10, 5)
EPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)  # grey digits
FINE = tuple(k / 255 for k in (1, 2, 4, 8, 16))  # photographs, and digits beside them


# --- accuracy after FGSM, a curve for each quality -----------------------------------------

CURVE_IMAGES = 300


def curve(net: str, seed: int) -> dict:
    """Accuracy of a net for digits, as it is and behind each quality, after FGSM on the bare net."""
    test = data.load("mnist", "test").sample(1000, seed=SEED)[:CURVE_IMAGES]
    return _curves(recipes.pretrained(net, seed=seed), test, EPS)


def _curves(net: nn.Module, test: data.Dataset, sizes: tuple[float, ...]) -> dict:
    """By quality ("none": bare) the accuracy at 0 and each eps."""
    found: dict = {"none": [], **{str(quality): [] for quality in QUALITIES}}
    for eps in (0.0, *sizes):
        images = attacks.fgsm(net, test.images, test.labels, eps=eps) if eps else test.images
        found["none"].append(_mean(_right(net, images, test.labels)))
        for quality in QUALITIES:
            found[str(quality)].append(_mean(_right(net, images, test.labels, quality)))
    return found


# --- digits, grey photographs, colour photographs: one net, one recipe; and a deeper net ------

TRAINED_ON, JUDGED_ON, EPOCHS, DEEPER_EPOCHS = 3000, 300, 8, 40
KINDS = ("digits", "grey", "colour")


def kind(kind: str, seed: int) -> dict:
    """LeNet trained on 3,000 images of a kind: its curves on others that it has not seen."""
    images = _images_of(kind)
    recipe = recipes.Recipe("lenet", EPOCHS, recipes.adam, 4e-3, recipes.digits if kind == "digits" else recipes.photos,
                            batch_size=32)
    return _curves(_trained(_lenet, recipe, kind, seed), images[TRAINED_ON:TRAINED_ON + JUDGED_ON], FINE)


def deeper(seed: int) -> dict:
    """CifarNet trained on the same 3,000 photographs in colour: its curves on the same others."""
    images = _images_of("colour")
    recipe = recipes.Recipe("cifar_net", DEEPER_EPOCHS, recipes.sgd, 0.05, recipes.photos, batch_size=64)
    return _curves(_trained(lambda kind: CifarNet(), recipe, "colour", seed),
                   images[TRAINED_ON:TRAINED_ON + JUDGED_ON], FINE)


def _images_of(kind: str) -> data.Dataset:
    """4,000 images: digits, or the photographs without loss, in colour or as their luminance in 256 levels."""
    if kind == "digits":
        return data.load("mnist", "test").sample(4000, seed=SEED)
    photos = data.load("cifar10_lossless", "test")
    if kind == "colour":
        return photos
    luminance = torch.einsum("nchw,c->nhw", photos.images, torch.tensor([0.299, 0.587, 0.114]))[:, None]
    return data.Dataset(photos.name, photos.split, (luminance * 255).round() / 255, photos.labels, photos.classes,
                        photos.source)


def _lenet(kind: str) -> nn.Module:
    """LeNet with as many inputs as such images have."""
    channels, side = _images_of(kind).images.shape[1:3]
    net = LeNet()
    net[1] = nn.Conv2d(channels, 6, 5, padding=2)
    net[8] = nn.Linear(16 * ((side // 2 - 4) // 2) ** 2, 120)
    if kind != "digits":
        net[0] = Normalize(*([sum(each) / 3] for each in CIFAR10_PIXELS) if kind == "grey" else CIFAR10_PIXELS)
    return net


def _trained(build: Callable[[str], nn.Module], recipe: recipes.Recipe, kind: str, seed: int) -> nn.Module:
    """A net trained once on 3,000 images of a kind, then kept in the cache under the recipe's name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the initial weights
        net = build(kind)
    name = f"{recipe.network}-{kind}-{TRAINED_ON}-{recipe.digest}-seed{seed}.safetensors"
    path = data.cache_folder() / "checkpoints" / name
    if path.exists():
        net.load_state_dict(load_file(path))
    else:
        training.fit(net, _images_of(kind)[:TRAINED_ON], seed=seed, progress=False, **recipe.options())
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(net.state_dict()), path)
    return net.requires_grad_(False).eval()


def kinds_table(results: list) -> dict:
    return {"trained on": TRAINED_ON, "images": JUDGED_ON, "epochs": EPOCHS, "eps": FINE,
            "kinds": nested("kind", "seed")(results)}


# --- attackers that do not know of the JPEG, and attackers that do ------------------------------

BROKEN, BROKEN_IMAGES, BROKEN_EPS = (50, 10), 60, 0.1
PHOTO_EPS, PHOTO_IMAGES = 4 / 255, 40
SMALLEST = {"ddn": attacks.ddn, "cw": attacks.carlini_wagner}


def broken(seed: int) -> dict:
    """LeNet behind JPEG: which images stay right after each attack, eps 0.1; what the smallest perturbations do."""
    test = data.load("mnist", "test").sample(1000, seed=SEED)[:BROKEN_IMAGES]
    smallest = SMALLEST if seed == SEED else {"ddn": attacks.ddn}  # the dearer one on one training only
    return _broken(recipes.pretrained("lenet", seed=seed), test, BROKEN_EPS, BROKEN, smallest)


def photo() -> dict:
    """The same for CifarNet, which met JPEG in training and these 4,000 photographs in none; eps 4/255.  And its
    curves.
    """
    net, test = zoo.pretrained("cifar_net", "cifar10_lossless"), data.load("cifar10_lossless", "test")
    found = _broken(net, test[:PHOTO_IMAGES], PHOTO_EPS, (50,), {"ddn": attacks.ddn})
    return found | {"images": PHOTO_IMAGES, "eps": PHOTO_EPS, "curve images": CURVE_IMAGES, "curve eps": FINE,
                    "curves": _curves(net, test[:CURVE_IMAGES], FINE)}


def _broken(net: nn.Module, test: data.Dataset, eps: float, qualities: tuple[int, ...],
            smallest: dict[str, Callable]) -> dict:
    """Right or wrong for each image: "bare" without JPEG, and for each quality "unaware", made on the bare net, and
    "aware".  "smallest": by attack the lengths, and who is right behind the codec.
    """
    x, y = test.images, test.labels
    walk = lambda model: attacks.pgd(model, x, y, eps=eps, generator=_generator())
    worst = lambda model: attacks.strongest(model, x, y, eps=eps, generator=_generator())
    blind = {"clean": x, "fgsm": attacks.fgsm(net, x, y, eps=eps), "pgd": walk(net), "strongest": worst(net)}
    least = {name: attack(net, x, y) for name, attack in smallest.items()}
    found = {"bare": {name: _right(net, images, y) for name, images in blind.items()},
             "bare smallest": {name: _sized(net, x, images, y) for name, images in least.items()}, "behind": {}}
    for quality in qualities:
        layer, smooth = (nn.Sequential(jpeg.JPEG(quality, rounding=how), net) for how in jpeg.ROUNDINGS)
        known = {"identity": walk(attacks.BPDA(net, partial(jpeg.compress, quality=quality))),
                 "straight-through": walk(layer), "smooth": walk(smooth), "strongest": worst(layer)}
        judge = partial(_right, net, y=y, quality=quality)
        found["behind"][str(quality)] = {
            "unaware": {name: judge(images) for name, images in blind.items()},
            "aware": {name: judge(images) for name, images in known.items()},
            "smallest unaware": {name: _sized(net, x, images, y, quality) for name, images in least.items()},
            "smallest aware": {name: _sized(net, x, attack(layer, x, y), y, quality)
                               for name, attack in smallest.items()}}
    return found


def _sized(net: nn.Module, x: Tensor, images: Tensor, y: Tensor, quality: int | None = None) -> dict:
    return {"l2": [round(length, 4) for length in geometry.norm(images - x, "l2").tolist()],
            "right": _right(net, images, y, quality)}


def broken_table(results: list) -> dict:
    return {"images": BROKEN_IMAGES, "eps": BROKEN_EPS, "qualities": BROKEN, "seeds": nested("seed")(results)}


def harder(quality: int, seed: int) -> dict:
    """LeNet behind JPEG once more: forward through the codec, back through the mean of the identity and the smooth
    codec.  Which images stay right after PGD and after the strongest attack, eps 0.1.
    """
    net, test = recipes.pretrained("lenet", seed=seed), data.load("mnist", "test").sample(1000, seed=SEED)
    x, y, smooth = test.images[:BROKEN_IMAGES], test.labels[:BROKEN_IMAGES], jpeg.JPEG(quality, rounding="smooth")
    known = attacks.BPDA(net, jpeg.JPEG(quality), lambda images: (images + smooth(images)) / 2)
    return {name: _right(net, attack(known, x, y, eps=BROKEN_EPS, generator=_generator()), y, quality)
            for name, attack in (("pgd", attacks.pgd), ("strongest", attacks.strongest))}


# --- chance ------------------------------------------------------------------------------------------

DRAWS, ANSWERS, STEPS = 8, 20, 20
CHANCES = {"quality": random_quality, "blocks": random_blocks}


def chance(chance: str, seed: int) -> dict:
    """How often LeNet behind JPEG with chance is wrong about each image, over fresh draws, after attacks of eps 0.1."""
    net, transform = recipes.pretrained("lenet", seed=seed), CHANCES[chance]
    test = data.load("mnist", "test").sample(1000, seed=SEED)[:BROKEN_IMAGES]
    x, y = test.images, test.labels
    walk = lambda model: attacks.pgd(model, x, y, eps=BROKEN_EPS, steps=STEPS, generator=_generator())
    found = {"clean": x, "bare net": walk(net), "one draw a step": walk(Randomized(net, transform, seed=1)),
             "mean of draws": walk(attacks.EOT(net, transform, DRAWS))}
    judge = Randomized(net, transform, seed=2)
    wrong = {name: sum(~evaluation.classified_right(judge, images, y) for _ in range(ANSWERS)) / ANSWERS
             for name, images in found.items()}
    return {name: 1 - each.mean().item() for name, each in wrong.items()} | {
        "no JPEG": _mean(_right(net, found["bare net"], y))}


def chance_table(results: list) -> dict:
    return {"images": BROKEN_IMAGES, "eps": BROKEN_EPS, "draws": DRAWS, "answers": ANSWERS, "steps": STEPS,
            "left": nested("chance", "seed")(results)}


# --- larger images --------------------------------------------------------------------------------------

SIDES, LARGER = (28, 32, 56, 112), (50, 10)


def larger(side: int, seed: int) -> dict:
    """LeNet behind JPEG of digits brought to this side: 32 by a black border, so that blocks fit, else enlarged.

    Accuracy without JPEG ("none", there and back only) and at each quality: clean, after PGD on the bare net, and
    after PGD that knows; eps 0.1.
    """
    net, test = recipes.pretrained("lenet", seed=seed), data.load("mnist", "test").sample(1000, seed=SEED)
    x, y = test.images[:BROKEN_IMAGES], test.labels[:BROKEN_IMAGES]
    walk = lambda model: attacks.pgd(model, x, y, eps=BROKEN_EPS, steps=STEPS, generator=_generator())
    blind, found = walk(net), {}
    for quality in (None, *LARGER):
        codec = nn.Identity() if quality is None else partial(jpeg.compress, quality=quality)
        layer = nn.Identity() if quality is None else jpeg.JPEG(quality)
        known = walk(lambda images: net(_at_side(images, side, layer)))
        found[str(quality or "none")] = {name: _mean(_right(net, _at_side(images, side, codec), y)) for name, images in
                                         (("clean", x), ("unaware", blind), ("aware", known))}
    return found


def _at_side(images: Tensor, side: int, codec: Callable[[Tensor], Tensor]) -> Tensor:
    """Digits (N, 1, 28, 28) brought to this side, through the codec, and back."""
    if side == 32:
        return codec(F.pad(images, (2,) * 4))[..., 2:-2, 2:-2]
    if side == 28:
        return codec(images)
    large = F.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    return F.avg_pool2d(codec(large.clamp(0, 1)), side // 28)


def larger_table(results: list) -> dict:
    return {"images": BROKEN_IMAGES, "eps": BROKEN_EPS, "sides": nested("side", "seed")(results)}


# --- what they share ---------------------------------------------------------------------------------------

def _right(net: nn.Module, images: Tensor, y: Tensor, quality: int | None = None) -> list[int]:
    """1 for each image that the net has right, behind the real codec if a quality is given."""
    seen = images if quality is None else jpeg.compress(images, quality)
    return evaluation.classified_right(net, seen, y).int().tolist()


def _mean(hits: list[int]) -> float:
    return sum(hits) / len(hits)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


MNIST, PHOTOS = ["mnist train", "mnist test"], ["cifar10_lossless test"]
RESNETS = range(1)

RECORDS = {
    "08-curves": Grid(curve, [*({"net": "lenet", "seed": seed} for seed in SEEDS),
                              *({"net": "mnist_resnet", "seed": seed} for seed in RESNETS)],
                      lambda results: {"images": CURVE_IMAGES, "eps": EPS, "nets": nested("net", "seed")(results)},
                      MNIST, SEED),
    "08-broken": Grid(broken, [{"seed": seed} for seed in SEEDS], broken_table, MNIST, SEED),
    "08-harder": Grid(harder, [{"quality": quality, "seed": seed} for quality in BROKEN for seed in SEEDS],
                      nested("quality", "seed"), MNIST, SEED),
    "08-kinds": Grid(kind, [{"kind": name, "seed": seed} for name in KINDS for seed in SEEDS], kinds_table,
                     ["mnist test", *PHOTOS], SEED),
    "08-deeper": Grid(deeper, [{"seed": seed} for seed in SEEDS],
                      lambda results: {"trained on": TRAINED_ON, "images": JUDGED_ON, "epochs": DEEPER_EPOCHS,
                                       "eps": FINE, "nets": nested("seed")(results)}, PHOTOS, SEED),
    "08-chance": Grid(chance, [{"chance": name, "seed": seed} for name in CHANCES for seed in SEEDS], chance_table,
                      MNIST, SEED),
    "08-larger": Grid(larger, [{"side": side, "seed": seed} for side in SIDES for seed in SEEDS], larger_table,
                      MNIST, SEED),
    "08-photo": Grid(photo, data=PHOTOS, seed=SEED),
}
