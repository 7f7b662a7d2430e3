"""Weights and config belong together, no file is a pickle, and mismatches are reported."""

import json
import os
import pickletools
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from skyseg.errors import UserError, exit_code
from skyseg.files import sha256
from skyseg.model import checkpoint
from skyseg.model.checkpoint import (
    ModelConfig,
    config_path,
    load_checkpoint,
    load_config,
    load_state,
    save_checkpoint,
    save_state,
)
from skyseg.model.u2net import build_model


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model("u2netp").eval()


@pytest.fixture
def weights(tmp_path, network):
    path = tmp_path / "best.safetensors"
    save_checkpoint(
        path, network.state_dict(), ModelConfig(variant="u2netp", size=64, threshold=0.4)
    )
    return path


@torch.inference_mode()
def test_round_trip_gives_the_same_network(weights, network):
    config, loaded = load_checkpoint(weights)
    x = torch.randn(1, 3, 40, 40)
    assert torch.equal(loaded(x)[0], network(x)[0])
    assert (config.threshold, config.fingerprint) == (0.4, sha256(weights))
    assert not loaded.training


def test_the_same_weights_have_the_same_fingerprint(weights, tmp_path, network):
    again = save_checkpoint(
        tmp_path / "b.safetensors", network.state_dict(), ModelConfig(variant="u2netp", size=320)
    )
    assert again.fingerprint == sha256(weights)


def test_files_are_safetensors_and_json(weights):
    json.loads(config_path(weights).read_text())
    with pytest.raises(ValueError, match="opcode"):
        list(pickletools.genops(weights.read_bytes()))


def test_configs_that_users_have_stored_are_read_as_before(weights):
    stored = Path(__file__).parents[2] / "models" / "start.json"  # written before the packages
    config = json.loads(stored.read_text())
    config["fingerprint"] = sha256(weights)
    config_path(weights).write_text(json.dumps(config))
    read = load_config(weights)
    assert json.loads(read.model_dump_json()) == config
    assert config.keys() == ModelConfig.model_fields.keys()


def test_changed_weights_are_detected(weights, network):
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(UserError, match=r"best\.safetensors: not the weights"):
        load_checkpoint(weights)


@pytest.mark.parametrize("missing", ["weights", "config"])
def test_a_missing_file_is_named(weights, missing):
    removed = weights if missing == "weights" else config_path(weights)
    removed.unlink()
    with pytest.raises(UserError, match=removed.name):
        load_checkpoint(weights)


def test_a_damaged_config_is_named(weights):
    config_path(weights).write_text('{"variant": "u2netp"}')
    with pytest.raises(UserError, match=r"best\.json: not a model config"):
        load_checkpoint(weights)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 0),
        ("size", -1),
        ("size", 10**9),
        ("size", 64.5),
        ("size", True),
        ("size", None),
        ("std", [0, 1, 1]),
        ("std", [1, 1]),
        ("std", [1, 1, 1e-300]),
        ("std", [True, 1, 1]),
        ("mean", [float("nan"), 0, 0]),
        ("mean", [1e9, 0, 0]),
        ("mean", "0.5"),
        ("threshold", 1.5),
        ("threshold", 0),
        ("threshold", -0.1),
        ("threshold", True),
        ("presence", float("inf")),
        ("presence", 2),
        ("epoch", -1),
        ("epoch", True),
        ("val", {"iou": float("nan")}),
        ("data", {"splits": {"train": 5}}),
        ("data", {"splits": [1]}),
        ("data", {"dvc_md5": 5}),
        ("variant", 5),
        ("refine", None),
        ("unknown", 1),
    ],
)
def test_a_config_with_an_impossible_value_names_it(weights, key, value):
    path = config_path(weights)
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError) as caught:
        load_checkpoint(weights)
    assert str(caught.value).startswith(f"{path}: not a model config: {key}")
    assert "\n" not in str(caught.value)


def test_an_unknown_variant_is_named(weights):
    path = config_path(weights)
    path.write_text(path.read_text().replace("u2netp", "u3net"))
    with pytest.raises(UserError, match=r"best\.json: unknown variant 'u3net'; known: u2net"):
        load_checkpoint(weights)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 5000, "9" * 5000, '{"size": 1, "size": 2}'])
def test_a_config_that_is_no_json_object(weights, text):
    config_path(weights).write_text(text)
    with pytest.raises(UserError, match=r"best\.json: .*; restore it with 'dvc checkout'"):
        load_config(weights)


@pytest.mark.parametrize("of", ["weights", "config"])
def test_what_is_no_file_is_never_waited_for(weights, of):
    path = weights if of == "weights" else config_path(weights)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=f"{path.name}: a pipe"):
        load_checkpoint(weights)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=f"{path.name}: a folder"):
        load_checkpoint(weights)


def test_state_round_trip_and_damage(tmp_path):
    path = tmp_path / "resume.safetensors"
    assert load_state(path) is None
    save_state(path, {"a/b": torch.arange(3)}, {"run": None, "history": [{"epoch": 1}]})
    tensors, notes = load_state(path)
    assert tensors["a/b"].tolist() == [0, 1, 2]
    assert notes == {"run": None, "history": [{"epoch": 1}]}
    path.write_bytes(path.read_bytes()[:40])
    assert load_state(path) is None
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="a pipe"):
        load_state(path)


@pytest.mark.parametrize("notes", ["", "{", "[" * 5000, "9" * 5000])
def test_damaged_notes_of_a_state(tmp_path, notes):
    save_file({"a": torch.zeros(1)}, tmp_path / "s.safetensors", {"notes": notes})
    assert load_state(tmp_path / "s.safetensors") is None


def test_a_failed_save_keeps_the_earlier_checkpoint(weights, network):
    before = weights.read_bytes(), config_path(weights).read_bytes()
    with pytest.raises(AttributeError):
        save_checkpoint(weights, {"x": "not a tensor"}, ModelConfig(variant="u2netp", size=64))
    assert (weights.read_bytes(), config_path(weights).read_bytes()) == before
    assert sorted(p.name for p in weights.parent.iterdir()) == ["best.json", "best.safetensors"]


def test_a_full_disk_is_a_one_line_error(weights, monkeypatch, capsys):
    def full(*_):  # what safetensors 0.8 raises on a full tmpfs
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    before = weights.read_bytes()
    monkeypatch.setattr(checkpoint, "save_file", full)
    config = ModelConfig(variant="u2netp", size=64)
    assert exit_code(lambda: save_checkpoint(weights, {"x": torch.ones(9)}, config)) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert weights.read_bytes() == before
