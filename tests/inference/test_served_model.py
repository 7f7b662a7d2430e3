"""The registered model: registered once, self-contained, with clear errors for bad input."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import subprocess
import sys
import time
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
import requests
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from PIL import Image
from starlette.testclient import TestClient

import skyseg
from mlflow_tools import METRICS, SCORING, free_port, make_model, running
from picture_tools import jpeg_of_scans
from skyseg.data.pictures import codec, decoder
from skyseg.errors import UserError
from skyseg.inference import served_model
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.tracking import logged_model, registry
from skyseg.tracking.evaluation import log_evaluation
from tiny import bomb

PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray = PHOTOGRAPH, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def register(root: Path, seed: int = 0, **changes: Any) -> str:
    config = make_model(root, seed, **changes)
    run = log_evaluation(root, config, METRICS, "skies")
    return registry.register(
        root / "models" / "best.safetensors", config, METRICS, SCORING, run, "sky"
    )


@pytest.fixture
def model(tmp_path: Path) -> served_model.SegmentationModel:
    make_model(tmp_path)
    model = served_model.SegmentationModel()
    model.predictor = CheckpointPredictor(tmp_path / "models" / "best.safetensors")
    return model


def test_a_version_records_its_evidence(store: Path):
    version = register(store)

    found = MlflowClient().get_model_version("sky", version)
    config = json.loads((store / "models" / "best.json").read_text())
    assert version == "1"
    assert {
        name: found.tags[name]
        for name in (
            "fingerprint",
            "variant",
            "size",
            "split",
            "test.iou",
            "git.commit",
            "data.dvc_md5",
            "test_data",
        )
    } == {
        "fingerprint": config["fingerprint"],
        "variant": "u2netp",
        "size": "32",
        "split": "test",
        "test.iou": "0.9",
        "git.commit": "c" * 40 + "-dirty",
        "data.dvc_md5": "d" * 32 + ".dir",
        "test_data": "test " + "t" * 64,
    }
    assert found.run_id == found.tags["run"]
    assert "u2netp at 32 px, epoch 3: test IoU 0.9000 pooled" in found.description
    assert registry.aliases("sky") == {"challenger": "1"}
    [logged] = MlflowClient().get_run(found.run_id).outputs.model_outputs
    assert f"models:/{logged.model_id}" == found.source


def test_the_same_weights_are_registered_once(store: Path):
    first = register(store)
    again = register(store)
    other = register(store, seed=1)

    assert (first, again, other) == ("1", "1", "2")
    assert registry.aliases("sky") == {"challenger": "2"}
    register(store)
    assert registry.aliases("sky") == {"challenger": "1"}
    assert [row["version"] for row in registry.versions("sky")] == ["2", "1"]


def test_the_champion_is_not_its_own_challenger(store: Path):
    version = register(store)
    MlflowClient().set_registered_model_alias("sky", "champion", version)
    MlflowClient().delete_registered_model_alias("sky", "challenger")

    register(store)

    assert registry.aliases("sky") == {"champion": "1"}


def test_weights_are_downloaded_by_alias_and_by_version(store: Path):
    register(store)

    for uri in ("models:/sky@challenger", "models:/sky/1"):
        weights = registry.download_weights(uri)
        assert weights.read_bytes() == (store / "models" / "best.safetensors").read_bytes()
        assert CheckpointPredictor(weights).config.variant == "u2netp"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("models:/sky@champion", "sky has the versions 1, challenger = 1"),
        ("models:/sky/7", "sky has the versions 1, challenger = 1"),
        ("models:/hair@champion", "registered there: sky"),
        ("models:/sky", "models:/NAME@ALIAS"),
        ("models:/sky/latest", "models:/NAME@ALIAS"),
    ],
)
def test_an_unregistered_name_is_a_user_error(store: Path, uri: str, says: str):
    register(store)

    with pytest.raises(UserError, match=uri) as caught:
        registry.download_weights(uri)
    assert says in str(caught.value)


def test_missing_files_are_a_user_error(store: Path):
    register(store)
    (store / "mlartifacts").rename(store / "moved")

    with pytest.raises(UserError, match="its files cannot be read"):
        registry.download_weights("models:/sky/1")


def test_the_logged_model_holds_no_pickle_and_no_bytecode(
    store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # whatever the environment says
    register(store)
    assert not sys.dont_write_bytecode

    files = [path for path in (store / "mlartifacts" / "models").rglob("*") if path.is_file()]
    suffixes = {path.suffix for path in files}
    assert ".safetensors" in suffixes
    assert suffixes <= {
        ".py",
        ".safetensors",
        ".json",
        ".yaml",
        ".txt",
        ".html",
        ".css",
        ".jinja",
        ".typed",
        "",
    }
    assert all(path.name == "MLmodel" for path in files if not path.suffix)
    assert not any(path.read_bytes()[:1] == b"\x80" for path in files)  # a pickle's first byte


ELSEWHERE = """
import io, importlib.util, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path[:] = [entry for entry in sys.path if not entry.startswith({source!r})]
assert importlib.util.find_spec("skyseg") is None, "the repository is still importable"
import mlflow, numpy as np, pandas as pd
from PIL import Image
model = mlflow.pyfunc.load_model({model!r})
file = io.BytesIO()
Image.new("RGB", (53, 37)).save(file, "JPEG")
[answer] = model.predict(pd.DataFrame({{"image": [file.getvalue()]}})).to_dict("records")
mask = np.asarray(Image.open(io.BytesIO(answer["mask"])))
assert mask.shape == (37, 53), mask.shape
import skyseg
print(skyseg.__path__[0])
"""


def test_it_loads_without_this_repository(store: Path, tmp_path: Path):
    register(store)
    [folder] = (store / "mlartifacts" / "models").glob("*/artifacts")
    moved = tmp_path / "moved"
    folder.rename(moved)
    script = ELSEWHERE.format(source=str(Path(skyseg.__file__).parents[1]), model=str(moved))

    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]) == moved / "code" / "skyseg"


def test_the_requirements_match_what_serving_imports():
    script = (
        "import sys, skyseg.inference.served_model as served\n"
        "import ast, pathlib\n"
        "for name, module in sorted(sys.modules.items()):\n"
        "    if name.split('.')[0] != 'skyseg' or not module.__file__: continue\n"
        "    for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text())):\n"
        "        if isinstance(node, ast.Import): print(*[a.name for a in node.names])\n"
        "        elif isinstance(node, ast.ImportFrom): print(node.module)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], text=True, capture_output=True, check=True
    ).stdout
    modules = {name.split(".")[0] for name in output.split()}
    # pillow_heif is optional: it reads HEIC files, and an error names it if it is missing. Serving
    # reads no YAML.
    third_party = modules - sys.stdlib_module_names - {"skyseg", "pillow_heif", "ruamel"}
    distributions = {packages_distributions()[name][0] for name in third_party - {"mlflow"}}

    assert distributions | {"mlflow"} == set(logged_model.REQUIREMENTS)


def test_running_out_of_memory_is_an_error_with_the_row(
    model: served_model.SegmentationModel, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.predictor, "forward", full)
    with pytest.raises(MlflowException, match=r"^row 0: out of memory: send a smaller") as caught:
        model.predict(None, pd.DataFrame({"image": [encoded()]}))
    assert caught.value.get_http_status_code() == 429


def test_masks_match_the_predictor(model: served_model.SegmentationModel):
    model.predictor.config = model.predictor.config.model_copy(update={"threshold": 0.48})
    answer = model.predict(None, pd.DataFrame({"image": [encoded(), encoded(PHOTOGRAPH[:20])]}))

    expected = probability(model.predictor, PHOTOGRAPH) >= 0.48
    mask = np.asarray(Image.open(io.BytesIO(answer["mask"][0])))
    assert 0 < expected.mean() < 1
    assert np.array_equal(mask, expected * np.uint8(255))
    assert mask.dtype == np.uint8
    assert answer["foreground"][0] == pytest.approx(expected.mean())
    assert Image.open(io.BytesIO(answer["mask"][1])).size == (53, 20)


def test_a_photograph_is_turned_upright(model: served_model.SegmentationModel):
    exif = Image.Exif()
    exif[0x0112] = 6
    answer = model.predict(None, pd.DataFrame({"image": [encoded(format="JPEG", exif=exif)]}))

    assert Image.open(io.BytesIO(answer["mask"][0])).size == (37, 53)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "row 1: the file is empty"),
        (b"not an image", "row 1: "),
        (encoded()[:60], "row 1"),
        ("text", "row 1: expected bytes (base64 in JSON), not str"),
        (None, "row 1: expected bytes (base64 in JSON), not NoneType"),
        (b"\0" * (codec.UPLOAD.bytes + 1), "row 1: 64 MiB; shrink it to at most 64 MiB"),
    ],
)
def test_a_row_that_is_not_a_photograph_is_refused(
    model: served_model.SegmentationModel, data: Any, says: str
):
    with pytest.raises(MlflowException) as caught:
        model.predict(None, pd.DataFrame({"image": [encoded(), data]}))

    assert says in str(caught.value)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert caught.value.get_http_status_code() == 400


def test_a_photograph_in_many_rows_is_segmented_once(
    model: served_model.SegmentationModel, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    forward = model.predictor.forward
    monkeypatch.setattr(model.predictor, "forward", lambda *x: calls.append(1) or forward(*x))
    other = encoded(255 - PHOTOGRAPH)
    rows = [encoded(), bytearray(encoded()), other, *[memoryview(encoded())] * 997]
    answer = model.predict(None, pd.DataFrame({"image": rows}))
    assert len(calls) == 2
    assert len(answer) == 1000
    assert answer["mask"].nunique() <= 2
    alone = model.predict(None, pd.DataFrame({"image": [other]}))
    assert answer.iloc[2].to_dict() == alone.iloc[0].to_dict()


def test_requests_that_name_files_or_make_no_sense_are_refused(store: Path, tmp_path: Path):
    """MLflow's scoring server and our model, as ``mlflow models serve`` runs them."""
    register(store)
    private = tmp_path / "private.png"
    private.write_bytes(encoded())
    app = scoring_server.init(mlflow.pyfunc.load_model("models:/sky@challenger"))
    client = TestClient(app, raise_server_exceptions=False)

    def ask(body: Any, kind: str = "application/json") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post("/invocations", content=data, headers={"Content-Type": kind})

    def split(value: Any, **more: Any) -> dict[str, Any]:
        return {"dataframe_split": {"columns": ["image"], "data": [[value]], **more}}

    good = base64.b64encode(encoded()).decode()
    assert ask(split(good)).status_code == 200
    values = [
        str(private),
        f"file://{private}",
        "http://127.0.0.1:9/x.png",
        {"path": str(private)},
        {"b64": good},
        [good],
        [1, 2],
        5,
        1e999,
        True,
        None,
        "",
        "é",
        "!!!!",
        "\ud800",
    ]
    for value in values:
        for body in (
            split(value),
            {"dataframe_records": [{"image": value}]},
            {"inputs": {"image": [value]}},
            {"instances": [{"image": value}]},
        ):
            assert ask(body).status_code == 400, body
    for body in (
        {"dataframe_split": {"columns": ["image", "image"], "data": [[good, good]]}},
        {"dataframe_split": {"columns": ["picture"], "data": [[good]]}},
        {"dataframe_split": {"columns": [0], "data": [[good]]}},
        {"dataframe_split": {"columns": ["image"], "data": [[good], [good, good]]}},
        {"dataframe_split": {"data": [[good]]}},
        {"dataframe_split": None},
        {"dataframe_split": str(private)},
        {"inputs": str(private)},
        [],
        b"5",
        b"",
        b'{"inputs":' + b"[" * 900 + b"]" * 900 + b"}",
    ):
        assert ask(body).status_code == 400, body
    for kind in ("application/x-pickle", "application/octet-stream", "text/html", ""):
        assert ask(b"\x80\x04N.", kind).status_code == 415
    assert ask(f"image\n{private}\n".encode(), "text/csv").status_code == 400
    # MLflow reads JSON before our model does; it gives up on such nesting, and goes on.
    assert ask(b"[" * 100_000).status_code in (400, 500)
    params = {"params": {"weights": str(private), "model_uri": "http://127.0.0.1:9"}}
    assert ask(split(good) | params).json() == ask(split(good)).json()
    rows = ask(split(good, index=list(range(500)))).json()["predictions"]  # of one photograph
    assert len(rows) == 500


