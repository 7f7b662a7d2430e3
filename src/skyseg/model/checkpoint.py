"""Checkpoints: weights in safetensors, and a JSON model config with everything inference needs.

``best.safetensors`` and ``best.json`` belong together: the config has the SHA-256 of the weights.
The state that an interrupted training resumes from is one safetensors file. No pickle is written;
published ``.pth`` files are read with ``weights_only=True``.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from skyseg.errors import UserError
from skyseg.files import atomic_write, sha256, write_text
from skyseg.model.u2net import IMAGENET_MEAN, IMAGENET_STD, VARIANTS, build_model


class ModelConfig(BaseModel):
    """What a checkpoint is and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    variant: str
    """A row of ``VARIANTS``."""
    size: int
    """Side, in pixels, of the square the network sees."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from the RGB channels, which lie in 0..1."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Divides the RGB channels after the subtraction."""
    threshold: float = 0.5
    """A pixel is foreground if its probability is at least this; chosen on the validation split."""
    presence: float = 0.0
    """Confidence below which a photograph has no foreground at all; chosen on the validation split.
    """
    refine: str = "none"
    """How the map is resized to the photograph's size; a row of ``REFINEMENTS``."""
    fingerprint: str = ""
    """SHA-256 of the weights file."""
    epoch: int | None = None
    """Epoch that the weights are from, counted from 1."""
    val: dict[str, float] = {}
    """Validation scores of that epoch, at training size."""
    data: dict[str, Any] = {}
    """The data set: fingerprint, DVC's md5, images per split."""
    params: dict[str, Any] = {}
    """The run's settings, under DVC's names."""
    start: str | None = None
    """SHA-256 of the weights the training started from; null for random ones."""
    git_commit: str | None = None
    """Commit of the code; ends in -dirty if the working tree differed from it."""
    run: str | None = None
    """MLflow run of the training; null if it was not tracked."""
    created: str | None = None
    """When the weights were saved, ISO 8601, UTC."""


def config_path(weights: Path) -> Path:
    """Path of the model config that belongs to a weights file."""
    return weights.with_suffix(".json")


def save_checkpoint(weights: Path, state: dict[str, Tensor], config: ModelConfig) -> ModelConfig:
    """Write weights and config; the previous pair stays until the new weights are complete.

    Returns:
        The config with the fingerprint of the weights filled in.
    """
    with atomic_write(weights) as temporary:
        _write(temporary, state)
        config = config.model_copy(update={"fingerprint": sha256(temporary)})
    write_text(config_path(weights), config.model_dump_json(indent=2) + "\n")
    return config


def load_config(weights: Path) -> ModelConfig:
    """Read the config of a weights file, and check that the two belong together.

    Raises:
        UserError: the weights or the config are missing, the config is not valid, or it describes
            other weights.
    """
    path = config_path(weights)
    for needed in (weights, path):
        if not needed.is_file():
            raise UserError(
                f"{needed}: no such file; train a model with 'dvc repro', or fetch one "
                "with 'dvc pull'"
            )
    try:
        config = ModelConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a model config: {' '.join(str(error).split())}") from None
    if sha256(weights) != config.fingerprint:
        raise UserError(
            f"{weights}: not the weights that {path} describes (SHA-256 differs); "
            "restore both with 'dvc checkout'"
        )
    return config


def load_checkpoint(weights: Path) -> tuple[ModelConfig, nn.Module]:
    """The config and the network with its weights, in evaluation mode, on the CPU.

    Raises:
        UserError: see ``load_config`` and ``load_into``.
    """
    config = load_config(weights)
    if config.variant not in VARIANTS:
        raise UserError(
            f"{config_path(weights)}: unknown variant {config.variant!r}; "
            f"known: {', '.join(VARIANTS)}"
        )
    model = build_model(config.variant)
    load_into(model, read_weights(weights), str(weights))
    return config, model.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from a ``.safetensors`` file or a published ``.pth`` file.

    Raises:
        UserError: the file does not exist, has another suffix, or is not a readable state dict.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a .safetensors or .pth file")
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise UserError(
            f"{path}: unknown kind of file; give a .safetensors or .pth file (for benchmarks, "
            ".onnx is possible too)"
        )
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # both readers can raise almost any exception on damaged files
        raise UserError(
            f"{path}: not a readable weights file: {str(error).splitlines()[0]}"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: contains {type(state).__name__}, not a state dict of tensors")
    return state


def load_into(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict whose names and shapes must all match the network's.

    Raises:
        UserError: they do not match; names the variant that they do match, if there is one.
    """
    problem = _mismatch(model, state)
    if problem is None:
        model.load_state_dict(state)
        return
    variant = variant_of(state)
    reason = (
        f"they are weights of {variant}: set model.variant to {variant}, or use other weights"
        if variant
        else problem
    )
    raise UserError(f"{source}: the weights do not fit this network; {reason}")


def variant_of(state: dict[str, Tensor]) -> str | None:
    """The row of ``VARIANTS`` whose names and shapes a state dict has; None if there is none."""
    with torch.device("meta"):  # shapes only, no memory
        return next(
            (name for name in VARIANTS if _mismatch(build_model(name), state) is None), None
        )


def save_state(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """Write the state that training resumes from: tensors, and JSON notes in the file's header."""
    with atomic_write(path) as temporary:
        _write(temporary, tensors, {"notes": json.dumps(notes)})


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what ``save_state`` wrote; None if the file does not exist or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads(file.metadata()["notes"])
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        return None


def _write(path: Path, tensors: dict[str, Tensor], notes: dict[str, str] | None = None) -> None:
    """Write a safetensors file; a full disk raises an OSError, as it does everywhere else."""
    try:
        save_file(
            {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()},
            path,
            notes,
        )
    except SafetensorError as error:
        if "os error 28" in str(error):
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from None
        raise


def _mismatch(model: nn.Module, state: dict[str, Tensor]) -> str | None:
    """The first difference in names or shapes between a network and a state dict, or None."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in state:
            return f"{name} is missing"
        if tuple(state[name].shape) != shape:
            return f"{name} has the shape {tuple(state[name].shape)}, expected {shape}"
    extra = state.keys() - expected.keys()
    return f"{min(extra)} is not part of the network" if extra else None
