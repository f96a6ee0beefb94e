"""The command `advlens`: doctor, record, student, grade."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Iterator

from advlens.paths import data_folder

Line = tuple[bool, str, str]  # fine?, what was found, remedy


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="advlens", description="Adversarial Lenses: what the course's commands need.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="look at this machine: what works, what to do about the rest")
    doctor.set_defaults(run=lambda _: _doctor())

    record = commands.add_parser("record", help="measure again what the book reports, and write data/records")
    record.add_argument("names", nargs="*", metavar="NAME", help="records or checkpoint-NAME; none: list them")
    record.add_argument("--on", metavar="CLUSTER",
                        help="dask://host:port, or ray: an existing cluster instead of this machine's cores")
    record.add_argument("--jobs", type=int, metavar="N",
                        help="processes on this machine (by default one for each core)")
    record.add_argument("--with-changes", action="store_true",
                        help="measure a checkout that has uncommitted changes; the record says so")
    record.set_defaults(run=_record)

    student = commands.add_parser("student", help="make the student release of every assignment")
    student.add_argument("out", type=Path)
    student.add_argument("--exercises", type=Path, default=Path("exercises"), help="folder of the masters")
    student.set_defaults(run=_student)

    grade = commands.add_parser("grade", help="grade a folder of submissions")
    grade.add_argument("assignment", help="for example 03_one_step")
    grade.add_argument("submissions", type=Path)
    grade.add_argument("out", type=Path)
    grade.add_argument("--exercises", type=Path, default=Path("exercises"), help="folder of the masters")
    grade.set_defaults(run=_grade)

    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, RuntimeError) as error:  # the library's own clear errors
        print(f"advlens: {error}", file=sys.stderr)
        return 1


# --- doctor --------------------------------------------------------------------

def _doctor() -> int:
    lines = [line for check in (_python, _torch, _gpu, _triton, _torchvision, _data, _checkpoints, _chromium)
             for line in check()]
    for fine, found, remedy in lines:
        print(f"[{'ok' if fine else 'fix'}] {found}" + ("" if fine else f"\n      {remedy}"))
    return 0 if all(fine for fine, _, _ in lines) else 1


def _python() -> Iterator[Line]:
    yield sys.version_info >= (3, 10), f"Python {sys.version.split()[0]}", "install Python 3.10 or newer"


def _torch() -> Iterator[Line]:
    import torch

    yield True, f"torch {torch.__version__}, {torch.get_num_threads()} threads", ""


def _gpu() -> Iterator[Line]:
    import torch

    if torch.cuda.is_available():
        yield True, f"GPU: {torch.cuda.get_device_name()}", ""
    else:
        yield True, "no GPU: every chapter runs on the CPU", ""


def _triton() -> Iterator[Line]:
    try:
        yield True, f"Triton {version('triton')}", ""
    except PackageNotFoundError:
        yield True, "no Triton: the plain torch versions are used", ""


def _torchvision() -> Iterator[Line]:
    from advlens.data import torchvision_datasets

    try:
        torchvision_datasets()
        yield True, f"torchvision {version('torchvision')}", ""
    except (ImportError, RuntimeError) as error:
        yield (False, f"torchvision does not import: {str(error).splitlines()[0]}",
               "downloads need it: pip install torchvision, and name the torch that is here so that it stays")


def _data() -> Iterator[Line]:
    from advlens import data

    for name in ("digits", "shapes"):
        yield True, f"data {name}: embedded", ""
    for name in ("mnist", "cifar10"):
        try:
            found = data.load_local(name, "test")
        except data.DataUnavailable as damaged:
            yield False, f"data {name}: damaged", str(damaged)
            continue
        remedy = "chapters use a stand-in; load it once with a network, or set ADVLENS_DATA"
        yield found is not None, f"data {name}: {found.source if found else 'not on this machine'}", remedy


def _checkpoints() -> Iterator[Line]:
    from advlens import zoo

    for path in sorted((data_folder() / "checkpoints").glob("*.safetensors")):
        name, trained_on = path.stem.rsplit("-", 1)
        try:
            zoo.pretrained(name, trained_on)
            yield True, f"checkpoint {path.stem}", ""
        except ValueError as error:
            yield False, f"checkpoint {path.stem}", str(error)


def _chromium() -> Iterator[Line]:
    found = shutil.which("chromium")
    remedy = "the site's tests need it: apt install chromium"
    yield found is not None, f"Chromium: {'found' if found else 'not found'}", remedy


# --- record --------------------------------------------------------------------

def _record(options) -> int:
    from advlens import zoo
    from advlens.course import measuring, recipes, records

    measurements = measuring.registry()
    checkpoints = [f"checkpoint-{key}" for key in recipes.RECIPES if key.rsplit("-", 1)[0] in zoo.NETWORKS]
    known = [*measurements, *checkpoints]
    if not options.names:
        print("\n".join(known))
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        raise ValueError(f"unknown record {', '.join(unknown)}; known: {', '.join(known)}")
    os.environ["ADVLENS_STANDIN"] = "never"  # a record is about real data
    with measuring.workers(options.on, options.jobs) as run:
        records.require_clean(insist=options.with_changes)
        for name in options.names:
            if name in checkpoints:
                card = recipes.train(name.removeprefix("checkpoint-"))
                print(f"{name}: test accuracy {card['test accuracy']:.2%}")
                continue
            commit = records.commit()  # before it runs, and again for each: a checkpoint made above is a change
            made = measuring.measure(name, measurements[name], run)
            found = records.provenance(f"advlens record {name}", source=made.source, seed=made.seed,
                                       seconds=made.seconds, commit=commit)
            print(f"{name}: {records.write(name, made.values, found | {'device': made.device})}")
            measuring.forget(name)
    return 0


# --- assignments -----------------------------------------------------------------

def _student(options) -> int:
    _needs_nbgrader()
    from advlens.course import grading

    grading.make_students(options.exercises, options.out)
    print(f"student release: {options.out}")
    return 0


def _grade(options) -> int:
    _needs_nbgrader()
    from advlens.course import grading

    grading.grade(options.assignment, options.submissions, options.out, exercises_folder=options.exercises)
    print(f"scores: {options.out / 'scores.csv'}; feedback: {options.out / 'feedback'}")
    return 0


def _needs_nbgrader() -> None:
    if find_spec("nbgrader") is None:
        raise RuntimeError("nbgrader is missing: pip install 'advlens[instructor]'")


if __name__ == "__main__":
    sys.exit(main())
