"""Figures: the same picture of the same thing everywhere.

Every function returns the matplotlib Figure, already closed for pyplot, so that a
notebook shows it exactly once: as the value of its cell.
"""

from __future__ import annotations

import textwrap
from itertools import cycle
from typing import NamedTuple, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from advlens.evaluation import Curve
from advlens.training import History

WIDTH = 7.0  # inches; fonts of 10 and 11 pt stay readable when a phone shows them at half the size
INK, GREY, RIGHT, WRONG = "#222222", "#767676", "#009E73", "#D55E00"

STYLE = {
    "figure.figsize": (WIDTH, 3.2), "figure.dpi": 120, "figure.constrained_layout.use": True,
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 11,
    "axes.titlesize": 11, "axes.labelsize": 11, "xtick.labelsize": 10, "ytick.labelsize": 10, "legend.fontsize": 10,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "lines.linewidth": 1.8, "lines.markersize": 5, "legend.frameon": False,
    "image.interpolation": "nearest", "image.cmap": "gray",
}


class Look(NamedTuple):
    """How one net or attack appears in every figure; the marker and the dashes repeat what the colour says."""

    label: str
    colour: str
    marker: str
    line: str | tuple


# The colours of Okabe and Ito (2008), which colour-blind readers can tell apart.  A
# figure compares nets or attacks, so the two groups share the colours.
LOOKS = {
    "lenet": Look("LeNet", "#0072B2", "o", "-"),
    "mnist_resnet": Look("ResNet (MNIST)", "#D55E00", "s", "--"),
    "fully_connected": Look("Fully connected", "#009E73", "^", "-."),
    "cifar_net": Look("CifarNet", "#CC79A7", "D", (0, (5, 1))),
    "vgg_blocks": Look("VGG blocks", "#E69F00", "v", ":"),
    "clean": Look("no attack", "#222222", "o", "-"),
    "noise": Look("random noise", "#CC79A7", "x", ":"),
    "fgsm": Look("FGSM", "#D55E00", "s", "--"),
    "fgm": Look("FGM", "#E69F00", "v", ":"),
    "bim": Look("BIM", "#009E73", "^", "-."),
    "pgd": Look("PGD", "#0072B2", "D", "-"),
    "pgd-l2": Look("PGD, L2", "#56B4E9", "P", (0, (5, 1))),
}
# For curves that are neither a net nor an attack: several runs, several settings.
OTHERS = [look for name,
          look in LOOKS.items() if name in ("lenet", "mnist_resnet", "fully_connected", "cifar_net", "vgg_blocks")]


def use_style() -> None:
    """Set the book's style for every figure drawn from now on."""
    plt.rcParams.update(STYLE)


def colour(name: str) -> str:
    """The colour of a net or an attack.  Raises ValueError that lists the known names."""
    return _look(name).colour


def label(name: str) -> str:
    """The printed name of a net or an attack: label("pgd") is "PGD"."""
    return _look(name).label


def _look(name: str) -> Look:
    if name not in LOOKS:
        raise ValueError(f"unknown net or attack {name!r}; known: {', '.join(LOOKS)}")
    return LOOKS[name]


def finish(fig: Figure, source: str | None) -> Figure:
    """Write the line "Data: ..." under a figure and return it, ready to be the value of a cell."""
    if source:
        text = textwrap.fill(f"Data: {source}", round(14 * fig.get_figwidth()))
        fig.supxlabel(text, x=0.01, ha="left", fontsize=9, color=GREY)  # supxlabel: the layout leaves room for it
    plt.close(fig)  # forgotten by pyplot, or an inline backend would draw it a second time
    return fig


# --- images --------------------------------------------------------------------

def images(x: Tensor, titles: Sequence[str] | None = None, columns: int = 10, *, source: str | None = None,
           frame: Sequence[bool] | None = None) -> Figure:
    """A grid of images (N, C, H, W) in [0, 1], pixel by pixel.

    titles: one per image; where they need the room, the grid has fewer than `columns`.
    frame: one bool per image; True draws a green frame, False a dashed red one (right and
    wrong).  Raises ValueError when a length does not fit.
    """
    n = len(x)
    for name, given in (("titles", titles), ("frame", frame)):
        if given is not None and len(given) != n:
            raise ValueError(f"{name} has {len(given)} entries for {n} images")
    lines = [title.split("\n") for title in titles or [""]]
    longest = max(len(line) for title in lines for line in title)
    columns = min(columns, n, max(1, int(WIDTH / (0.066 * longest + 0.02))))  # a letter of 8 pt is about 0.066 in wide
    rows = -(-n // columns)
    side = min(WIDTH / columns, 1.6)
    heading = 0.05 + 0.17 * max(map(len, lines)) if titles is not None else 0
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, rows * (side + heading) + 0.3),
                             squeeze=False, layout="constrained")
    for i, ax in enumerate(axes.flat):
        if i >= n:
            ax.set_axis_off()
            continue
        _image(ax, x[i])
        if titles is not None:
            ax.set_title(titles[i], fontsize=9 if 0.076 * longest < side else 8, pad=2)
        if frame is not None:
            _frame(ax, bool(frame[i]))
    return finish(fig, source)


