"""Exported ONNX files run with their model config; other files are not mistaken for them."""

import json
from collections.abc import Sequence
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
        ("[" * 5000, ("probability", "logits"), "nested too deeply"),
        ("9" * 5000, ("probability", "logits"), "its model config is not valid"),
        ("[]", ("probability", "logits"), "its model config is not valid"),
        (GOOD.replace('"size":8', '"size":0'), ("probability", "logits"), "size: Input should be"),
        (GOOD.replace('"size":8', '"size":16'), ("probability", "logits"), "image is ['n', 3, 8"),
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


FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def other(path: Path, nodes: list, inputs: list, outputs: list, weights: Sequence = (), opset=17):
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, {CONFIG: GOOD})
    path.write_bytes(model.SerializeToString())
    return path


SHAPE = ["n", 3, 8, 8]


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs", "says"),
    [
        (
            [helper.make_node("Add", ["x", "y"], ["logits"])],
            [("x", FLOAT, SHAPE), ("y", FLOAT, SHAPE)],
            [("logits", FLOAT, ["n", 1, 8, 8])],
            "2 inputs, expected one",
        ),
        (
            [helper.make_node("Sigmoid", ["x"], ["logits"])],
            [("x", HALF, SHAPE)],
            [("logits", HALF, ["n", 1, 8, 8])],
            "x is a tensor(float16), expected tensor(float)",
        ),
        (
            [helper.make_node("Cast", ["x"], ["logits"], to=HALF)],
            [("x", FLOAT, SHAPE)],
            [("logits", HALF, SHAPE)],
            "logits is a tensor(float16)",
        ),
        (
            [helper.make_node("Sigmoid", ["x"], ["logits"])],
            [("x", FLOAT, SHAPE)],
            [("logits", FLOAT, SHAPE)],
            "logits is ['n', 3, 8, 8], expected [1, 1, 8, 8]",
        ),
        (
            [helper.make_node("NoSuchOperator", ["x"], ["logits"])],
            [("x", FLOAT, SHAPE)],
            [("logits", FLOAT, ["n", 1, 8, 8])],
            "not a readable ONNX file",
        ),
    ],
)
def test_networks_with_other_inputs_or_outputs(tmp_path: Path, nodes, inputs, outputs, says):
    path = other(tmp_path / "m.onnx", nodes, inputs, outputs)
    with pytest.raises(UserError, match=r"m\.onnx: ") as caught:
        OnnxPredictor(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_operator_set_of_the_future(tmp_path: Path):
    nodes = [helper.make_node("Sigmoid", ["image"], ["logits"])]
    outputs = [("logits", FLOAT, ["n", 1, 8, 8])]
    path = other(tmp_path / "m.onnx", nodes, [("image", FLOAT, SHAPE)], outputs, opset=999)
    with pytest.raises(UserError, match=r"m\.onnx: not a readable ONNX file"):
        OnnxPredictor(path)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([helper.make_node("Concat", ["image", "image"], ["logits"], axis=1)], "the shape (1, 6"),
        ([helper.make_node("Reshape", ["image", "shape"], ["logits"])], "the shape (3, 1"),
        ([helper.make_node("Gather", ["image", "index"], ["logits"], axis=1)], "cannot be run"),
        (
            [
                helper.make_node("Slice", ["image", "start", "end", "axis"], ["red"]),
                helper.make_node("Sub", ["red", "red"], ["zero"]),
                helper.make_node("Div", ["zero", "zero"], ["logits"]),
            ],
            "NaN",
        ),
    ],
)
def test_what_only_running_shows(tmp_path: Path, nodes: list, says: str):
    names = ["a", "b", "c", "d"]
    constants = [
        helper.make_tensor("shape", TensorProto.INT64, [4], [-1, 1, 8, 8]),
        *(
            helper.make_tensor(name, TensorProto.INT64, [1], [value])
            for name, value in (("start", 0), ("end", 1), ("axis", 1), ("index", 9))
        ),
    ]
    inputs, outputs = [("image", FLOAT, names)], [("logits", FLOAT, ["e", "f", "g", "h"])]
    predictor = OnnxPredictor(other(tmp_path / "m.onnx", nodes, inputs, outputs, constants))
    with pytest.raises(UserError, match=r"m\.onnx: ") as caught:
        probability(predictor, photograph(0))
    assert says in str(caught.value)


@pytest.mark.parametrize("place", ["../secret", "{folder}/secret", "link", "gone", "/dev/zero"])
def test_weights_in_other_files_stay_in_the_folder(tmp_path: Path, place: str):
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_bytes(bytes(12))
    (tmp_path / "model" / "link").symlink_to(tmp_path / "secret")
    path = write(tmp_path / "model" / "m.onnx", GOOD)
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", place.format(folder=tmp_path)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=r"m\.onnx: not a readable ONNX file"):
        OnnxPredictor(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, share: float):
    content = write(tmp_path / "m.onnx", GOOD).read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: int(share * len(content))])
    assert not has_config(tmp_path / "m.onnx")
    with pytest.raises(UserError, match=r"m\.onnx: "):
        OnnxPredictor(tmp_path / "m.onnx")
