"""A submitted notebook made ready for nbgrader: its graded cells are the release's, once each."""

from __future__ import annotations

import nbformat

from advlens.course.grading.release import grade_id


def mend(notebook, release) -> tuple:
    """The notebook with one cell for each grade_id of the release, and notes on what was changed.

    Jupyter copies a cell together with its metadata, and splits it into two of one name.  Tests
    are put back as the release has them, where the last of their name stood; parts of an answer in
    words are joined; other doubles stay as plain cells.
    """
    known = {grade_id(c): c for c in release.cells if grade_id(c)}
    names = [grade_id(c) if grade_id(c) in known else None for c in notebook.cells]
    cells, notes = [], []
    for i, (cell, name) in enumerate(zip(notebook.cells, names)):
        mark = known[name].metadata if name else {}
        if name and name in names[i + 1:]:  # the last one counts
            if known[name].cell_type != "code":
                continue
            mark = {}
        elif name:
            doubles = [c for c, n in zip(notebook.cells, names) if n == name]
            if len(doubles) > 1:
                notes.append(f"cell {name} was there {len(doubles)} times, perhaps copied or split")
            if known[name].metadata.nbgrader.locked:
                if "".join(cell.source.split()) != "".join(known[name].source.split()):
                    notes.append(f"cell {name} was changed and was put back")
                cell = known[name]
            elif known[name].cell_type != "code":
                cell.source = "\n\n".join(dict.fromkeys(c.source for c in doubles))
        cells.append(_cell(known[name].cell_type if mark else cell.cell_type, cell.source, mark))
    notes += _put_back(cells, known)
    fresh = nbformat.v4.new_notebook(cells=cells, metadata=release.metadata)
    return fresh, notes


def _cell(kind: str, source: str, metadata):
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    return make.get(kind, nbformat.v4.new_raw_cell)(source, metadata=nbformat.from_dict(dict(metadata)))


def _put_back(cells: list, known: dict) -> list[str]:
    """Put cells that give points back where they were deleted.  Returns notes."""
    notes, last = [], len(cells) - 1
    for name, cell in known.items():
        at = next((i for i, c in enumerate(cells) if grade_id(c) == name), None)
        if at is not None:
            last = at
        elif cell.metadata.nbgrader.grade:  # a deleted solution has no substitute, a deleted test has
            last += 1
            cells.insert(last, _cell(cell.cell_type, cell.source, cell.metadata))
            notes.append(f"cell {name} was missing and was put back")
    return notes
