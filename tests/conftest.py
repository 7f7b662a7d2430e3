"""Fixtures: tiny data sets, real stores, and workspaces with models in them.

Slow ones are made once per session, as templates; each test gets a copy.
"""

from __future__ import annotations

import os

# torch reads this when it is first imported. With tiny pictures, threads only wait for each other,
# on a busy machine for seconds per picture.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tiny import TRAINED, make_pairs

ROOT = Path(__file__).parents[1]

# The columns of MLflow's database that contain paths of the workspace.
PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def copy_workspace(template: Path, target: Path) -> Path:
    """Copy a workspace and replace its path in the copy's MLflow database."""
    from mlflow.tracking._tracking_service import utils

    shutil.copytree(template, target)
    # MLflow remembers where the files of a run are, and the copy has the same runs.
    utils._artifact_repos_cache.clear()
    with closing(sqlite3.connect(target / "mlflow.db")) as database, database:
        for table, column in PATHS:
            database.execute(
                f"UPDATE {table} SET {column} = REPLACE({column}, ?, ?)",
                (str(template), str(target)),
            )
    return target


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository root, as the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pairs(workspace: Path) -> Callable[..., Path]:
    """A function that fills the workspace's data/ with ``make_pairs`` and returns data/."""

    def fill(count: int = 20, **options: Any) -> Path:
        make_pairs(workspace / "data", count, **options)
        return workspace / "data"

    return fill


@pytest.fixture(scope="session")
def empty_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an empty MLflow store, because creating one takes seconds."""
    from skyseg.tracking import connection

    root = tmp_path_factory.mktemp("empty")
    (root / ".dvc").mkdir()
    with own_environment():
        connection.connect(root)
    return root


def own_environment() -> Any:
    """Removes MLflow's variables from the environment; restores all variables after the block."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return mock.patch.dict(os.environ, kept, clear=True)


@pytest.fixture
def environment() -> Iterator[os._Environ[str]]:
    """Removes MLflow's variables from the environment; restores all variables after the test."""
    with own_environment():
        yield os.environ


@pytest.fixture
def store(tmp_path: Path, empty_template: Path, environment: object) -> Path:
    """A repository root whose default store is connected."""
    from skyseg.tracking import connection

    root = copy_workspace(empty_template, tmp_path / "repository")
    connection.connect(root)
    return root


@pytest.fixture
def trained(store: Path) -> Path:
    """The same, with the files of a trained and evaluated model, made without training."""
    from mlflow_tools import make_model

    make_model(store)
    return store


@pytest.fixture(scope="session")
def prepared_template(tmp_path_factory: pytest.TempPathFactory, empty_template: Path) -> Path:
    """A workspace with a tiny prepared data set."""
    from skyseg.pipeline.prepare import prepare

    root = copy_workspace(empty_template, tmp_path_factory.mktemp("prepared") / "repository")
    make_pairs(root / "data", 14)
    prepare(TRAINED, root)
    (root / "models").mkdir()
    return root


@pytest.fixture(scope="session")
def trained_template(tmp_path_factory: pytest.TempPathFactory, prepared_template: Path) -> Path:
    """The same, trained for an epoch."""
    from skyseg.pipeline.train import train

    root = copy_workspace(prepared_template, tmp_path_factory.mktemp("trained") / "repository")
    with own_environment():
        train(TRAINED, root)
    return root


@pytest.fixture
def prepared(
    tmp_path: Path, prepared_template: Path, environment: object, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A workspace with a tiny prepared data set, as the current folder."""
    root = copy_workspace(prepared_template, tmp_path / "repository")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def trained_workspace(
    tmp_path: Path, trained_template: Path, environment: object, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A workspace with a model that was really trained, with ``TRAINED``, as the current folder."""
    from skyseg.tracking import connection

    root = copy_workspace(trained_template, tmp_path / "repository")
    monkeypatch.chdir(root)
    connection.connect(root)
    return root


@pytest.fixture(scope="session")
def registered_template(tmp_path_factory: pytest.TempPathFactory, empty_template: Path) -> Path:
    """A workspace with two registered versions of a tiny network, the first of them champion."""
    import mlflow

    from mlflow_tools import METRICS, SCORING, make_model, set_champion
    from skyseg.tracking import connection, registry

    root = copy_workspace(empty_template, tmp_path_factory.mktemp("registered") / "repository")
    shutil.copy(ROOT / "params.yaml", root)
    with own_environment():
        connection.connect(root)
        mlflow.set_experiment(
            experiment_id=mlflow.create_experiment(
                "skyseg", artifact_location=(root / "mlartifacts").as_uri()
            )
        )
        for seed, iou in ((0, 0.9), (1, 0.8)):
            config = make_model(root, seed)
            run = mlflow.start_run()
            mlflow.end_run()  # registering reopens a run that has ended
            scores = {"test": METRICS["test"] | {"iou": iou}}
            version = registry.register(
                root / "models" / "best.safetensors",
                config,
                scores,
                SCORING,
                run.info.run_id,
                "skyseg",
            )
            if not seed:
                set_champion("skyseg", version)
    return root


@pytest.fixture(scope="module")
def registered(
    tmp_path_factory: pytest.TempPathFactory, registered_template: Path
) -> Iterator[Path]:
    """A connected copy of it, with its own environment, for all tests of a module."""
    from skyseg.app import actions
    from skyseg.tracking import connection

    folder = tmp_path_factory.mktemp("registered") / "repository"
    root = copy_workspace(registered_template, folder)
    with own_environment():
        connection.connect(root)
        actions._opened.cache_clear()
        yield root
    actions._opened.cache_clear()
