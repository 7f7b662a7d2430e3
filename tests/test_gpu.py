"""What a GPU computes agrees with the CPU, and two processes can share one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skyseg.data.manifest import read_dataset, read_manifest
from skyseg.errors import UserError
from skyseg.inference.predictor import CheckpointPredictor, probabilities
from skyseg.inference.scoring import score_split
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.device import pick_hardware
from skyseg.model.u2net import build_model
from skyseg.training import engine
from tiny import make_params, photograph

CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
# The CPU in float32 stands in for the GPU where there is none: the test runs, and compares the same
# computation with itself.
DEVICES = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="cuda", marks=CUDA)]
TRAIN = make_params(
    train={"epochs": 2, "batch_size": 4, "compile": "off", "precision": "fp32"}
).train


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "m.safetensors"
    state = build_model("u2netp").state_dict()
    save_checkpoint(path, state, ModelConfig(variant="u2netp", size=64, refine="colour"))
    return path


@pytest.mark.parametrize("device", DEVICES)
def test_the_first_losses_agree_with_the_cpu(device: str):
    """Means over an epoch of two steps; later ones drift apart, as sums are rounded otherwise."""
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    masks = (images.mean(axis=-1) > 127).astype(np.uint8)

    def losses(name: str) -> dict[str, float]:
        hardware = pick_hardware(name, "fp32")
        torch.manual_seed(0)
        learner = engine.build_learner(build_model("u2netp"), TRAIN, 2, hardware)
        return engine.validate(
            learner.model,
            engine.batches(images, masks, 4, hardware.device, np.arange(8)),
            TRAIN.loss,
            hardware,
            [str(row) for row in range(8)],
        )

    expected, found = losses("cpu"), losses(device)
    assert {name for name in expected if name.startswith("loss")} <= found.keys()
    for name in expected:
        assert found[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize("device", DEVICES)
def test_maps_agree_with_the_cpu_one_by_one_and_in_batches(device: str, weights: Path):
    images = [photograph(seed, 90 + 10 * seed, 70) for seed in range(5)]
    cpu, other = (CheckpointPredictor(weights, name, "fp32") for name in ("cpu", device))

    expected = [probabilities(cpu, [image])[0] for image in images]
    together = probabilities(other, images)

    for image, one, found in zip(images, expected, together, strict=True):
        np.testing.assert_allclose(found, one, atol=2e-3)
        np.testing.assert_allclose(probabilities(other, [image])[0], one, atol=2e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_scores_agree_with_the_cpu(device: str, weights: Path, prepared: Path):
    manifest = read_manifest(prepared / "prepared")
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    encoding = read_dataset(prepared / "prepared").encoding

    def scores(name: str) -> dict[str, float]:
        predictor = CheckpointPredictor(weights, name, "fp32")
        return score_split(predictor, prepared, rows, encoding, 4).scores

    expected, found = scores("cpu"), scores(device)
    for name in ("iou", "mae", "f_max", "e_max", "s_measure"):
        assert found[name] == pytest.approx(expected[name], abs=5e-3), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_two_processes_share_a_gpu(weights: Path):
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from skyseg.inference.predictor import CheckpointPredictor, probabilities\n"
        "p = CheckpointPredictor(Path(sys.argv[1]), 'cuda')\n"
        "image = np.full((480, 640, 3), 99, np.uint8)\n"
        "print(sum(float(m.mean()) for _ in range(20) for m in probabilities(p, [image] * 8)))"
    )
    command = [sys.executable, "-c", code, str(weights)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert float(answers[0]) == pytest.approx(float(answers[1]), rel=1e-2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_asked_for_and_missing_is_an_error(weights: Path):
    with pytest.raises(UserError, match="CUDA"):
        CheckpointPredictor(weights, "cuda")
