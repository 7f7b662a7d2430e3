"""Requests that are refused before they reach Gradio."""

import asyncio
import base64
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

pytest.importorskip("gradio")

import gradio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from skyseg.app import guard
from skyseg.app.guard import Guard


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """Gradio's folder with one uploaded file, a.jpg, next to a private file."""
    (tmp_path / "uploads" / "hash").mkdir(parents=True)
    (tmp_path / "uploads" / "a.jpg").write_bytes(b"uploaded")
    (tmp_path / "private.png").write_bytes(b"private")
    return tmp_path / "uploads"


@pytest.fixture
def client(uploads: Path) -> TestClient:
    echoing = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST", "PUT"])])
    return TestClient(Guard(echoing, uploads))


JOIN = "/gradio_api/queue/join"


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
    assert client.post(JOIN, content=body).text == body
    assert client.post("/gradio_api/reset", content="").status_code == 200
    assert client.get(f"/gradio_api/file={uploads}/a.jpg").status_code == 200
    for path in (
        "/",
        "/assets/a.js",
        "/static/img/a.svg",
        "/gradio_api/heartbeat/x1",
        "/theme.css",
    ):
        assert client.get(path).status_code == 200
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
        JOIN,
        content='{"path": "/etc/passwd"}',
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 403
    for path in guard.FORMS:
        assert client.post(path, json={"fn_name": "x"}).status_code == 415


def test_only_what_the_page_asks_for_is_answered(client):
    """Of the routes that Gradio has today, and of any that it may get."""
    with gradio.Blocks() as demo:
        pass
    known = sorted(gradio.routes.App.create_app(demo).openapi()["paths"])
    assert len(known) > 60
    asked = {path: re.sub(r"\{[^}]*\}", "x", path) for path in known}
    assert [path for path in asked if client.get(asked[path]).status_code != 403] == [
        "/",
        "/assets/{path}",
        "/config",
        "/favicon.ico",
        "/gradio_api/app_id",
        "/gradio_api/heartbeat/{session_hash}",
        "/gradio_api/info",
        "/gradio_api/queue/data",
        "/gradio_api/startup-events",
        "/gradio_api/upload_progress",
        "/manifest.json",
        "/static/{path}",
        "/theme.css",
    ]
    assert [path for path in asked if client.post(asked[path], json={}).status_code != 403] == [
        "/gradio_api/cancel",
        "/gradio_api/component_server",
        "/gradio_api/queue/join",
        "/gradio_api/reset",
        "/gradio_api/upload",
    ]
    for path in asked.values():
        assert client.put(path).status_code == 403
    for path in ("/x", "/gradio_api", "/GRADIO_API/info", "/config/", "/gradio_api/info%0a"):
        assert client.get(path).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.org",
        "/gradio_api/file=%68ttps://example.org",
        "/gradio_api/file=HTTP://example.org",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=params.yaml",
        "/gradio_api/file={uploads}/../private.png",
        "/gradio_api/file={uploads}/%2e%2e/private.png",
        "/gradio_api/file={uploads}/a.jpg%00",
        "/gradio_api/file=",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://example.org",
        "/gradio_api/process_recording",
        "/gradio_api/run-history/buckets",
        "/gradio_api/mcp/schema",
        "/gradio_api/startup-events/x",
        "/gradio_api/heartbeat/../upload",
        "/gradio_api/user",
        "/gradio_api/token",
        "/gradio_api/queue/status",
        "/monitoring/summary",
        "/gradio_api/vibe-edit",
        "/svelte/x",
    ],
)
def test_parts_of_gradio_that_the_page_does_not_use_are_closed(client, uploads, path):
    answer = client.get(path.format(uploads=uploads))
    assert (answer.status_code, answer.text) == (403, "this page does not offer that")


def test_a_websocket_is_refused(client):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass


