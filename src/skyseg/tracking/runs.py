"""Creates and finds runs in MLflow, and logs to them.

Functions work on the store that ``connection.connect`` was last called for, and raise MLflow's own
errors: see ``connection.store_errors``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException

from skyseg.errors import UserError
from skyseg.model.checkpoint import ModelConfig
from skyseg.tracking.store import artifact_folder, as_location

# Marks an experiment as model training. MLflow 3.17 opens its GenAI view all the same: see
# ``commands.ui``.
KIND = ("mlflow.experimentKind", "custom_model_development")
TOKEN = "training"  # tag of a training's run
ATTEMPTS = 5  # for what fails if another client does the same at the same time
METRICS_PER_BATCH = 1000  # MLflow's limit


def experiment_id(name: str) -> str:
    """The id of the experiment with this name, which is created if there is none.

    Raises:
        UserError: it was deleted in the UI.
    """
    client = MlflowClient()
    found = client.get_experiment_by_name(name)
    if found is None:
        folder = artifact_folder(mlflow.get_tracking_uri())
        try:
            return client.create_experiment(
                name, as_location(folder) if folder else None, dict([KIND])
            )
        except MlflowException as error:  # another process was faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return experiment_id(name)
    if found.lifecycle_stage != "active":
        raise UserError(
            f"MLflow experiment {name!r} was deleted; restore it with 'mlflow "
            f"experiments restore -x {found.experiment_id}', or set another name as "
            "registry.experiment in params.yaml"
        )
    if KIND[0] not in found.tags:
        client.set_experiment_tag(found.experiment_id, *KIND)
    return found.experiment_id


def create_run(
    experiment: str,
    name: str,
    description: str,
    params: dict[str, Any],
    tags: dict[str, str],
    commit: str | None,
) -> Run:
    """Create a run with params, tags, and the tags that MLflow's ``start_run`` would set.

    Raises:
        UserError: see ``experiment_id``.
    """
    client = MlflowClient()
    source = {
        "mlflow.source.name": "dvc repro",
        "mlflow.source.type": "PROJECT",
        "mlflow.note.content": description,
        "mlflow.user": os.environ.get("USER", "unknown"),
    }
    if commit:
        source["mlflow.source.git.commit"] = commit.removesuffix("-dirty")
        source["git_dirty"] = str(commit.endswith("-dirty")).lower()
    run = client.create_run(experiment_id(experiment), run_name=name, tags=source | tags)
    log_params(run, params)
    return run


def log_params(run: Run, params: dict[str, Any]) -> None:
    """Log the params that a run does not have yet; MLflow does not change others."""
    # MLflow accepts 100 params per request; there are fewer settings.
    MlflowClient().log_batch(
        run.info.run_id,
        params=[
            Param(key, str(value)) for key, value in params.items() if key not in run.data.params
        ],
    )


def find_run(run_id: str | None) -> Run | None:
    """The run with this id; None if the store does not have it or it was deleted."""
    if not run_id:
        return None
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def find_run_of_training(token: str, experiment: str) -> Run | None:
    """The run of a training that was killed after it created the run and before it noted its id."""
    return _find_tagged(TOKEN, token, experiment)


def find_restored_run(config: ModelConfig, experiment: str) -> Run | None:
    """The run that an earlier ``evaluation.log_evaluation`` created for the same weights."""
    return _find_tagged("fingerprint", config.fingerprint, experiment)


def _find_tagged(tag: str, value: str, experiment: str) -> Run | None:
    found = MlflowClient().search_runs(
        [experiment_id(experiment)], f"tags.{tag} = '{value}'", max_results=1
    )
    return found[0] if found else None


def epochs(run: Run) -> set[int]:
    """A run's epochs. Each is logged in one transaction, so one metric's history has them all."""
    name = next((name for name in sorted(run.data.metrics) if name.startswith("train/")), None)
    if name is None:
        return set()
    return {metric.step for metric in MlflowClient().get_metric_history(run.info.run_id, name)}


def log_inputs(run_id: str, dataset: dict[str, Any], contexts: tuple[str, ...]) -> None:
    """Log the data that a run uses, one input per split, with DVC's hash if there is one.

    MLflow distinguishes inputs by name and digest, so the name contains the split.
    """
    digest = dataset.get("dvc_md5") or str(dataset.get("fingerprint", ""))[:32]
    if not digest:
        return
    inputs = []
    for split in contexts:
        entry = dataset.get("splits", {}).get(split)
        if entry is None:  # the split has no images
            continue
        data = Dataset(
            f"data/{split}",
            digest,
            source_type="local",
            source=json.dumps({"uri": "data"}),
            profile=json.dumps({"num_rows": entry["images"]}),
        )
        inputs.append(DatasetInput(data, [InputTag("mlflow.data.context", split)]))
    for attempt in range(ATTEMPTS):
        try:
            return MlflowClient().log_inputs(run_id, inputs)
        except MlflowException as error:
            # MLflow looks for an equal data set and then adds one, which fails if another client
            # was faster in between.
            if attempt == ATTEMPTS - 1 or "UNIQUE constraint failed" not in str(error):
                raise


def log_path(run_id: str, path: Path, folder: str | None) -> None:
    """Log a file or a whole folder to ``folder`` among the run's artifacts."""
    client = MlflowClient()
    if path.is_dir():
        client.log_artifacts(run_id, str(path), folder)
    else:
        client.log_artifact(run_id, str(path), folder)


def missing(rows: Iterable[dict[str, float]], known: set[int]) -> list[Metric]:
    """Metrics of the history's rows whose epoch is not in ``known``; adds these epochs to it."""
    found = []
    for row in rows:
        epoch = int(row["epoch"])
        if epoch not in known:
            known.add(epoch)
            found += as_metrics({key: value for key, value in row.items() if key != "epoch"}, epoch)
    return found


def log_metrics(run_id: str, metrics: list[Metric]) -> None:
    """Log in as few requests as MLflow allows. Removes from the list what is logged."""
    while metrics:
        MlflowClient().log_batch(run_id, metrics[:METRICS_PER_BATCH])
        del metrics[:METRICS_PER_BATCH]


def as_metrics(stats: dict[str, float], step: int) -> list[Metric]:
    """The same numbers as MLflow metrics, with the current time."""
    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in stats.items()]
