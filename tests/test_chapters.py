"""The chapter runner: outputs are stored whole or not at all, with real data, and twice the same."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

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
                   "data._download = no_network\n"
                   "data.load('mnist', fallback='digits')\n")
    pair = tmp_path / "98_try.ipynb"
    pair.write_text("stored before")
    with pytest.raises(CellExecutionError, match="forbids the stand-in"):
        chapters.run(source)
    assert pair.read_text() == "stored before"


def test_a_failing_cell_stops_the_run_with_its_traceback(write):
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        chapters.execute(write("# %%\n1 / 0\n"))
