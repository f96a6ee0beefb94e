"""Run a chapter and store its outputs, `make run CHAPTER=03`, or compare them with what is stored, `make verify`.

A chapter is a pair: `NN_name.py` (the source) and `NN_name.ipynb` (the same cells with
stored outputs).  Stored outputs are made with real data: stand-ins are forbidden here.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from tqdm.auto import tqdm

from advlens.course import records

VIEW = "application/vnd.jupyter.widget-view+json"

# A picture in an output or in a widget, as it stands in JSON.  Two processors draw a chapter's
# pictures a few grey levels apart; a line or a number that moved is a hundred levels away.
PNG = re.compile(r"iVBORw0KGgo(?:[A-Za-z0-9+/=]|\\n)*")
LARGEST, MEAN = 8, 0.25  # of 255 grey levels: of one value of one pixel, of the whole picture

# A drawing, the same way: its numbers may move by a part of a pixel, its words may not change.  Its names of clips
# are made from its numbers.
SVG = re.compile(r"<svg\b.*?svg>", re.DOTALL)
TAG, NUMBER = re.compile(r"<[^<>]*>"), re.compile(r"-?(?:\d+\.?\d*|\.\d+)")
NAME = re.compile(r'(?:\bid=\\*"|\burl\(#)[\w-]+')
MOVED = 0.6  # pixels

# Runs after the last cell, in the chapter's own kernel.
SOURCES = """
import json as _json
from advlens.data import Dataset as _Dataset
print(_json.dumps(sorted({d.source for d in list(globals().values()) if isinstance(d, _Dataset)})))
"""


def cells(notebook) -> list[tuple]:
    """What both files of a pair must agree on."""
    return [(c.cell_type, c.source.rstrip(), tuple(c.metadata.get("tags", []))) for c in notebook.cells]


def out_of_step(folder: Path) -> list[str]:
    """The pairs in `folder` whose two files do not hold the same cells."""
    import jupytext

    wrong = []
    for source in sorted(folder.glob("*.py")):
        pair = source.with_suffix(".ipynb")
        if not pair.exists() or cells(jupytext.read(source)) != cells(jupytext.read(pair)):
            wrong.append(source.name)
    return wrong


def execute(source: Path, *, standin: str = "never", timeout: int = 900):
    """Execute the cells of `source` (a .py).  Returns (notebook, seconds, data sources).

    Raises nbclient's CellExecutionError with the traceback of the first failing cell.
    """
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    notebook.cells.append(nbformat.v4.new_code_cell(SOURCES))
    environment = {**os.environ, "ADVLENS_STANDIN": standin, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    code = [i for i, c in enumerate(notebook.cells) if c.cell_type == "code"]
    bar = tqdm(total=len(code), desc=source.stem, unit="cell")
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", coalesce_streams=True,
                            store_widget_state=False,
                            resources={"metadata": {"path": str(source.parent)}},
                            on_cell_executed=lambda **_: bar.update())
    began = time.monotonic()
    with bar:
        client.execute(env=environment)
    seconds = time.monotonic() - began
    found = json.loads(notebook.cells.pop().outputs[-1].text)
    return normalise(notebook), seconds, found


def normalise(notebook):
    """Cells numbered, no timings, no progress bars, no views of widgets: the same run gives the same bytes.

    A widget is stored as the HTML that it stands in; what has a view and no HTML is a progress bar.
    """
    notebook.metadata.pop("widgets", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _passing(output)]
            for output in cell.outputs:
                output.get("data", {}).pop(VIEW, None)
    return notebook


def _passing(output) -> bool:
    """Is it a bar or a warning, which the next run words differently?"""
    data = output.get("data", {})
    return VIEW in data and "text/html" not in data or output.get("name") == "stderr"


def run(source: Path) -> float:
    """Execute with real data, store the outputs in the .ipynb, record the run.  Returns the seconds."""
    notebook, seconds, found = execute(source)
    target = source.with_suffix(".ipynb")
    part = target.with_suffix(".part")
    nbformat.write(notebook, part)
    os.replace(part, target)
    measured = records.provenance(f"make run CHAPTER={source.stem.split('_')[0]}", source="; ".join(found), seed=None,
                                  seconds=seconds)
    records.write(f"run-{source.stem}", {"seconds": round(seconds, 1), "data": found, "cells": len(notebook.cells)},
                  measured)
    return seconds


def verify(source: Path) -> list[str]:
    """Execute with real data.  Returns in what the outputs differ from the stored ones."""
    return differences(nbformat.read(source.with_suffix(".ipynb"), 4), execute(source)[0])


def differences(stored, fresh) -> list[str]:
    """Where two runs differ: texts in anything, pictures by more than LARGEST or MEAN, drawings by more than MOVED."""
    if cells(stored) != cells(fresh):
        return ["the pair is out of step: make run"]
    return [f"cell {number}: {what}" for number, (old, new) in enumerate(zip(stored.cells, fresh.cells))
            for what in _compare(_seen(old), _seen(new))]


def _seen(cell) -> str:
    """The outputs as JSON, without the pictures that stand in where HTML cannot be shown."""
    outputs = json.loads(json.dumps(cell.get("outputs", [])))
    for output in outputs:
        if "text/html" in output.get("data", {}):
            output["data"].pop("image/png", None)
    return json.dumps(outputs, sort_keys=True)


def _compare(stored: str, fresh: str):
    """Yields in what two outputs, as JSON, differ."""
    old, new = (SVG.sub(lambda svg: _words(svg[0]), PNG.sub("(picture)", text)) for text in (stored, fresh))
    if old != new:
        start = max(len(os.path.commonprefix([old, new])) - 30, 0)
        yield f"stored {old[start:start + 90]!r}, now {new[start:start + 90]!r}"
        return
    for number, pair in enumerate(zip(PNG.findall(stored), PNG.findall(fresh))):
        largest, mean = _distance(*pair) if pair[0] != pair[1] else (0, 0)
        if not (largest <= LARGEST and mean <= MEAN):
            yield f"picture {number}: up to {largest:.0f} grey levels from the stored one, {mean:.2f} in the mean"
    for number, pair in enumerate(zip(SVG.findall(stored), SVG.findall(fresh))):
        moved = max((abs(a - b) for a, b in zip(*map(_numbers, pair))), default=0)
        if moved > MOVED:
            yield f"drawing {number}: something is {moved:.1f} pixels from where it was"


def _words(svg: str) -> str:
    """A drawing without its numbers and names; what stands between its tags stays."""
    return TAG.sub(lambda tag: NUMBER.sub("0", NAME.sub("(name)", tag[0])), svg)


def _numbers(svg: str) -> list[float]:
    tags = TAG.findall(PNG.sub("", svg))
    return [float(number) for tag in tags for number in NUMBER.findall(NAME.sub("", tag))]


def _distance(stored: str, fresh: str) -> tuple[float, float]:
    """The largest and the mean difference of two pictures in grey levels; infinite when their sizes differ."""
    import numpy as np
    from PIL import Image

    def pixels(text: str):
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.replace("\\n", "")))).convert("RGBA"),
                          dtype=float)

    old, new = pixels(stored), pixels(fresh)
    if old.shape != new.shape:
        return float("inf"), float("inf")
    return abs(old - new).max(), abs(old - new).mean()


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m advlens.course.chapters", description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path, metavar="chapters/NN_name.py")
    parser.add_argument("--verify", action="store_true", help="store nothing: compare with what is stored")
    options = parser.parse_args(arguments)
    wrong = []
    for source in options.sources:
        if not options.verify:
            print(f"{source}: {run(source):.0f} s")
            continue
        found = verify(source)
        print("\n".join(f"{source}: {line}" for line in found or ["the same"]))
        wrong += found
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
