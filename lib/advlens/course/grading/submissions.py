"""What was handed in: one entry a student, out of a folder or the one zip of a learning platform.

Read are NAME.ipynb, NAME/.../anything.ipynb, NAME.zip, and what Moodle, Canvas, Blackboard and
Brightspace export.  Nothing is unpacked to the disk.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import unicodedata
import zipfile
from functools import partial
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import nbformat

LARGEST = 20_000_000  # bytes of a submitted notebook
ARCHIVE = 200_000_000  # bytes of a zip inside a zip
JUNK = re.compile(r"(\..*|__MACOSX|Thumbs\.db|desktop\.ini|index\.html?|grades\.(csv|xlsx?))$", re.I)
NOTEBOOK = re.compile(r"\.ipynb(\.json|\.txt)?$", re.I)  # browsers append an ending of their own

# How platforms name a file or a folder.  "name" is the student, all of the match is who handed in.
PLATFORMS = [re.compile(pattern) for pattern in (
    r"(?P<name>.+?)_\d+_assignsubmission_",  # Moodle
    r"\d+-\d+ - (?P<name>.+?) - .+",  # Brightspace
    r".+?_(?P<name>[^_]+)_attempt_[\d-]+",  # Blackboard
    r"(?P<name>[^_]+)(_LATE)?_\d{3,}_(?=\d{3,}_)",  # Canvas
)]


class Ungraded(Exception):
    """A submission that cannot be graded; the message says why."""


class File(NamedTuple):
    """parts: where it lies.  read: its bytes, of which there are `size`; None for an empty folder."""

    parts: tuple[str, ...]
    size: int
    read: Callable[[], bytes] | None


def submissions(folder: Path) -> dict[str, list[File]]:
    """Student -> files.  Raises ValueError when there are none."""
    folder = Path(folder)
    if folder.is_file() and zipfile.is_zipfile(folder):
        files = _zipped(folder, ())
    else:
        files = list(_walk(folder, ())) if folder.is_dir() else []
    files = _without_wrapping([f for f in files if not any(map(JUNK.match, f.parts))])
    if not files:
        raise ValueError(f"{folder} holds no submissions: put NAME.ipynb or NAME/anything.ipynb there, "
                         "or the zip of your learning platform")
    groups: dict[str, list[File]] = {}
    for file in files:
        groups.setdefault(_owner(file.parts), []).append(file)
    return _named(groups)


# --- finding files -----------------------------------------------------------------------

def _walk(folder: Path, above: tuple[str, ...]) -> Iterator[File]:
    entries = sorted(folder.iterdir())
    if above and not entries:
        yield File((*above, ""), 0, None)
    for entry in entries:
        parts = (*above, _text(entry.name))
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry, parts)
        elif entry.is_file():
            inside = _zipped(entry, parts) if entry.suffix.lower() == ".zip" else None
            yield from inside or [File(parts, entry.stat().st_size, entry.read_bytes)]
        else:
            yield File(parts, 0, None)


def _zipped(file, above: tuple[str, ...], outermost: bool = True) -> list[File]:
    """The files in a zip; a zip in it is looked into once more.  Empty when it cannot be read."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError):
        return []
    files = []
    for info in archive.infolist():
        parts = (*above, *(_text(part) for part in _zip_name(info).split("/") if part not in ("", ".", "..")))
        if info.is_dir():
            continue
        inside = []
        if outermost and info.filename.lower().endswith(".zip") and info.file_size <= ARCHIVE:
            with contextlib.suppress(zipfile.BadZipFile, RuntimeError, NotImplementedError):  # damaged, or locked
                inside = _zipped(io.BytesIO(archive.read(info)), parts, outermost=False)
        files += inside or [File(parts, info.file_size, partial(archive.read, info))]
    return files


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Its name: older programs write UTF-8 without saying so, and zipfile then reads it as cp437."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _text(name: str) -> str:
    """A file name as text that can be written anywhere: bytes that are no UTF-8 become a question mark."""
    readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return re.sub(r"[\x00-\x1f\x7f]", " ", unicodedata.normalize("NFC", readable))


