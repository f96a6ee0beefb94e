"""How a grid of points scales from 1 to 2 workers: the same points, one after the other in one process and in two.

The points are those of a real record, on the embedded digits: accuracy of two nets under PGD-40 at four eps.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from unittest import mock

import joblib
import torch

from advlens import attacks, data, evaluation, zoo
from advlens.course import measuring
from advlens.course.measuring import Grid, nested

EPS = (0.05, 0.1, 0.15, 0.2)


def left(net: str, eps: float) -> dict:
    attack = partial(attacks.pgd, eps=eps, steps=40, generator=torch.Generator().manual_seed(0))
    model, test = zoo.pretrained(net, "digits"), data.load("digits", "test")
    return evaluation.robust_accuracy(model, test, attack=attack)._asdict()


RECORDS = {"scaling": Grid(left, [{"net": net, "eps": eps} for eps in EPS for net in ("lenet", "fully_connected")],
                           nested("net", "eps"), ["digits test"])}


def timed(jobs: int) -> tuple[float, dict]:
    """Seconds for all points with so many processes, and their values."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(measuring, "_folder", lambda name: Path(folder)):
        with measuring.workers(jobs=jobs) as run:
            began = time.perf_counter()
            values = measuring.measure("scaling", Path(__file__).resolve(), run, progress=False).values
            return time.perf_counter() - began, values


def table() -> str:
    timed(2)  # starts the two processes, which then stay
    rounds = [(timed(1), timed(2)) for _ in range(2)]
    assert all(one[1] == two[1] for one, two in rounds), "the numbers depend on the number of workers"
    one, two = (min(seconds) for seconds in zip(*((a[0], b[0]) for a, b in rounds)))
    cores, points = joblib.cpu_count(), len(RECORDS["scaling"].points)
    return "\n".join([f"| grid of {points} points, {cores} cores | seconds | times as fast |", "|---|---|---|",
                      f"| 1 worker | {one:.1f} | 1.00 |", f"| 2 workers | {two:.1f} | {one / two:.2f} |"])


if __name__ == "__main__":
    print(table())
