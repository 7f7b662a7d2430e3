"""What is refused before Gradio sees it."""

import asyncio

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


client = TestClient(Guard(Starlette(routes=[Route("/{path:path}", echo,
                                                  methods=["GET", "POST"])])))


def test_what_the_page_sends_passes_unchanged():
    body = '{"data": [{"path": "/tmp/a.jpg", "url": null}, "https is a word", ["http"]]}'
    assert client.post("/gradio_api/queue/join", content=body).text == body
    assert client.post("/gradio_api/reset", content="").status_code == 200
    assert client.post("/x", content="no json").text == "no json"
    assert client.get("/gradio_api/file=/tmp/a.jpg").status_code == 200
    form = client.post("/gradio_api/upload", files={"files": ("a", b"http://bytes")})
    assert "http://bytes" in form.text


@pytest.mark.parametrize("file", [
    {"path": "http://example.org/a"}, {"path": "https://example.org/a"},
    {"path": " https://example.org/a"}, {"x": {"path": "https://example.org/a", "path2": 1}}])
def test_a_body_that_names_an_address(file):
    assert client.post("/gradio_api/queue/join", json={"data": [["a", file]]}).status_code == 403


@pytest.mark.parametrize("path", [
    "/gradio_api/file=http://example.org", "/gradio_api/file=%68ttps://example.org",
    "/gradio_api/file=HTTP://example.org", "/gradio_api/proxy=http://example.org",
    "/gradio_api/process_recording", "/monitoring/summary", "/gradio_api/vibe-edit"])
def test_what_gradio_offers_and_the_page_does_without(path):
    assert client.get(path).status_code == 403


def test_bodies_have_a_length_and_a_limit(monkeypatch):
    assert client.post("/x", content=iter([b"{}"])).status_code == 411
    chunked = {"Content-Length": "2", "Transfer-Encoding": "chunked"}
    assert client.post("/x", content=b"{}", headers=chunked).status_code == 411
    monkeypatch.setattr(guard, "MAX_JSON", 100)
    monkeypatch.setattr(guard, "MAX_BODY", 1000)
    assert client.post("/x", content=b"1" * 101).status_code == 413
    assert client.post("/x", files={"files": b"1" * 500}).status_code == 200
    assert client.post("/x", files={"files": b"1" * 1000}).status_code == 413


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver.evil"])
def test_other_pages_are_not_answered(origin):
    assert client.get("/", headers={"Origin": origin}).status_code == 403
    assert client.get("/", headers={"Origin": "http://testserver"}).status_code == 200


def test_who_hangs_up_is_no_error():
    async def gone(scope, receive, send):
        raise ClientDisconnect
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(Guard(gone)(scope, None, None))