def test_bodies_need_a_content_length_within_the_limit(client, monkeypatch):
    upload = "/gradio_api/upload"
    assert client.post(JOIN, content=iter([b"{}"])).status_code == 411
    chunked = {"Content-Length": "2", "Transfer-Encoding": "chunked"}
    assert client.post(JOIN, content=b"{}", headers=chunked).status_code == 411
    for length in ("-1", "1e3", "", "0x10", "²"):
        wrong = {"Content-Length": length.encode()}
        assert client.post(JOIN, content=b"{}", headers=wrong).status_code == 411
    monkeypatch.setattr(guard, "MAX_JSON", 100)
    monkeypatch.setattr(guard, "MAX_BODY", 1000)
    assert client.post(JOIN, content=b"1" * 101).status_code == 413
    assert client.post(upload, files={"files": b"1" * 500}).status_code == 200
    assert client.post(upload, files={"files": b"1" * 1000}).status_code == 413


NO_JSON = {
    "text": b"no json",
    "lists": b"[" * 100 + b"]" * 100,
    "more lists": b"[" * 900 + b"]" * 900,
    "a pile of lists": b"[" * 500_000,
    "objects": b'{"a":' * 100 + b"1" + b"}" * 100,
    "a pile of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "half a character": rb'{"data": ["\ud800"]}',
    "a long number": b"1" * 10_000,
    "an infinite number": b'{"fn_index": 1e999}',
    "no number": b'{"fn_index": NaN}',
    "bytes": b"\xff\xfe\xfa",
}


@pytest.mark.parametrize("path", [JOIN, "/gradio_api/cancel", "/gradio_api/reset"])
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_sensible_json_is_a_bad_request(client, path, body):
    assert client.post(path, content=body).status_code == 400


def test_a_path_below_many_lists_is_not_overlooked(client):
    body = b"[" * guard.MAX_DEPTH + b'{"path": "/etc/passwd"}' + b"]" * guard.MAX_DEPTH
    assert client.post(JOIN, content=body).status_code == 403


def test_what_gradio_cannot_read_is_a_bad_request(uploads):
    async def unknown(request: Request) -> PlainTextResponse:
        raise KeyError((await request.json())["fn_index"])

    app = Starlette(routes=[Route("/{path:path}", unknown, methods=["POST"])])
    client = TestClient(Guard(app.router, uploads), raise_server_exceptions=True)
    assert client.post(JOIN, json={"fn_index": 99}).status_code == 400


def test_what_is_left_of_a_broken_upload_is_deleted(client, uploads):
    whole, begun = uploads / "hash" / "b.jpg", uploads / "tmp1"
    for path in (whole, begun, uploads / "a.jpg"):
        path.write_bytes(b"uploaded")
    for path in (whole, begun):
        os.utime(path, (0, 0))
    client.post("/gradio_api/upload", files={"files": b"1"})
    assert whole.exists()
    assert (uploads / "a.jpg").exists()
    assert not begun.exists()


CONFINED = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def test_every_answer_is_confined(client, uploads):
    answers = [
        client.get("/"),
        client.get("/x"),
        client.get(f"/gradio_api/file={uploads}/a.jpg"),
        client.post(JOIN, json={}),
        client.post(JOIN, content=b"no json"),
    ]
    for answer in answers:
        assert CONFINED.items() <= dict(answer.headers).items()
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "'unsafe-inline'" not in policy.split("style-src")[0]
    assert "script-src" not in answers[2].headers["content-security-policy"]


def test_the_scripts_of_the_page_are_allowed_by_their_hashes(uploads):
    async def page(request: Request) -> HTMLResponse:
        scripts = "<script>1</script><script src='a.js'></script><script data-x>\r\n2</script>"
        return HTMLResponse(scripts)

    client = TestClient(Guard(Starlette(routes=[Route("/", page)]), uploads))
    policy = client.get("/").headers["content-security-policy"]
    for script in (b"1", b"\n2"):
        digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256") == 3  # and the one of page.head.html


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver.evil"])
def test_requests_from_other_web_pages_are_refused(client, origin):
    assert client.get("/", headers={"Origin": origin}).status_code == 403
    assert client.get("/", headers={"Origin": "http://testserver"}).status_code == 200


def test_a_client_that_disconnects_is_not_an_error():
    async def gone(scope, receive, send):
        raise ClientDisconnect

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(Guard(gone, Path())(scope, None, None))
