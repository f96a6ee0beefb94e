"""Recorded results: numbers measured once, at full scale, with everything needed to measure them again.

A record is `data/records/<name>.json` with two keys: "values" (what was measured)
and "provenance" (command, commit, data source, device, versions, seed, seconds, date).
"""

from __future__ import annotations

import datetime
import inspect
import json
import os
import platform
import re
import subprocess
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Formatter
from typing import Sequence

import torch

from advlens.paths import data_folder

PACKAGES = ("advlens", "torch", "numpy")
KEYS = {"command", "commit", "source", "device", "versions", "seed", "seconds", "date"}


def provenance(command: str, *, source: str, seed: int | None, seconds: float, commit: str | None = None) -> dict:
    """Where a result comes from: everything needed to measure it again.

    commit: what `commit()` said when the measurement began; by default what it says now.
    """
    return {
        "command": command, "commit": commit or _commit_now(), "source": source, "device": device(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "seed": seed, "seconds": round(seconds, 1), "date": datetime.date.today().isoformat(),
    }


def write(name: str, values: dict, provenance: dict) -> Path:
    """Write `data/records/<name>.json` atomically and return its path."""
    if set(provenance) != KEYS:
        raise ValueError(f"provenance has {sorted(provenance)}; it needs {sorted(KEYS)}: "
                         "make it with records.provenance()")
    path = data_folder() / "records" / f"{name}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"values": values, "provenance": provenance}, indent=1) + "\n")
    os.replace(part, path)
    return path


def read(name: str) -> dict:
    """The record `name`: {"values": ..., "provenance": ...}.

    Raises FileNotFoundError that lists the known records.
    """
    folder = data_folder() / "records"
    path = folder / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none"
        raise FileNotFoundError(f"no record {name!r}; known: {known}")
    return json.loads(path.read_text())


# --- which code ------------------------------------------------------------------

HERE = Path(__file__)
WRITTEN = ("data/records", "chapters/*.ipynb")  # by the commands themselves, so one record does not spoil the next
MATTERS = ("lib", "measurements", "chapters", "data/checkpoints")  # where a file that git does not know changes numbers


def require_clean(*, insist: bool = False) -> None:
    """Raise RuntimeError, with the files, when the checkout is not what its commit says; not when somebody insists."""
    if insist:
        return
    if not _is_tracked():
        raise RuntimeError("not in a git checkout, so a record could not say which code measured it: clone the "
                           "repository, or insist with --with-changes")
    if found := changes():
        raise RuntimeError(f"uncommitted changes in {', '.join(found[:5])}{' and others' if len(found) > 5 else ''}: "
                           "commit them, or insist with --with-changes, and the record will say so")


def commit(*besides: str) -> str:
    """The commit of the checkout, with a note when something is not committed; `besides`: as in `changes`."""
    if not _is_tracked():
        return "unknown (not in a git checkout)"
    return _git("rev-parse", "--short=12", "HEAD").strip() + (" with changes" if changes(*besides) else "")


def _commit_now() -> str:
    return commit()  # by this name where `commit` is an argument


def changes(*besides: str) -> list[str]:
    """Files that the commit does not tell: tracked ones that differ, and new ones where code and weights lie.

    Not what records and chapters write themselves (WRITTEN), nor what `besides` names, paths from the root.
    """
    written = [f":(top,exclude){path}" for path in (*WRITTEN, *besides)]
    differing = _git("diff", "--name-only", "HEAD", "--", ":(top)", *written)
    where = [f":(top){path}" for path in MATTERS]
    unknown = _git("ls-files", "--others", "--exclude-standard", "--full-name", "--", *where, *written)
    return (differing + unknown).splitlines()


def _is_tracked() -> bool:
    """Whether git knows this file: an installed package may lie inside somebody else's repository."""
    try:
        return _git("ls-files", HERE.name) != ""
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return False


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=HERE.parent, capture_output=True, text=True, check=True).stdout


# --- records in prose ------------------------------------------------------------

# What may hold a digit without being a measurement: names (LeNet-5, CIFAR-10, L2, x10),
# `code`, $mathematics$, places (section 3.2) and settings (eps = 8/255, "95 % interval", [0, 1]).
NOT_MEASURED = re.compile(r"""
    `[^`]*` | \$[^$]*\$ | \[0,\ 1\]
  | [A-Za-z][A-Za-z_]*-?\d+(-[A-Za-z0-9]+)*
  | \b(eps|epsilon)\ =\ \d+(\.\d+|/\d+)? | \b\d+/255\b
  | \b(section|table|figure|chapter)\ \d+(\.\d+)*
  | \b95\ ?%\ (confidence\ )?interval""", re.VERBOSE)


def say(template: str, *, holds: bool = True, **values):
    """A sentence of prose whose numbers come from variables, as Markdown.

    holds: whether the numbers bear out what the sentence says in words ("fewer", "hardly");
    ValueError when they no longer do.

    >>> say("LeNet-5 keeps {kept:.1%} of the images at eps = 8/255.", kept=0.5).data
    'LeNet-5 keeps 50.0% of the images at eps = 8/255.'

    This is the only way a measured number reaches the text, so a digit that the template
    itself contains raises ValueError, unless it is part of what NOT_MEASURED lists.
    """
    from IPython.display import Markdown

    typed = "".join(text + " _ " * (field is not None) for text, field, _, _ in Formatter().parse(template))
    if found := re.search(r"\S*\d\S*", NOT_MEASURED.sub("", typed)):
        raise ValueError(f"the number {found[0]!r} is typed by hand in {template!r}; "
                         "write {name} there and pass name=...")
    said = template.format(**values)
    if not holds:
        raise ValueError(f"the numbers do not bear out the sentence {said!r}: change its words")
    return Markdown(said)


