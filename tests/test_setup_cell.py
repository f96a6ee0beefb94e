"""The set-up cell, and `pip install .`, in an environment that has another torch and numpy, as on Colab."""

import json
import os
import re
import subprocess
import sys
import textwrap
import venv
import zipfile
from pathlib import Path

import jupytext
import pytest
import yaml

ROOT = Path(__file__).parents[1]
ADDRESS = "git+" + yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
# No torchvision: one that pip chose would bring a torch of its own.
FOREIGN = {"torch": "2.11.0+cpu", "numpy": "2.3.5"}


def installing_part(address: str) -> str:
    """The cell up to its imports: what happens before the first line that needs a real torch."""
    first = next(c.source for c in jupytext.read(ROOT / "chapters" / "00_adversarial_examples.py").cells
                 if c.cell_type == "code")
    install, imports = first.split("\nimport torch\n")
    assert "from advlens import" in imports
    install, count = re.subn(rf"{re.escape(ADDRESS)}@v[\d.]+", address, install)
    assert count == 1
    return install


def hollow_wheel(folder: Path, name: str, version: str) -> Path:
    """A package with a version and nothing in it: pip asks only for the version."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL",
                       "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A fresh environment with a foreign torch and numpy: its python."""
    folder = tmp_path_factory.mktemp("foreign")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    wheels = [hollow_wheel(folder, name, version) for name, version in FOREIGN.items()]
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wheels], check=True)
    return python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """This library, built."""
    folder = tmp_path_factory.mktemp("wheel")
    build = subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w",
                            folder, ROOT], capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    (path,) = folder.glob("advlens-*.whl")
    return path


def run(python, code: str, **environment) -> subprocess.CompletedProcess:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=300, cwd=Path(python).parent,
                          env={**os.environ, **environment})


def versions(python) -> dict:
    answer = run(python, f"from importlib.metadata import version; print(*map(version, {list(FOREIGN)}))")
    return dict(zip(FOREIGN, answer.stdout.split()))


def test_without_a_network_it_says_what_to_do(foreign):
    answer = run(foreign, installing_part("no-such-folder/nothing.whl"), PIP_NO_INDEX="1")
    assert answer.returncode != 0
    assert "connect to the network" in answer.stderr and "pip install ." in answer.stderr
    assert versions(foreign) == FOREIGN


def test_pip_alone_leaves_torch_and_numpy_alone(foreign, wheel, tmp_path):
    """All that a plain `pip install .` would install, without the pins of the set-up cell."""
    report = tmp_path / "report.json"
    answer = subprocess.run([foreign, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--dry-run",
                             "--report", report, wheel],
                            capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    names = {item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]}
    assert {"advlens", "scipy", "matplotlib"} <= names
    assert not {name for name in names if name in FOREIGN or name.startswith(("torch", "nvidia", "triton"))}


def test_it_installs_the_course_and_leaves_torch_and_numpy_alone(foreign, wheel):
    # What the dependencies would bring is looked at above; here they would take minutes.
    answer = run(foreign, installing_part(str(wheel)), PIP_NO_DEPS="1")
    assert answer.returncode == 0, answer.stderr
    assert versions(foreign) == FOREIGN

    inside = set(zipfile.ZipFile(wheel).namelist())
    for needed in ("advlens/_data/checkpoints/lenet-mnist.safetensors", "advlens/_data/records/03-curves.json"):
        assert needed in inside

    # The second time it starts no pip at all.
    again = textwrap.dedent("""
        import subprocess
        def never(*words, **options): raise AssertionError(f"started {words}")
        subprocess.run = never
    """) + installing_part(str(wheel))
    assert run(foreign, again).returncode == 0
