"""Figures: readable, honest about signs and pixels, and the same look for the same thing."""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.textpath import TextPath
from nbclient import NotebookClient
from PIL import Image

from advlens import models
from advlens.course import drawings, pictures, plots
from advlens.course.svg import svg
from advlens.evaluation import Curve
from advlens.training import History

NETS = ("lenet", "mnist_resnet", "fully_connected", "cifar_net", "vgg_blocks")
ATTACKS = ("fgsm", "fgm", "bim", "pgd", "pgd-l2", "noise", "clean")
LEAST = ("deepfool", "lbfgs", "carlini_wagner", "ddn", "jsma", "strongest")  # what one figure compares
ANSWERS = ("square", "hop_skip_jump", "pgd", "fgsm", "bim", "momentum")
CURVE = Curve([0.0, 0.1, 0.2], [0.9, 0.5, 0.2], [0.8, 0.4, 0.1], [0.95, 0.6, 0.3], 100)
CLASSES = tuple(f"class {k}" for k in range(10))
SOURCE = "a set <made> for this test"
PHONE = 312  # CSS pixels: what a picture has on a screen of 360


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plots.use_style()
        yield
    plt.close("all")  # a test that fails on purpose leaves its figure behind


def draw(name):
    """One picture of every kind, from random numbers."""
    generator = torch.Generator().manual_seed(0)
    grey, colour = torch.rand(4, 1, 8, 8, generator=generator), torch.rand(4, 3, 8, 8, generator=generator)
    probabilities = torch.rand(4, 10, generator=generator).softmax(1)
    return {
        "images": lambda: plots.images(grey, ["a", "b", "c", "d"], 3, source=SOURCE, frame=[True, False, True, True]),
        "attack": lambda:
            plots.attack(grey, grey.flip(0), probabilities, probabilities.flip(0), CLASSES, source=SOURCE),
        "attack in colour": lambda:
            plots.attack(colour[:1], colour[1:2], probabilities[:1], probabilities[1:2], CLASSES, source=SOURCE),
        "grid": lambda: plots.grid([[plots.image(grey[0]), plots.noise(colour[0])], [None, panel()]],
                                   heads=["first", "second"], rows=["above", "below"], source=SOURCE),
        "mixed": lambda: plots.grid([plots.image(grey[0], "said"), panel()], source=SOURCE),
        "curves": lambda: plots.curves({"lenet": CURVE, "vgg_blocks": CURVE}, source=SOURCE),
        "history": lambda: plots.history(History([2.0, 1.0], [0.5, 0.8], [0.4, 0.7]), source=SOURCE),
        "confusion": lambda: plots.confusion(torch.arange(100).view(10, 10), CLASSES, source=SOURCE),
        "bars": lambda: plots.bars([3, 1, 2], ["a", "b", "c"], ylabel="images", source=SOURCE),
        "long bars": lambda: plots.bars(range(10), CLASSES, ylabel="images", source=SOURCE),
        "network": lambda: plots.network(models.LeNet(), (1, 28, 28), source=SOURCE),
    }[name]()


def panel():
    ax = plots.axes(height=2)
    ax.plot([0, 1], [2, 1])
    ax.set(xlabel="step", ylabel="loss")
    return ax


IMAGES = ("images", "attack", "attack in colour", "grid")
DRAWN = ("curves", "history", "confusion", "bars", "long bars", "network")
EVERY = (*IMAGES, "mixed", *DRAWN)


def drawings_of(picture):
    """The <svg> elements of a picture, parsed: they are well-formed XML."""
    found = re.findall(r"<svg.*?</svg>", picture.html, re.DOTALL)
    return [ElementTree.fromstring(one) for one in found]


def texts(picture):
    return ["".join(text.itertext()) for one in drawings_of(picture) for text in one.iter("text")]