def test_a_huge_picture_is_refused_before_it_is_decoded(
    model: served_model.SegmentationModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(codec, "UPLOAD", codec.Limits(2**26, 37 * 53 - 1))
    with pytest.raises(MlflowException, match="row 0: 53x37 pixels"):
        model.predict(None, pd.DataFrame({"image": [encoded()]}))


def test_a_photograph_that_takes_too_long_is_refused_and_the_next_is_segmented(
    model: served_model.SegmentationModel, monkeypatch: pytest.MonkeyPatch
):
    slow = jpeg_of_scans(2000, (4000, 4000))  # half a minute
    monkeypatch.setattr(codec, "UPLOAD", codec.Limits(2**26, 10**9, scans=10**9))
    monkeypatch.setattr(decoder, "SECONDS", 0.5)
    start = time.perf_counter()
    with pytest.raises(MlflowException, match=r"row 0: takes longer than 0\.5 s") as caught:
        model.predict(None, pd.DataFrame({"image": [slow]}))
    assert time.perf_counter() - start < 5
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert len(model.predict(None, pd.DataFrame({"image": [encoded()]}))) == 1


def test_running_out_of_memory_while_decoding_is_an_error_with_the_row(
    model: served_model.SegmentationModel, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(decoder, "decode", full)
    with pytest.raises(MlflowException, match=r"^row 0: out of memory: send a smaller") as caught:
        model.predict(None, pd.DataFrame({"image": [encoded()]}))
    assert caught.value.get_http_status_code() == 429


def test_a_missing_column_is_refused(model: served_model.SegmentationModel):
    with pytest.raises(MlflowException, match="column named image"):
        model.predict(None, pd.DataFrame({"picture": [encoded()]}))


UNUSUAL_PHOTOGRAPHS = {
    "text": b"not an image",
    "nothing": b"",
    "truncated": encoded()[:900],
    "bomb": bomb(),
    "pixel": encoded(PHOTOGRAPH[:1, :1]),
    "strip": encoded(np.tile(PHOTOGRAPH[:10], (1, 400, 1))[:, :20_000]),
    "animation": encoded(
        format="GIF", save_all=True, append_images=[Image.fromarray(255 - PHOTOGRAPH)]
    ),
}


def disconnect_early(port: int, length: int) -> None:
    """Send part of a request and close the connection."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n"
            b"Content-Type: application/json\r\n\r\n{" % length
        )


@pytest.mark.slow
def test_it_is_served_over_http(store: Path, environment: Any):
    register(store)
    environment["MLFLOW_TRACKING_URI"] = mlflow.get_tracking_uri()
    # MLflow starts uvicorn by name, so it must be on the PATH, as in an activated environment.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(
        [
            "mlflow",
            "models",
            "serve",
            "-m",
            "models:/sky@challenger",
            "--env-manager",
            "local",
            "--port",
            str(port),
        ],
        f"{url}/ping",
    ) as process:

        def post(data: bytes) -> requests.Response:
            return requests.post(
                f"{url}/invocations",
                timeout=60,
                json={
                    "dataframe_split": {
                        "columns": ["image"],
                        "data": [[base64.b64encode(data).decode()]],
                    }
                },
            )

        def resident() -> float:
            """Memory of the server and its worker, in MiB."""
            parent = psutil.Process(process.pid)
            return (
                sum(each.memory_info().rss for each in (parent, *parent.children(recursive=True)))
                / 2**20
            )

        good = post(encoded())
        before = resident()
        answers = {name: post(data) for name, data in UNUSUAL_PHOTOGRAPHS.items()}
        for _ in range(3):
            large = post(encoded(np.tile(PHOTOGRAPH, (80, 80, 1)), "JPEG"))  # 12 megapixels
        disconnect_early(port, len(encoded()))
        again = post(encoded())
        after = resident()

    assert good.status_code == 200, good.text
    [answer] = good.json()["predictions"]
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["mask"]))))
    weights = store / "models" / "best.safetensors"
    local = CheckpointPredictor(weights)
    expected = probability(local, PHOTOGRAPH) >= local.config.threshold
    assert np.array_equal(mask > 0, expected)
    assert answer["foreground"] == pytest.approx(expected.mean())
    assert large.status_code == 200, large.text
    assert again.json() == good.json()
    assert after < before + 120  # measured: 18, and 258 without release_memory
    for name, says in (
        ("text", "not an image"),
        ("nothing", "is empty"),
        ("bomb", "pixels"),
        ("truncated", "truncated or damaged"),
    ):
        assert answers[name].status_code == 400
        assert re.search(f"row 0.*{says}", answers[name].json()["message"])
    for name, size in (("pixel", (1, 1)), ("strip", (20_000, 10)), ("animation", (53, 37))):
        [answer] = answers[name].json()["predictions"]
        assert Image.open(io.BytesIO(base64.b64decode(answer["mask"]))).size == size
