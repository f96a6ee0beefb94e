"""Looks over the built site: python book/check_site.py _build/html

A build can be green and the pages empty.  This counts pages, figures, widgets and
alternative texts, and fails on what no reader should meet: a page of the table of
contents that is missing or empty, an error where a result should be, a figure or a
widget that was stored but is not shown, an image without a file or without a
description, a link to a page or file that is not there, and a page that the search
does not know.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[1]
ERRORS = re.compile(r"Traceback \(most recent call last\)|\w*Error: |CellExecutionError")
EMPTY = 300  # characters of text; the shortest real page has several times as many
VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET = re.compile(r'\bdata-lens="(\w+)"')  # names the script that moves it
FRAME = '<div class="lens-frame">'
NAME = re.compile(r'\saria-label="[^"]+"')
# Elements that never have an end tag.
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """What the checks need to know about one HTML file."""

    def __init__(self, file: Path):
        super().__init__()
        self.text, self.outputs = [], []          # inside the article; inside its cell outputs
        self.images, self.links = [], []
        self.widgets, self.scripts = [], []       # the names of the widgets' scripts; the addresses of the page's
        self.stored = []                          # what a widget keeps for later, as JSON
        self.count = Counter()
        self._open: list[tuple[str, str]] = []    # (tag, what it is)
        self.html = file.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        classes = (given.get("class") or "").split()
        what = ""
        if tag == "article" and "bd-article" in classes:
            what = "article"
        elif "cell_output" in classes:
            what = "output"
        elif tag == "script":
            what = "stored" if given.get("type") == "application/json" and self._inside("explore") else "script"
            self.scripts.append(given.get("src") or "")
        elif tag == "style":
            what = "script"
        elif given.get("data-lens"):
            what = "explore" if "lens-explore" in classes else ""
            self.widgets.append(given["data-lens"])
        elif "system-message" in classes or "problematic" in classes:
            self.count["messages"] += 1
        elif tag == "figure":
            self.count["figures"] += self._inside("article")
        elif tag == "img" and self._inside("article"):
            self.images.append({**given, "named": self._inside("named")})
        elif tag == "a" and given.get("href") and self._inside("article"):
            self.links.append(given["href"])
        elif (given.get("aria-label") or "").strip() and self._inside("article"):
            what = "named"
        if tag not in VOID:
            self._open.append((tag, what))

    def handle_endtag(self, tag):
        while self._open and any(tag == name for name, _ in self._open):
            if self._open.pop()[0] == tag:
                break

    def handle_data(self, text):
        if self._inside("stored"):
            self.stored.append(text)
        elif self._inside("article") and not self._inside("script"):
            self.text.append(text)
            if self._inside("output"):
                self.outputs.append(text)

    def _inside(self, what: str) -> bool:
        return any(name == what for _, name in self._open)


def contents(toc: Path) -> list[str]:
    """The pages of a table of contents, in order."""
    found = []

    def visit(entry):
        if isinstance(entry, dict):
            found.extend(str(entry[key]).removesuffix(".ipynb").removesuffix(".md") for key in ("root", "file")
                         if key in entry)
            for value in entry.values():
                visit(value)
        elif isinstance(entry, list):
            for value in entry:
                visit(value)

    visit(yaml.safe_load(toc.read_text()))
    return found


def check_page(site: Path, name: str, counts: Counter) -> list[str]:
    """What is wrong with one page; adds what it shows to `counts`."""
    file = site / f"{name}.html"
    if not file.is_file():
        return [f"{name}: in the table of contents, but not built"]
    page = Page(file)
    text = " ".join("".join(page.text).split())
    counts.update({"pages": 1, "figures": page.count["figures"], "images": len(page.images),
                   "widgets": len(page.widgets)})
    wrong = []
    if len(text) < EMPTY:
        wrong.append(f"empty page: {len(text)} characters of text")
    if page.count["messages"]:
        wrong.append(f"{page.count['messages']} messages of the builder stand in the text")
    if "student" not in name and (found := ERRORS.search("".join(page.outputs))):
        wrong.append(f"an error stands in an output: {found[0]!r}")
    wrong += check_notebook(site / "_sources" / f"{name}.ipynb", page)
    for image in page.images:
        wrong += check_image(file, image)
        counts["alternative texts"] += bool((image.get("alt") or "").strip())
    for link in page.links:
        wrong += check_link(file, link)
    wrong += check_widgets(file, page, counts)
    return [f"{name}: {message}" for message in wrong]


def check_notebook(source: Path, page: Page) -> list[str]:
    """Compare what a notebook has stored with what its page shows."""
    if not source.is_file() or source.parent.name == "student":  # a student's notebook has no outputs yet
        return []
    cells = [c for c in json.loads(source.read_text())["cells"] if c["cell_type"] == "code"]
    shown = [c for c in cells if not {"remove-cell", "remove-output"} & set(c["metadata"].get("tags", []))]
    outputs = [o for c in shown for o in c["outputs"]]
    figures = sum("figure" in c["metadata"].get("mystnb", {}) for c in shown)
    html = ["".join(o.get("data", {}).get("text/html", "")) for o in outputs]
    widgets = sum(len(WIDGET.findall(text)) for text in html)
    wrong = []
    if cells and not outputs:
        wrong.append(f"{len(cells)} code cells and not one output: run the notebook")
    if any(o["output_type"] == "error" for c in cells for o in c["outputs"]):
        wrong.append("a stored output is an error")
    if page.count["figures"] < figures:
        wrong.append(f"{figures} cells draw a figure, {page.count['figures']} figures are shown")
    if len(page.widgets) < widgets:
        wrong.append(f"{widgets} widgets are stored, {len(page.widgets)} are shown")
    if any(VIEW in o.get("data", {}) for o in outputs):
        wrong.append("a widget is stored with its view, which needs a kernel: `make run` leaves it out")
    return wrong


def check_widgets(file: Path, page: Page, counts: Counter) -> list[str]:
    """Each widget needs its script, and each of its frames says in words what it shows."""
    wrong = []
    for name in sorted(set(page.widgets)):
        sources = [source for source in page.scripts if source.partition("?")[0].endswith(f"/{name}.js")]
        if not sources or not (file.parent / sources[0].partition("?")[0]).is_file():
            wrong.append(f"a widget needs {name}.js, which the page does not load")
    # Those that stand in the page, each up to where its picture begins, and those that wait.
    frames = [after[:500] for after in page.html.split(FRAME)[1:]]
    frames += [frame for stored in page.stored for frame in json.loads(stored) if frame]
    counts["frames"] += len(frames)
    if blank := sum(not NAME.search(frame) for frame in frames):
        wrong.append(f"{blank} frames of widgets have no alternative text")
    return wrong


def check_image(file: Path, image: dict) -> list[str]:
    source, alt = image.get("src") or "", (image.get("alt") or "").strip()
    wrong = []
    if not source.startswith("data:") and not (file.parent / unquote(source)).is_file():
        wrong.append(f"image {source}: no such file")
    # Without a description the builder writes the name of the file.  What stands around it may speak for it.
    if not alt and image["named"]:
        return wrong
    if not alt or alt == source or alt.startswith("../_images"):
        wrong.append(f"image {source[:60]}: no alternative text")
    return wrong


def check_link(file: Path, link: str) -> list[str]:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return []
    target = file.parent / unquote(parts.path) if parts.path else file
    if not target.exists():
        return [f"link to {link}: no such file"]
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in places(target):
        return [f"link to {link}: no such place on the page"]
    return []


@lru_cache(maxsize=None)
def places(file: Path) -> set[str]:
    """The ids that a link can lead to."""
    return set(re.findall(r'\bid="([^"]+)"', file.read_text(encoding="utf-8")))


def check_search(site: Path, names: list[str]) -> list[str]:
    """The pages whose words the search does not know: what a build that was stopped leaves behind."""
    file = site / "searchindex.js"
    if not file.is_file():
        return ["searchindex.js is missing"]
    index = json.loads(file.read_text(encoding="utf-8").removeprefix("Search.setIndex(").removesuffix(")"))
    words = Counter(page for pages in index["terms"].values()
                    for page in (pages if isinstance(pages, list) else [pages]))
    known = {name: words[number] for number, name in enumerate(index["docnames"])}
    return [f"{name}: the search knows none of its words" for name in names if not known.get(name)]


def check(site: Path, toc: Path = ROOT / "_toc.yml") -> tuple[Counter, list[str]]:
    """Counts, and one line for each thing that is wrong."""
    counts, wrong = Counter(), []
    for name in contents(toc):
        wrong += check_page(site, name, counts)
    for name in ("index", "search", "genindex"):
        if not (site / f"{name}.html").is_file():
            wrong.append(f"{name}.html is missing")
    return counts, wrong + check_search(site, contents(toc))


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="the folder with the built site, say _build/html")
    parser.add_argument("--toc", type=Path, default=ROOT / "_toc.yml", help="the table of contents")
    given = parser.parse_args(arguments)
    counts, wrong = check(given.site, given.toc)
    print("Site:", ", ".join(f"{counts[what]} {what}"
                             for what in ("pages", "figures", "images", "alternative texts", "widgets", "frames")))
    for line in wrong:
        print("WRONG", line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