def pixels(panel):
    """What the browser shows of a panel, pixel by pixel."""
    data = re.search(r'src="data:image/png;base64,([^"]*)"', panel.html)[1]
    return Image.open(io.BytesIO(base64.b64decode(data)))


# --- what every picture keeps ------------------------------------------------------

@pytest.mark.parametrize("name", EVERY)
def test_a_picture_holds_html_and_a_fallback_and_names_its_data(name):
    picture = draw(name)
    bundle = picture._repr_mimebundle_()
    assert bundle["text/html"].endswith(picture.html) and "a set &lt;made&gt; for this test" in picture.html
    assert picture.html.count("<details") == 1, "the data are folded away"
    fallback = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert fallback.width > 100 and np.ptp(np.asarray(fallback.convert("L"))) > 50
    assert len(bundle["image/png"]) < 60_000
    assert plt.get_fignums() == [], "an open figure is drawn a second time by the inline backend"


@pytest.mark.parametrize("name", EVERY)
def test_the_same_input_gives_the_same_bytes(name):
    once, again = draw(name)._repr_mimebundle_(), draw(name)._repr_mimebundle_()
    assert once == again


@pytest.mark.parametrize("name", EVERY)
def test_a_picture_has_room_on_a_page(name):
    picture = draw(name)
    assert picture.html.count("<") / 2 < 160, "a page holds at most 6,000 elements"
    assert len(picture.html) < 60_000


@pytest.mark.parametrize("name", DRAWN)
def test_letters_are_large_enough_on_a_phone(name):
    for one in drawings_of(draw(name)):
        scale = min(PHONE / float(one.get("width")), 1.4)
        sizes = [float(part.get("font-size")) for part in one.iter() if part.get("font-size")]
        assert sizes and min(sizes) * scale >= 9.99


@pytest.mark.parametrize("name", DRAWN)
def test_no_text_leaves_its_drawing(name):
    """By matplotlib's own letters, which are wider than those of a page."""
    for one in drawings_of(draw(name)):
        width, height = float(one.get("width")), float(one.get("height"))
        for text in one.iter("text"):
            if text.get("x"):
                long = TextPath((0, 0), "".join(text.itertext()), float(text.get("font-size"))).get_extents().width
                left = float(text.get("x")) - {"middle": 0.5, "end": 1}.get(text.get("text-anchor"), 0) * long
                assert -3 < left and left + long < width + 6, "".join(text.itertext())
                assert 0 < float(text.get("y")) < height + 1


@pytest.mark.parametrize("name", ["curves", "history", "bars", "long bars", "confusion"])
def test_axes_are_labelled(name):
    wanted = {"curves": ["eps (pixel units of [0, 1])", "accuracy"],
              "history": ["epoch", "mean training loss", "epoch", "accuracy"],
              "bars": ["images"], "long bars": ["images"], "confusion": ["predicted class", "true class"]}[name]
    assert not set(wanted) - set(texts(draw(name)))


def test_a_notebook_shows_a_picture_exactly_once():
    by_hand = "fig, ax = plt.subplots(figsize=(4, 3))\nax.plot([0, 1])\nplots.finish(fig, 'here')"
    notebook = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell("import matplotlib.pyplot as plt\nfrom advlens.course import plots\n"
                                  "plots.use_style()"),
        nbformat.v4.new_code_cell("plots.bars([1, 2], ['a', 'b'], ylabel='images', source='here')"),
        nbformat.v4.new_code_cell(by_hand)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    for cell in notebook.cells[1:]:
        assert [set(output.data) for output in cell.outputs] == [{"text/html", "image/png", "text/plain"}]


def test_a_notebook_gets_the_style_and_a_frame_of_a_widget_does_not():
    picture = draw("images")
    assert "<style>" in picture._repr_mimebundle_()["text/html"]
    assert "<style>" not in picture.html


