"""Recorded results: numbers measured once, at full scale, with everything needed to measure them again.

A record is `data/records/<name>.json` with two keys: "values" (what was measured)
and "provenance" (command, commit, data source, device, versions, seed, seconds, date).
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from advlens.paths import data_folder

PACKAGES = ("advlens", "torch", "numpy", "torchvision")
KEYS = {"command", "commit", "source", "device", "versions", "seed", "seconds", "date"}


def provenance(command: str, *, source: str, seed: int | None, seconds: float) -> dict:
    """Where a result comes from: everything needed to measure it again."""
    return {
        "command": command, "commit": _commit(), "source": source, "device": _device(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "seed": seed, "seconds": round(seconds, 1), "date": datetime.date.today().isoformat(),
    }


def write(name: str, values: dict, provenance: dict) -> Path:
    """Write `data/records/<name>.json` atomically and return its path."""
    if set(provenance) != KEYS:
        raise ValueError(f"provenance has {sorted(provenance)}; it needs {sorted(KEYS)}: make it with records.provenance()")
    path = data_folder() / "records" / f"{name}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"values": values, "provenance": provenance}, indent=1) + "\n")
    os.replace(part, path)
    return path


def read(name: str) -> dict:
    """The record `name`: {"values": ..., "provenance": ...}.

    Raises FileNotFoundError that lists the known records.
    """
    folder = data_folder() / "records"
    path = folder / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none"
        raise FileNotFoundError(f"no record {name!r}; known: {known}")
    return json.loads(path.read_text())


def _commit() -> str:
    def git(*words):
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown (not in a git checkout)"
    return commit + (" with changes" if git("status", "--porcelain", "--", "*.py") else "")


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} threads"
