"""`make book` after a build that was killed or failed, with a stand-in for jupyter-book and for the check."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Writes its cache first and the site last, as Sphinx does; what stands in the cache is not built again.
BUILDER = """#!/bin/sh
mkdir -p _build/html _build/.doctrees
if test -e _build/.doctrees/cache; then echo reused >> _build/html/log; else echo fresh >> _build/html/log; fi
touch _build/.doctrees/cache
echo half > _build/html/searchindex.js
test ! -e pause || { touch paused; sleep 60; }
test ! -e fail || exit 1
echo whole > _build/html/searchindex.js
"""
CHECKER = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def book(tmp_path):
    """A folder with the Makefile, a source and an environment whose commands are stand-ins."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "lock/main.txt", "lock/torch.txt", "_config.yml", "_toc.yml", "book/page.md",
                 "env/base.stamp", "env/book.stamp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, text in (("jupyter-book", BUILDER), ("python", CHECKER)):
        command = tmp_path / "env" / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(text)
        command.chmod(0o755)
    return tmp_path


def make(folder) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "book", "VENV=env"], cwd=folder, capture_output=True, text=True, timeout=60)


def kill_in_the_middle(folder) -> None:
    (folder / "pause").touch()
    run = subprocess.Popen(["make", "book", "VENV=env"], cwd=folder, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(600):
            if (folder / "paused").exists():
                break
            time.sleep(0.05)
        assert (folder / "paused").exists()
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    (folder / "pause").unlink()


def built(folder) -> list[str]:
    """How the site that now stands was built, the last build last."""
    return (folder / "_build" / "html" / "log").read_text().split()


def change(folder) -> None:
    page = folder / "book" / "page.md"
    later = time.time() + 10
    os.utime(page, (later, later))


def test_a_whole_build_is_kept_and_reused(book):
    assert make(book).returncode == 0
    assert make(book).returncode == 0 and built(book) == ["fresh"]
    change(book)
    assert make(book).returncode == 0 and built(book) == ["fresh", "reused"]


@pytest.mark.parametrize("before", ["nothing", "a whole build"])
def test_a_killed_build_is_built_anew(book, before):
    if before != "nothing":
        assert make(book).returncode == 0
        change(book)
    kill_in_the_middle(book)
    assert (book / "_build" / "html" / "searchindex.js").read_text() == "half\n"
    answer = make(book)
    assert answer.returncode == 0, answer.stderr
    assert built(book) == ["fresh"]
    assert (book / "_build" / "html" / "searchindex.js").read_text() == "whole\n"


def test_a_failed_build_is_built_anew(book):
    """Sphinx warns once of a page, then takes it from its cache: the second build would pass."""
    (book / "fail").touch()
    assert make(book).returncode != 0
    (book / "fail").unlink()
    assert make(book).returncode == 0 and built(book) == ["fresh"]
