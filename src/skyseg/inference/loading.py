"""Any model by name: registered, a checkpoint, published weights, ONNX; each used the same way."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyseg.errors import UserError
from skyseg.files import sha256
from skyseg.inference.predictor import Predictor
from skyseg.inference.published import RECIPES, SIZE, ForeignPredictor
from skyseg.model.checkpoint import card_path
from skyseg.params import load_params
from skyseg.tracking.store import SQLITE, store_uri

SHIPPED = Path("models/start.safetensors")


class Steps(Protocol):
    """A model as its steps; see ``skyseg.inference.predictor.Predictor``, which is one."""

    def shrink(self, image: NDArray[np.uint8]) -> Any:
        """uint8 [H, W, 3] to what ``logits`` takes, small. Any thread may call it."""

    def logits(self, shrunk: Sequence[Any], /) -> Tensor:
        """The network's maps, float32 [N, size, size]. One thread at a time."""

    def finish(self, logits: Tensor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A map of ``logits`` to float32 [H, W] in 0..1. Any thread may call it."""

    def probability(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """All of them for one photograph."""

    @property
    def threshold(self) -> float:
        """Foreground is a probability at or above this."""

    @property
    def parameters(self) -> int:
        """How many numbers the network has."""


def one_thread() -> None:
    """What each thread that calls ``finish`` begins with: torch's own threads under it would take
    the cores from the network's."""
    torch.set_num_threads(1)


def champion(root: Path = Path()) -> str:
    """The model to use where none is named: the champion of the workspace's ``registry.model``, or
    of ``skyseg`` outside any workspace."""
    settings = root / "params.yaml"
    name = load_params(settings).registry.model if settings.is_file() else "skyseg"
    return f"models:/{name}@champion"


class Opened(NamedTuple):
    name: str
    """As the user wrote it."""
    label: str
    """What it turned out to be, 'skyseg version 3 (1f0c9a77)': equal for equal weights alone."""
    steps: Steps
    megabytes: float
    """Size of the file."""

    def probability(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Foreground probability of each pixel: uint8 [H, W, 3] to float32 [H, W] in 0..1."""
        return self.steps.probability(image)

    @property
    def threshold(self) -> float:
        """Foreground is a probability at or above this."""
        return self.steps.threshold


def open_model(name: str, root: Path = Path(), recipe: str = "skyseg") -> Opened:
    """Load a model.

    Args:
        name: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; a checkpoint (.safetensors with
            its card beside it); published weights (.pth, .pt, or .safetensors without a card); an
            .onnx file, ours or the published network.
        root: the workspace: its registry, and its shipped weights where ``name`` is its
            ``champion`` and nothing is registered yet, which is said on stderr.
        recipe: how a model without a card sees a photograph; a row of ``foreign.RECIPES``.

    Raises:
        UserError: no such model, version, alias or file; a file of another kind, or damaged; the
            registry does not answer.
    """
    if recipe not in RECIPES:
        raise UserError(f"--preprocess: unknown {recipe!r}; choose {' or '.join(RECIPES)}")
    if not name.startswith("models:"):
        return _open_file(name, Path(name), recipe)
    if name == champion(root) and not _anything_registered(root, name):
        return _open_shipped(name, root)
    # Three seconds, for those who want the registry.
    from skyseg.tracking import connection, registry

    connection.connect(root)
    model, version = registry.resolve(name)
    weights = registry.download_weights(f"models:/{model}/{version}")  # an alias may move meanwhile
    ours = Predictor(weights)
    label = f"{model} version {version} ({ours.card.fingerprint[:8]})"
    return Opened(name, label, ours, _megabytes(weights))


def _open_file(name: str, path: Path, recipe: str) -> Opened:
    if path.suffix == ".safetensors" and card_path(path).is_file():
        ours = Predictor(path)
        label = f"{path.name} ({ours.card.variant}, {ours.card.fingerprint[:8]})"
        return Opened(name, label, ours, _megabytes(path))
    if path.suffix == ".onnx" and path.is_file():
        from skyseg.inference.onnx import OnnxPredictor, has_card

        if has_card(path):
            exported = OnnxPredictor(path)
            label = f"{path.name} ({exported.card.variant}, {exported.card.fingerprint[:8]})"
            return Opened(name, label, exported, _megabytes(path))
    other = ForeignPredictor(path, recipe)
    if path.suffix == ".safetensors":
        print(
            f"WARNING: {path}: no card beside it, so it is run as published weights are: at "
            f"{SIZE} px, threshold {ForeignPredictor.threshold}",
            file=sys.stderr,
        )
    label = f"{path.name} (published weights, {sha256(path)[:8]})"
    return Opened(name, label, other, _megabytes(path))


def _open_shipped(name: str, root: Path) -> Opened:
    weights = root / SHIPPED
    for needed in (weights, card_path(weights)):
        if not needed.is_file():
            raise UserError(
                f"no model yet: nothing is registered here, and {needed} is missing; "
                f"fetch it with 'dvc pull {SHIPPED}.dvc', train with 'make repro' and "
                "'make promote', or name a model with --model"
            )
    print(
        f"WARNING: nothing is registered in this workspace, so {weights} is used, the model "
        "that skyseg comes with, which has seen rendered scenes only; 'make repro promote' "
        "registers your own",
        file=sys.stderr,
        flush=True,
    )
    return _open_file(name, weights, "skyseg")


def _anything_registered(root: Path, name: str) -> bool:
    """Whether the registry has any version of a model; asking must not create a store."""
    uri = store_uri(root)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE).split("?")[0]).is_file():
        return False
    from skyseg.tracking import connection, registry

    connection.connect(root)
    with connection.store_errors():
        return bool(registry.versions(name.removeprefix("models:/").removesuffix("@champion")))


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6
