"""Figures: the same picture of the same thing everywhere.

Every function returns a Picture, the value of its cell: curves as SVG that takes the page's colours, images as
a grid of their true pixels.  Panels stand beside each other where there is room, and below each other on a phone.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image
from torch import Tensor, nn

from advlens.course import pictures
from advlens.course.pictures import Panel, Picture, image, noise
from advlens.course.svg import INK, svg
from advlens.evaluation import Curve
from advlens.training import History

__all__ = ["GREY", "INK", "LOOKS", "OTHERS", "Panel", "Picture", "RIGHT", "WIDTH", "WRONG", "attack", "axes", "bars",
           "colour", "confusion", "curves", "finish", "grid", "heat", "history", "image", "images", "label", "network",
           "noise", "percent", "use_style"]

# Inches.  On a phone (312 px) a plot of WIDTH shows its letters at their own size, 10.5 px; one of NARROW larger.
WIDTH, NARROW = 4.3, 2.85
GREY, GRID, PAPER, RIGHT, WRONG = "#707070", "#e4e4e4", "#fefefe", "#009e72", "#d55e01"
BLUE, ORANGE, GREEN, PINK, AMBER, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"

# What stands for these colours in a drawing: the page's own, which follow light, dark and paper.
PALETTE = {INK: "var(--lens-ink,currentColor)", GRID: "var(--lens-grid,#8884)", PAPER: "var(--lens-paper,transparent)",
           GREY: "var(--lens-muted,color-mix(in srgb,currentColor 70%,transparent))"} | {
    shown.lower(): f"var(--lens-{name},{shown.lower()})"
    for name, shown in {"right": RIGHT, "wrong": WRONG, "blue": BLUE, "orange": ORANGE, "green": GREEN, "pink": PINK,
                        "amber": AMBER, "sky": SKY}.items()}

STYLE = {
    "figure.figsize": (WIDTH, 3.0), "figure.constrained_layout.use": True,
    "figure.facecolor": "none", "savefig.facecolor": "white", "axes.facecolor": "none",
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 11,
    "axes.titlesize": 11, "axes.labelsize": 11, "xtick.labelsize": 10.5, "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5, "figure.titlesize": 11, "mathtext.fontset": "dejavusans",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "patch.edgecolor": INK, "hatch.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID,
    "axes.axisbelow": True, "axes.titlelocation": "left",
    "lines.linewidth": 1.8, "lines.markersize": 5, "legend.handlelength": 1.8,
    "legend.facecolor": PAPER, "legend.edgecolor": "none", "legend.framealpha": 0.75, "legend.fancybox": False,
    "image.interpolation": "none", "image.cmap": "gray",
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, PINK, AMBER, SKY]),
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
    "lenet": Look("LeNet", BLUE, "o", "-"),
    "mnist_resnet": Look("ResNet (MNIST)", ORANGE, "s", "--"),
    "fully_connected": Look("Fully connected", GREEN, "^", "-."),
    "cifar_net": Look("CifarNet", PINK, "D", (0, (5, 1))),
    "vgg_blocks": Look("VGG blocks", AMBER, "v", ":"),
    "clean": Look("no attack", INK, "o", "-"),
    "noise": Look("random noise", PINK, "x", ":"),
    "fgsm": Look("FGSM", ORANGE, "s", "--"),
    "fgm": Look("FGM", AMBER, "v", ":"),
    "bim": Look("BIM", GREEN, "^", "-."),
    "pgd": Look("PGD", BLUE, "D", "-"),
    "pgd-l2": Look("PGD, L2", SKY, "P", (0, (5, 1))),
    "momentum": Look("momentum", SKY, "d", (0, (3, 1, 1, 1))),
    "strongest": Look("strongest", INK, "*", "-"),
    "deepfool": Look("DeepFool", ORANGE, ">", "--"),
    "lbfgs": Look("L-BFGS", AMBER, "<", ":"),
    "carlini_wagner": Look("Carlini-Wagner", GREEN, "p", "-."),
    "ddn": Look("DDN", BLUE, "h", "-"),
    "jsma": Look("JSMA", PINK, "8", (0, (5, 1))),
    "square": Look("Square", AMBER, "X", (0, (5, 1))),
    "hop_skip_jump": Look("HopSkipJump", PINK, "H", "-."),
}
# For curves that are neither a net nor an attack: several runs, several settings.
OTHERS = [LOOKS[name] for name in ("lenet", "mnist_resnet", "fully_connected", "cifar_net", "vgg_blocks")]


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


# --- plots -----------------------------------------------------------------------

COLUMNS = {1: 1, 2: 2, 3: 3, 4: 2}  # how many panels stand side by side on a laptop; more than four: three


def axes(n: int = 1, *, height: float = 3.0, sharey: bool = False) -> Axes | list[Axes]:
    """One Axes, or a list of n, each a figure of its own, so that they stand below each other on a phone.

    height: inches; the width is WIDTH, and NARROW where three stand side by side.  sharey: all have the same limits.
    """
    width = WIDTH if n in (1, 2, 4) else NARROW
    made = []
    for _ in range(n):
        figure = Figure(figsize=(width, height if width == WIDTH else height * 0.8), layout="constrained")
        FigureCanvasAgg(figure)
        made.append(figure.add_subplot(sharey=made[0] if sharey and made else None))
    return made[0] if n == 1 else made


def finish(what: Axes | Figure | Sequence[Axes], source: str | None = None, *, columns: int | None = None) -> Picture:
    """The picture of an Axes, of a Figure, or of several Axes as panels.

    source: where the data come from, folded behind a small sign.  columns: how many panels side by side at most.
    Raises ValueError for a figure so wide that a phone would show its letters smaller than 10 px.
    """
    several = what if isinstance(what, Sequence) else np.ravel(what).tolist()
    figures = list(dict.fromkeys(part if isinstance(part, Figure) else part.figure for part in several))
    for figure in figures:
        plt.close(figure)  # forgotten by pyplot, or an inline backend would draw it a second time
        if figure.get_figwidth() > 1.05 * WIDTH:
            raise ValueError(f"a figure {figure.get_figwidth():g} inches wide is too small to read on a phone: draw "
                             "each panel on one of plots.axes(n), and give finish the list of them")
    widest = max(figure.get_figwidth() for figure in figures)
    columns = columns or COLUMNS.get(len(figures), 3)
    shape = f"--lens-columns:{min(columns, len(figures))};--lens-least:{72 * widest:.0f}px"
    drawn = "".join(svg(figure, PALETTE) for figure in figures)
    return Picture(f'<div class="lens-picture"><div class="lens-plots" style="{shape}">{drawn}</div>'
                   f'{pictures.provenance(source)}</div>',
                   lambda: pictures.sheet([[_panel(figure) for figure in figures[i:i + columns]]
                                           for i in range(0, len(figures), columns)], source=source))


def grid(panels: Sequence, *, columns: int | None = None, heads: Sequence[str] | None = None,
         rows: Sequence[str] | None = None, source: str | None = None) -> Picture:
    """Panels (of `image`, `noise`, or Axes of `axes`) side by side; see `pictures.grid`."""
    return pictures.grid([_panels(part) for part in panels], columns=columns, heads=heads, rows=rows, source=source)


def _panels(part):
    if isinstance(part, (list, tuple)) and not isinstance(part, Panel):
        return [_panels(one) for one in part]
    return _panel(part.figure) if isinstance(part, Axes) else part


def _panel(figure: Figure) -> Panel:
    plt.close(figure)

    def png() -> Image.Image:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=72, facecolor="white")
        return Image.open(file)

    return Panel(svg(figure, PALETTE), "", png, wide=True, space=1.8)


def percent(ax: Axes, axis: str = "y") -> None:
    """Print shares as per cent, and let the axis end at 100 % where it would go beyond."""
    which = ax.yaxis if axis == "y" else ax.xaxis
    which.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}\u202f%"))
    low, high = which.get_view_interval()
    (ax.set_ylim if axis == "y" else ax.set_xlim)(max(low, 0), min(high, 1))


# --- images --------------------------------------------------------------------

def images(x: Tensor, titles: Sequence[str] | None = None, columns: int = 10, *, heads: Sequence[str] | None = None,
           rows: Sequence[str] | None = None, source: str | None = None,
           frame: Sequence[bool] | None = None) -> Picture:
    """A grid of images (N, C, H, W) in [0, 1], pixel by pixel.

    titles: one per image; where they need the room, the grid has fewer than `columns`, unless heads fix them.
    heads, rows: what stands above each column and before each row.
    frame: one bool per image; True draws a solid green frame, False a dashed orange one (right and
    wrong).  Raises ValueError when a length does not fit.
    """
    n = len(x)
    for name, given in (("titles", titles), ("frame", frame)):
        if given is not None and len(given) != n:
            raise ValueError(f"{name} has {len(given)} entries for {n} images")
    if heads is not None:
        columns = len(heads)
    elif titles is not None and rows is None:
        longest = max(len(line) for title in titles for line in title.split("\n"))
        columns = min(columns, max(1, int(40 / (pictures.LETTER * longest + 0.7))))
    panels = [image(x[i], titles[i] if titles is not None else None, frame=None if frame is None else frame[i])
              for i in range(n)]
    if heads is None and rows is None:
        return grid(panels, columns=columns, source=source)
    return grid([panels[i:i + columns] for i in range(0, n, columns)], heads=heads, rows=rows, source=source)


def attack(x: Tensor, adversarial: Tensor, probabilities_before: Tensor, probabilities_after: Tensor,
           classes: Sequence[str], *, magnify: float | None = None, source: str | None = None) -> Picture:
    """One row per image: clean | noise | attacked | confidences before and after.

    x, adversarial: (N, C, H, W) in [0, 1].  probabilities: (N, classes).  magnify: how
    many times stronger than in the image the noise is drawn; by default as strong as
    possible, and the scale is printed.  One row shows every class, more rows the
    three with the largest probabilities.
    """
    d = adversarial - x
    limit = 1 / magnify if magnify else d.abs().max().item() or 1.0
    shown = len(classes) if len(x) == 1 else 3
    table = []
    for i in range(len(x)):
        before, after = probabilities_before[i].detach().cpu().numpy(), probabilities_after[i].detach().cpu().numpy()
        which = np.sort(np.argsort(-np.maximum(before, after), kind="stable")[:shown])
        table.append([image(x[i], _says(before, classes)), noise(d[i], limit=limit),
                      image(adversarial[i], _says(after, classes)),
                      pictures.bars(before[which], after[which], [classes[k] for k in which])])
    return grid(table, heads=["clean", "noise", "attacked", "confidence"], source=source)


def _says(probabilities: np.ndarray, classes: Sequence[str]) -> str:
    best = probabilities.argmax()
    return f"says {classes[best]} ({100 * probabilities[best]:.0f}\u202f%)"


# --- numbers -------------------------------------------------------------------

def curves(curves: dict[str, Curve], *, xlabel: str = "eps (pixel units of [0, 1])", source: str | None = None,
           ax: Axes | None = None) -> Picture | None:
    """Accuracy against eps, one line per entry, with its 95 % interval as a band.

    A key that names a net or an attack gets its fixed look; any other key is printed as it is.
    A Curve may also be the plain dict or list that a record holds.
    ax: one of `axes`, to draw on; then nothing is returned, and `finish` makes the picture.
    """
    given, ax = ax, ax if ax is not None else axes(height=3.1)
    taken = {LOOKS[name].colour for name in curves if name in LOOKS}
    others = cycle([look for look in OTHERS if look.colour not in taken] or OTHERS)
    for name, curve in curves.items():
        curve = Curve(**curve) if isinstance(curve, dict) else Curve(*curve)
        look = LOOKS.get(name) or next(others)._replace(label=name)
        ax.fill_between(curve.eps, curve.low, curve.high, color=look.colour, alpha=0.18, linewidth=0)
        ax.plot(curve.eps, curve.accuracy, color=look.colour, marker=look.marker, linestyle=look.line, label=look.label)
    ax.set(xlabel=xlabel, ylabel="accuracy", ylim=(0, 1))
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda eps, _: f"{round(eps, 6):g}"))
    percent(ax)
    ax.legend()
    return None if given is not None else finish(ax, source)


def history(history: History | dict, *, source: str | None = None) -> Picture:
    """Loss and accuracy against the epoch, from a History or from the dict that a checkpoint's card holds."""
    history = history if isinstance(history, History) else History(**history)
    epochs = np.arange(1, len(history) + 1)
    left, right = axes(2, height=2.8)
    left.plot(epochs, history.loss, color=BLUE, label="training")
    right.plot(epochs, history.train_accuracy, color=BLUE, label="training")
    if not np.isnan(history.validation_accuracy).all():
        right.plot(epochs, history.validation_accuracy, color=ORANGE, linestyle="--", label="held out")
        right.legend(loc="lower right")
    left.set(xlabel="epoch", ylabel="mean training loss", ylim=(0, None))
    right.set(xlabel="epoch", ylabel="accuracy")
    percent(right)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return finish([left, right], source)


