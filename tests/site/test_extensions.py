"""The small Sphinx extensions of the book, without building it."""

import hashlib
import json
import sys

import pytest
from test_pages import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import measured  # noqa: E402
import verdicts  # noqa: E402


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "book" / "data"
    for name in ("records", "checkpoints"):
        (folder / name).mkdir(parents=True)
    record = {"values": {"lenet": {"accuracy": [0.99, 0.5], "8/255": 3, "a b": 1234567}},
              "provenance": {"seconds": 2.5}}
    (folder / "records" / "03-curves.json").write_text(json.dumps(record))
    (folder / "checkpoints" / "lenet-mnist.json").write_text(json.dumps({"test accuracy": 0.9942}))
    return folder


@pytest.mark.parametrize("text, shown", [
    ("03-curves: lenet.accuracy[1] | .1%", "50.0%"),
    ("03-curves: lenet.accuracy[0]", "0.99"),
    ("03-curves: lenet[8/255] | d", "3"),
    ("03-curves: lenet.a b | ,", "1,234,567"),
    ("03-curves: provenance.seconds | .0f", "2"),
    ("checkpoints/lenet-mnist: test accuracy | .2%", "99.42%"),
])
def test_a_record_is_quoted(data, text, shown):
    assert measured.look_up(data, text)[0] == shown


@pytest.mark.parametrize("text, error, says", [
    ("03-curve: lenet", FileNotFoundError, "known: 03-curves"),
    ("03-curves: vgg.accuracy", KeyError, "known: 'lenet'"),
    ("03-curves: lenet.accuracy[2]", KeyError, "a list of 2"),
    ("03-curves: lenet.accuracy[0].deeper", KeyError, "nothing inside 0.99"),
    ("03-curves", ValueError, "NAME: PATH"),
    ("03-curves: lenet.accuracy[1] | .1q", ValueError, "format"),
])
def test_an_unknown_record_is_an_error_that_says_what_is_known(data, text, error, says):
    with pytest.raises(error, match=says.replace("|", r"\|")):
        measured.look_up(data, text)


def test_an_unknown_record_is_a_warning_of_the_build(data, tmp_path):
    """With -W, as `make book` builds, that warning is the end."""
    from sphinx.application import Sphinx

    (data.parent / "index.md").write_text("# Title\n\n{record}`03-curves: nothing`\n")
    with (tmp_path / "log").open("w+") as log:
        app = Sphinx(str(data.parent), None, str(tmp_path / "out"), str(tmp_path / "trees"), "dummy", freshenv=True,
                     status=None, warning=log, confoverrides={"extensions": ["myst_parser", "measured"]})
        app.build()
        log.seek(0)
        # Another test of this process may have built a book as well: Sphinx then finds its own nodes registered.
        said = [line for line in log.read().splitlines() if "WARNING" in line and "already registered" not in line]
    assert len(said) == 1 and "known: 'lenet'" in said[0]


def test_claims_are_read_back(tmp_path):
    """The page of sources reads what records.verdict and records.claims write."""
    from advlens.course import records

    told = dict(claim='Two < three & "true".', source="marinelli", where="table 2", reported="r", measured="m",
                verdict="differs")
    box, table = records.verdict(**told, why="w"), records.claims([told | {"claim": "b"}, told | {"claim": "c"}])
    cells = [{"outputs": []}, *({"outputs": [{"data": {"text/html": html}}]}
                                for html in (box.data, ["<p>no claim</p>"], table.data.splitlines(keepends=True)))]
    (tmp_path / "03_x.ipynb").write_text(json.dumps({"cells": cells}))
    assert verdicts.read(tmp_path / "03_x.ipynb", "chapters/03_x") == [
        verdicts.Claim("chapters/03_x", f"claim-{i}", **(told | {"claim": claim, "source": "Marinelli"}))
        for i, claim in ((1, 'Two < three & "true".'), (2, "b"), (3, "c"))]
    assert set(verdicts.MEANING) == set(records.VERDICTS)


@pytest.mark.parametrize("folder", ["book/_static/vendor", "tests/site/axe"])
def test_vendored_files_are_what_was_fetched(folder):
    sums = dict(reversed(line.split(maxsplit=1)) for line in (ROOT / folder / "SHA256SUMS").read_text().splitlines())
    there = {f"./{p.relative_to(ROOT / folder).as_posix()}": p for p in (ROOT / folder).rglob("*") if p.is_file()
             and p.name != "SHA256SUMS"}
    assert sums.keys() == there.keys()
    for name, path in there.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sums[name], name
