"""The HTTP API: a photograph as a form field in, a mask or cut-out as a picture out.

``create`` is called in each worker process. The page of the OpenAPI description is served from this
machine; nothing is loaded from elsewhere.
"""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

import anyio.to_thread
from fastapi import FastAPI, File, Form, HTTPException, Response, UploadFile
from fastapi.middleware import Middleware
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from skyseg import __version__
from skyseg.app.guard import MAX_BODY, refusal_of_length
from skyseg.data.pictures import codec, decoder
from skyseg.errors import UserError, first_line, memory_errors
from skyseg.inference.loading import load_model
from skyseg.inference.model import Model
from skyseg.inference.outputs import OUTPUTS, Job
from skyseg.model.memory import release_memory

WAITING = 8  # photographs that wait while one is segmented; further ones get status 503
MODEL, LOOPBACK = "SKYSEG_API_MODEL", "SKYSEG_API_LOOPBACK"  # how the command tells the workers
KINDS = Literal["mask", "alpha", "cutout", "overlay"]
MEDIA = {".png": "image/png", ".jpg": "image/jpeg"}


def create() -> FastAPI:
    """The application of a worker, for the model that the environment names."""
    model = load_model(os.environ[MODEL])
    return build(model, loopback=os.environ[LOOPBACK] == "1")


def build(model: Model, loopback: bool) -> FastAPI:
    """The application.

    Args:
        model: answers.
        loopback: the server listens on this machine only, so requests for other names are refused
            (DNS rebinding).
    """
    guards = [Middleware(Limits)]
    if loopback:
        hosts = ["127.0.0.1", "localhost"]
        guards.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=hosts))
    api = FastAPIOffline(
        redoc_url=None,
        title="skyseg",
        version=__version__,
        summary="Cuts the foreground, such as the sky, out of photographs.",
        middleware=guards,
    )
    turn, queue = asyncio.Semaphore(1), [0]

    @api.get("/health", summary="Whether the server answers, and with which model")
    async def health() -> dict[str, str]:
        return {"status": "ok", "model": model.label}

    @api.post(
        "/predict",
        summary="Segment a photograph",
        response_class=Response,
        responses={
            200: {
                "content": {media: {} for media in MEDIA.values()},
                "description": "The picture. The headers X-Foreground (share of the pixels, 0 to "
                "1) and X-Model (percent-encoded) come with it.",
            },
            400: {"description": "The file is no photograph, or takes too long to decode."},
            413: {"description": "The file is too large."},
            503: {
                "description": "Too many photographs are waiting, or there is too little memory."
            },
        },
    )
    async def predict(
        image: Annotated[UploadFile, File(description="A JPEG, PNG, WebP, TIFF, ... file.")],
        output: Annotated[
            KINDS,
            Form(
                description="mask: 0 and 255. alpha: soft mask. cutout: the foreground with "
                "transparency. overlay: the photograph with its foreground tinted."
            ),
        ] = "mask",
    ) -> Response:
        if queue[0] > WAITING:
            raise HTTPException(503, "too many photographs are waiting; try again later")
        queue[0] += 1
        try:
            async with turn:
                return await anyio.to_thread.run_sync(answer, model, await image.read(), output)
        finally:
            queue[0] -= 1

    return api


def answer(model: Model, content: bytes, kind: str) -> Response:
    """The response for the bytes of a file.

    Raises:
        HTTPException: 400, it is no photograph; 503, memory ran out.
    """
    try:
        picture = decoder.decode(content, "image", codec.UPLOAD)
    except UserError as error:
        raise HTTPException(400, str(error)) from None
    output = OUTPUTS[kind]
    suffix = Path(output.suffix).suffix
    try:
        with memory_errors("send a smaller photograph, or try again later"):
            found = model.probability(picture.pixels)
            made = output.make(Job(picture.pixels, found, model.threshold))
            encoded = io.BytesIO()
            codec.write(encoded, made, suffix, picture.metadata, output.data)
    except UserError as error:
        raise HTTPException(503, first_line(error)) from None
    finally:
        release_memory()
    headers = {
        "X-Foreground": f"{float((found >= model.threshold).mean()):.6f}",
        "X-Model": quote(model.label),
    }
    return Response(encoded.getvalue(), media_type=MEDIA[suffix], headers=headers)


class Limits:
    """ASGI middleware: refuses bodies without or above a length, and requests that another web page
    sends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            refused = refusal_of_length(headers, MAX_BODY) if scope["method"] == "POST" else None
            if origin and urlsplit(origin).netloc != headers.get("host"):
                refused = "requests from other web pages are refused", 403
            if refused:
                text, status = refused
                await JSONResponse({"detail": text}, status)(scope, receive, send)
                return
        await self.app(scope, receive, send)
