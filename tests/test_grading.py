"""Grading without nbgrader: how processes end, which scores are believed, whose files they are, what is written."""

import csv
import re
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest

psutil = pytest.importorskip("psutil", reason="needs the instructor's extra: pip install 'advlens[instructor]'")

from advlens.course import grading  # noqa: E402
from advlens.course.grading import room  # noqa: E402
from advlens.course.grading.scores import Result, Table, believable  # noqa: E402
from advlens.course.grading.submissions import NOTEBOOK, Ungraded, read_notebook  # noqa: E402
from advlens.course.grading.submissions import submissions as handed_in  # noqa: E402

SHEET = "07_small"


# --- the process of a submission -----------------------------------------------------------

def run(tmp_path, code: str, seconds: float = 60) -> int | None:
    (tmp_path / "room").mkdir()
    return room.run([sys.executable, "-c", code], tmp_path, seconds)


SLEEPER = "import subprocess; subprocess.Popen(['env', '-i', 'setsid', 'sleep', '{}'])"


def sleeping(seconds: int) -> list:
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", str(seconds)]]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an orphan has no parent that could end it")
def test_what_left_its_session_and_its_environment_is_ended(tmp_path):
    """The parent in between ends at once: an orphan, with no mark of ours."""
    middle = SLEEPER.format(4243)
    code = ("import subprocess, sys; from advlens.course.grading import room; room.adopt_orphans(); "
            f"subprocess.run([sys.executable, '-c', {middle!r}]); room.end_children()")
    assert run(tmp_path, code) == 0
    assert not sleeping(4243)


def test_what_runs_too_long_is_ended_with_all_below_it(tmp_path):
    assert run(tmp_path, SLEEPER.format(4244) + "; import time; time.sleep(9999)", seconds=3) is None
    assert not sleeping(4244)


@pytest.mark.parametrize("code, message", [
    (-9, "was ended from outside (SIGKILL): by the submission itself, or by the machine for lack of memory"),
    (1, "its grading failed (MemoryError)"),
    (None, "it ran longer than 9 s and was stopped"),
])
def test_how_a_worker_ended_is_said(code, message, tmp_path, monkeypatch):
    (tmp_path / "log.txt").write_text("Traceback\nMemoryError\n")
    (tmp_path / "found.json").write_text('{"scores": {"code": 5}, "notes": []}')  # forged before it was ended
    monkeypatch.setattr(room, "run", lambda *_: code)
    with pytest.raises(Ungraded, match=re.escape(message)):
        grading._run_worker(tmp_path, SHEET, {}, 9)


@pytest.mark.parametrize("scores", [
    {"code": 198, "thought": None}, {"code": -1, "thought": None}, {"code": float("nan"), "thought": None},
    {"code": "5", "thought": None}, {"code": True, "thought": None}, {"code": None, "thought": None},
    {"code": 5}, [], None,
], ids=str)
def test_scores_that_cannot_be_are_refused(scores):
    with pytest.raises(Ungraded, match="cannot be true"):
        believable(scores, {"code": 5, "thought": 6}, {"code"})


def test_scores_that_can_be_are_taken():
    for scores in ({"code": 5.0, "thought": None}, {"code": 0, "thought": 0}):
        assert believable(scores, {"code": 5, "thought": 6}, {"code"}) == scores


# --- layouts of learning platforms -----------------------------------------------------------

class Silent(zipfile.ZipInfo):
    """A name in UTF-8 that does not say so, as older programs write it."""

    def _encodeFilenameFlags(self):  # noqa: N802 - zipfile's name
        return self.filename.encode(), self.flag_bits & ~0x800


