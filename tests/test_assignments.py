"""Masters, student release and grading: real submissions of every bad kind, graded for real."""

import copy
import csv
import json
import os
import re
import shutil
import unicodedata
from pathlib import Path

import jupytext
import nbformat
import pytest

pytest.importorskip("nbgrader", reason="the instructor's extra is not installed: pip install 'advlens[instructor]'")
psutil = pytest.importorskip("psutil")

from advlens.course import checks, grading  # noqa: E402
from advlens.course.grading import room  # noqa: E402
from advlens.course.grading.mending import mend  # noqa: E402
from advlens.course.grading.release import grade_id, machine_graded, points  # noqa: E402
from advlens.course.grading.submissions import read_notebook  # noqa: E402
from advlens.course.grading.submissions import submissions as handed_in  # noqa: E402

pytestmark = pytest.mark.timeout(1500)  # a minute or two of work; machines are sometimes very busy

ROOT = Path(__file__).parents[1]
EXERCISES = ROOT / "exercises"
MASTERS = sorted(EXERCISES.glob("[0-9][0-9]_*.py"))
each_master = pytest.mark.parametrize("master", MASTERS, ids=lambda p: p.stem)


# --- the masters ------------------------------------------------------------------

def test_one_sheet_for_each_chapter():
    assert [m.stem for m in MASTERS] == [c.stem for c in sorted((ROOT / "chapters").glob("[0-9][0-9]_*.py"))]


@each_master
def test_a_master_is_a_ladder_with_pictures_and_the_set_up_cell(master):
    notebook = grading.read_master(master)
    ladder = ["warmup", "code", "measurement", "transfer", "thought"]
    assert list(points(notebook)) == ladder
    assert machine_graded(notebook) == set(ladder[:-1])
    assert notebook.cells[-1].source.count("**Marking guide.**") == 1
    pictures = re.findall(r"!\[([^\]]{30,})\]\(data:image/png;base64,", "".join(c.source for c in notebook.cells))
    assert len(pictures) == 2  # each with an alternative text
    installing = lambda path: next(c.source for c in jupytext.read(path).cells
                                   if c.cell_type == "code").split("\nimport torch")[0]
    assert installing(master) == installing(ROOT / "chapters" / master.name)


@each_master
def test_a_thought_has_a_marking_guide_in_points(master):
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


# --- grading: a small sheet, so that a submission takes seconds ------------------------------

SHEET = "07_small"
HEAD = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %%
import torch
from advlens.course import checks
"""


def cell(name: str, source: str, *, points: int | None = None, locked: bool = False, words: bool = False) -> str:
    mark = {"grade": points is not None, "grade_id": name, "locked": locked, "schema_version": 3,
            "solution": not locked, "task": False} | ({"points": points} if points else {})
    return f"\n# %% {'[markdown] ' * words}nbgrader={json.dumps(mark)}\n{source}\n"


MASTER = HEAD + cell("fgsm", """def my_fgsm(model, x, y, eps):
    ### BEGIN SOLUTION
    was = model.training
    model.eval()
    point = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(point), y, reduction="sum")
    gradient, = torch.autograd.grad(loss, point)
    model.train(was)
    return (x + eps * gradient.sign()).clamp(0, 1)
    ### END SOLUTION""") + cell("code-check", "checks.fgsm(my_fgsm)", points=3, locked=True) + cell(
    "code-hidden", """# When this sheet is graded, your function also meets other networks.
### BEGIN HIDDEN TESTS
from advlens import attacks
model, x = checks.hint.small_net(3, channels=3), checks.hint.small_images(channels=3)
book = attacks.fgsm(model, x, torch.zeros(8, dtype=int), eps=0.1, loss="naive_ce")
assert checks.hint.close(my_fgsm(model, x, torch.zeros(8, dtype=int), 0.1), book), "it is not the library's fgsm"
### END HIDDEN TESTS""", points=2, locked=True) + cell("measurement", """letter = None
### BEGIN SOLUTION
letter = "c"
### END SOLUTION""") + cell("measurement-hidden", """assert letter in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert letter == "c", "compare them once more"
### END HIDDEN TESTS""", points=4, locked=True) + cell("thought", "# **Model answer.** Because.", points=6, words=True)

SOLUTIONS = {c.metadata.nbgrader.grade_id: c.source for c in jupytext.reads(MASTER, "py:percent").cells
             if c.metadata.get("nbgrader", {}).get("solution")}
CODE = SOLUTIONS["fgsm"]


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    """A folder of masters with the small sheet."""
    folder = tmp_path_factory.mktemp("exercises")
    (folder / f"{SHEET}.py").write_text(MASTER)
    return folder


