"""A drawing of a network, made from the module itself: what flows through it, and what is done to it."""

import textwrap
from math import log2
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from torch import nn

from advlens import layers, models
from advlens.course import plots
from advlens.course.pictures import Picture
from advlens.inputs import device_of, frozen

SIZE, LINE = 10.5, 14          # of letters and of lines, in points
MIDDLE, TEXT = 58, 108         # x of the middle of the drawn volumes, and of the words
WRAPPED = 28                   # letters in a line of words: what leaves room for the numbers


class Stage(NamedTuple):
    """What is done, its trainable numbers, the shape that comes out, and the stage whose shortcut ends here."""

    words: list[str]
    numbers: int
    shape: tuple[int, ...]
    skip: int | None = None


def network(model: nn.Module, shape: tuple[int, int, int], *, source: str | None = None) -> Picture:
    """Draw `model` from top to bottom for images of `shape` (C, H, W): what flows, and what is done to it."""
    found = stages(model, shape)
    lines = [textwrap.wrap(", ".join(word.replace(" ", "\u00a0") for word in stage.words), WRAPPED) for stage in found]
    heights = [_height(stage.shape) for stage in found]
    total = sum(heights) + sum(LINE * len(words) + 16 for words in lines[1:]) + 34
    ax = plots.axes(height=total / 72)
    ax.figure.set_layout_engine("none")
    ax.set_position((0, 0, 1, 1))
    width = 72 * plots.WIDTH
    ax.set(xlim=(0, width), ylim=(total, 0))
    ax.set_axis_off()

    ax.text(width - 2, 10, "trainable numbers", size=SIZE, color=plots.GREY, ha="right", va="baseline")
    top, middles = 16.0, []
    for i, (stage, words, height) in enumerate(zip(found, lines, heights)):
        if i:
            step = LINE * len(words) + 16
            ax.annotate("", (MIDDLE, top + step - 3), (MIDDLE, top + 3),
                        arrowprops={"arrowstyle": "->", "color": plots.GREY, "shrinkA": 0, "shrinkB": 0})
            for k, line in enumerate(words):
                ax.text(TEXT, top + 8 + LINE * (k + 0.75), line, size=SIZE, color=plots.GREY, va="baseline")
            if stage.numbers:
                ax.text(width - 2, top + 8 + LINE * (len(words) - 0.25), f"{stage.numbers:,}", size=SIZE,
                        color=plots.GREY, ha="right", va="baseline")
            top += step
        middles.append(top + height / 2)
        _volume(ax, stage.shape, middles[-1])
        ax.text(TEXT, middles[-1] + 4, _named(stage.shape, i, len(found)), size=SIZE, weight="bold", va="baseline")
        if stage.skip is not None:
            _shortcut(ax, middles[stage.skip], middles[-1], _half(found[stage.skip].shape), _half(stage.shape))
        top += height
    every = sum(p.numel() for p in model.parameters())
    ax.text(width - 2, total - 4, f"{every:,} in all", size=SIZE, color=plots.INK, ha="right", va="baseline")
    return plots.finish(ax, source)


def stages(model: nn.Module, shape: tuple[int, int, int]) -> list[Stage]:
    """What an image passes, in order; the first stage is the image itself.

    A layer that weighs, pools or flattens opens a stage; what works number by number belongs to the one before.
    """
    found = [Stage([], 0, tuple(shape))]
    waiting: list[str] = []  # words of what comes before the first stage, or in one row with the next
    open_blocks: list[int] = []

    def passed(module, given, out):
        nonlocal waiting
        words, opens = _words(module)
        numbers = sum(p.numel() for p in module.parameters())
        shape_now = tuple(out.shape[1:])
        if opens is None:
            waiting.append(words)
        elif opens:
            found.append(Stage([*waiting, words], numbers, shape_now))
            waiting = []
        else:
            last = found[-1]
            found[-1] = last._replace(words=[*last.words, words], numbers=last.numbers + numbers, shape=shape_now)

    def enter(module, given):
        open_blocks.append(len(found) - 1)

    def leave(module, given, out):
        last = found[-1]
        found[-1] = last._replace(words=[*last.words, "plus the input of the block", "ReLU"], skip=open_blocks.pop())

    hooks = []
    for module in model.modules():
        if isinstance(module, models.IdentityBlock):
            hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        elif not list(module.children()):
            hooks.append(module.register_forward_hook(passed))
    x = torch.zeros(1, *shape)
    try:
        with frozen(model), torch.no_grad():
            model(x.to(device_of(model, x)))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _words(module: nn.Module) -> tuple[str, bool | None]:
    """What a layer is called, and whether it opens a stage; None: it belongs to the stage that follows."""
    if isinstance(module, nn.Conv2d):
        return f"convolution {_square(module.kernel_size)}", True
    if isinstance(module, nn.Linear):
        return "dense", True
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        kind = "max" if isinstance(module, nn.MaxPool2d) else "average"
        return f"{kind} pooling {_square(module.kernel_size)}", True
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return "mean of each map", True
    known = {layers.Normalize: "normalise", nn.Flatten: "flatten"}
    if type(module) in known:
        return known[type(module)], None
    if isinstance(module, layers.RePU):
        return f"ReLU to the power {module.power:g}", False
    if isinstance(module, layers.Scale):
        return f"× {float(module.factor):g}", False
    return {nn.ReLU: "ReLU", nn.Sigmoid: "sigmoid", nn.BatchNorm2d: "batch norm",
            nn.Dropout: "dropout"}.get(type(module), type(module).__name__), False


