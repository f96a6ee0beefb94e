"""Interactive figures: all frames are there, they switch without a kernel, and they can be read aloud."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import shutil
from html import unescape
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from ipywidgets.embed import embed_data, embed_snippet
from PIL import Image

from advlens.course import plots, widgets

EMBED = Path(__file__).parents[1] / "book/_static/vendor/html-manager/embed.js"


def draw(eps, net="a"):
    """A figure in one colour that depends on both parameters, so that frames can be told apart."""
    fig = plt.figure(figsize=(2, 1), facecolor=(eps, 0.5, 0.2 if net == "a" else 0.8))
    fig.patches.append(plt.Rectangle((0, 0), 1, 1, transform=fig.transFigure,
                                     color=(eps, 0.5, 0.2 if net == "a" else 0.8)))
    return fig


def alt(eps, net="a"):
    return f'"{net}" <at> {eps:g}'


def one(**other):
    return widgets.explore(**(dict(draw=draw, alt=alt, caption="Move & <see>.", eps=[0.0, 0.2, 0.4, 0.6, 0.8]) | other))


def two():
    return one(eps=[0.0, 0.4, 0.8], net={"first": "a", "second": "b"})


def question(**other):
    given = dict(question="Is 1 < 2?",
                 options={"yes": "Count.", "no": "Count again: 1 & 2.", "never": "Never say never."}, answer="yes")
    return widgets.predict(**(given | other))


def frames(box):
    return [child.value for child in everything(box) if isinstance(child, ipywidgets.HTML) and "<img" in child.value]


def everything(box):
    yield box
    for child in getattr(box, "children", ()):
        yield from everything(child)


def alt_of(html):
    return unescape(re.search(r'alt="([^"]*)"', html)[1])


def pixel(html):
    png = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return np.asarray(image)[image.height // 2, image.width // 2] / 255


def links(box):
    """(source, trait) -> set of (target, trait) of the links in the stored state, which the browser acts on alone."""
    state = embed_data([box], drop_defaults=False)["manager_state"]["state"]
    found = {}
    for model in state.values():
        if model["model_name"] == "DirectionalLinkModel":
            source, target = (tuple(model["state"][end]) for end in ("source", "target"))
            found.setdefault(source, set()).add(target)
    return found


def end(widget, trait):
    return f"IPY_MODEL_{widget.model_id}", trait


# --- explore -----------------------------------------------------------------------------

def test_one_frame_for_each_value_in_order():
    shown = frames(one())
    assert [alt_of(frame) for frame in shown] == [alt(eps) for eps in (0.0, 0.2, 0.4, 0.6, 0.8)]
    np.testing.assert_allclose([pixel(frame)[0] for frame in shown], [0.0, 0.2, 0.4, 0.6, 0.8], atol=0.02)


def test_one_frame_for_each_pair():
    shown = frames(two())
    assert [alt_of(frame) for frame in shown] == [alt(eps, net) for eps in (0.0, 0.4, 0.8) for net in "ab"]


def test_text_is_escaped():
    box = one()
    assert all('alt="&quot;a&quot; &lt;at&gt; ' in frame for frame in frames(box))
    assert "Move &amp; &lt;see&gt;." in box.children[-1].value


def test_it_starts_on_the_middle_frame():
    slider, stack, _ = one().children
    assert slider.index == stack.selected_index == 2
    first, second, stack, _ = two().children
    assert (first.index, second.index) == (stack.selected_index, stack.children[1].selected_index) == (1, 1)


def test_the_sliders_print_their_values():
    first, second, *_ = two().children
    assert [first.description, second.description] == ["eps", "net"]
    assert [list(first.options), list(second.options)] == [["0", "0.4", "0.8"], ["first", "second"]]


def test_the_browser_itself_joins_sliders_and_frames():
    box = two()
    first, second, stack, _ = box.children
    assert links(box)[end(first, "index")] == {end(stack, "selected_index")}
    assert links(box)[end(second, "index")] == {end(inner, "selected_index") for inner in stack.children}


def test_no_widget_has_a_tooltip():
    """A tooltip on a widget without a description breaks the static page."""
    assert not [w for w in [*everything(two()), *everything(question())] if getattr(w, "tooltip", None)]


def test_figures_are_closed_after_drawing():
    one()
    assert plt.get_fignums() == []


def test_a_frame_keeps_its_rare_colours():
    """A palette of 256 colours must not change what a thin line or noisy pixels look like."""
    plots.use_style()
    fig, (line, noisy) = plt.subplots(1, 2)
    fig.set_layout_engine("none")  # which may move things by a part of a pixel when it draws again
    line.plot([0, 1], [0, 1], color="#CC79A7")
    noisy.imshow(np.random.default_rng(0).integers(0, 2, (32, 32, 3)) * 1.0)
    before = io.BytesIO()
    fig.savefig(before, dpi=120)
    after = base64.b64decode(re.search(r"base64,([^\"]+)", widgets._frame(fig, ""))[1])
    a, b = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) for png in (before.getvalue(), after))
    assert np.abs(a - b).max() <= 8
    assert len(after) < 0.7 * len(before.getvalue())


@pytest.mark.parametrize("wrong, message", [
    (dict(eps=None), "parameters .*; give one or two"),
    (dict(net=["a"], third=[1]), "3 parameters .*'third'"),
    (dict(eps=[]), "'eps' has the values"),
    (dict(eps=[0.1, 0.1]), "no label twice"),
    (dict(eps=[i / 26 for i in range(26)]), "26 frames; .* at most 25"),
    (dict(eps=[0.0, 0.2, 0.4, 0.6, 0.8], net=list("abcdef")), "30 frames"),
], ids=["none", "three", "empty", "twice", "too many", "too many pairs"])
def test_bad_values_raise_one_clear_error_before_anything_is_drawn(wrong, message):
    given = dict(eps=[0.0]) | wrong
    values = {name: value for name, value in given.items() if value is not None}

    def never(**_):
        raise AssertionError("drawn in vain")
    with pytest.raises(ValueError, match=message):
        widgets.explore(never, alt=alt, caption="", **values)


def test_too_heavy_frames_are_refused():
    def heavy(eps):
        fig = plt.figure(figsize=(10, 10))
        fig.figimage(np.random.default_rng(0).random((1200, 1200)))
        return fig
    with pytest.raises(ValueError, match="weigh .* bytes; at most 1,200,000"):
        one(draw=heavy, eps=[0.0, 1.0])


# --- predict --------------------------------------------------------------------------------

def test_nothing_is_answered_before_a_choice():
    _, choice, replies = question().children
    assert choice.index is None and replies.selected_index is None
    assert list(choice.options) == ["yes", "no", "never"]


def test_each_option_has_its_own_reply_that_says_first_whether_it_is_right():
    box = question()
    asked, choice, replies = box.children
    plain = [unescape(re.sub(r"<[^>]*>", "", reply.value)) for reply in replies.children]
    assert plain == ["Right. Count.", "Not quite. Count again: 1 & 2.", "Not quite. Never say never."]
    assert "Is 1 &lt; 2?" in asked.value
    assert links(box)[end(choice, "index")] == {end(replies, "selected_index")}


@pytest.mark.parametrize("wrong", [{"answer": "perhaps"}, {"options": {"yes": "Alone."}}, {"options": {}}])
def test_a_question_needs_options_and_an_answer_among_them(wrong):
    with pytest.raises(ValueError, match="must be one of at least two options; given: "):
        question(**wrong)


# --- ipywidgets 7, as on Colab --------------------------------------------------------------

@pytest.fixture
def without_stack(monkeypatch):
    monkeypatch.delattr(ipywidgets, "Stack")


def test_without_stack_the_kernel_switches_the_frames(without_stack):
    first, second, shown, _ = two().children
    assert alt_of(shown.value) == alt(0.4, "b")
    first.index = 2
    assert alt_of(shown.value) == alt(0.8, "b")
    second.index = 0
    assert alt_of(shown.value) == alt(0.8, "a")


def test_without_stack_the_kernel_answers(without_stack):
    _, choice, reply = question().children
    assert reply.value == ""
    choice.index = 1
    assert "Not quite." in reply.value
    choice.index = 0
    assert "Right." in reply.value


# --- in a browser, without a kernel -----------------------------------------------------------

@contextlib.contextmanager
def page_with(folder, *boxes, **options):
    """A page in Chromium that holds the widgets' stored state and the book's own script, and nothing else."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("ADVLENS_REQUIRE_BROWSER"):
            pytest.fail("Chromium is required here and is not installed")
        pytest.skip("no Chromium: the browser tests need it")
    from playwright.sync_api import sync_playwright

    snippet = re.sub(r"<script[^>]*src=[^>]*></script>", "", embed_snippet(list(boxes), drop_defaults=False))
    style = (EMBED.parents[2] / "advlens-widgets.css").read_text()
    file = folder / "page.html"
    file.write_text('<!doctype html><meta charset="utf-8"><meta name="viewport" '
                    f'content="width=device-width"><title>t</title><style>{style}</style>'
                    f'<body>{snippet}<script src="{EMBED.as_uri()}"></script>')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(**options)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:"))
                or problems.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_selector(".widget-radio, .noUi-handle")
        yield page
        assert problems == []
        browser.close()


