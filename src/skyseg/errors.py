"""The one exception a user is meant to read, and how a command ends on it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend: says what is wrong, which file or key, and what to do."""


def disk_is_full(error: OSError) -> bool:
    """Whether space or a quota ran out, which ends a command whatever it was doing."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def exit_code(command: Callable[[], object]) -> int:
    """Run a command; turn what a user can mend into one line on stderr.

    Returns 0 on success, 1 after a ``UserError`` or a full disk, 130 after Ctrl-C. Anything else is
    a bug of ours and keeps its traceback.
    """
    try:
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
