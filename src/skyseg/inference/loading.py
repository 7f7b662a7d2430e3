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
from skyseg.inference.published import RECIPES, SIZE, PublishedPredictor
from skyseg.model.checkpoint import config_path
from skyseg.params import load_params
from skyseg.tracking.store import database, store_uri

PRETRAINED = Path("models/start.safetensors")


def default_name(root: Path = Path()) -> str:
    """The model to use if the user names none: the champion of the workspace's ``registry.model``,
    or of ``skyseg`` outside a workspace."""
    settings = root / "params.yaml"
    name = load_params(settings).registry.model if settings.is_file() else "skyseg"
    return f"models:/{name}@champion"


def load_model(
    name: str, device: str = "auto", root: Path = Path(), recipe: str = "skyseg"
) -> Model:
    """Open a model.

    Args:
        name: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; a checkpoint (.safetensors with
            its model config next to it); published weights (.pth, .pt, or .safetensors without a
            model config); an .onnx file, written by ``skyseg export`` or of the published network.
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
    if not name.startswith("models:"):
        return _open_file(name, Path(name), device, recipe)
    if name == default_name(root) and not _anything_registered(root, name):
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
    weights = root / PRETRAINED
    for needed in (weights, config_path(weights)):
        if not needed.is_file():
            raise UserError(
                f"no model yet: nothing is registered here, and {needed} is missing; "
                f"fetch it with 'dvc pull {PRETRAINED}.dvc', train with 'make repro' and "
                "'make promote', or name a model with --model"
            )
    print(
        "WARNING: nothing is registered in this workspace; using the pretrained weights "
        f"{weights}, which were trained on rendered scenes only; 'make repro promote' trains and "
        "registers your own",
        file=sys.stderr,
        flush=True,
    )
    return _open_file(name, weights, device, "skyseg")


def _anything_registered(root: Path, name: str) -> bool:
    """Whether the registry has any version of a model. Does not create a store."""
    file = database(store_uri(root))
    if file is not None and not file.is_file():
        return False
    from skyseg.tracking import connection, registry

    connection.connect(root)
    with connection.store_errors():
        return bool(registry.versions(name.removeprefix("models:/").removesuffix("@champion")))


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6
