"""A workspace with two registered versions of a tiny network, the first of them champion."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import mlflow
import pytest

from mlflow_tools import METRICS, SCORING, make_model
from skyseg.app import actions
from skyseg.tracking import connection, registry

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, template_database: Path) -> Iterator[Path]:
    """Its root. The store stays connected, and the environment is that of no other test."""
    root = tmp_path_factory.mktemp("registered")
    (root / ".dvc").mkdir()
    shutil.copy(template_database, root / "mlflow.db")
    shutil.copy(ROOT / "params.yaml", root)
    with mock.patch.dict(os.environ):
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            os.environ.pop(name, None)
        connection.connect(root)
        mlflow.set_experiment(
            experiment_id=mlflow.create_experiment(
                "skyseg", artifact_location=(root / "mlartifacts").as_uri()
            )
        )
        for seed, iou in ((0, 0.9), (1, 0.8)):
            config = make_model(root, seed)
            run = mlflow.start_run()
            mlflow.end_run()  # registering goes on with a run that has ended
            version = registry.register(
                root / "models" / "best.safetensors",
                config,
                {"test": METRICS["test"] | {"iou": iou}},
                SCORING,
                run.info.run_id,
                "skyseg",
            )
            if not seed:
                registry.set_champion("skyseg", version)
        actions._opened.cache_clear()
        yield root
    actions._opened.cache_clear()
