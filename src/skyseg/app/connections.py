"""Limits on connections: those whose request does not arrive in time are closed.

uvicorn waits for the rest of a request as long as the client likes, so a program that opens
connections and says nothing (slowloris), or stops in the middle of an upload, would hold them for
ever.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 256  # requests on further ones are answered with status 503; a page uses about six
# Seconds.
HEADERS = 15  # for the headers of a request, from the first byte or the start of the connection
PAUSE = 30  # between two parts of a body
BODY = 600  # for a whole body: 64 MiB at 110 KiB/s


class TimedConnection(H11Protocol):
    """A connection of uvicorn that waits for a limited time, for each request anew."""

    waiting_for: object = None
    since = 0.0
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        super().connection_lost(exc)
        if self.timer:
            self.timer.cancel()

    def _wait(self) -> None:
        """Close the connection later, if the rest of a request is still to come."""
        now, state = self.loop.time(), self.conn.their_state
        if state is not self.waiting_for:
            self.waiting_for, self.since = state, now
        ends = {h11.IDLE: self.since + HEADERS, h11.SEND_BODY: min(now + PAUSE, self.since + BODY)}
        if self.timer:
            self.timer.cancel()
            self.timer = None
        if state in ends:
            self.timer = self.loop.call_at(ends[state], self.transport.abort)


def limit(config: Config) -> None:
    """Limit the connections that a running server accepts from now on."""
    config.http_protocol_class = TimedConnection
    config.limit_concurrency = CONNECTIONS