@pytest.fixture(scope="module")
def small(sheets, tmp_path_factory):
    """The small sheet as students get it."""
    path, = grading.make_students(sheets, tmp_path_factory.mktemp("small"))
    return nbformat.read(path, 4)


def answered(release, **changed):
    """The release with the right answers, but for those named."""
    notebook = copy.deepcopy(release)
    for one in notebook.cells:
        name = grade_id(one)
        one.source = (SOLUTIONS | {"thought": "My own words."} | changed).get(name, one.source)
    return notebook


def twisted(release):
    """Right answers; but cells copied, split, edited, deleted, of another kind, and with other metadata."""
    notebook = answered(release, thought="First half.")
    named = {grade_id(c): c for c in notebook.cells}
    first, second = CODE.split("    loss =")
    half = copy.deepcopy(named["fgsm"])
    half.source, half.id = first.replace("def my_fgsm", "def my_first"), "half"
    notebook.cells.insert(1, half)
    named["code-check"].source = "print('ok  everything')"
    named["code-check"].metadata.nbgrader.points = 198
    named["measurement"].cell_type = "raw"
    for key in ("outputs", "execution_count"):
        named["measurement"].pop(key)
    named["measurement-hidden"].metadata.nbgrader = {"grade_id": "measurement-hidden"}
    notebook.cells.remove(named["code-hidden"])
    thought = copy.deepcopy(named["thought"])
    thought.source, thought.id = "Second half.", "more"
    notebook.cells.append(thought)
    unknown = nbformat.v4.new_code_cell("1 + 1", metadata={"nbgrader": {"grade_id": "mine", "grade": True}})
    notebook.cells.append(unknown)
    notebook.metadata = {"kernelspec": {"name": "cobol", "display_name": "Cobol", "language": "cobol"}}
    return notebook


CHEAT = r"""
import os, socket, subprocess
from pathlib import Path
from advlens import attacks
from IPython.display import HTML, Javascript, display

checks.hint.compare = checks.hint.require = lambda *_: None
subprocess.Popen(["env", "-i", "setsid", "sleep", "4242"])
for i in range(20_000):
    Path(f"small-{i}").touch()
print("masters:", Path("MASTERS").exists(), "others:", Path("SUBMISSIONS").exists())
print("above:", [p.name for p in Path("..").glob("*") if p.name != "room"])
print("network:", [name for _, name in socket.if_nameindex()])
display(HTML("<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
             "<img src='https://example.org/pixel.png'><iframe src='https://example.org'></iframe>"
             "<b onclick='alert(1)' style='background:url(https://example.org/b.png)'>bold</b>"
             "<svg viewBox='0 0 2 2'><path d='M0 0L2 2' stroke='red'/><script>1</script></svg>"))
display(Javascript("document.title = 'taken'"))

def my_fgsm(model, x, y, eps):
    return attacks.fgsm(model, x, y, eps=eps)
"""

REMOTE = ("<script>document.title = 'taken'</script>\n\n![pixel](https://example.org/pixel.png) "
          "[link](javascript:alert(1)) **words** <meta http-equiv='refresh' content='0;url=https://example.org'>")


def submissions(folder: Path, release, sheets: Path) -> None:
    def hand_in(name: str, notebook) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)

    path = folder / unicodedata.normalize("NFD", "Zoë  Müller") / "week 3" / "homework (final) 2.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(nbformat.writes(answered(release)), encoding="utf-8-sig")
    unclamped = CODE.replace(".clamp(0, 1)", "")
    hand_in(f"partly/{SHEET}.ipynb", answered(release, fgsm=unclamped, measurement='letter = "a"'))
    hand_in("untouched.ipynb", release)
    hand_in("twisted.ipynb", twisted(release))
    hand_in("sleepy.ipynb", answered(release, fgsm="import time\ndef my_fgsm(*_):\n    time.sleep(9999)"))
    stubborn = ("import time\nletter = 'c'\nwhile True:\n    try:\n        time.sleep(9999)\n"
                "    except BaseException:\n        pass")
    hand_in("stubborn.ipynb", answered(release, measurement=stubborn))
    hand_in("crash.ipynb", answered(release, measurement="import os\nos._exit(3)"))
    hand_in("huge.ipynb", answered(release, fgsm=f"{CODE}\n\nfor _ in range(30):\n    print('spam ' * 200_000)\n"
                                                 "much = bytearray(500 * 2**30)"))
    cheat = CHEAT.replace("MASTERS", str(sheets)).replace("SUBMISSIONS", str(folder))
    hand_in("cheat.ipynb", answered(release, fgsm=cheat, thought=REMOTE))
    (folder / "empty.ipynb").touch()
    (folder / "text.ipynb").write_text("I did my homework, but the dog ate it.")
    (folder / "json.ipynb").write_text('{"homework": true}')
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    (folder / "nothing").mkdir()
    (folder / "nothing" / "readme.txt").write_text("see my e-mail")
    (folder / "hollow").mkdir()
    hand_in("two/a.ipynb", answered(release))
    hand_in("two/b.ipynb", answered(release))
    (folder / "=1+1.ipynb").touch()
    (folder / os.fsdecode(b"caf\xe9.ipynb")).touch()


