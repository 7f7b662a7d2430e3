"""Finds this repository's MLflow store. Does not import mlflow, which takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import load_dotenv

SQLITE = "sqlite:///"


def repository_root(start: Path) -> Path:
    """The main repository that a folder belongs to.

    ``dvc exp run --temp`` works in ``<repository>/.dvc/tmp/exps/standalone/<temporary>`` and
    ``--queue`` in ``<repository>/.dvc/tmp/exps/<temporary>``. Both are clones that are deleted
    afterwards; the result is ``<repository>`` for both.
    """
    start = start.resolve()
    for inner in start.parents:
        if inner.parts[-3:] == (".dvc", "tmp", "exps"):
            return repository_root(inner.parents[2])
    return next((folder for folder in (start, *start.parents) if (folder / ".dvc").is_dir()), start)


def store_uri(root: Path, uri: str | None = None) -> str:
    """The tracking URI: the one given, else ``MLFLOW_TRACKING_URI`` from the environment or from
    ``.env`` in the main repository, else ``mlflow.db`` there.

    A relative sqlite path is relative to the main repository. Relative to the working folder, it
    would be a different store in each of DVC's temporary clones.
    """
    repository = repository_root(root)
    load_dotenv(repository / ".env", override=False)
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    if uri.startswith(SQLITE):
        return f"{SQLITE}{repository / uri.removeprefix(SQLITE)}"
    return uri


def artifact_folder(uri: str) -> Path | None:
    """The folder of a sqlite store's artifacts, next to the database. None for a server."""
    if not uri.startswith(SQLITE):
        return None
    return Path(uri.removeprefix(SQLITE).split("?")[0]).parent / "mlartifacts"
