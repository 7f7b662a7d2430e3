"""The one exception a user is meant to read, and how a command ends on it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake that the user can correct: says what is wrong, which file or key, what to do."""


def disk_is_full(error: OSError) -> bool:
    """Whether space or a quota ran out, which ends a command whatever it was doing."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the computer's or a GPU's.

    PyTorch raises an ``OutOfMemoryError`` of its own for a GPU, and a ``RuntimeError`` with one of
    these texts for the computer's memory and from some GPU libraries.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    signs = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """Turn memory that runs out within the block into a UserError with what to do about it."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory: {advice}") from None


def exit_code(command: Callable[[], object]) -> int:
    """Run a command; turn what a user can correct into one line on stderr.

    Returns 0 on success, 1 after a ``UserError``, a full disk or memory that ran out, 130 after
    Ctrl-C. Anything else is a bug of ours and keeps its traceback.
    """
    try:
        with memory_errors("close other programs, or use a smaller model or smaller photographs"):
            command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted: what was finished is kept; run the same command again to go on",
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
