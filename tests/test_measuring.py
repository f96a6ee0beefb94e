"""Grids of points: the same numbers wherever they run, what is kept, and what a wrong cluster is told."""

from __future__ import annotations

import inspect
import json
import socket
import time

import joblib
import pytest
import torch

from advlens.course import measuring
from advlens.course.measuring import Grid, nested, only

# A real measurement, small: what is left of LeNet, and a sum that shows every bit of its logits.
MEASUREMENT = '''
import os, signal, time
from functools import partial
from pathlib import Path

import torch
from advlens import attacks, data, evaluation, zoo
from advlens.course.measuring import Grid, nested

HERE = Path(__file__).parent


def strike(eps, seed):
    log = os.open(HERE / "log", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(log, f"{eps} {seed}\\n".encode())
    if (HERE / "kill").exists() and (eps, seed) == (0.1, 1):
        (HERE / "kill").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if (HERE / "fail").exists() and (eps, seed) == (0.1, 1):
        raise ZeroDivisionError("on purpose")
    net, some = zoo.pretrained("lenet", "digits"), data.load("digits", "test")[:8]
    attack = partial(attacks.pgd, eps=eps, steps=2, generator=torch.Generator().manual_seed(seed))
    moved = attack(net, some.images, some.labels)
    torch.manual_seed(seed)  # as training does; another point in the same process must not come between
    time.sleep(0.02)
    return {"left": evaluation.robust_accuracy(net, some, attack=attack),
            "sum": evaluation.logits(net, moved).sum().item(), "drawn": torch.rand(()).item()}


POINTS = [{"eps": eps, "seed": seed} for eps in (0.05, 0.1) for seed in (0, 1, 2)]
RECORDS = {"99-try": Grid(strike, POINTS, nested("eps", "seed"), ["digits test"], 7)}
'''


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of the measurement; kept points lie beside it."""
    path = tmp_path / "99_try.py"
    path.write_text(MEASUREMENT)
    monkeypatch.setattr(measuring, "_folder", lambda name: tmp_path / "points" / name)
    monkeypatch.setenv("ADVLENS_STANDIN", "")
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The grid, one point after the other, in this process."""
    path = tmp_path_factory.mktemp("reference") / "99_try.py"
    path.write_text(MEASUREMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "_folder", lambda name: path.parent / "points" / name)
        patch.setenv("ADVLENS_STANDIN", "")
        return measure(path, jobs=1)


@pytest.fixture(scope="module")
def dask():
    """The address of a local Dask cluster of two worker processes."""
    distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'advlens[dask]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None,
                                  host="127.0.0.1") as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


def measure(file, on=None, jobs=None):
    with measuring.workers(on, jobs) as run:
        return measuring.measure("99-try", file, run, progress=False)


def measured(file):
    """The points that were begun, in their order."""
    log = file.parent / "log"
    return log.read_text().split("\n")[:-1] if log.exists() else []


# --- the same numbers everywhere ------------------------------------------------------

def test_the_values_hold_every_point(reference):
    assert list(reference.values) == ["0.05", "0.1"] and all(list(by_seed) == ["0", "1", "2"]
                                                             for by_seed in reference.values.values())
    sums = {value["sum"] for by_seed in reference.values.values() for value in by_seed.values()}
    assert len(sums) == 6, "the sums do not tell the points apart: this test shows nothing"
    assert (reference.seed == 7 and "digits" in reference.source and reference.seconds > 0
            and "1 thread" in reference.device)


def test_two_processes_give_the_same_bits(file, reference):
    assert measure(file, jobs=2).values == reference.values


def test_threads_give_the_same_bits(file, reference):
    with joblib.parallel_config(backend="threading"):
        assert measure(file, jobs=2).values == reference.values


def test_dask_gives_the_same_bits_also_when_a_worker_is_killed_in_the_middle(file, reference, dask):
    assert measure(file, dask).values == reference.values
    measuring.forget("99-try")
    (file.parent / "log").unlink()
    (file.parent / "kill").touch()
    assert measure(file, dask).values == reference.values
    assert not (file.parent / "kill").exists() and measured(file).count("0.1 1") == 2, "no worker was killed"


def test_ray_gives_the_same_bits(file, reference):
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'advlens[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        assert measure(file, "ray").values == reference.values
    finally:
        ray.shutdown()


