"""ONNX files match PyTorch in every format, are checked first, and contain their model config."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from skyseg.errors import UserError
from skyseg.inference import export
from skyseg.inference.export import ONNX_FORMATS, Parity, measure_parity
from skyseg.inference.onnx import CONFIG, OnnxPredictor
from skyseg.inference.predictor import CheckpointPredictor, probabilities, probability
from skyseg.model.checkpoint import ModelConfig, load_checkpoint, load_config, save_checkpoint
from skyseg.model.u2net import build_model
from tiny import photograph, save

SIZES = ((70, 33), (48, 48), (31, 90))


def trained_like(seed: int) -> dict[str, torch.Tensor]:
    """Weights of a network whose batch norms have statistics, so that folding changes something."""
    torch.manual_seed(seed)
    network = build_model("u2netp").train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 3, 64, 64))
    torch.nn.init.constant_(network.outconv.weight, 1.0)  # logits that differ within a photograph
    return network.state_dict()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "best.safetensors"
    save_checkpoint(
        path,
        trained_like(0),
        ModelConfig(variant="u2netp", size=64, refine="colour", threshold=0.48, val={"iou": 0.9}),
    )
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photographs")
    return [
        save(folder / f"{seed}.png", photograph(seed, *size)) for seed, size in enumerate(SIZES)
    ]


@pytest.fixture(scope="module", params=ONNX_FORMATS)
def exported(
    request: pytest.FixtureRequest,
    weights: Path,
    photographs: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path, Parity]:
    out = tmp_path_factory.mktemp("out") / f"{request.param}.onnx"
    with pytest.MonkeyPatch.context() as patch:
        # An untrained network's map is nearly flat: many pixels are very close to the threshold.
        patch.setitem(
            ONNX_FORMATS, request.param, ONNX_FORMATS[request.param]._replace(mask_iou=0.8)
        )
        return (
            request.param,
            out,
            export.export(weights, request.param, out, photographs, photographs),
        )


def test_the_map_matches_pytorch(exported: tuple[str, Path, Parity], weights: Path):
    format, out, parity = exported
    pytorch, onnx_predictor = CheckpointPredictor(weights, "cpu", "fp32"), OnnxPredictor(out)
    pytorch.config = pytorch.config.model_copy(update={"size": onnx_predictor.config.size})
    images = [photograph(seed, *size) for seed, size in enumerate(SIZES, 10)]
    allowed = {"dynamic": 1e-3, "fixed": 1e-3, "float16": 0.02, "int8": 0.2}[format]
    for image, found in zip(images, probabilities(onnx_predictor, images), strict=True):
        expected = probability(pytorch, image)
        assert (found.shape, found.dtype) == (image.shape[:2], np.float32)
        assert np.abs(found - expected).max() < allowed
        assert np.ptp(expected) > 0.01
    assert parity.images == len(SIZES)
    assert 0 < parity.mean <= ONNX_FORMATS[format].mean


def test_the_config_and_the_parity_are_in_the_file(
    exported: tuple[str, Path, Parity], weights: Path
):
    format, out, parity = exported
    stored = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    config = load_config(weights)
    assert ModelConfig.model_validate_json(stored[CONFIG]) == config.model_copy(
        update={"size": 320 if format == "fixed" else 64}
    )
    assert stored[export.FORMAT] == format
    assert Parity(**json.loads(stored[export.PARITY])) == parity
    assert OnnxPredictor(out).threshold == 0.48
    assert str(weights.parent).encode() not in out.read_bytes()


@pytest.mark.parametrize("shape", [(1, 97, 131), (3, 33, 47), (2, 1, 1), (1, 250, 64)])
def test_dynamic_takes_any_batch_and_size(weights: Path, tmp_path: Path, shape: tuple[int, ...]):
    with export._without_warnings():
        export._trace(weights, tmp_path / "m.onnx", None)
    _, network = load_checkpoint(weights)
    x = torch.randn(shape[0], 3, *shape[1:])
    with torch.inference_mode():
        expected = network(x)[0].numpy()
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    probability, logits = session.run(None, {"image": x.numpy()})
    assert logits.shape == expected.shape
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-expected)), atol=1e-5)


def test_fixed_has_the_shapes_that_rembg_needs(
    weights: Path, photographs: list[Path], tmp_path: Path
):
    export.export(weights, "fixed", tmp_path / "m.onnx", photographs[:1], [])
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    assert [entry.shape for entry in session.get_inputs()] == [[1, 3, 320, 320]]
    assert [(entry.name, entry.shape) for entry in session.get_outputs()] == [
        ("probability", [1, 1, 320, 320]),
        ("logits", [1, 1, 320, 320]),
    ]
    assert not any(
        node.op_type == "BatchNormalization" for node in onnx.load(tmp_path / "m.onnx").graph.node
    )


@pytest.mark.parametrize(
    "far",
    [Parity(1, 0.006, 0.1, 1.0), Parity(1, 0.0, 0.1, 0.98), Parity(1, float("nan"), 0.0, 1.0)],
)
def test_a_file_that_differs_from_pytorch_is_refused_with_numbers(
    weights: Path,
    photographs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    far: Parity,
):
    monkeypatch.setattr(export, "measure_parity", lambda *_: far)
    out = tmp_path / "m.onnx"
    out.write_bytes(b"an earlier file")
    with pytest.raises(
        UserError,
        match=r"m\.onnx: not written, because int8 .* mean difference .*"
        r"mask IoU \d.* on 1 photographs; allowed",
    ):
        export.export(weights, "int8", out, photographs[:1], photographs)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert out.read_bytes() == b"an earlier file"


def test_parity_matches_a_calculation_by_hand(photographs: list[Path], weights: Path):
    one, two = (
        CheckpointPredictor(weights, "cpu", "fp32"),
        CheckpointPredictor(weights, "cpu", "fp32"),
    )
    height, width = SIZES[0][::-1]
    one.postprocess = lambda logits, image: np.zeros((height, width), np.float32)
    two.postprocess = lambda logits, image: np.zeros((height, width), np.float32)
    assert measure_parity(one, two, photographs[:1]) == Parity(1, 0.0, 0.0, 1.0)
    left = np.zeros((height, width), np.float32)
    left[:, :10] = 0.5
    right = left.copy()
    right[:, :4] = 0.25
    one.postprocess, two.postprocess = lambda *_: left, lambda *_: right
    parity = measure_parity(one, two, photographs[:1])
    assert parity.max == 0.25
    assert parity.mean == pytest.approx(0.25 * 4 / width)
    assert parity.mask_iou == pytest.approx(6 / 10)


def test_missing_packages_are_a_user_error(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'skyseg\[onnx\]'"):
        export.export(weights, "dynamic", tmp_path / "m.onnx", [], [])
    assert not list(tmp_path.iterdir())
