"""Masters and student release.

A master `exercises/NN_name.py` holds tasks, solutions and hidden tests; what students get is
made from it with nbgrader, in a throw-away course folder.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from tqdm.auto import tqdm

STUDENT = "student"  # one course folder holds one submission; the real name never becomes a path in it


def masters(exercises_folder: Path) -> dict[str, Path]:
    """Assignment name -> master.  Raises ValueError when the folder holds none."""
    found = {path.stem: path for path in sorted(Path(exercises_folder).glob("[0-9][0-9]_*.py"))}
    if not found:
        raise ValueError(f"{exercises_folder} holds no masters (NN_name.py)")
    return found


def make_students(exercises_folder: Path, out_folder: Path) -> list[Path]:
    """Write the student release of every master, `out_folder/NN_name.ipynb`: no solutions, no hidden tests.

    The same masters give the same bytes.  Returns the paths.
    """
    out_folder = Path(out_folder)
    out_folder.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory() as course:
        for name, master in tqdm(masters(exercises_folder).items(), desc="student release", unit="sheet"):
            released = make_release(Path(course), master)
            part = out_folder / f"{name}.part"
            nbformat.write(released, part)
            written.append(Path(shutil.move(part, out_folder / f"{name}.ipynb")))
    return written


def read_master(path: Path):
    """The master as a notebook: fixed cell ids, pictures of the expected output inside it."""
    import jupytext

    notebook = jupytext.read(path)
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
        for key in ("lines_to_next_cell", "expected"):
            cell.metadata.pop(key, None)
        cell.source = re.sub(r"\]\((expected/[\w.-]+\.png)\)", lambda link: f"]({_embedded(path.parent / link[1])})",
                             cell.source)
    return notebook


def _embedded(picture: Path) -> str:
    """A PNG as a data URI.  Colab shows neither attachments nor relative files."""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def make_release(course: Path, master: Path):
    """Let nbgrader make the student's notebook in the folder `course`, which then knows the assignment."""
    source = course / "source" / master.stem / f"{master.stem}.ipynb"
    source.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(read_master(master), source)
    done = nbgrader(course).generate_assignment(master.stem)
    if not done["success"]:
        raise ValueError(f"nbgrader cannot make {master.stem}: {last_line(done.get('error') or done.get('log', ''))}")
    return nbformat.read(course / "release" / master.stem / f"{master.stem}.ipynb", 4)


def nbgrader(course: Path, **options):
    """nbgrader's API on the course folder `course`.  options: section -> {trait: value}."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    scripts = str(Path(sys.executable).parent)
    if scripts not in os.environ["PATH"].split(os.pathsep):  # nbgrader starts `alembic` by its name
        os.environ["PATH"] = scripts + os.pathsep + os.environ["PATH"]
    config = Config({section: Config(values) for section, values in options.items()})
    config.CourseDirectory.root = config.Exchange.root = str(course)
    config.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError"}
    config.ClearSolutions.text_stub = "*Write your answer here.*"
    return NbGraderAPI(config=config)


def last_line(text: str) -> str:
    """The last line of a message, at most 300 characters."""
    return (text.strip().splitlines() or ["no message"])[-1][:300]


# --- what a release says about points ------------------------------------------------

def grade_id(cell) -> str | None:
    """nbgrader's name of a cell, or None."""
    mark = cell.metadata.get("nbgrader")
    name = mark.get("grade_id") if isinstance(mark, dict) else None
    return name if isinstance(name, str) else None


def grade_cells(notebook) -> dict:
    """grade_id -> cell, of all cells that give points."""
    return {grade_id(c): c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")}


def exercise(name: str) -> str:
    """code-check and code-hidden belong to the exercise "code"."""
    return name.split("-")[0]


def points(notebook) -> dict[str, float]:
    """Exercise -> points."""
    found: dict[str, float] = {}
    for name, cell in grade_cells(notebook).items():
        found[exercise(name)] = found.get(exercise(name), 0) + cell.metadata.nbgrader.points
    return found


def machine_graded(notebook) -> set[str]:
    """The exercises whose points tests give."""
    return {exercise(name) for name, cell in grade_cells(notebook).items() if not cell.metadata.nbgrader.solution}