def noise(ax: Axes, d: Tensor, limit: float | None = None) -> None:
    """Draw a signed perturbation d (C, H, W) on `ax`; 0 is neutral, and nothing wraps around.

    limit: the size of d that gets the strongest colour; by default the largest |d|.
    One channel: blue is darker than the clean image, orange is brighter.  Three
    channels: 0.5 + d / (2 limit), so that 0 is grey.
    Raises TypeError for integers, which cannot hold a small signed number.
    """
    if not d.is_floating_point():
        raise TypeError(f"the perturbation has dtype {d.dtype}; give floats in pixel units (integers wrap around)")
    limit = limit or d.abs().max().item() or 1.0
    if d.shape[0] == 1:
        ax.imshow(d[0].detach().cpu().numpy(), cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
    else:
        ax.imshow((0.5 + d.detach().cpu() / (2 * limit)).clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    _bare(ax)
    ax.spines[:].set(visible=True, color="#c8c8c8", linewidth=0.8)  # where 0 is white, the edge must still show


def attack(x: Tensor, adversarial: Tensor, probabilities_before: Tensor, probabilities_after: Tensor,
           classes: Sequence[str], *, magnify: float | None = None, source: str | None = None) -> Figure:
    """One row per image: clean | noise | adversarial | confidences before and after.

    x, adversarial: (N, C, H, W) in [0, 1].  probabilities: (N, classes).  magnify: how
    many times stronger than in the image the noise is drawn; by default as strong as
    possible, and the scale is printed.  Up to two rows show every class, more rows the
    three with the largest probabilities.
    """
    d = adversarial - x
    limit = 1 / magnify if magnify else d.abs().max().item() or 1.0
    shown = len(classes) if len(x) <= 2 else 3
    height = 2.2 if shown > 5 else 1.55
    fig, axes = plt.subplots(len(x), 4, figsize=(WIDTH, height * len(x) + 0.5), squeeze=False, layout="constrained",
                             width_ratios=[1, 1, 1, 1.25])
    for i, (clean, signed, attacked, bars) in enumerate(axes):
        before, after = probabilities_before[i].detach().cpu().numpy(), probabilities_after[i].detach().cpu().numpy()
        _image(clean, x[i])
        clean.set_title(_said(before, classes, "clean" if i == 0 else ""), fontsize=10)
        noise(signed, d[i], limit)
        signed.set_title(("noise\n" if i == 0 else "") + f"scale ±{limit:.2g}", fontsize=10)
        _image(attacked, adversarial[i])
        attacked.set_title(_said(after, classes, "attacked" if i == 0 else ""), fontsize=10)
        _confidences(bars, before, after, classes, shown)
        if i == 0:
            bars.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2, handlelength=1, columnspacing=1,
                        borderaxespad=0.1)
    axes[-1, 3].set_xlabel("probability", fontsize=10)
    return finish(fig, source)


def _said(probabilities: np.ndarray, classes: Sequence[str], heading: str) -> str:
    best = probabilities.argmax()
    return (f"{heading}\n" if heading else "") + f"{classes[best]} ({probabilities[best]:.0%})"


def _confidences(ax: Axes, before: np.ndarray, after: np.ndarray, classes: Sequence[str], shown: int) -> None:
    which = np.sort(np.argsort(-np.maximum(before, after), kind="stable")[:shown])
    place = np.arange(len(which))
    ax.barh(place - 0.2, before[which], 0.4, color="#9a9a9a", label="clean")
    ax.barh(place + 0.2, after[which], 0.4, color=WRONG, label="attacked")
    ax.set_yticks(place, [classes[k] for k in which])
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def _image(ax: Axes, x: Tensor) -> None:
    x = x.detach().cpu().numpy()
    ax.imshow(x[0] if x.shape[0] == 1 else x.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def _frame(ax: Axes, right: bool) -> None:
    ax.spines[:].set(visible=True, color=RIGHT if right else WRONG, linewidth=2.5,
                     linestyle="-" if right else (0, (2, 1)), capstyle="butt")


# --- numbers -------------------------------------------------------------------

def curves(curves: dict[str, Curve], *, xlabel: str = "eps (pixel units of [0, 1])", source: str | None = None,
           ax: Axes | None = None) -> Figure:
    """Accuracy against eps, one line per entry, with its 95 % interval as a band.

    A key that names a net or an attack gets its fixed look; any other key is printed as it is.
    A Curve may also be the plain dict or list that a record holds.
    """
    fig = ax.figure if ax is not None else plt.figure(figsize=(WIDTH, 3.6), layout="constrained")
    ax = ax if ax is not None else fig.subplots()
    others = cycle(OTHERS)
    for name, curve in curves.items():
        curve = Curve(**curve) if isinstance(curve, dict) else Curve(*curve)
        look = LOOKS.get(name) or next(others)._replace(label=name)
        ax.fill_between(curve.eps, curve.low, curve.high, color=look.colour, alpha=0.18, linewidth=0)
        ax.plot(curve.eps, curve.accuracy, color=look.colour, marker=look.marker, linestyle=look.line, label=look.label)
    ax.set(xlabel=xlabel, ylabel="accuracy", ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.legend()
    return finish(fig, source)


def history(history: History | dict, *, source: str | None = None) -> Figure:
    """Loss and accuracy against the epoch, from a History or from the dict that a checkpoint's card holds."""
    history = history if isinstance(history, History) else History(**history)
    epochs = np.arange(1, len(history) + 1)
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.0), layout="constrained")
    left.plot(epochs, history.loss, color="#0072B2", label="training")
    right.plot(epochs, history.train_accuracy, color="#0072B2", label="training")
    if not np.isnan(history.validation_accuracy).all():
        right.plot(epochs, history.validation_accuracy, color="#D55E00", linestyle="--", label="held out")
        right.legend(loc="lower right")
    left.set(xlabel="epoch", ylabel="mean training loss", ylim=(0, None))
    right.set(xlabel="epoch", ylabel="accuracy")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return finish(fig, source)


def confusion(matrix: Tensor, classes: Sequence[str], *, source: str | None = None) -> Figure:
    """Counts (K, K), true class down, predicted class across; the colour is the share of the row's mistakes."""
    counts = np.asarray(matrix)
    wrong = counts * (1 - np.eye(len(counts)))
    fig, ax = plt.subplots(figsize=(WIDTH, 5.6), layout="constrained")
    ax.imshow(wrong / np.maximum(wrong.max(), 1), cmap="Oranges", vmin=0, vmax=2)  # 2: dark text stays readable
    for (i, j), count in np.ndenumerate(counts):
        if count:
            ax.text(j, i, f"{int(count)}", ha="center", va="center", fontsize=10, color=INK,
                    fontweight="bold" if i == j else "normal")
    ax.set_xticks(range(len(classes)), classes, rotation=45 if max(map(len, classes)) > 3 else 0,
                  ha="right" if max(map(len, classes)) > 3 else "center")
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.grid(False)
    return finish(fig, source)


def bars(values: Sequence[float], labels: Sequence[str], *, ylabel: str, source: str | None = None) -> Figure:
    """One bar per value, with its label under it."""
    if len(values) != len(labels):
        raise ValueError(f"{len(values)} values for {len(labels)} labels")
    fig, ax = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    ax.bar(range(len(values)), np.asarray(values), color="#0072B2", width=0.7)
    ax.set_xticks(range(len(labels)), labels, rotation=30 if max(map(len, labels)) > 6 else 0)
    ax.set_ylabel(ylabel)
    ax.grid(axis="x", visible=False)
    return finish(fig, source)


# --- the map for signed numbers ---------------------------------------------------

def _signed_map(n: int = 257) -> ListedColormap:
    """Blue - white - orange with even steps of lightness, computed in OKLab (Ottosson 2020)."""
    t = np.linspace(-1, 1, n)[:, None]
    blue, orange = np.array([-0.045, -0.13]), np.array([0.10, 0.10])  # a, b of the two ends
    lightness = 0.985 - 0.50 * np.abs(t)
    lab = np.hstack([lightness, np.abs(t) * np.where(t < 0, blue, orange)])
    lms = (lab @ np.array([[1, 1, 1], [0.3963377774, -0.1055613458, -0.0894841775],
                           [0.2158037573, -0.0638541728, -1.2914855480]])) ** 3
    linear = lms @ np.array([[4.0767416621, -1.2684380046, -0.0041960863], [-3.3077115913, 2.6097574011, -0.7034186147],
                             [0.2309699292, -0.3413193965, 1.7076147010]])
    linear = linear.clip(0, 1)
    return ListedColormap(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055),
                          name="signed")


SIGNED = _signed_map()
