"""The measurements behind the book's records, one module a chapter.

Each module has a dict RECORDS: record name -> function without arguments that returns
(values, data source, seed).  `advlens record NAME` runs one and writes data/records/NAME.json.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Callable


def registry() -> dict[str, Callable]:
    """Every measurement by its record's name."""
    found: dict[str, Callable] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= import_module(f"{__name__}.{module.name}").RECORDS
    return found
