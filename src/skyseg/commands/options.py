"""Checks of what was typed, before the seconds of imports and the minutes of work."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from skyseg.errors import UserError


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Refuse what is none of the choices.

    Raises:
        UserError: says which there are.
    """
    if value not in choices:
        raise UserError(f"{option}: unknown {value!r}; choose from {', '.join(choices)}")


def check_folder(option: str, folder: Path | None) -> None:
    """Refuse a place for results where a file is in the way.

    Raises:
        UserError: names the file.
    """
    for path in (folder, *folder.parents) if folder else ():
        if path.exists() and not path.is_dir():
            raise UserError(f"{option}: {path} is a file; name another place")


def check_port(port: int, command: str) -> None:
    """Refuse a port of 127.0.0.1 that cannot be used.

    Raises:
        UserError: with the next port to try.
    """
    with socket.socket() as probe:
        # As the server will: a port in TIME_WAIT after the last one is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"port {port} cannot be used ({error.strerror}); stop what is using it, or choose "
                f"another: skyseg {command} --port {port % 65535 + 1}"
            ) from None
