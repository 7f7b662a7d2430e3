"""Connects to the MLflow store, and reports a store that does not answer."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from skyseg.errors import UserError
from skyseg.tracking import store
from skyseg.tracking.store import SQLITE, check_home, database, store_uri

# What MLflow raises if a store does not answer. Some of SQLAlchemy's errors pass through it.
FAILURES = (MlflowException, RequestException, SQLAlchemyError, sqlite3.Error, OSError)


def connect(root: Path, uri: str | None = None) -> str:
    """Set the store for tracking and registry, and check that it answers.

    Args:
        root: the workspace.
        uri: a store to use instead of the workspace's own; see ``skyseg.tracking.store.store_uri``.

    Returns:
        The store's URI.

    Raises:
        UserError: the store does not answer within about ten seconds, MLflow does not support
            this kind of URI, or a sqlite store was moved or copied: see ``store.check_home``.
    """
    uri = store_uri(root, uri)
    # MLflow waits for minutes by default. These limits hold for the whole process, unless the user
    # has set others.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # It logs the traceback of an error that it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with _preserve_environment("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        # Both also set the environment variable, which the next call of connect would take for the
        # user's own setting.
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
    try:
        _check_database(uri)
        with short_timeouts():
            MlflowClient().search_experiments(max_results=1)
        check_home(uri)
    except FAILURES as error:
        raise _unreachable(uri, error) from None
    finally:
        _remove_stray_folder(uri)
    return uri


def _check_database(uri: str) -> None:
    """Open and read a sqlite store, because MLflow tries that for minutes if it fails.

    Raises:
        OSError, sqlite3.Error: it cannot be created or read, or is locked for seconds.
    """
    file = database(uri)
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=store.LOCK_SECONDS)) as db:
        db.execute("SELECT COUNT(*) FROM sqlite_master")


def _remove_stray_folder(uri: str) -> None:
    """Remove the empty folder that MLflow makes where a path contains a % or a ?, which are %25
    and %3F in the URI."""
    file, written = database(uri), Path(uri.removeprefix(SQLITE).split("?")[0])
    if file is not None and file != written:
        with suppress(OSError):  # it is not empty
            os.removedirs(written.parent)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the errors of a store that stops answering into a UserError; other errors pass."""
    try:
        yield
    except (RequestException, SQLAlchemyError) as error:
        raise _unreachable(mlflow.get_tracking_uri(), error) from None
    except MlflowException as error:
        if "API request to" in str(error) or error.error_code == "TEMPORARILY_UNAVAILABLE":
            raise _unreachable(mlflow.get_tracking_uri(), error) from None
        raise


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Within the block, send each request only once, with a timeout of 8 seconds."""
    names = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
    with _preserve_environment(*names):
        os.environ |= dict(zip(names, ("0", "8"), strict=True))
        yield


@contextmanager
def _preserve_environment(*names: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _unreachable(uri: str, error: Exception) -> UserError:
    if uri.startswith("http"):
        fix = "start that server, or unset MLFLOW_TRACKING_URI to use the store in this repository"
    elif "locked" in reason(error):
        fix = "end the program that is writing to it"
    else:
        fix = "'skyseg doctor' says more; check MLFLOW_TRACKING_URI"
    return UserError(
        f"MLflow at {uri} does not answer ({reason(error)}): {fix}, and run the same "
        "command again. Nothing is lost: trained models stay in models/"
    )


def reason(error: Exception) -> str:
    """The cause of an error whose text may contain a whole chain of errors."""
    text = " ".join(str(error).split())
    for known in (
        "Connection refused",
        "Connection aborted",
        "timed out",
        "Name or service not known",
        "Temporary failure in name resolution",
        "unable to open database file",
        "database is locked",
        "attempt to write a readonly database",
    ):
        if known.lower() in text.lower():
            return known
    return text[:160]
