"""Draws the book's cover, book/_static/cover.png:  python book/cover.py

One row of three: a digit, its signed noise under a lens, and the digit that the network
then takes for another.  Everything is computed here, from MNIST where it is at hand and
otherwise from the embedded digits.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from PIL import Image

from advlens import attacks, data, evaluation, zoo
from advlens.course import plots

TARGET = Path(__file__).parent / "_static" / "cover.png"
NIGHT, PAPER, RIM = "#14202b", "#f4f1ea", "#d8b26a"
EPS = 0.15  # pixel units of [0, 1]: large enough to be seen on a cover


def example():
    """The clean image, its perturbation and the attacked image, each (1, H, W), and the two predictions."""
    digits = data.load("mnist", "test", fallback="digits")[:200]
    net = zoo.pretrained("lenet", digits.name)
    x, y = digits.images, digits.labels
    attacked = attacks.pgd(net, x, y, eps=EPS, steps=40, loss="margin", generator=torch.Generator().manual_seed(0))
    before, after = (evaluation.logits(net, z).softmax(1) for z in (x, attacked))
    # The pair that the network is surest of, before and after.
    sure = torch.where((before.argmax(1) == y) & (after.argmax(1) != y), before.amax(1) * after.amax(1), 0.0)
    i = int(sure.argmax())
    return x[i], attacked[i] - x[i], attacked[i], int(before[i].argmax()), int(after[i].argmax())


def draw() -> plt.Figure:
    """12 x 5 inches, dark, so that it stands on a light and on a dark page."""
    clean, noise, attacked, before, after = example()
    fig = plt.figure(figsize=(12, 5), facecolor=NIGHT, layout="none")
    ax = fig.add_axes([0, 0, 1, 1], xlim=(0, 12), ylim=(0, 5))
    ax.set_axis_off()

    side, low = 2.9, 1.25
    _tile(ax, clean, 0.75, low, side)
    _tile(ax, attacked, 12 - 0.75 - side, low, side)
    _lens(ax, noise, (6, 2.72), 1.72)
    for x, text in ((0.75 + side / 2, f"the network: {before}"), (12 - 0.75 - side / 2, f"the network: {after}")):
        ax.text(x, 0.72, text, ha="center", va="center", color=PAPER, fontsize=20)
    for x, sign in ((3.96, "+"), (8.04, "=")):
        ax.text(x, 2.72, sign, ha="center", va="center", color=PAPER, fontsize=34)
    plt.close(fig)
    return fig


def _tile(ax, image, x, y, side) -> None:
    ax.imshow(image[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=(x, x + side, y, y + side),
              zorder=2)
    ax.add_patch(FancyBboxPatch((x, y), side, side, boxstyle="square,pad=0.05", facecolor=PAPER, edgecolor="none",
                                zorder=1))


def _lens(ax, noise, centre, radius) -> None:
    """The perturbation, magnified, inside a magnifying glass."""
    x, y = centre
    limit = noise.abs().max().item()
    handle = FancyArrowPatch((x + 0.74 * radius, y - 0.74 * radius), (x + 1.22 * radius, y - 1.22 * radius),
                             arrowstyle="-", color=RIM, linewidth=16, capstyle="round", zorder=1)
    ax.add_patch(handle)
    rim = Circle(centre, radius, facecolor=PAPER, edgecolor=RIM, linewidth=9, zorder=4, fill=False)
    shown = ax.imshow(noise[0], cmap=plots.SIGNED, vmin=-limit, vmax=limit, interpolation="nearest", zorder=3,
                      extent=(x - radius, x + radius, y - radius, y + radius))
    shown.set_clip_path(Circle(centre, radius, transform=ax.transData))
    ax.add_patch(rim)


def main() -> None:
    png = io.BytesIO()
    draw().savefig(png, dpi=120, facecolor=NIGHT)
    image = Image.open(png).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    TARGET.parent.mkdir(exist_ok=True)
    image.save(TARGET, optimize=True)
    print(f"{TARGET}: {image.width} x {image.height} pixels, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
