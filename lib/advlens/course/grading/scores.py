"""Scores: what a row is, what may stand in it, and the table that grows with each submission."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import NamedTuple

from advlens.course.grading.submissions import Ungraded


class Result(NamedTuple):
    """One row of scores.csv.  scores: exercise -> points, or None where a person must mark."""

    student: str
    scores: dict[str, float | None]
    total: float
    max: float
    message: str


def believable(scores: dict, points: dict[str, float], machine: set[str]) -> dict[str, float | None]:
    """The scores that a worker reports, if they can be: each exercise, no more than its points.  Raises Ungraded."""
    def fine(name: str) -> bool:
        value = scores[name]
        if value is None:
            return name not in machine
        return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= points[name]

    if not (isinstance(scores, dict) and scores.keys() == points.keys() and all(map(fine, points))):
        raise Ungraded("its result cannot be true, so something in it wrote to the grader's own files: look at it")
    return scores


class Table:
    """scores.csv and feedback/ in a folder, complete after each submission that is added."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows: list[Result] = []

    def add(self, result: Result, page: str) -> None:
        if not self.rows:
            _keep(self.folder / "scores.csv")  # it may hold marks given by hand
        self.rows = sorted([*self.rows, result], key=lambda r: r.student)
        pages = self.folder / "feedback"
        pages.mkdir(exist_ok=True)
        (pages / f"{result.student}.html").write_bytes(page.encode("utf-8", "replace"))
        part = self.folder / ".scores.part"
        with open(part, "w", newline="", encoding="utf-8", errors="replace") as file:
            self._write(csv.writer(file))
        os.replace(part, self.folder / "scores.csv")

    def _write(self, table) -> None:
        exercises = list(self.rows[0].scores)
        table.writerow(["student", *exercises, "total", "max", "message"])
        for r in self.rows:
            marks = ["" if r.scores[e] is None else f"{r.scores[e]:g}" for e in exercises]
            table.writerow([_inert(r.student), *marks, f"{r.total:g}", f"{r.max:g}", _inert(r.message)])


def _keep(scores: Path) -> None:
    """Rename older scores, and overwrite none that were kept before."""
    kept, number = scores.with_name("scores.previous.csv"), 1
    while kept.exists():
        number += 1
        kept = scores.with_name(f"scores.previous-{number}.csv")
    if scores.exists():
        os.replace(scores, kept)


def _inert(text: str) -> str:
    """A spreadsheet computes what begins like this: an apostrophe makes it text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
