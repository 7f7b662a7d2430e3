"""PyTorch, ONNX, the command, the served model and the web page give the same masks."""

from __future__ import annotations

import io
from argparse import Namespace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mlflow_tools import METRICS, SCORING, make_model
from skyseg.app import actions
from skyseg.commands.predict import predict
from skyseg.data.pictures.codec import read
from skyseg.inference import served_model
from skyseg.inference.export import export
from skyseg.inference.loading import load_model
from skyseg.inference.onnx import OnnxPredictor
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.model.checkpoint import save_checkpoint
from skyseg.model.weights import read_weights
from skyseg.tracking import registry
from tiny import photograph, save


@pytest.fixture(scope="module")
def weights(registered: Path) -> Path:
    """A third version, with refined edges, whose masks have both foreground and background."""
    path = registered / "models" / "best.safetensors"
    config = make_model(registered, 2).model_copy(update={"refine": "colour"})
    config = save_checkpoint(path, read_weights(path), config)
    middle = float(np.median(probability(CheckpointPredictor(path), photograph(0, 70, 50))))
    config = save_checkpoint(
        path, read_weights(path), config.model_copy(update={"threshold": middle})
    )
    run = mlflow.start_run()
    mlflow.end_run()
    assert registry.register(path, config, METRICS, SCORING, run.info.run_id, "skyseg") == "3"
    return path


def test_the_same_masks_everywhere(registered: Path, weights: Path, tmp_path: Path):
    paths = [
        save(tmp_path / "photographs" / f"{seed}.png", photograph(seed, *size))
        for seed, size in enumerate(((70, 50), (32, 32), (20, 90)))
    ]
    name = "models:/skyseg/3"
    predict(
        [str(tmp_path / "photographs")],
        tmp_path / "masks",
        load_model(name, root=registered),
        ["mask"],
    )
    served = served_model.SegmentationModel()
    served.load_context(Namespace(artifacts={"weights": weights}))
    answers = served.predict(None, pd.DataFrame({"image": [path.read_bytes() for path in paths]}))
    export(weights, "dynamic", tmp_path / "m.onnx", paths[:1], [])
    exported = OnnxPredictor(tmp_path / "m.onnx")
    pytorch, exact = CheckpointPredictor(weights), CheckpointPredictor(weights, "cpu", "fp32")

    shares = []
    for path, png in zip(paths, answers["mask"], strict=True):
        image = read(path).pixels
        expected = probability(pytorch, image) >= pytorch.threshold
        shares.append(expected.mean())
        file = Image.open(tmp_path / "masks" / f"{path.stem}-mask.png")
        page = actions.segment(actions.Photo(path, path.name), name, registered, "en")
        for mask in (np.asarray(Image.open(io.BytesIO(png))), np.asarray(file), page.mask):
            assert np.array_equal(mask > 0, expected)

        one, two = probability(exported, image), probability(exact, image)
        assert np.abs(one - two).max() < 1e-4
        assert ((one >= exported.threshold) != (two >= exact.threshold)).mean() < 0.01
    assert 0 < np.mean(shares) < 1
