"""The page: it builds, is served safely, and works in a browser."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

pytest.importorskip("gradio")

from app_tools import SUSPECTS, image_of, make_suspects
from mlflow_tools import free_port
from skyseg.app import connections, events, inbox, page
from skyseg.app.texts import TEXTS
from skyseg.inference.pretrained import PRETRAINED
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.u2net import build_model
from tiny import photograph, save

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ROOT = Path(__file__).parents[2]
NO_ANSWER = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def address(registered: Path, prepared_template: Path) -> Iterator[str]:
    """``skyseg app`` on the registered workspace, whose masks have been audited."""
    yield from serve(make_suspects(registered, prepared_template))


def serve(root: Path) -> Iterator[str]:
    port = free_port()
    with (root / "app.log").open("w") as log:
        # Like a background job of a shell: Ctrl-C is ignored until the program handles it again.
        process = subprocess.Popen(
            [
                "sh",
                "-c",
                'trap "" INT; exec "$@"',
                "sh",
                sys.executable,
                "-m",
                "skyseg",
                "app",
                "--port",
                str(port),
            ],
            cwd=root,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # A proxy that does not answer.
            env={key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
            | {"OMP_NUM_THREADS": "1", "HTTP_PROXY": NO_ANSWER, "ALL_PROXY": NO_ANSWER},
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, (root / "app.log").read_text()
            assert time.monotonic() < deadline
            try:
                requests.get(f"http://127.0.0.1:{port}/", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(timeout=30)
    log_text = (root / "app.log").read_text()
    assert ended == 0, log_text
    # Only Gradio's own, about data that does not fit an event, is allowed.
    assert log_text.count("Traceback") == log_text.count("_core.ValidationError: "), log_text


def test_the_page_builds_with_private_events_only(tmp_path: Path):
    demo = page.build(tmp_path, "skyseg", tmp_path)
    private = demo.get_config_file()["dependencies"]
    assert {event["api_visibility"] for event in private} == {"private"}
    assert demo.get_api_info()["named_endpoints"] == {}
    assert demo.analytics_enabled is False


def test_events_wait_for_the_imports_in_the_background(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "IMPORTED", threading.Event())
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(list, events.show_errors(lambda language: language)("en"))
        time.sleep(0.2)
        assert not answer.done()
        events.warm_up()
        assert answer.result(10) == ["en"]


def test_the_page_answers_only_this_machine_and_contacts_no_other(address: str):
    html = requests.get(address, timeout=10).text
    assert "fonts.googleapis" not in html
    port = address.rsplit(":", 1)[1]
    for host in (
        "evil.example",
        f"127.0.0.1.evil.example:{port}",
        f"localhost.evil:{port}",
        "",
        "@",
    ):
        for path in ("/", "/config", "/gradio_api/queue/data?session_hash=x"):
            answer = requests.get(address + path, headers={"Host": host}, timeout=10)
            assert answer.status_code == 400, host
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port}.evil.example"):
        for method in ("GET", "POST"):
            answer = requests.request(
                method, f"{address}/gradio_api/queue/join", headers={"Origin": origin}, timeout=10
            )
            assert answer.status_code == 403
    for path in (
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=params.yaml",
        "/gradio_api/file=http://example.org/",
        "/docs",
        "/monitoring",
    ):
        assert requests.get(address + path, timeout=10).status_code in (403, 404)


def ask(address: str, fn_index: int, data: list[Any]) -> requests.Response:
    """Send a raw request for an event, as any program on this machine can."""
    return requests.post(
        f"{address}/gradio_api/queue/join",
        timeout=10,
        json={"fn_index": fn_index, "session_hash": "x", "data": data},
    )


def answered(address: str) -> str:
    """All answers of the page to the events requested before, until it closes the stream."""
    return requests.get(f"{address}/gradio_api/queue/data?session_hash=x", timeout=60).text


def test_no_event_reads_a_file_that_was_not_uploaded(address: str, tmp_path: Path):
    private = save(tmp_path / "private.png", photograph(1))
    os.mkfifo(tmp_path / "pipe.png")
    # Only events with a handler in Python.
    events = [
        event
        for event in requests.get(f"{address}/config", timeout=10).json()["dependencies"]
        if event["backend_fn"] and event["inputs"]
    ]
    assert len(events) >= 5
    for event in events:
        for path in (private, tmp_path / "missing.png", tmp_path / "pipe.png"):
            file = {"path": str(path)}  # no "meta", so Gradio itself does not look
            drawing = {"id": None, "background": None, "layers": [file], "composite": file}
            for payload in (file, drawing):
                refused = ask(address, event["id"], [payload] * len(event["inputs"]))
                assert refused.status_code == 403
                assert refused.text == "only uploaded files can be used: upload it again"


def test_no_event_opens_what_a_client_names_in_another_way(
    address: str, registered: Path, tmp_path: Path
):
    private = save(tmp_path / "private.png", photograph(1))
    asked: list[str] = []

    class Canary(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    canary = HTTPServer(("127.0.0.1", 0), Canary)
    threading.Thread(target=canary.serve_forever, daemon=True).start()
    link = f"http://127.0.0.1:{canary.server_port}/a.png"
    payloads: list[Any] = [
        str(private),
        link,
        [f"file://{private}"],
        {"url": link, "path": None, "meta": {"_type": "gradio.FileData"}},
        {"id": str(private), "layers": [str(private), {"url": link}], "background": link},
        {"id": {}, "layers": 5},
        f"models:/../{private}",
    ]
    # As many as can wait in the queue.
    asked_with = [(each, "en") for each in payloads] + [("", each) for each in ({}, [link])]
    files = sorted(registered.rglob("*"))
    events = [
        event
        for event in requests.get(f"{address}/config", timeout=10).json()["dependencies"]
        if event["backend_fn"] and event["inputs"]
    ]
    for event in events:
        for payload, language in asked_with:
            data = [payload] * (len(event["inputs"]) - 1) + [language]
            assert ask(address, event["id"], data).status_code == 200
        answer = answered(address)
        assert answer.count("process_completed") == len(asked_with)
        assert base64.b64encode(private.read_bytes()).decode()[:60] not in answer
        assert "-mask.png" not in answer
        assert "-overlay.jpg" not in answer
    canary.shutdown()
    assert asked == []
    assert [each for each in sorted(registered.rglob("*")) if each not in files] == []


@pytest.mark.parametrize(
    ("route", "options"),
    [
        ("queue/join", {"data": b"[" * 900 + b"]" * 900}),
        ("queue/join", {"data": b'{"fn_index": ' + b"[" * 100_000}),
        ("queue/join", {"json": {"fn_index": 10**20, "session_hash": "x", "data": []}}),
        ("queue/join", {"json": {"fn_index": -1, "session_hash": "x", "data": []}}),
        ("queue/join", {"data": b'{"fn_index": 0, "session_hash": "x", "data": [1e999]}'}),
        ("cancel", {"data": b"[NaN]"}),
        ("component_server", {"files": {"component_id": (None, "x")}}),
        (
            "component_server",
            {"files": dict.fromkeys(("component_id", "session_hash", "fn_name"), (None, "1"))},
        ),
        ("upload", {"files": [("files", b"") for _ in range(1500)]}),
        ("upload", {"files": [(f"{number}", (None, "1")) for number in range(1500)]}),
    ],
)
def test_a_request_that_makes_no_sense_is_a_bad_request(
    address: str, route: str, options: dict[str, Any]
):
    answer = requests.post(f"{address}/gradio_api/{route}", timeout=20, **options)
    assert answer.status_code in (400, 404), answer.text


def test_an_upload_whose_name_is_no_name_is_answered(address: str, tmp_path: Path):
    photo = save(tmp_path / "beach.png", photograph(1))
    segment = segment_event(address)
    for sent in ("../../../../etc/cron.d/x.png", "a" * 3000 + ".png", "<script>.png", "a|b\n.png"):
        [path] = requests.post(
            f"{address}/gradio_api/upload",
            files={"files": (sent, photo.read_bytes())},
            timeout=10,
        ).json()
        assert "/skyseg-app-" in path
        assert ".." not in path
    for name in ("a\0b", "..", "/", "a" * 5000, "\u202egnp.x", "<img src=x>"):
        file = {"path": path, "orig_name": name}
        assert ask(address, segment, [file, None, None, "en"]).status_code == 200
        assert "-overlay.jpg" in answered(address), name


def test_the_same_raw_request_works_for_an_upload(address: str, tmp_path: Path):
    photo = save(tmp_path / "beach.png", photograph(1))
    with photo.open("rb") as file:
        [path] = requests.post(
            f"{address}/gradio_api/upload", files={"files": file}, timeout=10
        ).json()
    segment = segment_event(address)
    assert ask(address, segment, [{"path": path}, None, None, "en"]).status_code == 200
    assert "-overlay.jpg" in answered(address)


def segment_event(address: str) -> int:
    """The event of a new photograph."""
    config = requests.get(f"{address}/config", timeout=10).json()
    [upload] = [one["id"] for one in config["components"] if one["props"].get("elem_id") == "photo"]
    [segment] = [
        event["id"] for event in config["dependencies"] if [upload, "change"] in event["targets"]
    ]
    return int(segment)


def events_of(address: str, elem_id: str) -> list[dict[str, Any]]:
    """The events with a handler in Python that have a component as the first input."""
    config = requests.get(f"{address}/config", timeout=10).json()
    [id] = [one["id"] for one in config["components"] if one["props"].get("elem_id") == elem_id]
    events = [each for each in config["dependencies"] if each["inputs"][:1] == [id]]
    return [each for each in events if each["backend_fn"]]


def test_a_suspect_is_named_by_a_listed_id_and_by_nothing_else(address: str, registered: Path):
    events = events_of(address, "suspect")
    # Those that list the suspects show the first one instead of an unknown one.
    acting = [each for each in events if each["targets"][0][1] in ("input", "click")]
    assert len(acting) == 4
    photo = str(registered / "data" / "images" / "05.png")
    files = sorted(registered.rglob("*"))
    wrong = [
        "04",
        "../images/05",
        photo,
        "/etc/passwd",
        "http://example.org/a",
        "",
        None,
        5,
        ["05"],
    ]
    for id in (*wrong, {"id": "05"}, True):
        for event in acting:
            rest = {2: ["en"], 3: ["models:/skyseg@champion", "en"]}[len(event["inputs"])]
            assert ask(address, event["id"], [id, *rest]).status_code == 200
        answer = answered(address)
        assert answer.count(TEXTS["not_listed"].en) == len(acting), (id, answer)
        assert "base64" not in answer
    for event in acting:
        data = [{"path": photo}] * len(event["inputs"])
        assert ask(address, event["id"], data).status_code == 403
    assert [each for each in sorted(registered.rglob("*")) if each not in files] == []


def test_a_suspect_is_corrected_and_another_one_is_kept_out(address: str, registered: Path):
    config = requests.get(f"{address}/config", timeout=10).json()
    buttons = {each["id"]: each["props"].get("value") for each in config["components"]}

    def clicked(key: str) -> int:
        """The event of the button with a text."""
        return next(
            each["id"]
            for each in config["dependencies"]
            if each["targets"][0][1] == "click" and key in str(buttons[each["targets"][0][0]])
        )

    before = image_of(registered, SUSPECTS[0])
    assert ask(address, clicked("correct_mask"), [SUSPECTS[0], "en"]).status_code == 200
    assert "You are correcting the mask of **05**" in answered(address)
    nothing = {"id": None, "background": None, "layers": [], "composite": None}
    assert ask(address, clicked("save"), [None, None, nothing, None, "en"]).status_code == 200
    assert "skyseg inbox accept 05-" in answered(address)
    [entry] = inbox.entries(registered)
    assert entry.provenance["replaces"] == SUSPECTS[0]
    np.testing.assert_array_equal(np.asarray(Image.open(entry.mask)), before)
    shutil.rmtree(entry.photo.parent)

    assert ask(address, clicked("exclude"), [SUSPECTS[2], "too much", "en"]).status_code == 200
    assert "is kept out" in answered(address)
    assert (registered / "data/excluded.csv").read_text() == "id,reason\n08,too much\n"


def test_a_port_in_use_gives_a_one_line_error(address: str, registered: Path):
    port = address.rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-m", "skyseg", "app", "--port", port],
        cwd=registered,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port} cannot be used")
    assert f"skyseg app --port {int(port) + 1}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # No --disable-gpu: the canvas needs WebGL, which Chromium then renders in software.
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield chromium
        chromium.close()


def opened(browser: Any, address: str, **options: Any) -> Any:
    tab = browser.new_context(**({"locale": "en-US"} | options)).new_page()
    tab.set_default_timeout(90_000)
    tab.asked, tab.said = [], []
    tab.on("console", lambda message: tab.said.append(message.text))
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(address)
    tab.wait_for_selector("#photo")
    return tab


def settled(tab: Any, element: Any) -> bytes:
    """A picture of an element once it no longer changes."""
    picture = element.screenshot()
    for _ in range(30):
        tab.wait_for_timeout(1000)
        last, picture = picture, element.screenshot()
        if picture == last:
            return picture
    raise AssertionError("the element goes on changing")


@pytest.mark.slow
def test_upload_compare_correct_and_save(
    browser: Any, address: str, registered: Path, tmp_path: Path
):
    photo = save(tmp_path / "beach.png", photograph(1, 300, 200))
    tab = opened(browser, address)
    tabs = tab.locator("#tabs > .tab-wrapper button[role=tab]")
    tab.wait_for_function("document.querySelector('#model input')?.value")
    assert tab.input_value("#model input") == "champion (version 1)"

    tab.set_input_files("#photo input[type=file]", photo)
    tab.wait_for_selector("#line strong")
    assert "Version 1 · 300 × 200" in tab.inner_text("#line")
    tab.wait_for_function("document.querySelectorAll('#overlay img').length === 2")
    tab.wait_for_timeout(1000)
    places = tab.evaluate(
        """[...document.querySelectorAll("#overlay img, #overlay .content")].map(
            (each) => JSON.stringify(each.getBoundingClientRect()))"""
    )
    assert len(set(places)) == 1  # both pictures lie on each other, and fill the frame

    tabs.nth(1).click()
    tab.click("#do-compare")
    tab.wait_for_selector("#versus table")
    assert "0.900" in tab.inner_text("#versus")
    assert tab.locator(".compared img").count() == 2

    tabs.nth(2).click()
    canvas = tab.locator("#canvas canvas").first
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(middle[0] + 40, middle[1])  # where the stroke ends, as the brush is shown
    before = settled(tab, canvas)
    for _ in range(5):  # a canvas that has just been drawn may not hear the first stroke
        tab.mouse.move(middle[0] - 40, middle[1])
        tab.mouse.down()
        tab.mouse.move(middle[0] + 40, middle[1], steps=8)
        tab.mouse.up()
        if settled(tab, canvas) != before:
            break
    tab.click("#save")
    tab.wait_for_selector("#saved strong")

    [entry] = inbox.entries(registered)
    mask = np.asarray(Image.open(entry.mask))
    assert entry.photo.read_bytes() == photo.read_bytes()
    assert mask.shape == (200, 300)
    assert (mask[98:102, 140:160] == 255).all()  # painted as sky
    assert entry.provenance["version"] == "1"
    assert entry.name in tab.inner_text("#saved")

    tabs.nth(4).click()
    assert "challenger" in tab.inner_text("#registry")
    assert [url for url in tab.asked if not url.startswith((address, "data:", "blob:"))] == []
    assert [text for text in tab.said if "Content Security Policy" in text] == []
    # The policy holds: neither scripts nor handlers that somebody gets into the page run.
    tab.evaluate(
        """() => {
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.ran = 1'>");
            const script = document.createElement("script");
            script.textContent = "window.ran = 2";
            document.body.append(script);
            const frame = document.createElement("iframe");
            frame.src = "/";
            document.body.append(frame);
        }"""
    )
    for _ in range(40):  # the picture's handler comes last; on a busy machine after a second
        tab.wait_for_timeout(250)
        refused = [text for text in tab.said if "Content Security Policy" in text]
        if len(refused) >= 3:
            break
    assert len(refused) >= 3
    assert tab.evaluate("window.ran") is None
    tab.context.close()


@pytest.mark.slow
def test_a_client_that_says_nothing_is_let_go(address: str):
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=connections.HEADERS + 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""


@pytest.mark.slow
def test_a_suspects_mask_is_on_the_canvas(browser: Any, address: str):
    tab = opened(browser, address)
    tab.get_by_role("tab", name="Suspects", exact=True).click()
    tab.wait_for_selector("#suspect-view img")
    assert tab.locator("#suspect-view img").count() == 4
    with tab.expect_response(lambda answer: answer.url.endswith("suspect-canvas.jpg")):
        tab.get_by_role("button", name=TEXTS["correct_mask"].en).click()
    tab.wait_for_selector("#correcting strong")
    assert tab.locator("#canvas canvas").first.is_visible()
    tab.context.close()


@pytest.mark.slow
def test_a_file_that_is_not_an_image_gives_an_error_on_the_page(
    browser: Any, address: str, tmp_path: Path
):
    (tmp_path / "notes.jpg").write_bytes(b"not a picture")
    tab = opened(browser, address)
    tab.set_input_files("#photo input[type=file]", tmp_path / "notes.jpg")
    toast = tab.wait_for_selector(".toast-body")
    assert "notes.jpg: not an image" in toast.inner_text()
    tab.context.close()


@pytest.mark.slow
def test_the_language_is_the_browsers_until_another_is_chosen(browser: Any, address: str):
    tab = opened(browser, address, locale="zh-CN")
    label = "#model"
    tab.wait_for_function(
        "t => document.querySelector('#model')?.innerText.includes(t)", arg=TEXTS["model"].zh
    )
    tab.locator("#language label").first.click()
    tab.wait_for_function(
        "t => document.querySelector('#model')?.innerText.includes(t)", arg=TEXTS["model"].en
    )
    for key in ("compare", "correct", "models", "mask", "replaced"):  # tabs not opened yet
        tab.get_by_role("tab", name=TEXTS[key].en, exact=True).first.wait_for()
    tab.reload()
    tab.wait_for_function(
        "t => document.querySelector('#model')?.innerText.includes(t)", arg=TEXTS["model"].en
    )
    assert tab.is_checked("#language label:first-child input"), label
    tab.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(browser: Any, address: str, width: int):
    tab = opened(browser, address, viewport={"width": width, "height": 844})
    tabs = tab.locator("#tabs > .tab-wrapper button[role=tab]")
    tab.wait_for_function("document.querySelector('#model input')?.value")
    for number in range(len(page.TABS)):
        tabs.nth(number).click()
        tab.wait_for_timeout(300)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
    tab.context.close()


@pytest.mark.slow
def test_the_page_works_before_anything_is_registered(
    browser: Any, tmp_path: Path, environment: object
):
    """In an empty folder: without params.yaml and a registry, with the pretrained weights."""
    root = tmp_path / "empty"
    state = build_model("u2netp").state_dict()
    (root / "models").mkdir(parents=True)
    save_checkpoint(root / PRETRAINED, state, ModelConfig(variant="u2netp", size=32))
    for address in serve(root):
        tab = opened(browser, address)
        tab.wait_for_function(
            "document.querySelector('#model input')?.value == 'Pretrained weights'"
        )
        assert "pretrained weights are used" in tab.inner_text("#notice")
        for name in ("Compare", "Models", "Correct"):
            tab.get_by_role("tab", name=name, exact=True).click()
            tab.wait_for_timeout(500)
        assert tab.locator(".toast-body.error").count() == 0
        tab.context.close()
    assert not (root / "mlflow.db").exists()


@pytest.mark.slow
def test_an_empty_registry_gives_instructions_on_the_page(browser: Any, store: Path):
    shutil.copy(ROOT / "params.yaml", store)
    for address in serve(store):
        tab = opened(browser, address)
        tab.wait_for_selector("#notice")
        assert "No model is registered yet" in tab.inner_text("#notice")
        tab.get_by_role("tab", name="Suspects", exact=True).click()
        tab.wait_for_selector("#suspects-message code")
        assert "skyseg audit" in tab.inner_text("#suspects-message")
        tab.context.close()
