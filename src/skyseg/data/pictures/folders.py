"""Lists the picture files below a folder, and what it leaves out. No other module lists pictures.

Links to folders are followed. Every folder is listed once, whichever links lead to it, and never
from inside itself, so that a listing ends.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from pathlib import Path, PurePath
from typing import NamedTuple

from skyseg.data.pictures.codec import OWN, SUFFIXES
from skyseg.errors import UserError, printable

LARGEST = OWN.bytes
SHOWN = 3  # names per reason in a note
FOLDER = "folder"

# Files that programs put beside photographs, and notes and tables about them; so are hidden files.
SIDE_SUFFIXES = frozenset(
    {".txt", ".md", ".csv", ".json", ".xml", ".xmp", ".yaml", ".yml", ".ini", ".db", ".aae", ".thm"}
)


class Reason(NamedTuple):
    text: str
    """Names the kind of entry, in the plural."""
    problem: str | None = None
    """What to write in an error message: a photograph may be missing. None: nothing is missing."""


REASONS = {
    "broken": Reason("broken links", "a broken link; restore what it links to, or remove it"),
    "self": Reason("links to themselves", "a link that leads to itself; remove it"),
    "unreadable": Reason("unreadable", "cannot be read; change its permissions, or remove it"),
    "large": Reason("too large", f"larger than {LARGEST >> 30} GiB; shrink or remove it"),
    "special": Reason("pipes or devices", "a pipe or a device; only files are read"),
    "again": Reason("links to folders that are listed already"),
    "other": Reason("other kinds of files"),
    "hidden": Reason("hidden pictures"),
    "side": Reason("side files"),
}


class LeftOut(NamedTuple):
    """An entry of a folder that is not used."""

    path: Path
    reason: str
    """A row of ``REASONS``."""

    @property
    def problem(self) -> str | None:
        """An error message of one line if a photograph may be missing, else None."""
        problem = REASONS[self.reason].problem
        return problem and f"{printable(str(self.path))}: {problem}"


class Listing(NamedTuple):
    files: list[Path]
    """Sorted: the files of a folder, then those of its subfolders."""
    left_out: list[LeftOut]


def list_folder(folder: Path, more: frozenset[str] = frozenset()) -> Listing:
    """The picture files in a folder and the folders below it, and what is left out.

    Hidden files and folders, and files with other suffixes, are left out; so is what cannot be
    read as a file: pipes, devices, broken links, files above ``LARGEST``. A folder that several
    links lead to is listed once, where it really is if that is below ``folder``.

    Args:
        folder: where to look.
        more: further suffixes to list, in lower case, such as those of videos, of any size.

    Raises:
        UserError: the folder cannot be read. For folders below it, see ``left_out``.
    """
    found = Listing([], [])
    top = os.path.realpath(folder)
    seen: set[str] = set()
    waiting = deque([(folder, top)])  # real folders are taken first, then links
    while waiting:
        place, real = waiting.popleft()
        if real in seen:
            found.left_out.append(LeftOut(place, "again"))
            continue
        seen.add(real)
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            if place == folder:
                raise UserError(
                    f"{printable(str(folder))}/: cannot be read: {error.strerror}"
                ) from None
            found.left_out.append(LeftOut(place, "unreadable"))
            continue
        for entry in entries:
            path = place / entry.name
            reason = _reason(path, more)
            if reason == FOLDER and not entry.is_symlink():
                waiting.appendleft((path, f"{real}/{entry.name}"))
            elif reason == FOLDER and not _contains(os.path.realpath(path), real, top):
                waiting.append((path, os.path.realpath(path)))
            elif reason is None:
                found.files.append(path)
            else:
                found.left_out.append(LeftOut(path, "again" if reason == FOLDER else reason))
    found.files.sort(key=lambda path: _order(path, folder))
    found.left_out.sort(key=lambda each: _order(each.path, folder))
    return found


def list_pictures(folder: Path, more: frozenset[str] = frozenset()) -> list[Path]:
    """The files of ``list_folder``, for callers that need every photograph.

    Raises:
        UserError: the folder cannot be read, or an entry that may be a photograph is left out.
    """
    found = list_folder(folder, more)
    for each in found.left_out:
        if each.problem:
            raise UserError(each.problem)
    return found.files


def check_name(path: PurePath, shown: str | None = None) -> None:
    """Check that a path is UTF-8: it is written into tables, and read from them.

    Args:
        path: of a photograph.
        shown: how the error calls it; None: as it is.

    Raises:
        UserError: it is not, as after unpacking an archive from another system.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = printable(shown or str(path))
        raise UserError(f"{name}: its name is not UTF-8; rename the file or folder") from None


def describe(folder: Path, left_out: list[LeftOut]) -> str:
    """What was left out of a folder, in one line: 'photos: left out 3 side files (a.txt, ...)'.

    Empty if nothing was.
    """
    parts = []
    for name, reason in REASONS.items():
        paths = [each.path for each in left_out if each.reason == name]
        if paths:
            shown = [printable(str(path.relative_to(folder))) for path in paths[:SHOWN]]
            more = f" and {len(paths) - SHOWN:,} more" if len(paths) > SHOWN else ""
            parts.append(f"{reason.text} ({', '.join(shown)}{more})")
    return f"{printable(str(folder))}: left out {'; '.join(parts)}" if parts else ""


def obstacle(path: Path) -> LeftOut | None:
    """Why a path cannot be read as a picture file, from what it is; None for a regular file.

    It opens nothing: opening a pipe waits for whoever writes into it.
    """
    kind = _kind(path)
    return LeftOut(path, kind) if kind in REASONS else None


def _reason(path: Path, more: frozenset[str]) -> str | None:
    """Why an entry is left out, a row of ``REASONS``; ``FOLDER``; or None for a picture file."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        # A Mac writes ._a.jpg beside a.jpg on disks of other systems.
        named_as_picture = suffix in SUFFIXES | more and not path.name.startswith("._")
        return "hidden" if named_as_picture else "side"
    if suffix in SIDE_SUFFIXES - more and not path.is_dir():
        return "side"
    kind = _kind(path)
    if kind in ("special", "large", None) and suffix not in SUFFIXES | more:
        return "other"
    return None if kind == "large" and suffix in more else kind


def _kind(path: Path) -> str | None:
    """What a path is: an obstacle of ``REASONS``, ``FOLDER``, or None for a regular file."""
    try:
        found = path.stat()
    except OSError as error:
        return {errno.ENOENT: "broken", errno.ELOOP: "self"}.get(error.errno or 0, "unreadable")
    if stat.S_ISDIR(found.st_mode):
        return FOLDER
    if not stat.S_ISREG(found.st_mode):
        return "special"
    return "large" if found.st_size > LARGEST else None


def _contains(target: str, *folders: str) -> bool:
    """Whether one of the folders is ``target`` or below it."""
    return any(Path(folder).is_relative_to(target) for folder in folders)


def _order(path: Path, folder: Path) -> list[tuple[bool, str]]:
    """Sorts the files of a folder before its subfolders."""
    *above, name = path.relative_to(folder).parts
    return [*((True, part) for part in above), (False, name)]
