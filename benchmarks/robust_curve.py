"""What attacking only the survivors saves: `python benchmarks/robust_curve.py`.

Accuracy against epsilon under PGD-40, LeNet, 1,000 test images, 8 epsilons: our
robust_curve against torchattacks' PGD run once for each epsilon, with the same steps.
Both take turns in one run; processor time on one thread counts.
Goal: at least 3 times faster, and the same accuracy within the 95 % interval.

The gain is bounded by the images that stand: each of them costs all 40 steps at each
epsilon, so 8 / (sum of the accuracies) is the most that any grid allows.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

import torch

from advlens import data, zoo
from advlens.attacks import pgd
from advlens.evaluation import logits, rate, robust_curve

STEPS, IMAGES = 40, 1000
EPS = [0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3]  # the range of chapter 04's curves


def ours(model, x, y):
    attack = partial(pgd, steps=STEPS, first_success=True, generator=torch.Generator().manual_seed(0))
    return robust_curve(model, x, y, attack, EPS).accuracy


def theirs(model, x, y):
    data.torchvision_datasets()  # torchattacks imports torchvision
    import torchattacks

    torch.manual_seed(0)
    accuracy = []
    for eps in EPS:
        attack = torchattacks.PGD(model, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS, random_start=True)
        hits = [logits(model, attack(a, b)).argmax(1) == b for a, b in zip(x.split(500), y.split(500))]
        accuracy.append(torch.cat(hits).float().mean().item())
    return accuracy


def table(repetitions: int = 3) -> str:
    """Accuracy of both at each eps with our interval, and the ratio of their times."""
    torch.set_num_threads(1)
    test = data.load("mnist", "test", fallback="digits")[:IMAGES]
    model = zoo.pretrained("lenet", test.name)
    spent, curves = {ours: [], theirs: []}, {}
    for turn in range(repetitions):
        for run in (ours, theirs) if turn % 2 else (theirs, ours):
            began = time.process_time()
            curves[run] = run(model, test.images, test.labels)
            spent[run].append(time.process_time() - began)
    lines = [f"robust_curve against torchattacks run {len(EPS)} times: PGD-{STEPS}, LeNet, {len(test)} images of "
             f"{test.name}",
             f"{'eps':>6}{'ours':>9}   95 % interval      {'torchattacks':>13}"]
    for eps, a, b in zip(EPS, curves[ours], curves[theirs]):
        share = rate(torch.arange(len(test)) < round(a * len(test)))
        inside = "inside" if share.low <= b <= share.high else "OUTSIDE"
        lines.append(f"{eps:>6.3f}{a:>9.1%}   {share.low:>6.1%} to {share.high:>6.1%}   {b:>13.1%}  {inside}")
    ratios = [b / a for a, b in zip(spent[ours], spent[theirs])]
    lines.append(f"at most possible with these survivors: {len(EPS) / sum(curves[ours]):.1f} times")
    lines.append(f"seconds: {statistics.median(spent[ours]):.1f} against {statistics.median(spent[theirs]):.1f}; "
                 f"{statistics.median(ratios):.1f} times faster ({min(ratios):.1f} to {max(ratios):.1f}, {repetitions} "
                 "repetitions; goal: at least 3)")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
