"""Clients that hold connections: each is let go after a time, and others are answered meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

pytest.importorskip("gradio")

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from skyseg.app import connections

SECONDS = 5  # within which a connection must be closed; the limits are a tenth of it
REQUEST = b"POST /x HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that answers with the length of the body, with limits of half a second."""
    for name in ("HEADERS", "PAUSE"):
        monkeypatch.setattr(connections, name, 0.5)
    monkeypatch.setattr(connections, "BODY", 1.0)
    monkeypatch.setattr(connections, "CONNECTIONS", 20)

    async def length(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(routes=[Route("/{path:path}", length, methods=["GET", "POST"])])
    config = uvicorn.Config(app, port=0, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    connections.limit(config)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def ended(connection: socket.socket) -> bytes:
    """What a server sends until it closes the connection; fails after ``SECONDS``."""
    received = b""
    try:
        while part := connection.recv(4096):
            received += part
    except ConnectionResetError:
        pass
    return received


def get(port: int) -> bytes:
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        return ended(connection)


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost: here\r\nX: ", REQUEST, REQUEST + b"\r\n" + b"1" * 500],
    ids=["nothing", "a letter", "half a header", "no end of headers", "half a body"],
)
def test_a_client_that_stops_is_let_go(port: int, sent: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(sent)
        assert ended(connection) == b""
    assert get(port).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [REQUEST + b"X: ", REQUEST + b"\r\n"], ids=["headers", "body"])
def test_a_client_that_sends_a_byte_at_a_time_is_let_go(port: int, begun: bytes) -> None:
    def trickle() -> None:
        start = time.monotonic()
        while time.monotonic() < start + SECONDS:
            connection.sendall(b"1")
            time.sleep(0.05)

    with connect(port) as connection:
        connection.sendall(begun)
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            trickle()


def test_a_second_request_has_its_time_too(port: int) -> None:
    with connect(port) as connection:
        for _ in range(3):
            connection.sendall(REQUEST + b"\r\n" + b"1" * 500)
            time.sleep(0.3)
            connection.sendall(b"1" * 500)
            received = b""
            while not received.endswith(b"\r\n\r\n1000"):
                received += connection.recv(4096)
            time.sleep(0.3)  # altogether longer than any of the limits
        connection.sendall(b"GET / HTTP")
        assert ended(connection) == b""


def test_silent_connections_do_not_keep_others_out(port: int) -> None:
    silent = [connect(port) for _ in range(40)]
    deadline = time.monotonic() + SECONDS
    while not get(port).startswith(b"HTTP/1.1 200"):  # 503 until they are let go
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for connection in silent:
        assert ended(connection) == b""
        connection.close()


def test_huge_headers_and_wrong_lengths_are_refused(port: int) -> None:
    for lines in (
        b"X: " + b"1" * 200_000,
        b"\r\n".join(b"X%d: 1" % number for number in range(20_000)),
        b"Content-Length: -1",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 1e3",
        b"Transfer-Encoding: gzip",
    ):
        with connect(port) as connection:
            with suppress(ConnectionError):  # it need not wait for the end of what it refuses
                connection.sendall(b"POST / HTTP/1.1\r\nHost: here\r\n" + lines + b"\r\n\r\n")
            assert ended(connection)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 501", b"")