@pytest.mark.parametrize("name, role", [("curves", "img"), ("attack", "group"), ("mixed", "group")])
def test_a_picture_is_named_once(name, role):
    named = draw(name).named('the "alt" text')
    assert named.count("aria-label") == 1
    assert f'<div role="{role}" aria-label="the &quot;alt&quot; text" class="lens-' in named


def test_only_pictures_are_named():
    with pytest.raises(ValueError, match="holds no picture"):
        pictures.named("<p>text</p>", "alt")


# --- plots ---------------------------------------------------------------------------

def test_panels_are_figures_of_their_own():
    three = plots.axes(3, sharey=True)
    assert len({ax.figure for ax in three}) == 3
    three[0].plot([0, 7])
    three[1].plot([-5, 1])
    assert three[0].get_ylim() == three[2].get_ylim() and three[2].get_ylim()[0] < -5
    picture = plots.finish(three)
    assert len(drawings_of(picture)) == 3 and "--lens-columns:3" in picture.html


def test_a_wide_figure_is_refused():
    fig, _ = plt.subplots(1, 2, figsize=(7, 3))
    with pytest.raises(ValueError, match=r"7 inches wide is too small to read on a phone.*plots\.axes\(n\)"):
        plots.finish(fig)


def test_colours_of_the_palette_follow_the_page():
    ax = plots.axes()
    ax.plot([0, 1], color=plots.colour("pgd"))
    ax.plot([1, 0], color="#123456")
    ax.axhline(0.5, color=plots.INK)
    html = plots.finish(ax).html
    assert "stroke:var(--lens-blue,#0072b2)" in html and "stroke:#123456" in html
    assert "stroke:var(--lens-ink,currentColor)" in html and "var(--lens-grid," in html
    for fixed in ("#222222", "white", "#ffffff", "black"):
        assert fixed not in html


def test_right_and_wrong_have_variables_of_their_own():
    assert plots.PALETTE[plots.RIGHT].startswith("var(--lens-right,")
    assert plots.PALETTE[plots.WRONG].startswith("var(--lens-wrong,")
    assert plots.PALETTE[plots.colour("bim").lower()].startswith("var(--lens-green,")


def test_a_drawing_says_where_things_are():
    """Against the numbers: the end points of a line, in the coordinates of the drawing."""
    ax = plots.axes()
    ax.set(xlim=(0, 10), ylim=(0, 1))
    ax.plot([2, 8], [0.25, 0.75], color="#123456")
    one, = drawings_of(plots.finish(ax))
    d = next(p.get("d") for p in one.iter("path") if "#123456" in (p.get("style") or ""))
    x0, y0, x1, y1 = map(float, re.findall(r"[\d.]+", d))
    ax.figure.dpi = 72
    expected = ax.transData.transform([(2, 0.25), (8, 0.75)])
    np.testing.assert_allclose([(x0, y0), (x1, y1)], [(x, float(one.get("height")) - y) for x, y in expected], atol=0.5)


def test_what_leaves_the_axes_is_cut_and_what_stays_needs_no_clip():
    inside, outside = plots.axes(2)
    for ax, top in ((inside, 1), (outside, 5)):
        ax.set_ylim(0, 2)
        ax.plot([0, 1], [0, top], color="#123456")
    assert "clip" not in plots.finish(inside).html
    html = plots.finish(outside).html
    assert re.search(r'<clipPath id="(lens-\w+-0)">.*clip-path="url\(#\1\)"', html)


def test_ids_differ_between_pictures():
    ids = set()
    for top in (5, 6):
        ax = plots.axes()
        ax.set_ylim(0, 2)
        ax.plot([0, top])
        ids |= set(re.findall(r'id="([^"]*)"', plots.finish(ax).html))
    assert len(ids) == 2


def test_many_points_are_one_element():
    ax = plots.axes()
    ax.plot(np.arange(500), np.sin(np.arange(500)), ".", color="#123456", markersize=2)
    one, = drawings_of(plots.finish(ax))
    dots, = (p.get("d") for p in one.iter("path") if "#123456" in (p.get("style") or ""))
    assert dots.count("M") == 500 and len(dots) < 10_000


