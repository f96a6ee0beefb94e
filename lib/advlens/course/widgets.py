"""Figures to move and questions to answer: the same in a live notebook and on the static page.

A widget is HTML that stands by itself.  `lens.js` moves it: anywidget runs that script in a
live notebook, and the site loads the same script for the same HTML (book/_ext/lens.py).
Everything a reader can see is drawn beforehand, so nothing waits for a kernel.
"""

from __future__ import annotations

import gzip
import json
from html import escape
from itertools import product
from pathlib import Path
from typing import Callable, Mapping, Sequence

import anywidget
import traitlets

MAX_FRAMES = 25
MAX_BYTES = 300_000  # of a whole widget, compressed as a host sends it
SEGMENTS = 4         # up to so many choices are buttons side by side; more are a slider
SAID = {"eps": "epsilon"}

HERE = Path(__file__).parent


class Lens(anywidget.AnyWidget):
    """HTML with its script.  A live notebook shows the view, everybody else the HTML alone.

    html: one element; the site loads the module that its `data-lens` names.  chosen: what
    the reader has chosen, the index of each control; it can be set from Python too.
    """

    _esm = (HERE / "lens.js").read_text(encoding="utf-8")
    _css = "".join((HERE / file).read_text(encoding="utf-8") for file in ("figures.css", "lens.css"))
    _ipython_display_ = None  # ipywidgets 7 would show the view alone

    html = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, html: str, *, words: str, chosen: Sequence[int] = ()):
        """words: what is shown where there is neither script nor HTML."""
        self._words = words
        super().__init__(html=html, chosen=list(chosen))

    def __repr__(self) -> str:
        return self._words

    def _repr_mimebundle_(self, **options):
        data, metadata = super()._repr_mimebundle_(**options)
        return {**data, "text/html": self.html}, metadata