def _square(size) -> str:
    rows, columns = size if isinstance(size, tuple) else (size, size)
    return f"{rows}×{columns}"


def _named(shape: tuple[int, ...], i: int, n: int) -> str:
    if i == 0:
        return f"image, {' × '.join(map(str, shape))}"
    if len(shape) == 3:
        return f"{shape[0]} maps of {shape[1]} × {shape[2]}" if shape[1] > 1 else f"{shape[0]} means"
    return f"{shape[0]} logits" if i == n - 1 else f"{shape[0]:,} units"


# --- shapes --------------------------------------------------------------------------

def _sheets(shape: tuple[int, ...]) -> tuple[int, float]:
    """How many sheets stand for the channels, and the side of a sheet."""
    channels, side = shape[0], shape[1]
    return (1 if channels == 1 else min(8, 1 + round(log2(channels)))), max(4.0, min(30.0, 0.95 * side))


def _flat(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or shape[1] == 1


def _height(shape: tuple[int, ...]) -> float:
    if _flat(shape):
        return 14
    count, side = _sheets(shape)
    return max(16.0, side + 2.4 * (count - 1) + 2)


def _half(shape: tuple[int, ...]) -> float:
    """Half the width of what is drawn."""
    if _flat(shape):
        return 3.5 * min(shape[0], 12)
    count, side = _sheets(shape)
    return (side + 2.4 * (count - 1)) / 2


def _volume(ax: Axes, shape: tuple[int, ...], y: float) -> None:
    """Sheets behind each other for maps; a row of dots for numbers, with a gap where there are more than twelve."""
    if _flat(shape):
        places = [i for i in range(12) if i not in (5, 6)] if shape[0] > 12 else range(shape[0])
        count = min(shape[0], 12)
        ax.plot([MIDDLE + 7 * (i - (count - 1) / 2) for i in places], [y] * len(places), "o", color=plots.BLUE,
                markersize=4)
        if shape[0] > 12:
            ax.plot([MIDDLE - 3.5, MIDDLE, MIDDLE + 3.5], [y] * 3, "o", color=plots.GREY, markersize=0.6)
        return
    count, side = _sheets(shape)
    left, top = MIDDLE - _half(shape), y - (side + 2.4 * (count - 1)) / 2
    for k in reversed(range(count)):
        x0, y0 = left + 2.4 * k, top + 2.4 * (count - 1 - k)
        front = k == 0
        ax.fill([x0, x0 + side, x0 + side, x0], [y0, y0, y0 + side, y0 + side], facecolor=plots.BLUE,
                alpha=0.35 if front else 0.15, linewidth=0)
        ax.plot([x0, x0 + side, x0 + side, x0, x0], [y0, y0, y0 + side, y0 + side, y0], color=plots.BLUE, linewidth=0.9)


def _shortcut(ax: Axes, begin: float, end: float, half_begin: float, half_end: float) -> None:
    begin, end = begin + 3, end - 3  # so that two in a row do not look like one
    ax.plot([MIDDLE - half_begin - 3, 8, 8], [begin, begin, end], color=plots.ORANGE, linewidth=1.4)
    ax.annotate("", (MIDDLE - half_end - 2, end), (8, end),
                arrowprops={"arrowstyle": "->", "color": plots.ORANGE, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0})
