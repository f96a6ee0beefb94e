"""Figures: readable, honest about signs and pixels, and the same look for the same thing."""

from __future__ import annotations

import itertools
import math

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from nbclient import NotebookClient

from advlens.course import plots
from advlens.evaluation import Curve
from advlens.training import History

NETS = ("lenet", "mnist_resnet", "fully_connected", "cifar_net", "vgg_blocks")
ATTACKS = ("fgsm", "fgm", "bim", "pgd", "pgd-l2", "noise", "clean")
CURVE = Curve([0.0, 0.1, 0.2], [0.9, 0.5, 0.2], [0.8, 0.4, 0.1], [0.95, 0.6, 0.3], 100)
CLASSES = tuple(f"class {k}" for k in range(10))
SOURCE = "a set made for this test"


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plots.use_style()
        yield
    plt.close("all")  # a test that fails on purpose leaves its figure behind


def draw(name):
    """One figure of every kind, from random numbers."""
    generator = torch.Generator().manual_seed(0)
    grey, colour = torch.rand(4, 1, 8, 8, generator=generator), torch.rand(4, 3, 8, 8, generator=generator)
    probabilities = torch.rand(4, 10, generator=generator).softmax(1)
    return {
        "images": lambda: plots.images(grey, ["a", "b", "c", "d"], 3, source=SOURCE, frame=[True, False, True, True]),
        "attack": lambda:
            plots.attack(grey, grey.flip(0), probabilities, probabilities.flip(0), CLASSES, source=SOURCE),
        "attack in colour": lambda:
            plots.attack(colour[:1], colour[1:2], probabilities[:1], probabilities[1:2], CLASSES, source=SOURCE),
        "curves": lambda: plots.curves({"lenet": CURVE, "vgg_blocks": CURVE}, source=SOURCE),
        "history": lambda: plots.history(History([2.0, 1.0], [0.5, 0.8], [0.4, 0.7]), source=SOURCE),
        "confusion": lambda: plots.confusion(torch.arange(100).view(10, 10), CLASSES, source=SOURCE),
        "bars": lambda: plots.bars([3, 1, 2], ["a", "b", "c"], ylabel="images", source=SOURCE),
    }[name]()


EVERY = ("images", "attack", "attack in colour", "curves", "history", "confusion", "bars")


def words(fig):
    """Every text on the page; ticks outside the axis limits are not drawn."""
    outside = {id(text) for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)
               for tick in axis.get_major_ticks() for text in (tick.label1, tick.label2)
               if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())}
    return [text for text in fig.findobj(Text) if text.get_visible() and text.get_text() and id(text) not in outside]


# --- what every figure keeps -------------------------------------------------------

@pytest.mark.parametrize("name", EVERY)
def test_a_figure_names_its_data_is_opaque_and_is_closed(name):
    fig = draw(name)
    assert isinstance(fig, plt.Figure)
    assert f"Data: {SOURCE}" in [text.get_text() for text in words(fig)]
    assert fig.get_facecolor() == (1, 1, 1, 1)
    assert plt.get_fignums() == [], "an open figure is drawn a second time by the inline backend"


@pytest.mark.parametrize("name", EVERY)
def test_letters_are_large_enough_and_stay_inside(name):
    fig = draw(name)
    fig.draw_without_rendering()
    width, height = fig.bbox.size
    assert fig.get_figwidth() <= 7
    for text in words(fig):
        assert text.get_fontsize() >= 8, text
        box = text.get_window_extent()
        assert -2 <= box.x0 and box.x1 <= width + 2 and -2 <= box.y0 and box.y1 <= height + 2, text


@pytest.mark.parametrize("name", ["images", "attack", "attack in colour"])
def test_images_are_never_interpolated(name):
    shown = [image for ax in draw(name).axes for image in ax.images]
    assert shown and {image.get_interpolation() for image in shown} == {"nearest"}


@pytest.mark.parametrize("name", ["curves", "history", "bars", "confusion"])
def test_axes_are_labelled(name):
    for ax in draw(name).axes:
        assert ax.get_ylabel()
        assert ax.get_xlabel() or name == "bars"


def test_a_long_source_is_wrapped():
    fig = plots.finish(plt.figure(layout="constrained"), "a long source " * 20)
    fig.draw_without_rendering()
    assert fig._supxlabel.get_window_extent().x1 <= fig.bbox.width


def test_a_notebook_shows_a_figure_exactly_once():
    hand_made = "fig, ax = plt.subplots()\nax.plot([0, 1])\nplots.finish(fig, 'here')"
    notebook = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell("import matplotlib.pyplot as plt\nfrom advlens.course import plots\n"
                                  "plots.use_style()"),
        nbformat.v4.new_code_cell("plots.bars([1, 2], ['a', 'b'], ylabel='images', source='here')"),
        nbformat.v4.new_code_cell(hand_made)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    for cell in notebook.cells[1:]:
        assert [("image/png" in output.data) for output in cell.outputs] == [True]


