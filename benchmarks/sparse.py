"""JSMA and one pixel against other libraries: `python benchmarks/sparse.py`.

Goal: at least 3 times faster than the fastest correct peer at equal success.  JSMA takes
the same steps as torchattacks, so success and number of pixels agree; ART takes the two
pixels in which the target's logit rises fastest, which is another attack (and on LeNet
needs fewer pixels: the sum of all other logits does not have to fall).  One pixel: the
evolutions have the same number of candidates and generations; the exhaustive search
finds at least as much with fewer candidates.  Few images fall to one pixel, so the
images stand near the boundary: there the success of the sides differs, if it does.
"""

from __future__ import annotations

import numpy as np
import torch

import compare
from advlens import data, zoo
from advlens.attacks import jsma, one_pixel, one_pixel_exhaustive
from advlens.attacks.jsma import contenders
from advlens.evaluation import evaluate
from advlens.kernels.jsma import best_pair

STEPS = 40             # of JSMA, two features each
POPULATION, GENERATIONS = 399, 10  # ART's population is the largest multiple of 3 below 400


def jsma_table(model, x, y, repetitions: int) -> str:
    target, gamma = (y + 1) % 10, 2 * STEPS / x[0].numel()
    theirs = compare.peer("torchattacks").JSMA(model, theta=1.0, gamma=gamma)  # attacks the next class by default
    art = compare.peer("art.attacks.evasion").SaliencyMapMethod(compare.art(model, x), 1.0, gamma, len(x),
                                                                verbose=False)
    return compare.attacks(
        f"JSMA, next class, theta 1, {STEPS} steps; norm: pixels", ">= 3 x torchattacks", model, x, target, {
            "advlens": lambda: jsma(model, x, y, target=target, gamma=gamma),
            "torchattacks": lambda: theirs(x, y),
            "ART (top-2 gradients)": lambda: torch.from_numpy(art.generate(x.numpy(), target.numpy())),
        }, norm="l0", targeted=True, repetitions=repetitions)


def one_pixel_table(model, x, y, repetitions: int) -> str:
    theirs = compare.peer("torchattacks").OnePixel(model, pixels=1, steps=GENERATIONS, popsize=POPULATION,
                                                   inf_batch=200)
    art = compare.peer("art.attacks.evasion").PixelAttack(compare.art(model, x), th=1, es=1, max_iter=GENERATIONS)

    def ours():
        return one_pixel(model, x, y, population=POPULATION, generations=GENERATIONS,
                         generator=torch.Generator().manual_seed(0))

    def with_numpys_seed(attack):  # the only way to make the peers repeatable
        np.random.seed(0)
        return attack()

    return compare.attacks(
        f"One pixel, {POPULATION} candidates, {GENERATIONS} generations, images near the boundary; norm: pixels",
        ">= 3 x the fastest peer", model, x, y, {
            "advlens, exhaustive": lambda: one_pixel_exhaustive(model, x, y),
            "advlens, evolution": ours,
            "torchattacks": lambda: with_numpys_seed(lambda: theirs(x, y)),
            "ART": lambda: with_numpys_seed(lambda: torch.from_numpy(art.generate(x.numpy(), y.numpy()))),
        }, norm="l0", repetitions=repetitions)


def every_pair(a, b):
    """All pairs in one map, n x n for each image."""
    rise, fall = a[:, :, None] + a[:, None], b[:, :, None] + b[:, None]
    return torch.where((rise > 0) & (fall > 0), rise * fall, 0).triu(1).flatten(1).argmax(1)


def pairs_table(model, x) -> str:
    point = x.clone().requires_grad_()
    logits = model.eval()(point)
    rise, = torch.autograd.grad(logits[:, 0].sum(), point, retain_graph=True)
    fall, = torch.autograd.grad(2 * logits[:, 0].sum() - logits.sum(), point)
    a, b = rise.flatten(1), fall.flatten(1)
    left = contenders(a, b)[0].shape[1]
    return compare.times(
        f"Pair search of JSMA, {len(x)} images of {a.shape[1]} features, gradients of LeNet",
        "faster than the map of all pairs", {
            "advlens, contenders": lambda: best_pair(*contenders(a, b)[1:]),
            "advlens, every tile": lambda: best_pair(a, b),
            "map of all pairs": lambda: every_pair(a, b),
        }, note=f"contenders: {left} of {a.shape[1]} features are left for the search")


def table(images: int = 20, repetitions: int = 3) -> str:
    test = data.load("mnist", "test", fallback="digits")[:1000]
    model = zoo.pretrained("lenet", test.name)
    margin = evaluate(model, test.images, test.images, test.labels).margin
    near = margin.masked_fill(margin > 0, -torch.inf).topk(4 * images).indices[::4]
    return "\n".join([jsma_table(model, test.images[:images], test.labels[:images], repetitions),
                      one_pixel_table(model, test.images[near], test.labels[near], repetitions),
                      pairs_table(model, test.images[:100])])


if __name__ == "__main__":
    print(compare.HEADER)
    print(table())
