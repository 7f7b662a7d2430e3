"""The HTTP API, as a running server and with raw requests."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import requests
from PIL import Image

pytest.importorskip("fastapi_offline")

from mlflow_tools import free_port
from skyseg.errors import UserError
from skyseg.inference.loading import load_model
from tiny import photograph, save


def start(root: Path, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    log = (root / "api.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "skyseg", "api", *options, "--port", str(port)],
        cwd=root,
        stdout=log,
        stderr=log,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    log.close()
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, (root / "api.log").read_text()
        assert time.monotonic() < deadline
        try:
            requests.get(f"{address}/health", timeout=5).raise_for_status()
            return process, address
        except requests.RequestException:
            time.sleep(0.2)


def stop(process: subprocess.Popen[bytes], root: Path) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=40) == 0
    log = (root / "api.log").read_text()
    assert "Traceback" not in log
    assert log.splitlines()[-1].startswith(("Press Ctrl-C", "WARNING: no CUDA"))


@pytest.fixture(scope="module")
def weights(trained_template: Path) -> Path:
    return trained_template / "models" / "best.safetensors"


@pytest.fixture(scope="module")
def address(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("api")
    process, found = start(root, str(weights))
    yield found
    stop(process, root)


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def send(address: str, content: bytes, name: str = "a.png", **fields: str) -> requests.Response:
    return requests.post(
        f"{address}/predict", files={"image": (name, content)}, data=fields, timeout=60
    )


def test_the_answers_are_those_of_python(address: str, weights: Path):
    model, photo = load_model(str(weights)), photograph(3, 120, 90)
    for kind, mode in (("mask", "L"), ("alpha", "L"), ("cutout", "RGBA"), ("overlay", "RGB")):
        answer = send(address, png(photo), output=kind)
        assert answer.status_code == 200, answer.text
        picture = Image.open(io.BytesIO(answer.content))
        assert (picture.mode, picture.size) == (mode, (120, 90))
        assert answer.headers["Content-Type"] == f"image/{(picture.format or '').lower()}"
    mask = np.asarray(Image.open(io.BytesIO(send(address, png(photo)).content)))
    expected = model.probability(photo) >= model.threshold
    np.testing.assert_array_equal(mask == 255, expected)
    answer = send(address, png(photo))
    assert float(answer.headers["X-Foreground"]) == pytest.approx(expected.mean(), abs=1e-6)
    assert unquote(answer.headers["X-Model"]) == model.label
    health = requests.get(f"{address}/health", timeout=10).json()
    assert health == {"status": "ok", "model": model.label}


def test_the_description_needs_no_other_machine(address: str):
    described = requests.get(f"{address}/openapi.json", timeout=10).json()
    assert set(described["paths"]) == {"/health", "/predict"}
    page = requests.get(f"{address}/docs", timeout=10).text
    assert "https://" not in page
    script = requests.get(f"{address}/static-offline-docs/swagger-ui-bundle.js", timeout=10)
    assert script.status_code == 200


def test_a_file_that_is_no_photograph_is_a_bad_request(address: str):
    for content, words in (
        (b"", "image"),
        (b"not a picture", "not an image"),
        (png(photograph(1))[:200], "image"),
    ):
        answer = send(address, content)
        assert answer.status_code == 400
        assert words in answer.json()["detail"]
    assert send(address, png(photograph(1)), output="replace").status_code == 422
    assert requests.post(f"{address}/predict", timeout=10).status_code in (411, 422)


def test_nothing_that_a_client_names_is_opened(address: str, tmp_path: Path):
    private = save(tmp_path / "private.png", photograph(1))
    asked = socket.create_server(("127.0.0.1", 0))
    asked.settimeout(0.5)
    link = f"http://127.0.0.1:{asked.getsockname()[1]}/a.png"
    for text in (str(private), link, f"file://{private}"):
        for sent in (
            requests.post(f"{address}/predict", data={"image": text}, timeout=10),
            requests.post(f"{address}/predict?image={text}", files={"x": b"1"}, timeout=10),
            requests.post(f"{address}/predict", json={"image": text, "path": text}, timeout=10),
        ):
            assert sent.status_code == 422
        named = send(address, text.encode(), name=text)
        assert named.status_code == 400
        assert "not an image" in named.json()["detail"]
    with pytest.raises(TimeoutError):
        asked.accept()
    asked.close()


def raw(address: str, request: bytes) -> bytes:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(request)
        return client.recv(4096)


def test_bodies_and_origins_are_limited(address: str):
    host = address.removeprefix("http://").encode()
    begin = b"POST /predict HTTP/1.1\r\nHost: " + host + b"\r\n"
    large = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 99999999999\r\n\r\n"
    assert b" 413 " in raw(address, begin + large).split(b"\r\n")[0]
    chunked = b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 411 " in raw(address, begin + chunked).split(b"\r\n")[0]
    for header, status in (({"Origin": "http://evil.example"}, 403), ({"Host": "evil"}, 400)):
        answer = requests.post(
            f"{address}/predict", files={"image": png(photograph(1))}, headers=header, timeout=10
        )
        assert answer.status_code == status


def test_many_at_once_are_answered_or_told_to_wait(address: str):
    content = png(photograph(2, 400, 300))
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: send(address, content), range(24)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert sum(answer.status_code == 200 for answer in answers) >= 9
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert send(address, content).status_code == 200


@pytest.mark.slow
def test_workers_answer_and_end_after_what_they_have_begun(weights: Path, tmp_path: Path):
    process, address = start(tmp_path, str(weights), "--workers", "2")
    content = png(photograph(2, 2000, 1500))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, address, content)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert answer.result().status_code == 200
    process.wait(timeout=40)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{address}/health", timeout=5)


def test_mistakes(weights: Path, monkeypatch: pytest.MonkeyPatch):
    from skyseg.commands import api

    with pytest.raises(UserError, match="no IP address"):
        api.run(Path(), str(weights), "localhost.example", 8000, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"skyseg api --port {port + 1}"):
            api.run(Path(), str(weights), "127.0.0.1", port, 1)
