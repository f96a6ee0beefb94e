"""One table for every benchmark: ours and each peer, in turn, on the same net and images, in one run.

Ratios, never a verdict by the clock alone: beside the time stand success, norm and the
passes through the net, which do not depend on the machine.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import time
import warnings
from types import ModuleType
from typing import Callable

from torch import Tensor, nn

from advlens import data
from advlens.evaluation import evaluate, passes

HEADER = (f"{'':<30}{'time [s]':>9}{'x ours':>8}   "
          f"{'(range)':<14}{'success':>9}{'median':>9}{'forward':>9}{'backward':>9}\n"
          f"{'':<30}{'median':>9}{'':>8}   {'':<14}{'':>9}{'norm':>9}{'a image':>9}{'a image':>9}")


def peer(name: str) -> ModuleType:
    """A peer library, imported in spite of what it wants at import and does not need here."""
    data.torchvision_datasets()  # torchattacks imports torchvision
    sys.modules.setdefault("visdom", ModuleType("visdom")).Visdom = None  # adv-lib: plots
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return __import__(name, fromlist=["_"])


class Whole(nn.Module):
    """ART calls the layers of a Sequential one by one; so hidden, it calls the model, and its passes are counted."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


def art(model: nn.Module, x: Tensor):
    """ART's own wrapper of a model with ten classes."""
    return peer("art.estimators.classification").PyTorchClassifier(
        Whole(model), nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1), device_type="cpu")


def seconds(function: Callable[[], object]) -> float:
    with (warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()),
          contextlib.redirect_stderr(io.StringIO())):
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        function()
        return time.perf_counter() - began


def in_turn(sides: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each side, the order turned round every time, so that a busy moment hits all."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repetitions):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            spent[name].append(seconds(sides[name]))
    return spent


def _ratio(ours: list[float], theirs: list[float]) -> str:
    ratios = [b / a for a, b in zip(ours, theirs)]
    return f"{statistics.median(ratios):>8.2f}   {f'{min(ratios):.2f} to {max(ratios):.2f}':<14}"


def attacks(what: str, goal: str, model: nn.Module, x: Tensor, y: Tensor, sides: dict[str, Callable[[], Tensor]], *,
            norm: str = "l2", targeted: bool = False, repetitions: int = 3) -> str:
    """One block of the table.  sides: name -> function that returns adversarial images; the first is ours.

    y: labels, or targets when `targeted`.  The norm's median is over the successes.
    """
    judged = {}
    for name, side in sides.items():  # also warms up
        with passes(model) as work, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adversarial = side().clamp(0, 1)
        judged[name] = evaluate(model, x, adversarial, y, targeted=targeted), work
    spent = in_turn(sides, repetitions)
    ours = next(iter(sides))
    lines = [f"{what} ({len(x)} images; goal: {goal})"]
    for name, (found, work) in judged.items():
        size = getattr(found, norm)[found.success]
        ratio = " " * 25 if name == ours else _ratio(spent[ours], spent[name])
        lines.append(f"  {name:<28}{statistics.median(spent[name]):>9.2f}{ratio}{found.success.float().mean():>9.1%}"
                     f"{size.median() if len(size) else float('nan'):>9.4f}{work.forward / len(x):>9.1f}"
                     f"{work.backward / len(x):>9.1f}")
    return "\n".join(lines)


def times(what: str, goal: str, sides: dict[str, Callable[[], object]], *, note: str = "", repetitions: int = 5) -> str:
    """A block without a net: times only, and a note, for example how far the results differ."""
    for side in sides.values():
        seconds(side)  # warm up
    spent = in_turn(sides, repetitions)
    ours = next(iter(sides))
    lines = [f"{what} (goal: {goal})"]
    for name in sides:
        ratio = "" if name == ours else _ratio(spent[ours], spent[name])
        lines.append(f"  {name:<28}{statistics.median(spent[name]):>9.4f}{ratio}".rstrip())
    return "\n".join(lines + ([f"  {note}"] if note else []))
