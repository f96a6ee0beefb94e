"""The command line: what it prints, and what it answers to wrong words."""

import json

import pytest

from advlens import data
from advlens.course import cli, measuring, records


@pytest.fixture
def lonely(monkeypatch, tmp_path):
    """A machine without real data: an empty cache, no $ADVLENS_DATA."""
    monkeypatch.delenv("ADVLENS_DATA", raising=False)
    monkeypatch.setenv("ADVLENS_CACHE", str(tmp_path / "cache"))


def test_doctor_names_the_remedy_for_what_is_missing(lonely, capsys):
    code = cli.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    missing = [i for i, line in enumerate(lines) if line.startswith("[fix] data mnist")]
    assert code == 1 and len(missing) == 1
    assert "ADVLENS_DATA" in lines[missing[0] + 1]
    assert sum(line.startswith("[ok] checkpoint") for line in lines) >= 8
    for found in ("Python", "torch", "GPU", "riton", "torchvision", "data digits: embedded", "Chromium"):
        assert any(found in line for line in lines), found


def test_doctor_tells_damaged_data_from_missing_data(lonely, monkeypatch, tmp_path, capsys):
    (tmp_path / "mnist.npz").write_bytes(b"not a zip file")
    monkeypatch.setenv("ADVLENS_DATA", str(tmp_path))
    assert cli.main(["doctor"]) == 1
    assert "[fix] data mnist: damaged" in capsys.readouterr().out


def test_doctor_touches_no_network(lonely, monkeypatch):
    def refuse(*_):
        raise AssertionError("doctor downloads")

    monkeypatch.setattr(data, "_download", refuse)
    cli.main(["doctor"])


def test_record_lists_what_it_knows(capsys):
    assert cli.main(["record"]) == 0
    names = capsys.readouterr().out.split()
    assert "checkpoint-lenet-mnist" in names and "03-curves" in names


def test_record_refuses_an_unknown_name(capsys):
    assert cli.main(["record", "no-such-record"]) == 1
    answer = capsys.readouterr().err
    assert "no-such-record" in answer and "03-curves" in answer


def test_record_writes_values_with_provenance(monkeypatch, tmp_path):
    (tmp_path / "records").mkdir()
    monkeypatch.setattr(records, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(measuring, "registry", lambda: {"99-try": lambda: ({"answer": 42}, "digits", 7)})
    monkeypatch.setenv("ADVLENS_STANDIN", "")
    assert cli.main(["record", "99-try"]) == 0
    written = json.loads((tmp_path / "records" / "99-try.json").read_text())
    assert written["values"] == {"answer": 42}
    assert written["provenance"]["command"] == "advlens record 99-try" and written["provenance"]["seed"] == 7


def test_record_never_measures_a_stand_in(lonely, monkeypatch, capsys):
    def measure():
        return {"n": len(data.load("mnist", "test", fallback="digits"))}, "", None

    def no_network(*_):
        raise data.DataUnavailable("no network")

    monkeypatch.setattr(data, "_download", no_network)
    monkeypatch.setattr(measuring, "registry", lambda: {"99-try": measure})
    monkeypatch.setenv("ADVLENS_STANDIN", "")
    assert cli.main(["record", "99-try"]) == 1
    assert "forbids the stand-in" in capsys.readouterr().err


def test_every_record_in_the_book_has_its_measurement():
    """A JSON file that no command can make again is not a record."""
    from advlens.paths import data_folder

    known = set(measuring.registry())
    stored = {path.stem for path in (data_folder() / "records").glob("*.json") if not path.stem.startswith("run-")}
    assert stored and stored <= known
