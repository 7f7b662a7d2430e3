"""Checkpoints: weights in safetensors, and a JSON model config with everything inference needs.

``best.safetensors`` and ``best.json`` belong together: the config has the SHA-256 of the weights.
The state that an interrupted training resumes from is one safetensors file. No pickle is written.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from skyseg.documents import Document, as_document, parse_json, read_json
from skyseg.errors import UserError
from skyseg.files import atomic_write, open_regular, sha256, write_text
from skyseg.model.u2net import IMAGENET_MEAN, IMAGENET_STD, VARIANTS, build_model
from skyseg.model.weights import load_into, read_weights

RESTORE = "restore it with 'dvc checkout', or train again with 'dvc repro'"
# Of the RGB channels, which lie in 0..1.
Mean = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(ge=0.001, le=100)]


class ModelConfig(Document):
    """What a checkpoint is and where it comes from."""

    variant: str
    """A row of ``VARIANTS``."""
    size: int = Field(ge=1, le=2048)
    """Side, in pixels, of the square the network sees."""
    mean: tuple[Mean, Mean, Mean] = IMAGENET_MEAN
    """Subtracted from the RGB channels, which lie in 0..1."""
    std: tuple[Deviation, Deviation, Deviation] = IMAGENET_STD
    """Divides the RGB channels after the subtraction."""
    threshold: float = Field(0.5, gt=0, le=1)
    """A pixel is foreground if its probability is at least this; chosen on the validation split."""
    presence: float = Field(0.0, ge=0, le=1)
    """Confidence below which a photograph has no foreground at all; chosen on the validation split.
    """
    refine: str = "none"
    """How the map is resized to the photograph's size; a row of ``REFINEMENTS``."""
    fingerprint: str = ""
    """SHA-256 of the weights file."""
    epoch: int | None = Field(None, ge=0)
    """Epoch that the weights are from, counted from 1."""
    val: dict[str, float] = Field({})
    """Validation scores of that epoch, at training size."""
    data: dict[str, Any] = Field({})
    """The data set: fingerprint, DVC's md5, images per split."""
    params: dict[str, Any] = Field({})
    """The run's settings, under DVC's names."""
    start: str | None = None
    """SHA-256 of the weights the training started from; null for random ones."""
    git_commit: str | None = None
    """Commit of the code; ends in -dirty if the working tree differed from it."""
    run: str | None = None
    """MLflow run of the training; null if it was not tracked."""
    created: str | None = None
    """When the weights were saved, ISO 8601, UTC."""

    @field_validator("data")
    @classmethod
    def _check_data(cls, value: dict[str, Any]) -> dict[str, Any]:
        """What the registry and the reports use, if it is there."""
        if not all(
            isinstance(value.get(key, ""), str | None) for key in ("fingerprint", "dvc_md5")
        ):
            raise ValueError("fingerprint and dvc_md5 should be text")
        splits = value.get("splits", {})
        if not isinstance(splits, dict) or not all(map(_is_summary, splits.values())):
            raise ValueError("splits should have images (a number) and a fingerprint (text) each")
        return value


def _is_summary(split: Any) -> bool:
    return (
        isinstance(split, dict)
        and isinstance(split.get("fingerprint", ""), str)
        and isinstance(split.get("images"), int)
    )


def parse_config(text: str, name: str, advice: str) -> ModelConfig:
    """A model config from its JSON.

    Args:
        text: JSON.
        name: of the file it is from, for error messages.
        advice: what the user can do if it is not valid.

    Raises:
        UserError: it is not valid.
    """
    return as_document(parse_json(text, name, advice), ModelConfig, name, advice)


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
        missing = "train a model with 'dvc repro', or fetch one with 'dvc pull'"
        open_regular(needed, missing).close()
    config = as_document(
        read_json(path, RESTORE), ModelConfig, f"{path}: not a model config", RESTORE
    )
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


def save_state(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """Write the state that training resumes from: tensors, and JSON notes in the file's header."""
    with atomic_write(path) as temporary:
        _write(temporary, tensors, {"notes": json.dumps(notes)})


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what ``save_state`` wrote; None if there is no such file or it is damaged.

    Raises:
        UserError: it is no regular file, or may not be read.
    """
    if not os.path.lexists(path):
        return None
    open_regular(path).close()
    try:
        with safe_open(path, framework="pt") as file:
            notes = parse_json(file.metadata()["notes"], str(path), "remove it")
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, UserError):
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
