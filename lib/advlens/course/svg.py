"""A matplotlib figure as inline SVG that takes the colours and the letters of the page around it.

matplotlib's own SVG is a document: it has its own fonts, fixed colours, style rules that would reach the
whole page, and a nest of groups for every tick.  This renderer writes one flat element: paths, and text that
is text; colours of the palette become CSS variables, so that light, dark and paper need one drawing.
"""

import base64
import hashlib
import io
import math
from html import escape

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ft2font import LoadFlags
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D
from PIL import Image

INK = "#222222"  # of what has no colour of its own; the palette says what stands for it
CROWD = 600  # elements: more than these are too many for one drawing, a page holds 6,000
MOST = 1.4  # CSS pixels for a unit (1/72 in): larger than this no drawing is shown
_LETTERS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}
_ANCHORS = {0: "start", 0.5: "middle", 1: "end"}


def svg(figure: Figure, palette: dict[str, str]) -> str:
    """The figure as an <svg> that fills the width it is given, up to MOST times its own size.

    palette: {"#0072b2": "var(--lens-blue, #0072b2)"}: what is written for which colour; others stay as they are.
    The same figure gives the same text, and ids that hang on its content only.
    Raises ValueError for hatches, and for more than CROWD elements.
    """
    dpi = figure.dpi
    figure.dpi = 72  # a unit of the drawing is a point, so letters have the size that they are given
    try:
        renderer = _Renderer(figure, palette)
        figure.draw(renderer)
    finally:
        figure.dpi = dpi
    if len(renderer.elements) > CROWD:
        raise ValueError(f"the drawing has {len(renderer.elements):,} elements, and a page should hold 6,000 in all: "
                         "draw a table of values with imshow or plots.heat, and many points with one call of plot")
    return renderer.finished()


