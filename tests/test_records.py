"""Records: written whole or not at all, and the only way for a number into the prose."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from advlens.course import records

LINUX = sys.platform == "linux"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "records").mkdir()
    monkeypatch.setattr(records, "data_folder", lambda: tmp_path)
    return tmp_path / "records"


@pytest.fixture
def made():
    return records.provenance("advlens record 99-test", source="a set <made> for this test", seed=0, seconds=1.234)


# --- files ---------------------------------------------------------------------------

def test_what_is_written_is_read_again(folder, made):
    values = {"accuracy": [0.1, 0.25], "n": 3}
    assert records.write("99-test", values, made) == folder / "99-test.json"
    assert records.read("99-test") == {"values": values, "provenance": made}


def test_provenance_says_how_to_measure_again(made):
    assert set(made) == {"command", "commit", "source", "device", "versions", "seed", "seconds", "date"}
    assert made["command"] == "advlens record 99-test" and made["seconds"] == 1.2
    assert {"python", "advlens", "torch", "numpy"} <= set(made["versions"])
    assert made["versions"]["torch"] == torch.__version__ and made["versions"]["python"] == platform.python_version()
    assert made["date"] == datetime.date.today().isoformat()
    assert made["device"] == records.device()  # what that says has its own test, below
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=os.path.dirname(__file__), capture_output=True,
                          text=True).stdout.strip()
    assert made["commit"].removesuffix(" with changes") == (head[:12] or "unknown (not in a git checkout)")


def test_the_device_is_the_processor_and_its_threads_or_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if LINUX else []
    named = dict(line.split(":", 1) for line in lines if ":" in line)
    processor = next((value.strip() for key, value in named.items() if key.startswith("model name")), None)
    assert records.device() == f"{processor or platform.processor() or platform.machine()}, 7 threads"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert records.device().endswith(", 1 thread")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert records.device() == "a GPU"


# --- which code ----------------------------------------------------------------------

@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a file of each kind, all committed."""
    root = tmp_path / "checkout"
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):  # set where a hook of git runs the tests
        monkeypatch.delenv(name, raising=False)
    for path in ("lib/advlens/course/records.py", "lib/advlens/data.csv", "measurements/03_one_step.py",
                 "chapters/03_one_step.py", "README.md", "chapters/03_one_step.ipynb", "data/records/03-a.json",
                 "data/checkpoints/lenet.safetensors", ".gitignore"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("build/\n" if path == ".gitignore" else "as committed")
    monkeypatch.setattr(records, "HERE", root / "lib" / "advlens" / "course" / "records.py")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "all")
    return root


def git(root, *words):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=root, check=True)


def test_a_clean_checkout_is_its_commit(checkout):
    records.require_clean()
    assert records.changes() == [] and re.fullmatch("[0-9a-f]{12}", records.commit())
    assert records.provenance("x", source="y", seed=0, seconds=1)["commit"] == records.commit()


@pytest.mark.parametrize("path", [
    "lib/advlens/course/records.py", "lib/advlens/data.csv", "measurements/03_one_step.py", "chapters/03_one_step.py",
    "README.md", "data/checkpoints/lenet.safetensors",  # changed; from here on new
    "lib/advlens/new.py", "measurements/05_new.py", "chapters/05_new.py", "data/checkpoints/new.safetensors"])
def test_whatever_a_number_may_hang_on_is_a_change(checkout, path):
    """Also outside the library's folder, and what is no Python: both used to pass for the commit."""
    (checkout / path).write_text("changed")
    assert records.changes() == [path]
    assert records.commit().endswith(" with changes")
    assert records.provenance("x", source="y", seed=0, seconds=1)["commit"].endswith(" with changes")
    with pytest.raises(RuntimeError,
                       match=f"uncommitted changes in {path}: commit them, or insist with --with-changes"):
        records.require_clean()
    records.require_clean(insist=True)


@pytest.mark.parametrize("stage", [["add", "."], ["rm", "-q", "--cached", "lib/advlens/data.csv"]],
                         ids=["staged", "untracked again"])
