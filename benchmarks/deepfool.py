"""DeepFool and L-BFGS against their peers: `python benchmarks/deepfool.py`.

Goals on two cores: DeepFool at least 3 times faster than the fastest peer that is
correct (success and norm as ours); L-BFGS faster than SciPy's L-BFGS-B, image by
image, at the same values of c and as many steps.
"""

from __future__ import annotations

from functools import partial

import torch

import compare
from advlens import data, zoo
from advlens.attacks import deepfool, lbfgs
from advlens.attacks.lbfgs import _query
from advlens.inputs import frozen

STEPS = 50
SEARCHES, WALK = 8, 30


def foolbox(model, x, y):
    library = compare.peer("foolbox")
    wrapped = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return library.attacks.L2DeepFoolAttack(steps=STEPS)(wrapped, x, library.criteria.Misclassification(y),
                                                         epsilons=None)[1]


def art(model, x, y):
    attack = compare.peer("art.attacks.evasion").DeepFool(compare.art(model, x), max_iter=STEPS, epsilon=0.02,
                                                          batch_size=len(x), verbose=False)
    return torch.from_numpy(attack.generate(x.numpy()))


PEERS = {
    "adv-lib": lambda model, x, y: compare.peer("adv_lib.attacks").df(model, x, y, steps=STEPS),
    "torchattacks": lambda model, x, y: compare.peer("torchattacks").DeepFool(model, steps=STEPS)(x, y),
    "Foolbox": foolbox,
    "ART": art,
}


def scipy(model, x, y):
    """Szegedy's search as ours does it, with SciPy's L-BFGS-B, one image after the other."""
    from scipy.optimize import minimize

    result = x.clone()
    with frozen(model):
        for i in range(len(x)):
            image, label = x[i:i + 1], y[i:i + 1]
            smallest, succeeds, fails, c = float("inf"), 0.0, float("inf"), 1.0

            def function(flat):
                nonlocal smallest
                point = torch.from_numpy(flat).to(x).view_as(image)
                loss, slope, hit = _query(model, point, label, False)
                r = point - image
                length = r.norm().item()
                if hit and length < smallest:
                    result[i], smallest = point[0], length
                return loss.item() + c * length**2, (slope + 2 * c * r).flatten().double().numpy()

            for _ in range(SEARCHES if not _query(model, image, label, False)[2] else 0):
                end = minimize(function, result[i].flatten().double().numpy(), jac=True, method="L-BFGS-B",
                               bounds=[(0, 1)] * image.numel(), options={"maxiter": WALK, "ftol": 1e-5}).x
                hit = _query(model, torch.from_numpy(end).to(x).view_as(image), label, False)[2]
                succeeds, fails = (c, fails) if hit else (succeeds, c)
                c = 10 * succeeds if fails == float("inf") else (fails / 10 if succeeds == 0
                                                                 else (succeeds * fails) ** 0.5)
    return result


def table() -> str:
    """DeepFool: every peer on few images, then the only other one that is correct and walks in batches on more;
    L-BFGS.
    """
    blocks = []
    for name, real, stand_in, n, peers in [("lenet", "mnist", "digits", 10, list(PEERS)),
                                           ("lenet", "mnist", "digits", 200, ["adv-lib"]),
                                           ("cifar_net", "cifar10", "shapes", 50, ["adv-lib"])]:
        test = data.load(real, "test", fallback=stand_in)[:n]
        model, x, y = zoo.pretrained(name, test.name), test.images, test.labels
        sides = {"advlens": deepfool} | {peer: PEERS[peer] for peer in peers}
        blocks.append(compare.attacks(f"DeepFool, {name}, {test.name}, at most {STEPS} steps, overshoot 0.02",
                                      "3 x faster than the fastest correct peer",
                                      model, x, y,
                                      {side: partial(attack, model, x, y) for side, attack in sides.items()}))
    test = data.load("mnist", "test", fallback="digits")[:10]
    model, x, y = zoo.pretrained("lenet", test.name), test.images, test.labels
    blocks.append(compare.attacks(f"L-BFGS, lenet, {test.name}, {SEARCHES} values of c, at most {WALK} steps each",
                                  "faster than SciPy",
                                  model, x, y, {"advlens": lambda: lbfgs(model, x, y, searches=SEARCHES, steps=WALK),
                                                "SciPy L-BFGS-B": lambda: scipy(model, x, y)}))
    return "\n\n".join(blocks)


if __name__ == "__main__":
    print(compare.HEADER)
    print(table())
