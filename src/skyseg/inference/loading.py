"""Open any model by its name: registered, a checkpoint, published weights or ONNX."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from skyseg.errors import UserError
from skyseg.files import open_regular, sha256
from skyseg.inference.model import Model
from skyseg.inference.onnx import OnnxPredictor, has_config
from skyseg.inference.predictor import CheckpointPredictor, ConfiguredPredictor, Predictor
from skyseg.inference.pretrained import (
    PRETRAINED_NAME,
    anything_registered,
    check_pretrained,
    default_name,
    warn_of_pretrained,
)
from skyseg.inference.published import RECIPES, SIZE, PublishedPredictor
from skyseg.model.checkpoint import config_path


def load_model(
    name: str, device: str = "auto", root: Path = Path(), recipe: str = "skyseg"
) -> Model:
    """Open a model.

    Args:
        name: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; a checkpoint (.safetensors with
            its model config next to it); published weights (.pth, .pt, or .safetensors without a
            model config); an .onnx file, written by ``skyseg export`` or of the published network;
            or ``pretrained``.
        device: auto, cuda or cpu; .onnx files run on the CPU.
        root: the workspace, with its registry. If nothing is registered yet and ``name`` is the
            champion, its pretrained weights are used, with a warning on stderr.
        recipe: preprocessing for a model without a model config; a row of ``published.RECIPES``.

    Raises:
        UserError: there is no such model, version, alias, file or recipe; the file is damaged or of
            another kind; the registry does not respond; or CUDA is requested but not available.
    """
    if recipe not in RECIPES:
        raise UserError(f"--preprocess: unknown {recipe!r}; choose {' or '.join(RECIPES)}")
    if name == PRETRAINED_NAME:
        return _open_pretrained(name, root, device)
    if not name.startswith("models:"):
        return _open_file(name, Path(name), device, recipe)
    if name == default_name(root) and not anything_registered(root, name):
        warn_of_pretrained(root)
        return _open_pretrained(name, root, device)
    # Imported only here, because it takes three seconds.
    from skyseg.tracking import connection, registry

    connection.connect(root)
    model, version = registry.resolve(name)
    # By version, because an alias may have moved in the meantime.
    weights = registry.download_weights(f"models:/{model}/{version}")
    predictor = CheckpointPredictor(weights, device)
    label = f"{model} version {version} ({predictor.config.fingerprint[:8]})"
    return Model(name, label, predictor, _megabytes(weights))


def _open_file(name: str, path: Path, device: str, recipe: str) -> Model:
    predictor: Predictor
    open_regular(path, "name a model file, or a registered model such as models:/NAME/1").close()
    if path.suffix == ".safetensors" and os.path.lexists(config_path(path)):
        predictor = CheckpointPredictor(path, device)
    elif path.suffix == ".onnx" and has_config(path):
        predictor = OnnxPredictor(path)
    else:
        predictor = PublishedPredictor(path, recipe, device)
    if path.suffix == ".onnx" and device == "cuda":
        raise UserError(f"{path}: .onnx files run on the CPU; choose device auto or cpu")
    if isinstance(predictor, ConfiguredPredictor):
        what = f"{predictor.config.variant}, {predictor.config.fingerprint[:8]}"
    else:
        what = f"published weights, {sha256(path)[:8]}"
        if path.suffix == ".safetensors":
            print(
                f"WARNING: {path}: no model config ({config_path(path).name}) next to it, so it is "
                f"run like published weights: at {SIZE} px, with threshold {predictor.threshold}",
                file=sys.stderr,
            )
    return Model(name, f"{path.name} ({what})", predictor, _megabytes(path))


def _open_pretrained(name: str, root: Path, device: str) -> Model:
    return _open_file(name, check_pretrained(root), device, "skyseg")


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6
