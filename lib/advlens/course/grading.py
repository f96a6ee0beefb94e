"""Assignments: the student release and the grading, both by nbgrader in throw-away course folders.

A master `exercises/NN_name.py` holds tasks, solutions and hidden tests.  `make_students`
makes from it what students get; `grade` runs what they hand in.

Each submission runs in a process of its own with limits on time, memory, output and file
size, and whatever it leaves behind is ended.  That keeps accidents apart.  It is no wall
against malice: a submission can read what the grader can read.  Grade strangers in a
container without network (see the instructors' page).
"""

from __future__ import annotations

import base64
import csv
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nbformat
from tqdm.auto import tqdm

STUDENT = "student"  # one course folder holds one submission; the real name never becomes a path in it
MARK = "ADVLENS_GRADING"  # in the environment of every process that a submission starts
LARGEST = 20_000_000  # bytes of a submitted notebook
LONGEST = 100_000  # characters of output that a cell may keep
CUT = "... Output truncated ..."  # nbgrader's own words where it shortens many lines
SET_UP = 120  # seconds for starting a kernel, and for the set-up cell: importing torch is slow on a busy machine
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")


class Result(NamedTuple):
    """One row of scores.csv.  scores: exercise -> points, or None where a person must mark."""

    student: str
    scores: dict[str, float | None]
    total: float
    max: float
    message: str


class Ungraded(Exception):
    """A submission that cannot be graded; the message says why."""


# --- masters and student release ---------------------------------------------------

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
            released = _release(Path(course), master)
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


def _release(course: Path, master: Path):
    """Let nbgrader make the student's notebook in the folder `course`, which then knows the assignment."""
    source = course / "source" / master.stem / f"{master.stem}.ipynb"
    source.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(read_master(master), source)
    done = _nbgrader(course).generate_assignment(master.stem)
    if not done["success"]:
        raise ValueError(f"nbgrader cannot make {master.stem}: {_last_line(done.get('error') or done.get('log', ''))}")
    return nbformat.read(course / "release" / master.stem / f"{master.stem}.ipynb", 4)


def _nbgrader(course: Path, **options):
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


# --- grading -------------------------------------------------------------------------

def grade(assignment: str, submissions_folder: Path, out_folder: Path, *, exercises_folder: Path = Path("exercises"),
          cell_seconds: int = 60, submission_seconds: int = 600, gigabytes: float = 8, jobs: int = 2) -> list[Result]:
    """Grade every submission, NAME.ipynb or NAME/anything.ipynb, and write `scores.csv` and `feedback/NAME.html`.

    total and max count what was graded by machine; a thought stays empty until a person
    marks it.  An older scores.csv is kept as scores.previous.csv, and nothing in
    `out_folder` changes before every submission is graded.
    Raises ValueError for an unknown assignment, or a folder without submissions.
    """
    known = masters(exercises_folder)
    if assignment not in known:
        raise ValueError(f"unknown assignment {assignment!r}; known: {', '.join(known)}")
    entries = _submissions(Path(submissions_folder))
    out_folder = Path(out_folder).resolve()
    if out_folder.is_relative_to(Path(submissions_folder).resolve()):
        raise ValueError(f"{out_folder} lies inside the folder of submissions: name another folder for the results")
    out_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        base = Path(scratch) / "base"
        release = _release(base, known[assignment])
        _warm_up(base)
        limits = {"cell_seconds": cell_seconds, "gigabytes": gigabytes}

        def one(item: tuple[str, Path]) -> tuple[Result, str]:
            course = Path(scratch) / uuid.uuid4().hex
            shutil.copytree(base, course)
            return _grade_one(*item, assignment, release, course, limits, submission_seconds)

        with ThreadPoolExecutor(jobs) as pool:
            graded = list(tqdm(pool.map(one, entries.items()), total=len(entries), desc=assignment, unit="submission"))
    _store(graded, out_folder)
    return [result for result, _ in graded]