def test_a_marker_outside_of_the_axes_is_not_drawn():
    ax = plots.axes()
    ax.plot([0, 1, 2], [0.5, 7, 1], "o", color="#123456")
    ax.set_ylim(0, 1)
    one, = drawings_of(plots.finish(ax))
    dots, = (p.get("d") for p in one.iter("path") if "#123456" in (p.get("style") or ""))
    assert dots.count("M") == 2


def test_text_is_anchored_as_it_is_aligned():
    ax = plots.axes()
    for x, side in ((0.2, "left"), (0.5, "center"), (0.8, "right")):
        ax.text(x, 0.5, f"{side}\nsecond {side}", ha=side)
    one, = drawings_of(plots.finish(ax))
    anchors = {"".join(text.itertext()): text.get("text-anchor") for text in one.iter("text")}
    for side, anchor in (("left", None), ("center", "middle"), ("right", "end")):
        assert anchors[side] == anchors[f"second {side}"] == anchor


def test_formulas_are_letters():
    ax = plots.axes()
    ax.set(title=r"coins $\sqrt{d} < 3$", xlabel="$x^2$")
    title, xlabel = (sorted(text) for text in texts(plots.finish(ax)) if "3" in text or "x" in text)
    assert {"".join(title), "".join(xlabel)} == {"".join(sorted("coinsd<3")), "2x"}


def test_an_image_in_a_plot_keeps_its_pixels_and_their_place():
    ax = plots.axes()
    ax.imshow([[0.0, 1.0], [0.5, 0.25]], cmap="gray", vmin=0, vmax=1)
    html = plots.finish(ax).html
    shown = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]*)", html)[1]))).convert("L")
    np.testing.assert_allclose(np.asarray(shown) / 255, [[0, 1], [0.5, 0.25]], atol=0.01)
    assert "image-rendering:pixelated" in html


def test_a_drawing_of_thousands_of_elements_is_refused():
    ax = plots.axes()
    ax.pcolormesh(np.random.rand(40, 40))
    with pytest.raises(ValueError, match="1,6.. elements.*imshow"):
        plots.finish(ax)


def test_hatches_are_refused():
    ax = plots.axes()
    ax.bar([0], [1], hatch="/")
    with pytest.raises(ValueError, match="hatches are not drawn"):
        svg(ax.figure, {})


def test_per_cent_ends_at_a_hundred():
    ax = plots.axes()
    ax.plot([0, 1], [0.8, 1.0])
    plots.percent(ax)
    assert ax.get_ylim()[1] == 1
    written = texts(plots.finish(ax))
    assert "100\u202f%" in written and not any(t.startswith("102") or t.startswith("105") for t in written)


def test_history_ends_at_a_hundred_per_cent():
    written = texts(plots.history(History([1.0, 0.1], [0.9, 1.0], [0.9, 0.99])))
    shares = [float(text.rstrip("\u202f%")) for text in written if text.endswith("%")]
    assert shares and max(shares) == 100


@pytest.mark.parametrize("high", [0.6, 0.21, 5], ids=["wide", "thin", "out of the axes"])
def test_a_band_is_drawn(high):
    ax = plots.axes()
    ax.fill_between([0, 1], [0.2, 0.2], [high, high], color="#123456", alpha=0.18, linewidth=0)
    ax.set(ylim=(0, 1), xlim=(-1, 2))
    html = plots.finish(ax).html
    one, = drawings_of(plots.finish(ax))
    band, = (p for p in one.iter("path") if "#123456" in (p.get("style") or ""))
    assert "fill-opacity:0.18" in band.get("style")
    assert (high > 1) == (band.get("clip-path") is not None) == ("clipPath" in html)
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ (-?[\d.]+)", band.get("d"))]
    place = ax.transData.transform([(0, 0.2), (0, high)])[:, 1] * 72 / ax.figure.dpi
    assert max(heights) - min(heights) == pytest.approx(np.ptp(place), abs=0.2)


