"""The judge judged: `python benchmarks/judge.py [net ...]`, all of it in about half an hour on one thread.

Per network, 300 test images at one eps where 3 to 50 % of them survive: how many are left after
`attacks.strongest`, after each of its parts alone, and after the peers; forward and backward
passes an image, and the processor's seconds in units of ours.
Goals: strongest leaves no more images than any other line; LeNet at 0.1 at most 4 %, FC at 0.05
at most 44 %; at most half the passes of AutoAttack.

The peers take hours, so their figures are kept in the record `judge-peers` and read back.
`--peers` runs those that the record lacks, and adds each as soon as it is measured, so that it
can be interrupted; delete the record to measure all of them again.

Then what the cross-entropy loses in float32: how often its signs are wrong (our gradient and that of each
peer, float64 as reference), and what PGD-40 then still finds when the logits grow.
"""

from __future__ import annotations

import copy
import sys
import time
import warnings
from functools import partial

import torch

from advlens import attacks, data, evaluation, geometry, zoo
from advlens.attacks.strongest import QUERIES, strongest
from advlens.course import records
from advlens.inputs import frozen, image_gradient
from compare import art, peer

IMAGES = 300
EPS = {"lenet": 0.1, "fully_connected": 0.05, "hebbian_bio": 0.15, "hebbian_bp": 0.1, "mnist_resnet": 0.1,
       "cifar_net": 2 / 255, "vgg_blocks": 2 / 255}
RECORD, COMMAND = "judge-peers", "python benchmarks/judge.py --peers"
FACTORS = (1, 10, 100, 1000)
seeded = lambda: torch.Generator().manual_seed(0)


def minimum_norm(model, x, y, eps):
    """Images where it ends inside the ball, else x."""
    images = attacks.fmn(model, x, y, steps=100)
    outside = geometry.norm(images - x, "linf") > eps
    images[outside] = x[outside]
    return images


def apgd(loss):
    return lambda model, x, y, eps: attacks.apgd(model, x, y, eps=eps, loss=loss, steps=100, first_success=True,
                                                 generator=seeded())


OURS = {
    "strongest": lambda model, x, y, eps: strongest(model, x, y, eps=eps, generator=seeded()),
    "APGD-100, log-odds": apgd("ce"), "APGD-100, margin": apgd("margin"), "APGD-100, DLR": apgd("dlr"),
    "minimum norm, 100 steps": minimum_norm,
    f"Square, {QUERIES:,} queries": lambda model, x, y, eps: attacks.square(model, x, y, eps=eps, queries=QUERIES,
                                                                            generator=seeded()),
}


def adv_lib(name, model, x, y, eps, **settings):
    attack = getattr(peer("adv_lib.attacks.auto_pgd"), name)
    return attack(model, x, y, eps=eps, norm=float("inf"), n_iter=100, **settings)


def auto_attack(model, x, y, eps):
    return peer("torchattacks").AutoAttack(model, norm="Linf", eps=eps, version="standard", n_classes=10, seed=0)(x, y)


PEERS = {"adv-lib APGD, ce": partial(adv_lib, "apgd", loss_function="ce"),
         "adv-lib APGD, targeted": partial(adv_lib, "apgd_targeted"), "torchattacks AutoAttack": auto_attack}


def images_of(net: str, n: int) -> tuple[data.Dataset, torch.nn.Module]:
    """The first of the 1,000 test images that chapter 04 uses, and the net that was trained on such images."""
    test = data.load(zoo.NETWORKS[net][1], "test", fallback=zoo.NETWORKS[net][2])
    return test.sample(min(1000, len(test)), seed=0)[:n], zoo.pretrained(net, test.name)


def measured(attack, net: str) -> dict:
    """What an attack leaves of the images, and what it costs."""
    test, model = images_of(net, IMAGES)
    x, y, eps = test.images, test.labels, EPS[net]
    torch.manual_seed(0)  # peers draw from the global generator
    with evaluation.passes(model) as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.process_time()
        images = attack(model, x, y, eps).detach()
        seconds = time.process_time() - began
    found = evaluation.evaluate(model, x, images, y)
    if outside := (found.linf > eps + 1e-6).sum().item():
        raise ValueError(f"{outside} images lie outside the ball")
    left = (~found.success).sum().item()
    return {"data": test.name, "eps": eps, "images": len(x), "left": left, "forward": work.forward / len(x),
            "backward": work.backward / len(x), "seconds": seconds}


def kept() -> dict:
    """peer -> net -> what was measured; what the record holds so far."""
    try:
        return records.read(RECORD)["values"]
    except FileNotFoundError:
        return {}


def run_peers(nets: list[str]) -> None:
    """Measure what the record lacks."""
    for net in nets:
        for name, attack in PEERS.items():
            if net in kept().get(name, {}):
                continue
            test, _ = images_of(net, 1)
            if test.stands_for:
                raise data.DataUnavailable(f"the record wants real data, and {test.name} is a stand-in")
            point = measured(attack, net)
            values = kept()  # another process may have added to it
            values.setdefault(name, {})[net] = point
            spent = sum(point["seconds"] for points in values.values() for point in points.values())
            sources = dict.fromkeys(images_of(each, 1)[0].source for points in values.values() for each in points)
            made = records.provenance(COMMAND, source="; ".join(sources), seed=0, seconds=spent)
            records.write(RECORD, values, made)
            print(f"{name}, {net}: {point}", flush=True)


