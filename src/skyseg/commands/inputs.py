"""Find the inputs that a command line names: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from skyseg.data.folders import list_pictures
from skyseg.errors import UserError

VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".mts"})
STDIN = "-"


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


def expand(inputs: list[str], without: set[Path]) -> tuple[list[Input], list[str]]:
    """Find the input files, each once, in order.

    Args:
        inputs: files, folders (with all photographs and videos below them), patterns, or ``-``.
        without: resolved paths to leave out of folders and patterns, such as earlier results.

    Returns:
        The inputs, and an error message for each entry that matches nothing.
    """
    found: dict[Path | None, Input] = {}
    problems = []
    for entry in inputs:
        try:
            for source in _expand(entry, without):
                found.setdefault(source.path and source.path.resolve(), source)
        except UserError as error:
            problems.append(str(error))
    return list(found.values()), problems


def _expand(entry: str, without: set[Path]) -> Iterator[Input]:
    path = Path(entry)
    if entry == STDIN:
        yield Input("standard input", None, PurePath("stdin"))
    elif path.is_dir():
        below = [file for file in list_pictures(path, VIDEOS) if file.resolve() not in without]
        if not below:
            raise UserError(f"{entry}: contains no photographs or videos")
        yield from (Input(str(file), file, file.relative_to(path)) for file in below)
    elif path.exists():
        yield Input(entry, path, PurePath(path.name))
    elif glob.has_magic(entry):
        yield from _match(entry, without)
    else:
        raise UserError(f"{entry}: no such file or folder")


def _match(pattern: str, without: set[Path]) -> Iterator[Input]:
    fixed = Path(*_before_magic(Path(pattern).parts))
    # Not Path.glob, whose * matches hidden files.
    matches = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207
    files = [file for file in matches if file.is_file() and file.resolve() not in without]
    if not files:
        raise UserError(f"{pattern}: matches no files")
    yield from (Input(str(file), file, file.relative_to(fixed)) for file in files)


def _before_magic(parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part
