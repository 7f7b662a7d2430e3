"""Requests that are refused before they reach Gradio."""

import asyncio
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from skyseg.app import guard
from skyseg.app.guard import Guard


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """Gradio's folder with one uploaded file, a.jpg, next to a private file."""
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "a.jpg").write_bytes(b"uploaded")
    (tmp_path / "private.png").write_bytes(b"private")
    return tmp_path / "uploads"


@pytest.fixture
def client(uploads: Path) -> TestClient:
    echoing = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    return TestClient(Guard(echoing, uploads))


def test_requests_of_the_page_pass_unchanged(client, uploads):
    body = json.dumps(
        {
            "data": [
                {"path": f"{uploads}/a.jpg", "url": None},
                {"path": None},
                "https is a word",
                ["http"],
            ]
        }
    )
    assert client.post("/gradio_api/queue/join", content=body).text == body
    assert client.post("/gradio_api/reset", content="").status_code == 200
    assert client.post("/x", content="no json").text == "no json"
    assert client.get("/gradio_api/file=/tmp/a.jpg").status_code == 200
    form = client.post("/gradio_api/upload", files={"files": ("a", b"http://bytes")})
    assert "http://bytes" in form.text


NO_UPLOADS = {
    "an address": "http://example.org/a",
    "another address": " https://example.org/a",
    "a private file": "../private.png",
    "a missing file": "../missing.png",
    "a way out": "x/../../private.png",
    "a link": "link.png",
    "a loop of links": "loop",
    "a pipe": "pipe",
    "a folder": ".",
    "no name": "",
    "a null byte": "a\0b",
    "a long name": "a" * 5000,
}


@pytest.mark.parametrize("path", NO_UPLOADS.values(), ids=NO_UPLOADS)
@pytest.mark.parametrize("place", ["photo", "composite", "layers", "event data"])
def test_a_path_that_is_not_an_upload_is_refused(client, uploads, path, place):
    (uploads / "link.png").symlink_to(uploads.parent / "private.png")
    (uploads / "loop").symlink_to(uploads / "loop")
    os.mkfifo(uploads / "pipe")
    named = path if "http" in path else f"{uploads}/{path}"
    body = {
        "photo": {"data": [{"path": named}, None, None, "en"]},
        "composite": {
            "data": [{"background": None, "layers": [], "composite": {"path": named, "meta": None}}]
        },
        "layers": {
            "data": [{"id": None, "layers": [{"path": f"{uploads}/a.jpg"}, {"path": named}]}]
        },
        "event data": {"data": [], "event_data": {"_data": {"path": named}}},
    }[place]

    answer = client.post("/gradio_api/queue/join", json=body)

    assert answer.status_code == 403
    assert answer.text == "only uploaded files can be used: upload it again"


@pytest.mark.parametrize("path", [["/etc/passwd"], {"path": "/etc/passwd"}, 3, True])
def test_a_path_that_is_not_a_string_is_refused(client, path):
    assert client.post("/gradio_api/queue/join", json={"path": path}).status_code == 403


def test_a_body_that_claims_to_be_a_form_is_checked_too(client):
    answer = client.post(
        "/gradio_api/queue/join",
        content='{"path": "/etc/passwd"}',
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.org",
        "/gradio_api/file=%68ttps://example.org",
        "/gradio_api/file=HTTP://example.org",
        "/gradio_api/proxy=http://example.org",
        "/gradio_api/process_recording",
        "/monitoring/summary",
        "/gradio_api/vibe-edit",
    ],
)
def test_parts_of_gradio_that_the_page_does_not_use_are_closed(client, path):
    assert client.get(path).status_code == 403


def test_bodies_need_a_content_length_within_the_limit(client, monkeypatch):
    assert client.post("/x", content=iter([b"{}"])).status_code == 411
    chunked = {"Content-Length": "2", "Transfer-Encoding": "chunked"}
    assert client.post("/x", content=b"{}", headers=chunked).status_code == 411
    monkeypatch.setattr(guard, "MAX_JSON", 100)
    monkeypatch.setattr(guard, "MAX_BODY", 1000)
    assert client.post("/x", content=b"1" * 101).status_code == 413
    assert client.post("/upload", files={"files": b"1" * 500}).status_code == 200
    assert client.post("/upload", files={"files": b"1" * 1000}).status_code == 413


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver.evil"])
def test_requests_from_other_web_pages_are_refused(client, origin):
    assert client.get("/", headers={"Origin": origin}).status_code == 403
    assert client.get("/", headers={"Origin": "http://testserver"}).status_code == 200


def test_a_client_that_disconnects_is_not_an_error():
    async def gone(scope, receive, send):
        raise ClientDisconnect

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(Guard(gone, Path())(scope, None, None))
