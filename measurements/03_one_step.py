"""Chapter 03: one step.  Curves of FGSM and FGM, and the sources' own experiments, on real data."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlens import attacks, data, evaluation, geometry, training, zoo
from advlens.course.measuring import Grid, device, nested

SEED = 0
STEPS = {"fgsm": attacks.fgsm, "fgm": attacks.fgm}
# The two data sets share 8/255 and 0.1 (FGSM) and 0.5, 1 and 2 (FGM), so that they can be compared there.
EPS = {
    "mnist": {"fgsm": (0, 8 / 255, 0.05, 0.1, 0.15, 0.2, 0.3), "fgm": (0, 0.5, 1, 2, 3, 4)},
    "cifar10": {"fgsm": (0, 1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 0.1), "fgm": (0, 0.1, 0.25, 0.5, 1, 2)},
}
NETS = ("lenet", "mnist_resnet", "cifar_net", "vgg_blocks")
HONEST_EPS = {"lenet": 0.1, "mnist_resnet": 0.1, "cifar_net": 2 / 255}


def curves(net: str, attack: str) -> dict:
    """Accuracy against eps of one net under FGSM or FGM, complete test set."""
    dataset = zoo.NETWORKS[net][1]
    model, test = zoo.pretrained(net).to(device()), data.load(dataset, "test")
    return evaluation.robust_curve(model, test, attack=STEPS[attack], eps=EPS[dataset][attack])._asdict()


def eights() -> dict:
    """The smallest FGSM and FGM step that fools LeNet, for every 8 of the test set, in both norms (unam2021)."""
    net, test = zoo.pretrained("lenet"), data.load("mnist", "test")
    test = test[test.labels == 8]
    grids = {"fgsm": torch.arange(1, 101) / 200, "fgm": torch.arange(1, 101) / 20}
    found = {name: _smallest(net, test.images, test.labels, step, grids[name]) for name, step in STEPS.items()}
    both = ~torch.isnan(found["fgsm"]["eps"]) & ~torch.isnan(found["fgm"]["eps"])
    values = {"n": len(test), "both": int(both.sum())}
    for name, sizes in found.items():
        values[name] = {key: value[both].median().item() for key, value in sizes.items()}
    return values


def _smallest(net: nn.Module, x: Tensor, y: Tensor, step, grid: Tensor) -> dict[str, Tensor]:
    """Per image, the first eps of the ascending grid that fools the net, and both norms there; nan where none does.

    Images that are wrong without any attack are nan, too.
    """
    found = {key: torch.full((len(x),), torch.nan) for key in ("eps", "l2", "linf")}
    open_ = evaluation.logits(net, x).argmax(1) == y
    for eps in grid.tolist():
        rows = open_.nonzero().squeeze(1)
        if len(rows) == 0:
            break
        judged = evaluation.evaluate(net, x[rows], step(net, x[rows], y[rows], eps=eps), y[rows])
        fallen = rows[judged.success]
        for key, value in (("eps", torch.full_like(judged.l2, eps)), ("l2", judged.l2), ("linf", judged.linf)):
            found[key][fallen] = value[judged.success]
        open_[fallen] = False
    return found


def protocol() -> dict:
    """marinelli's choices on VGG blocks: squared error against cross-entropy, with and without clipping, two eps."""
    net, test = zoo.pretrained("vgg_blocks"), data.load("cifar10", "test").sample(2000, SEED)
    x, y = test.images, test.labels
    values: dict = {"n": len(test), "clean": _kept(net, x, y), "zero": {}}
    slopes = {loss: torch.cat([_gradient(net, a, b, attacks.losses.named(loss)) for a,
                               b in zip(x.split(500), y.split(500))])
              for loss in ("ce", "naive_ce", "mse")}
    for loss, g in slopes.items():
        values["zero"][loss] = (geometry.norm(g, "linf") == 0).float().mean().item()
    for label, eps in (("2/255", 2 / 255), ("0.1", 0.1)):
        values[label] = {}
        for loss, g in slopes.items():
            free = x + eps * g.sign()
            values[label][loss] = {"accuracy": _kept(net, free.clamp(0, 1), y), "unclipped": _kept(net, free, y)}
            values[label]["outside"] = ((free < 0) | (free > 1)).float().mean().item()
    return values


def frog() -> dict:
    """The first eps at which each step flips CIFAR-10's train[0] on CifarNet; JPEG copy and lossless copy."""
    net = zoo.pretrained("cifar_net")
    copies = {"q75": data.load("cifar10", "train")[0], "lossless": data.load("cifar10_lossless", "test")[0]}
    grids = {"fgsm": torch.linspace(0, 0.1, 2001), "fgm": torch.linspace(0, 5, 2001)}
    values: dict = {}
    for name, image in copies.items():
        values[name] = {"clean": net(image.images).argmax(1).item()}
        for attack, step in STEPS.items():
            values[name][attack] = _first(net, image, step, grids[attack])
    return values