# How the citation keys read in a verdict box.
SOURCES = {
    "unam2021": "Kelley & Fritz 2021", "marinelli": "Marinelli", "belaustegui2022": "Belaustegui 2022",
    "cutilli2021": "Cutilli 2021", "klientov": "Klientov",
}
# Verdict -> colour of its badge: white text on each has a contrast above 4.5.
VERDICTS = {"confirmed": "#00694d", "differs": "#8a5a00", "not confirmed": "#b04a00", "not tested here": "#5f5f5f"}


def listing(function):
    """The source of a function, as it runs, as a highlighted block: a chapter shows the code itself, never a copy."""
    from IPython.display import Markdown

    return Markdown(f"```python\n{inspect.getsource(function)}```")


def verdict(claim: str, *, source: str, where: str, reported: str, measured: str, verdict: str, why: str):
    """A line that holds a source's claim against what we measured, and opens on a click; as HTML.

    All texts are plain.  source: a key of SOURCES.  where: the section, table or figure.  verdict: a key
    of VERDICTS; the first three need the same kind of net, data, protocol and quantity.
    Raises ValueError, which lists the known keys, for any other, and for an empty `where`.
    """
    from IPython.display import HTML

    _known(source, where, verdict)
    rows = "".join(f'<dt style="font-weight: 600; margin: 0">{head}</dt><dd style="margin: 0">{escape(text)}</dd>'
                   for head, text in (("Reported", reported), ("Measured", measured), ("Why", why)))
    # The box takes the page's own text colour, and a veil of grey that shows on light and on dark.
    return HTML(
        f'<details class="lens-verdict" {_told(claim, source, where, reported, measured, verdict)} '
        f'style="border-left: 4px solid {VERDICTS[verdict]}; background: rgba(128, 128, 128, 0.1); '
        f'padding: 0.6em 1em; margin: 1em 0"><summary>{_badge(verdict)} <strong>{escape(claim)}</strong> '
        f'<span>({escape(SOURCES[source])}, {escape(where)})</span></summary>'
        '<dl style="display: grid; grid-template-columns: max-content 1fr; gap: 0.3em 1em; margin: 0.7em 0 0">'
        f'{rows}</dl></details>')


def claims(rows: Sequence[dict[str, str]]):
    """The folded table "Other claims met here", as HTML.

    rows: dicts with the keys claim, source, where, reported, measured and verdict, as in `verdict`.
    Raises ValueError as `verdict` does, and TypeError for a row with other keys.
    """
    from IPython.display import HTML

    body = "".join(_row(**row) for row in rows)
    heads = "".join(f'<th scope="col">{head}</th>' for head in HEADS)
    return HTML(f'<details class="lens-claims"><summary>Other claims met here ({len(rows)})</summary>'
                f'<table class="table stack-on-phone"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
                '</details>')


HEADS = ("Claim", "Where", "Reported", "Measured", "Verdict")


def _row(claim: str, source: str, where: str, reported: str, measured: str, verdict: str) -> str:
    _known(source, where, verdict)
    texts = (escape(claim), f"{escape(SOURCES[source])}, {escape(where)}", escape(reported), escape(measured),
             _badge(verdict))
    first, *others = zip(HEADS, texts)
    cells = "".join(f'<td><span class="cell-label">{head}</span>{text}</td>' for head, text in others)
    told = _told(claim, source, where, reported, measured, verdict)
    return f'<tr {told}><th scope="row" style="font-weight: inherit">{first[1]}</th>{cells}</tr>'


def _known(source: str, where: str, verdict: str) -> None:
    for name, given, known in (("source", source, SOURCES), ("verdict", verdict, VERDICTS)):
        if given not in known:
            raise ValueError(f"unknown {name} {given!r}; known: {', '.join(known)}")
    if not where.strip():
        raise ValueError("where is empty; name the section, table or figure that makes the claim")


def _badge(verdict: str) -> str:
    return (f'<span class="lens-badge" style="background: {VERDICTS[verdict]}; color: white; padding: 0.1em 0.6em; '
            f'border-radius: 1em; font-size: 0.85em; white-space: nowrap">{verdict}</span>')


def _told(claim: str, source: str, where: str, reported: str, measured: str, verdict: str) -> str:
    """What the book's table of all claims reads."""
    said = dict(claim=claim, source=SOURCES[source], where=where, reported=reported, measured=measured,
                verdict=verdict)
    return f'data-claim="{escape(json.dumps(said))}"'


def quote(name: str):
    """The line under a figure or table made from the record `name`: who measured it, when and on what, as HTML."""
    from IPython.display import HTML

    made = {key: escape(str(value)) for key, value in read(name)["provenance"].items()}
    return HTML('<p class="advlens-quote" style="font-size: 0.85em; opacity: 0.85; margin: 0.3em 0">'
                'Measured by <code>{command}</code> at commit <code>{commit}</code> on {device}, {date}, '
                'in {seconds} s.{data}</p>'.format(**made, data=made["source"] and f" Data: {made['source']}."))


def device() -> str:
    """The GPU, or the processor and its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"
