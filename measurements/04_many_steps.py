"""Chapter 04: many steps.  FGSM against PGD, the knobs of PGD, its starts, confident nets, the strongest attack."""

from __future__ import annotations

import copy
import warnings
from functools import partial

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.attacks.losses import cross_entropy

SEED = 0
MNIST_EPS = (0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 77 / 255)  # 77/255 is the budget of cutilli2021
CIFAR_EPS = tuple(k / 255 for k in (0, 0.5, 1, 1.5, 2, 3, 4, 8))
L2_EPS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3)
NETS = {"lenet": MNIST_EPS, "mnist_resnet": MNIST_EPS, "fully_connected": MNIST_EPS, "cifar_net": CIFAR_EPS, "vgg_blocks": CIFAR_EPS}


def strongest(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, norm: str = "linf", generator: torch.Generator | None = None) -> Tensor:
    """Five starts of PGD-40 with the cross-entropy, then five more with the margin loss for what still stands."""
    many = partial(attacks.pgd, model, eps=eps, norm=norm, restarts=5, first_success=True, generator=generator)
    adversarial = many(x, y, loss="ce")
    left = evaluation.logits(model, adversarial).argmax(1) == y
    if left.any():
        adversarial[left] = many(x[left], y[left], loss="margin")
    return adversarial


def noise(model: nn.Module, x: Tensor, y: Tensor, *, eps: float, tries: int = 10, generator: torch.Generator | None = None) -> Tensor:
    """Random noise with every pixel at +eps or -eps: of `tries` draws, the first that fools the model."""
    adversarial = x.clone()
    for _ in range(tries):
        left = evaluation.logits(model, adversarial).argmax(1) == y
        sign = torch.rand(x.shape, generator=generator).sub(0.5).sign()
        adversarial[left] = (x + eps * sign).clamp(0, 1)[left]
    return adversarial


def scaled(net: nn.Sequential, factor: float) -> nn.Sequential:
    """The same net with all logits multiplied by `factor`: it decides the same, and is surer of it."""
    net = copy.deepcopy(net)
    net[-1].weight.data *= factor
    net[-1].bias.data *= factor
    return net


def curves() -> tuple[dict, str, int]:
    """FGSM and PGD-40 on five nets: accuracy against eps."""
    found, sources = {}, []
    for name, eps in NETS.items():
        net, test = _net_and_images(name, 1000)
        sources.append(test.source)
        pgd = partial(attacks.pgd, steps=40, first_success=True, generator=_generator())
        found[name] = {"test accuracy": zoo.card(name)["test accuracy"]} | {
            attack: evaluation.robust_curve(net, test.images, test.labels, strike, eps, batch_size=250, progress=True)._asdict()
            for attack, strike in (("fgsm", attacks.fgsm), ("pgd", pgd))}
    return {"steps": 40, "nets": found}, _joined(sources), SEED


def knobs() -> tuple[dict, str, int]:
    """Accuracy of LeNet under PGD: steps x step size, with and without a random start, and after 1 to 20 starts."""
    eps = 0.1
    net, test = _net_and_images("lenet", 500)
    x, y = test.images, test.labels
    steps, reach = (1, 2, 5, 10, 20, 40, 100), (0.5, 1.0, 2.5, 5.0, 10.0)  # reach: steps x step size, in units of eps

    def left(**settings) -> float:
        attack = partial(attacks.pgd, eps=eps, first_success=True, generator=_generator(), **settings)
        return evaluation.robust_accuracy(net, x, y, attack).value

    cells = tqdm([(k, r) for k in steps for r in reach], desc="steps x step size")
    grid = {(k, r): left(steps=k, step_size=r * eps / k) for k, r in cells}
    generator, standing, after = _generator(), torch.ones_like(y, dtype=torch.bool), []
    for _ in tqdm(range(20), desc="starts"):
        still = standing.clone()
        adversarial = attacks.pgd(net, x[still], y[still], eps=eps, steps=40, first_success=True, generator=generator)
        standing[still] = evaluation.logits(net, adversarial).argmax(1) == y[still]
        after.append(evaluation.rate(standing)._asdict())
    return {"eps": eps, "images": len(y), "steps": steps, "reach": reach,
            "accuracy": [[grid[k, r] for r in reach] for k in steps],
            "after starts": after,
            "start at x": left(steps=40, random_start=False), "random start": left(steps=40)}, test.source, SEED


def starts() -> tuple[dict, str, int]:
    """Twenty walks from random starts on each of 100 images: where their losses end, and how far apart they end."""
    eps, walks, steps = 0.1, 20, 100
    net, test = _net_and_images("lenet", 110)
    right = evaluation.logits(net, test.images).argmax(1) == test.labels
    x, y = test.images[right][:100], test.labels[right][:100]
    ends, generator = [], _generator()
    for _ in tqdm(range(walks), desc="starts"):
        ends.append(attacks.pgd(net, x, y, eps=eps, steps=steps, generator=generator))
    logits = torch.stack([evaluation.logits(net, end) for end in ends])  # (walks, images, K)
    loss = torch.stack([cross_entropy(z, y) for z in logits])
    noises = (torch.stack(ends) - x).flatten(2)  # (walks, images, pixels)
    apart = (noises[:, None] - noises[None]).norm(dim=-1).sum((0, 1)) / (walks * (walks - 1))
    fooled = logits.argmax(2) != y
    corner = (noises.abs() > 0.99 * eps) | ((x + noises.view(walks, *x.shape)).flatten(2) % 1 == 0)
    clean = cross_entropy(evaluation.logits(net, x), y)
    return {"eps": eps, "images": len(y), "starts": walks, "steps": steps,
            "clean loss": clean.mean().item(),
            "mean": loss.mean(0).tolist(), "low": loss.amin(0).tolist(), "high": loss.amax(0).tolist(),
            "within images": loss.var(0).mean().sqrt().item(), "between images": loss.mean(0).std().item(),
            "start decides": ((fooled.any(0)) & ~fooled.all(0)).float().mean().item(),
            "distance": apart.mean().item(), "length": noises.norm(dim=-1).mean().item(),
            "pixels at the edge": corner.float().mean().item()}, test.source, SEED


