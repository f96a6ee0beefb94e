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

    monkeypatch.setattr(data.real, "_download", refuse)
    cli.main(["doctor"])


def test_record_lists_what_it_knows(capsys):
    assert cli.main(["record"]) == 0
    names = capsys.readouterr().out.split()
    assert "checkpoint-lenet-mnist" in names and "03-curves" in names


def test_record_refuses_an_unknown_name(capsys):
    assert cli.main(["record", "no-such-record"]) == 1
    answer = capsys.readouterr().err
    assert "no-such-record" in answer and "03-curves" in answer


@pytest.fixture
def measurement(monkeypatch, tmp_path):
    """measurement(source): a checkout whose only measurement is the record 99-try, made by `point`; its records'
    folder.
    """
    (tmp_path / "records").mkdir()
    monkeypatch.setattr(records, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(records, "require_clean", lambda *, insist=False: None)
    monkeypatch.setattr(measuring, "_folder", lambda name: tmp_path / "points" / name)
    monkeypatch.setattr(measuring, "registry", lambda: {"99-try": tmp_path / "99_try.py"})
    monkeypatch.setenv("ADVLENS_STANDIN", "")

    def write(point: str, names: str = "['digits test']"):
        (tmp_path / "99_try.py").write_text("from advlens import data\nfrom advlens.course.measuring import Grid\n\n"
                                            f"{point}\n\nRECORDS = {{'99-try': Grid(point, data={names}, seed=7)}}\n")
        return tmp_path / "records"

    return write


def test_record_writes_values_with_provenance(measurement, monkeypatch):
    monkeypatch.setattr(records, "commit", lambda: "0123456789ab")
    folder = measurement("def point():\n    return {'answer': 42}")
    assert cli.main(["record", "99-try", "--jobs", "1"]) == 0
    written = json.loads((folder / "99-try.json").read_text())
    assert written["values"] == {"answer": 42}
    assert written["provenance"]["command"] == "advlens record 99-try" and written["provenance"]["seed"] == 7
    assert written["provenance"]["commit"] == "0123456789ab" and "digits" in written["provenance"]["source"]


def test_a_written_record_keeps_no_points(measurement):
    """So that the next time it starts from nothing."""
    folder = measurement("def point():\n    return data.load('digits', 'test').labels.sum().item()")
    assert cli.main(["record", "99-try", "--jobs", "1"]) == 0
    assert not (folder.parent / "points" / "99-try").exists()


def test_record_refuses_changes_unless_told(measurement, monkeypatch, capsys):
    asked = []

    def refuse(*, insist=False):
        asked.append(insist)
        if not insist:
            raise RuntimeError("the checkout has changes")

    monkeypatch.setattr(records, "require_clean", refuse)
    folder = measurement("def point():\n    return 1")
    assert cli.main(["record", "99-try"]) == 1 and "the checkout has changes" in capsys.readouterr().err
    assert not (folder / "99-try.json").exists()
    assert cli.main(["record", "99-try", "--with-changes", "--jobs", "1"]) == 0 and (folder / "99-try.json").exists()
    assert asked == [False, True]


@pytest.mark.parametrize("words, message", [
    (["--on", "slurm"], "unknown cluster 'slurm'; give dask://host:port or ray"),
    (["--on", "ray", "--jobs", "2"], "jobs = 2 counts processes on this machine"),
    (["--jobs", "0"], "jobs = 0; give at least 1"),
])
def test_record_names_what_is_wrong_with_its_cluster(words, message, measurement, capsys):
    folder = measurement("def point():\n    return 1")
    assert cli.main(["record", "99-try", *words]) == 1
    assert message in capsys.readouterr().err and not (folder / "99-try.json").exists()


def test_record_never_measures_a_stand_in(lonely, measurement, monkeypatch, capsys):
    def no_network(*_):
        raise data.DataUnavailable("no network")

    monkeypatch.setattr(data.real, "_download", no_network)
    measurement("def point():\n    return {'n': len(data.load('mnist', 'test', fallback='digits'))}")
    assert cli.main(["record", "99-try", "--jobs", "1"]) == 1
    assert "forbids the stand-in" in capsys.readouterr().err


def test_every_record_in_the_book_has_its_measurement():
    """A JSON file that no command can make again is not a record."""
    from advlens.paths import data_folder

    known, folder = set(measuring.registry()), data_folder() / "records"
    stored = {path.stem for path in folder.glob("*.json") if not path.stem.startswith("run-")}
    assert len(stored) > 10
    for name in stored - known:  # a benchmark made it
        script = records.read(name)["provenance"]["command"].removeprefix("python ").split()[0]
        assert f'"{name}"' in (folder.parents[1] / script).read_text()