def explore(draw: Callable, *, alt: Callable[..., str], caption: str, flips=None, **values: Sequence | Mapping) -> Lens:
    """A picture with one or two controls; a frame for each choice is drawn now.

    draw: called with one value of each keyword, returns a `plots` Picture.  alt: the same
    call, returns what the frame shows in words.  values: one or two keywords, each a list of
    values or a dict {printed label: value}.  It starts at the first value of each.

    flips: the value (or its label) of the last keyword at which the answer flips; it is marked.
    Where that depends on the first keyword: {value of the first: value of the last or None}.

    Raises ValueError for no or more than two keywords, an empty list, a label twice, flips
    that are no value, or more than MAX_FRAMES frames or MAX_BYTES bytes.

    >>> widgets.explore(draw, alt=describe, caption="...", eps=[0.0, 0.1, 0.2], flips=0.1)  # doctest: +SKIP
    """
    choices = _choices(values)
    marks = _marks(flips, choices)
    combinations = [dict(zip(choices, some)) for some in product(*(given.values() for given in choices.values()))]
    if len(combinations) > MAX_FRAMES:
        raise ValueError(f"{len(combinations)} frames; a page carries at most {MAX_FRAMES}: give fewer values")

    frames = [f'<div class="lens-frame">{draw(**chosen).named(alt(**chosen))}</div>' for chosen in combinations]
    middle = [len(given) // 2 for given in choices.values()]
    html = _explore_html(choices, marks, frames, middle, caption)
    if (weight := len(gzip.compress(html.encode()))) > MAX_BYTES:
        raise ValueError(f"the frames weigh {weight:,} bytes compressed; at most {MAX_BYTES:,}: draw smaller pictures "
                         "or fewer of them")
    return Lens(html, words=caption, chosen=[0] * len(choices))


def predict(question: str, options: Mapping[str, str], answer: str) -> Lens:
    """A question to think about before the answer is read; it answers back at once.

    options: {answer text: feedback}, at least two; `answer`: the key of the right one.  On the
    site it covers the cells tagged `covered` and the blocks `:::{container} covered` that
    follow, up to the next question, until the reader chooses or says "Show me".  Raises
    ValueError for fewer than two options or an answer that is not one of them.
    """
    if len(options) < 2 or answer not in options:
        raise ValueError(f"answer {answer!r} must be one of at least two options; given: "
                         f"{', '.join(map(repr, options)) or 'none'}")
    buttons = "".join(f'<button type="button" aria-pressed="false">{escape(text)}</button>' for text in options)
    replies = "".join(
        f'<li class="lens-{"right" if text == answer else "wrong"}"><span class="lens-answer">{escape(text)}</span> '
        f'<span class="lens-reply"><strong>{"Right." if text == answer else "Not quite."}</strong> '
        f"<span>{escape(feedback)}</span></span></li>"
        for text, feedback in options.items())
    return Lens(f"""<div class="lens-widget lens-predict" data-lens="lens">
<fieldset><legend><strong>Predict.</strong> {escape(question)}</legend>
<div class="lens-options" hidden>{buttons}</div></fieldset>
<div class="lens-said" role="status"></div>
<button type="button" class="lens-show" hidden>Show me</button>
<ul class="lens-replies">{replies}</ul>
</div>""", words=question)


def __getattr__(name: str):
    """`lab` has a file of its own, which takes `Lens` from here."""
    if name != "lab":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from advlens.course.lab import lab

    return lab


# --- explore's parts ---------------------------------------------------------------------

def _choices(values: Mapping) -> dict[str, dict]:
    """{keyword: {printed label: value}}."""
    if not 1 <= len(values) <= 2:
        raise ValueError(f"explore has {len(values)} parameters {sorted(values)}; give one or two, each with a list "
                         "of values")
    choices = {name: dict(given) if isinstance(given, Mapping) else {_printed(value): value for value in given}
               for name, given in values.items()}
    for name, options in choices.items():
        if not options or len(options) != len(values[name]):
            raise ValueError(f"parameter {name!r} has the values {values[name]!r}; give at least one, and no "
                             "label twice")
    return choices


def _marks(flips, choices: Mapping[str, Mapping]) -> list[int | None]:
    """The index of the last keyword at which the answer flips, for each value of the first of two keywords."""
    *first, last = choices.values()
    if not first:
        return [_index(flips, last)]
    outer = first[0]
    if not isinstance(flips, Mapping):
        return [_index(flips, last)] * len(outer)
    marks: list[int | None] = [None] * len(outer)
    for where, flip in flips.items():
        marks[_index(where, outer)] = _index(flip, last)
    return marks


def _index(value, options: Mapping) -> int | None:
    """Which of {label: value} it is, by its value or by its label."""
    if value is None:
        return None
    for number, (label, known) in enumerate(options.items()):
        if value is known or value in (label, known):
            return number
    raise ValueError(f"flips: {value!r} is none of {', '.join(options)}")


def _printed(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _explore_html(choices, marks, frames, middle, caption) -> str:
    """The first frame (for those with a script) and the middle one stand in the page, the others lie in JSON."""
    names = {keyword: SAID.get(keyword, keyword).replace("_", " ") for keyword in choices}
    labels = [list(options) for options in choices.values()]
    marked = [None] * (len(choices) - 1) + [marks if any(mark is not None for mark in marks) else None]
    controls = "".join(map(_control, names.values(), labels, marked))
    central = middle[0] if len(middle) == 1 else middle[0] * len(labels[1]) + middle[1]
    stored = [None if number in (0, central) else frame for number, frame in enumerate(frames)]
    at = ", ".join(f"{name} {options[number]}" for name, options, number in zip(names.values(), labels, middle))
    first = f'<div class="lens-first" hidden>{frames[0]}</div>' if central else ""
    # "</script" would end the element, "<!--" change how it is read.
    data = json.dumps(stored, ensure_ascii=False).replace("</", "<\\/").replace("<!--", "<\\u0021--")
    return f"""<div class="lens-widget lens-explore" data-lens="lens" data-middle="{central}">
<div class="lens-controls" hidden>{controls}</div>
<div class="lens-stage">{first}<div class="lens-middle">{frames[central]}</div></div>
<p class="lens-at">{escape(at)}</p>
<p class="lens-caption">{escape(caption)}</p>
<p class="lens-unseen" role="status"></p>
<script type="application/json">{data}</script>
</div>"""


def _control(name: str, labels: list[str], marks: list[int | None] | None) -> str:
    """Radio buttons side by side, or a slider.  marks: where the answer flips."""
    about = f'data-name="{escape(name)}" data-labels="{escape(json.dumps(labels, ensure_ascii=False))}"'
    legend = ""
    if marks:
        about += f' data-flips="{json.dumps(marks)}"'
        legend = '<span class="lens-flips"><span class="lens-mark">▲</span> the answer flips</span>'
    if len(labels) <= SEGMENTS:
        radios = "".join(f'<label><input type="radio" autocomplete="off"{"" if number else " checked"}>'
                         f"<span>{escape(label)}</span></label>" for number, label in enumerate(labels))
        return (f'<fieldset class="lens-control lens-choice" {about}><legend>{escape(name)}</legend>'
                f'<div class="lens-segments">{radios}</div>{legend}</fieldset>')
    mark = '<span class="lens-mark">▲</span>' if marks else ""
    return (f'<div class="lens-control lens-slider" {about} style="--steps: {len(labels) - 1}">'
            f"<label><span>{escape(name)}</span>"
            f'<input type="range" min="0" max="{len(labels) - 1}" step="1" value="0" autocomplete="off" '
            f'aria-valuetext="{escape(f"{name} {labels[0]}")}"></label>'
            f'<span class="lens-value" aria-hidden="true">{escape(labels[0])}</span>'
            f'<div class="lens-ticks" aria-hidden="true">{mark}</div>'
            f'<div class="lens-ends" aria-hidden="true"><span>{escape(labels[0])}</span>{legend}'
            f"<span>{escape(labels[-1])}</span></div></div>")
