"""The examples in the docstrings run, and everything public says what it does."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import pkgutil

import pytest
import torch

import advlens

TRITON = importlib.util.find_spec("triton") is not None
MODULES = sorted(m.name for m in pkgutil.walk_packages(advlens.__path__, "advlens.") if TRITON
                 or not m.name.endswith("_triton"))
# Modules that show their use: these, and all of these packages.  Triton's kernels show nothing: their twins do.
EXAMPLES = {f"advlens.{name}" for name in ("data", "geometry", "evaluation", "kernels", "jpeg", "spectral", "saliency",
                                           "hebbian", "course.counting", "course.planes")}
PACKAGES = ("advlens.attacks.", "advlens.defences.", "advlens.kernels.")
ATTACKS = importlib.import_module("advlens.attacks").__all__


def public(module):
    """The functions and classes that a module defines and does not hide."""
    for name, thing in vars(module).items():
        if not name.startswith("_") and name != "main" and getattr(thing, "__module__", None) == module.__name__ \
                and (inspect.isfunction(thing) or inspect.isclass(thing)):
            yield name, thing


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    """For several seeds: an example must be true whatever its random numbers are, for a reader's are others."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for seed in range(5):
        torch.manual_seed(seed)
        failed, tried = doctest.testmod(importlib.import_module(name), optionflags=flags)
        assert failed == 0, f"with seed {seed}"
    expected = name in EXAMPLES or (name.startswith(PACKAGES) and not name.endswith("_triton"))
    assert tried or not expected, "the example is gone: put one back or take the module off the list"


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    missing = [n for n, thing in public(module) if not inspect.getdoc(thing)]
    assert not missing, f"without a docstring: {missing}"


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_name_their_source(name):
    doc = inspect.getdoc(getattr(importlib.import_module("advlens.attacks"), name))
    assert "Source:" in doc
