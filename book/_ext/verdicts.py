"""Collects the claims of all chapters in one place: the directive `{verdicts}`.

The claims (records.verdict, records.claims) lie in the stored outputs of the notebooks, so this
page can neither forget one nor give another number than the chapter does.  Each gets an id in
its chapter, and its row here a link there.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from html import unescape
from itertools import count
from pathlib import Path
from typing import NamedTuple

from docutils import nodes
from measured import chapters, row
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

TOLD = re.compile(r'data-claim="([^"]*)"')
MEANING = {
    "confirmed": "the same experiment, to our best effort, and it agrees",
    "differs": "the same experiment: the direction agrees, the size does not",
    "not confirmed": "the same experiment, and it was not found",
    "not tested here": "no experiment of the same kind was run; the chapter says what would test it",
}


class Claim(NamedTuple):
    page: str
    id: str
    claim: str
    source: str
    where: str
    reported: str
    measured: str
    verdict: str


def read(notebook: Path, page: str) -> list[Claim]:
    """The claims of one chapter, from its stored outputs."""
    found = []
    for cell in json.loads(notebook.read_text())["cells"]:
        for output in cell.get("outputs", []):
            for told in TOLD.findall("".join(output.get("data", {}).get("text/html", ""))):
                found.append(Claim(page, f"claim-{len(found) + 1}", **json.loads(unescape(told))))
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

    def section(self, source: str, rows: list[Claim]) -> nodes.section:
        section = nodes.section("", nodes.title("", source), ids=[nodes.make_id(f"source {source}")])
        table = nodes.table(classes=["stack-on-phone", "verdicts"])
        group = nodes.tgroup(cols=5)
        group += [nodes.colspec(colwidth=width) for width in (27, 13, 23, 27, 10)]
        group += nodes.thead("", row([nodes.Text(head) for head in
                                      ("Claim", "Where", "Reported", "Measured", "Verdict")]))
        body = nodes.tbody()
        for c in rows:
            address = relative_uri(f"{self.env.docname}.html", f"{c.page}.html")
            link = nodes.reference("", f"chapter {Path(c.page).name[:2]}", refuri=f"{address}#{c.id}", internal=True)
            claim = nodes.inline("", "", nodes.Text(c.claim + " ("), link, nodes.Text(")"))
            badge = nodes.inline("", c.verdict, classes=["badge-" + c.verdict.replace(" ", "-")])
            body += row([claim, nodes.Text(c.where), nodes.Text(c.reported), nodes.Text(c.measured), badge])
        group += body
        table += group
        section += table
        return section


def summary(found: list[Claim]) -> nodes.Node:
    """How many of each verdict."""
    counts = Counter(v.verdict for v in found)
    listed = nodes.bullet_list()
    for verdict, meaning in MEANING.items():
        if counts[verdict]:
            text = nodes.Text(f": {counts[verdict]} of {len(found)} claims ({meaning})")
            listed += nodes.list_item("", nodes.paragraph("", "", nodes.strong("", verdict), text))
    return listed


def name_claims(app, doctree):
    """Give each claim of a chapter the id that its row links to."""
    number = count(1)
    for raw in doctree.findall(nodes.raw):
        if raw.get("format") == "html" and TOLD.search(raw.astext()):
            named = TOLD.sub(lambda told: f'id="claim-{next(number)}" {told[0]}', raw.astext())
            raw.children = [nodes.Text(named)]
            raw.rawsource = raw.astext()


def setup(app):
    app.add_directive("verdicts", Verdicts)
    app.connect("doctree-read", name_claims)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
