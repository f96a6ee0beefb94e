"""The examples in the docstrings run, and everything public says what it does."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import advlens

MODULES = sorted(m.name for m in pkgutil.walk_packages(advlens.__path__, "advlens."))
EXAMPLES = ["advlens.data", "advlens.geometry", "advlens.evaluation", "advlens.attacks.gradient"]
ATTACKS = ["fgsm", "fgm", "bim", "pgd"]


def public(module):
    """The functions and classes that a module defines and does not hide."""
    for name, thing in vars(module).items():
        if not name.startswith("_") and name != "main" and getattr(thing, "__module__", None) == module.__name__ \
                and (inspect.isfunction(thing) or inspect.isclass(thing)):
            yield name, thing


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert failed == 0
    assert tried or name not in EXAMPLES, "the example is gone: put one back or take the module off the list"


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