def test_one_marker_is_drawn_as_many_are():
    ax = plots.axes()
    ax.plot([0.5], [1.0], "o", color="#123456")
    ax.vlines([0.2], 0.5, 0.51, color="#654321")
    ax.set(ylim=(0, 1), xlim=(0, 1))
    html = plots.finish(ax).html
    assert "#123456" in html and "#654321" in html and "clip" not in html


def test_curves_draw_the_interval_as_a_band():
    ax = plots.axes()
    assert plots.curves({"lenet": CURVE}, ax=ax) is None
    band = ax.collections[0].get_paths()[0].vertices
    for eps, low, high in zip(CURVE.eps, CURVE.low, CURVE.high):
        heights = band[np.isclose(band[:, 0], eps), 1]
        assert heights.min() == pytest.approx(low) and heights.max() == pytest.approx(high)


def test_curves_take_what_a_record_holds():
    for stored in (CURVE._asdict(), list(CURVE)):
        ax = plots.axes()
        plots.curves({"lenet": stored}, ax=ax)
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), CURVE.accuracy)


def test_the_ticks_of_eps_say_where_they_are():
    ax = plots.axes()
    plots.curves({"lenet": CURVE}, ax=ax)
    plots.finish(ax)
    for tick in ax.xaxis.get_major_ticks():
        assert float(tick.label1.get_text().replace("\N{MINUS SIGN}", "-")) == pytest.approx(tick.get_loc())


def test_history_leaves_out_a_validation_that_was_not_made():
    with_it = plots.history({"loss": [1.0, 0.5], "train_accuracy": [0.5, 0.6], "validation_accuracy": [0.4, 0.5]})
    without = plots.history(History([1.0, 0.5], [0.5, 0.6], [math.nan, math.nan]))
    assert ["held out" in texts(picture) for picture in (with_it, without)] == [True, False]


def test_confusion_prints_every_count_that_is_not_zero():
    picture = plots.confusion(torch.tensor([[90, 0], [7, 93]]), ("cat", "dog"))
    assert sorted(text for text in texts(picture) if text.isdigit()) == ["7", "90", "93"]


def test_heat_is_the_paper_where_nothing_is():
    ax = plots.axes()
    plots.heat(ax, [[0.0, 0.5], [1.0, 0.25]])
    html = plots.finish(ax).html
    shown = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]*)", html)[1])))
    opacity = np.asarray(shown.convert("RGBA"))[..., 3]
    np.testing.assert_allclose(opacity, 255 * np.array([[0, 0.25], [0.5, 0.125]]), atol=1)
    assert {"0%", "50%", "100%", "25%"} <= set(texts(plots.finish(ax)))


def test_bars_need_one_label_each():
    with pytest.raises(ValueError, match="2 values for 1 labels"):
        plots.bars([1, 2], ["a"], ylabel="images")


# --- images --------------------------------------------------------------------------

def test_images_keep_their_pixels():
    x = torch.arange(12.0).view(1, 3, 4) / 255
    np.testing.assert_array_equal(np.asarray(pixels(plots.image(x))), np.arange(12).reshape(3, 4))
    rgb = torch.stack([torch.zeros(2, 2), torch.ones(2, 2), torch.full((2, 2), 0.2)])
    shown = pixels(plots.image(rgb))
    assert shown.mode == "RGB" and shown.getpixel((1, 1)) == (0, 255, 51)


@pytest.mark.parametrize("wrong", [torch.zeros(8, 8), torch.zeros(2, 8, 8), torch.zeros(1, 1, 8, 8)])
def test_an_image_has_one_or_three_channels(wrong):
    for make in (plots.image, plots.noise):
        with pytest.raises(ValueError, match="shape"):
            make(wrong)