@pytest.fixture(scope="module")
def graded(tmp_path_factory, sheets, small):
    """Student -> row of scores.csv; and the folder of the results."""
    folder, out = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("out") / "results"
    submissions(folder, small, sheets)
    grading.grade(SHEET, folder, out, exercises_folder=sheets, cell_seconds=30, submission_seconds=400)
    with open(out / "scores.csv", newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}, out


@pytest.mark.parametrize("student, code, measurement, message", [
    ("Zoë  Müller", "5", "4", "thought: to be marked by hand (6 points)"),
    ("partly", "0", "0", "code-check: Pixels leave [0, 1]"),
    ("partly", "0", "0", "code-hidden: it is not the library's fgsm; measurement-hidden: compare them once more"),
    ("untouched", "0", "0", "my_fgsm is not written yet"),
    ("twisted", "5", "4", "cell fgsm was there 2 times, perhaps copied or split"),
    ("twisted", "5", "4", "cell code-check was changed and was put back"),
    ("twisted", "5", "4", "cell code-hidden was missing and was put back"),
    ("sleepy", "0", "4", "code-check: stopped after 30 s"),
    ("stubborn", "5", "0", "measurement: cell 5 did not stop after 30 s, though it was told to"),
    ("crash", "5", "0", "measurement: the notebook ended its own Python process"),
    ("huge", "5", "4", "the output of cell 2 was cut"),
    ("huge", "5", "4", "fgsm: MemoryError"),
    ("cheat", "0", "4", "code-check: Your answer calls fgsm, the library's own solution"),
    ("cheat", "0", "4", "code-hidden: Your answer calls fgsm, the library's own solution"),
    ("empty", "0", "0", "empty.ipynb is empty"),
    ("text", "0", "0", "text.ipynb is not a notebook"),
    ("json", "0", "0", "json.ipynb is not a notebook"),
    ("picture", "0", "0", "picture.png is not a notebook"),
    ("nothing", "0", "0", "there is no notebook (.ipynb) in the folder"),
    ("hollow", "0", "0", "there is no notebook (.ipynb) in the folder"),
    ("two", "0", "0", "there are 2 notebooks in the folder, and none is called 07_small.ipynb"),
    ("'=1+1", "0", "0", "=1+1.ipynb is empty"),
    ("caf\ufffd", "0", "0", "caf\ufffd.ipynb is empty"),
])
def test_every_submission_gets_a_score_a_message_and_a_page(graded, student, code, measurement, message):
    rows, out = graded
    row = rows[student]
    assert (row["code"], row["measurement"]) == (code, measurement), row["message"]
    assert (float(row["total"]), row["max"]) == (float(code) + float(measurement), "9")
    assert message in row["message"]
    page = (out / "feedback" / f"{student.removeprefix(chr(39))}.html").read_text("utf-8")
    assert len(page) < 3_000_000 and "Content-Security-Policy" in page


def test_a_thought_waits_for_a_person_and_an_untouched_one_gets_nothing(graded):
    rows, _ = graded
    assert rows["Zoë  Müller"]["thought"] == "" and rows["untouched"]["thought"] == "0"


def test_the_parts_of_a_split_answer_are_joined(graded):
    page = (graded[1] / "feedback" / "twisted.html").read_text("utf-8")
    assert page.count("First half.") == page.count("Second half.") == 1


def test_nothing_is_left_running(graded):
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "4242"]]


walled = pytest.mark.skipif(not room.has_walls(), reason="needs bubblewrap, and leave to make namespaces: "
                                                         "apt install bubblewrap")


@walled
def test_inside_the_walls_there_is_nothing_to_read_and_nowhere_to_send_it(graded):
    page = (graded[1] / "feedback" / "cheat.html").read_text("utf-8")
    assert "masters: False others: False" in page
    assert "above: []" in page and "network: [&#x27;lo&#x27;]" in page.replace("'", "&#x27;").replace("&#39;", "&#x27;")


def test_feedback_is_inert(graded):
    page = (graded[1] / "feedback" / "cheat.html").read_text("utf-8")
    body = page[page.index("<body"):]
    tags = re.findall(r"<[^>]*>", body)
    assert not [tag for tag in tags if re.match("<(script|iframe|meta|object|link|style|form)", tag, re.I)]
    assert not [tag for tag in tags if re.search(r"\son\w+\s*=|javascript:|url\(|src=.https?:", tag, re.I)]
    assert "<b>bold</b>" in body.replace(' style=""', "") and "<strong>words</strong>" in body
    assert '<path d="M0 0L2 2"' in body  # drawings stay
    assert "<script" not in page[:page.index("<body")]


