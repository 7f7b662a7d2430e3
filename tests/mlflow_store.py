"""Fixtures: a real sqlite store in a second's fraction, and a workspace with a tiny trained model.

A test module asks for them with ``pytest_plugins = ["mlflow_store"]``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from mlflow_tools import make_model
from skyseg.tracking import connection


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, for copying: creating one takes seconds."""
    folder = tmp_path_factory.mktemp("template")
    with mock.patch.dict(os.environ):
        connection.connect(folder, f"sqlite:///{folder / 'mlflow.db'}")
    return folder / "mlflow.db"


@pytest.fixture
def environment() -> Iterator[os._Environ[str]]:
    """No store from outside, and no setting that outlives the test."""
    with mock.patch.dict(os.environ):
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            os.environ.pop(name, None)
        yield os.environ


@pytest.fixture
def store(tmp_path: Path, template_database: Path, environment: object) -> Path:
    """A repository root whose default store is connected."""
    root = tmp_path / "repository"
    (root / ".dvc").mkdir(parents=True)
    shutil.copy(template_database, root / "mlflow.db")
    connection.connect(root)
    return root


@pytest.fixture
def trained(store: Path) -> Path:
    """The same, with a trained and evaluated model in it."""
    make_model(store)
    return store
