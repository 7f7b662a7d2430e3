"""inbox: list the corrected masks, and accept them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skyseg.app import inbox
from skyseg.data.sources import Source, list_sources
from skyseg.errors import UserError, printable
from skyseg.params import Params
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
    root: Path,
    names: list[str],
    everything: bool,
    params: Params,
    replace: bool = False,
    source: str | None = None,
) -> None:
    """Move corrected masks and their photographs into ``data/``, and print their new paths.

    Args:
        root: the workspace.
        names: names of the entries.
        everything: accept all entries instead.
        params: say how the data sets are laid out.
        replace: an entry whose photograph is in the data set replaces the mask there.
        source: name of the data set, if there are several; None: the one whose masks they replace.

    Raises:
        UserError: both or neither of names and everything are given, or it is unclear which data
            set is meant; see also ``inbox.accept``.
    """
    if bool(names) == everything:
        raise UserError("name the entries to accept, or use --all; 'skyseg inbox list' shows them")
    chosen = names or [entry.name for entry in inbox.entries(root)]
    if not chosen:
        print(f"{inbox.FOLDER}/ is empty")
        return
    target = _target(root, chosen, params, source)
    for path, old in inbox.accept(root, chosen, target, replace):
        print(printable(f"{path}: replaced; the old one is in {old}/" if old else str(path)))
    print("Next: dvc add data && dvc repro")


def _target(root: Path, chosen: list[str], params: Params, name: str | None) -> Source:
    """The data set into which entries go."""
    known = {source.name: source for source in list_sources(params, root)}
    listed = ", ".join(known)
    if "" in known:
        if name is not None:
            raise UserError(f"--source: {name!r}, but data.sources is not set; leave it out")
        return known[""]
    if name is None:
        ids = [inbox.replaces(entry) for entry in inbox.entries(root) if entry.name in chosen]
        owners = {id.split("/")[0] if id else None for id in ids}
        if None in owners or len(owners) > 1:
            raise UserError(f"--source: name the data set that these entries go into: {listed}")
        name = owners.pop() if owners else next(iter(known))
    if name not in known:
        raise UserError(f"--source: no data set is called {name!r}; there are {listed}")
    return known[name]


def _percent(known: dict[str, Any]) -> str:
    pixels, corrected = known.get("pixels"), known.get("corrected")
    if not isinstance(pixels, int) or not isinstance(corrected, int) or not pixels:
        return "-"
    return f"{100 * corrected / pixels:.1f} %"
