"""Decodes what strangers send, in a process of its own that ends at a time limit.

No check of a file's bytes finds all that takes long: a decoder is a large program in C. A thread
cannot be stopped there, a process can. This one stays for the next picture, so that a picture of 12
megapixels takes about 20 ms longer than in this process.

It is started as a program, not by ``multiprocessing``, which runs the caller's main script again
and refuses in daemonic processes, as those of a data loader are. Nothing is pickled.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from skyseg.data.pictures import codec
from skyseg.data.pictures.codec import Picture
from skyseg.data.pictures.limits import UPLOAD, Limits
from skyseg.data.pictures.metadata import Metadata
from skyseg.errors import UserError

SECONDS = 30.0  # the slowest file within UPLOAD, a JPEG 2000 of 80 megapixels, takes 6
PIPE = 2**20  # bytes; Linux's default of 64 KiB takes 30 ms longer
IDLE = 2  # processes that are kept for the next picture

PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from skyseg.data.pictures.decoder_process import serve; serve()"
)
log = logging.getLogger(__name__)


class TooSlow(UserError):  # noqa: N818 (as UserError, it is shown, not handled)
    """Decoding a picture was ended at the time limit."""


def decode(
    data: bytes, name: str, limits: Limits = UPLOAD, seconds: float | None = None
) -> Picture:
    """As ``codec.decode``, in a process that ends after ``seconds``, by default ``SECONDS``.

    Where no process can be started, it decodes in this one, without a time limit, and logs that.

    Raises:
        TooSlow: it took longer.
        UserError: see ``codec.decode``; or the decoder crashed.
        MemoryError: there is too little memory.
    """
    request = {"name": name, "limits": limits, "as": "picture"}
    answer = _in_process(data, request, seconds)
    if answer is None:
        return codec.decode(data, name, limits=limits)
    fields, (pixels, *stored) = answer
    icc, exif, xmp = map(bytes, stored)
    metadata = Metadata(icc or None, exif, xmp, fields["dpi"] and tuple(fields["dpi"]))
    shown = np.frombuffer(pixels, np.uint8).reshape(fields["shape"])
    return Picture(
        shown,
        tuple(fields["flags"]),
        metadata,
        tuple(fields["notes"]),
        fields["orientation"],
        fields["format"],
    )


def decode_rgba(
    data: bytes, name: str, limits: Limits = UPLOAD, seconds: float | None = None
) -> NDArray[np.uint8]:
    """uint8 [H, W, 4] of a picture file, upright, else as ``decode``."""
    answer = _in_process(data, {"name": name, "limits": limits, "as": "rgba"}, seconds)
    if answer is None:
        return codec.decode_rgba(data, name, limits)
    fields, (pixels,) = answer
    return np.frombuffer(pixels, np.uint8).reshape(fields["shape"])


def warm_up() -> None:
    """Start a process, so that the first picture need not wait for it."""
    if (process := _start()) is not None:
        _keep(process)


def stop() -> None:
    """End the processes that wait for a picture."""
    while _idle:
        _, process = _idle.pop()
        _end(process)


def send(file: IO[bytes], fields: dict[str, Any], *parts: Any) -> None:
    """Write a message: the length of its fields, the fields as JSON, and parts of bytes."""
    head = json.dumps(fields | {"lengths": [memoryview(part).nbytes for part in parts]}).encode()
    file.write(len(head).to_bytes(8) + head)
    for part in parts:
        file.write(part)
    file.flush()


def receive(file: IO[bytes]) -> tuple[dict[str, Any], list[memoryview]]:
    """Read a message.

    Raises:
        EOFError: the other process has ended.
    """
    fields = json.loads(bytes(_exactly(file, int.from_bytes(_exactly(file, 8)))))
    return fields, [_exactly(file, length) for length in fields.pop("lengths")]


def _exactly(file: IO[bytes], length: int) -> memoryview:
    content = np.empty(length, np.uint8).data  # bytearray would write zeros first
    if file.readinto(content) < length:  # type: ignore[attr-defined]
        raise EOFError
    return content


# (pid of the process that started it, process). A forked process must not use its parent's, and a
# deque needs no lock, which could be held while the fork happens.
_idle: deque[tuple[int, subprocess.Popen[bytes]]] = deque()


def _in_process(
    data: bytes, request: dict[str, Any], seconds: float | None
) -> tuple[dict[str, Any], list[memoryview]] | None:
    """The answer of a process; None if none can be started."""
    seconds = SECONDS if seconds is None else seconds
    request = request | {"seconds": seconds}
    name = request["name"]
    while (process := _take()) is not None:
        assert process.stdin
        assert process.stdout
        try:
            send(process.stdin, request, data)
        except BrokenPipeError:  # it ended while it waited
            _end(process)
            continue
        try:
            fields, parts = receive(process.stdout)
        except EOFError:
            raise _ended(process.wait(), name, seconds) from None
        except BaseException:  # such as Ctrl-C: its answer would be taken for the next one
            _end(process)
            raise
        _keep(process)
        if "error" in fields:
            raise UserError(fields["error"])
        if "memory" in fields:
            raise MemoryError(fields["memory"])
        return fields, parts
    return None


def _ended(code: int, name: str, seconds: float) -> Exception:
    """What to raise after a process has ended while it decoded."""
    if code == -signal.SIGALRM:
        return TooSlow(
            f"{name}: takes longer than {seconds:g} s to decode; save it again as JPEG or PNG"
        )
    if code == -signal.SIGKILL:  # what Linux does when memory runs out
        return MemoryError("the decoder was killed")
    return UserError(f"{name}: damaged, so that its decoder crashed; replace or remove it")


def _take() -> subprocess.Popen[bytes] | None:
    """A process that waits for a picture; a new one if there is none; None if that fails."""
    with suppress(IndexError):
        while True:
            owner, process = _idle.pop()
            if owner == os.getpid():
                return process
    return _start()


def _keep(process: subprocess.Popen[bytes]) -> None:
    if len(_idle) < IDLE:
        _idle.append((os.getpid(), process))
    else:
        _end(process)


def _start() -> subprocess.Popen[bytes] | None:
    atexit.unregister(stop)
    atexit.register(stop)
    path = [str(Path(codec.__file__).parents[2]), *sys.path]
    process = None
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        _widen(process)
        assert process.stdout
        receive(process.stdout)  # it is ready
        return process
    except (OSError, ValueError, EOFError) as error:  # no such program, or not Python
        if process:
            _end(process)
        log.warning("pictures are decoded without a time limit: no process starts (%r)", error)
        return None


def _widen(process: subprocess.Popen[bytes]) -> None:
    with suppress(ImportError, AttributeError, OSError):  # not on Linux, or above its limit
        import fcntl

        for pipe in (process.stdin, process.stdout):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)  # type: ignore[arg-type]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with suppress(BrokenPipeError), process:  # closes its pipes, and waits
        pass