def test_the_index_hides_no_change(checkout, stage):
    (checkout / "lib" / "advlens" / "data.csv").write_text("changed")
    git(checkout, *stage)
    assert "lib/advlens/data.csv" in records.changes()


def test_a_deleted_file_is_a_change(checkout):
    (checkout / "lib" / "advlens" / "data.csv").unlink()
    assert records.changes() == ["lib/advlens/data.csv"]


def test_what_a_run_writes_itself_does_not_spoil_the_next_record(checkout, monkeypatch):
    """Neither do notes at the root, nor build files that git ignores."""
    monkeypatch.setattr(records, "data_folder", lambda: checkout / "data")
    for name in ("03-a", "03-new"):
        records.write(name, {"x": 1}, records.provenance("x", source="y", seed=0, seconds=1))
        records.require_clean()
    for path in ("chapters/03_one_step.ipynb", "notes.txt", "build/training/lenet.safetensors", "lib/build/x.py"):
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).write_text("written")
    assert records.changes() == [] and " " not in records.commit()


def test_a_training_may_except_the_weights_it_writes(checkout):
    (checkout / "data" / "checkpoints" / "lenet.safetensors").write_text("other weights")
    (checkout / "data" / "checkpoints" / "new.json").write_text("{}")
    assert len(records.changes()) == 2 and records.changes("data/checkpoints") == []
    assert records.commit().endswith("with changes") and " " not in records.commit("data/checkpoints")


def test_many_changes_are_not_all_listed(checkout):
    for number in range(7):
        (checkout / "measurements" / f"{number}.py").touch()
    with pytest.raises(RuntimeError, match=r"measurements/4.py and others: commit"):
        records.require_clean()


def test_a_long_run_stamps_what_it_started_from(checkout):
    began = records.commit()
    (checkout / "README.md").write_text("changed meanwhile")
    assert records.provenance("x", source="y", seed=0, seconds=1, commit=began)["commit"] == began


@pytest.mark.parametrize("inside", [False, True], ids=["no repository", "in somebody else's"])
def test_an_installed_package_knows_no_commit(inside, checkout, tmp_path, monkeypatch):
    """site-packages may lie in a repository: its commit is not ours."""
    folder = (checkout if inside else tmp_path) / "venv"
    folder.mkdir()
    monkeypatch.setattr(records, "HERE", folder / "records.py")
    assert records.commit() == "unknown (not in a git checkout)"
    with pytest.raises(RuntimeError, match="not in a git checkout.*clone the repository, or insist"):
        records.require_clean()
    records.require_clean(insist=True)


# --- writing -----------------------------------------------------------------------

@pytest.mark.parametrize("broken", [{"values": {"x": object()}}, {"replace": OSError("disk full")}],
                         ids=["not JSON", "killed before the end"])
def test_a_failed_write_leaves_the_old_record(folder, made, monkeypatch, broken):
    records.write("99-test", {"x": 1}, made)
    if "replace" in broken:
        def fail(*_):
            raise broken["replace"]
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((TypeError, OSError)):
        records.write("99-test", broken.get("values", {"x": 2}), made)
    assert records.read("99-test")["values"] == {"x": 1}


def test_an_incomplete_provenance_is_refused(folder, made):
    del made["commit"]
    with pytest.raises(ValueError, match="it needs .*commit"):
        records.write("99-test", {}, made)
    assert not list(folder.iterdir())


def test_an_unknown_record_lists_the_known_ones(folder, made):
    records.write("99-a", {}, made)
    records.write("99-b", {}, made)
    with pytest.raises(FileNotFoundError, match="no record '99-c'; known: 99-a, 99-b"):
        records.read("99-c")


def test_every_committed_record_is_complete():
    for path in (records.data_folder() / "records").glob("*.json"):
        record = json.loads(path.read_text())
        assert set(record) == {"values", "provenance"}, path.name
        assert set(record["provenance"]) == records.KEYS, path.name


# --- prose ---------------------------------------------------------------------------

def test_say_fills_numbers_into_markdown():
    said = records.say("LeNet keeps **{kept:.1%}** of {n:,} images.", kept=0.12345, n=10000)
    assert said.data == "LeNet keeps **12.3%** of 10,000 images."
    assert type(said).__name__ == "Markdown"


