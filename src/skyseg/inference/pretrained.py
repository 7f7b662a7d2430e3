"""The pretrained weights, and when to use them. Without PyTorch and MLflow, which are slow."""

from __future__ import annotations

import sys
from pathlib import Path

from skyseg.errors import UserError
from skyseg.params import load_params
from skyseg.provenance import PACKAGE
from skyseg.tracking.store import database, store_uri

PRETRAINED = Path("models/start.safetensors")
PRETRAINED_NAME = "pretrained"


def model_name(root: Path = Path()) -> str:
    """Name of the registered model: the workspace's ``registry.model``; outside one, ``skyseg``."""
    settings = root / "params.yaml"
    return load_params(settings).registry.model if settings.is_file() else "skyseg"


def default_name(root: Path = Path()) -> str:
    """The model to use if the user names none: the champion."""
    return f"models:/{model_name(root)}@champion"


def pretrained_weights(root: Path = Path()) -> Path:
    """The pretrained weights: the workspace's own, or else those that came with the package. The
    file may be missing."""
    packaged = PACKAGE / "pretrained" / PRETRAINED.name
    own = root / PRETRAINED
    return packaged if packaged.is_file() and not own.is_file() else own


def check_pretrained(root: Path) -> Path:
    """``pretrained_weights``, with their model config.

    Raises:
        UserError: they are missing.
    """
    weights = pretrained_weights(root)
    for needed in (weights, weights.with_suffix(".json")):
        if not needed.is_file():
            raise UserError(
                f"no model yet: nothing is registered here, and {needed} is missing; "
                f"fetch it with 'dvc pull {PRETRAINED}.dvc', train with 'make repro' and "
                "'make promote', or name a model with --model"
            )
    return weights


def warn_of_pretrained(root: Path) -> None:
    """Say on stderr that the pretrained weights are used, and why."""
    print(
        f"WARNING: no model is registered here; using the pretrained weights "
        f"{pretrained_weights(root)}, which find sky and were trained on rendered scenes; "
        "'make repro promote' in a clone of the repository trains and registers your own",
        file=sys.stderr,
        flush=True,
    )


def anything_registered(root: Path, name: str) -> bool:
    """Whether the registry has any version of a model. Does not create a store."""
    file = database(store_uri(root))
    if file is not None and not file.is_file():
        return False
    from skyseg.tracking import connection, registry

    connection.connect(root)
    with connection.store_errors():
        return bool(registry.versions(name.removeprefix("models:/").removesuffix("@champion")))
