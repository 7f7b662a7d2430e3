"""The error that is shown to users, and how errors end a command."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake that the user can correct: what is wrong, in which file or key, and what to do."""


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


def exit_code(command: Callable[[], object]) -> int:
    """Run a command; print an error that the user can correct as one line on stderr.

    Returns 0 on success, 1 after a ``UserError``, a full disk or running out of memory, and 130
    after Ctrl-C. Any other exception is a bug and keeps its traceback.
    """
    try:
        with memory_errors("close other programs, or use a smaller model or smaller photographs"):
            command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted: finished files are kept; run the same command again",
            file=sys.stderr,
        )
        return 130
    except OSError as error:
        if not disk_is_full(error):
            raise
        print(
            f"error: the disk is full ({error.filename or 'while writing'}): free some space "
            "and run the same command again; earlier results are untouched",
            file=sys.stderr,
        )
        return 1
    return 0
