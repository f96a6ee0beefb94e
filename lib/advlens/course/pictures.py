"""Pictures as HTML: grids of images with their true pixels, captions that are text, bars drawn by the browser.

A Picture is what a cell shows: HTML for browsers, and a PNG for viewers that strip HTML.
A Panel is one part of a picture.
"""

import base64
import io
from collections.abc import Callable, Sequence
from functools import cached_property
from html import escape
from importlib import resources
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

STYLE = (resources.files("advlens.course") / "figures.css").read_text()
LETTER = 0.5   # rem: how wide a letter of a caption is, about
PHONE, GAP = 19.5, 0.7  # rem: what a picture has on a screen of 360 px, and what stands between two panels
CELL = 168     # pixels: how wide a panel of the fallback picture is
BLUE, ORANGE = (31, 122, 200), (217, 102, 10)  # of signed noise: as far from white paper as from black


class Picture:
    """What a cell shows.  html: the picture without its style; named(alt): the same with an accessible name."""

    def __init__(self, html: str, png: Callable[[], Image.Image]):
        self.html = html
        self._png = png

    @cached_property
    def png(self) -> bytes:
        """The small picture for viewers that strip HTML, on white."""
        file = io.BytesIO()
        self._png().convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
        return file.getvalue()

    def named(self, alt: str) -> str:
        return named(self.html, alt)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/html": f"<style>{STYLE}</style>{self.html}",
                "image/png": base64.b64encode(self.png).decode(), "text/plain": "a picture"}


def named(html: str, alt: str) -> str:
    """The HTML of a picture with `alt` as its accessible name."""
    for kind, role in (("lens-plots", "img"), ("lens-grid", "group")):
        begin = f'<div class="{kind}'
        if begin in html:
            return html.replace(begin, f'<div role="{role}" aria-label="{escape(alt)}" class="{kind}', 1)
    raise ValueError("this HTML holds no picture of advlens.course.plots")


class Panel(NamedTuple):
    """One part of a picture.

    html: its inside.  title: the text below, lines separated by a newline.  png: draws it, at most CELL wide.
    wide: it needs the whole width of a phone (a plot, bars); space: its share of a row beside images.
    photo: three channels.  key: what its colours mean, said once a column where the columns stand.
    """

    html: str
    title: str
    png: Callable[[], Image.Image]
    wide: bool = False
    space: float = 1.0
    photo: bool = False
    key: str = ""


# --- panels ------------------------------------------------------------------------

def image(x: Tensor, title: str | None = None, *, frame: bool | None = None) -> Panel:
    """One image (C, H, W) in [0, 1].

    frame: True draws a solid green frame (right), False a dashed orange one (wrong).
    Raises ValueError for another shape or values outside [0, 1].
    """
    pixels = x.detach().cpu().double()
    if pixels.ndim != 3 or len(pixels) not in (1, 3):
        raise ValueError(f"an image has shape (1, H, W) or (3, H, W); given: {tuple(x.shape)}")
    if not (0 <= pixels.min() and pixels.max() <= 1):
        raise ValueError(f"pixels lie in [0, 1]; these in [{pixels.min():.3g}, {pixels.max():.3g}]: "
                         "a perturbation is drawn by plots.noise")
    shown = Image.fromarray(_bytes(pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)))
    kind = {None: "", True: "lens-right", False: "lens-wrong"}[None if frame is None else bool(frame)]

    def png():
        big = _enlarged(shown.convert("RGB"))
        if frame is not None:
            ImageDraw.Draw(big).rectangle((0, 0, big.width - 1, big.height - 1), width=4,
                                          outline=(0, 158, 115) if frame else (213, 94, 0))
        return big

    return Panel(_img(shown, kind), title or "", png, photo=len(pixels) == 3)


def noise(d: Tensor, title: str | None = None, *, limit: float | None = None) -> Panel:
    """A signed perturbation (C, H, W); 0 is the paper's colour, nothing wraps around, and the scale is printed.

    limit: the size of d that gets the strongest colour; by default the largest |d|.
    One channel: blue is darker than the clean image, orange is brighter.  Three channels: each colour is
    what the change adds, around a neutral grey; the smaller the change, the more the paper shows.
    Raises TypeError for integers, which cannot hold a small signed number.
    """
    if not d.is_floating_point():
        raise TypeError(f"the perturbation has dtype {d.dtype}; give floats in pixel units (integers wrap around)")
    if d.ndim != 3 or len(d) not in (1, 3):
        raise ValueError(f"a perturbation has shape (1, H, W) or (3, H, W); given: {tuple(d.shape)}")
    limit = limit or d.abs().max().item() or 1.0
    shown = Image.fromarray(_signed(d.detach().cpu().double().numpy() / limit), "RGBA")
    scale = f"scale ±{limit:.2g}"

    def png():
        big = _enlarged(shown)
        paper = Image.new("RGB", big.size, "white")
        paper.paste(big, mask=big.getchannel("A"))
        ImageDraw.Draw(paper).rectangle((0, 0, paper.width - 1, paper.height - 1), outline=(118, 118, 118))
        return paper

    return Panel(_img(shown, "lens-noise"), f"{title}\n{scale}" if title else scale, png, photo=len(d) == 3)