def heat(ax: Axes, values, *, most: float | None = None, form: str = "{:.0%}", skip=None) -> None:
    """A table of numbers (R, C) on an Axes, each cell as strong as its value; 0 is the paper's colour.

    most: the value that gets the strongest colour, by default the largest.  skip: cells (R, C) without a number.
    """
    values = np.asarray(values, dtype=float)
    most = most if most is not None else np.nanmax(values) or 1.0
    ax.imshow(values, cmap=HEAT, vmin=0, vmax=most, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        if skip is None or not skip[i, j]:
            ax.text(j, i, form.format(value), ha="center", va="center", fontsize=10)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


# Orange that lets the paper through: with half of it at most, the page's ink stays readable on it, light and dark.
HEAT = LinearSegmentedColormap.from_list("heat", [(*to_rgb(ORANGE), 0), (*to_rgb(ORANGE), 0.5)])


def confusion(matrix: Tensor, classes: Sequence[str], *, source: str | None = None) -> Picture:
    """Counts (K, K), true class down, predicted class across; the colour is the share of the row's mistakes."""
    counts = np.asarray(matrix)
    wrong = counts * (1 - np.eye(len(counts)))
    ax = axes(height=4.0)
    heat(ax, wrong, most=max(wrong.max(), 1), skip=np.ones_like(wrong))
    for (i, j), count in np.ndenumerate(counts):
        if count:
            ax.text(j, i, f"{int(count)}", ha="center", va="center", fontsize=10,
                    fontweight="bold" if i == j else "normal")
    long = max(map(len, classes)) > 3
    ax.set_xticks(range(len(classes)), classes, rotation=90 if long else 0)
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlabel="predicted class", ylabel="true class")
    return finish(ax, source)


def bars(values: Sequence[float], labels: Sequence[str], *, ylabel: str, source: str | None = None) -> Picture:
    """One bar per value with its label: below it, or before it where the labels are long."""
    if len(values) != len(labels):
        raise ValueError(f"{len(values)} values for {len(labels)} labels")
    place, labels = range(len(values)), [str(text) for text in labels]
    if sum(map(len, labels)) + 2 * len(labels) <= 44:
        ax = axes(height=2.6)
        ax.bar(place, np.asarray(values), color=BLUE, width=0.7)
        ax.set_xticks(place, labels)
        ax.set_ylabel(ylabel)
        ax.grid(axis="x", visible=False)
    else:
        ax = axes(height=0.9 + 0.3 * len(labels))
        ax.barh(place, np.asarray(values), color=BLUE, height=0.7)
        ax.set_yticks(place, labels)
        ax.set_xlabel(ylabel)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    return finish(ax, source)


def network(model: nn.Module, shape: tuple[int, int, int], *, source: str | None = None) -> Picture:
    """A drawing of the network for images of `shape` (C, H, W): see `drawings.network`."""
    from advlens.course import drawings

    return drawings.network(model, shape, source=source)
