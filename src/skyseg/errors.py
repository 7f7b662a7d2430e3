"""The error that is shown to users, and how errors end a command."""

from __future__ import annotations

import errno
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

JOINERS = "\u200c\u200d"
NO_MEMORY = "not enough memory for it; scale it down, or close other programs"


class UserError(Exception):
    """A mistake that the user can correct: what is wrong, in which file or key, and what to do."""


class Terminated(BaseException):
    """The process got SIGTERM, which ``docker stop`` and Slurm send. It ends as after Ctrl-C.

    It is no ``KeyboardInterrupt``, because Typer turns that into exit code 130.
    """


def printable(text: str) -> str:
    """The text in one line that any terminal and file can take.

    Control characters, line ends, characters that change the direction of writing and bytes that
    are not UTF-8 become escapes: a file name may contain them. Joiners, as in emoji and in Persian,
    are kept.
    """

    def shown(character: str) -> str:
        if character.isprintable() or character in JOINERS:
            return character
        # Python reads a byte of a file name that is not UTF-8 as U+DC00 plus the byte.
        byte = ord(character) - 0xDC00
        return f"\\x{byte:02x}" if 128 <= byte < 256 else ascii(character)[1:-1]

    return "".join(map(shown, text))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def explain(error: Exception, name: str) -> str:
    """One line about what ended the work on one file, so that the others can go on.

    Args:
        error: what was raised. Other than a ``UserError``, an ``OSError`` or too little memory, it
            is a bug; the line names its place.
        name: of the file.

    Raises:
        OSError: ``error`` itself, if the disk is full, as nothing else can be written either.
    """
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return f"{name}: {NO_MEMORY}"
    if isinstance(error, OSError):
        if disk_is_full(error):
            raise error
        return f"{name}: {error.strerror or error}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = " ".join(str(error).split())[:200]
    return (
        f"{name}: {type(error).__name__}{place}{': ' if text else ''}{text}; this is a bug in "
        "skyseg, please report it with this line"
    )


def disk_is_full(error: OSError) -> bool:
    """Whether the disk or a quota is full, which ends a command whatever it was doing."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the computer or a GPU ran out of memory.

    PyTorch raises its own ``OutOfMemoryError`` for a GPU. For the computer's memory, and from some
    GPU libraries, it is a ``RuntimeError`` with one of these texts.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    signs = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """If the block runs out of memory, raise a ``UserError`` that says what to do about it."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory: {advice}") from None


def signal_behind(error: BaseException | None) -> KeyboardInterrupt | Terminated | None:
    """The Ctrl-C or SIGTERM that an exception comes from, if any: libraries put others in their
    place, and cleaning up after one may fail."""
    seen: set[int] = set()  # a chain may lead back to itself
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt | Terminated):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def exit_code(command: Callable[[], object]) -> int:
    """Run a command; print an error that the user can correct as one line on stderr.

    Returns 0 on success, 1 after a ``UserError``, a full disk or running out of memory, 130 after
    Ctrl-C, and 143 after SIGTERM. Any other exception is a bug and keeps its traceback.
    """
    try:
        with (
            _ending_on_sigterm(),
            memory_errors("close other programs, or use a smaller model or smaller photographs"),
        ):
            command()
    except SystemExit:
        raise
    except BaseException as error:
        if (ended := signal_behind(error)) is not None:
            terminated = isinstance(ended, Terminated)
            print(
                f"{'terminated' if terminated else 'interrupted'}: finished files are kept; run "
                "the same command again",
                file=sys.stderr,
            )
            return 143 if terminated else 130
        if isinstance(error, UserError):
            print(f"error: {printable(str(error))}", file=sys.stderr)
            return 1
        if isinstance(error, OSError) and disk_is_full(error):
            print(
                f"error: the disk is full ({printable(str(error.filename or 'while writing'))}): "
                "free some space and run the same command again; earlier results are untouched",
                file=sys.stderr,
            )
            return 1
        raise
    return 0


@contextmanager
def held_signals() -> Iterator[Callable[[], bool]]:
    """Within the block, the first Ctrl-C or SIGTERM waits until the block ends.

    Yields a function that tells whether one waits. A second one takes effect at once. A signal that
    is ignored, as Ctrl-C is in background jobs of a shell, stays so. Outside the main thread,
    nothing waits.
    """
    waiting: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def hold(number: int, frame: FrameType | None) -> None:
        if waiting:
            waiting.clear()
            restore()
            signal.raise_signal(number)
        else:
            waiting.append(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        # None: not set by Python, so it could not be restored.
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    try:
        for number in before:
            signal.signal(number, hold)
        yield lambda: bool(waiting)
    finally:
        restore()
        if waiting:
            signal.raise_signal(waiting[0])


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Within the block, SIGTERM raises ``Terminated``; only the main thread can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
