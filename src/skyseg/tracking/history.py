"""The history of a registered model's champions, and the aliases that follow from it.

The entries are params of one MLflow run in an experiment of its own. A param can be written once
only, by whoever is first, in every kind of store. So of two promotions at the same time only one
becomes entry n; the other finds out, and decides again. The aliases are moved after that: if the
process is killed in between, the next command finishes it.

Functions work on the store that ``connection.connect`` was last called for.
"""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from skyseg.documents import Document, as_document, parse_json
from skyseg.errors import UserError, printable
from skyseg.tracking import registry
from skyseg.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS

APPLIED = "applied"  # tag of the run: number of the last entry that the aliases follow
MOST_REASON = 1000  # characters; MLflow cuts a param after 6000


class Entry(Document):
    """One change of the champion."""

    at: str
    """When it was decided, ISO 8601, UTC."""
    by: str
    """User and machine."""
    action: Literal["promoted", "rolled back", "found"]
    """found: the alias had been moved by other means, before this history began or later."""
    version: str
    """The champion from then on."""
    replaces: str | None
    """The champion until then."""
    reason: str
    forced: str | None = None
    """Why it was promoted although the comparison refused it."""


def read(model: str) -> list[Entry]:
    """All entries, the oldest first.

    Raises:
        UserError: the run that holds them was deleted, or an entry is damaged.
    """
    return _entries(_run(model))


def append(model: str, known: list[Entry], entry: Entry) -> bool:
    """Add an entry after the known ones.

    Returns:
        Whether it was added. If not, someone else has added one since ``known`` was read.
    """
    run_id = _run(model).info.run_id
    try:
        MlflowClient().log_param(run_id, _key(len(known) + 1), entry.model_dump_json())
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            return False
        raise
    return True


def finish(model: str) -> Entry | None:
    """Move the aliases as the last entry says, unless that has been done.

    Returns:
        The entry, if something was left to do.
    """
    client, finished = MlflowClient(), None
    while True:  # until no other process has added an entry in the meantime
        run = _run(model)
        entries = _entries(run)
        if not entries or run.data.tags.get(APPLIED) == _key(len(entries)):
            return finished
        finished = entries[-1]
        _apply(model, finished)
        client.set_tag(run.info.run_id, APPLIED, _key(len(entries)))


def current(model: str) -> tuple[list[Entry], str | None]:
    """Finish what was interrupted; then the entries, and the version that is the champion.

    If the alias was moved by other means, such as in MLflow's UI, that becomes an entry: the alias
    is what is in use.
    """
    finish(model)
    entries, aliases = read(model), registry.aliases(model)
    champion = aliases.get(CHAMPION)
    last = entries[-1].version if entries else None
    if champion is None or champion == last:
        return entries, champion
    # Champions from before there was a history: the previous one, too, so as to roll back to it.
    for version in (aliases.get(PREVIOUS), champion) if last is None else (champion,):
        if version is None or version == last:
            continue
        reason = registry.tags(model, version).get("promotion.reason", "")
        entry = new_entry("found", version, last, reason or "the alias was set by other means")
        if not append(model, entries, entry):
            return current(model)
        entries.append(entry)
        last = version
    finish(model)
    return entries, champion


def new_entry(
    action: Literal["promoted", "rolled back", "found"],
    version: str,
    replaces: str | None,
    reason: str,
    forced: str | None = None,
) -> Entry:
    """An entry of now, by this user."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # in a container, a user may have no name
        user = "unknown"
    return Entry(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        by=f"{user}@{socket.gethostname()}",
        action=action,
        version=version,
        replaces=replaces,
        reason=printable(reason)[:MOST_REASON],  # others are escaped, and take six characters each
        forced=forced,
    )


def earlier(entries: list[Entry]) -> list[str]:
    """The champions that can be rolled back to, one step after the other; the nearest is last.

    A rollback takes back the promotions after the version it goes to.
    """
    stack: list[str] = []
    for entry in entries:
        if entry.action == "rolled back" and entry.version in stack:
            del stack[stack.index(entry.version) :]
        stack.append(entry.version)
    return stack[:-1]


def _run(model: str) -> Run:
    run = MlflowClient().get_run(registry.history_run(model))
    if run.info.lifecycle_stage != "active":
        run_id = run.info.run_id
        raise UserError(
            f"the history of {model}'s champions, MLflow run {run_id}, was deleted; restore it "
            f"with 'mlflow runs restore --run-id {run_id}'"
        )
    return run


def _entries(run: Run) -> list[Entry]:
    found: list[Entry] = []
    advice = "delete that run: then a new history begins"
    while (text := run.data.params.get(_key(len(found) + 1))) is not None:
        name = f"MLflow run {run.info.run_id}: param {_key(len(found) + 1)}"
        found.append(as_document(parse_json(text, name, advice), Entry, name, advice))
    return found


def _key(number: int) -> str:
    """Name of the param: MLflow sorts params as text."""
    return f"{number:05d}"


def _apply(model: str, entry: Entry) -> None:
    """Move the aliases as an entry says. Can be repeated.

    ``previous`` is set first, so that the former champion can be found at any time.
    """
    if entry.action == "found":  # the aliases are there already
        return
    client, before = MlflowClient(), registry.aliases(model)
    known = registry.numbers(model)
    wanted = {PREVIOUS: entry.replaces, CHAMPION: entry.version}
    for alias, version in wanted.items():
        if version in known and before.get(alias) != version:
            client.set_registered_model_alias(model, alias, version)
    if before.get(CHALLENGER) == entry.version:
        client.delete_registered_model_alias(model, CHALLENGER)
    if entry.version in known:
        registry.set_tags(
            model,
            entry.version,
            {
                "promoted_at": entry.at,
                "promoted_by": entry.by,
                "promotion.reason": entry.reason,
                "promotion.forced": entry.forced,
            },
        )