def _signed(d: np.ndarray) -> np.ndarray:
    """d (C, H, W) in [-1, 1] as RGBA bytes (H, W, 4) whose opacity is the size of the change."""
    size = np.abs(d).max(0).clip(0, 1)
    if len(d) == 1:
        colour = np.where(d[0][..., None] < 0, BLUE, ORANGE)
    else:
        colour = 255 * (0.5 + 0.34 * d / np.maximum(np.abs(d).max(0), 1e-12)).transpose(1, 2, 0)
    return np.dstack([colour, 255 * size]).round().astype(np.uint8)


def bars(before: np.ndarray | None, after: np.ndarray, names: Sequence[str]) -> Panel:
    """Two bars for each name, or one where `before` is None: probabilities in [0, 1]."""
    rows = "".join(f'<span>{escape(str(name))}</span><b style="{_shares(p, q)}"></b>'
                   for name, p, q in zip(names, after if before is None else before, after))
    key = '<b>clean</b><b>attacked</b>' if before is not None else ""

    def png():
        height = 14 * len(names)
        drawn = Image.new("RGB", (CELL, height + 14), "white")
        pen = ImageDraw.Draw(drawn)
        for i, name in enumerate(names):
            pen.text((0, 14 * i), str(name)[:10], fill="black", font=_font(10))
            for j, (values, ink) in enumerate(((before, (118, 118, 118)), (after, (213, 94, 0)))):
                if values is not None:
                    top = 14 * i + 2 + 5 * j
                    pen.rectangle((64, top, 64 + 100 * float(values[i]), top + 4), fill=ink)
        return drawn

    one = " lens-one" if before is None else ""
    return Panel(f'<div class="lens-bars{one}">{rows}</div>', "", png, wide=True, space=1.3, key=key)


def _shares(p: float, q: float) -> str:
    return f"--p:{p:.3f};--q:{q:.3f}"


def _bytes(pixels: Tensor) -> np.ndarray:
    return (255 * pixels).round().byte().numpy()


