"""The process in which ``decoder`` decodes: pictures from standard input, pixels to its output."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from skyseg.data.pictures import codec
from skyseg.data.pictures.decoder import receive, send
from skyseg.data.pictures.limits import Limits
from skyseg.errors import UserError


def serve() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints is no answer
    # Ctrl-C goes to every process of a terminal; the other process decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # By default this signal ends a process, whatever it does; the process that started it may have
    # changed that.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    send(answers, {})
    while True:
        try:
            request, (data,) = receive(sys.stdin.buffer)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        fields, parts = _answer(request, bytes(data))
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            send(answers, fields, *parts)
        except BrokenPipeError:  # the other process has ended
            os._exit(0)
        del data, parts


def _answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[Any]]:
    limits = Limits(*request["limits"])
    try:
        if request["as"] == "rgba":
            rgba = codec.decode_rgba(data, request["name"], limits)
            return {"shape": rgba.shape}, [rgba]
        found = codec.decode(data, request["name"], limits=limits)
    except UserError as error:
        return {"error": str(error)}, []
    except MemoryError as error:
        return {"memory": str(error)}, []
    metadata = found.metadata
    fields = {
        "shape": found.pixels.shape,
        "flags": found.flags,
        "notes": found.notes,
        "orientation": found.orientation,
        "format": found.format,
        "dpi": metadata.dpi,
    }
    return fields, [found.pixels, metadata.icc or b"", metadata.exif, metadata.xmp]
