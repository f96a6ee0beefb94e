"""The chapter runner: outputs are stored whole or not at all, with real data, and twice the same."""

import base64
import io
import json

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
from tqdm.notebook import tqdm
from advlens import data
from advlens.course import plots, widgets
digits = data.load("digits")
for _ in tqdm(range(2)):
    print("a step")

# %%
widgets.explore(lambda row: plots.grid([plots.image(digits.images[row], f"row {row}")]), alt=lambda row: f"Digit {row}",
                caption="Scanned digits.", row=list(range(6)))

# %%
widgets.predict("Is 1 < 2?", {"yes": "Count.", "no": "Count again."}, "yes")
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


def test_two_runs_give_the_same_bytes_and_store_widgets_as_html_alone(write):
    source = write(SLIDER)
    stored = chapters.execute(source)[0]
    assert nbformat.writes(stored) == nbformat.writes(chapters.execute(source)[0])
    bar, explore, predict = (cell.outputs for cell in stored.cells)
    assert [output.output_type for output in bar] == ["stream"]
    assert [sorted(output.data) for output in (*explore, *predict)] == [["text/html", "text/plain"]] * 2
    assert "lens-explore" in explore[0].data["text/html"] and "lens-predict" in predict[0].data["text/html"]
    assert predict[0].data["text/plain"] == "Is 1 < 2?"
    assert "widgets" not in stored.metadata


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


DRAWING = ('<svg width="300"><path d="M1.5 20L{x} 7" fill="#0072b2" clip-path="url(#a1)"/>'
           '<text x="4">{word}</text></svg>')


def notebook(output=LEVELS, widget=LEVELS, text="largest 0.25", alt="a frame", x=33.25, word="eps", fallback=LEVELS):
    """A notebook as it is stored: a printed text, a picture, and HTML with a picture, a drawing and a fallback."""
    frame = (f"<img alt='{alt}' src='data:image/png;base64,{png(widget)}'>".replace("\n", "")
             + DRAWING.format(x=x, word=word))
    stored = json.dumps([frame]).replace("</", "<\\/")  # as explore keeps the frames that are not shown yet
    cell = nbformat.v4.new_code_cell("draw()", id="cell-0", outputs=[
        nbformat.v4.new_output("stream", text=text + "\n"),
        nbformat.v4.new_output("display_data", {"image/png": png(output)}),
        nbformat.v4.new_output("display_data", {"text/html": f"{frame}<script>{stored}</script>",
                                                "image/png": png(fallback)})])
    return nbformat.v4.new_notebook(cells=[cell])


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
    shown, kept = chapters.differences(notebook(), notebook(widget=changed))
    assert shown.startswith("cell 0: picture 1: up to") and kept.startswith("cell 0: picture 2: up to")


def test_the_picture_for_viewers_without_html_is_not_compared():
    """It is drawn from the same numbers in few colours, which may be chosen otherwise."""
    assert chapters.differences(notebook(), notebook(fallback=LEVELS + 50)) == []


def test_rounding_of_a_drawing_is_forgiven_and_more_is_found():
    assert chapters.differences(notebook(), notebook(x=33.5)) == []
    shown, kept = chapters.differences(notebook(), notebook(x=34.25))
    assert "drawing 0: something is 1.0 pixels" in shown and "drawing 1:" in kept
    assert chapters.differences(notebook(), notebook(x="33.25 2"))
    assert chapters.differences(notebook(word="0.1"), notebook(word="0.2")), "its words are not rounded"


def test_a_changed_text_is_found():
    (wrong,) = chapters.differences(notebook(), notebook(text="largest 0.26"))
    assert wrong.startswith("cell 0: stored ") and "0.25" in wrong and "0.26" in wrong
    (wrong,) = chapters.differences(notebook(), notebook(alt="another frame"))
    assert wrong.startswith("cell 0: stored ")


def test_a_missing_output_is_found():
    fewer = notebook()
    fewer.cells[0].outputs.pop()
    assert chapters.differences(notebook(), fewer) and chapters.differences(fewer, notebook())


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
