"""Exported ONNX files run with their model config; other files are not mistaken for them."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from skyseg.errors import UserError
from skyseg.inference.onnx import CONFIG, OnnxPredictor, has_config
from skyseg.inference.predictor import probability
from skyseg.model.checkpoint import ModelConfig
from tiny import photograph

GOOD = ModelConfig(variant="u2netp", size=8, threshold=0.4).model_dump_json()


def write(
    path: Path, config: str | None, outputs: tuple[str, ...] = ("probability", "logits")
) -> Path:
    """Write a network whose logit is the red channel, like an exported file."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 0.0, 0.0])
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], [outputs[1]]),
            helper.make_node("Sigmoid", [outputs[1]], [outputs[0]]),
        ],
        "red",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 8, 8])
            for name in outputs
        ],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if config is not None:
        helper.set_model_props(model, {CONFIG: config})
    onnx.save(model, path)
    return path


def test_config_threshold_and_map(tmp_path: Path):
    predictor = OnnxPredictor(write(tmp_path / "m.onnx", GOOD))
    found = probability(predictor, photograph(0))
    assert predictor.threshold == predictor.config.threshold == 0.4
    assert predictor.parameters == 3
    assert found.shape == (40, 48)
    assert 0.1 < found.min() < found.max() < 0.95


def test_the_metadata_key_is_that_of_files_exported_before():
    assert CONFIG == "skyseg.card"


def test_only_exported_files_have_a_config(tmp_path: Path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert has_config(write(tmp_path / "m.onnx", GOOD))
    assert not has_config(write(tmp_path / "theirs.onnx", None))
    assert not has_config(tmp_path / "broken.onnx")
    assert not has_config(tmp_path / "gone.onnx")


@pytest.mark.parametrize(
    ("config", "outputs", "says"),
    [
        (None, ("probability", "logits"), "no model config"),
        ("{", ("probability", "logits"), "its model config is not valid"),
        (
            json.dumps({"variant": "u2netp", "size": 8, "magic": 1}),
            ("probability", "logits"),
            "magic",
        ),
        (
            json.dumps({"variant": "u2netp", "size": 8, "refine": "magic"}),
            ("probability", "logits"),
            "unknown refinement 'magic'",
        ),
        (GOOD, ("d0", "d1"), "no output named logits"),
    ],
)
def test_a_file_that_was_not_exported_is_a_user_error(
    tmp_path: Path, config: str | None, outputs: tuple[str, ...], says: str
):
    with pytest.raises(UserError, match=r"m\.onnx: ") as caught:
        OnnxPredictor(write(tmp_path / "m.onnx", config, outputs))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"", "not a readable"), (b"no model", "not a readable")],
)
def test_a_file_that_is_not_onnx_is_a_user_error(tmp_path: Path, content: bytes | None, says: str):
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(UserError, match=says):
        OnnxPredictor(tmp_path / "m.onnx")
