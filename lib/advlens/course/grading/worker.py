"""One submission, in a process of its own: nbgrader executes it, the judge decides its tests, `found.json` says how it
went.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path

import nbformat

from advlens.course.grading import feedback, judge, room
from advlens.course.grading.release import STUDENT, exercise, grade_cells, grade_id, last_line, machine_graded, nbgrader

LONGEST = 100_000  # characters of output that a cell may keep
CUT = "... Output truncated ..."  # nbgrader's own words where it shortens many lines
SET_UP = 120  # seconds for starting a kernel, and for the set-up cell: importing torch is slow on a busy machine
PATIENCE = 60  # seconds in which an interrupted kernel must be idle


def main(course: Path, assignment: str, limits: dict) -> None:
    """Autograde, feedback, and `found.json`."""
    room.adopt_orphans()
    _limit_resources(limits["gigabytes"])
    try:
        found = _grade(course, assignment, limits)
    finally:
        room.end_children()
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


def _grade(course: Path, assignment: str, limits: dict) -> dict:
    from nbgrader.converters import Autograde

    verdicts: dict[str, judge.Verdict] = {}
    steps = [_execute_class(course, verdicts) if step.__name__ == "Execute" else step
             for step in Autograde.autograde_preprocessors.default()]
    late = f"stopped after {limits['cell_seconds']} s"
    waiting = {"timeout": limits["cell_seconds"], "startup_timeout": SET_UP, "iopub_timeout": PATIENCE,
               "error_on_timeout": {"ename": "CellTimeoutError", "evalue": late, "traceback": [late]}}
    options = {"Execute": waiting, "Autograde": {"autograde_preprocessors": steps}}
    api = nbgrader(course, **options)
    done = api.autograde(assignment, STUDENT)
    if done["success"]:
        done = api.generate_feedback(assignment, STUDENT)
    if not done["success"]:
        return {"failed": _why(done)}
    page = course / "feedback" / STUDENT / assignment / f"{assignment}.html"
    page.write_text(feedback.inert(page.read_text("utf-8")), "utf-8")
    notebook = nbformat.read(course / "autograded" / STUDENT / assignment / f"{assignment}.ipynb", 4)
    return {"scores": _scores(notebook, verdicts), "notes": _notes(notebook)}


def _execute_class(course: Path, verdicts: dict):
    """nbgrader's Execute, where tests are decided by the judge, outputs have an end, and so has patience."""
    from jupyter_core.utils import run_sync
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbgrader.preprocessors import Execute

    class JudgedExecute(Execute):
        stopped = ""  # why nothing more is executed

        def create_kernel_manager(self):
            manager = super().create_kernel_manager()
            manager.connection_file = str(course / "room" / "kernel.json")
            if room.has_walls():  # no network inside: the kernel is reached through sockets in the room
                manager.transport = "ipc"
            return manager

        def preprocess(self, nb, resources, *rest):
            resources["metadata"]["path"] = str(course / "room")
            self.set_up = next(c for c in nb.cells if c.cell_type == "code")
            self.names = judge.set_up(_first_code(course))
            gradebook = course / "gradebook.db"
            before = gradebook.read_bytes()
            nb, resources = super().preprocess(nb, resources, *rest)
            gradebook.write_bytes(before)  # whatever was done to it meanwhile
            return nb, resources

        def preprocess_cell(self, cell, resources, index):
            if cell.cell_type != "code":
                return cell, resources
            name = grade_id(cell) if cell.metadata.get("nbgrader", {}).get("grade") else None
            if self.stopped:
                cell.outputs = [_error("Stopped", self.stopped)] if name else []
            elif name and not cell.metadata.nbgrader.solution:
                self._test(cell, name, resources, index)
            else:
                self._execute(cell, resources, index)
            return cell, resources

        def _execute(self, cell, resources, index):
            """Run the cell; where the kernel does not survive it, or does not stop, that is the end."""
            try:
                super().preprocess_cell(cell, resources, index)
            except DeadKernelError:
                self.stopped = "the notebook ended its own Python process (os._exit, exit, or too much memory)"
            except CellTimeoutError:  # one that is interrupted ends with an output, not with this
                self.stopped = f"cell {index + 1} did not stop after {self.timeout} s, though it was told to"
                run_sync(self.km.shutdown_kernel)(now=True)
            if self.stopped:
                cell.outputs = [*cell.get("outputs", []), _error("Stopped", self.stopped)]

        def _test(self, cell, name, resources, index):
            """The judge runs the cell; the kernel answers its questions."""
            sitting = judge.Sitting(cell.source, self.names, _address(course, index))
            source, cell.source = cell.source, sitting.call
            self._execute(cell, resources, index)
            verdict, cell.source = sitting.end(), source
            ended = [o for o in cell.outputs if o.output_type == "error"]
            if ended:  # the kernel could not serve: it was interrupted, or ended
                verdict = verdict._replace(error=(ended[-1].ename, ended[-1].evalue))
            verdicts[name] = verdict
            streams = [o for o in cell.outputs if o.output_type == "stream"]
            said = [nbformat.v4.new_output("stream", text=verdict.printed)] if verdict.printed else []
            cell.outputs = streams + said + ([_error(*verdict.error)] if verdict.error else [])

        def _get_timeout(self, cell):
            return max(SET_UP, self.timeout) if cell is self.set_up else self.timeout

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

    return JudgedExecute


def _first_code(course: Path) -> str:
    """The sheet's own set-up cell: the student may have changed theirs."""
    released = next((course / "release").rglob("*.ipynb"))
    return next(c.source for c in nbformat.read(released, 4).cells if c.cell_type == "code")


def _address(course: Path, index: int) -> str:
    """Where the judge waits: a socket in the room."""
    return str(course / "room" / f"judge-{index}") if os.name == "posix" else rf"\\.\pipe\{uuid.uuid4().hex}"


def _error(name: str, message: str):
    return nbformat.v4.new_output("error", ename=name, evalue=message, traceback=[f"{name}: {message}"])


# --- what came of it ---------------------------------------------------------------------

def _scores(notebook, verdicts: dict) -> dict[str, float | None]:
    """Exercise -> points, None where a person must mark.  A thought that was not touched gives nothing."""
    from nbgrader.utils import determine_grade

    machine, scores = machine_graded(notebook), {}
    for name, cell in grade_cells(notebook).items():
        if exercise(name) in machine:
            passed = name in verdicts and verdicts[name].error is None
            scores[exercise(name)] = scores.get(exercise(name), 0.0) + passed * cell.metadata.nbgrader.points
        else:
            scores[exercise(name)] = determine_grade(cell)[0]
    return scores


def _notes(notebook) -> list[str]:
    notes = []
    for i, cell in enumerate(notebook.cells):
        outputs = cell.get("outputs", [])
        if any(CUT in o.get("text", "") for o in outputs):
            notes.append(f"the output of cell {i + 1} was cut")
        errors = [o for o in outputs if o.output_type == "error"]
        if errors and grade_id(cell):
            notes.append(f"{grade_id(cell)}: {_said(errors[-1])}")
    return notes


def _said(error) -> str:
    text = error.evalue if error.ename in ("CheckFailed", "AssertionError", "Stopped", "CellTimeoutError") \
        else f"{error.ename}: {error.evalue}"
    return (text.splitlines() or [error.ename])[0][:300]


def _why(done: dict) -> str:
    """One sentence from nbgrader's log."""
    return f"nbgrader could not grade it ({last_line(str(done.get('log', '')) + str(done.get('error', '')))})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
