"""The measurements behind the book's records: `measurements/NN_name.py` in a checkout, one file a chapter.

A measurement is a `Grid`: one function of one point (net, attack, eps, seed ...), and the points.
They run on all cores of this machine, or on a Dask or Ray cluster; the numbers are the same to
the last bit, because every point computes alone in its process, on one thread.
What is finished is kept until the record is written, so an interrupted record goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import threading
import time
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Sequence

import torch
from tqdm.auto import tqdm

from advlens import data
from advlens.course import records
from advlens.inputs import check_at_least_one
from advlens.paths import data_folder

Result = tuple[dict, Any]  # a point and its value


def only(results: list[Result]) -> Any:
    """The value of a grid of one point."""
    (_, value), = results
    return value


def nested(*keys: str) -> Callable[[list[Result]], dict]:
    """Values in dictionaries in dictionaries, by these entries of the point: nested("net",
    "attack")(...)["lenet"]["pgd"].
    """
    def gather(results: list[Result]) -> dict:
        values: dict = {}
        for point, value in results:
            *outer, last = (str(point[key]) for key in keys)
            at = values
            for key in outer:
                at = at.setdefault(key, {})
            at[last] = value
        return values

    return gather


class Grid(NamedTuple):
    """One measurement: `point(**p)` for each p of `points`, and what `gather` makes of all of them.

    points: dictionaries of what JSON can hold; so is what `point` returns.  gather: from a list of
    (point, value), in the order of the points, to the record's values, which should hold all of them.
    data: the sets that the points read, as "mnist test": the record's source.  seed: as the record says it.
    """

    point: Callable[..., Any]
    points: Sequence[dict] = ({},)
    gather: Callable[[list[Result]], Any] = only
    data: Sequence[str] = ()
    seed: int | None = None


class Measured(NamedTuple):
    """What a grid gave: the record's values and its source, seed, seconds of computing, and the devices it ran on."""

    values: Any
    source: str
    seed: int | None
    seconds: float
    device: str


def device() -> str:
    """Where a point computes: "cuda" on a machine that has it, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


# --- where measurements stand ---------------------------------------------------

def registry() -> dict[str, Path]:
    """The file of every record's measurement, relative to the checkout.  Raises FileNotFoundError outside a
    checkout.
    """
    folder = _checkout() / "measurements"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: measurements stand in a checkout of the repository, not in the "
                                "installed package")
    files = [path.relative_to(_checkout()) for path in sorted(folder.glob("*.py"))]
    return {name: file for file in files for name in load(str(file))[0]}


@lru_cache
def load(file: str) -> tuple[dict[str, Grid], str]:
    """RECORDS of a measurement's file, a path in the checkout or an absolute one, and the digest of its text."""
    text = (_checkout() / file).read_bytes()
    module = ModuleType(f"measurements.{Path(file).stem}")
    module.__file__ = str(_checkout() / file)
    exec(compile(text, module.__file__, "exec", dont_inherit=True), module.__dict__)
    return module.RECORDS, _sha256(text)


def _checkout() -> Path:
    return data_folder().parent


# --- what a point depends on --------------------------------------------------------

def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _library() -> str:
    package = Path(__file__).parents[1]
    return _sha256(*(part for path in sorted(package.rglob("*.py"))
                     for part in (str(path.relative_to(package)).encode(), path.read_bytes())))


LIBRARY = _library()  # at the import, like the code: a worker that runs on after an update is noticed


@lru_cache
def _checkpoints() -> str:
    return _sha256(*(part for path in sorted((data_folder() / "checkpoints").glob("*.safetensors"))
                     for part in (path.name.encode(), path.read_bytes())))


@lru_cache
def _data(name: str) -> tuple[str, str]:
    """Source and digest of a set, "mnist test"."""
    part = data.load(*name.split())
    return part.source, _sha256(part.images.numpy().tobytes(), part.labels.numpy().tobytes())


def ingredients(file: str, names: Sequence[str]) -> dict[str, str]:
    """All that decides a point's numbers besides the point: digests of code, trained nets and data, versions of
    packages.
    """
    found = {"the measurement": load(file)[1], "the library": LIBRARY, "the checkpoints": _checkpoints()}
    return found | {package: version(package).split("+")[0] for package in ("torch", "numpy")} | {name: _data(name)[1]
                                                                                                  for name in names}


# --- one point ------------------------------------------------------------------------

_turn = threading.Lock()  # training borrows torch's global random numbers, so the threads of one process take turns


def run_point(file: str, name: str, point: dict, expected: dict[str, str]) -> dict:
    """Measure one point, here; on a worker this is all that arrives there.  Its value has been through JSON, as when it
    is kept.
    """
    with _turn, _one_thread():
        os.environ["ADVLENS_STANDIN"] = "never"  # a record is about real data
        grid = load(file)[0][name]
        found = ingredients(file, grid.data)
        if other := [key for key in expected | found if expected.get(key) != found.get(key)]:
            raise RuntimeError(f"this worker has another version of {', '.join(other)} than the machine that asks: "
                               "bring its checkout, packages and data to the same state, and start it anew")
        began = time.monotonic()
        try:
            value = grid.point(**point)
        except Exception as error:
            raise RuntimeError(f"{name}, point {json.dumps(point)}: {type(error).__name__}: {error}") from error
        return {"point": point, "value": value, "seconds": time.monotonic() - began, "device": records.device()}


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in the same order on every machine; the cores are busy with other points."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# --- who runs the points -----------------------------------------------------------------