def visible(page):
    return page.eval_on_selector_all(".advlens-frame, .advlens-feedback", """all => all
        .filter(e => e.getBoundingClientRect().width > 0).map(e => e.alt ?? e.innerText)""")


def test_keyboard_and_mouse_move_the_frames(tmp_path):
    with page_with(tmp_path, two(), viewport={"width": 700, "height": 900}) as page:
        assert visible(page) == [alt(0.4, "b")]
        first, second = page.locator(".noUi-handle").all()
        first.focus()
        page.keyboard.press("ArrowRight")
        assert visible(page) == [alt(0.8, "b")]
        second.focus()
        page.keyboard.press("ArrowLeft")
        assert visible(page) == [alt(0.8, "a")]
        box = first.bounding_box()
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        page.mouse.move(box["x"] - 600, box["y"] + 5, steps=4)
        page.mouse.up()
        assert visible(page) == [alt(0.0, "a")]


def test_touch_answers_and_nothing_scrolls_sideways_on_a_phone(tmp_path):
    long = "a long answer with many words, which has to wrap on the narrow screen of a telephone"
    asked = question(options={"yes": "Count.", long: "No."})
    with page_with(tmp_path, one(), asked, viewport={"width": 390, "height": 800}, has_touch=True) as page:
        assert visible(page) == [alt(0.4)]
        page.locator("input[type=radio]").nth(1).tap()
        assert visible(page)[1:] == ["Not quite. No."]
        page.locator("input[type=radio]").nth(0).tap()
        assert visible(page)[1:] == ["Right. Count."]
        track = page.locator(".noUi-base").bounding_box()
        page.touchscreen.tap(track["x"] + track["width"] - 2, track["y"] + track["height"] / 2)
        assert visible(page)[0] == alt(0.8)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_print_keeps_the_frame_and_hides_what_only_moves(tmp_path):
    with page_with(tmp_path, one(), question()) as page:
        page.locator("input[type=radio]").first.click()
        page.emulate_media(media="print")
        assert visible(page) == [alt(0.4)]
        assert page.locator(".widget-slider").is_hidden()
        assert page.locator(".advlens-question").is_visible() and page.locator(".widget-radio").is_visible()