def _first(net: nn.Module, image: data.Dataset, step, grid: Tensor) -> dict | None:
    """The first eps of the grid that fools the net, both norms there, and the class it answers; None if none does."""
    for part in grid.split(250):
        x, y = image.images.expand(len(part), -1, -1, -1), image.labels.expand(len(part))
        adversarial = step(net, x, y, eps=part)
        judged = evaluation.evaluate(net, x, adversarial, y)
        if judged.success.any():
            i = int(judged.success.nonzero()[0])
            answer = image.classes[evaluation.logits(net, adversarial[i:i + 1]).argmax()]
            return {"eps": part[i].item(), "l2": judged.l2[i].item(), "linf": judged.linf[i].item(), "answer": answer}
    return None


def cutilli() -> dict:
    """FC-100-100-10 under FGSM with eps = 77/255: our net, and one trained by cutilli2021's recipe.

    The recipe: no normalisation, sigmoid outputs, squared error on one-hot targets (summed over
    the classes, averaged over the batch), SGD with momentum 0.9 and step 0.002, batches of 20,
    at most 100 epochs, patience 20, 55,800 / 4,200 images.  "smaller steps" looks for the eps at
    which the reported accuracy would be reached; "transfer" attacks it with examples made on our net.
    """
    test = data.load("mnist", "test")
    x, y = test.images, test.labels
    ours, (net, history) = zoo.pretrained("fully_connected"), _recipe(data.load("mnist"))
    eps = 77 / 255
    values: dict = {"n": len(test), "eps": eps, "epochs": len(history),
                    "validation accuracy": max(history.validation_accuracy)}
    for name, model in (("ours", ours), ("recipe", net)):
        values[name] = {"clean": _kept(model, x, y)}
        for loss, function in (("ce", "ce"), ("mse", _squared_error)):
            values[name][loss] = _kept(model, attacks.fgsm(model, x, y, eps=eps, loss=function), y)
    values["transfer"] = _kept(net, attacks.fgsm(ours, x, y, eps=eps), y)
    values["unclipped"] = _kept(net, x + eps * _gradient(net, x, y, _squared_error).sign(), y)
    values["smaller steps"] = {str(k): _kept(net, attacks.fgsm(net, x, y, eps=k / 255, loss=_squared_error), y)
                               for k in range(10, 78)}
    return values


def _recipe(mnist: data.Dataset) -> tuple[nn.Module, training.History]:
    order = torch.randperm(len(mnist), generator=torch.Generator().manual_seed(SEED))
    with torch.random.fork_rng():
        torch.manual_seed(SEED)  # the initial weights
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.Sigmoid(), nn.Linear(100, 100), nn.Sigmoid(),
                            nn.Linear(100, 10))
    history = training.fit(net, mnist[order[:55_800]], validation=mnist[order[55_800:]], epochs=100, patience=20,
                           batch_size=20, optimizer=partial(torch.optim.SGD, momentum=0.9), learning_rate=0.002,
                           loss=lambda z, y: _squared_error(z, y).mean(), seed=SEED, progress=False)
    return net.requires_grad_(False), history


def _squared_error(z: Tensor, y: Tensor) -> Tensor:
    """Sum over the classes of (sigmoid(logit) - one-hot)^2, (N,)."""
    return (z.sigmoid() - F.one_hot(y, z.shape[1])).pow(2).sum(1)


def honest(net: str, attack: str) -> dict:
    """One net under nothing, random signs, FGSM or PGD-40 at one eps, on 1,000 images."""
    model, test = zoo.pretrained(net).to(device()), data.load(zoo.NETWORKS[net][1], "test").sample(1000, SEED)
    generator = torch.Generator().manual_seed(SEED)
    strike = {"clean": lambda model, x, y, eps: x, "fgsm": attacks.fgsm,
              "noise": partial(attacks.noise, draws=1, generator=generator),
              "pgd": partial(attacks.pgd, steps=40, first_success=True, generator=generator)}[attack]
    return evaluation.robust_accuracy(model, test, attack=partial(strike, eps=HONEST_EPS[net]))._asdict()


def by_net(results: list) -> dict:
    """Each net's eps and rates, and how many images."""
    values = {net: {"eps": HONEST_EPS[net]} | rates for net, rates in nested("net", "attack")(results).items()}
    return {"n": results[0][1]["n"]} | values


def _gradient(net: nn.Module, x: Tensor, y: Tensor, loss) -> Tensor:
    """The gradient of each image's loss with respect to the image, (N, C, H, W)."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(net(x), y).sum(), x)[0]


def _kept(net: nn.Module, x: Tensor, y: Tensor) -> dict:
    """Share of images that are classified right, with its interval."""
    return evaluation.rate(evaluation.logits(net, x).argmax(1) == y)._asdict()


RECORDS = {
    "03-curves": Grid(curves, [{"net": net, "attack": attack} for net in NETS for attack in STEPS],
                      nested("net", "attack"), ["mnist test", "cifar10 test"]),
    "03-eights": Grid(eights, data=["mnist test"]),
    "03-protocol": Grid(protocol, data=["cifar10 test"], seed=SEED),
    "03-frog": Grid(frog, data=["cifar10 train", "cifar10_lossless test"]),
    "03-cutilli": Grid(cutilli, data=["mnist train", "mnist test"], seed=SEED),
    "03-honest": Grid(honest, [{"net": net, "attack": attack} for net in HONEST_EPS
                               for attack in ("clean", "noise", "fgsm", "pgd")],
                      by_net, ["mnist test", "cifar10 test"], SEED),
}
