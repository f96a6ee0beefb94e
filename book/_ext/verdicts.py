"""Collects the verdict boxes of all chapters in one place: the directive `{verdicts}`.

The boxes (records.verdict) lie in the stored outputs of the notebooks, so this page can
neither forget a claim nor give another number than the chapter does.  Each box gets an
id in its chapter, and its row a link there.
"""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from docutils import nodes
from measured import chapters, row
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

BOX = '<div class="advlens-verdict"'
MEANING = {
    "confirmed": "measured again, and agrees", "not confirmed": "measured, and not found",
    "differs": "the direction agrees, the size does not",
    "corrected": "a formula, a count or a word was wrong", "open": "not decided here",
}


class Verdict(NamedTuple):
    page: str
    id: str
    verdict: str
    claim: str
    source: str
    reported: str
    measured: str
    why: str


class Texts(HTMLParser):
    """The texts of a box in their order: badge, claim, source, then the three answers."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self._inside = tag in ("span", "strong", "dd")
        if self._inside:
            self.found.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, text):
        if self._inside:
            self.found[-1] += text


def read(notebook: Path, page: str) -> list[Verdict]:
    """The boxes of one chapter, from its stored outputs."""
    found = []
    for cell in json.loads(notebook.read_text())["cells"]:
        for output in cell.get("outputs", []):
            html = "".join(output.get("data", {}).get("text/html", ""))
            if html.startswith(BOX):
                badge, claim, source, reported, measured, why = Texts(html).found
                found.append(Verdict(page, f"verdict-{len(found) + 1}", badge, claim, source.strip("()"), reported,
                                     measured, why))
    return found


class Verdicts(SphinxDirective):
    """One section per source, one row per claim."""

    has_content = False

    def run(self):
        found = []
        for page in chapters(self.env):
            notebook = Path(self.env.srcdir) / f"{page}.ipynb"
            if notebook.is_file():
                self.env.note_dependency(str(notebook))
                found += read(notebook, page)
        if not found:
            return [nodes.paragraph("", "No chapter has been run yet.")]
        by_source = {source: [v for v in found if v.source == source] for source in sorted({v.source for v in found})}
        return [summary(found)] + [self.section(source, rows) for source, rows in by_source.items()]

    def section(self, source: str, rows: list[Verdict]) -> nodes.section:
        section = nodes.section("", nodes.title("", source), ids=[nodes.make_id(f"source {source}")])
        table = nodes.table(classes=["stack-on-phone", "verdicts"])
        group = nodes.tgroup(cols=4)
        group += [nodes.colspec(colwidth=width) for width in (30, 27, 33, 10)]
        group += nodes.thead("", row([nodes.Text(head) for head in ("Claim", "Reported", "Measured", "Verdict")]))
        body = nodes.tbody()
        for v in rows:
            address = relative_uri(f"{self.env.docname}.html", f"{v.page}.html")
            link = nodes.reference("", f"chapter {Path(v.page).name[:2]}", refuri=f"{address}#{v.id}", internal=True)
            claim = nodes.inline("", "", nodes.Text(v.claim + " ("), link, nodes.Text(")"))
            badge = nodes.inline("", v.verdict, classes=["badge-" + v.verdict.replace(" ", "-")])
            body += row([claim, nodes.Text(v.reported), nodes.Text(v.measured), badge])
        group += body
        table += group
        section += table
        return section


def summary(found: list[Verdict]) -> nodes.Node:
    """How many of each verdict."""
    counts = Counter(v.verdict for v in found)
    listed = nodes.bullet_list()
    for verdict, meaning in MEANING.items():
        if counts[verdict]:
            text = nodes.Text(f": {counts[verdict]} of {len(found)} claims ({meaning})")
            listed += nodes.list_item("", nodes.paragraph("", "", nodes.strong("", verdict), text))
    return listed


def name_boxes(app, doctree):
    """Give each box of a chapter the id that its row links to."""
    number = 0
    for raw in doctree.findall(nodes.raw):
        if raw.get("format") == "html" and raw.astext().startswith(BOX):
            number += 1
            raw.children = [nodes.Text(raw.astext().replace("<div", f'<div id="verdict-{number}"', 1))]
            raw.rawsource = raw.astext()


def setup(app):
    app.add_directive("verdicts", Verdicts)
    app.connect("doctree-read", name_boxes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