class _Renderer(RendererBase):
    """Collects elements; what looks alike and lies in one axis (its grid, its ticks) becomes one path."""

    def __init__(self, figure: Figure, palette: dict[str, str]):
        super().__init__()
        self.width, self.height = figure.bbox.size
        self.palette = palette
        self.elements: list[list[str]] = []  # [head, path data, tail]
        self.shared = None                   # where the elements of the axis that is being drawn begin
        self.clips: dict[str, str] = {}      # path data -> id
        self.lines = {line: text for text in figure.findobj(Text) if "\n" in text.get_text()
                      for line in text.get_text().split("\n")}

    def finished(self) -> str:
        clips = "".join(f'<clipPath id="{name}"><path d="{d}"/></clipPath>' for d, name in self.clips.items())
        body = (f"<defs>{clips}</defs>" if clips else "") + "".join(map("".join, self.elements))
        body = body.replace(_ID, hashlib.sha1(body.encode()).hexdigest()[:8])
        width, height = _number(self.width), _number(self.height)
        ink = self._colour(INK)
        return (f'<svg class="lens-plot" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
                f'style="width:100%;height:auto;max-width:{self.width * MOST:.0f}px;fill:{ink};font-family:inherit" '
                f'stroke-linejoin="round">{body}</svg>')

    # --- what matplotlib calls ---------------------------------------------------

    def draw_path(self, gc, path, transform, rgbFace=None):
        if gc.get_hatch():
            raise ValueError("hatches are not drawn: use colours and dashes")
        d, box = self._data(path, transform)
        look = self._look(gc, rgbFace)
        if d and look:
            alone = rgbFace is not None and (len(rgbFace) > 3 and rgbFace[3] < 1 or gc.get_forced_alpha())
            self._add(look + self._clip(gc, box), d, alone=bool(alone))

    def draw_markers(self, gc, marker_path, marker_trans, path, transform, rgbFace=None):
        """All markers in one path.  A round one is a line without length and with round ends: 12 bytes each."""
        points = [vertices[-2:] for vertices, _ in path.iter_segments(transform, simplify=False)]
        bounds = gc.get_clip_rectangle()
        if bounds is not None:  # a marker at the edge is drawn whole, one outside is not
            inside = [p for p in points if bounds.padded(0.5).contains(*p)]
            if len(points) == 1 and not inside:
                # A collection of one path comes as a marker at the corner of the figure: the band of fill_between.
                self.draw_path(gc, marker_path, marker_trans + Affine2D().translate(*points[0]), rgbFace)
                return
            points = inside
        if not points:
            return
        edge = gc.get_linewidth() and tuple(gc.get_rgb()[:3])
        if rgbFace is not None and _round(marker_path) and edge in (0, tuple(rgbFace[:3])):
            size = 2 * marker_trans.transform([(1, 0)])[0, 0] + gc.get_linewidth()
            alpha = gc.get_alpha() if gc.get_forced_alpha() else rgbFace[3] if len(rgbFace) > 3 else 1
            look = _style(fill="none", stroke=self._colour(to_hex(rgbFace[:3])), stroke_width=_number(size),
                          stroke_linecap="round", opacity=_number(alpha, ""))
            self._add(look, "".join(f"M{_number(x)} {_number(self.height - y)}h0" for x, y in points))
            return
        marks = [self._data(marker_path, marker_trans + Affine2D().translate(x, y))[0] for x, y in points]
        if look := self._look(gc, rgbFace):
            self._add(look, "".join(marks))

    def draw_image(self, gc, x, y, im, transform=None):
        rows, columns = im.shape[:2]
        to_page = Affine2D().translate(x, y).scale(1, -1).translate(0, self.height)
        if transform is None:
            place = Affine2D().scale(columns, rows) + to_page
        else:
            place = transform + to_page  # of the unit square
        (x0, y0), (x1, y1) = place.transform([(0, 0), (1, 1)])
        if y1 < y0:  # rows count upwards
            im, y0, y1 = im[::-1], y1, y0
        place = f'x="{_number(x0)}" y="{_number(y0)}" width="{_number(x1 - x0)}" height="{_number(y1 - y0)}"'
        picture = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(im)).save(picture, format="png", optimize=True)
        self.elements.append([f'<image {place} preserveAspectRatio="none" style="image-rendering:pixelated" '
                              f'href="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"/>'])

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        """Text is anchored as it is aligned, so that it stays in place whatever letters the page has."""
        mtext = mtext or self.lines.get(s)
        width = self.get_text_width_height_descent(s, prop, ismath)[0]
        part = self._part(mtext, angle) if not ismath else 0
        turn = math.radians(angle)
        x, y = x + part * width * math.cos(turn), self.height - y - part * width * math.sin(turn)
        place = f'x="{_number(x)}" y="{_number(y)}"' if not angle and not ismath else \
            f'transform="translate({_number(x)} {_number(y)})' + (f'rotate({_number(-angle)})"' if angle else '"')
        colour = self._colour(to_hex(gc.get_rgb()[:3]))
        look = _style(fill=colour if colour != self._colour(INK) else "",
                      opacity=_number(gc.get_alpha(), "") if gc.get_forced_alpha() else "",
                      font_weight=prop.get_weight() if prop.get_weight() not in ("normal", 400) else "",
                      font_style=prop.get_style() if prop.get_style() != "normal" else "")
        size = "" if ismath else f' font-size="{_number(prop.get_size_in_points())}"'
        anchor = f' text-anchor="{_ANCHORS[part]}"' if part else ""
        body, bars = self._mathematics(s, prop) if ismath else (escape(s, quote=False), "")
        self.elements.append([f"<text {place}{size}{anchor}{look}>{body}</text>"])
        if bars:
            self.elements.append([f'<path {place}{look} d="{bars}"/>'])

    def open_group(self, s, gid=None):
        if s == "matplotlib.axis":
            self.shared = len(self.elements)

    def close_group(self, s):
        if s == "matplotlib.axis":
            self.shared = None

    def get_canvas_width_height(self):
        return self.width, self.height

    def flipy(self):
        return False

    def option_image_nocomposite(self):
        return True

    def option_scale_image(self):
        return True

    # --- parts ---------------------------------------------------------------------

    def _add(self, look: str, d: str, alone: bool = False) -> None:
        """A path, joined to one of the same look: any of this axis, elsewhere the one just before."""
        begin = len(self.elements) - 1 if self.shared is None else self.shared
        for element in self.elements[max(begin, 0):]:
            if element[0] == f"<path{look} d=\"" and not alone:
                element[1] += d
                return
        self.elements.append([f"<path{look} d=\"", d, '"/>'])

    def _data(self, path: Path, transform) -> tuple[str, tuple]:
        """The path data, and the box (x0, y0, x1, y1) around its points, y upwards."""
        parts, points = [], []
        for vertices, code in path.iter_segments(transform, simplify=None):
            points += [] if code == Path.CLOSEPOLY else vertices.reshape(-1, 2).tolist()
            numbers = [_number(v if i % 2 == 0 else self.height - v) for i, v in enumerate(vertices)]
            parts.append(_LETTERS[code] + (" ".join(numbers) if code != Path.CLOSEPOLY else ""))
        return "".join(parts), (*np.min(points, 0), *np.max(points, 0)) if points else ()

    def _look(self, gc, face) -> str:
        """fill and stroke as a style attribute; "" for what cannot be seen."""
        alpha = gc.get_alpha() if gc.get_forced_alpha() else None
        width, offset_dashes = gc.get_linewidth(), gc.get_dashes()
        stroke = gc.get_rgb()
        strong = alpha if alpha is not None else stroke[3]
        faint = 0 if face is None else alpha if alpha is not None else face[3] if len(face) > 3 else 1
        if not faint and not (width and strong):
            return ""
        look = {"fill": self._colour(to_hex(face[:3])) if faint else "none",
                "fill_opacity": _number(faint, "") if faint else ""}
        if width and strong:
            dashes = offset_dashes[1]
            look |= {"stroke": self._colour(to_hex(stroke[:3])), "stroke_width": _number(width),
                     "stroke_opacity": _number(strong, ""),
                     "stroke_dasharray": " ".join(map(_number, dashes)) if dashes is not None else "",
                     "stroke_linecap": {"projecting": "square", "round": "round"}.get(gc.get_capstyle(), "")}
        return _style(**look)

    def _clip(self, gc, box: tuple) -> str:
        """A clip where the path leaves its axes; most do not, and need none."""
        path, transform = gc.get_clip_path()
        bounds = gc.get_clip_rectangle()
        if path is not None:
            d = self._data(path, transform)[0]
        elif bounds is not None and not (bounds.x0 - 1 <= box[0] and box[2] <= bounds.x1 + 1
                                         and bounds.y0 - 1 <= box[1] and box[3] <= bounds.y1 + 1):
            d = self._data(Path.unit_rectangle(), Affine2D.from_values(bounds.width, 0, 0, bounds.height,
                                                                       bounds.x0, bounds.y0))[0]
        else:
            return ""
        name = self.clips.setdefault(d, f"lens-{_ID}-{len(self.clips)}")
        return f' clip-path="url(#{name})"'

    def _part(self, text: Text | None, angle: float) -> float:
        """Where in a line its anchor is: 0 its begin, 0.5 its middle, 1 its end."""
        if text is None:
            return 0
        if angle == 90:
            return {"center": 0.5, "center_baseline": 0.5, "top": 1}.get(text.get_verticalalignment(), 0)
        return {"left": 0, "center": 0.5, "right": 1}[text._multialignment or text.get_horizontalalignment()]

    def _mathematics(self, s: str, prop) -> tuple[str, str]:
        """A formula: its letters at the places where TeX's rules put them, and the path of bars and of odd signs."""
        parsed = MathTextParser("path").parse(s, 72, prop)
        runs: dict[tuple, list] = {}
        paths = [f"M{_number(x)} {_number(-y - height)}h{_number(width)}v{_number(height)}h{_number(-width)}Z"
                 for x, y, width, height in parsed.rects]
        for glyph in parsed.glyphs:
            (font, size, code), (x, y) = glyph[:3], glyph[-2:]
            if not font.postscript_name.startswith("DejaVuSans-") and font.postscript_name != "DejaVuSans":
                font.set_size(100, 72)  # roots, sums, brackets: their font is made for their size
                font.load_char(code, flags=LoadFlags.NO_HINTING)
                place = Affine2D().scale(size / 100).translate(x, self.height + y)
                paths.append(self._data(Path(*font.get_path()), place)[0])
            elif chr(code) != " ":  # a browser joins spaces, and every letter has its own place
                slanted = "italic" if "Oblique" in font.postscript_name else ""
                runs.setdefault((_number(size), slanted, _number(-y)), []).append((x, chr(code)))
        body = "".join(f'<tspan font-size="{size}" x="{" ".join(_number(x) for x, _ in run)}" y="{y}"'
                       f'{_style(font_style=slanted)}>{escape("".join(c for _, c in run), quote=False)}</tspan>'
                       for (size, slanted, y), run in runs.items())
        return body, "".join(paths)

    def _colour(self, colour: str) -> str:
        return self.palette.get(colour, colour)


_ID = "@id@"


def _number(value, one: str = "1") -> str:
    """A number with at most two decimals; `one` is what 1 becomes ("" where it is the default)."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return one if text == "1" else "0" if text == "-0" else text


def _style(**rules: str) -> str:
    text = ";".join(f"{name.replace('_', '-')}:{value}" for name, value in rules.items() if value)
    return f' style="{text}"' if text else ""


def _round(marker: Path) -> bool:
    return len(marker) == len(circle := Path.unit_circle()) and np.allclose(marker.vertices, circle.vertices)