@pytest.mark.parametrize("template", [
    "LeNet keeps 97.3 % of {n} images.", "{kept:.1%} of 500 images.", "about 3 of {n}", "a margin of 0.25",
    "10,000 images", "-1.5 logits", "1e-3", "x = 0.5",
])
def test_say_refuses_a_number_typed_by_hand(template):
    with pytest.raises(ValueError, match="typed by hand"):
        records.say(template, kept=0.5, n=7)


@pytest.mark.parametrize("template", [
    "LeNet-5 on CIFAR-10", "ResNet-18, L2 and x10", "eps = 8/255", "eps = 0.3", "steps of 2/255", "a 95 % interval",
    "pixels in [0, 1]", "section 3.2 and figure 4", "$2^{{10}}$ and `x[3]`",
    "{{cite}}`goodfellow2015`",
])
def test_say_knows_names_and_settings(template):
    assert records.say(template + " {n}", n=7).data.endswith(" 7")


def test_a_sentence_that_the_numbers_do_not_bear_out_is_an_error():
    assert records.say("{a} is more than {b}.", holds=2 > 1, a=2, b=1).data == "2 is more than 1."
    with pytest.raises(ValueError, match="do not bear out the sentence '1 is more than 2.'"):
        records.say("{a} is more than {b}.", holds=1 > 2, a=1, b=2)


CLAIM = dict(claim="A <claim>", source="unam2021", where="section 2 & 3", reported='"more"', measured="less",
             verdict="differs")


def verdict(**other):
    return records.verdict(**(CLAIM | {"why": "R & D"} | other))


def row(**other):
    return records.claims([CLAIM | other])


@pytest.mark.parametrize("shown", [verdict, row])
def test_claims_are_shown_escaped(shown):
    html = shown().data
    for text in ("A &lt;claim&gt;", "Kelley &amp; Fritz 2021, section 2 &amp; 3", "&quot;more&quot;", "less"):
        assert text in html
    assert "<claim>" not in html


def test_a_verdict_is_one_line_that_opens():
    html = verdict().data
    assert html.startswith('<details class="lens-verdict"') and " open" not in html.split(">")[0]
    line = html[html.index("<summary>"):html.index("</summary>")]
    assert "A &lt;claim&gt;" in line and "differs" in line and "less" not in line and "R &amp; D" in html


def test_the_other_claims_are_counted():
    assert "<summary>Other claims met here (2)</summary>" in records.claims([CLAIM, CLAIM]).data
    with pytest.raises(TypeError, match="why"):
        row(why="too much")


@pytest.mark.parametrize("wrong", [{"source": "nobody2000"}, {"verdict": "maybe"}])
@pytest.mark.parametrize("shown", [verdict, row])
def test_claims_list_what_is_known(shown, wrong):
    (name, given), = wrong.items()
    with pytest.raises(ValueError, match=f"unknown {name} '{given}'; known: (unam2021|confirmed), "):
        shown(**wrong)


@pytest.mark.parametrize("shown", [verdict, row])
def test_a_claim_says_where_it_stands(shown):
    with pytest.raises(ValueError, match="where is empty"):
        shown(where=" ")


def contrast(a, b):
    """WCAG 2 contrast of two colours "#rrggbb"."""
    def luminance(colour):
        parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", records.VERDICTS.values(), ids=list(records.VERDICTS))
def test_badges_are_legible(colour):
    assert contrast("#ffffff", colour) > 4.5


def test_quote_names_command_commit_and_data(folder, made):
    records.write("99-test", {}, made)
    html = records.quote("99-test").data
    for text in (made["command"], made["commit"], made["date"], "1.2 s", "a set &lt;made&gt; for this test"):
        assert text in html
    records.write("99-test", {}, made | {"source": ""})
    assert "Data:" not in records.quote("99-test").data  # a measurement on made numbers has none
    with pytest.raises(FileNotFoundError, match="99-test"):
        records.quote("99-other")


def test_a_listing_is_the_code_that_runs():
    shown = records.listing(records.listing).data
    assert shown.startswith("```python\ndef listing(function):") and shown.endswith("```")
    assert "inspect.getsource(function)" in shown
