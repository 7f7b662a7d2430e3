"""models and history: list the registered versions and the champions, as a table or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skyseg.reports.tables import text_table
from skyseg.tracking import connection, history, registry


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
        if versions:
            history.finish(model)
            versions = registry.versions(model)
    if as_json:
        print(json.dumps(versions, indent=2))
    elif not versions:
        print(f"no version of {model} in {store} yet; 'dvc repro' registers one")
    else:
        rows = [[_text(name, value) for name, value in row.items()] for row in versions]
        print(text_table([list(versions[0]), *rows]))


def list_champions(root: Path, model: str, uri: str | None, as_json: bool) -> None:
    """Print the history of a registered model's champions, the oldest first.

    Args, Raises: as for ``list_models``.
    """
    store = connection.connect(root, uri)
    with connection.store_errors():
        entries = history.current(model)[0] if registry.versions(model) else []
    rows = [entry.model_dump() for entry in entries]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(f"{model} in {store}: no version has been the champion yet; 'make promote' makes one")
        return
    header = ["when", "who", "what", "version", "instead of", "why"]
    table = [
        [
            entry.at[:16].replace("T", " "),
            entry.by,
            entry.action + (", forced" if entry.forced else ""),
            entry.version,
            entry.replaces or "-",
            entry.reason + (f"; forced: {entry.forced}" if entry.forced else ""),
        ]
        for entry in entries
    ]
    print(text_table([header, *table]))


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