def test_a_perturbation_is_no_image():
    with pytest.raises(ValueError, match=r"pixels lie in \[0, 1\]; these in \[-0.5, 0\].*plots.noise"):
        plots.image(torch.full((1, 4, 4), -0.5).triu())


@pytest.mark.parametrize("wrong", [{"titles": ["a"]}, {"frame": [True] * 3}])
def test_images_refuse_lengths_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} has . entries for 2 images"):
        plots.images(torch.rand(2, 1, 4, 4), **wrong)


@pytest.mark.parametrize("wrong, says", [({"heads": ["a"]}, "heads has 1 entries for 2 columns"),
                                         ({"rows": ["a", "b", "c"]}, "rows has 3 entries for 2 rows")])
def test_grids_refuse_headers_that_do_not_fit(wrong, says):
    with pytest.raises(ValueError, match=says):
        plots.grid([[plots.image(torch.rand(1, 4, 4))] * 2] * 2, **wrong)


def test_a_picture_of_nothing_is_refused():
    for nothing in ([], [[]]):
        with pytest.raises(ValueError, match="at least one panel"):
            plots.grid(nothing)


def test_headers_stand_over_every_column_and_before_every_row():
    html = plots.images(torch.rand(4, 1, 4, 4), heads=["clean", "attacked"], rows=["FGSM", "PGD & more"]).html
    assert html.count('<div class="lens-head">clean</div>') == html.count('<div class="lens-head">attacked</div>') == 1
    assert re.findall(r'data-head="([^"]*)"', html) == ["clean", "attacked"]  # for a phone, where columns do not stay
    assert re.findall(r'lens-rowhead">(.*?)</div>', html) == ["FGSM", "PGD &amp; more"]


@pytest.mark.parametrize("columns, together", [(6, 3), (10, 5), (4, 4), (2, 2)])
def test_a_row_breaks_evenly_on_a_phone(columns, together):
    html = plots.images(torch.rand(2 * columns, 1, 4, 4), columns=columns, rows=["a", "b"]).html
    least = float(re.search(r"--lens-least:([\d.]+)rem", html)[1])
    assert int((PHONE / 16 + 0.7) / (least + 0.7)) == together


def test_frames_are_solid_for_right_and_dashed_for_wrong():
    html = plots.images(torch.rand(3, 1, 4, 4), frame=[True, torch.tensor(False), np.True_]).html
    assert re.findall(r'<img class="([^"]*)"', html) == ["lens-right", "lens-wrong", "lens-right"]
    assert re.search(r"img\.lens-right \{ border: \d+px solid", pictures.STYLE)
    assert re.search(r"img\.lens-wrong \{ border: \d+px dashed", pictures.STYLE)


def test_titles_are_text_with_lines():
    html = plots.images(torch.rand(1, 1, 4, 4), ["<b>\nsays 3"]).html
    assert "&lt;b&gt;<br>says 3" in html


def test_long_titles_get_wider_columns():
    def columns(title):
        return plots.images(torch.rand(12, 1, 4, 4), [title] * 12).html.count("minmax(0,1fr)")
    assert columns("7") == 10 and columns("automobile to airplane") <= 4


def test_attack_shows_scale_predictions_and_confidences():
    x = torch.full((1, 1, 4, 4), 0.5)
    before, after = torch.full((2, 10), 0.01)
    before[3], after[7] = 0.91, 0.91
    html = plots.attack(x, x + 0.05, before[None], after[None], CLASSES).html
    assert "says class 3 (91\u202f%)" in html and "says class 7 (91\u202f%)" in html and "scale ±0.05" in html
    assert re.findall(r"<span>(.*?)</span>", html) == list(CLASSES)
    shares = np.array(re.findall(r"--p:([\d.]+);--q:([\d.]+)", html), dtype=float)
    np.testing.assert_allclose(shares, torch.stack([before, after], 1), atol=1e-3)
    assert "scale ±0.25" in plots.attack(x, x + 0.05, before[None], after[None], CLASSES, magnify=4).html


