"""Files: atomic writes, so that nothing is ever half written, and reads that never wait."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyseg.errors import UserError, held_signals

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

PART = ".part"
"""Ends the names of temporary folders: ``.NAME.COMPUTER.PROCESS.part``."""
_LOCK = threading.Lock()
_SWEPT: set[tuple[int, Path]] = set()  # process and folder


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path; what is there is renamed to ``path`` when the block succeeds.

    The caller creates a file or a folder there. If the block raises, that is removed, and whatever
    was at ``path`` before is untouched. If the process is killed, the next process that writes to
    the same folder removes it.
    """
    with _part(path) as part:
        temporary = part / path.name
        yield temporary
        if temporary.is_dir():
            if path.exists():
                path.rename(part / ".old")  # rename(2) replaces files and empty folders only
        else:
            _share(temporary, part)
        temporary.replace(path)


def check_writable(path: Path) -> None:
    """Create and remove the temporary folder of ``atomic_write``, and the folders above it.

    Raises:
        OSError: what writing to ``path`` would raise.
    """
    with _part(path):
        if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises errors for some names)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` within the block. Libraries may write temporary files of their own,
    so a single file would not do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path.parent)
    part = path.with_name(f".{path.name}.{_here()}.{os.getpid()}{PART}")
    part.mkdir()
    try:
        yield part
    finally:
        with held_signals():  # one that ends rmtree leaves an OSError in its place
            shutil.rmtree(part)


def _share(file: Path, part: Path) -> None:
    """Make a file as readable as the umask allows, which the folder's own mode shows: safetensors
    writes files that only their owner may read."""
    mode = stat.S_IMODE(part.stat().st_mode) & 0o666
    if stat.S_IMODE(file.stat().st_mode) != mode:
        with suppress(PermissionError):  # some file systems have one mode for all files
            file.chmod(mode)


def left_over(folder: Path) -> list[Path]:
    """Temporary folders of ``atomic_write`` at any depth that no process of this computer writes:
    those of ended processes, of other computers and of earlier versions."""
    return [
        part
        for part in sorted(folder.rglob(f".*{PART}"))
        if not (_is_from_here(part) and _runs(_process(part)))
    ]


def _remove_left_over(folder: Path) -> None:
    """Remove the temporary folders in a folder whose processes have ended. Each process does that
    before it first writes there, so that many files do not take long."""
    swept = (os.getpid(), folder.absolute())
    with _LOCK:
        if swept in _SWEPT:
            return
        for part in folder.glob(f".*{PART}"):
            # If one is of a process with this one's number, that was an earlier process.
            if _is_from_here(part) and (_process(part) == os.getpid() or not _runs(_process(part))):
                with held_signals():
                    shutil.rmtree(part, ignore_errors=True)
        _SWEPT.add(swept)


def _is_from_here(part: Path) -> bool:
    return part.name.split(".")[-3:-2] == [_here()] and part.name.split(".")[-2].isdigit()


def _process(part: Path) -> int:
    return int(part.name.split(".")[-2])


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or not the number of a process
        return True
    else:
        return True


@cache
def _here() -> str:
    """This computer; in a container, this container, whose processes have numbers of their own."""
    space = Path("/proc/self/ns/pid")
    inside = os.readlink(space) if space.is_symlink() else ""  # noqa: PTH115 (no path)
    return hashlib.sha256(f"{platform.node()} {inside}".encode()).hexdigest()[:8]


def read_bytes(path: Path, most: int, missing: str = "") -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file.
        most: refuse larger files, in bytes.
        missing: what the user can do if there is no such file.

    Raises:
        UserError: it is missing, no regular file, too large, or cannot be read.
    """
    with open_regular(path, missing) as file:
        try:
            if os.fstat(file.fileno()).st_size > most:
                raise UserError(f"{path}: larger than {_size(most)}; shrink or remove it")
            return file.read()
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _size(count: int) -> str:
    return f"{count >> 20:,} MiB" if count >= 2**20 else f"{count >> 10} KiB"


def open_regular(path: Path, missing: str = "") -> io.BufferedReader:
    """Open a file for reading. Never waits, as opening a pipe does.

    Args:
        path: of the file.
        missing: what the user can do if there is no such file.

    Raises:
        UserError: there is none, it cannot be read, or it is no regular file.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for whoever writes into it.
        file = open(  # noqa: SIM115 (Path.open has no opener; the caller closes it)
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        )
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if missing and isinstance(error, FileNotFoundError) and not os.path.lexists(path):
            raise UserError(f"{path}: no such file; {missing}") from None
        raise UserError(f"{path}: {_obstacle(path, error)}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path}: a pipe or a device; only files are read")
    return file


def _obstacle(path: Path, error: Exception) -> str:
    """Why a file cannot be opened, and what to do."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ELOOP:
        return "a link that leads to itself; remove it"
    if code == errno.ENOENT and os.path.islink(path):  # noqa: PTH114 (no errors for odd names)
        return "a link that leads nowhere; restore what it links to, or remove it"
    if code == errno.EISDIR:
        return "a folder; name a file"
    if code == errno.ENXIO:  # a socket
        return "a pipe or a device; only files are read"
    return f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"


def check_inside(path: Path, folder: Path) -> None:
    """Check that a file to be written is in a folder: names may contain '..', and links may lead
    elsewhere.

    Raises:
        UserError: it is not.
    """
    real = Path(os.path.realpath(path.parent))
    if not real.is_relative_to(os.path.realpath(folder)):
        raise UserError(f"{path}: would be written to {real}, not in {folder}/; use another folder")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write indented JSON, floats rounded to six decimals so that diffs show changes, not noise."""

    def rounded(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: rounded(child) for key, child in node.items()}
        return round(node, 6) if isinstance(node, float) else node

    write_text(path, json.dumps(rounded(value), indent=2) + "\n")


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock within the block. It ends with this process, however that ends.

    Args:
        path: a file, which is created if there is none and stays.
        busy: what another process is doing while it holds the lock; begins the error message.

    Raises:
        UserError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{busy} (process {file.read().strip() or 'unknown'}); wait until it has ended, or "
                "end it"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, floats with six significant digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def write_png(path: Path, picture: Image.Image) -> None:
    """Write a picture as PNG."""
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes.

    Raises:
        UserError: see ``open_regular``.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