def test_feedback_in_a_browser_runs_and_loads_nothing(graded):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the test extra")
    chromium = shutil.which("chromium") or pytest.skip("needs Chromium: apt install chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((graded[1] / "feedback" / "cheat.html").as_uri())
        assert page.title() == SHEET and "Score: 4.0" in page.inner_text("h4")
        browser.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]


@pytest.mark.parametrize("master", MASTERS[-1:], ids=lambda p: p.stem)
def test_the_own_solution_gets_full_marks(master, tmp_path):
    """One sheet: test_checks runs the solutions and hidden tests of all, without nbgrader."""
    (tmp_path / "in").mkdir()
    nbformat.write(grading.read_master(master), tmp_path / "in" / "master.ipynb")
    row, = grading.grade(master.stem, tmp_path / "in", tmp_path / "out", exercises_folder=EXERCISES)
    assert row.total == row.max > 0, row.message


# --- mending -----------------------------------------------------------------------------------

def test_a_right_notebook_needs_no_mending(small):
    mended, notes = mend(answered(small), small)
    assert notes == [] and [c.source for c in mended.cells] == [c.source for c in answered(small).cells]


def test_a_mended_notebook_has_each_graded_cell_once_as_it_was_released(small):
    mended, _ = mend(twisted(small), small)
    nbformat.validate(mended)
    names = [grade_id(c) for c in mended.cells if grade_id(c)]
    assert names == [grade_id(c) for c in small.cells if grade_id(c)]
    for one in mended.cells:
        original = next((c for c in small.cells if grade_id(c) and grade_id(c) == grade_id(one)), None)
        assert one.metadata == (original.metadata if original else {})
        assert original is None or one.cell_type == original.cell_type


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_notebook_in_any_unicode_is_read(encoding, small, tmp_path):
    (tmp_path / "ann.ipynb").write_text(nbformat.writes(small), encoding=encoding)
    assert read_notebook(handed_in(tmp_path)["ann"], SHEET).cells[1].source.startswith("def my_fgsm")


# --- bad input ------------------------------------------------------------------------

@pytest.fixture
def grade_quickly(tmp_path, sheets):
    def grade(out="out"):
        """One unreadable submission: nothing has to run."""
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / "ann.ipynb").touch()
        return grading.grade(SHEET, tmp_path / "in", tmp_path / out, exercises_folder=sheets)

    return grade


def test_unknown_assignment_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown assignment '99_zeal'; known: 00_adversarial_examples, 01_data"):
        grading.grade("99_zeal", tmp_path, tmp_path / "out", exercises_folder=EXERCISES)


@pytest.mark.parametrize("folder", ["", "missing"])
def test_no_submissions(tmp_path, folder, sheets):
    with pytest.raises(ValueError, match="holds no submissions: put NAME.ipynb"):
        grading.grade(SHEET, tmp_path / folder, tmp_path.parent / "elsewhere", exercises_folder=sheets)


def test_no_masters(tmp_path):
    with pytest.raises(ValueError, match="holds no masters"):
        grading.make_students(tmp_path, tmp_path / "out")


def test_results_inside_the_submissions_are_refused(grade_quickly):
    with pytest.raises(ValueError, match="lies inside the folder of submissions"):
        grade_quickly(out="in/out")


def test_grading_again_keeps_the_marks_given_by_hand(tmp_path, grade_quickly):
    grade_quickly()
    scores = tmp_path / "out" / "scores.csv"
    scores.write_text(scores.read_text() + "bob,5,4,4,13,9,marked by hand\n")
    (tmp_path / "out" / "letter.txt").write_text("mine")
    grade_quickly()
    assert "marked by hand" in (tmp_path / "out" / "scores.previous.csv").read_text()
    assert "bob" not in scores.read_text()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["feedback", "letter.txt", "scores.csv",
                                                                    "scores.previous.csv"]


def test_two_submissions_of_one_name_are_kept_apart(tmp_path, grade_quickly):
    (tmp_path / "in" / "ann").mkdir(parents=True)
    assert [r.student for r in grade_quickly()] == ["ann", "ann.ipynb"]


def test_a_name_with_markup_does_no_harm(tmp_path, grade_quickly):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "<b>eve & co.ipynb").touch()
    grade_quickly()
    assert "&lt;b&gt;eve &amp; co" in (tmp_path / "out" / "feedback" / "<b>eve & co.html").read_text()
