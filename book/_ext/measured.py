"""Puts measured numbers on a page when the book is built, so that nobody types them.

    {record}`03-curves: lenet.fgsm.accuracy[3] | .1%`     a value of data/records/03-curves.json
    {record}`checkpoints/lenet-mnist: test accuracy | .2%`  a value of a checkpoint's card
    ```{chapter-status}```       one row per chapter: when it last ran, for how long, on which data
    ```{checkpoint-table}```     one row per trained network

A record, a key or a format that does not exist is a warning at its line, and the book is built
with warnings as errors.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective, SphinxRole

STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\]]+)\]")  # key, or [key] for keys with a full stop, or [3]


def look_up(data: Path, text: str) -> tuple[str, Path]:
    """The number that `NAME: PATH | FORMAT` asks for, as text, and the file it stands in.

    PATH leads into the record's "values": keys joined by full stops, `[3]` for the items of
    a list.  A path that starts with `provenance` leads there.  FORMAT is optional.
    Raises FileNotFoundError, KeyError or ValueError that names what is known.
    """
    place, _, form = (part.strip() for part in text.partition("|"))
    name, colon, path = (part.strip() for part in place.partition(":"))
    if not colon or not path:
        raise ValueError(f"{text!r}: write NAME: PATH | FORMAT")
    file = data / f"{name}.json" if "/" in name else data / "records" / f"{name}.json"
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in file.parent.glob("*.json"))) or "none"
        raise FileNotFoundError(f"no record {name!r}; known: {known}")
    value = json.loads(file.read_text())
    if "/" not in name and not path.startswith("provenance"):
        value = value["values"]
    for key, item in STEP.findall(path):
        value = _step(value, key or item, place)
    return format(value, form), file


def _step(value, key: str, place: str):
    if isinstance(value, list):
        try:
            return value[int(key)]
        except (ValueError, IndexError):
            raise KeyError(f"{place}: no item {key!r} in a list of {len(value)}") from None
    if isinstance(value, dict) and key in value:
        return value[key]
    known = ", ".join(map(repr, value)) if isinstance(value, dict) else f"nothing inside {value!r}"
    raise KeyError(f"{place}: no {key!r}; known: {known}")


class RecordRole(SphinxRole):
    def run(self):
        try:
            text, file = look_up(data_folder(self.env), self.text)
        except (OSError, LookupError, ValueError, TypeError) as wrong:
            message = wrong.args[0] if wrong.args else wrong
            return [], [self.inliner.reporter.warning(f"record: {message}", line=self.lineno)]
        self.env.note_dependency(str(file))
        return [nodes.inline(self.rawtext, text, classes=["measured"])], []


class Table(SphinxDirective):
    """A table made from JSON files: `head`, and `rows()` whose cells are nodes."""

    has_content = False
    head: list[str]

    def run(self):
        # A new file must show up: a folder counts as always changed.
        self.env.note_dependency(str(data_folder(self.env) / "records"))
        table = nodes.table(classes=["stack-on-phone"])
        group = nodes.tgroup(cols=len(self.head))
        table += group
        group += [nodes.colspec(colwidth=1) for _ in self.head]
        group += nodes.thead("", row(texts(*self.head)))
        group += nodes.tbody("", *[row(cells) for cells in self.rows()])
        return [table]


class ChapterStatus(Table):
    """One row per chapter of the table of contents, from data/records/run-NN_name.json."""

    head = ["Chapter", "Last run", "Seconds", "Cells", "Data", "Where"]

    def rows(self):
        folder = data_folder(self.env) / "records"
        for page in chapters(self.env):
            file = folder / f"run-{Path(page).name}.json"
            if not file.is_file():
                yield [page_link(page, self.env.docname), *texts("not run", "", "", "", "")]
                continue
            run = json.loads(file.read_text())
            values, made = run["values"], run["provenance"]
            versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
            yield [page_link(page, self.env.docname),
                   *texts(f"{made['date']}, commit {made['commit']}", f"{values['seconds']:.0f}",
                                           values["cells"], "; ".join(values["data"]), f"{made['device']}; {versions}")]


class CheckpointTable(Table):
    """One row per card in data/checkpoints; `:data:` names the data sets that are wanted."""

    head = ["Network", "Trained on", "Numbers", "Test accuracy (95 % interval)", "Training accuracy", "Training"]
    option_spec = {"data": str.split}

    def rows(self):
        cards = [json.loads(p.read_text()) for p in sorted((data_folder(self.env) / "checkpoints").glob("*.json"))]
        for card in cards:
            if card["data"] not in self.options["data"]:
                continue
            low, high = card["test accuracy 95 %"]
            made = card["provenance"]
            yield [nodes.literal("", card["network"]), *texts(
                card["data"], f"{numbers(self.env, card):,}",
                f"{card['test accuracy']:.2%} ({low:.2%} to {high:.2%})", f"{card['train accuracy']:.2%}",
                f"{card['epochs']} epochs, {made['seconds']:,.0f} s on {made['device']}, seed {made['seed']}")]


def numbers(env, card: dict) -> int:
    """How many numbers a checkpoint stores, read from the head of its safetensors file."""
    path = data_folder(env) / "checkpoints" / f"{card['network']}-{card['data']}.safetensors"
    with path.open("rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    total = 0
    for key, tensor in head.items():
        if key != "__metadata__" and not key.endswith("num_batches_tracked"):
            size = 1
            for side in tensor["shape"]:
                size *= side
            total += size
    return total


def data_folder(env) -> Path:
    return Path(env.srcdir) / "data"


def chapters(env) -> list[str]:
    """The chapters in the order of the table of contents."""
    return [page for page in env.app.config.external_site_map if page.startswith("chapters/")]


def page_link(page: str, on: str) -> nodes.Node:
    """A link, standing on the page `on`, that shows the title of `page`."""
    inner = nodes.inline("", page, classes=["std", "std-doc"])
    return addnodes.pending_xref("", inner, reftype="doc", refdomain="std", refexplicit=False,
                                 reftarget=f"/{page}", refdoc=on, refwarn=True)


def texts(*words) -> list[nodes.Text]:
    return [nodes.Text(str(word)) for word in words]


def row(cells) -> nodes.row:
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells])


def setup(app):
    app.add_role("record", RecordRole())
    app.add_directive("chapter-status", ChapterStatus)
    app.add_directive("checkpoint-table", CheckpointTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