def _without_wrapping(files: list[File]) -> list[File]:
    """Take away the folders around the whole class: the zip itself, the assignment's name."""
    shortest = min((len(f.parts) for f in files), default=1)
    depth = next((i for i in range(shortest) if len({f.parts[i] for f in files}) > 1), shortest - 1)
    shared = files[0].parts[:depth] if files else ()
    platform = next((i for i, part in enumerate(shared) if _platform(part)), None)
    if platform is not None:
        depth = platform
    elif shared:  # one student with several files, or several students?
        entries = {f.parts[depth] for f in files if NOTEBOOK.search(f.parts[-1])}
        loose = any(len(f.parts) == depth + 1 for f in files)
        if len(entries) < 2 or (loose and not shared[0].lower().endswith(".zip")):
            return files
    return [f._replace(parts=f.parts[depth:]) for f in files]


# --- whose they are ------------------------------------------------------------------------

def _platform(entry: str) -> re.Match | None:
    return next((match for pattern in PLATFORMS if (match := pattern.match(entry))), None)


def _owner(parts: tuple[str, ...]) -> str:
    """What groups the files of one student: the platform's key, or the name of the file or folder."""
    match = _platform(parts[0])
    return match[0] if match else parts[0]


def _named(groups: dict[str, list[File]]) -> dict[str, list[File]]:
    """Student -> files, under the shortest names that stay different."""
    short = {}
    for owner, files in groups.items():
        match = _platform(files[0].parts[0])
        plain = owner if len(files[0].parts) > 1 and not owner.lower().endswith(".zip") else Path(owner).stem
        short[owner] = (match["name"] if match else plain)[:100].strip() or "unnamed"
    taken = [name.casefold() for name in short.values()]  # some disks do not tell Ann from ann
    named: dict[str, list[File]] = {}
    for owner, files in groups.items():
        name = short[owner] if taken.count(short[owner].casefold()) == 1 else owner[:100]
        while name in named:
            name += "'"
        named[name] = files
    return named


# --- the notebook ----------------------------------------------------------------------------

def read_notebook(files: list[File], assignment: str):
    """The notebook among one student's files.  Raises Ungraded."""
    notebooks = [f for f in files if NOTEBOOK.search(f.parts[-1])]
    if len(files) == 1 and len(files[0].parts) == 1:
        notebooks = files  # a single file says itself what is wrong with it
    named = [f for f in notebooks if NOTEBOOK.sub("", f.parts[-1]).endswith(assignment)]
    if not notebooks:
        raise Ungraded("there is no notebook (.ipynb) in the folder")
    if len(notebooks) > 1 and len(named) != 1:
        raise Ungraded(f"there are {len(notebooks)} notebooks in the folder, and "
                       f"{'several are' if named else 'none is'} called {assignment}.ipynb")
    return _read(*(named if len(named) == 1 else notebooks))


def _read(file: File):
    name = file.parts[-1]
    if file.read is None:
        raise Ungraded(f"{name or 'the folder'} is {'not a file' if name else 'empty'}")
    if file.size > LARGEST:
        raise Ungraded(f"{name} has {file.size / 1e6:.0f} MB, at most {LARGEST / 1e6:.0f} are read: "
                       "clear its outputs and hand it in again")
    try:
        content = file.read()
    except Exception as broken:  # a locked or damaged zip: zipfile has many ways to say it
        raise Ungraded(f"{name} cannot be read ({type(broken).__name__})") from broken
    if not content.strip():
        raise Ungraded(f"{name} is empty")
    try:
        notebook = nbformat.reads(content.decode(json.detect_encoding(content)), 4)  # also with a byte order mark
        nbformat.validate(notebook, relax_add_props=True)
    except Exception as broken:  # not text, not JSON, no notebook: nbformat has many ways to say it
        raise Ungraded(f"{name} is not a notebook ({type(broken).__name__}): save it from Jupyter or Colab "
                       "as .ipynb") from broken
    return notebook
