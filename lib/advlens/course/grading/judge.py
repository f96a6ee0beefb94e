"""The judge: runs a sheet's tests in the grader's own process, beside its own copy of the library.

The answer stays in the notebook's kernel, another process.  A test names what it needs of it, and
gets numbers and functions to call (`checks.remote`); what the notebook did to `advlens` over there changes nothing.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import threading
from multiprocessing.connection import Client, Listener
from typing import NamedTuple

from advlens.course.checks import remote


class Verdict(NamedTuple):
    """What a test cell printed, and the error it ended with: (name, message), or None."""

    printed: str
    error: tuple[str, str] | None


def set_up(source: str) -> dict:
    """The names of a sheet's set-up cell."""
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(source, names)
    return names


def judge(source: str, names: dict, answers: remote.Answers) -> Verdict:
    """Run a test with the names of the set-up cell; all others come from the student."""
    printed = io.StringIO()
    try:
        code = ast.parse(source)
        used = {node.id for node in ast.walk(code) if isinstance(node, ast.Name)}
        space = names | answers.get(used - names.keys() - set(dir(builtins)))
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "<test>", "exec"), space)
    except Exception as error:  # a wrong answer may raise anything
        return Verdict(printed.getvalue(), (type(error).__name__, str(error)))
    return Verdict(printed.getvalue(), None)


class Sitting(threading.Thread):
    """One test: waits at `address` until the kernel runs `call`, then judges."""

    def __init__(self, source: str, names: dict, address: str):
        super().__init__(daemon=True)
        self.source, self.names, self.address = source, names, address
        self.listener = Listener(address)
        self.call = f"from advlens.course.checks.remote import serve as _serve\n_serve({address!r}, globals())"
        self.verdict = Verdict("", ("Interrupted", "the answer did not come back"))
        self.start()

    def run(self) -> None:
        with self.listener, self.listener.accept() as connection:
            self.verdict = judge(self.source, self.names, remote.Answers(connection))

    def end(self) -> Verdict:
        """The verdict, once the kernel's cell is over."""
        with contextlib.suppress(OSError):  # where the kernel never came, the judge still waits for someone
            Client(self.address).close()
        self.join()
        return self.verdict
