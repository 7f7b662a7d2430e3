"""Find the inputs that a command line names: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path, PurePath
from typing import NamedTuple

from skyseg.data.pictures.folders import describe, list_folder, obstacle
from skyseg.errors import UserError

VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".mts"})
STDIN = "-"
STDIN_LIMIT = 2**29  # bytes; 512 MiB


class Input(NamedTuple):
    name: str
    """As error messages name it."""
    path: Path | None
    """None: standard input."""
    place: PurePath
    """Its path below the folder or pattern that matched it."""

    @property
    def is_video(self) -> bool:
        return self.path is not None and self.path.suffix.lower() in VIDEOS


class Found(NamedTuple):
    inputs: list[Input]
    problems: list[str]
    """An error message for each input that cannot be used, and each entry that matches nothing."""
    notes: list[str]
    """One line per folder from which something was left out."""


def expand(inputs: list[str], without: set[Path]) -> Found:
    """Find the input files, each once, in order.

    Args:
        inputs: files, folders (with all photographs and videos below them), patterns, or ``-``.
        without: resolved paths to leave out of folders and patterns, such as earlier results.
    """
    once: dict[str | None, Input] = {}
    problems: list[str] = []
    notes: list[str] = []
    for entry in inputs:
        try:
            found = _expand(entry, without)
        except UserError as error:
            problems.append(str(error))
            continue
        for source in found.inputs:
            once.setdefault(os.path.realpath(source.path) if source.path else None, source)
        problems += found.problems
        notes += found.notes
    return Found(list(once.values()), list(dict.fromkeys(problems)), list(dict.fromkeys(notes)))


def read_stdin() -> bytes:
    """Standard input, to its end.

    Raises:
        UserError: it has more than ``STDIN_LIMIT`` bytes.
    """
    data = sys.stdin.buffer.read(STDIN_LIMIT + 1)
    if len(data) > STDIN_LIMIT:
        raise UserError(
            f"standard input: more than {STDIN_LIMIT >> 20} MiB; name a file instead of {STDIN}"
        )
    return data


def _expand(entry: str, without: set[Path]) -> Found:
    path = Path(entry)
    if entry == STDIN:
        return Found([Input("standard input", None, PurePath("stdin"))], [], [])
    if os.path.isdir(entry):  # noqa: PTH112 (Path.is_dir raises errors for some names)
        return _folder(path, entry, without)
    if os.path.lexists(path):
        return _files([Input(entry, path, PurePath(path.name))])
    if glob.has_magic(entry):
        return _match(entry, without)
    raise UserError(f"{entry}: no such file or folder")


def _folder(path: Path, entry: str, without: set[Path]) -> Found:
    files, left_out = list_folder(path, VIDEOS)
    left_out = [each for each in left_out if _real(each.path) not in without]
    problems = [each.problem for each in left_out if each.problem]
    note = describe(path, [each for each in left_out if not each.problem])
    below = [Input(str(file), file, file.relative_to(path)) for file in files]
    below = [source for source in below if source.path and _real(source.path) not in without]
    if not below and not problems:
        raise UserError(f"{entry}: contains no photographs or videos{note and f'; {note}'}")
    return Found(below, problems, [note] if note else [])


def _files(sources: Iterable[Input]) -> Found:
    """Those that are regular files, and a problem for each other one that is not a folder."""
    found = Found([], [], [])
    for source in sources:
        assert source.path
        problem = obstacle(source.path)
        if problem and problem.problem and not (problem.reason == "large" and source.is_video):
            found.problems.append(problem.problem)
        elif source.path.is_file():
            found.inputs.append(source)
    return found


def _match(pattern: str, without: set[Path]) -> Found:
    parts = Path(pattern).parts
    fixed = Path(*takewhile(lambda part: not glob.has_magic(part), parts))
    matches = _below(parts) if "**" in parts else map(Path, glob.glob(pattern))  # noqa: PTH207
    found = _files(
        Input(str(path), path, PurePath(os.path.normpath(path.relative_to(fixed))))
        for path in sorted(matches)
        if _real(path) not in without
    )
    if not found.inputs and not found.problems:
        raise UserError(f"{pattern}: matches no files")
    return found


def _below(parts: tuple[str, ...]) -> Iterator[Path]:
    """What a pattern with ``**`` matches. Not by ``glob``, which runs in circles where links do."""
    start = parts.index("**")
    top = Path(*parts[:start])
    for folder in map(Path, glob.glob(str(top))) if start else [top]:  # noqa: PTH207
        if folder.is_dir():
            files, left_out = list_folder(folder, VIDEOS)
            others = [each.path for each in left_out if not each.path.name.startswith(".")]
            for path in (*files, *others):
                if _fits(path.relative_to(folder).parts, parts[start:]):
                    yield path


def _fits(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_fits(names[start:], patterns[1:]) for start in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and _fits(names[1:], patterns[1:])


def _real(path: Path) -> Path:
    """``Path.resolve``, which raises an error for a link to itself."""
    return Path(os.path.realpath(path))
