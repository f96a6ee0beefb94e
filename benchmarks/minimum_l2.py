"""Carlini-Wagner and DDN against their peers: `python benchmarks/minimum_l2.py`.

Goals on two cores: Carlini-Wagner with 5 x 100 steps at least 5 times faster than
adv-lib with 9 x 1,000 at an equal median norm; neither attack slower than the fastest
peer at equal quality.
"""

from __future__ import annotations

import torch

import compare
from advlens import data, zoo
from advlens.attacks import carlini_wagner, ddn
from advlens.evaluation import logits

SEARCHES, STEPS, RATE = 5, 100, 0.1


def adv_lib(model, x, y, searches=SEARCHES, steps=STEPS, rate=RATE, c=1.0):
    return compare.peer("adv_lib.attacks").carlini_wagner_l2(
        model, x, y, binary_search_steps=searches, max_iterations=steps, learning_rate=rate, initial_const=c)


def torchattacks(model, x, y):
    """One c and no search: all steps go into one walk."""
    return compare.peer("torchattacks").CW(model, c=1, steps=SEARCHES * STEPS, lr=RATE)(x, y)


def foolbox(model, x, y, attack):
    library = compare.peer("foolbox")
    wrapped = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return getattr(library.attacks, attack[0])(**attack[1])(wrapped, x, library.criteria.Misclassification(y),
                                                            epsilons=None)[1]


def art(model, x, y):
    attack = compare.peer("art.attacks.evasion").CarliniL2Method(
        compare.art(model, x), binary_search_steps=SEARCHES, max_iter=STEPS, learning_rate=RATE, initial_const=1.0,
        batch_size=len(x), verbose=False)
    return torch.from_numpy(attack.generate(x.numpy()))


def table() -> str:
    """Three blocks: Carlini-Wagner against many more steps, at equal settings, and DDN."""
    test = data.load("mnist", "test", fallback="digits")
    model = zoo.pretrained("lenet", test.name)
    right = logits(model, test[:300].images).argmax(1) == test[:300].labels
    x, y = test[:300].images[right], test[:300].labels[right]

    few, some = (x[:30], y[:30]), (x[:50], y[:50])
    searched = {"binary_search_steps": SEARCHES, "steps": STEPS, "stepsize": RATE, "initial_const": 1.0}
    return "\n".join([
        compare.attacks("Carlini-Wagner, ours 5 x 100 steps, adv-lib 9 x 1,000 at a learning rate of 0.01, LeNet",
                        "5 times faster than adv-lib at equal median norm", model, *few, {
                            "advlens": lambda:
                            carlini_wagner(model, *few, searches=SEARCHES, steps=STEPS, learning_rate=RATE),
                            "adv-lib 9 x 1,000": lambda: adv_lib(model, *few, 9, 1000, 0.01, 1e-3),
                            "ART 5 x 100": lambda: art(model, *few),
                        }),
        compare.attacks("Carlini-Wagner, all 5 x 100 steps at a learning rate of 0.1, c from 1, LeNet",
                        "not slower than the fastest at equal quality", model, *some, {
                            "advlens": lambda:
                            carlini_wagner(model, *some, searches=SEARCHES, steps=STEPS, learning_rate=RATE),
                            "adv-lib": lambda: adv_lib(model, *some),
                            "Foolbox": lambda: foolbox(model, *some, ("L2CarliniWagnerAttack", searched)),
                            "torchattacks (c = 1)": lambda: torchattacks(model, *some),
                        }),
        compare.attacks("DDN, 100 steps, and ours with 50, LeNet", "not slower than the fastest at equal quality",
                        model, x[:100], y[:100], {
            "advlens": lambda: ddn(model, x[:100], y[:100], steps=STEPS),
            "advlens, 50 steps": lambda: ddn(model, x[:100], y[:100], steps=STEPS // 2),
            "adv-lib": lambda: compare.peer("adv_lib.attacks").ddn(model, x[:100], y[:100], steps=STEPS, levels=None),
            "Foolbox": lambda: foolbox(model, x[:100], y[:100], ("DDNAttack", {"steps": STEPS})),
        }),
    ])


if __name__ == "__main__":
    print(compare.HEADER)
    print(table())
