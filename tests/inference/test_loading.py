"""load_model opens any kind of model by its name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from skyseg.commands import promote
from skyseg.errors import UserError
from skyseg.inference import pretrained
from skyseg.inference.loading import load_model
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.inference.pretrained import default_name
from skyseg.model.checkpoint import ModelConfig, load_config, save_checkpoint
from skyseg.model.u2net import build_model
from skyseg.params import load_params
from skyseg.tracking import registry
from tiny import photograph

ROOT = Path(__file__).parents[2]
CHAMPION = "models:/skyseg@champion"
IMAGE = photograph(1, 60, 50)


def make_checkpoint(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        path,
        build_model("u2netp").state_dict(),
        ModelConfig(variant="u2netp", size=32, threshold=0.4),
    )
    return path


def test_a_checkpoint_gives_the_maps_of_its_predictor(tmp_path: Path):
    path = make_checkpoint(tmp_path / "m.safetensors")
    opened = load_model(str(path))
    assert opened.name == str(path)
    assert opened.label == f"m.safetensors (u2netp, {load_config(path).fingerprint[:8]})"
    assert opened.threshold == 0.4
    assert opened.megabytes == pytest.approx(path.stat().st_size / 1e6)
    np.testing.assert_array_equal(
        opened.probability(IMAGE), probability(CheckpointPredictor(path), IMAGE)
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_single_steps_give_the_same_map(tmp_path: Path, suffix: str):
    path = make_checkpoint(tmp_path / "m.safetensors")
    if suffix == ".pth":
        path = tmp_path / "m.pth"
        torch.save(build_model("u2netp").state_dict(), path)
    opened = load_model(str(path))
    predictor = opened.predictor
    logits = predictor.forward([predictor.preprocess(image) for image in (IMAGE, photograph(2))])
    np.testing.assert_allclose(
        predictor.postprocess(logits[0], IMAGE), opened.probability(IMAGE), atol=1e-5
    )


def test_registered_by_alias_and_version(trained: Path):
    params = load_params(ROOT / "params.yaml")
    promote.promote(params, trained, None, None)
    weights = trained / "models" / "best.safetensors"
    label = f"skyseg version 1 ({load_config(weights).fingerprint[:8]})"  # one model, one label
    for name in (default_name(trained), "models:/skyseg/1"):
        opened = load_model(name, root=trained)
        assert opened.label == label
        np.testing.assert_array_equal(
            opened.probability(IMAGE), probability(CheckpointPredictor(weights), IMAGE)
        )
    with pytest.raises(UserError, match="skyseg has the versions 1, champion = 1"):
        load_model("models:/skyseg@nobody", root=trained)


def test_pretrained_weights_do_not_replace_a_registered_unpromoted_model(trained: Path):
    promote.promote(load_params(ROOT / "params.yaml"), trained, None, None)
    MlflowClient().delete_registered_model_alias("skyseg", registry.CHAMPION)
    make_checkpoint(trained / "models" / "start.safetensors", 1)
    with pytest.raises(UserError, match="not in the registry"):
        load_model(CHAMPION, root=trained)


def test_pretrained_weights_are_used_with_a_warning_if_nothing_is_registered(store: Path, capsys):
    path = make_checkpoint(store / "models" / "start.safetensors")
    opened = load_model(CHAMPION, root=store)
    printed = capsys.readouterr().err
    assert "WARNING: no model is registered here; using the pretrained weights" in printed
    assert "start.safetensors" in printed
    assert opened.label.startswith("start.safetensors (u2netp")
    np.testing.assert_array_equal(
        opened.probability(IMAGE), probability(CheckpointPredictor(path), IMAGE)
    )


def test_pretrained_weights_come_with_the_package_outside_a_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: object
):
    packaged = make_checkpoint(tmp_path / "package" / "pretrained" / "start.safetensors")
    monkeypatch.setattr(pretrained, "PACKAGE", tmp_path / "package")
    (tmp_path / "empty").mkdir()
    for name in (CHAMPION, "pretrained"):
        opened = load_model(name, root=tmp_path / "empty")
        assert opened.predictor.config.fingerprint == load_config(packaged).fingerprint
    assert not list((tmp_path / "empty").iterdir())
    own = make_checkpoint(tmp_path / "own" / "models" / "start.safetensors")
    assert pretrained.pretrained_weights(tmp_path / "own") == own
    assert pretrained.pretrained_weights(tmp_path / "empty") == packaged


def test_opening_the_champion_creates_no_store(tmp_path: Path, environment: object):
    (tmp_path / ".dvc").mkdir()
    make_checkpoint(tmp_path / "models" / "start.safetensors")
    load_model(CHAMPION, root=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dvc", "models"]


@pytest.mark.parametrize("missing", ["start.safetensors", "start.json"])
def test_neither_registered_nor_pretrained(tmp_path: Path, environment: object, missing: str):
    make_checkpoint(tmp_path / "models" / "start.safetensors")
    (tmp_path / "models" / missing).unlink()
    with pytest.raises(UserError, match=f"no model yet: .*{missing} is missing"):
        load_model(CHAMPION, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.safetensors", "no such file"),
        ("gone.onnx", "no such file"),
        ("gone.pth", "no such"),
        ("photo.jpg", "unknown kind of file"),
        ("models:skyseg", "write models:/NAME@ALIAS"),
    ],
)
def test_names_that_match_no_model(store: Path, monkeypatch, name: str, message: str):
    monkeypatch.chdir(store)
    (store / "photo.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        load_model(name)


def test_weights_without_a_config_give_a_warning(tmp_path: Path, capsys):
    path = make_checkpoint(tmp_path / "m.safetensors")
    shutil.copy(path, tmp_path / "bare.safetensors")
    assert load_model(str(tmp_path / "bare.safetensors")).threshold == 0.5
    assert "bare.safetensors: no model config (bare.json) next to it" in capsys.readouterr().err


def test_the_default_is_the_champion_of_the_workspaces_own_model(tmp_path: Path):
    assert default_name(tmp_path) == CHAMPION
    text = (ROOT / "params.yaml").read_text().replace("model: skyseg", "model: hair")
    (tmp_path / "params.yaml").write_text(text)
    assert default_name(tmp_path) == "models:/hair@champion"


def test_different_weights_of_one_name_have_different_labels(tmp_path: Path):
    labels = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(build_model("u2netp").state_dict(), tmp_path / "m.pth")
        labels.add(load_model(str(tmp_path / "m.pth")).label)
    assert len(labels) == 2


@pytest.mark.parametrize("suffix", ["", ".onnx", ".pth", ".safetensors"])
def test_what_is_no_model_file_is_never_waited_for(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    for make, says in (
        (lambda: None, "no such file; name a model file"),
        (path.mkdir, "a folder"),
        (lambda: (path.rmdir(), os.mkfifo(path)), "a pipe"),
        (lambda: (path.unlink(), path.symlink_to(path)), "a link that leads to itself"),
    ):
        make()
        with pytest.raises(UserError, match=f"model{suffix}: {says}"):
            load_model(str(path))


@pytest.mark.parametrize("name", ["", "a\0b.pth", "x" * 5000, "/dev/zero", "http://a/b.pth"])
def test_names_that_no_model_file_has(name):
    with pytest.raises(UserError):
        load_model(name)
