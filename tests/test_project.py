"""The project holds together: one list of dependencies, one address, pairs in step, one set-up cell, a small
library.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import jupytext
import pytest
import yaml

from advlens.course import chapters

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHAPTERS = sorted((ROOT / "chapters").glob("*.py"))
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


def name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def locked(file: str) -> list[str]:
    """The requirements of a lock file, each with its hashes on one line."""
    text = (ROOT / "lock" / file).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def names_in(*files: str) -> set[str]:
    return {name(line) for file in files for line in locked(file)}


def test_torch_and_numpy_carry_no_pin():
    assert {"torch", "numpy"} <= set(PROJECT["dependencies"])


def test_every_dependency_is_locked():
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + [r for extra in ("book", "test", "instructor", "download")
                                        for r in extras[extra]]
    assert {name(r) for r in wanted} <= names_in("main.txt", "torch.txt"), "run `make lock`"
    assert {name(r) for r in extras["bench"]} <= names_in("peers.txt")


@pytest.mark.parametrize("file", ["main.txt", "peers.txt", "torch.txt"])
def test_locks_hold_exact_versions_and_hashes(file):
    """All but torch: one version of it has several builds, one for each kind of GPU and one for none."""
    assert locked(file)
    for line in locked(file):
        assert re.match(r"[\w.-]+==[\w.]+( |$)", line), f"{file}: {line}"
        assert bool(re.search(r" --hash=sha256:[0-9a-f]{64}", line)) == (file != "torch.txt"), f"{file}: {line}"
    assert "torch" in names_in("torch.txt") and not names_in("torch.txt") & names_in("main.txt", "peers.txt")


def test_the_makefile_holds_every_file_to_its_hash():
    """Constraints (-c) are not held to hashes, so only torch, and nothing else, is installed with them."""
    lines = [line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if "$(PIP)" in line
             and "lock/" in line]
    assert [line for line in lines if "--require-hashes --no-deps -r lock/" not in line] == [
        "$(PIP) --progress-bar on -c lock/torch.txt torch"]
    assert {re.search(r"lock/\w+\.txt", line)[0] for line in lines} == {"lock/main.txt", "lock/torch.txt",
                                                                        "lock/peers.txt"}


def test_environment_only_wraps_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert [name(d) for d in plain] == ["python", "pip"]
    assert pip == ["-e .[book,test,instructor,download]"]


def test_the_address_stands_in_one_place():
    """Whatever else names a repository of this project names the one of _config.yml."""
    owner = re.escape(ADDRESS.rsplit("/", 1)[1])
    files = subprocess.run(["git", "ls-files", "*.py", "*.md", "*.ipynb", "*.cff", "*.toml", "*.yml"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split()
    wrong = [(path, found) for path in files
             for found in re.findall(rf"https://github\.com/[\w.-]+/{owner}", (ROOT / path).read_text())
             if found != ADDRESS]
    assert files and not wrong


def test_pairs_are_in_step():
    assert len(CHAPTERS) >= 5
    assert chapters.out_of_step(ROOT / "chapters") == [], "run `make run CHAPTER=NN`"


def test_out_of_step_sees_a_changed_cell(tmp_path):
    notebook = jupytext.reads("# %%\n1 + 1\n", "py:percent")
    jupytext.write(notebook, tmp_path / "a.ipynb")
    (tmp_path / "a.py").write_text("# %%\n1 + 2\n")
    assert chapters.out_of_step(tmp_path) == ["a.py"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_stored_outputs_are_there_and_hold_no_error(path):
    code = [c for c in jupytext.read(path.with_suffix(".ipynb")).cells if c.cell_type == "code"]
    assert any(c.outputs for c in code)
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_no_output_prints_the_last_digit_of_a_double(path):
    """Below 1e-16 stands what another processor rounds otherwise."""
    cells = jupytext.read(path.with_suffix(".ipynb")).cells
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    texts = [o.get("text") or str({**o.data, "image/png": ""}) for o in outputs]
    assert not [found for text in texts for found in re.findall(r"\d(?:\.\d+)?e-1[7-9]\b.{0,20}", text)]


def setup_cell(path: Path) -> str:
    return next(c.source for c in jupytext.read(path).cells if c.cell_type == "code")


SET_UP = [*CHAPTERS, *sorted((ROOT / "exercises").glob("[0-9]*.py")),
          *sorted((ROOT / "exercises" / "student").glob("*.ipynb")), ROOT / "book" / "index.py"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_every_chapter_has_the_same_set_up_cell(path):
    assert setup_cell(path) == setup_cell(CHAPTERS[0])


@pytest.mark.parametrize("path", SET_UP, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_set_up_cell_installs_this_release(path):
    """A tag: a branch moves on, and a page that was read last year would install another library."""
    (address,) = re.findall(r"git\+[^\s\"']+", setup_cell(path))
    assert address == f"git+{ADDRESS}@v{PROJECT['version']}"


def test_the_version_is_the_same_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_code_cell_has_at_most_15_lines(path):
    """Statements of the idea; comments and blank lines do not count, nor do cells the page does not show."""
    set_up = setup_cell(path)
    for cell in jupytext.read(path).cells[1:]:
        hidden = {"remove-input", "hide-input"} & set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and cell.source != set_up and not hidden:
            lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
            assert len(lines) <= 15, f"{len(lines)} lines:\n{cell.source}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_has_its_anatomy(path):
    text = "\n".join(c.source for c in jupytext.read(path).cells)
    for part in ("At a glance", "## Exercises", "## Take-away", "## Where the numbers come from", "## References"):
        assert part in text, part
    assert text.count("widgets.predict(") >= 2
    assert f"exercises/student/{path.stem}" in text


# From below: a module imports only from ranks below its own, a package also from itself (DESIGN, "The house").
RANKS = (
    {"data", "geometry", "inputs", "kernels", "paths"},
    {"hebbian", "jpeg", "layers", "saliency", "spectral", "training"},
    {"models"},
    {"attacks", "zoo"},
    {"evaluation"},
    {"audit", "certify", "defences"},
    {"course"},
)


def test_every_module_has_a_rank():
    package = ROOT / "lib" / "advlens"
    modules = {path.name.removesuffix(".py") for path in package.iterdir() if path.suffix == ".py"
               or (path / "__init__.py").exists()}
    assert modules - {"__init__"} == set.union(*RANKS)


def test_arrows_point_strictly_downwards():
    rank = {name: number for number, names in enumerate(RANKS) for name in names}
    package = ROOT / "lib" / "advlens"
    for path in package.rglob("*.py"):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("advlens"):
                continue
            parts = node.module.split(".")[1:]
            for used in ([parts[0]] if parts else [alias.name for alias in node.names]):
                assert used == own or rank[used] < rank[own], f"{path.relative_to(ROOT)} imports {used}"


def lines_of_code(text: str) -> int:
    """Lines that hold more than a blank, a comment or a docstring."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = {line for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in silent
             for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def test_lines_of_code_are_counted():
    assert lines_of_code('"""Module.\n\nMore.\n"""\n\nimport os  # why\n\n\n# a comment\n'
                         'def f(a,\n      b):\n    """Doc."""\n    return """two\nlines"""\n') == 5


def test_the_library_stays_small():
    """A reader can read it: 3,500 lines of code up to chapter 10, less GPU kernels and what only the book needs."""
    package = ROOT / "lib" / "advlens"
    apart = {package / "kernels", package / "course"}
    counted = {path: lines_of_code(path.read_text()) for path in package.rglob("*.py") if not apart & set(path.parents)}
    assert len(counted) > 30
    assert sum(counted.values()) <= 3500, sorted(((n, p.name) for p, n in counted.items()), reverse=True)[:5]
