"""models: list the registered versions, as a table or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skyseg.reports.tables import text_table
from skyseg.tracking import connection, registry


def list_models(root: Path, model: str, uri: str | None, as_json: bool) -> None:
    """Print the versions of a registered model, newest first.

    Args:
        root: the workspace.
        model: name of the registered model.
        uri: a tracking server to ask instead of the workspace's own store.
        as_json: print JSON, for programs.

    Raises:
        UserError: the store does not respond.
    """
    store = connection.connect(root, uri)
    with connection.store_errors():
        versions = registry.versions(model)
    if as_json:
        print(json.dumps(versions, indent=2))
    elif not versions:
        print(f"no version of {model} in {store} yet; 'dvc repro' registers one")
    else:
        rows = [[_text(name, value) for name, value in row.items()] for row in versions]
        print(text_table([list(versions[0]), *rows]))


def _text(name: str, value: Any) -> str:
    if value is None or value == []:
        return "-"
    if name == "created":
        return value[:16].replace("T", " ")
    if name == "git_commit":
        return value[:8]
    if isinstance(value, list):
        return ",".join(value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)