def _submissions(folder: Path) -> dict[str, Path]:
    """Student -> file or folder."""
    entries = [e for e in sorted(folder.iterdir()) if not e.name.startswith(".")] if folder.is_dir() else []
    if not entries:
        raise ValueError(f"{folder} holds no submissions: put NAME.ipynb or NAME/anything.ipynb there")
    stems = [entry.stem if entry.is_file() else entry.name for entry in entries]
    return {stem if stems.count(stem) == 1 else entry.name: entry for stem, entry in zip(stems, entries)}


def _grade_one(student: str, entry: Path, assignment: str, release, course: Path, limits: dict,
               seconds: int) -> tuple[Result, str]:
    """The result and the feedback page (HTML) of one submission.  Never raises: what goes wrong becomes the message."""
    points, machine = _points(release), _machine_graded(release)
    largest = sum(points[name] for name in machine)
    try:
        notebook, missing = _complete(_read(entry, assignment), release)
        submitted = course / "submitted" / STUDENT / assignment / f"{assignment}.ipynb"
        submitted.parent.mkdir(parents=True)
        nbformat.write(notebook, submitted)
        scores, notes = _run_worker(course, assignment, limits, seconds)
        page = (course / "feedback" / STUDENT / assignment / f"{assignment}.html").read_text()
        # nbgrader's MathJax comes from a CDN: marks are nobody else's business
        page = re.sub(r'<script src="https?://[^>]*>', "<script>", page)
        total = sum(scores[name] for name in machine)
    except Ungraded as reason:
        message = str(reason)
    except Exception as error:  # one odd submission must not stop the others
        message = f"the grading failed ({type(error).__name__}: {_last_line(str(error))})"
    else:
        notes = [f"cell {name} was missing and was put back" for name in missing] + notes
        notes += [f"{name}: to be marked by hand ({points[name]:g} points)" for name,
                  value in scores.items() if value is None]
        return Result(student, scores, total, largest, "; ".join(notes)), page
    return Result(student, dict.fromkeys(points, 0.0), 0.0, largest, message), _page(student, message)


def _page(student: str, message: str) -> str:
    """A feedback page where nbgrader made none."""
    return ("<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>Feedback</title><body "
            "style=\"font-family: sans-serif; margin: 3em\">"
            f"<h1>{html.escape(student)}</h1><p>This submission could not be graded: {html.escape(message)}.</p>")


