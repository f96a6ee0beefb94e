"""`import advlens` costs nothing that is not used: checked by what is loaded, not by the clock."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"matplotlib", "torchvision", "ipywidgets", "sklearn", "IPython", "PIL", "scipy", "nbformat", "jupytext",
         "shapely", "triton"}
CORE = "data, models, training, geometry, attacks, evaluation, inputs, records, jpeg, spectral, saliency, hebbian, counting, kernels"


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after `code`."""
    show = "; import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_import_advlens_loads_nothing_else():
    assert not loaded_by("import advlens") & (HEAVY | {"torch", "numpy"})


def test_the_core_adds_nothing_heavy_to_torch():
    """torch itself is the price; plots, torchvision and widgets are paid for where they are used."""
    modules = loaded_by(f"from advlens import {CORE}")
    assert "torch" in modules and not (modules - loaded_by("import torch")) & HEAVY


def test_embedded_data_needs_no_torchvision():
    assert "torchvision" not in loaded_by("from advlens import data; data.load('digits'); data.load('shapes')")
