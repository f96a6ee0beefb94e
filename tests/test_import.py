"""`import advlens` costs nothing that is not used: checked by what is loaded, not by the clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "lib" / "advlens"
NOTEBOOKS = {"matplotlib", "ipywidgets", "anywidget", "IPython", "nbformat", "nbclient", "jupytext", "nbgrader",
             "joblib", "distributed", "ray"}
HEAVY = NOTEBOOKS | {"torchvision", "sklearn", "PIL", "scipy", "shapely", "triton"}


def module(path: Path) -> str:
    return ".".join(["advlens", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


MODULES = [module(path) for path in sorted(PACKAGE.rglob("*.py"))]
COURSE = [name for name in MODULES if name.startswith("advlens.course")]
PROPER = [name for name in MODULES if name not in COURSE and not name.endswith("_triton")]


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after `code`."""
    show = "; import sys; print(*sorted({name.split('.')[0] for name in sys.modules if sys.modules[name]}))"
    run = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def without(packages: set[str]) -> str:
    """As where these packages are not installed."""
    return f"import sys; sys.modules.update(dict.fromkeys({sorted(packages)})); "


def test_import_advlens_loads_nothing_else():
    assert not loaded_by("import advlens") & (HEAVY | {"torch", "numpy"})


def test_the_library_proper_adds_nothing_heavy_to_torch():
    """torch itself is the price; the rest is paid for where it is used.  So it must not fail where it is missing."""
    assert len(PROPER) > 30
    modules = loaded_by(without(NOTEBOOKS) + "import " + ", ".join(PROPER))
    assert "torch" in modules and not (modules - loaded_by("import torch")) & HEAVY


def test_the_course_pays_for_notebooks_where_it_draws():
    """Figures and widgets are for notebooks, running and grading chapters for their makers; the rest needs neither."""
    drawing = ("plots", "pictures", "drawings", "svg", "widgets", "lab")
    makers = {f"advlens.course.{name}" for name in (*drawing, "chapters", "grading")}
    others = [name for name in COURSE if ".".join(name.split(".")[:3]) not in makers]
    assert len(others) > 10
    assert not loaded_by(without(NOTEBOOKS) + "import " + ", ".join(others)) & NOTEBOOKS


def test_an_attack_needs_nothing_for_notebooks():
    code = ("import torch; from advlens import attacks, data, evaluation, zoo; some = data.load('shapes')[:2]; "
            "net = zoo.pretrained('cifar_net', 'shapes'); evaluation.evaluate(net, some.images, "
            "attacks.fgsm(net, some.images, some.labels, eps=0.1), some.labels)")
    assert not loaded_by(without(NOTEBOOKS | {"torchvision"}) + code) & NOTEBOOKS


def test_embedded_data_needs_no_torchvision():
    assert "torchvision" not in loaded_by("from advlens import data; data.load('digits'); data.load('shapes')")
