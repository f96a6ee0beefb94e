"""Interactive figures that work in the static page: no kernel, no network.

Everything a reader can see is drawn beforehand, and the browser alone switches between
the frames (jslink).  ipywidgets 7, as on Colab, has no Stack: there the kernel switches.
"""

from __future__ import annotations

import base64
import io
from html import escape
from itertools import product
from typing import Callable, Mapping, Sequence

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

MAX_FRAMES = 25
MAX_BYTES = 1_200_000  # of a whole widget, as the page carries it


def explore(draw: Callable[..., Figure], *, alt: Callable[..., str], caption: str, **values: Sequence | Mapping):
    """A figure with one or two sliders, whose frames are all drawn now.

    draw: called with one value of each keyword, returns the Figure.  alt: the same call,
    returns the alternative text of that frame.  values: one or two keywords, each a list
    of values or a dict {printed label: value}.  The middle frame is shown first, and is
    the one that prints.  Raises ValueError for no or more than two keywords, an empty
    list, or more than MAX_FRAMES frames or MAX_BYTES bytes.

    >>> widgets.explore(draw, alt=describe, caption="...", eps=[0.0, 0.1, 0.2])  # doctest: +SKIP
    """
    if not 1 <= len(values) <= 2:
        raise ValueError(f"explore has {len(values)} parameters {sorted(values)}; give one or two, each with a list "
                         "of values")
    choices = {name: dict(given) if isinstance(given, Mapping) else {_printed(v): v for v in given} for name,
               given in values.items()}
    sizes = [len(options) for options in choices.values()]
    for name, options in choices.items():
        if not options or len(options) != len(values[name]):
            raise ValueError(f"parameter {name!r} has the values {values[name]!r}; give at least one, and no "
                             "label twice")
    if (total := sizes[0] * sizes[-1] if len(sizes) == 2 else sizes[0]) > MAX_FRAMES:
        raise ValueError(f"{total} frames; a page carries at most {MAX_FRAMES}: give fewer values")

    frames = [_frame(draw(**chosen), alt(**chosen))
              for combination in product(*(options.values() for options in choices.values()))
              for chosen in [dict(zip(choices, combination))]]
    if (weight := sum(map(len, frames))) > MAX_BYTES:
        raise ValueError(f"the frames weigh {weight:,} bytes; at most {MAX_BYTES:,}: draw smaller figures or "
                         "fewer of them")

    sliders = [ipywidgets.SelectionSlider(options=list(options), index=len(options) // 2,
                                          description=name.replace("_", " "), style={"description_width": "initial"},
                                          layout={"width": "100%", "max_width": "30em"})
               for name, options in choices.items()]
    picture = _switched(frames, sliders)
    box = ipywidgets.VBox([*sliders, picture, ipywidgets.HTML(f'<p class="advlens-caption">{escape(caption)}</p>')])
    return _named(box, "advlens-explore")


def predict(question: str, options: Mapping[str, str], answer: str):
    """A question to think about before the next cell is run; it answers back at once.

    options: {answer text: feedback}, at least two; `answer`: the key of the right one.
    Nothing is chosen at first.  Raises ValueError for fewer than two options or an
    answer that is not one of them.
    """
    if len(options) < 2 or answer not in options:
        raise ValueError(f"answer {answer!r} must be one of at least two options; given: "
                         f"{', '.join(map(repr, options)) or 'none'}")
    replies = []
    for text, feedback in options.items():
        right = text == answer
        verdict = "Right." if right else "Not quite."
        replies.append('<p class="advlens-feedback '
                       f'advlens-{"right" if right else "wrong"}"><strong>{verdict}</strong> {escape(feedback)}</p>')
    choice = ipywidgets.RadioButtons(options=list(options), index=None, layout={"width": "auto"})
    asked = ipywidgets.HTML(f'<p class="advlens-question"><strong>Predict, then run.</strong> {escape(question)}</p>')
    box = ipywidgets.VBox([asked, choice, _switched(replies, [choice])])
    return _named(box, "advlens-predict")


def _switched(pages: list[str], controls: list):
    """One widget that shows the page that the controls' indices select (row by row; None shows nothing)."""
    if not hasattr(ipywidgets, "Stack"):
        return _switched_by_kernel(pages, controls)
    *outer, inner = controls
    width = len(inner.options)
    stacks = [ipywidgets.Stack([ipywidgets.HTML(page) for page in pages[i:i + width]], selected_index=inner.index)
              for i in range(0, len(pages), width)]
    for stack in stacks:
        ipywidgets.jsdlink((inner, "index"), (stack, "selected_index"))
    if not outer:
        return stacks[0]
    rows = ipywidgets.Stack(stacks, selected_index=outer[0].index)
    ipywidgets.jsdlink((outer[0], "index"), (rows, "selected_index"))
    return rows


def _switched_by_kernel(pages: list[str], controls: list):
    """The same for ipywidgets 7, which has no Stack: Python changes one HTML widget."""
    shown = ipywidgets.HTML()

    def show(_=None):
        row = controls[0].index if len(controls) == 2 else 0
        chosen = controls[-1].index
        shown.value = "" if chosen is None else pages[row * len(controls[-1].options) + chosen]

    for control in controls:
        control.observe(show, "index")
    show()
    return shown


def _frame(figure: Figure, alt: str) -> str:
    """The figure as an <img> that carries its own pixels."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120, facecolor="white")
    plt.close(figure)
    # A palette of 256 colours makes the file two to three times smaller.  Of Pillow's methods this one keeps the
    # rare colours (thin lines, noise); median cut loses them.
    image = Image.open(png).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    small = io.BytesIO()
    image.save(small, format="png", optimize=True)
    data = base64.b64encode(small.getvalue()).decode()
    return (f'<img class="advlens-frame" width="{image.width}" height="{image.height}" style="max-width: 100%; height: '
            'auto; background: white" '
            f'alt="{escape(alt)}" src="data:image/png;base64,{data}">')


def _printed(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _named(box, name: str):
    """Give the box a CSS class and the full width."""
    box.add_class(name)
    box.layout.width = "100%"
    return box