# --- colours -----------------------------------------------------------------------

def linear(rgb):
    rgb = np.asarray(rgb, dtype=float)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(light):
    """CIELAB of linear sRGB, white point D65."""
    xyz = np.asarray(light) @ np.array([[0.4124564, 0.2126729, 0.0193339], [0.3575761, 0.7151522, 0.1191920],
                                        [0.1804375, 0.0721750, 0.9503041]])
    t = xyz / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


# What a reader without red (protan) or green (deutan) cones sees: Machado, Oliveira & Fernandes 2009, severity 1.
SIGHT = {
    "full": np.eye(3),
    "deutan":
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "protan":
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
}


def nearest(colours, sight):
    """The smallest CIELAB distance between two of the colours, as that reader sees them."""
    seen = [lab((SIGHT[sight] @ linear(to_rgb(c))).clip(0, 1)) for c in colours]
    return min(math.dist(a, b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("names", [NETS, ATTACKS, ("right", "wrong")], ids=["nets", "attacks", "frames"])
def test_colours_can_be_told_apart(names, sight):
    colours = [plots.RIGHT, plots.WRONG] if names[0] == "right" else [plots.colour(name) for name in names]
    assert nearest(colours, sight) > 15


def test_the_distance_test_can_fail():
    assert nearest(["#D55E00", "#7A8B00"], "full") > 50 and nearest(["#D55E00", "#7A8B00"], "deutan") < 15


@pytest.mark.parametrize("names", [NETS, ATTACKS], ids=["nets", "attacks"])
def test_markers_and_dashes_repeat_what_the_colour_says(names):
    looks = [plots.LOOKS[name] for name in names]
    assert len({look.marker for look in looks}) == len(looks)
    assert len({look.label for look in looks}) == len(looks)


def test_one_thing_has_one_look_in_every_figure():
    alone = plots.curves({"pgd": CURVE}).axes[0].lines[0]
    among = plots.curves({"fgsm": CURVE, "my own": CURVE, "pgd": CURVE}).axes[0].lines[2]
    for key in ("get_color", "get_marker", "get_linestyle", "get_label"):
        assert getattr(alone, key)() == getattr(among, key)()
    assert alone.get_color() == plots.colour("pgd") and alone.get_label() == plots.label("pgd") == "PGD"


@pytest.mark.parametrize("ask", [plots.colour, plots.label])
def test_an_unknown_name_lists_the_known_ones(ask):
    with pytest.raises(ValueError, match="'alexnet'; known: lenet, .*pgd-l2"):
        ask("alexnet")


# --- signed noise --------------------------------------------------------------------

def drawn(d, limit=None):
    """The RGB values (H, W, 3) in [0, 1] that `noise` puts on the page."""
    fig, ax = plt.subplots()
    plots.noise(ax, d, limit)
    image = ax.images[0]
    plt.close(fig)
    return image.to_rgba(image.get_array(), norm=True)[..., :3]


def test_the_signed_map_is_even_and_neutral_in_the_middle():
    lightness = lab(linear(plots.SIGNED.colors))[:, 0]
    steps = np.diff(lightness)
    assert (steps[:128] > 0).all() and (steps[128:] < 0).all()
    assert np.abs(steps).max() < 1.6 * np.abs(steps).min()
    assert np.abs(lightness - lightness[::-1]).max() < 8  # equal sizes look equally strong
    middle = plots.SIGNED.colors[128]
    assert middle.min() > 0.95 and np.ptp(middle) < 0.01


def test_negative_noise_does_not_wrap_around():
    d = torch.linspace(-0.3, 0.3, 61).view(1, 1, 61)
    row = drawn(d)[0]
    red, blue = row[:, 0], row[:, 2]
    assert (np.diff(red)[:30] >= 0).all() and (np.diff(blue)[30:] <= 0).all()  # one direction on each side of 0
    assert blue[0] > red[0] + 0.3 and red[-1] > blue[-1] + 0.3
    np.testing.assert_allclose(row[30], plots.SIGNED.colors[128], atol=0.01)


def test_colour_noise_is_grey_at_zero_and_saturates():
    d = torch.tensor([-0.5, -0.1, 0.0, 0.1, 0.5]).repeat(3, 1, 1)
    np.testing.assert_allclose(drawn(d, limit=0.2)[0, :, 0], [0, 0.25, 0.5, 0.75, 1], atol=1e-6)


def test_noise_of_zeros_is_neutral():
    assert np.allclose(drawn(torch.zeros(3, 2, 2)), 0.5)


def test_noise_in_integers_is_refused():
    with pytest.raises(TypeError, match="torch.uint8.*wrap around"):
        drawn(torch.zeros(1, 2, 2, dtype=torch.uint8))


# --- each figure -----------------------------------------------------------------------

def test_images_show_the_pixels_they_were_given():
    x = torch.rand(2, 3, 4, 5)
    fig = plots.images(x)
    for ax, image in zip(fig.axes, x):
        np.testing.assert_array_equal(ax.images[0].get_array(), image.permute(1, 2, 0))
    grey = plots.images(torch.full((1, 1, 2, 2), 0.25)).axes[0].images[0]
    assert grey.get_clim() == (0, 1), "a grey image must not be stretched to full contrast"


def test_images_frame_right_and_wrong_in_two_ways():
    fig = plots.images(torch.rand(2, 1, 4, 4), frame=[True, False])
    right, wrong = (ax.spines["left"] for ax in fig.axes)
    assert to_rgb(right.get_edgecolor()) == to_rgb(plots.RIGHT) and to_rgb(wrong.get_edgecolor()) == to_rgb(plots.WRONG)
    assert right.get_linestyle() != wrong.get_linestyle()


def test_wide_titles_never_touch():
    fig = plots.images(torch.rand(12, 1, 4, 4), ["automobile to airplane"] * 12)
    fig.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in fig.axes if ax.get_title()]
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("wrong", [{"titles": ["a"]}, {"frame": [True] * 3}])
def test_images_refuse_lengths_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} has . entries for 2 images"):
        plots.images(torch.rand(2, 1, 4, 4), **wrong)


