"""inbox: list the corrected masks, and accept them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skyseg.app import inbox
from skyseg.errors import UserError, printable
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
    rows = [["name", "model", "version", "corrected", "created", "replaces the mask of"]]
    for entry in waiting:
        known = entry.provenance
        created = str(known.get("created") or "-")[:16].replace("T", " ")
        model, version, id = (
            printable(str(known.get(key) or "-")) for key in ("model", "version", "replaces")
        )
        rows.append([entry.name, model, version, _percent(known), created, id])
    print(text_table(rows))


def accept_inbox(
    root: Path, names: list[str], everything: bool, data: DataParams, replace: bool = False
) -> None:
    """Move corrected masks and their photographs into ``data/``, and print their new paths.

    Args:
        root: the workspace.
        names: names of the entries.
        everything: accept all entries instead.
        data: how the data set is laid out.
        replace: an entry whose photograph is in the data set replaces the mask there.

    Raises:
        UserError: both or neither of names and everything are given; see also ``inbox.accept``.
    """
    if bool(names) == everything:
        raise UserError("name the entries to accept, or use --all; 'skyseg inbox list' shows them")
    chosen = names or [entry.name for entry in inbox.entries(root)]
    if not chosen:
        print(f"{inbox.FOLDER}/ is empty")
        return
    for path, old in inbox.accept(root, chosen, data, replace):
        print(printable(f"{path}: replaced; the old one is in {old}/" if old else str(path)))
    print("Next: dvc add data && dvc repro")


def _percent(known: dict[str, Any]) -> str:
    pixels, corrected = known.get("pixels"), known.get("corrected")
    if not isinstance(pixels, int) or not isinstance(corrected, int) or not pixels:
        return "-"
    return f"{100 * corrected / pixels:.1f} %"
