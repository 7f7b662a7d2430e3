"""Trains without a network: runs as a training logs them, and what the store has of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run

from skyseg.tracking import training as tracking
from skyseg.tracking.store import database

DATASET = {
    "fingerprint": "f" * 64,
    "dvc_md5": "d" * 32 + ".dir",
    "splits": {"train": {"images": 9}, "val": {"images": 4}, "test": {"images": 6}},
}


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def train(resume: str | None = None, **changes: Any) -> Any:
    arguments = {
        "experiment": "skies",
        "name": "a name",
        "description": "a **description**",
        "params": {"train.lr": 0.001, "data.ignore": [11]},
        "tags": {"variant": "u2netp"},
        "dataset": DATASET,
        "commit": "c" * 40,
        "token": uuid4().hex,
        "resume": resume,
    }
    file = database(mlflow.get_tracking_uri())
    where = {"root": file.parent} if file else {}
    return tracking.training_run(**(arguments | where | changes))


def train_nothing(**changes: Any) -> str:
    """The id of a run that ends before its first epoch."""
    with train(**changes) as run:
        return str(run.id)


def stats(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "epoch"}


def steps(run: str, name: str) -> list[int]:
    return [metric.step for metric in MlflowClient().get_metric_history(run, name)]


def get(run: str) -> Run:
    return MlflowClient().get_run(run)
