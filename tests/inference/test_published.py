"""Published weights and ONNX files: detected by shape, run with either recipe, or refused."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from skyseg.data.pictures.codec import read
from skyseg.errors import UserError
from skyseg.inference.predictor import probability
from skyseg.inference.published import RECIPES, PublishedPredictor
from skyseg.model.u2net import build_model
from tiny import photograph

REAL = Path(os.environ.get("SKYSEG_REAL_DATA", "../shared/data"))


@pytest.fixture
def published(tmp_path):
    torch.manual_seed(0)
    torch.save(build_model("u2netp").state_dict(), tmp_path / "u2netp.pth")
    return tmp_path / "u2netp.pth"


@pytest.fixture
def red_is_foreground(tmp_path):
    """An ONNX network whose probability is the sigmoid of the red channel."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 0.0, 0.0])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["z"]), helper.make_node("Sigmoid", ["z"], ["d0"])],
        "red",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 320, 320])],
        [helper.make_tensor_value_info("d0", TensorProto.FLOAT, [1, 1, 320, 320])],
        [weight],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "red.onnx",
    )
    return tmp_path / "red.onnx"


@pytest.mark.parametrize("recipe", RECIPES)
def test_published_weights_give_maps_of_the_photographs_size(published, recipe):
    predictor = PublishedPredictor(published, recipe)
    found = probability(predictor, photograph(1, 70, 33))
    assert (found.shape, found.dtype) == ((33, 70), np.float32)
    assert predictor.parameters == 1_131_181
    assert 0 <= found.min() <= found.max() <= 1


def test_only_the_published_recipe_stretches(published):
    image = photograph(2, 320, 320)
    ours, theirs = (
        probability(PublishedPredictor(published, recipe), image)
        for recipe in ("skyseg", "published")
    )
    assert (theirs.min(), theirs.max()) == (0, 1)
    assert ours.max() - ours.min() < 0.9


def test_an_onnx_file_is_run(red_is_foreground):
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:, 0] = 255
    predictor = PublishedPredictor(red_is_foreground, "skyseg")
    found = probability(predictor, image)
    low, high = (1 / (1 + np.exp(-(red - 0.485) / 0.229)) for red in (0, 1))
    assert found[:, :20] == pytest.approx(low, abs=1e-4)
    assert found[:, 40:] == pytest.approx(high, abs=1e-4)
    assert predictor.parameters == 3
    both = predictor.forward([predictor.preprocess(side) for side in (image, image[:, ::-1])])
    assert both.shape == (2, 320, 320)  # although the file takes one at a time
    np.testing.assert_allclose(predictor.postprocess(both[0], image), found, atol=1e-6)


@pytest.mark.parametrize(("size", "rank"), [(128, 4), (320, 3)])
def test_an_onnx_file_with_another_shape(tmp_path, size, rank):
    shape = [1, 3, size, size][4 - rank :]
    graph = helper.make_graph(
        [helper.make_node("Sigmoid", ["x"], ["d0"])],
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("d0", TensorProto.FLOAT, shape)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "other.onnx",
    )
    with pytest.raises(UserError, match=r"other\.onnx: x is .*, expected \[1, 3, 320, 320\]"):
        PublishedPredictor(tmp_path / "other.onnx", "skyseg")


def test_a_black_photograph_causes_no_division_by_zero(red_is_foreground):
    found = probability(
        PublishedPredictor(red_is_foreground, "published"), np.zeros((20, 20, 3), np.uint8)
    )
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.pth", None, "no such file"),
        ("gone.onnx", None, "no such file"),
        ("broken.onnx", b"no model", "not a readable ONNX file"),
        ("broken.pth", b"no model", "not a readable weights file"),
        ("a.zip", b"x", "unknown kind"),
    ],
)
def test_a_file_that_is_not_a_model_is_a_user_error(tmp_path, name, content, says):
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        PublishedPredictor(tmp_path / name, "skyseg")


def test_weights_of_another_network(tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not the weights of any of u2net"):
        PublishedPredictor(tmp_path / "other.pth", "skyseg")


@pytest.mark.skipif(not (REAL / "u2net_demo").is_dir(), reason="no real data at ../shared/data")
@pytest.mark.parametrize("name", ["u2netp_folded.pth", "u2netp.onnx"])
def test_the_authors_own_maps_are_reproduced(name):
    predictor = PublishedPredictor(REAL / "weights" / name, "published")
    differences = []
    for path in sorted((REAL / "u2net_demo" / "images").iterdir())[4:8]:
        theirs = Image.open(REAL / "u2net_demo" / "u2netp_results" / f"{path.stem}.png")
        ours = np.round(probability(predictor, read(path).pixels) * 255)
        differences.append(np.abs(ours - np.asarray(theirs.convert("L"))).mean() / 255)
    assert np.mean(differences) < 0.003
