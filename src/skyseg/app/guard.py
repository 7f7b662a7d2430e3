"""Checks requests before they reach Gradio, and adds the headers that confine the page.

Only what the page itself asks for is answered: the rest of Gradio serves other uses. Gradio does
not check every path in a request: it checks one only if the payload has a ``meta`` key, and passes
it to us unchanged if an event has ``preprocess=False``. So every path in a request is checked here
first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skyseg.app.connections import PAUSE
from skyseg.data.pictures.codec import UPLOAD

MAX_BODY = UPLOAD.bytes + 2**20  # an upload and the rest of its form
MAX_JSON = 2**20  # what the page itself sends is a few kilobytes
MAX_DEPTH = 32  # of lists and objects in JSON; what the page sends has at most 8
STALE = 2 * PAUSE  # seconds after which a part of an upload is given up
FILE = "/gradio_api/file="
FORMS = ("/gradio_api/upload", "/gradio_api/component_server")  # the latter takes drawings
# What the page asks for, as recorded in Chromium; after a restart of the server it also asks for
# app_id, config and info. Gradio itself asks for startup-events.
READ = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/(assets|static)/.+"
    r"|/gradio_api/(startup-events|app_id|info|heartbeat/\w+|queue/data|upload_progress|file=.+)"
)
WRITE = re.compile(r"/gradio_api/(queue/join|cancel|reset|upload|component_server)")

CONFINED = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Whatever is not the page, such as an uploaded file opened in a tab of its own, runs nothing.
NOTHING = "default-src 'none'; frame-ancestors 'none'"
# 'unsafe-eval', because Gradio makes functions from the texts of its events, and the canvas from
# those of its shaders. Its components carry style attributes. Inline scripts run only if they are
# those of the page as it was sent, by their hashes; handlers in attributes (onerror) never run.
PAGE = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' {hashes}; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "manifest-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)
HEAD = Path(__file__).parent / "page.head.html"  # Gradio inserts its script when the page runs

Refusal = tuple[str, int]
"""Text and status."""


class Guard:
    """ASGI middleware.

    Args:
        uploads: Gradio's folder of uploads, the only files that a request may name.
    """

    def __init__(self, app: ASGIApp, uploads: Path) -> None:
        self.app = app
        self.uploads = uploads
        self.own = hashes(HEAD.read_bytes())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            with suppress(ClientDisconnect):  # a client that disconnects is not an error
                await self._answer(scope, receive, send)
        else:  # the page opens no WebSocket
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refused = _refusal(request, self.uploads)
        if not refused and request.method == "POST" and request.scope["path"] not in FORMS:
            body = await request.body()
            refused = refusal_of_json(body, self.uploads)
            receive = _again(body, receive)
        if refused:
            await PlainTextResponse(*refused)(scope, receive, _confining(send, NOTHING))
        elif request.scope["path"] == "/" and request.method == "GET":
            await self._send_page(scope, receive, send)
        elif request.method == "POST":
            _sweep(self.uploads)
            await self._pass_on(scope, receive, _confining(send, NOTHING))
        else:
            await self.app(scope, receive, _confining(send, NOTHING))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Gradio does not check all it reads: an event that it does not have is a KeyError."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except ClientDisconnect:
            raise
        except Exception:
            if begun:
                raise
            await PlainTextResponse("the request is not one of the page", 400)(scope, receive, send)

    async def _send_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        found = hashes(b"".join(message.get("body", b"") for message in messages))
        confined = _confining(send, PAGE.format(hashes=" ".join([*self.own, *found])))
        for message in messages:
            await confined(message)


def hashes(page: bytes) -> list[str]:
    """The sources that allow the inline scripts of an HTML page in a Content-Security-Policy."""
    return [
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in SCRIPT.findall(page.replace(b"\r\n", b"\n"))
    ]


def _confining(send: Send, policy: str) -> Send:
    """Sends responses with the headers that confine them."""
    added = {**CONFINED, "Content-Security-Policy": policy}

    async def confined(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message.get("headers", ()),
                *((key.lower().encode(), value.encode()) for key, value in added.items()),
            ]
        await send(message)

    return confined


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that has been read already."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()  # the end of the connection
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _refusal(request: Request, uploads: Path) -> Refusal | None:
    """Why a request is refused without reading its body; else None."""
    path, headers = request.scope["path"], request.headers
    asked = {"GET": READ, "HEAD": READ, "POST": WRITE}.get(request.method)
    if not asked or not asked.fullmatch(path):
        return "this page does not offer that", 403
    if path.startswith(FILE) and not _is_upload(path.removeprefix(FILE), uploads):
        return "this page does not offer that", 403
    origin = headers.get("origin")
    if origin and urlsplit(origin).netloc != headers.get("host"):
        return "requests from other web pages are refused", 403
    if request.method == "POST":
        is_form = headers.get("content-type", "").startswith("multipart/form-data")
        if path in FORMS and not is_form:
            return "the request should be a form", 415
        return refusal_of_length(headers, MAX_BODY if path in FORMS else MAX_JSON)
    return None


def refusal_of_length(headers: Headers, most: int) -> Refusal | None:
    """Why a body is refused without reading it: its length in bytes is unknown or over ``most``."""
    length = headers.get("content-length", "")
    # A chunked body may be longer than its Content-Length; the page never sends one.
    if not length.isdecimal() or "transfer-encoding" in headers:
        return "the request needs a Content-Length", 411
    if int(length) > most:
        return f"too large: an upload may have at most {UPLOAD.bytes // 2**20} MiB", 413
    return None


def refusal_of_json(body: bytes, uploads: Path) -> Refusal | None:
    """Why a body is refused: it is not JSON, or names another file than an upload; else None.

    Gradio opens, copies or downloads what ``path`` names, which may be a URL. The answer is the
    same for a file that exists elsewhere and for one that does not exist.
    """
    try:
        content = json.loads(body) if body else None
        # Infinite numbers and halves of characters could not be written in an answer.
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return "the request is not JSON", 400
    waiting: list[tuple[Any, int]] = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return "the request is nested too deeply", 400
        inner: Iterable[Any] = ()
        if isinstance(value, dict):
            if value.get("path") is not None and not _is_upload(value["path"], uploads):
                return "only uploaded files can be used: upload it again", 403
            inner = value.values()
        elif isinstance(value, list):
            inner = value
        waiting += [(each, depth + 1) for each in inner]
    return None


def _sweep(uploads: Path) -> None:
    """Delete what is left of uploads that did not end: Gradio moves whole ones into folders."""
    for path in uploads.iterdir():
        with suppress(OSError):  # another request moves or deletes it
            if path.is_file() and time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def _is_upload(path: object, uploads: Path) -> bool:
    if not isinstance(path, str):
        return False
    try:
        resolved = Path(path).resolve()  # follows links and ..
        return resolved.is_relative_to(uploads.resolve()) and resolved.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
        return False
