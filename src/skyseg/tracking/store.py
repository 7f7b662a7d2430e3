"""Finds this repository's MLflow store. Does not import mlflow, which takes seconds."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from dotenv import load_dotenv

from skyseg.errors import UserError

SQLITE = "sqlite:///"
ARTIFACTS, UNSENT = "mlartifacts", "mlunsent"
LOCK_SECONDS = 5  # how long to wait for another program that writes to the database

# The columns of MLflow's database that contain absolute paths of artifacts.
PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


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
    path = uri.removeprefix(SQLITE)
    if path == uri or path.startswith("/"):
        return uri
    # SQLAlchemy takes %20 for a space, and ? for the beginning of options.
    return f"{SQLITE}{str(repository).replace('%', '%25').replace('?', '%3F')}/{path}"


def database(uri: str) -> Path | None:
    """The file of a sqlite store. None for a server."""
    if not uri.startswith(SQLITE):
        return None
    return Path(unquote(uri.removeprefix(SQLITE).split("?")[0]))


def artifact_folder(uri: str) -> Path | None:
    """The folder of a sqlite store's artifacts, next to the database. None for a server."""
    path = database(uri)
    return path.parent / ARTIFACTS if path else None


def as_location(path: Path) -> str:
    """A folder's path as MLflow takes it: as it is, or as a URI if it has characters, such as #,
    that have a meaning in URIs."""
    return str(path) if quote(str(path)) == str(path) else path.as_uri()


def former_homes(uri: str) -> list[Path]:
    """The folders in which this sqlite store was, if it was moved or copied since; else empty.

    MLflow stores artifacts' paths as absolute ones, and would write new artifacts there. An
    experiment whose artifacts somebody keeps elsewhere on purpose is none of these: its folder
    exists, and neither a database there nor a folder here shows where the store has been.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    file = database(uri)
    if file is None or not file.is_file():
        return []
    here = file.parent.resolve()
    found = set()
    with closing(sqlite3.connect(file, timeout=LOCK_SECONDS)) as db:
        for (value,) in db.execute("SELECT artifact_location FROM experiments").fetchall():
            folder = _local(value)
            if folder is None or folder.name != ARTIFACTS or folder.parent.resolve() == here:
                continue
            copied = (here / ARTIFACTS).exists() or (folder.parent / file.name).exists()
            if copied or not os.path.isdir(folder):  # noqa: PTH112 (False where it may not look)
                found.add(folder.parent)
    return sorted(found)


def check_home(uri: str) -> None:
    """Check that a sqlite store is where its artifacts' paths say.

    Raises:
        UserError: the store was moved or copied.
        sqlite3.Error: the database cannot be read.
    """
    for home in former_homes(uri):
        raise UserError(
            f"{database(uri)}: was moved or copied here from {home}, and would write new models "
            "into that folder; run 'skyseg doctor --fix' once, which changes the paths in it "
            "(after making a backup)"
        )


def bring_home(uri: str) -> tuple[Path, list[Path]]:
    """Change the artifacts' paths of a store that was moved or copied, in one transaction.

    Args:
        uri: of a sqlite store with ``former_homes``.

    Returns:
        The backup copy of the database, and the folders of artifacts that are not at the new paths.

    Raises:
        sqlite3.Error: the database cannot be read or written; nothing is changed then.
    """
    file = database(uri)
    assert file is not None
    homes, here = former_homes(uri), file.parent.resolve()
    backup = file.with_name(f"{file.name}.backup-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    missing = set()
    with closing(sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)) as db:
        # Begins before the backup, so that no other process can write between the two.
        db.execute("BEGIN IMMEDIATE")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as copy:
            source.backup(copy)
        for table, column in PATH_COLUMNS:
            for (value,) in db.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall():
                path = _local(value)
                home = next((home for home in homes if path and path.is_relative_to(home)), None)
                if path is None or home is None:
                    continue
                moved = here / path.relative_to(home)
                db.execute(
                    f"UPDATE {table} SET {column} = ? WHERE {column} = ?",
                    (as_location(moved), value),
                )
                if table != "experiments" and path.exists() and not moved.exists():
                    missing.add(path)
        db.execute("COMMIT")
    return backup, sorted(missing)


def _local(location: str | None) -> Path | None:
    """The path of a location on this machine's disks; None for others and for models:/ URIs."""
    if location and location.startswith("file:"):
        return Path(unquote(urlsplit(location).path))
    return Path(location) if location and location.startswith("/") else None