def test_attack_shows_scale_predictions_and_confidences():
    x = torch.full((1, 1, 4, 4), 0.5)
    before, after = torch.full((2, 10), 0.01)
    before[3], after[7] = 0.91, 0.91
    fig = plots.attack(x, x + 0.05, before[None], after[None], CLASSES)
    clean, signed, attacked, bars = fig.axes
    assert "class 3 (91%)" in clean.get_title() and "class 7 (91%)" in attacked.get_title()
    assert "±0.05" in signed.get_title() and signed.images[0].get_clim() == pytest.approx((-0.05, 0.05))
    assert [tick.get_text() for tick in bars.get_yticklabels()] == list(CLASSES)
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([*before.tolist(), *after.tolist()])
    magnified = plots.attack(x, x + 0.05, before[None], after[None], CLASSES, magnify=4)
    assert magnified.axes[1].images[0].get_clim() == (-0.25, 0.25)


def test_attack_keeps_many_rows_short():
    x = torch.rand(3, 1, 4, 4)
    p = torch.eye(10)[:3] * 0.9 + 0.01
    fig = plots.attack(x, x, p, p.roll(1, 1), CLASSES)
    assert [len(fig.axes[4 * i + 3].get_yticks()) for i in range(3)] == [3, 3, 3]
    assert {"class 0", "class 1"} < {tick.get_text() for tick in fig.axes[3].get_yticklabels()}


def test_curves_draw_the_interval_as_a_band():
    band = plots.curves({"lenet": CURVE}).axes[0].collections[0].get_paths()[0].vertices
    for eps, low, high in zip(CURVE.eps, CURVE.low, CURVE.high):
        heights = band[np.isclose(band[:, 0], eps), 1]
        assert heights.min() == pytest.approx(low) and heights.max() == pytest.approx(high)


def test_curves_take_what_a_record_holds():
    for stored in (CURVE._asdict(), list(CURVE)):
        np.testing.assert_array_equal(plots.curves({"lenet": stored}).axes[0].lines[0].get_ydata(), CURVE.accuracy)


def test_curves_draw_into_a_given_axis():
    fig, (left, right) = plt.subplots(1, 2)
    assert plots.curves({"lenet": CURVE}, ax=right) is fig
    assert len(right.lines) == 1 and not left.lines


def test_history_leaves_out_a_validation_that_was_not_made():
    with_it = plots.history({"loss": [1.0, 0.5], "train_accuracy": [0.5, 0.6], "validation_accuracy": [0.4, 0.5]})
    without = plots.history(History([1.0, 0.5], [0.5, 0.6], [math.nan, math.nan]))
    assert [len(fig.axes[1].lines) for fig in (with_it, without)] == [2, 1]


def test_confusion_prints_every_count_that_is_not_zero():
    fig = plots.confusion(torch.tensor([[90, 0], [7, 93]]), ("cat", "dog"))
    assert sorted(text.get_text() for text in fig.axes[0].texts) == ["7", "90", "93"]
    strongest = np.unravel_index(fig.axes[0].images[0].get_array().argmax(), (2, 2))
    assert strongest == (1, 0), "the colour shows the mistakes, not the diagonal"


def test_bars_need_one_label_each():
    with pytest.raises(ValueError, match="2 values for 1 labels"):
        plots.bars([1, 2], ["a"], ylabel="images")
