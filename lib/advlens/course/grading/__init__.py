"""Assignments: the student release and the grading, both by nbgrader in throw-away course folders.

    release       a master `exercises/NN_name.py` -> what students get
    submissions   what they hand in, in the layouts of learning platforms;  mending  its graded cells put right
    worker        nbgrader in a process of its own;  room  where the submission runs;  judge  its tests, elsewhere
    feedback      the page that a student gets;  scores  the table

`make_students` makes the release; `grade` runs what was handed in.  Nothing that a submission
says about itself is believed: its tests run in another process, which only asks it for values.
What that does not stop stands on the instructors' page.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from tqdm.auto import tqdm

from advlens.course.grading import feedback, room
from advlens.course.grading.mending import mend
from advlens.course.grading.release import (
    STUDENT,
    last_line,
    machine_graded,
    make_release,
    make_students,
    masters,
    points,
    read_master,
)
from advlens.course.grading.scores import Result, Table, believable
from advlens.course.grading.submissions import File, Ungraded, read_notebook, submissions

__all__ = ["Result", "grade", "make_students", "masters", "read_master"]


def grade(assignment: str, submissions_folder: Path, out_folder: Path, *, exercises_folder: Path = Path("exercises"),
          cell_seconds: int = 60, submission_seconds: int = 600, gigabytes: float = 8, jobs: int = 2) -> list[Result]:
    """Grade every submission in a folder, or in the zip of a learning platform, and write `scores.csv` and
    `feedback/NAME.html`.

    total and max count what was graded by machine; a thought stays empty until a person
    marks it.  Results are written as they come; an older scores.csv is kept as scores.previous.csv.
    Raises ValueError for an unknown assignment, or a folder without submissions.
    """
    known = masters(exercises_folder)
    if assignment not in known:
        raise ValueError(f"unknown assignment {assignment!r}; known: {', '.join(known)}")
    handed_in = submissions(Path(submissions_folder))
    out_folder = Path(out_folder).resolve()
    if out_folder.is_relative_to(Path(submissions_folder).resolve()):
        raise ValueError(f"{out_folder} lies inside the folder of submissions: name another folder for the results")
    out_folder.mkdir(parents=True, exist_ok=True)
    table = Table(out_folder)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        base = Path(scratch) / "base"
        release = make_release(base, known[assignment])
        shutil.rmtree(base / "source")  # the solutions
        room.warm_up(base)
        limits = {"cell_seconds": cell_seconds, "gigabytes": gigabytes}

        def one(item: tuple[str, list[File]]) -> tuple[Result, str]:
            course = Path(scratch) / uuid.uuid4().hex[:8]
            shutil.copytree(base, course)
            try:
                return _grade_one(*item, assignment, release, course, limits, submission_seconds)
            finally:
                shutil.rmtree(course, ignore_errors=True)

        with ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(one, item) for item in handed_in.items()]
            try:
                for done in tqdm(as_completed(running), total=len(running), desc=assignment, unit="submission"):
                    table.add(*done.result())
            finally:
                pool.shutdown(cancel_futures=True)
    return table.rows


def _grade_one(student: str, files: list[File], assignment: str, release, course: Path, limits: dict,
               seconds: int) -> tuple[Result, str]:
    """The result and the feedback page (HTML) of one submission.  Never raises: what goes wrong becomes the message."""
    worth, machine = points(release), machine_graded(release)
    largest = sum(worth[name] for name in machine)
    try:
        notebook, mended = mend(read_notebook(files, assignment), release)
        submitted = course / "submitted" / STUDENT / assignment / f"{assignment}.ipynb"
        submitted.parent.mkdir(parents=True)
        nbformat.write(notebook, submitted)
        room.furnish(course)
        found = _run_worker(course, assignment, limits, seconds)
        scores = believable(found["scores"], worth, machine)
        notes = [*mended, *found["notes"]]
        page = (course / "feedback" / STUDENT / assignment / f"{assignment}.html").read_text("utf-8")
    except Ungraded as reason:
        message = str(reason)
    except Exception as error:  # one odd submission must not stop the others
        message = f"the grading failed ({type(error).__name__}: {last_line(str(error))})"
    else:
        notes += [f"{name}: to be marked by hand ({worth[name]:g} points)" for name, value in scores.items()
                  if value is None]
        return Result(student, scores, sum(scores[name] for name in machine), largest, "; ".join(notes)), page
    return Result(student, dict.fromkeys(worth, 0.0), 0.0, largest, message), feedback.unable(student, message)


def _run_worker(course: Path, assignment: str, limits: dict, seconds: int) -> dict:
    """Run nbgrader on the course folder in a process of its own.  Returns what it found."""
    command = [sys.executable, "-m", "advlens.course.grading.worker", str(course), assignment, json.dumps(limits)]
    code = room.run(command, course, seconds)
    if code is None:
        raise Ungraded(f"it ran longer than {seconds} s and was stopped")
    if code < 0:
        raise Ungraded(f"its grading was ended from outside ({signal.Signals(-code).name}): by the submission itself, "
                       "or by the machine for lack of memory")
    if code > 0:
        raise Ungraded(f"its grading failed ({last_line((course / 'log.txt').read_text(errors='replace'))})")
    found = json.loads((course / "found.json").read_text())
    if "failed" in found:
        raise Ungraded(found["failed"])
    return found
