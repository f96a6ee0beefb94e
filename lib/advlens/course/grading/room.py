"""Where a submission runs: a folder of its own, walls around it where bubblewrap is installed, and an end for all.

Inside the walls there is no network, no other process and no file but Python, the library and
the folder.  Without them it runs as the user who grades, and only accidents are kept apart.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import advlens
from advlens.paths import data_folder

KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/ld.so.conf",
          "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/fonts", "/etc/localtime", "/etc/passwd", "/etc/group")


@functools.lru_cache
def has_walls() -> bool:
    """Is bubblewrap here, and may it make namespaces?  ADVLENS_WALLS=0 does without."""
    if os.environ.get("ADVLENS_WALLS") == "0" or not shutil.which("bwrap"):
        return False
    return subprocess.run([*_walls(Path.cwd()), "true"], capture_output=True).returncode == 0


def _walls(room: Path) -> list[str]:
    """The command before the command: what it may see."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session",
               "--unsetenv", "JPY_PARENT_PID",  # a kernel whose parent is number 1 takes itself for an orphan
               "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    for place in SYSTEM:
        if Path(place).is_symlink() and place.count("/") == 1:  # /lib -> usr/lib
            command += ["--symlink", os.readlink(place), place]
        else:
            command += ["--ro-bind-try", place, place]
    python_path = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    for place in (sys.base_prefix, sys.prefix, Path(advlens.__file__).parent, data_folder(), *python_path):
        command += ["--ro-bind-try", str(place), str(place)]
    return [*command, "--bind", str(room), str(room), "--chdir", str(room)]


def furnish(course: Path) -> Path:
    """Make the folder `course/room`, and a kernel called python3 that starts in it.  Returns the folder."""
    room = course / "room"
    room.mkdir(exist_ok=True)
    kernel = course / "jupyter" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({
        "argv": [*(_walls(room) if has_walls() else []), *argv], "display_name": "Python 3", "language": "python",
        "interrupt_mode": "message",  # a signal would end bwrap itself
        "env": {"HOME": str(room), "TMPDIR": str(room), "MPLCONFIGDIR": str(room / "matplotlib"),
                "JUPYTER_PATH": "", "JUPYTER_RUNTIME_DIR": str(room)},
    }))
    return room


def environment(course: Path) -> dict[str, str]:
    """Little of our own environment: no tokens, no home folder, no real data."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {
        "HOME": str(course), "TMPDIR": str(course), "MPLCONFIGDIR": str(course / "room" / "matplotlib"),
        "JUPYTER_PATH": str(course / "jupyter"), "JUPYTER_RUNTIME_DIR": str(course / "room"),
        "CUDA_VISIBLE_DEVICES": "", "ADVLENS_STANDIN": "always", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def warm_up(course: Path) -> None:
    """Let matplotlib list the fonts once, not once for each submission."""
    (course / "room" / "matplotlib").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=environment(course),
                   capture_output=True)


# --- ending it -------------------------------------------------------------------------

def adopt_orphans() -> None:
    """Make this process the parent of every process below it whose own parent ended (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def run(command: list[str], course: Path, seconds: float) -> int | None:
    """Run a command in the folder `course`; end it and everything it started.  Returns its exit code, None after
    `seconds`.
    """
    import psutil

    below: set = set()  # by what it started, not by a mark that can be taken off
    with open(course / "log.txt", "wb") as log:
        process = psutil.Popen(command, cwd=course, env=environment(course), stdin=subprocess.DEVNULL, stdout=log,
                               stderr=log, start_new_session=True)
        try:
            for _ in range(max(1, round(seconds))):
                below |= _children(process)
                try:
                    return process.wait(1)
                except psutil.TimeoutExpired:
                    continue
            return None
        finally:
            end(process, below)


def _children(process) -> set:
    import psutil

    try:
        return set(process.children(recursive=True))
    except psutil.Error:
        return set()


def end(process, below: set) -> None:
    """Kill a process and all below it."""
    below |= _children(process)
    while left := [p for p in below if _alive(p)]:  # first what is below: orphans come to the process while it lives
        below |= _kill(left) | _children(process)
    while _alive(process):
        _kill([process])
    while left := [p for p in below if _alive(p)]:
        below |= _kill(left)
    process.wait()


def end_children() -> None:
    """Kill everything that this process started, or adopted."""
    import psutil

    while left := [p for p in _children(psutil.Process()) if _alive(p)]:
        _kill(left)


def _kill(processes: list) -> set:
    """Kill them.  Returns what they had started until then."""
    import psutil

    started = set()
    for process in processes:
        started |= _children(process)
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(processes, timeout=5)
    return started


def _alive(process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
