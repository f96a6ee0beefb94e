"""Masters, student release and grading: real submissions of every bad kind, graded for real."""

import copy
import csv
import json
import re
import shutil
from pathlib import Path

import jupytext
import nbformat
import pytest

pytest.importorskip("nbgrader", reason="the instructor's extra is not installed: pip install 'advlens[instructor]'")
psutil = pytest.importorskip("psutil")

from advlens.course import checks, grading  # noqa: E402

pytestmark = pytest.mark.timeout(1500)  # a minute or two of work; machines are sometimes very busy

ROOT = Path(__file__).parents[1]
EXERCISES = ROOT / "exercises"
MASTERS = sorted(EXERCISES.glob("[0-9][0-9]_*.py"))
SHEET = "03_one_step"
each_master = pytest.mark.parametrize("master", MASTERS, ids=lambda p: p.stem)


# --- the masters ------------------------------------------------------------------

def test_one_sheet_for_each_chapter():
    assert [m.stem for m in MASTERS] == [c.stem for c in sorted((ROOT / "chapters").glob("[0-9][0-9]_*.py"))]


@each_master
def test_a_master_has_three_exercises_two_pictures_and_the_set_up_cell(master):
    notebook = grading.read_master(master)
    points = grading._points(notebook)
    assert list(points) == ["code", "measurement", "thought"]
    assert grading._machine_graded(notebook) == {"code", "measurement"}
    assert notebook.cells[-1].source.count("**Marking guide.**") == 1
    pictures = re.findall(r"!\[([^\]]{30,})\]\(data:image/png;base64,", "".join(c.source for c in notebook.cells))
    assert len(pictures) == 2  # each with an alternative text
    installing = lambda path: next(c.source for c in jupytext.read(path).cells
                                   if c.cell_type == "code").split("\nimport torch")[0]
    assert installing(master) == installing(ROOT / "chapters" / master.name)


@each_master
def test_the_points_of_the_marking_guide_add_up(master):
    thought = grading.read_master(master).cells[-1]
    guide = thought.source.split("**Marking guide.**")[1]
    assert re.search(r"\d points?", guide) and thought.metadata.nbgrader.points >= 4


@each_master
def test_headings_begin_at_one_and_never_jump(master):
    text = "\n".join(c.source for c in grading.read_master(master).cells if c.cell_type == "markdown")
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:]))


# --- the student release --------------------------------------------------------------

@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    grading.make_students(EXERCISES, folder)
    return folder


@each_master
def test_the_committed_student_notebooks_are_in_step(master, release):
    name = f"{master.stem}.ipynb"
    assert (release / name).read_bytes() == (EXERCISES / "student" / name).read_bytes(), "run `make assignments`"


@each_master
def test_no_solution_and_no_hidden_test_leaves_the_house(master, release):
    public = (release / f"{master.stem}.ipynb").read_text()
    for word in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN TESTS", "Model answer", "Marking guide"):
        assert word not in public
    secret = re.findall(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)### END", master.read_text(), re.S)
    assert len(secret) >= 4
    shown = "".join(c.source for c in nbformat.read(release / f"{master.stem}.ipynb", 4).cells)
    lines = {line.strip() for _, block in secret for line in block.splitlines()}
    own = {line for line in lines if len(line) > 30 and not re.match("(from|import) ", line)}
    for line in own:
        assert line not in shown, line
    for cell in json.loads(public)["cells"]:
        assert set(cell["metadata"]) <= {"deletable", "editable", "nbgrader"}
        assert not cell.get("outputs")


@each_master
def test_a_student_notebook_runs_to_its_first_open_exercise(master, release):
    cells = [c for c in nbformat.read(release / f"{master.stem}.ipynb", 4).cells if c.cell_type == "code"]
    names: dict = {}
    with pytest.raises(checks.CheckFailed,
                       match="is not written yet: replace the line `raise NotImplementedError` by your code"):
        for ran, cell in enumerate(cells):
            exec(cell.source, names)
    assert ran == 2  # set-up, the function to write, its check


# --- grading ----------------------------------------------------------------------------

MASTER = grading.read_master(EXERCISES / f"{SHEET}.py")
SOLUTION = next(c.source for c in MASTER.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "fgsm")


def answer(**changed):
    """The master's notebook with other sources of some cells; None takes a cell out."""
    notebook = copy.deepcopy(MASTER)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "").replace("-", "_")
        cell.source = changed.get(name, cell.source)
    notebook.cells = [c for c in notebook.cells if c.source is not None]
    return notebook


