"""Draws the book's pictures into book/_static:  python book/cover.py

cover.png for the README, sharing.png for links to the book (1200 x 630, what services ask for), and one
picture for each chapter's card on the landing page.  Everything is computed here, from MNIST and CIFAR-10
where they are at hand and otherwise from the embedded data.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from PIL import Image
from torch.nn.functional import cross_entropy

from advlens import attacks, data, evaluation, jpeg, spectral, zoo
from advlens.course.planes import logits_on_plane
from advlens.layers import Scale

FOLDER = Path(__file__).parent / "_static"
NIGHT, PAPER, RIM = "#14202b", "#f4f1ea", "#d8b26a"
SIGNED = LinearSegmentedColormap.from_list("signed", ["#0072b2", PAPER, "#d55e00"])
EPS = 0.15  # pixel units of [0, 1]: large enough to be seen on a cover


def digits():
    """200 test images of MNIST, or of the embedded digits, and LeNet trained on them."""
    images = data.load("mnist", "test", fallback="digits")[:200]
    return images, zoo.pretrained("lenet", images.name)


def example():
    """The clean image, its perturbation and the attacked image, each (1, H, W), and the two predictions."""
    some, net = digits()
    x, y = some.images, some.labels
    attacked = attacks.pgd(net, x, y, eps=EPS, steps=40, loss="margin", generator=torch.Generator().manual_seed(0))
    before, after = (evaluation.logits(net, z).softmax(1) for z in (x, attacked))
    # The pair that the network is surest of, before and after.
    sure = torch.where((before.argmax(1) == y) & (after.argmax(1) != y), before.amax(1) * after.amax(1), 0.0)
    i = int(sure.argmax())
    return x[i], attacked[i] - x[i], attacked[i], int(before[i].argmax()), int(after[i].argmax())


# --- cover and sharing picture: a digit, its noise under a lens, and the sum --------------------

def cover(height: float = 5.0, title: str = "") -> plt.Figure:
    """12 inches wide, dark, so that it stands on a light and on a dark page."""
    clean, noise, attacked, before, after = example()
    fig, ax = sheet(12, height)
    side, low = 2.9, 1.25
    tile(ax, clean[0], 0.75, low, side)
    tile(ax, attacked[0], 12 - 0.75 - side, low, side)
    lens(ax, noise, (6, 2.72), 1.72)
    for x, text in ((0.75 + side / 2, f"the network: {before}"), (12 - 0.75 - side / 2, f"the network: {after}")):
        ax.text(x, 0.72, text, ha="center", va="center", color=PAPER, fontsize=20)
    for x, sign in ((3.96, "+"), (8.04, "=")):
        ax.text(x, 2.72, sign, ha="center", va="center", color=PAPER, fontsize=34)
    ax.text(6, height - 0.75, title, ha="center", va="center", color=PAPER, fontsize=36, weight="bold")
    return fig


def lens(ax, noise, centre, radius) -> None:
    """The perturbation, magnified, inside a magnifying glass."""
    x, y = centre
    limit = noise.abs().max().item()
    ax.add_patch(FancyArrowPatch((x + 0.74 * radius, y - 0.74 * radius), (x + 1.22 * radius, y - 1.22 * radius),
                                 arrowstyle="-", color=RIM, linewidth=16, capstyle="round", zorder=1))
    shown = ax.imshow(noise[0], cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest", zorder=3,
                      extent=(x - radius, x + radius, y - radius, y + radius))
    shown.set_clip_path(Circle(centre, radius, transform=ax.transData))
    ax.add_patch(Circle(centre, radius, facecolor=PAPER, edgecolor=RIM, linewidth=9, zorder=4, fill=False))


# --- one picture a chapter, 6.4 x 3.2 inches ------------------------------------------------------

def adversarial_examples() -> plt.Figure:
    """A digit and its double, and what the network calls them."""
    clean, _, attacked, before, after = example()
    fig, ax = sheet(6.4, 3.2)
    for x, image, answer in ((0.75, clean, before), (3.55, attacked, after)):
        tile(ax, image[0], x, 0.75, 2.1)
        ax.text(x + 1.05, 0.36, f"\u201c{answer}\u201d", ha="center", va="center", color=PAPER, fontsize=17)
    ax.text(3.2, 1.8, "\u2192", ha="center", va="center", color=RIM, fontsize=28)
    return fig


def images() -> plt.Figure:
    """Ten photographs, one of each class."""
    photos = data.load("cifar10", "test", fallback="shapes")[:200]
    fig, ax = sheet(6.4, 3.2)
    for k in range(10):
        first = photos.images[photos.labels == k][0]
        tile(ax, first.permute(1, 2, 0), 0.35 + 1.16 * (k % 5), 1.7 - 1.2 * (k // 5), 1.06, frame=0)
    return fig


def filters() -> plt.Figure:
    """The six filters of LeNet's first layer over a digit that they look at."""
    some, net = digits()
    weight = next(layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)).weight.detach()[:, 0]
    fig, ax = sheet(6.4, 3.2)
    tile(ax, some.images[0, 0], 0.4, 0.55, 2.1)
    for k, kernel in enumerate(weight):
        tile(ax, kernel, 3.0 + 1.1 * (k % 3), 1.7 - 1.15 * (k // 3), 0.95, cmap=SIGNED, limit=weight.abs().max().item())
    return fig


def one_step() -> plt.Figure:
    """A digit and the step that FGSM takes from it."""
    some, net = digits()
    step = attacks.fgsm(net, some.images[:1], some.labels[:1], eps=EPS) - some.images[:1]
    fig, ax = sheet(6.4, 3.2)
    tile(ax, some.images[0, 0], 0.75, 0.55, 2.1)
    tile(ax, step[0, 0], 3.55, 0.55, 2.1, cmap=SIGNED, limit=EPS)
    ax.text(3.2, 1.6, "+", ha="center", va="center", color=RIM, fontsize=26)
    return fig


def many_steps() -> plt.Figure:
    """The loss in a plane through one image, and BIM's walk in it: through its start, a middle point and its end."""
    some, net = digits()
    x, y = some.images[:1], some.labels[:1]
    walk = [x] + [attacks.bim(net, x, y, eps=EPS, steps=k, step_size=EPS / 5) for k in range(1, 13)]
    across, up = ((walk[k] - x).flatten() for k in (-1, 3))
    across = across / across.norm()
    up = up - (up @ across) * across
    up = up / up.norm()
    points = torch.stack([torch.stack([(p - x).flatten() @ across, (p - x).flatten() @ up]) for p in walk])
    reach = 1.6 * points[:, 0].max().item()
    sides = torch.linspace(-0.3 * reach, 0.7 * reach, 81), torch.linspace(-0.17 * reach, 0.33 * reach, 41)
    logits = logits_on_plane(net, x, across.view_as(x), up.view_as(x), *sides)  # (41, 81, 10)
    loss = cross_entropy(logits.flatten(0, 1), y.expand(41 * 81), reduction="none").view(41, 81)
    fig, ax = sheet(6.4, 3.2)
    inner = ax.inset_axes([0, 0, 6.4, 3.2], transform=ax.transData)
    inner.contourf(*sides, (loss + 1e-3).log(), levels=14, cmap="cividis")
    inner.plot(points[:, 0], points[:, 1], "o-", color="white", markersize=6, linewidth=2)
    inner.set_axis_off()
    return fig


def least_effort() -> plt.Figure:
    """The classes in the plane through one digit and the nearest points of two others, and the circle that fits."""
    some, net = digits()
    x, y = some.images[:1], some.labels[:1]
    across = attacks.ddn(net, x, y) - x
    second = evaluation.logits(net, x + across).argmax(1)
    others = [k for k in range(10) if k not in (y.item(), second.item())]
    reached = attacks.ddn(net, x.expand(8, -1, -1, -1), torch.tensor(others), targeted=True) - x
    up = reached[reached.flatten(1).norm(dim=1).argmin()][None]
    length = across.norm().item()
    u = across / length
    up = up - (up * u).sum() * u
    sides = torch.linspace(-2.6, 2.6, 241) * length, torch.linspace(-1.3, 1.3, 121) * length
    found = logits_on_plane(net, x, u, up / up.norm(), *sides).argmax(2)  # (121, 241)
    fig, ax = sheet(6.4, 3.2)
    inner = ax.inset_axes([0, 0, 6.4, 3.2], transform=ax.transData)
    inner.pcolormesh(*sides, found, cmap="cividis", vmin=0, vmax=9)
    inner.contour(*sides, found != y, levels=[0.5], colors=PAPER)
    inner.add_patch(Circle((0, 0), length, fill=False, color=NIGHT, linewidth=2.5, linestyle="--"))
    inner.plot(0, 0, "o", color=NIGHT, markersize=9)
    inner.set_axis_off()
    return fig


def without_gradients() -> plt.Figure:
    """Three stations of a walk that sees labels only, from noise to the neighbourhood of a digit."""
    some, net = digits()
    x, y = some.images[:1], some.labels[:1]
    walk = [attacks.hop_skip_jump(net, x, y, queries=n, generator=torch.Generator().manual_seed(0))
            for n in (50, 400, 4000)]
    fig, ax = sheet(6.4, 3.2)
    for left, station in zip((0.35, 2.4, 4.45), walk):
        tile(ax, station[0, 0], left, 0.85, 1.6)
        answer = evaluation.logits(net, station).argmax().item()
        ax.text(left + 0.8, 0.42, f"\u201c{answer}\u201d", ha="center", va="center", color=PAPER, fontsize=15)
    return fig


def honest_evaluation() -> plt.Figure:
    """The gradients of two networks with the same answers: one rounds its pixels first, and its gradient is blank."""
    some, net = digits()
    x, y = some.images[:1], some.labels[:1]
    point = x.clone().requires_grad_()
    gradient, = torch.autograd.grad(cross_entropy(net(point), y), point)
    fig, ax = sheet(6.4, 3.2)
    limit = gradient.abs().max().item()
    for left, shown in ((0.75, gradient), (3.55, torch.zeros_like(gradient))):
        tile(ax, shown[0, 0], left, 0.55, 2.1, cmap=SIGNED, limit=limit)
    ax.text(4.6, 1.6, "?", ha="center", va="center", color=NIGHT, fontsize=60, zorder=3)
    return fig


# --- paper and scissors -----------------------------------------------------------------------------

def compressed() -> plt.Figure:
    """A photograph at three qualities of JPEG, from whole to blocks."""
    x = data.load("cifar10_lossless", "test", fallback="shapes").images[:1]
    fig, ax = sheet(6.4, 3.2)
    for left, quality in ((0.35, 90), (2.35, 10), (4.35, 1)):
        tile(ax, jpeg.compress(x, quality)[0].permute(1, 2, 0), left, 0.75, 1.7)
    return fig


def frequencies() -> plt.Figure:
    """A wave of stripes, the noise of an attack, and the spectrum of that noise."""
    some, net = digits()
    x, y = some.images[:1], some.labels[:1]
    noise = attacks.pgd(net, x, y, eps=0.15, generator=torch.Generator().manual_seed(0)) - x
    fig, ax = sheet(6.4, 3.2)
    tile(ax, spectral.sinusoids((1, 28, 28), torch.tensor([[2, 3]]), contrast=0.5)[0, 0], 0.3, 0.7, 1.8)
    tile(ax, noise[0, 0], 2.3, 0.7, 1.8, cmap=SIGNED, limit=noise.abs().max().item())
    spectrum = spectral.log_spectrum(noise)[0, 0]
    tile(ax, spectrum / spectrum.max(), 4.3, 0.7, 1.8)
    return fig


def capacity() -> plt.Figure:
    """Accuracy against eps under one step along the naive cross-entropy, for one LeNet that gets surer of itself."""
    some, net = digits()
    x, y = some.images, some.labels
    fig, ax = sheet(6.4, 3.2)
    inner = ax.inset_axes([0.35, 0.3, 5.7, 2.6], transform=ax.transData)
    budgets = torch.linspace(0, 0.3, 13)
    for k, factor in enumerate((0.5, 1, 2, 8, 16)):
        sure = torch.nn.Sequential(net, Scale(factor))
        point = x.clone().requires_grad_()
        gradient, = torch.autograd.grad(cross_entropy(sure(point), y, reduction="sum"), point)
        left = [evaluation.accuracy(net, (x + eps * gradient.sign()).clamp(0, 1), y).value for eps in budgets]
        inner.plot(budgets, left, color=RIM if k == 4 else PAPER, alpha=0.35 + 0.16 * k, linewidth=2 + 0.8 * k)
    inner.set(ylim=(0, 1.03))
    inner.set_axis_off()
    return fig


def sheet(width: float, height: float):
    """A dark figure and axes over all of it, in inches."""
    fig = plt.figure(figsize=(width, height), facecolor=NIGHT, layout="none")
    ax = fig.add_axes([0, 0, 1, 1], xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    plt.close(fig)
    return fig, ax


def tile(ax, image, x, y, side, *, cmap="gray", limit=None, frame=0.05) -> None:
    """One image (H, W) or (H, W, 3) with a rim of paper; `limit` makes its scale run from -limit to limit."""
    low, high = (0, 1) if limit is None else (-limit, limit)
    ax.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest", extent=(x, x + side, y, y + side),
              zorder=2)
    ax.add_patch(FancyBboxPatch((x, y), side, side, boxstyle=f"square,pad={frame}", facecolor=PAPER,
                                edgecolor="none", zorder=1))


def local_learning() -> plt.Figure:
    """A cloud of two correlated inputs and the weights of a neuron that turn into its long axis by Oja's rule."""
    generator = torch.Generator().manual_seed(3)
    turn = torch.tensor([[0.94, 0.34], [-0.34, 0.94]])
    points = (torch.randn(420, 2, generator=generator) * torch.tensor([1.0, 0.3])) @ turn
    w, path = torch.tensor([-0.12, 0.62]), []
    for x in points:
        path.append(w)
        y = w @ x
        w = w + 0.02 * y * (x - y * w)
    fig, ax = sheet(6.4, 3.2)
    middle = torch.tensor([3.2, 1.55])
    ax.plot(*(middle + 1.1 * points).T, "o", color=PAPER, alpha=0.45, markersize=3.2, markeredgewidth=0)
    shown = [path[k] for k in (0, 20, 40, 60, 90, 130)] + [w]
    for k, at in enumerate(shown):
        alpha, width, head = (1, 5, 26) if k == len(shown) - 1 else (0.2 + 0.08 * k, 2, 14)
        ax.annotate("", middle + 2.1 * at, middle, zorder=3,
                    arrowprops={"arrowstyle": "-|>", "color": RIM, "alpha": alpha, "lw": width, "mutation_scale": head,
                                "shrinkA": 0, "shrinkB": 0})
    return fig


def competing_units() -> plt.Figure:
    """Eighteen hidden units that learnt from digits without a label."""
    rows = zoo.pretrained("hebbian_bio", "mnist")[2].weight.detach()[:18].view(-1, 28, 28)
    fig, ax = sheet(6.4, 3.2)
    for k, row in enumerate(rows):
        tile(ax, row, 0.3 + 0.98 * (k % 6), 2.12 - 0.97 * (k // 6), 0.88, cmap=SIGNED, limit=row.abs().max().item(),
             frame=0)
    return fig


def save(fig: plt.Figure, name: str, dpi: int, colours: int = 128) -> None:
    png = io.BytesIO()
    fig.savefig(png, dpi=dpi, facecolor=NIGHT)
    image = Image.open(png).convert("RGB")
    image = image.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    target = FOLDER / name
    target.parent.mkdir(exist_ok=True, parents=True)
    image.save(target, optimize=True)
    print(f"{target}: {image.width} x {image.height} pixels, {target.stat().st_size:,} bytes")


CARDS = {"00": adversarial_examples, "01": images, "02": filters, "03": one_step, "04": many_steps, "05": least_effort,
         "06": without_gradients, "07": honest_evaluation, "08": compressed, "09": frequencies,
         "10": capacity, "11": local_learning, "12": competing_units}


def main() -> None:
    save(cover(), "cover.png", dpi=120)
    save(cover(6.3, "Adversarial Lenses"), "sharing.png", dpi=100)
    for chapter, draw in CARDS.items():
        save(draw(), f"cards/{chapter}.png", dpi=125, colours=96)


if __name__ == "__main__":
    main()
