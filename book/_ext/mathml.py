"""Formulas become MathML when the book is built: no script sets them, and they stand there without any.

`math_core` writes the MathML.  The browser draws it with STIX Two Math, of which the glyphs that the book uses
are kept in the font that every page with a formula loads.
"""

import html
import re
from pathlib import Path

from docutils import nodes
from fonts import save_cut
from fontTools.ttLib import TTFont
from math_core import LatexError, LatexToMathML
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

LOG = logging.getLogger(__name__)
FONT = Path(__file__).parents[1] / "_static" / "vendor" / "stix" / "stix-two-math.woff"
NAME = "stix-two-math.woff"
# An identifier of one letter is drawn in mathematical italics, which have code points of their own.
ITALICS = {*range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C)} - {0x1D455} | {0x210E}  # h is Planck's constant
# Function application, times, separator, plus; and the selector of another form of the letter before it.
INVISIBLE = {0x2061, 0x2062, 0x2063, 0x2064, 0xFE00}
RADICAL = 0x221A  # drawn by an element and not written in it
FORMULA = re.compile(r"<math\b.*?</math>", re.S)


def convert(self, node, displaystyle: bool) -> str:
    try:
        converter = LatexToMathML(macros=self.builder.config.mathml_macros)
        return converter.convert_with_local_state(node.astext(), displaystyle=displaystyle)
    except LatexError as wrong:
        LOG.warning("a formula cannot be set: %s\n%s", node.astext(), wrong, location=node)
        return f"<code>{html.escape(node.astext())}</code>"


def inline(self, node):
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(convert(self, node, False) + "</span>")
    raise nodes.SkipNode


def display(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(convert(self, node, True) + "</div>")
    raise nodes.SkipNode


def keep_together(app, doctree, docname):
    """A comma after a formula does not begin the next line, nor does a bracket before it end this one."""
    for formula in list(doctree.findall(nodes.math)):
        parent, at = formula.parent, formula.parent.index(formula)
        before, after = (parent[i] if 0 <= i < len(parent) else None for i in (at - 1, at + 1))
        start = re.search(r"\S*\Z", before)[0] if isinstance(before, nodes.Text) else ""
        end = re.match(r"\S*", after)[0] if isinstance(after, nodes.Text) else ""
        if start or end:
            new = nodes.inline("", "", nodes.Text(start), formula.deepcopy(), nodes.Text(end),
                               classes=["lens-together"])
            if start:
                parent.replace(before, nodes.Text(before[:len(before) - len(start)]))
            if end:
                parent.replace(after, nodes.Text(after[len(end):]))
            parent.replace(formula, new)


def characters(pages: list[str]) -> set[int]:
    """The code points that the formulas of some pages are drawn with."""
    formulas = "".join(formula for page in pages for formula in FORMULA.findall(page))
    radical = {RADICAL} if re.search(r"<m(sqrt|root)\b", formulas) else set()
    return set(map(ord, html.unescape(re.sub(r"<[^>]*>", "", formulas)))) | ITALICS | radical


def cut_font(app, exception):
    """Write the font with the glyphs that the formulas of the book need, and complain of those it lacks."""
    if exception or app.builder.format != "html":
        return
    pages = [file.read_text(encoding="utf-8") for file in Path(app.outdir).rglob("*.html")]
    wanted, font = characters(pages), TTFont(FONT)
    lacking = {code for code in wanted - font.getBestCmap().keys() if not chr(code).isspace() and code not in INVISIBLE}
    if lacking:
        raise ExtensionError(f"{FONT.name} cannot draw {', '.join(map(hex, sorted(lacking)))}")
    save_cut(font, wanted, str(Path(app.outdir) / "_static" / NAME))


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    app.add_config_value("mathml_macros", {}, "env")
    app.connect("doctree-resolved", keep_together)
    app.connect("build-finished", cut_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
