"""Maps have the photograph's size and are not stretched; batches equal single photographs."""

import numpy as np
import pytest
import torch

from skyseg.errors import UserError
from skyseg.inference.predictor import CheckpointPredictor, probabilities, probability
from skyseg.inference.refine import REFINEMENTS
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.u2net import build_model


@pytest.fixture(scope="module", params=REFINEMENTS)
def predictor(request, tmp_path_factory):
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("model") / "best.safetensors"
    model = build_model("u2netp")
    torch.nn.init.constant_(model.outconv.bias, -6.0)  # sure that there is no foreground
    config = ModelConfig(variant="u2netp", size=48, refine=request.param)
    save_checkpoint(weights, model.state_dict(), config)
    return CheckpointPredictor(weights, "cpu", "fp32")


def photograph(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(48, 48), (37, 91), (200, 10), (1, 1)])
def test_the_map_has_the_photographs_size(predictor, size):
    found = probability(predictor, photograph(*size))
    assert (found.shape, found.dtype) == (size, np.float32)
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_photograph_without_foreground_gets_none(predictor):
    assert probability(predictor, photograph(60, 40)).max() < 0.5  # stretching would give 1


def test_a_black_photograph_gives_a_finite_map(predictor):
    assert np.isfinite(probability(predictor, np.zeros((50, 60, 3), np.uint8))).all()


def test_batches_equal_single_photographs(predictor):
    photographs = [photograph(40, 60, 1), photograph(31, 20, 2), photograph(48, 48, 3)]
    for image, batched in zip(photographs, probabilities(predictor, photographs), strict=True):
        one = probability(predictor, image)
        np.testing.assert_allclose(one, batched, atol=1e-5)


def test_the_configs_refinement_is_used(predictor, monkeypatch):
    monkeypatch.setitem(
        REFINEMENTS,
        predictor.config.refine,
        lambda logits, image: torch.full(image.shape[:2], logits.shape[0] - 48.0),
    )
    assert (probability(predictor, photograph(60, 40)) == 0.5).all()


def test_a_photograph_found_to_have_no_foreground_is_all_below_the_threshold(tmp_path):
    torch.manual_seed(0)
    model = build_model("u2netp")
    torch.nn.init.constant_(model.outconv.bias, 1.0)
    state, maps = model.state_dict(), []
    for presence in (0.0, 1.0):
        weights = tmp_path / f"{presence}.safetensors"
        save_checkpoint(weights, state, ModelConfig(variant="u2netp", size=48, presence=presence))
        maps.append(probability(CheckpointPredictor(weights, "cpu", "fp32"), photograph(40, 60)))
    assert maps[0].max() >= 0.5
    assert maps[1].max() < 0.5
    assert np.array_equal(maps[0][maps[0] < 0.49], maps[1][maps[0] < 0.49])


def test_an_unknown_refinement_is_a_user_error(tmp_path):
    save_checkpoint(
        tmp_path / "m.safetensors",
        build_model("u2netp").state_dict(),
        ModelConfig(variant="u2netp", size=48, refine="magic"),
    )
    with pytest.raises(UserError, match=r"m\.json: unknown refinement 'magic'; known: none, "):
        CheckpointPredictor(tmp_path / "m.safetensors", "cpu")
