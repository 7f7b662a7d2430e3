"""Checks requests before they reach Gradio: size limits, and no files other than uploads.

Gradio does not check every path in a request: it checks one only if the payload has a ``meta`` key,
and passes it to us unchanged if an event has ``preprocess=False``. So every path in a request is
checked here first.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skyseg.data.pictures.codec import UPLOAD

MAX_BODY = UPLOAD.bytes + 2**20  # an upload and the rest of its form
MAX_JSON = 2**20  # what the page itself sends is a few kilobytes
# Parts of Gradio that the page does not use: files by URL, other apps, recordings, statistics.
CLOSED = (
    "/file=http:",
    "/file=https:",
    "/proxy=",
    "/process_recording",
    "/monitoring",
    "/vibe-",
    "/undo-vibe-edit",
    "/run-history",
    "/deep_link",
)


class Guard:
    """ASGI middleware.

    Args:
        uploads: Gradio's folder of uploads, the only files that a request may name.
    """

    def __init__(self, app: ASGIApp, uploads: Path) -> None:
        self.app = app
        self.uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with suppress(ClientDisconnect):  # a client that disconnects is not an error
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if refused := _refusal(request):
            await PlainTextResponse(*refused)(scope, receive, send)
            return
        if request.method != "POST" or _is_form(request):
            await self.app(scope, receive, send)
            return
        body = await request.body()
        if not _names_only_uploads(body, self.uploads):
            await PlainTextResponse("only uploaded files can be used: upload it again", 403)(
                scope, receive, send
            )
            return
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()  # the end of the connection
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)


def _refusal(request: Request) -> tuple[str, int] | None:
    """Text and status for a request that is refused without reading its body; else None."""
    path, headers = unquote(request.url.path).lower(), request.headers
    if any(part in path for part in CLOSED):
        return "this page does not offer that", 403
    origin = headers.get("origin")
    if origin and urlsplit(origin).netloc != headers.get("host"):
        return "requests from other web pages are refused", 403
    if request.method == "POST":
        length = headers.get("content-length", "")
        # A chunked body may be longer than its Content-Length; the page never sends one.
        if not length.isdecimal() or "transfer-encoding" in headers:
            return "the request needs a Content-Length", 411
        if int(length) > (MAX_BODY if _is_form(request) else MAX_JSON):
            return f"too large: an upload may have at most {UPLOAD.bytes // 2**20} MiB", 413
    return None


def _is_form(request: Request) -> bool:
    """Whether this is the upload of a file: the only requests whose body is not JSON."""
    return request.url.path.rstrip("/").endswith(
        ("/upload", "/component_server")
    ) and request.headers.get("content-type", "").startswith("multipart/form-data")


def _names_only_uploads(body: bytes, uploads: Path) -> bool:
    """Whether each ``path`` in a JSON body, at any depth, is a regular file among the uploads.

    Gradio opens, copies or downloads what ``path`` names, which may be a URL. The answer is the
    same for a file that exists elsewhere and for one that does not exist.
    """
    try:
        waiting = [json.loads(body)] if body else []
    except ValueError:
        return True  # Gradio refuses it itself
    while waiting:
        value: Any = waiting.pop()
        if isinstance(value, dict):
            if value.get("path") is not None and not _is_upload(value["path"], uploads):
                return False
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return True


def _is_upload(path: object, uploads: Path) -> bool:
    if not isinstance(path, str):
        return False
    try:
        resolved = Path(path).resolve()  # follows links and ..
        return resolved.is_relative_to(uploads.resolve()) and resolved.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
        return False
