"""Figures in the browser: numbered, named, readable on a phone, in both themes, and none wider than the screen."""

import io
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import torch
from matplotlib.pyplot import rc_context
from PIL import Image
from test_pages import AXE, ROOT, RULES

from advlens import models
from advlens.course import pictures, plots
from advlens.evaluation import Curve

CURVE = Curve([0.0, 0.1, 0.2, 0.3], [0.99, 0.5, 0.2, 0.0], [0.98, 0.45, 0.15, 0.0], [1.0, 0.55, 0.25, 0.02], 100)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CONFIGURATION = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_nb", "figures"]
nb_execution_mode, html_theme, numfig = "off", "sphinx_book_theme", True
myst_enable_extensions = ["colon_fence"]
html_static_path, html_css_files = [{str(ROOT / "book" / "_static" / "advlens.css")!r}], ["advlens.css"]
"""


def pictures_of_every_kind() -> dict[str, plots.Picture]:
    generator = torch.Generator().manual_seed(0)
    grey, colour = torch.rand(4, 1, 28, 28, generator=generator), torch.rand(4, 3, 32, 32, generator=generator)
    noise = 0.1 * (2 * torch.rand(4, 3, 32, 32, generator=generator) - 1)
    said = torch.rand(4, 10, generator=generator).softmax(1)
    loss = plots.axes(height=2.2)
    loss.plot([3, 1, 2], color=plots.GREY)
    loss.set(xlabel="step", title="cross-entropy")
    panels = plots.axes(3)
    for ax in panels:
        ax.hist(np.random.default_rng(0).normal(size=500), bins=30, color=plots.colour("noise"), label="500 patterns")
        ax.set(xlabel="margin", ylabel="patterns", title="one of three")
        ax.legend()
    return {
        "curves": plots.curves({"lenet": CURVE, "fgsm": CURVE}, source="a test set"),
        "panels": plots.finish(panels, "a test set"),
        "confusion": plots.confusion(torch.randint(0, 999, (10, 10), generator=generator), CLASSES),
        "network": plots.network(models.MnistResNet(), (1, 28, 28)),
        "images": plots.images(grey.repeat(5, 1, 1, 1)),
        "framed": plots.images(grey, ["says automobile\n(99 %)"] * 4, frame=[True, False, True, False]),
        "grid": plots.grid([[plots.image(x), plots.noise(d, limit=0.1), plots.noise(d)] for x, d in zip(colour, noise)],
                           heads=["image", "scale of the chapter", "own scale"],
                           rows=["FGSM", "PGD, 40 steps", "BIM", "noise"]),
        "attack": plots.attack(colour[:3], colour[1:], said[:3], said[1:], CLASSES, source="a test set"),
        "mixed": plots.grid([plots.image(grey[0], "says 3 (95 %)"), plots.noise(noise[0, :1], limit=0.1), loss,
                             pictures.bars(None, said[0, :5].numpy(), CLASSES[:5])], source="a test set"),
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The address of a page that holds every kind of picture, and one that a widget would hold."""
    folder = tmp_path_factory.mktemp("figures")
    with rc_context():
        plots.use_style()
        made = pictures_of_every_kind()
    cells = [nbformat.v4.new_markdown_cell("# Figures\n\nLook at {numref}`fig-attack`.")]
    for name, picture in made.items():
        about = {"image": {"alt": f"What the {name} show"},
                 "figure": {"caption": f"The *{name}*, and the one thing to see.", "name": f"fig-{name}"}}
        shown = nbformat.v4.new_output("execute_result", picture._repr_mimebundle_(), execution_count=1)
        cells.append(nbformat.v4.new_code_cell(f"{name}", metadata={"mystnb": about}, outputs=[shown]))
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    nbformat.write(notebook, folder / "index.ipynb")
    (folder / "conf.py").write_text(CONFIGURATION)
    built = subprocess.run([sys.executable, "-m", "sphinx", "-W", "-n", "-q", "--keep-going", str(folder),
                            str(folder / "out")], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return (folder / "out" / "index.html").as_uri()


@pytest.fixture(scope="module", params=[(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")],
                ids=lambda p: f"{p[0]}-{p[1]}")
def seen(request, page, browser):
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(120_000)
    open_page = context.new_page()
    open_page.goto(page)
    yield open_page
    context.close()


def test_every_figure_has_a_number_a_caption_and_a_name(seen):
    figures = seen.locator("figure:has(.lens-picture)")
    assert figures.count() == 9
    for i in range(figures.count()):
        caption = figures.nth(i).locator("figcaption").inner_text()
        assert caption.startswith(f"Fig. {i + 1}") and "the one thing to see" in caption
    assert seen.get_by_role("img", name="What the curves show", exact=True).count() == 1
    assert seen.get_by_role("group", name="What the attack show", exact=True).count() == 1
    assert seen.get_by_role("link", name="Fig. 8").count() == 1
    assert not seen.locator(".lens-picture style, .output style").count(), "one style sheet serves all pictures"


def test_nothing_is_wider_than_the_screen(seen):
    width = seen.viewport_size["width"]
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    out = seen.evaluate("""(width) => [...document.querySelectorAll('.lens-picture *')]
        .filter((e) => e.getBoundingClientRect().right > width - 4 || e.scrollWidth > e.clientWidth + 1 &&
                e.clientWidth && !e.closest('svg')).map((e) => e.outerHTML.slice(0, 100))""", width)
    assert out == []


def test_letters_have_ten_pixels(seen):
    small = seen.evaluate("""() => [...document.querySelectorAll('svg.lens-plot text, .lens-panel *, .lens-source')]
        .filter((e) => e.textContent.trim()).map((e) => {
          const svg = e.ownerSVGElement;
          const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
          return [scale * parseFloat(getComputedStyle(e).fontSize), e.textContent];
        }).filter(([size]) => size < 10)""")
    assert small == []


def test_letters_do_not_touch(seen):
    """Of the same drawing, in the letters of this page, which matplotlib did not know."""
    touching = seen.evaluate("""() => [...document.querySelectorAll('svg.lens-plot')].flatMap((svg) => {
        const all = [...svg.querySelectorAll('text')].map((t) => [t.getBoundingClientRect(), t.textContent]);
        return all.flatMap(([a, one], i) => all.slice(i + 1).filter(([b]) =>
            Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3.5).map(([, other]) => [one, other]));
      })""")
    assert touching == []


def test_axe_finds_nothing(seen):
    seen.evaluate(AXE.read_text())
    found = seen.evaluate("""async (rules) => (await axe.run('.lens-picture', {runOnly: {type: 'tag', values: rules}}))
        .violations.flatMap((v) => v.nodes.map((n) => [v.id, n.html]))""", RULES)
    assert found == []


def test_panels_wrap(seen):
    tops = seen.evaluate("""() => [...document.querySelectorAll('#fig-panels svg')]
        .map((e) => Math.round(e.getBoundingClientRect().top))""")
    assert len(tops) == 3 and len(set(tops)) == (1 if seen.viewport_size["width"] > 500 else 3)


def test_heads_stand_over_columns_or_over_each_panel(seen):
    heads = ["image", "scale of the chapter", "own scale"]
    assert seen.locator("#fig-grid .lens-head").all_inner_texts() == heads
    again = seen.evaluate("""() => [...document.querySelectorAll('#fig-grid [data-head]')].map((e) => {
        const before = getComputedStyle(e, '::before');
        return before.display === 'none' ? '' : before.content;
      })""")
    assert again == ([""] * 9 if seen.viewport_size["width"] > 500 else [f'"{head}"' for head in heads] * 3)


def test_pixels_are_square_and_sharp(seen):
    shown = seen.evaluate("""() => [...document.querySelectorAll('.lens-panel img')].map((i) => {
        const box = i.getBoundingClientRect();
        return [box.width / box.height, box.width, i.naturalWidth, getComputedStyle(i).imageRendering];
      })""")
    assert shown
    for shape, width, pixels, rendering in shown:
        assert shape == pytest.approx(1, abs=0.02) and width >= pixels and rendering == "pixelated"


def test_colours_follow_the_page(seen):
    """What is drawn in the page's ink, and what lies where nothing is drawn: the page itself."""
    ink, text, back = seen.evaluate("""() => [getComputedStyle(document.querySelector('#fig-curves text')).fill,
        getComputedStyle(document.documentElement).getPropertyValue('--lens-ink').trim(),
        getComputedStyle(document.body).backgroundColor]""")
    def numbers(colour):
        if colour.startswith("#"):
            return tuple(int(colour[i:i + 2], 16) for i in (1, 3, 5))
        return tuple(int(v) for v in colour.removeprefix("rgb(").rstrip(")").split(",")[:3])

    assert numbers(ink) == numbers(text)
    shot = Image.open(io.BytesIO(seen.locator("#fig-curves svg").screenshot())).convert("RGB")
    assert shot.getpixel((3, 3)) == pytest.approx(numbers(back), abs=2)


def test_the_data_open_by_keyboard(seen):
    fold = seen.locator("#fig-curves .lens-source")
    assert "a test set" not in fold.inner_text()
    fold.locator("summary").focus()
    seen.keyboard.press("Enter")
    assert "a test set" in fold.inner_text()
    seen.keyboard.press("Enter")


def test_a_picture_without_alternative_text_is_a_warning(tmp_path):
    """With -W, as the book is built, that warning is the end."""
    picture = plots.images(torch.rand(2, 1, 4, 4))
    shown = nbformat.v4.new_output("execute_result", picture._repr_mimebundle_(), execution_count=1)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"),
                                               nbformat.v4.new_code_cell("x", outputs=[shown])],
                                        metadata={"language_info": {"name": "python"}})
    nbformat.write(notebook, tmp_path / "index.ipynb")
    (tmp_path / "conf.py").write_text(CONFIGURATION)
    built = subprocess.run([sys.executable, "-m", "sphinx", "-W", "-q", str(tmp_path), str(tmp_path / "out")],
                           capture_output=True, text=True)
    assert built.returncode != 0 and "no alternative text" in built.stderr
