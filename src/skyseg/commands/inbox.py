"""inbox: list the corrected masks, and accept them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skyseg.app import inbox
from skyseg.errors import UserError
from skyseg.params import DataParams
from skyseg.reports.tables import text_table


def list_inbox(root: Path) -> None:
    """Print the corrected masks that have not been accepted yet.

    Raises:
        UserError: see ``inbox.entries``.
    """
    waiting = inbox.entries(root)
    if not waiting:
        print(f"{inbox.FOLDER}/ is empty; 'skyseg app' saves corrected masks there")
        return
    rows = [["name", "model", "version", "corrected", "created"]]
    for entry in waiting:
        known = entry.provenance
        created = str(known.get("created") or "-")[:16].replace("T", " ")
        model, version = (str(known.get(key) or "-") for key in ("model", "version"))
        rows.append([entry.name, model, version, _percent(known), created])
    print(text_table(rows))


def accept_inbox(root: Path, names: list[str], everything: bool, data: DataParams) -> None:
    """Move corrected masks and their photographs into ``data/``, and print their new paths.

    Args:
        root: the workspace.
        names: names of the entries.
        everything: accept all entries instead.
        data: how the data set is laid out.

    Raises:
        UserError: both or neither of names and everything are given; see also ``inbox.accept``.
    """
    if bool(names) == everything:
        raise UserError("name the entries to accept, or use --all; 'skyseg inbox list' shows them")
    chosen = names or [entry.name for entry in inbox.entries(root)]
    if not chosen:
        print(f"{inbox.FOLDER}/ is empty")
        return
    for photo in inbox.accept(root, chosen, data):
        print(photo)
    print("Next: dvc add data && dvc repro")


def _percent(known: dict[str, Any]) -> str:
    pixels = known.get("pixels")
    return f"{100 * known.get('corrected', 0) / pixels:.1f} %" if pixels else "-"