def hand_in(folder: Path, name: str, notebook) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def submissions(folder: Path, release: Path) -> None:
    hand_in(folder, "right.ipynb", answer())
    hand_in(folder, f"partly/{SHEET}.ipynb", answer(fgsm=SOLUTION.replace(".clamp(0, 1)", "")))
    hand_in(folder, "hasty.ipynb",
            answer(measurement=next(c.source for c in MASTER.cells
                                    if c.metadata.get("nbgrader", {}).get("grade_id") == "measurement")
                                          .replace('conclusion = "c"', 'conclusion = "a"')))
    shutil.copy(release / f"{SHEET}.ipynb", folder / "untouched.ipynb")
    hand_in(folder, "syntax.ipynb", answer(fgsm="def my_fgsm(model, x, y, eps)\n    return x"))
    hand_in(folder, "loop.ipynb", answer(fgsm="while True:\n    pass"))
    hand_in(folder, "crash.ipynb", answer(fgsm="import os\nos._exit(3)"))
    hand_in(folder, "renamed/homework (final) 2.ipynb", answer(code_check=None, thought="My own words."))
    hand_in(folder, "huge.ipynb", answer(fgsm=f"{SOLUTION}\n\nfor _ in range(30):\n    print('spam ' * 200_000)"))
    hand_in(folder, "greedy.ipynb", answer(fgsm=f"much = bytearray(500 * 2**30)\n{SOLUTION}"))
    hand_in(folder, "litter.ipynb",
            answer(fgsm="import subprocess\nsubprocess.Popen(['sleep', '4242'], start_new_session=True)\n" + SOLUTION))
    (folder / "empty.ipynb").touch()
    (folder / "text.ipynb").write_text("I did my homework, but the dog ate it.")
    (folder / "json.ipynb").write_text('{"homework": true}')
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    (folder / "nothing").mkdir()
    (folder / "nothing" / "readme.txt").write_text("see my e-mail")
    hand_in(folder, "two/a.ipynb", answer())
    hand_in(folder, "two/b.ipynb", answer())


@pytest.fixture(scope="module")
def graded(tmp_path_factory, release):
    """Student -> row of scores.csv; and the folder of the results.  Records the marks of all processes that were
    started.
    """
    folder, out = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("out") / "results"
    submissions(folder, release)
    marks = []
    end = grading._end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "_end", lambda worker, mark: (end(worker, mark), marks.append(mark)))
        grading.grade(SHEET, folder, out, exercises_folder=EXERCISES, cell_seconds=15, submission_seconds=240)
    with open(out / "scores.csv", newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}, out, marks


@pytest.mark.parametrize("student, code, measurement, message", [
    ("right", "5", "4", "thought: to be marked by hand"),
    ("partly", "0", "4", "code-check: Pixels leave [0, 1]"),
    ("hasty", "5", "3", "measurement-hidden: compare the two attacks"),
    ("untouched", "0", "0", "my_fgsm is not written yet"),
    ("syntax", "0", "4", "fgsm: SyntaxError"),
    ("loop", "0", "4", "fgsm: stopped after 15 s"),
    ("crash", "0", "0", "ended its own Python process"),
    ("renamed", "5", "4", "cell code-check was missing and was put back"),
    ("huge", "5", "4", "the output of cell 4 was cut"),
    ("greedy", "0", "4", "fgsm: MemoryError"),
    ("litter", "5", "4", "thought: to be marked by hand"),
    ("empty", "0", "0", "empty.ipynb is empty"),
    ("text", "0", "0", "text.ipynb is not a notebook"),
    ("json", "0", "0", "json.ipynb is not a notebook"),
    ("picture", "0", "0", "picture.png is not a notebook"),
    ("nothing", "0", "0", "there is no notebook (.ipynb) in the folder"),
    ("two", "0", "0", "there are 2 notebooks in the folder, and none is called 03_one_step.ipynb"),
])
def test_every_submission_gets_a_score_a_message_and_a_page(graded, student, code, measurement, message):
    rows, out, _ = graded
    row = rows[student]
    assert (row["code"], row["measurement"]) == (code, measurement), row["message"]
    assert (float(row["total"]), row["max"]) == (float(code) + float(measurement), "9")
    assert message in row["message"]
    page = (out / "feedback" / f"{student}.html").read_text()
    assert student in page or "nbgrader" in page
    assert len(page) < 3_000_000