def _img(shown: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    shown.save(file, format="png", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    named = f'class="{kind}" ' if kind else ""
    return (f'<img {named}alt="" width="{shown.width}" '
            f'height="{shown.height}" src="data:image/png;base64,{data}">')


# --- a picture of panels -------------------------------------------------------------

def grid(panels: Sequence, *, columns: int | None = None, heads: Sequence[str] | None = None,
         rows: Sequence[str] | None = None, source: str | None = None) -> Picture:
    """Panels side by side, as many as fit: a list of them (which wraps), or a list of rows.

    heads: one for each column, above it.  rows: one for each row, before it.  None in a row leaves a gap.
    Raises ValueError when lengths do not fit.
    """
    flat = not any(isinstance(part, (list, tuple)) and not isinstance(part, Panel) for part in panels)
    if flat:
        columns = min(columns or len(panels), len(panels))
        table = [list(panels[i:i + columns]) for i in range(0, len(panels), columns or 1)]
    else:
        columns = max(map(len, panels))
        table = [list(row) + [None] * (columns - len(row)) for row in panels]
    if not columns:
        raise ValueError("a picture needs at least one panel")
    for name, given, wanted in (("heads", heads, columns), ("rows", rows, len(table))):
        if given is not None and len(given) != wanted:
            raise ValueError(f"{name} has {len(given)} entries for {wanted} {'columns' if name == 'heads' else 'rows'}")

    body = []
    for i, row in enumerate(table):
        if rows is not None:
            body.append(f'<div class="lens-rowhead">{_lines(rows[i])}</div>')
        for j, panel in enumerate(row):
            body.append(_cell(panel, heads[j] if heads is not None else "", first=heads is None or i == 0))
    kind = "lens-grid lens-rowheads" if rows is not None else "lens-grid"
    if flat and any(panel.wide for panel in table[0]):
        kind = "lens-grid lens-flow"
    return Picture(f'<div class="lens-picture"><div class="{kind}" style="{_shape(table, heads, rows)}">'
                   f'{"".join(body)}</div>{provenance(source)}</div>',
                   lambda: sheet(table, heads, rows, source))


def _cell(panel: Panel | None, head: str, first: bool) -> str:
    """A panel of a row.  The head of a column stands over its first row; below, the style shows it on phones only."""
    if panel is None:
        return '<div class="lens-panel lens-gap"></div>'
    kind = "" if not panel.wide else " lens-wide" if "lens-bars" in panel.html else " lens-wide lens-chart"
    again = f' data-head="{escape(head)}"' if head and not first else ""
    parts = [f'<div class="lens-head">{_lines(head)}</div>' if head and first else "",
             f'<div class="lens-key{"" if first else " lens-again"}">{panel.key}</div>' if panel.key else "",
             panel.html, f'<div class="lens-title">{_lines(panel.title)}</div>' if panel.title else ""]
    return f'<div class="lens-panel{kind}"{again}>{"".join(parts)}</div>'


def _shape(table: list[list], heads, rows) -> str:
    """How wide the columns are: on a phone as many as keep their captions readable, else all of them."""
    every = [panel for row in table for panel in row if panel is not None]
    words = [line for panel in every for line in panel.title.split("\n")] + list(heads or [])
    least = min(max(3.1 if not any(p.photo for p in every) else 5, LETTER * max(map(len, words), default=0)), 6)
    columns = max(map(len, table))
    if heads is not None or rows is not None:  # a row breaks evenly: six are three and three, not five and one
        small = sum(not any(row[j] is not None and row[j].wide for row in table if j < len(row))
                    for j in range(columns))
        fit = max(1, int((PHONE + GAP) / (least + GAP)))
        even = -(-small // -(-small // fit)) if small else 1
        least = max(least, int(100 * (PHONE + GAP) / even - 100 * GAP) / 100)
    spaces = [max((row[j].space for row in table if j < len(row) and row[j] is not None), default=1)
              for j in range(columns)]
    template = " ".join(f"minmax(0,{space:g}fr)" for space in spaces)
    if rows is not None:
        template = f"minmax(3rem,max-content) {template}"
    most = sum(spaces) * 10 + (6 if rows is not None else 0)
    return f"--lens-least:{least:g}rem;--lens-most:{most:g}rem;--lens-template:{template}"


def _lines(text: str) -> str:
    return escape(text, quote=False).replace("\n", "<br>")


def provenance(source: str | None) -> str:
    """The line that says where the data come from, folded behind a small sign."""
    return "" if not source else (f'<details class="lens-source"><summary>Data</summary> '
                                  f'{escape(source, quote=False)}</details>')


# --- the fallback ---------------------------------------------------------------------

def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def _enlarged(shown: Image.Image) -> Image.Image:
    factor = max(1, (CELL - 40) // max(shown.size))
    return shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST)


def sheet(table: list[list], heads=None, rows=None, source: str | None = None) -> Image.Image:
    """All panels on one white sheet, with their texts."""
    drawn = [[None if panel is None else panel.png() for panel in row] for row in table]
    heights = [max((p.height for p in row if p is not None), default=0) for row in drawn]
    lines = [max((len(p.title.split("\n")) for p in row if p is not None and p.title), default=0) for row in table]
    widths = [max((row[j].width for row in drawn if j < len(row) and row[j] is not None), default=0)
              for j in range(max(map(len, table)))]
    widths = [max(width, CELL - 40) + 12 for width in widths]
    above = 16 * max((h.count("\n") + 1 for h in heads or []), default=0)
    row_head = 16 if rows is not None else 0
    high = above + sum(h + 15 * n + 12 + row_head for h, n in zip(heights, lines)) + (16 if source else 0)
    sheet = Image.new("RGB", (sum(widths), high), "white")
    pen = ImageDraw.Draw(sheet)
    for j, head in enumerate(heads or []):
        pen.text((sum(widths[:j]), 0), head, fill="black", font=_font(11))
    top = above
    for i, row in enumerate(drawn):
        if rows is not None:
            pen.text((0, top), rows[i].replace("\n", " "), fill="black", font=_font(11))
        for j, picture in enumerate(row):
            if picture is not None:
                sheet.paste(picture, (sum(widths[:j]), top + row_head))
                pen.text((sum(widths[:j]), top + row_head + heights[i]), table[i][j].title, fill="black",
                         font=_font(11))
        top += row_head + heights[i] + 15 * lines[i] + 12
    if source:
        pen.text((0, top), f"Data: {source}", fill=(90, 90, 90), font=_font(10))
    return sheet