def zipped(path: Path, files: dict, kind=zipfile.ZipInfo) -> Path:
    """A zip of name -> bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(kind(name), content)
    return path


N = f"{SHEET}.ipynb"
LAYOUTS = {
    "moodle folders": ({f"Zoë Müller_123_assignsubmission_file/{N}": b"z",
                        "Bob_124_assignsubmission_file_/x.ipynb": b"b",
                        "Bob_124_assignsubmission_onlinetext/text.html": b""}, {"Zoë Müller": b"z", "Bob": b"b"}),
    "moodle flat": ({f"Zoë Müller_123_assignsubmission_file_{N}": b"z", f"Bob_124_assignsubmission_file_{N}": b"b"},
                    {"Zoë Müller": b"z", "Bob": b"b"}),
    "canvas": ({f"muellerzoe_LATE_4567_89012_{N}": b"z", "bob_4568_89013_homework-1.ipynb": b"b",
                "bob_4568_89014_notes.pdf": b""}, {"muellerzoe": b"z", "bob": b"b"}),
    "blackboard": ({f"gradebook_CS1_Week 3_zoe1_attempt_2026-11-21-16-40-00_{N}": b"z",
                    "gradebook_CS1_Week 3_zoe1_attempt_2026-11-21-16-40-00.txt": b"Name: Zoe",
                    f"gradebook_CS1_Week 3_bob_attempt_2026-11-20-09-00-00_{N}": b"b"}, {"zoe1": b"z", "bob": b"b"}),
    "brightspace": ({"index.html": b"", f"123-456 - Zoë Müller - Nov 21, 2026 440 PM/{N}": b"z",
                     f"124-456 - Bob - Nov 20, 2026 900 AM/{N}": b"b"}, {"Zoë Müller": b"z", "Bob": b"b"}),
    "sakai": ({"Week 3/grades.csv": b"", f"Week 3/Müller, Zoë(zoe1)/Submission attachment(s)/{N}": b"z",
               "Week 3/Müller, Zoë(zoe1)/timestamp.txt": b"", f"Week 3/Bob(bob)/Submission attachment(s)/{N}": b"b"},
              {"Müller, Zoë(zoe1)": b"z", "Bob(bob)": b"b"}),
    "nested": ({f"Zoë Müller/task/week 3/{N}": b"z", f"Zoë Müller/task/.ipynb_checkpoints/{N}": b"old",
                f"__MACOSX/Zoë Müller/._{N}": b"mac", f"bob/{SHEET}.ipynb.txt": b"b"},
               {"Zoë Müller": b"z", "bob": b"b"}),
    "one student": ({f"Zoë/task/{N}": b"z"}, {"Zoë": b"z"}),
    "flat": ({"Zoë M.ipynb": b"z", "bob.IPYNB": b"b"}, {"Zoë M": b"z", "bob": b"b"}),
    "two of one name": ({f"Ann_1234_assignsubmission_file_{N}": b"1", f"Ann_1235_assignsubmission_file_{N}": b"2"},
                        {"Ann_1234_assignsubmission_": b"1", "Ann_1235_assignsubmission_": b"2"}),
}
each_layout = pytest.mark.parametrize("files, expected", LAYOUTS.values(), ids=list(LAYOUTS))


def found(folder: Path) -> dict[str, bytes]:
    """Student -> content of the notebook."""
    return {student: next(f for f in files if NOTEBOOK.search(f.parts[-1])).read()
            for student, files in handed_in(folder).items()}


@each_layout
def test_layouts_of_learning_platforms_in_a_folder(files, expected, tmp_path):
    for name, content in files.items():
        path = tmp_path / "in" / unicodedata.normalize("NFD", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert found(tmp_path / "in") == expected


@each_layout
@pytest.mark.parametrize("kind", [zipfile.ZipInfo, Silent])
def test_layouts_of_learning_platforms_in_one_zip(files, expected, kind, tmp_path):
    if len(expected) == 1:
        pytest.skip("a zip of one student is that student's zip: the next test")
    (tmp_path / "in").mkdir()
    path = zipped(tmp_path / "in" / "submissions.zip", files, kind)
    assert found(tmp_path / "in") == found(path) == expected


def test_a_zip_of_each_student(tmp_path):
    for name in ("Zoë M", "bob"):
        zipped(tmp_path / f"{name}.zip", {f"week 3/{N}": name.encode(), "week 3/data.csv": b"1"})
    assert found(tmp_path) == {"Zoë M": "Zoë M".encode(), "bob": b"bob"}
    (tmp_path / "bob.zip").unlink()
    assert found(tmp_path) == {"Zoë M": "Zoë M".encode()}


def test_a_zip_inside_the_zip_of_the_class(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {f"homework/{N}": b"z"}).read_bytes()
    files = {"Zoë_123_assignsubmission_file/homework.zip": inner, f"Bob_124_assignsubmission_file/{N}": b"b"}
    assert found(zipped(tmp_path / "class.zip", files)) == {"Zoë": b"z", "Bob": b"b"}


@pytest.mark.parametrize("content", [b"PK\x03\x04 broken", b"", b"not a zip"])
def test_a_broken_zip_is_a_submission_that_cannot_be_read(content, tmp_path):
    (tmp_path / "ann.zip").write_bytes(content)
    (tmp_path / "bob.ipynb").write_bytes(b"b")
    files = handed_in(tmp_path)
    assert sorted(files) == ["ann", "bob"]
    with pytest.raises(Ungraded, match="ann.zip is (not a notebook|empty)"):
        read_notebook(files["ann"], SHEET)


def test_a_name_in_a_zip_leads_nowhere_else(tmp_path):
    path = zipped(tmp_path / "class.zip", {"../../ann.ipynb": b"a", "/etc/bob.ipynb": b"b"})
    assert all(part not in ("", "..") for files in handed_in(path).values() for f in files for part in f.parts)


# --- results, written as they come -------------------------------------------------------------

def result(student: str, message: str = "") -> Result:
    return Result(student, {"code": 5.0, "thought": None}, 5.0, 5.0, message)


def test_the_table_is_complete_after_each_submission(tmp_path):
    table = Table(tmp_path)
    for i, student in enumerate(("eve", "ann", "bob"), 1):
        table.add(result(student), "page")
        with open(tmp_path / "scores.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == i and (tmp_path / "feedback" / f"{student}.html").read_text() == "page"
    assert [row["student"] for row in rows] == ["ann", "bob", "eve"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["feedback", "scores.csv"]


def test_what_cannot_be_written_as_text_loses_nothing(tmp_path):
    table = Table(tmp_path)
    table.add(result("ann", "said \udce9"), "page \udce9")
    table.add(result("bob"), "page")
    assert len((tmp_path / "scores.csv").read_text("utf-8").splitlines()) == 3


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_spreadsheet_computes_nothing(name, tmp_path):
    Table(tmp_path).add(result(name, f"{name} is a formula"), "page")
    with open(tmp_path / "scores.csv", newline="") as file:
        row, = csv.DictReader(file)
    assert row["student"] == f"'{name}" and row["message"].startswith("'")


def test_no_older_scores_are_lost(tmp_path):
    for i in range(3):
        Table(tmp_path).add(result(f"run {i}"), "page")
    kept = {p.name: p.read_text() for p in tmp_path.glob("scores*.csv")}
    assert sorted(kept) == ["scores.csv", "scores.previous-2.csv", "scores.previous.csv"]
    assert "run 0" in kept["scores.previous.csv"] and "run 1" in kept["scores.previous-2.csv"]