def test_a_point_computes_on_one_thread(file):
    """Two threads would add in another order."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert measure(file, jobs=1).device.endswith(", 1 thread") and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


# --- what is kept ------------------------------------------------------------------------

def test_an_interrupted_record_goes_on_where_it_was(file, reference):
    (file.parent / "fail").touch()
    with pytest.raises(RuntimeError, match=r'99-try, point \{"eps": 0.1, "seed": 1\}: ZeroDivisionError: on purpose'):
        measure(file, jobs=1)
    assert measured(file) == ["0.05 0", "0.05 1", "0.05 2", "0.1 0", "0.1 1"]
    (file.parent / "fail").unlink()
    again = measure(file, jobs=1)
    assert measured(file)[5:] == ["0.1 1", "0.1 2"] and again.values == reference.values
    assert measure(file, jobs=1) == again and len(measured(file)) == 7  # all six are kept until they are forgotten


def test_a_finished_record_starts_from_nothing(file):
    measure(file, jobs=1)
    measuring.forget("99-try")
    measure(file, jobs=1)
    assert len(measured(file)) == 12


def test_points_of_other_code_are_not_taken(file):
    measure(file, jobs=1)
    file.write_text(MEASUREMENT.replace("steps=2", "steps=3"))
    measuring.load.cache_clear()  # as in a new process
    measure(file, jobs=1)
    assert len(measured(file)) == 12


@pytest.mark.parametrize("what", ["LIBRARY", "_checkpoints", "_data"])
def test_points_of_another_library_net_or_data_set_are_not_taken(what, file, monkeypatch):
    measure(file, jobs=1)
    other = {"LIBRARY": "other", "_checkpoints": lambda: "other", "_data": lambda name: ("digits", "other")}[what]
    monkeypatch.setattr(measuring, what, other)
    measure(file, jobs=1)
    assert len(measured(file)) == 12


def test_a_worker_with_another_library_is_refused(file):
    task = (str(file), "99-try", {"eps": 0.1, "seed": 0},
            measuring.ingredients(str(file), ["digits test"]) | {"the library": "old", "torch": "1.0"})
    with pytest.raises(RuntimeError,
                       match="this worker has another version of the library, torch than the machine that asks"):
        measuring.run_point(*task)
    assert measured(file) == []


def test_the_same_point_twice_is_refused(file):
    file.write_text(MEASUREMENT.replace("(0, 1, 2)]", "(0, 1, 1)]"))
    with pytest.raises(ValueError, match="99-try has the same point twice"):
        measure(file)


# --- gathering ------------------------------------------------------------------------------

def test_values_are_nested_by_the_entries_of_their_point():
    results = [({"net": "a", "eps": 0.5}, 1), ({"net": "a", "eps": 1}, 2), ({"net": "b", "eps": 1}, 3)]
    assert nested("net", "eps")(results) == {"a": {"0.5": 1, "1": 2}, "b": {"1": 3}}
    assert only([({}, 42)]) == 42


RANDOM = {"05-linear", "09-jpeg", "12-winners"}  # networks and points are drawn from the seed, or are waves


def test_every_measurement_of_the_checkout_is_a_grid():
    """Its points are plain JSON, each once, and it names the data that a worker has to have, unless it loads none."""
    for name, file in measuring.registry().items():
        grid = measuring.load(str(file))[0][name]
        assert isinstance(grid, Grid) and name.startswith(file.stem[:2])
        texts = [json.dumps(point, sort_keys=True) for point in grid.points]
        assert texts and len(set(texts)) == len(texts) and [json.loads(text) for text in texts] == list(grid.points)
        assert all(len(part.split()) == 2 for part in grid.data)
        assert grid.data or name in RANDOM and "data.load" not in inspect.getsource(grid.point)


# --- clusters that are not there ----------------------------------------------------------------

@pytest.mark.parametrize("on, jobs, message", [
    ("slurm://host:1", None, "unknown cluster 'slurm://host:1'; give dask://host:port or ray"),
    ("dask://host", None, "unknown cluster 'dask://host'; give dask://host:port or ray"),
    ("dask://", None, "give dask://host:port or ray"),
    ("dask://127.0.0.1:9", 2, "jobs = 2 counts processes on this machine"),
    (None, 0, "jobs = 0; give at least 1"),
])
def test_a_wrong_cluster_is_named(on, jobs, message):
    with pytest.raises(ValueError, match=message), measuring.workers(on, jobs):
        pass


def test_a_cluster_that_does_not_answer_is_an_error_soon(monkeypatch):
    pytest.importorskip("distributed", reason="needs Dask: pip install 'advlens[dask]'")
    monkeypatch.setattr(measuring, "PATIENCE", 1)
    with socket.socket() as taken:  # bound and not listening: nobody answers
        taken.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(ConnectionError,
                           match=r"no Dask scheduler answers at tcp://127.0.0.1:\d+ within 1 s: start one"):
            with measuring.workers(f"dask://127.0.0.1:{taken.getsockname()[1]}"):
                pass
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("on, package", [("dask://127.0.0.1:9", "dask"), ("ray", "ray")])
def test_a_missing_package_is_named(on, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, {"dask": "distributed", "ray": "ray"}[package], None)
    with pytest.raises(RuntimeError, match=rf"is missing: pip install 'advlens\[{package}\]'"), measuring.workers(on):
        pass
