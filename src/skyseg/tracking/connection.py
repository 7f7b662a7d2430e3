"""Connects to the MLflow store, and reports a store that does not answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import RequestException

from skyseg.errors import UserError
from skyseg.tracking.store import store_uri


def connect(root: Path, uri: str | None = None) -> str:
    """Set the store for tracking and registry, and check that it answers.

    Args:
        root: the workspace.
        uri: a store to use instead of the workspace's own; see ``skyseg.tracking.store.store_uri``.

    Returns:
        The store's URI.

    Raises:
        UserError: the store does not answer within about ten seconds, or MLflow does not support
            this kind of URI.
    """
    uri = store_uri(root, uri)
    # MLflow waits for minutes by default. These limits hold for the whole process, unless the user
    # has set others.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with _preserve_environment("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        # Both also set the environment variable, which the next call of connect would take for the
        # user's own setting.
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
    try:
        with short_timeouts():
            MlflowClient().search_experiments(max_results=1)
    except (MlflowException, RequestException, OSError) as error:
        raise _unreachable(uri, error) from None
    return uri


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the errors of a store that stops answering into a UserError; other errors pass."""
    try:
        yield
    except RequestException as error:
        raise _unreachable(mlflow.get_tracking_uri(), error) from None
    except MlflowException as error:
        if "API request to" in str(error) or error.error_code == "TEMPORARILY_UNAVAILABLE":
            raise _unreachable(mlflow.get_tracking_uri(), error) from None
        raise


@contextmanager
def short_timeouts(wanted: bool = True) -> Iterator[None]:
    """Within the block, send each request only once, with a timeout of 8 seconds.

    Args:
        wanted: False changes nothing.
    """
    names = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
    with _preserve_environment(*names):
        if wanted:
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
    fix = (
        "start that server, or unset MLFLOW_TRACKING_URI to use the store in this repository"
        if uri.startswith("http")
        else "check MLFLOW_TRACKING_URI"
    )
    return UserError(
        f"MLflow at {uri} does not answer ({reason(error)}): {fix}, and run the same "
        "command again. Nothing is lost: trained models stay in models/"
    )


def reason(error: Exception) -> str:
    """The cause of an error whose text may contain a whole chain of errors."""
    text = " ".join(str(error).split())
    for known in (
        "Connection refused",
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