Task = tuple[str, str, dict, dict]  # the arguments of run_point
Runner = Callable[[list[Task]], Iterable[dict]]  # results as they come, in any order
PATIENCE = 10  # seconds until a cluster that does not answer is an error


@contextlib.contextmanager
def workers(on: str | None = None, jobs: int | None = None) -> Iterator[Runner]:
    """What runs the points: `jobs` processes here (by default one for each core), or the cluster `on`.

    on: "dask://host:port", or "ray" for the cluster that this machine belongs to.  Raises ValueError
    for another name, ConnectionError when no cluster answers, RuntimeError when its package is missing.
    """
    if on is None:
        if jobs is not None:
            check_at_least_one(jobs=jobs)
        yield partial(_locally, jobs=jobs)
    elif jobs is not None:
        raise ValueError(f"jobs = {jobs} counts processes on this machine; how many points {on} runs at once is "
                         "decided by its workers")
    elif on == "ray":
        with _ray() as runner:
            yield runner
    elif address := re.fullmatch(r"dask://([^/\s]+:\d+)", on):
        with _dask(f"tcp://{address[1]}") as runner:
            yield runner
    else:
        raise ValueError(f"unknown cluster {on!r}; give dask://host:port or ray")


def _locally(tasks: list[Task], jobs: int | None) -> Iterable[dict]:
    import joblib

    jobs = min(jobs or joblib.cpu_count(), len(tasks))
    return joblib.Parallel(jobs, batch_size=1,
                           return_as="generator_unordered")(joblib.delayed(run_point)(*task) for task in tasks)


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Runner]:
    try:
        import distributed
    except ImportError as missing:
        raise RuntimeError("Dask is missing: pip install 'advlens[dask]'") from missing
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, asyncio.TimeoutError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {address} within {PATIENCE} s: start one with `dask "
                              "scheduler`, or mend the address") from error

    def run(tasks: list[Task]) -> Iterator[dict]:
        # pure=False: the scheduler must not answer with what it remembers of an earlier run
        futures = [client.submit(run_point, *task, pure=False) for task in tasks]
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                yield future.result()
        except distributed.KilledWorker as lost:
            raise RuntimeError(f"{lost} (memory?); the finished points are kept") from lost
        finally:
            client.cancel(futures)

    with client:
        threads = client.nthreads()
        if not threads:
            print(f"{address} has no worker yet: the points wait for one", file=sys.stderr)
        if any(count > 1 for count in threads.values()):
            print("a worker has several threads, which take turns: start workers with --nthreads 1, one for each "
                  "core or GPU", file=sys.stderr)
        yield run


@contextlib.contextmanager
def _ray() -> Iterator[Runner]:
    try:
        import ray
    except ImportError as missing:
        raise RuntimeError("Ray is missing: pip install 'advlens[ray]'") from missing
    if started := not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError as error:
            raise ConnectionError("no Ray cluster runs here: start one with `ray start --head`, or name it in "
                                  "RAY_ADDRESS") from error
    gpus = 1 if ray.cluster_resources().get("GPU") else 0

    def run(tasks: list[Task]) -> Iterator[dict]:
        # again when a worker dies, not when it raises
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(run_point)
        waiting = [remote.remote(*task) for task in tasks]
        try:
            while waiting:
                (done,), waiting = ray.wait(waiting)
                yield ray.get(done)
        except ray.exceptions.RayError as error:
            raise RuntimeError(f"{error}\nThe finished points are kept.") from error
        finally:
            for task in waiting:
                ray.cancel(task, force=True)

    try:
        yield run
    finally:
        if started:
            ray.shutdown()


# --- a whole grid ---------------------------------------------------------------------------

def measure(name: str, file: Path | str, run: Runner | None = None, *, progress: bool = True) -> Measured:
    """Run what is left of the grid `name` of a measurement's file, keep each point as it is finished, and gather all.

    run: what `workers` gives, by default all cores.  Kept points count only for the same record,
    point, code, nets, data and versions.  `forget(name)` removes them, once the record is written.
    """
    file = str(file)
    grid = load(file)[0][name]
    expected = ingredients(file, grid.data)
    kept = {_kept_at(name, point, expected): point for point in grid.points}
    if len(kept) < len(grid.points):
        raise ValueError(f"{name} has the same point twice")
    left = {path: point for path, point in kept.items() if not path.exists()}
    bar = tqdm(desc=name, total=len(kept), initial=len(kept) - len(left), unit="point", disable=not progress)
    with bar:
        for result in (run or partial(_locally, jobs=None))([(file, name, point, expected)
                                                             for point in left.values()]) if left else ():
            _keep(_kept_at(name, result["point"], expected), result)
            bar.update()
    results = [json.loads(path.read_text()) for path in kept]
    return Measured(grid.gather([(result["point"], result["value"]) for result in results]),
                    "; ".join(dict.fromkeys(_data(part)[0] for part in grid.data)), grid.seed,
                    sum(result["seconds"] for result in results),
                    "; ".join(dict.fromkeys(result["device"] for result in results)))


def forget(name: str) -> None:
    """Remove the kept points of a record, those of other code too."""
    shutil.rmtree(_folder(name), ignore_errors=True)


def _folder(name: str) -> Path:
    return _checkout() / "build" / "points" / name


def _kept_at(name: str, point: dict, expected: dict[str, str]) -> Path:
    return _folder(name) / f"{_sha256(json.dumps([point, expected], sort_keys=True).encode())}.json"


def _keep(path: Path, result: dict) -> None:
    """Atomically: what is interrupted here is as if it had not been measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result))
    os.replace(part, path)