def judged(net: str) -> str:
    """The block of one net: ours measured now, the peers from the record."""
    ours = {name: measured(attack, net) for name, attack in OURS.items()}
    best = ours["strongest"]
    same = lambda row: all(row[key] == best[key] for key in ("data", "eps", "images"))
    rows = ours | {name: nets[net] for name, nets in kept().items() if net in nets and same(nets[net])}
    lines = [f"{net}, l-infinity {best['eps']:.4f}, {best['images']} images of {best['data']}"]
    for name, row in rows.items():
        fewer = "  FEWER LEFT" if row["left"] < best["left"] else ""
        lines.append(f"  {name:<28}{row['left']:>6}{row['left'] / row['images']:>8.1%}{row['forward']:>10.1f}"
                     f"{row['backward']:>10.1f}{row['seconds'] / best['seconds']:>10.2f}{fewer}")
    return "\n".join(lines)


def wrong_signs(net: str) -> dict[str, float]:
    """Share of images of which more than 10 % of the gradient's signs are wrong, for each way to compute it.

    Each peer's signs are read off its FGSM, on images squeezed a little so that nothing is cut at 0 and 1.
    """
    eps = 1 / 255
    test, model = images_of(net, IMAGES)
    x, y = test.images.clamp(2 * eps, 1 - 2 * eps), test.labels
    torchattacks, foolbox, evasion = (peer(name) for name in ("torchattacks", "foolbox", "art.attacks.evasion"))
    theirs = evasion.FastGradientMethod(art(model, x), eps=eps)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    with frozen(model):
        signs = {"cross-entropy, ours": attacks.fgsm(model, x, y, eps=eps, loss="naive_ce") - x,
                 "log-odds, ours": attacks.fgsm(model, x, y, eps=eps) - x,
                 "torchattacks": torchattacks.FGSM(model, eps=eps)(x, y) - x,
                 "Foolbox": foolbox.attacks.LinfFastGradientAttack()(bounded, x, y, epsilons=eps)[0] - x,
                 "ART": torch.from_numpy(theirs.generate(x.numpy(), y.numpy())) - x}
        exact, point = copy.deepcopy(model).double(), x.double().requires_grad_()
        reference = image_gradient(attacks.losses.log_odds(exact(point), y), point)
    wrong = lambda d: ((d.sign() != reference.sign()) & (reference != 0)).flatten(1).float().mean(1)
    return {name: (wrong(d) > 0.1).float().mean().item() for name, d in signs.items()}


def sure(factor: int) -> dict[str, float]:
    """Success of PGD-40 at eps = 0.1, on 500 images, on LeNet with its logits multiplied by the factor."""
    test, model = images_of("lenet", 500)
    x, y, eps, steps = test.images, test.labels, 0.1, 40
    model[-1].weight.data *= factor
    model[-1].bias.data *= factor
    ours = partial(attacks.pgd, model, x, y, eps=eps, steps=steps, first_success=True, generator=seeded())
    torch.manual_seed(0)
    theirs = peer("torchattacks").PGD(model, eps=eps, alpha=2.5 * eps / steps, steps=steps, random_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {"cross-entropy, ours": ours(loss="naive_ce"), "log-odds, ours": ours(), "torchattacks": theirs(x, y)}
    judge = partial(evaluation.evaluate, model, x, y=y)
    return {name: judge(adversarial=images).success.float().mean().item() for name, images in found.items()}


def columns(title: str, by_column: dict[str, dict[str, float]]) -> str:
    """A table with a column for each key, and a line for each way."""
    width = max(map(len, by_column)) + 2
    lines = [title, " " * 24 + "".join(f"{column:>{width}}" for column in by_column)]
    for way in next(iter(by_column.values())):
        lines.append(f"  {way:<22}" + "".join(f"{found[way]:>{width}.1%}" for found in by_column.values()))
    return "\n".join(lines)


def table(nets: list[str] | None = None) -> str:
    """All three tables, with the peers' figures that the record holds."""
    torch.set_num_threads(1)
    nets = nets or list(EPS)
    head = f"{'':<30}{'left':>6}{'':>8}{'forward':>10}{'backward':>10}{'x seconds':>10}"
    signs = {net: wrong_signs(net) for net in nets}
    success = {f"x {factor:,}": sure(factor) for factor in FACTORS}
    return "\n\n".join([
        "\n".join(["The judge: images left, and passes an image (peers from the record)", head, *map(judged, nets)]),
        columns("More than 10 % of the gradient's signs wrong in float32: share of images", signs),
        columns("PGD-40 at 0.1 on LeNet, its logits multiplied: success", success)])


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word != "--peers"]
    if unknown := sorted(set(given) - set(EPS)):
        sys.exit(f"unknown network {', '.join(unknown)}; known: {', '.join(EPS)}")
    if "--peers" in sys.argv:
        torch.set_num_threads(1)
        run_peers(given or list(EPS))
    print(table(given))