def test_attack_keeps_many_rows_short():
    x = torch.rand(3, 1, 4, 4)
    p = torch.eye(10)[:3] * 0.9 + 0.01
    html = plots.attack(x, x, p, p.roll(1, 1), CLASSES).html
    assert html.count("--p:") == 9
    first = re.findall(r"<span>(.*?)</span>", html)[:3]
    assert {"class 0", "class 1"} < set(first)


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


def contrast(a, b):
    light, dark = sorted((float(linear(to_rgb(c)) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("names", [NETS, ATTACKS, LEAST, ANSWERS, ("right", "wrong")],
                         ids=["nets", "attacks", "least effort", "without gradients", "frames"])
def test_colours_can_be_told_apart(names, sight):
    colours = [plots.RIGHT, plots.WRONG] if names[0] == "right" else [plots.colour(name) for name in names]
    assert nearest(colours, sight) > 15


def test_the_distance_test_can_fail():
    assert nearest(["#D55E00", "#7A8B00"], "full") > 50 and nearest(["#D55E00", "#7A8B00"], "deutan") < 15


def test_letters_stand_out():
    assert contrast(plots.INK, "white") > 7 and contrast(plots.GREY, "white") > 4.5


@pytest.mark.parametrize("paper, ink", [("#ffffff", "#222222"), ("#15191e", "#dde4ea")], ids=["light", "dark"])
def test_numbers_are_readable_on_the_strongest_cell(paper, ink):
    *orange, alpha = plots.HEAT(1.0)
    cell = tuple(alpha * c + (1 - alpha) * p for c, p in zip(orange, to_rgb(paper)))
    assert contrast(cell, ink) > 4.5


def test_every_look_belongs_to_a_group():
    assert {*NETS, *ATTACKS, *LEAST, *ANSWERS} == set(plots.LOOKS)


@pytest.mark.parametrize("names", [NETS, ATTACKS, LEAST, ANSWERS],
                         ids=["nets", "attacks", "least effort", "without gradients"])
def test_markers_and_dashes_repeat_what_the_colour_says(names):
    looks = [plots.LOOKS[name] for name in names]
    assert len({look.marker for look in looks}) == len(looks)
    assert len({look.label for look in looks}) == len(looks)


def test_one_thing_has_one_look_in_every_figure():
    alone, among = plots.axes(2)
    plots.curves({"pgd": CURVE}, ax=alone)
    plots.curves({"fgsm": CURVE, "my own": CURVE, "pgd": CURVE}, ax=among)
    for key in ("get_color", "get_marker", "get_linestyle", "get_label"):
        assert getattr(alone.lines[0], key)() == getattr(among.lines[2], key)()
    assert alone.lines[0].get_color() == plots.colour("pgd") and plots.label("pgd") == "PGD"
    assert len({line.get_color() for line in among.lines}) == 3, "a curve without a name takes a colour that is free"


@pytest.mark.parametrize("ask", [plots.colour, plots.label])
def test_an_unknown_name_lists_the_known_ones(ask):
    with pytest.raises(ValueError, match="'alexnet'; known: lenet, .*pgd-l2"):
        ask("alexnet")


# --- signed noise --------------------------------------------------------------------

def drawn(d, limit=None):
    """RGBA (H, W, 4) in [0, 1] that `noise` puts on the page."""
    return np.asarray(pixels(plots.noise(d, limit=limit)), dtype=float) / 255


def on_paper(rgba, paper):
    return rgba[..., 3:] * rgba[..., :3] + (1 - rgba[..., 3:]) * np.array(to_rgb(paper))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("paper", ["#ffffff", "#15191e"])
def test_no_noise_is_the_paper(channels, paper):
    d = torch.zeros(channels, 2, 2)
    d[:, 0, 0] = 0.1
    shown = on_paper(drawn(d), paper)
    np.testing.assert_allclose(shown[1, 1], to_rgb(paper), atol=0.01)
    assert np.abs(shown[0, 0] - to_rgb(paper)).max() > 0.15


@pytest.mark.parametrize("paper", ["#ffffff", "#15191e"])
def test_negative_noise_does_not_wrap_around(paper):
    row = on_paper(drawn(torch.linspace(-0.3, 0.3, 61).view(1, 1, 61)), paper)[0]
    away = np.abs(row - to_rgb(paper)).sum(1)
    assert (np.diff(away)[:30] <= 0.01).all() and (np.diff(away)[30:] >= -0.01).all()  # ever fainter towards 0
    assert row[0, 2] > row[0, 0] + 0.3 and row[-1, 0] > row[-1, 2] + 0.3  # blue is darker, orange is brighter
    lightness = lab(linear(row))[:, 0]
    assert np.abs(lightness - lightness[::-1]).max() < 10  # equal sizes look equally strong


def test_the_scale_is_printed_and_kept():
    d = torch.tensor([[[0.05, -0.1]]])
    assert plots.noise(d, "FGSM").title == "FGSM\nscale ±0.1" and plots.noise(d, limit=0.25).title == "scale ±0.25"
    np.testing.assert_allclose(drawn(d)[0, :, 3], [0.5, 1], atol=0.01)
    np.testing.assert_allclose(drawn(d, limit=0.2)[0, :, 3], [0.25, 0.5], atol=0.01)


def test_noise_in_colour_adds_what_it_says():
    d = torch.zeros(3, 1, 2)
    d[0, 0, 0], d[2, 0, 1] = 0.1, -0.1
    more_red, less_blue = drawn(d)[0, :, :3]
    assert more_red[0] > more_red[1] == more_red[2] and less_blue[2] < less_blue[0] == less_blue[1]


def test_noise_refuses_integers():
    with pytest.raises(TypeError, match="uint8.*wrap around"):
        plots.noise(torch.zeros(1, 4, 4, dtype=torch.uint8))


# --- networks ------------------------------------------------------------------------

SHAPES = {models.LeNet: (1, 28, 28), models.MnistResNet: (1, 28, 28), models.FullyConnected: (1, 28, 28),
          models.CifarNet: (3, 32, 32), models.VggBlocks: (3, 32, 32), models.HebbianNet: (1, 28, 28)}


@pytest.mark.parametrize("net", SHAPES, ids=lambda net: net.__name__)
def test_every_network_is_drawn_from_its_module(net):
    model = net()
    found = drawings.stages(model, SHAPES[net])
    every = sum(p.numel() for p in model.parameters())
    assert sum(stage.numbers for stage in found) == every
    assert found[0].shape == SHAPES[net] and found[-1].shape == (10,)
    written = texts(plots.network(model, SHAPES[net]))
    assert f"{every:,} in all" in written and "10 logits" in written and model.training


def test_stages_of_lenet():
    found = drawings.stages(models.LeNet(), (1, 28, 28))
    assert [stage.shape for stage in found] == [(1, 28, 28), (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,),
                                                (84,), (10,)]
    assert found[1].words == ["normalise", "convolution 5×5", "ReLU"] and found[1].numbers == 156
    assert found[5].words == ["flatten", "dense", "ReLU", "dropout"]


def test_shortcuts_begin_and_end_where_the_blocks_do():
    found = drawings.stages(models.MnistResNet(), (1, 28, 28))
    assert [(i, stage.skip) for i, stage in enumerate(found) if stage.skip is not None] == [(4, 2), (6, 4)]
    assert found[4].words[-2:] == ["plus the input of the block", "ReLU"]


def test_drawing_leaves_no_hook():
    model = models.LeNet()
    plots.network(model, (1, 28, 28))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