def confident() -> tuple[dict, str, int]:
    """LeNet with its logits x 1, x 10, x 100: zero gradients, and PGD-20 with cross-entropy, temperatures, margin."""
    eps, steps, temperatures = 0.15, 20, (1, 10, 100, 1000, 10_000, 100_000)
    lenet, test = _net_and_images("lenet", 1000)
    right = evaluation.logits(lenet, test.images).argmax(1) == test.labels
    x, y = test.images[right], test.labels[right]
    found = {}
    for factor in tqdm((1, 10, 100), desc="logits"):
        net = scaled(lenet, factor)

        def fooled(loss) -> dict:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", geometry.ZeroGradientWarning)  # it is what we count below
                adversarial = attacks.pgd(net, x, y, eps=eps, steps=steps, loss=loss, first_success=True, generator=_generator())
            return evaluation.rate(evaluation.logits(net, adversarial).argmax(1) != y)._asdict()

        found[str(factor)] = {
            "gap": (-evaluation.evaluate(net, x, x, y).margin).median().item(),
            "zero gradient": {str(t): _zero_gradients(net, x, y, t) for t in temperatures},
            "zero loss": (cross_entropy(evaluation.logits(net, x), y) == 0).float().mean().item(),
            "ce": {str(t): fooled(lambda z, y: cross_entropy(z / t, y)) for t in temperatures},
            "margin": fooled("margin")}
    return {"eps": eps, "steps": steps, "images": len(y), "temperatures": temperatures, "logits": found}, test.source, SEED


def honest() -> tuple[dict, str, int]:
    """LeNet from random noise to the strongest attack, in both balls and without a ball; five nets at one eps."""
    n = 1000
    net, test = _net_and_images("lenet", n)
    x, y = test.images, test.labels
    curve = partial(evaluation.robust_curve, net, x, y, progress=True)
    linf = {"noise": curve(partial(noise, generator=_generator()), MNIST_EPS), "fgsm": curve(attacks.fgsm, MNIST_EPS),
            "bim": curve(attacks.bim, MNIST_EPS),
            "pgd": curve(partial(attacks.pgd, first_success=True, generator=_generator()), MNIST_EPS),
            "strongest": curve(partial(strongest, generator=_generator()), MNIST_EPS)}
    l2 = {"fgm": curve(attacks.fgm, L2_EPS),
          "pgd-l2": curve(partial(attacks.pgd, norm="l2", first_success=True, generator=_generator()), L2_EPS),
          "strongest": curve(partial(strongest, norm="l2", generator=_generator()), L2_EPS)}
    unbounded = evaluation.robust_accuracy(net, x, y, partial(strongest, eps=1.0, generator=_generator()))
    nets, sources = {}, []
    for name in tqdm(NETS, desc="nets"):
        eps = 0.1 if NETS[name] is MNIST_EPS else 2 / 255
        other, sample = _net_and_images(name, n)
        sources.append(sample.source)
        nets[name] = {"eps": eps} | {
            attack: evaluation.robust_accuracy(other, sample.images, sample.labels, partial(strike, eps=eps), batch_size=250)._asdict()
            for attack, strike in (("noise", partial(noise, generator=_generator())), ("fgsm", attacks.fgsm),
                                   ("pgd", partial(attacks.pgd, first_success=True, generator=_generator())),
                                   ("strongest", partial(strongest, generator=_generator())))}
    return {"images": n, "linf": {k: c._asdict() for k, c in linf.items()}, "l2": {k: c._asdict() for k, c in l2.items()},
            "unbounded": unbounded._asdict(), "nets": nets}, _joined(sources), SEED


def _zero_gradients(net: nn.Module, x: Tensor, y: Tensor, temperature: float) -> float:
    """Share of images whose cross-entropy at this temperature has an input gradient of exactly 0 in every pixel."""
    point = x.clone().requires_grad_()
    gradient = torch.autograd.grad(cross_entropy(net(point) / temperature, y).sum(), point)[0]
    return (gradient == 0).flatten(1).all(1).float().mean().item()


def _net_and_images(name: str, n: int) -> tuple[nn.Module, data.Dataset]:
    """A pretrained net and n test images of the data set it was trained on, always the same ones."""
    real = zoo.NETWORKS[name][1]
    return zoo.pretrained(name), data.load(real, "test").sample(n, seed=SEED)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def _joined(sources: list[str]) -> str:
    return "; ".join(dict.fromkeys(sources))


RECORDS = {"04-curves": curves, "04-knobs": knobs, "04-starts": starts, "04-confident": confident, "04-honest": honest}
