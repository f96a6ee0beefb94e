"""The measurements behind the book's records: `measurements/NN_name.py` in a checkout, one file a chapter."""

from __future__ import annotations

import importlib.util
from typing import Callable

from advlens.paths import data_folder


def registry() -> dict[str, Callable]:
    """Every measurement by its record's name.  Raises FileNotFoundError outside a checkout."""
    folder = data_folder().parent / "measurements"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: measurements stand in a checkout of the repository, not in the installed package")
    found: dict[str, Callable] = {}
    for path in sorted(folder.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"measurements.{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= module.RECORDS
    return found
