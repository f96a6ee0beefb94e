"""What PGD costs beside the passes it cannot do without: `python benchmarks/pgd.py`.

PGD-40 against a bare loop of 40 forward and backward passes, on the same images.
Both take turns in one run, and only the processor's time on one thread counts, so
that other work on the machine changes little.  Goal: a ratio of at most 1.05.
"""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F

from advlens import data, zoo
from advlens.attacks import pgd
from advlens.inputs import frozen

STEPS = 40
CASES = [("lenet", "mnist", "digits", 200), ("mnist_resnet", "mnist", "digits", 40),
         ("cifar_net", "cifar10", "shapes", 40)]


def bare(model, x, y) -> None:
    """The least work of 40 steps: no step, no projection, no choice of the best point."""
    with frozen(model):
        for _ in range(STEPS):
            point = x.clone().requires_grad_()
            torch.autograd.grad(F.cross_entropy(model(point), y, reduction="sum"), point)


def ours(model, x, y) -> None:
    pgd(model, x, y, eps=0.05, steps=STEPS, generator=torch.Generator().manual_seed(0))


def seconds(function, *arguments) -> float:
    began = time.process_time()
    function(*arguments)
    return time.process_time() - began


def table(repetitions: int = 7) -> str:
    """One line per network: median seconds of both, median ratio, smallest and largest ratio."""
    torch.set_num_threads(1)
    lines = [f"PGD-{STEPS} against a bare loop of {STEPS} forward and backward passes ({repetitions} repetitions in "
             f"turn; goal: at most 1.05)",
             f"{'network':<16}{'images':>8}{'bare [s]':>10}{'pgd [s]':>10}{'ratio':>8}   smallest to largest"]
    for name, real, stand_in, n in CASES:
        test = data.load(real, "test", fallback=stand_in)[:n]
        model = zoo.pretrained(name, test.name)
        bare(model, test.images, test.labels)  # warm up
        pairs = []
        for turn in range(repetitions):
            order = (bare, ours) if turn % 2 else (ours, bare)
            spent = {run: seconds(run, model, test.images, test.labels) for run in order}
            pairs.append((spent[bare], spent[ours]))
        ratios = [b / a for a, b in pairs]
        first, second = (statistics.median(column) for column in zip(*pairs))
        lines.append(f"{name:<16}{n:>8}{first:>10.3f}{second:>10.3f}{statistics.median(ratios):>8.3f}"
                     f"   {min(ratios):.3f} to {max(ratios):.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