def _grade_cells(notebook) -> dict:
    """grade_id -> cell, of all cells that give points."""
    return {c.metadata.nbgrader.grade_id: c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")}


def _exercise(grade_id: str) -> str:
    return grade_id.split("-")[0]  # code-check and code-hidden belong to the exercise "code"


def _points(release) -> dict[str, float]:
    """Exercise -> points."""
    points: dict[str, float] = {}
    for grade_id, cell in _grade_cells(release).items():
        points[_exercise(grade_id)] = points.get(_exercise(grade_id), 0) + cell.metadata.nbgrader.points
    return points


def _machine_graded(release) -> set[str]:
    return {_exercise(grade_id) for grade_id,
            cell in _grade_cells(release).items() if not cell.metadata.nbgrader.solution}


def _read(entry: Path, assignment: str):
    """The submitted notebook."""
    path = entry
    if entry.is_dir():
        found = sorted(entry.glob("*.ipynb"))
        named = [p for p in found if p.stem == assignment]
        if not found:
            raise Ungraded("there is no notebook (.ipynb) in the folder")
        if len(found) > 1 and not named:
            raise Ungraded(f"there are {len(found)} notebooks in the folder, and none is called {assignment}.ipynb")
        path = (named or found)[0]
    if not path.is_file():
        raise Ungraded(f"{path.name} is not a file")
    if path.stat().st_size > LARGEST:
        raise Ungraded(f"{path.name} has {path.stat().st_size / 1e6:.0f} MB, at most {LARGEST / 1e6:.0f} are read: "
                       "clear its outputs and hand it in again")
    content = path.read_bytes()
    if not content.strip():
        raise Ungraded(f"{path.name} is empty")
    try:
        notebook = nbformat.reads(content.decode("utf-8"), 4)
        nbformat.validate(notebook, relax_add_props=True)
    except Exception as broken:  # not text, not JSON, no notebook: nbformat has many ways to say it
        raise Ungraded(f"{path.name} is not a notebook ({type(broken).__name__}): save it from Jupyter or Colab "
                       "as .ipynb") from broken
    return notebook


def _complete(notebook, release) -> tuple:
    """Put cells that give points back where they were deleted.  Returns the notebook and the names of those cells."""
    for cell in notebook.cells:
        cell.pop("attachments", None)
    at = {c.metadata.get("nbgrader", {}).get("grade_id"): c for c in notebook.cells}
    missing, last = [], None
    for cell in release.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if name is None:
            continue
        if name in at:
            last = at[name]
        elif cell.metadata.nbgrader.grade:  # a deleted solution has no substitute, a deleted test has
            where = next((i + 1 for i, c in enumerate(notebook.cells) if c is last), len(notebook.cells))
            notebook.cells.insert(where, cell := nbformat.from_dict(cell))
            missing.append(name)
            last = cell
    return notebook, missing


def _store(graded: list[tuple[Result, str]], out_folder: Path) -> None:
    """Write results beside the old ones, then exchange them."""
    exercises = list(graded[0][0].scores)
    fresh = Path(tempfile.mkdtemp(prefix=".grading-", dir=out_folder))
    try:
        (fresh / "feedback").mkdir()
        for result, page in graded:
            (fresh / "feedback" / f"{result.student}.html").write_text(page)
        with open(fresh / "scores.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["student", *exercises, "total", "max", "message"])
            for r, _ in graded:
                marks = ["" if r.scores[e] is None else f"{r.scores[e]:g}" for e in exercises]
                table.writerow([r.student, *marks, f"{r.total:g}", f"{r.max:g}", r.message])
        _exchange(fresh / "feedback", out_folder / "feedback", fresh / "feedback.old")
        # it may hold marks given by hand
        _exchange(fresh / "scores.csv", out_folder / "scores.csv", out_folder / "scores.previous.csv")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _exchange(new: Path, place: Path, old: Path) -> None:
    """Move `new` to `place`, and what was there to `old`."""
    if place.exists():
        os.replace(place, old)
    try:
        os.replace(new, place)
    except OSError:
        if old.exists():
            os.replace(old, place)
        raise


# --- one submission in its own process ---------------------------------------------------

def _run_worker(course: Path, assignment: str, limits: dict, seconds: int) -> tuple[dict, list[str]]:
    """Run nbgrader on the course folder in a new session; end everything it started; read the scores and notes it
    found.
    """
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "advlens.course.grading", str(course), assignment, json.dumps(limits)]
    with open(course / "log.txt", "wb") as log:
        worker = subprocess.Popen(command, cwd=course, env=_environment(course, mark), stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log, start_new_session=True)
        try:
            worker.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Ungraded(f"it ran longer than {seconds} s and was stopped") from None
        finally:
            _end(worker, mark)
    if not (course / "found.json").exists():
        raise Ungraded(f"the grading process ended with code {worker.returncode} (more memory than allowed?)")
    found = json.loads((course / "found.json").read_text())
    if "failed" in found:
        raise Ungraded(found["failed"])
    return found["scores"], found["notes"]


def _environment(course: Path, mark: str) -> dict[str, str]:
    """Little of our own environment: no tokens, no home folder, no real data."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "HOME": str(course), "TMPDIR": str(course), "MPLCONFIGDIR": str(course / "matplotlib"),
        "CUDA_VISIBLE_DEVICES": "",
        "ADVLENS_STANDIN": "always", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", MARK: mark}


def _warm_up(course: Path) -> None:
    """Let matplotlib list the fonts once, not once for each submission."""
    (course / "matplotlib").mkdir()
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=_environment(course, "warm-up"),
                   capture_output=True)


def _end(worker: subprocess.Popen, mark: str) -> None:
    """Kill the worker's process group, and every process that carries its mark (a kernel has a session of its own)."""
    import psutil

    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    worker.wait()
    left = True
    while left:  # a process may start another one while we look
        left = [p for p in psutil.process_iter() if _carries(p, mark)]
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(left, timeout=5)


def _carries(process, mark: str) -> bool:
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def _worker(course: Path, assignment: str, limits: dict) -> None:
    """Runs in the new process: autograde, feedback, and `found.json`."""
    _limit_resources(limits["gigabytes"])
    from nbgrader.converters import Autograde

    steps = [_execute_class() if step.__name__ == "Execute" else step
             for step in Autograde.autograde_preprocessors.default()]
    waiting = {"timeout": limits["cell_seconds"], "startup_timeout": SET_UP, "iopub_timeout": SET_UP}
    api = _nbgrader(course, Execute=waiting, Autograde={"autograde_preprocessors": steps})
    done = api.autograde(assignment, STUDENT)
    if done["success"]:
        done = api.generate_feedback(assignment, STUDENT)
    found = _found(course, assignment, limits) if done["success"] else {"failed": _why(done)}
    (course / "found.json").write_text(json.dumps(found))


def _limit_resources(gigabytes: float) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    size = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200 * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _execute_class():
    """nbgrader's Execute, which drops the output of a cell beyond LONGEST characters while it arrives."""
    from nbgrader.preprocessors import Execute

    class BoundedExecute(Execute):
        def _get_timeout(self, cell):
            set_up = next(c for c in self.nb.cells if c.cell_type == "code")
            return max(SET_UP, self.timeout) if cell is set_up else self.timeout

        def output(self, outs, msg, display_id, cell_index):
            content = msg["content"]
            size = len(str(content))
            if "image/png" in content.get("data", {}):
                size //= 10  # a picture may be larger than text
            lengths = self.__dict__.setdefault("lengths", {})
            before = lengths.get(cell_index, 0)
            lengths[cell_index] = before + size
            if before + size <= LONGEST or msg["msg_type"] == "error":
                return super().output(outs, msg, display_id, cell_index)
            if before <= LONGEST:
                outs.append(nbformat.v4.new_output("stream", name="stderr", text=CUT))
            return None

    return BoundedExecute


def _found(course: Path, assignment: str, limits: dict) -> dict:
    """Scores from nbgrader's gradebook; notes from the executed notebook."""
    from nbgrader.api import Gradebook

    scores: dict[str, float | None] = {}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for g in book.find_submission_notebook(assignment, assignment, STUDENT).grades:
            name = _exercise(g.name)
            by_hand = g.needs_manual_grade and g.auto_score is None
            scores[name] = None if by_hand else scores.get(name, 0.0) + (g.auto_score or 0.0)
    notebook = nbformat.read(course / "autograded" / STUDENT / assignment / f"{assignment}.ipynb", 4)
    notes = []
    for i, cell in enumerate(notebook.cells):
        outputs = cell.get("outputs", [])
        if any(CUT in o.get("text", "") for o in outputs):
            notes.append(f"the output of cell {i + 1} was cut")
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        errors = [o for o in outputs if o.output_type == "error"]
        if errors and grade_id:
            notes.append(f"{grade_id}: {_said(errors[-1], limits['cell_seconds'])}")
    return {"scores": scores, "notes": notes}


def _said(error, seconds: int) -> str:
    if error.ename == "CellTimeoutError":
        return f"stopped after {seconds} s"
    text = error.evalue if error.ename in ("CheckFailed", "AssertionError") else f"{error.ename}: {error.evalue}"
    return (text.splitlines() or [error.ename])[0][:300]


def _why(done: dict) -> str:
    """One sentence from nbgrader's log."""
    log = f"{done.get('log', '')}{done.get('error', '')}"
    if "DeadKernelError" in log:
        return "the notebook ended its own Python process (os._exit, exit, or too much memory)"
    if "UnresponsiveKernelError" in log:
        return "the kernel did not answer any more"
    return f"nbgrader could not grade it ({_last_line(log)})"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1][:300]


if __name__ == "__main__":
    _worker(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
