"""Records: written whole or not at all, and the only way for a number into the prose."""

from __future__ import annotations

import json
import os

import pytest

from advlens.course import records


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
    assert made["device"] and made["commit"]


@pytest.mark.parametrize("broken", [{"values": {"x": object()}}, {"replace": OSError("disk full")}], ids=["not JSON", "killed before the end"])
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
    "LeNet keeps 97.3 % of {n} images.", "{kept:.1%} of 500 images.", "about 3 of {n}", "a margin of 0.25", "10,000 images", "-1.5 logits", "1e-3", "x = 0.5",
])
def test_say_refuses_a_number_typed_by_hand(template):
    with pytest.raises(ValueError, match="typed by hand"):
        records.say(template, kept=0.5, n=7)


@pytest.mark.parametrize("template", [
    "LeNet-5 on CIFAR-10", "ResNet-18, L2 and x10", "eps = 8/255", "eps = 0.3", "steps of 2/255", "a 95 % interval", "pixels in [0, 1]", "$2^{{10}}$ and `x[3]`",
    "{{cite}}`goodfellow2015`",
])
def test_say_knows_names_and_settings(template):
    assert records.say(template + " {n}", n=7).data.endswith(" 7")


def verdict(**other):
    given = dict(claim="A <claim>", source="unam2021", reported="more", measured="less", verdict="differs", why="R & D")
    return records.verdict(**(given | other))


def test_verdict_shows_everything_escaped():
    html = verdict().data
    for text in ("A &lt;claim&gt;", "Kelley &amp; Fritz 2021", "more", "less", "differs", "R &amp; D", 'class="advlens-verdict"'):
        assert text in html
    assert "<claim>" not in html


@pytest.mark.parametrize("wrong", [{"source": "nobody2000"}, {"verdict": "maybe"}])
def test_verdict_lists_what_it_knows(wrong):
    (name, given), = wrong.items()
    with pytest.raises(ValueError, match=f"unknown {name} '{given}'; known: (unam2021|confirmed), "):
        verdict(**wrong)


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
    with pytest.raises(FileNotFoundError, match="99-test"):
        records.quote("99-other")


def test_a_listing_is_the_code_that_runs():
    shown = records.listing(records.listing).data
    assert shown.startswith("```python\ndef listing(function):") and shown.endswith("```")
    assert "inspect.getsource(function)" in shown