def test_a_thought_waits_for_a_person_and_an_untouched_one_gets_nothing(graded):
    rows, _, _ = graded
    assert rows["right"]["thought"] == "" and rows["untouched"]["thought"] == "0"


def test_feedback_asks_no_other_site(graded):
    page = (graded[1] / "feedback" / "right.html").read_text()
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://", page)


def test_nothing_is_left_running(graded):
    marks = graded[2]
    assert len(marks) == 11
    assert not [p for p in psutil.process_iter() for mark in marks if grading._carries(p, mark)]
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "4242"]]


def test_who_ignores_the_interrupt_is_stopped_as_a_whole(tmp_path):
    stubborn = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
    hand_in(tmp_path / "in", "stubborn.ipynb", answer(fgsm=stubborn))
    row, = grading.grade(SHEET, tmp_path / "in", tmp_path / "out", exercises_folder=EXERCISES, cell_seconds=3,
                         submission_seconds=20)
    assert row.total == 0 and "it ran longer than 20 s and was stopped" in row.message
    assert "it ran longer" in (tmp_path / "out" / "feedback" / "stubborn.html").read_text()


@pytest.mark.parametrize("master", MASTERS[-1:], ids=lambda p: p.stem)
def test_the_own_solution_gets_full_marks(master, tmp_path):
    """One sheet: test_checks runs the solutions and hidden tests of all, without nbgrader."""
    hand_in(tmp_path / "in", "master.ipynb", grading.read_master(master))
    row, = grading.grade(master.stem, tmp_path / "in", tmp_path / "out", exercises_folder=EXERCISES)
    assert row.total == row.max > 0, row.message


# --- bad input ------------------------------------------------------------------------

def grade_quickly(tmp_path, out="out"):
    """One unreadable submission: nothing has to run."""
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "in" / "ann.ipynb").touch()
    return grading.grade(SHEET, tmp_path / "in", tmp_path / out, exercises_folder=EXERCISES)


def test_unknown_assignment_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown assignment '99_zeal'; known: 00_adversarial_examples, 01_data"):
        grading.grade("99_zeal", tmp_path, tmp_path / "out", exercises_folder=EXERCISES)


@pytest.mark.parametrize("folder", ["", "missing"])
def test_no_submissions(tmp_path, folder):
    with pytest.raises(ValueError, match="holds no submissions: put NAME.ipynb"):
        grading.grade(SHEET, tmp_path / folder, tmp_path.parent / "elsewhere", exercises_folder=EXERCISES)


def test_no_masters(tmp_path):
    with pytest.raises(ValueError, match="holds no masters"):
        grading.make_students(tmp_path, tmp_path / "out")


def test_results_inside_the_submissions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="lies inside the folder of submissions"):
        grade_quickly(tmp_path, out="in/out")


def test_grading_again_keeps_the_marks_given_by_hand(tmp_path):
    grade_quickly(tmp_path)
    scores = tmp_path / "out" / "scores.csv"
    scores.write_text(scores.read_text() + "bob,5,4,4,13,9,marked by hand\n")
    (tmp_path / "out" / "letter.txt").write_text("mine")
    grade_quickly(tmp_path)
    assert "marked by hand" in (tmp_path / "out" / "scores.previous.csv").read_text()
    assert "bob" not in scores.read_text()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["feedback", "letter.txt", "scores.csv",
                                                                    "scores.previous.csv"]


def test_a_failure_leaves_the_old_results(tmp_path, monkeypatch):
    grade_quickly(tmp_path)
    before = (tmp_path / "out" / "scores.csv").read_text()

    def full(*arguments, **options):
        raise OSError("no space left on device")

    monkeypatch.setattr(grading.csv, "writer", full)
    with pytest.raises(OSError, match="no space left"):
        grade_quickly(tmp_path)
    assert (tmp_path / "out" / "scores.csv").read_text() == before
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["feedback", "scores.csv"]


def test_two_submissions_of_one_name_are_kept_apart(tmp_path):
    (tmp_path / "in" / "ann").mkdir(parents=True)
    rows = grade_quickly(tmp_path)
    assert [r.student for r in rows] == ["ann", "ann.ipynb"]


def test_a_name_with_markup_does_no_harm(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "<b>eve & co.ipynb").touch()
    grade_quickly(tmp_path)
    assert "&lt;b&gt;eve &amp; co" in (tmp_path / "out" / "feedback" / "<b>eve & co.html").read_text()
