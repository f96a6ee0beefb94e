"""The chapter runner: outputs are stored whole or not at all, with real data, and twice the same."""

import base64
import io

import nbformat
import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError
from PIL import Image

from advlens.course import chapters, records

HEADER = '''# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

'''
SLIDER = '''# %%
import ipywidgets
from advlens import data
digits = data.load("digits")
slider = ipywidgets.IntSlider(max=3)
stack = ipywidgets.Stack([ipywidgets.HTML(str(i)) for i in range(4)], selected_index=0)
ipywidgets.jslink((slider, "value"), (stack, "selected_index"))
ipywidgets.VBox([slider, stack])
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    (tmp_path / "records").mkdir()
    monkeypatch.setattr(records, "data_folder", lambda: tmp_path)
    monkeypatch.delenv("ADVLENS_DATA", raising=False)
    monkeypatch.setenv("ADVLENS_CACHE", str(tmp_path / "cache"))

    def make(text):
        path = tmp_path / "98_try.py"
        path.write_text(HEADER + text)
        return path

    return make


def test_two_runs_give_the_same_bytes(write):
    source = write(SLIDER)
    first = nbformat.writes(chapters.execute(source)[0])
    second = nbformat.writes(chapters.execute(source)[0])
    assert first == second
    assert "Stack" in first and "LinkModel" in first


def test_a_run_stores_outputs_and_says_which_data(write, tmp_path):
    source = write(SLIDER)
    chapters.run(source)
    assert chapters.out_of_step(tmp_path) == []
    run = records.read("run-98_try")
    assert run["values"]["data"] == ["digits: 1,797 scanned 8x8 digits (UCI), enlarged"]
    assert run["provenance"]["command"] == "make run CHAPTER=98"


def test_stand_in_data_is_refused_and_nothing_is_overwritten(write, tmp_path):
    asks = 'from advlens import data\n'
    source = write("# %%\n" + asks +
                   "def no_network(*_):\n    raise data.DataUnavailable('no network')\n"
                   "data.real._download = no_network\n"
                   "data.load('mnist', fallback='digits')\n")
    pair = tmp_path / "98_try.ipynb"
    pair.write_text("stored before")
    with pytest.raises(CellExecutionError, match="forbids the stand-in"):
        chapters.run(source)
    assert pair.read_text() == "stored before"


def test_a_failing_cell_stops_the_run_with_its_traceback(write):
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        chapters.execute(write("# %%\n1 / 0\n"))


# --- make verify ---------------------------------------------------------------------

LEVELS = np.arange(1200).reshape(30, 40) % 200


def png(levels) -> str:
    file = io.BytesIO()
    Image.fromarray(levels.astype("uint8")).save(file, "png")
    return base64.encodebytes(file.getvalue()).decode()


def notebook(output=LEVELS, widget=LEVELS, text="largest 0.25", alt="a frame"):
    """A notebook as it is stored: a printed text, a picture, and a widget with a picture."""
    cell = nbformat.v4.new_code_cell("draw()", id="cell-0", outputs=[
        nbformat.v4.new_output("stream", text=text + "\n"),
        nbformat.v4.new_output("display_data", {"image/png": png(output)})])
    frame = {"value": f"<img alt='{alt}' src='data:image/png;base64,{png(widget)}'>".replace("\n", "")}
    return nbformat.v4.new_notebook(cells=[cell],
                                    metadata={"widgets": {chapters.STATE: {"state": {"0" * 32: {"state": frame}}}}})


def test_the_same_outputs_do_not_differ():
    assert chapters.differences(notebook(), notebook()) == []


def test_rounding_of_a_picture_is_forgiven():
    """As between two processors: a few pixels, up to 3 grey levels."""
    near = LEVELS + 3 * (np.arange(1200).reshape(30, 40) % 37 == 0)
    assert chapters.differences(notebook(), notebook(near, near)) == []


def one_pixel(by):
    levels = LEVELS.copy()
    levels[3, 4] += by
    return levels


@pytest.mark.parametrize("changed", [one_pixel(9), one_pixel(-9), LEVELS + 1, LEVELS[:, :39]],
                         ids=["one pixel", "darker", "all by one", "size"])
def test_a_changed_picture_is_found(changed):
    (wrong,) = chapters.differences(notebook(), notebook(output=changed))
    assert wrong.startswith("cell 0: picture 0: up to")
    (wrong,) = chapters.differences(notebook(), notebook(widget=changed))
    assert wrong.startswith("widgets: picture 0: up to")


def test_a_changed_text_is_found():
    (wrong,) = chapters.differences(notebook(), notebook(text="largest 0.26"))
    assert wrong.startswith("cell 0: stored ") and "0.25" in wrong and "0.26" in wrong
    (wrong,) = chapters.differences(notebook(), notebook(alt="another frame"))
    assert wrong.startswith("widgets: stored ")


def test_a_missing_output_is_found():
    fewer = notebook()
    fewer.cells[0].outputs.pop()
    assert chapters.differences(notebook(), fewer) and chapters.differences(fewer, notebook())
    fewer.metadata.pop("widgets")
    assert "widgets" in chapters.differences(notebook(), fewer)[-1]


def test_verify_runs_the_chapter_and_says_where_it_differs(write, capsys):
    source = write('# %%\nprint("largest", 0.25)\n')
    chapters.run(source)
    pair = source.with_suffix(".ipynb")
    pair.write_text(pair.read_text().replace('"largest 0.25', '"largest 0.75'))
    assert chapters.main(["--verify", str(source)]) == 1
    assert "98_try.py: cell 0: stored" in capsys.readouterr().out


def test_verify_passes_where_nothing_differs(monkeypatch, capsys):
    monkeypatch.setattr(chapters, "execute", lambda source: (notebook(), 1.0, []))
    monkeypatch.setattr(chapters.nbformat, "read", lambda path, version: notebook())
    assert chapters.main(["--verify", "98_try.py"]) == 0
    assert "98_try.py: the same" in capsys.readouterr().out


def test_a_pair_out_of_step_is_found():
    other = notebook()
    other.cells[0].source = "draw(1)"
    assert chapters.differences(notebook(), other) == ["the pair is out of step: make run"]
