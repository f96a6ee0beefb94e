"""What the widgets draw, say and refuse; tests/site/test_lens.py uses them in a browser."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from advlens.course import plots, widgets

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "_ext"))
import lens  # noqa: E402

VIEW = "application/vnd.jupyter.widget-view+json"


class Words:
    """Stands for a plots.Picture."""

    def __init__(self, text: str):
        self.text = text

    def named(self, alt: str) -> str:
        return f'<div role="img" aria-label="{alt}">{self.text}</div>'


def draw(eps, net="a"):
    return Words(f"net {net}, eps {eps:g}")


def alt(eps, net="a"):
    return f"{net} at {eps:g}"


def one(**other):
    given = dict(draw=draw, alt=alt, caption="Move & <see>.", eps=[0.0, 0.2, 0.4, 0.6, 0.8])
    return widgets.explore(**(given | other))


def two(**other):
    return widgets.explore(**(dict(draw=draw, alt=alt, caption="Two.", net={"first": "a", "second": "b"},
                                   eps=[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]) | other))


def question(**other):
    given = dict(question="Is 1 < 2?", options={"yes": "Count.", "no": "Count again: 1 & 2.", "never": "Never."},
                 answer="yes")
    return widgets.predict(**(given | other))


class Reader(HTMLParser):
    """The elements of a widget: (tag, attributes, text right behind the tag)."""

    def __init__(self, widget):
        super().__init__()
        self.found = []
        self.feed(widget.html)

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.found:
            self.found[-1][2] += data.strip()

    def all(self, tag=None, of=""):
        return [(attributes, text) for name, attributes, text in self.found
                if tag in (None, name) and (not of or of in (attributes.get("class") or "").split())]

    def one(self, tag=None, of=""):
        (only,) = self.all(tag, of)
        return only


def stored(widget) -> list:
    """The frames that do not stand in the page, None for those that do."""
    return json.loads(re.search(r'<script type="application/json">(.*)</script>', widget.html, re.DOTALL)[1])


# --- explore -----------------------------------------------------------------------------

def test_each_choice_is_drawn_once_and_in_order():
    calls = []
    shown = two(draw=lambda **chosen: calls.append(chosen) or draw(**chosen))
    assert calls == [dict(net=net, eps=eps) for net in "ab" for eps in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    frames = stored(shown)
    assert frames[0] is frames[9] is None, "the first and the middle one stand in the page"
    for number, chosen in enumerate(calls):
        if frames[number]:
            assert frames[number] == f'<div class="lens-frame">{draw(**chosen).named(alt(**chosen))}</div>'


def test_the_page_holds_the_first_and_the_middle_frame_and_says_which_the_latter_is():
    shown = one()
    page = Reader(shown)
    assert [attributes["aria-label"] for attributes, _ in page.all(of=None) if "aria-label" in attributes] == [
        "a at 0", "a at 0.4"]
    assert page.one(of="lens-at")[1] == "epsilon 0.4"
    assert page.one(of="lens-explore")[0]["data-middle"] == "2"
    assert shown.chosen == [0] and two().chosen == [0, 0]
    assert Reader(two()).one(of="lens-at")[1] == "net second, epsilon 0.3"


def test_one_value_is_one_frame():
    page = Reader(one(eps=[0.5]))
    assert len(page.all(of="lens-frame")) == 1 and not page.all(of="lens-first")


def test_text_is_escaped():
    shown = one(caption="Move & <see>.", draw=lambda eps: Words("</script><!--"))
    assert "Move &amp; &lt;see&gt;." in shown.html
    assert shown.html.count("</script") == 3, "twice in the page as drawn, once as the end of the stored frames"
    assert all("</script><!--" in frame for frame in stored(shown) if frame)


def test_many_values_are_a_slider_and_few_are_radio_buttons():
    page = Reader(two())
    radios, slider = page.all("input")[:-1], page.all("input")[-1][0]
    assert [attributes["type"] for attributes, _ in radios] == ["radio", "radio"]
    assert ["checked" in attributes for attributes, _ in radios] == [True, False]
    assert page.one("legend")[1] == "net"
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "5", "0")
    assert slider["aria-valuetext"] == "epsilon 0"
    assert [json.loads(part["data-labels"]) for part, _ in page.all(of="lens-control")] == [
        ["first", "second"], ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]]
    assert [part["data-name"] for part, _ in page.all(of="lens-control")] == ["net", "epsilon"]


@pytest.mark.parametrize("flips, marks", [
    (0.3, [3, 3]), ("0.3", [3, 3]), (0.0, [0, 0]), ({"first": 0.1, "b": "0.5"}, [1, 5]),
    ({"second": 0.1}, [None, 1]), ({"first": None, "second": 0.2}, [None, 2]),
])
def test_where_the_answer_flips_is_marked(flips, marks):
    slider = Reader(two(flips=flips)).one(of="lens-slider")[0]
    assert json.loads(slider["data-flips"]) == marks


def test_where_one_control_flips_is_marked():
    assert json.loads(Reader(one(flips=0.4)).one(of="lens-slider")[0]["data-flips"]) == [2]


def test_no_flip_no_mark():
    for shown in (two(), two(flips={"first": None}), one(flips=None)):
        assert "lens-mark" not in shown.html and "data-flips" not in shown.html


def test_a_flip_that_is_no_value_is_refused():
    with pytest.raises(ValueError, match="flips: 0.25 is none of 0, 0.1"):
        two(flips=0.25)
    with pytest.raises(ValueError, match="flips: 'third' is none of first, second"):
        two(flips={"third": 0.1})


@pytest.mark.parametrize("wrong, message", [
    (dict(eps=None), "parameters .*; give one or two"),
    (dict(net=["a"], third=[1]), "3 parameters .*'third'"),
    (dict(eps=[]), "'eps' has the values"),
    (dict(eps=[0.1, 0.1]), "no label twice"),
    (dict(eps=[i / 26 for i in range(26)]), "26 frames; .* at most 25"),
    (dict(eps=[0.0, 0.2, 0.4, 0.6, 0.8], net=list("abcdef")), "30 frames"),
], ids=["none", "three", "empty", "twice", "too many", "too many pairs"])
def test_bad_values_raise_one_clear_error_before_anything_is_drawn(wrong, message):
    values = {name: value for name, value in (dict(eps=[0.0]) | wrong).items() if value is not None}

    def never(**_):
        raise AssertionError("drawn in vain")
    with pytest.raises(ValueError, match=message):
        widgets.explore(never, alt=alt, caption="", **values)


def test_too_heavy_frames_are_refused():
    noise = np.random.default_rng(0)
    with pytest.raises(ValueError, match="weigh .* bytes compressed; at most 300,000"):
        one(draw=lambda eps: Words(noise.bytes(100_000).hex()))


def test_pictures_of_the_course_are_frames(batch):
    shown = widgets.explore(lambda eps: plots.grid([plots.image((batch[0][0, :1] + eps).clamp(0, 1), f"eps {eps:g}")]),
                            alt=lambda eps: f"An image at {eps:g}.", caption="Brighter.", eps=[0.0, 0.1, 0.2])
    assert shown.html.count('aria-label="An image at 0') == 2 and "data:image/png" in stored(shown)[2]


def test_the_same_pictures_give_the_same_bytes():
    assert two(flips=0.1).html == two(flips=0.1).html and question().html == question().html


# --- predict --------------------------------------------------------------------------------

def test_all_answers_stand_there_for_those_without_a_script():
    page = Reader(question())
    assert [text for _, text in page.all("button")] == ["yes", "no", "never", "Show me"]
    assert [attributes["aria-pressed"] for attributes, _ in page.all("button")[:3]] == ["false"] * 3
    assert [attributes["class"] for attributes, _ in page.all("li")] == ["lens-right", "lens-wrong", "lens-wrong"]
    replies = re.sub(r"<[^>]*>", "", re.search(r"<ul.*</ul>", question().html)[0])
    assert replies == ("yes Right. Count.no Not quite. Count again: 1 &amp; 2.never Not quite. Never.")
    assert "Is 1 &lt; 2?" in question().html


@pytest.mark.parametrize("wrong", [{"answer": "perhaps"}, {"options": {"yes": "Alone."}}, {"options": {}}])
def test_a_question_needs_options_and_an_answer_among_them(wrong):
    with pytest.raises(ValueError, match="must be one of at least two options; given: "):
        question(**wrong)


# --- in a notebook ---------------------------------------------------------------------------

@pytest.mark.parametrize("make, words", [(one, "Move & <see>."), (question, "Is 1 < 2?")])
def test_an_output_holds_the_view_and_the_html(make, words):
    shown = make()
    data, _ = DisplayFormatter().format(shown)
    assert data[VIEW]["model_id"] == shown.model_id
    assert data["text/html"] == shown.html and data["text/plain"] == words


def test_ipywidgets_7_cannot_show_the_view_alone(monkeypatch):
    """There every widget displays itself, without its HTML, where nothing is said against it."""
    def displays_itself(self):
        raise AssertionError("the view alone is shown")
    monkeypatch.setattr(ipywidgets.Widget, "_ipython_display_", displays_itself, raising=False)
    data, _ = DisplayFormatter().format(question())
    assert {VIEW, "text/html"} <= data.keys()


def test_both_homes_run_the_same_file():
    file = Path(widgets.__file__).with_name("lens.js").read_text()
    assert one()._esm == file
    assert lens.classic(file).replace("(() => {\n", "", 1).startswith(file.partition("export default")[0])


def test_an_unknown_name_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'labs'"):
        widgets.labs


# --- the site's copy of the script ------------------------------------------------------------

def test_a_module_becomes_a_script_that_mounts():
    assert lens.classic("const a = 1;\nexport default { render, mount };\n") == (
        "(() => {\nconst a = 1;\n({ render, mount }).mount(document);\n})();\n")


@pytest.mark.parametrize("module, says", [("import x from 'y';\nexport default { mount };\n", "cannot import"),
                                          ("export default { mount };\nlate();\n", "ends with"),
                                          ("export const mount = 1;\n", "ends with")])
def test_a_module_that_cannot_be_a_script_is_refused(module, says):
    with pytest.raises(ValueError, match=says):
        lens.classic(module)
