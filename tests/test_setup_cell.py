"""The set-up cell in an environment that has another torch and numpy, as on Colab."""

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
FOREIGN = {"torch": "2.11.0", "torchvision": "0.26.0", "numpy": "2.3.5"}


def installing_part(address: str) -> str:
    """The cell up to its imports: what happens before the first line that needs a real torch."""
    first = next(c.source for c in jupytext.read(ROOT / "chapters" / "00_adversarial_examples.py").cells if c.cell_type == "code")
    install, imports = first.split("\nimport torch\n")
    assert ADDRESS in install and "from advlens import" in imports
    return install.replace(ADDRESS, address)


def hollow_wheel(folder: Path, name: str, version: str) -> Path:
    """A package with a version and nothing in it: pip asks only for the version."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A fresh environment with a foreign torch, torchvision and numpy: its python."""
    folder = tmp_path_factory.mktemp("foreign")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    wheels = [hollow_wheel(folder, name, version) for name, version in FOREIGN.items()]
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wheels], check=True)
    return python


def run(python, code: str, **environment) -> subprocess.CompletedProcess:
    import os

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


def test_it_installs_the_course_and_leaves_torch_and_numpy_alone(foreign, tmp_path):
    wheel = subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT], capture_output=True, text=True)
    assert wheel.returncode == 0, wheel.stderr
    (path,) = tmp_path.glob("advlens-*.whl")
    answer = run(foreign, installing_part(str(path)))
    assert answer.returncode == 0, answer.stderr
    assert versions(foreign) == FOREIGN

    inside = set(zipfile.ZipFile(path).namelist())
    for needed in ("advlens/_data/checkpoints/lenet-mnist.safetensors", "advlens/_data/records/03-curves.json"):
        assert needed in inside

    # The second time it starts no pip at all.
    again = textwrap.dedent("""
        import subprocess
        def never(*words, **options): raise AssertionError(f"started {words}")
        subprocess.run = never
    """) + installing_part(str(path))
    assert run(foreign, again).returncode == 0
