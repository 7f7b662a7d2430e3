"""Check command line options early, before slow imports and long work."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from skyseg.errors import UserError


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Check that a value is one of the choices.

    Raises:
        UserError: it is not; the message lists the choices.
    """
    if value not in choices:
        raise UserError(f"{option}: unknown {value!r}; choose from {', '.join(choices)}")


def check_folder(option: str, folder: Path | None) -> None:
    """Check that no file is in the way of a folder for results.

    Raises:
        UserError: a file is in the way; the message names it.
    """
    for path in (folder, *folder.parents) if folder else ():
        # Not Path's methods, which raise errors for names that are too long.
        if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112
            raise UserError(f"{option}: {path} is a file; choose another place")


def check_port(port: int, command: str, host: str = "127.0.0.1") -> None:
    """Check that a port of an address of this machine can be used.

    Raises:
        UserError: it cannot; the message names the next port to try.
    """
    with socket.socket() as probe:
        # The server does the same: a port in TIME_WAIT after an earlier server can be used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"port {port} cannot be used ({error.strerror}); stop the program that uses it, or "
                f"choose another: skyseg {command} --port {port % 65535 + 1}"
            ) from None
