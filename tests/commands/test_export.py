"""export: through the command line and a real registry; what it cannot export is a user error."""

import hashlib
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from mlflow_tools import METRICS, SCORING, make_model, set_champion
from skyseg.cli import app
from skyseg.commands import export as stage
from skyseg.data.manifest import COLUMNS
from skyseg.data.pictures import codec
from skyseg.errors import UserError
from skyseg.files import write_csv
from skyseg.inference.onnx import OnnxPredictor
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.inference.pretrained import PRETRAINED
from skyseg.model.checkpoint import ModelConfig, load_config, save_checkpoint
from skyseg.model.u2net import build_model
from skyseg.tracking import connection, registry
from skyseg.tracking.evaluation import log_evaluation
from tiny import make_pairs, photograph, save


def export(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["export", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def registered(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a workspace with a champion and photographs."""
    monkeypatch.chdir(trained)
    weights = trained / "models" / "best.safetensors"
    run = log_evaluation(trained, load_config(weights), METRICS, "skies")
    set_champion(
        "skyseg", registry.register(weights, load_config(weights), METRICS, SCORING, run, "skyseg")
    )
    make_pairs(trained / "data", 4)
    return trained


@pytest.fixture
def checkpoint(workspace: Path) -> str:
    save_checkpoint(
        workspace / "m.safetensors",
        build_model("u2netp").state_dict(),
        ModelConfig(variant="u2netp", size=32),
    )
    return "m.safetensors"


def test_the_champion_is_exported_and_the_file_attached(registered: Path):
    printed = export("--out", "new/sky.onnx")

    out = registered / "new" / "sky.onnx"
    assert "new/sky.onnx: dynamic, 4." in printed
    assert "mask IoU 1.00000 on 2 photographs" in printed
    version = MlflowClient().get_model_version("skyseg", "1")
    assert version.tags["onnx/dynamic"] == "onnx/skyseg-1-dynamic.onnx"
    assert version.tags["onnx/dynamic.sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    fetched = mlflow.artifacts.download_artifacts(
        run_id=version.run_id,
        artifact_path=version.tags["onnx/dynamic"],
        dst_path=str(registered / "fetched"),
    )
    assert Path(fetched).read_bytes() == out.read_bytes()
    pytorch = CheckpointPredictor(registered / "models" / "best.safetensors", "cpu", "fp32")
    image = photograph(9)
    np.testing.assert_allclose(
        probability(OnnxPredictor(out), image), probability(pytorch, image), atol=1e-4
    )


def test_attaching_again_replaces_the_file(registered: Path):
    for content in (b"one", b"two"):
        (registered / "x.onnx").write_bytes(content)
        stored = registry.attach("skyseg", "1", registered / "x.onnx", "onnx/int8")
    version = MlflowClient().get_model_version("skyseg", "1")
    fetched = mlflow.artifacts.download_artifacts(
        run_id=version.run_id, artifact_path=stored, dst_path=str(registered / "fetched-again")
    )
    assert Path(fetched).read_bytes() == b"two"
    assert version.tags["onnx/int8.sha256"] == hashlib.sha256(b"two").hexdigest()


def test_a_version_whose_run_cannot_store_the_file(registered: Path):
    run = MlflowClient().get_run(MlflowClient().get_model_version("skyseg", "1").run_id)
    (Path(run.info.artifact_uri.removeprefix("file://")) / "onnx").write_text("in the way")
    (registered / "x.onnx").write_bytes(b"one")
    with pytest.raises(UserError, match=r"x\.onnx: written, but not attached to skyseg version 1"):
        registry.attach("skyseg", "1", registered / "x.onnx", "onnx/fixed")
    assert "onnx/fixed" not in registry.tags("skyseg", "1")


def test_another_size_than_in_training_is_reported(
    checkpoint: str, workspace: Path, capsys, monkeypatch
):
    make_pairs(workspace / "data", 2)
    monkeypatch.setattr(stage, "export", lambda *_: Path("fixed.onnx").write_bytes(b"x"))
    stage.run(checkpoint, "fixed", Path("fixed.onnx"), None, workspace)
    assert "was trained at 32 px but is exported for 320 px" in capsys.readouterr().out


def test_photographs_to_check_and_to_calibrate_on_differ(workspace: Path):
    make_pairs(workspace / "data", 100)
    checked, calibration = stage._photographs(None, workspace, workspace / "scenes")
    assert (len(checked), len(calibration)) == (stage.CHECKED, stage.CALIBRATED)
    assert not set(checked) & set(calibration)
    shutil.rmtree(workspace / "data" / "images")
    make_pairs(workspace / "data", 1)
    found = stage._photographs(None, workspace, workspace / "scenes")
    assert list(map(len, found)) == [1, 1]
    assert not (workspace / "scenes").exists()


def test_photographs_that_cannot_be_read_are_left_out(workspace: Path, monkeypatch, capsys):
    for name in ("a.png", "b.png", "c.png"):
        save(workspace / name, photograph(0))
    (workspace / "b.png").write_bytes(b"")
    real = codec.read
    monkeypatch.setattr(codec, "read", lambda path: 1 / 0 if path.name == "c.png" else real(path))
    paths = [workspace / name for name in ("a.png", "b.png", "c.png")]
    assert stage._usable(paths) == paths[:1]
    empty, bug = capsys.readouterr().err.splitlines()
    assert empty == f"note: left out: {paths[1]}: the file is empty; replace or remove it"
    assert bug.startswith(f"note: left out: {paths[2]}: ZeroDivisionError in test_export.py:")
    with pytest.raises(UserError, match="none of 2 photographs to check it on can be read"):
        stage._usable(paths[1:])


def test_a_file_is_checked_on_the_test_split(workspace: Path):
    (workspace / "prepared").mkdir()
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {"id": name, "image": f"data/images/{name}.png", "split": split}
        | {"weight": 1.0, "width": 64, "height": 64, "foreground": 0.5, "ignored": 0}
        for name, split in (("a", "train"), ("b", "val"), ("c", "test"))
    ]
    write_csv(workspace / "prepared" / "manifest.csv", pd.DataFrame(rows))
    assert stage._photographs(None, workspace, workspace / "scenes") == (
        [workspace / "data/images/c.png"],
        [workspace / "data/images/b.png"],
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["m.safetensors", "--out", "a.onnx", "--format", "int4"],
            "--format: unknown 'int4'; choose",
        ),
        (["m.safetensors", "--out", "a.pb"], "--out: a.pb: name a file that ends in .onnx"),
        (["m.safetensors", "--out", "m.json/a.onnx"], "--out: m.json is a file"),
        (["gone.safetensors", "--out", "a.onnx"], "gone.safetensors: no such file"),
        (["a.onnx", "--out", "b.onnx"], "a.onnx: cannot be exported; name a checkpoint"),
        (["u2netp.pth", "--out", "b.onnx"], "u2netp.pth: cannot be exported; name a checkpoint"),
        (
            ["m.safetensors", "--out", "a.onnx", "--images", "gone"],
            "--images: gone is not a folder",
        ),
        (["m.safetensors", "--out", "a.onnx", "--images", "empty"], "empty/: contains no images"),
        (
            ["m.safetensors", "--out", "/proc/1/a/a.onnx", "--images", "data"],
            "/proc/1/a/a.onnx: cannot be written",
        ),
    ],
)
def test_what_cannot_be_exported_is_a_user_error(
    checkpoint: str, workspace: Path, arguments: list[str], says: str
):
    make_pairs(workspace / "data", 2)
    (workspace / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        export(*arguments)
    assert says in str(caught.value)
    assert not list(workspace.glob("**/*.onnx"))


def test_an_alias_that_does_not_exist(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(store)
    make_model(store)
    connection.connect(store)
    with pytest.raises(UserError, match="models:/skyseg@challenger: not in the registry"):
        export("models:/skyseg@challenger", "--out", "a.onnx")


def test_without_a_registry_and_photographs_the_pretrained_weights_are_exported(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, environment: object
):
    monkeypatch.setattr(stage, "CHECKED", 2)
    monkeypatch.setattr(stage, "CALIBRATED", 1)
    with pytest.raises(UserError, match=r"no model yet: .*models/start\.safetensors is missing"):
        export("--out", "a.onnx")
    state = build_model("u2netp").state_dict()
    (workspace / "models").mkdir()
    save_checkpoint(workspace / PRETRAINED, state, ModelConfig(variant="u2netp", size=32))

    result = CliRunner().invoke(app, ["export", "--out", "a.onnx"], catch_exceptions=False)

    assert result.exit_code == 0, result.output
    assert "using the pretrained weights" in result.stderr
    assert "checked on rendered scenes" in result.stderr
    assert (workspace / "a.onnx").stat().st_size > 4e6
    assert sorted(path.name for path in workspace.iterdir()) == ["a.onnx", "models"]
