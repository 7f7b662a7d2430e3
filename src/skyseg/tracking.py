"""Runs in MLflow: training as it happens, and the evaluation of what it made.

``connection``, this module, ``registry`` and ``served_model`` are the only ones that import mlflow.
Functions work on the store that ``connection.connect`` was last called for.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from requests import RequestException

from skyseg.checkpoint import Card
from skyseg.connection import impatience, reason, store_errors
from skyseg.errors import UserError
from skyseg.provenance import git_commit
from skyseg.store import artifact_folder

# After connection, which sets the environment that mlflow reads while it is imported.
import mlflow  # isort: skip
from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric  # isort: skip
from mlflow.entities import Param, Run, RunTag  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor  # isort: skip

if TYPE_CHECKING:
    from PIL.Image import Image

# Marks an experiment as model training. MLflow 3.17 does not open by it: see ``cli.ui``.
KIND = ("mlflow.experimentKind", "custom_model_development")
# What the figures of ``reports/metrics.json`` are called: ``val/...`` is each epoch's, measured at
# training size, so those measured on the same photographs at their own size are named apart.
FIGURES = {"test": "test", "val": "val_full_size"}
SAMPLING_SECONDS = 5  # of system metrics
METRICS_A_BATCH = 1000  # MLflow's limit
NOTE_CHARACTERS = 8000  # MLflow's limit on a tag


class TrainingRun:
    """A run that is being trained. Nothing it does raises when the store goes away: what could not
    be sent waits in a buffer and is tried again at each epoch."""

    def __init__(self, run_id: str, known: set[int]) -> None:
        self.id = run_id
        self._known = known  # epochs the store has; MLflow would keep a second value beside them
        self._unsent: list[Metric] = []
        self._away = False
        self._monitor: SystemMetricsMonitor | None = None

    def record(self, epoch: int, stats: dict[str, float]) -> None:
        """Log an epoch's numbers, in one request; an epoch already logged is left as it is."""
        self.replay([{"epoch": epoch, **stats}])

    def replay(self, rows: Iterable[dict[str, float]]) -> None:
        """Log the rows of a history (each with its ``epoch``) that the run does not have yet."""
        self._unsent += _missing(rows, self._known)
        self._flush()

    def image(self, key: str, epoch: int, image: Image) -> None:
        """Log a picture that belongs to an epoch; the UI shows them in a grid with a slider.

        While the store is away, pictures are dropped: each would cost a wait.
        """
        if not self._away:
            self._send(lambda: MlflowClient().log_image(self.id, image, key=key, step=epoch))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or a folder with all in it, into ``folder`` among the run's artifacts."""
        self._send(lambda: _log_path(self.id, path, folder))

    def _flush(self) -> None:
        if self._unsent:
            self._send(lambda: _log_metrics(self.id, self._unsent))

    def _send(self, request: Callable[[], object]) -> None:
        """Make a request; say once that the store is away, and once that it is back."""
        try:
            with impatience(self._away):
                request()
        except (MlflowException, RequestException, OSError) as error:
            if not self._away:
                print(f"\nWARNING: MLflow at {mlflow.get_tracking_uri()} stopped answering "
                      f"({reason(error)}). Training goes on; its numbers are kept, and sent when "
                      "it is back, at the latest when the model is evaluated.",
                      file=sys.stderr, flush=True)
            self._away = True
        else:
            if self._away:
                print(f"\nMLflow at {mlflow.get_tracking_uri()} is back.", file=sys.stderr,
                      flush=True)
                self._away = False
                self._watch()  # the monitor gives up at its first failure

    def _watch(self) -> None:
        """Log CPU, memory, disk, network and GPU figures every few seconds, beside the training."""
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("false", "0"):
            return
        self._unwatch()
        self._monitor = SystemMetricsMonitor(self.id, SAMPLING_SECONDS, resume_logging=True)
        self._monitor.start()

    def _unwatch(self) -> None:
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None

    def _end(self, status: str) -> None:
        self._flush()
        with impatience(self._away):
            self._unwatch()
        self._send(lambda: MlflowClient().set_terminated(self.id, status))


@contextmanager
def training_run(experiment: str, name: str, description: str, params: dict[str, Any],
                 tags: dict[str, str], dataset: dict[str, Any], resume: str | None = None,
                 ) -> Iterator[TrainingRun]:
    """A run for the length of a training, in the store ``connect`` chose.

    Ends as FINISHED, as KILLED after Ctrl-C, as FAILED after any other exception.

    Args:
        experiment: name of the experiment; made if there is none.
        name, description: what people see.
        params: settings under DVC's names.
        tags: further tags.
        dataset: content of ``prepared/dataset.json``.
        resume: a run to go on with; if this store does not know it, a new run starts.

    Raises:
        UserError: the experiment was deleted, or the store does not answer at the start.
    """
    with store_errors():
        run = _find_run(resume)
        known: set[int] = set()
        if run is None:
            run = _create_run(experiment, name, description, params, tags,
                              git_commit(Path.cwd()))
            _log_inputs(run.info.run_id, dataset, ("train", "val"))
        else:
            MlflowClient().update_run(run.info.run_id, status="RUNNING")
            known = _epochs(run)
    tracked = TrainingRun(run.info.run_id, known)
    tracked._watch()
    status = "FAILED"
    try:
        yield tracked
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracked._end(status)


def log_evaluation(root: Path, card: Card, metrics: dict[str, dict[str, float]], experiment: str,
                   ) -> str:
    """Log a checkpoint's scores and reports to the run that trained it; twice is as good as once.

    Where this store has no such run, as in a second clone, one is made from the card and
    ``reports/history.csv`` and tagged as restored.

    Args:
        root: the workspace, with ``reports/``.
        card: the checkpoint's.
        metrics: content of ``reports/metrics.json``: figures by split.
        experiment: name of the experiment a restored run goes into.

    Returns:
        The run's id.

    Raises:
        UserError: the store does not answer, or the experiment was deleted.
    """
    client = MlflowClient()
    with store_errors():
        run = _find_run(card.run) or _find_restored(card, experiment)
        if run is None:
            run = _create_run(
                experiment, f"{card.variant} {card.size}px (restored)",
                "Restored from a workspace whose training was logged to another store.",
                card.params, {"restored": "from the workspace", "variant": card.variant,
                              "fingerprint": card.fingerprint}, card.git_commit)
            _log_inputs(run.info.run_id, card.data, ("train", "val"))
        run_id = run.info.run_id
        _log_metrics(run_id, _missing(_history(root), _epochs(run)))
        figures = {f"{FIGURES[split]}/{name}": value for split, scores in metrics.items()
                   for name, value in scores.items()}
        changed = {name: value for name, value in figures.items()
                   if not _same(run.data.metrics.get(name), value)}
        note = _model_card(root)
        tags = {"fingerprint": card.fingerprint} | ({"mlflow.note.content": note} if note else {})
        client.log_batch(run_id, _metrics(changed, card.epoch or 0), (),
                         [RunTag(key, value) for key, value in tags.items()])
        _log_inputs(run_id, card.data, tuple(metrics))
        for path, folder in ((root / "reports" / "evaluate", "evaluate"),
                             (root / "reports" / "history.csv", None),
                             (root / "reports" / "model_card.md", None),
                             (root / "reports" / "report.html", None)):
            if path.exists():
                _log_path(run_id, path, folder)
        if run.info.status != "FINISHED":  # restored, or its store was away at the end
            client.set_terminated(run_id)
    return run_id


def experiment_id(name: str) -> str:
    """The experiment of that name, made if there is none.

    Raises:
        UserError: it was deleted in the UI.
    """
    client = MlflowClient()
    found = client.get_experiment_by_name(name)
    if found is None:
        folder = artifact_folder(mlflow.get_tracking_uri())
        try:
            return client.create_experiment(name, str(folder) if folder else None, dict([KIND]))
        except MlflowException as error:  # another process was faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return experiment_id(name)
    if found.lifecycle_stage != "active":
        raise UserError(f"MLflow experiment {name!r} was deleted; bring it back with 'mlflow "
                        f"experiments restore -x {found.experiment_id}', or name another under "
                        "registry.experiment in params.yaml")
    if KIND[0] not in found.tags:
        client.set_experiment_tag(found.experiment_id, *KIND)
    return found.experiment_id


def _create_run(experiment: str, name: str, description: str, params: dict[str, Any],
                tags: dict[str, str], commit: str | None) -> Run:
    """A run with its params, and the tags MLflow itself sets for its own ``start_run``."""
    client = MlflowClient()
    source = {"mlflow.source.name": "dvc repro", "mlflow.source.type": "PROJECT",
              "mlflow.note.content": description,
              "mlflow.user": os.environ.get("USER", "unknown")}
    if commit:
        source["mlflow.source.git.commit"] = commit.removesuffix("-dirty")
        source["git_dirty"] = str(commit.endswith("-dirty")).lower()
    run = client.create_run(experiment_id(experiment), run_name=name, tags=source | tags)
    # MLflow takes a hundred a request; the settings are fewer.
    client.log_batch(run.info.run_id,
                     params=[Param(key, str(value)) for key, value in params.items()])
    return run


def _find_run(run_id: str | None) -> Run | None:
    """A run that this store has and nobody deleted."""
    if not run_id:
        return None
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def _find_restored(card: Card, experiment: str) -> Run | None:
    """The run that an earlier ``log_evaluation`` of the same weights made."""
    found = MlflowClient().search_runs([experiment_id(experiment)],
                                       f"tags.fingerprint = '{card.fingerprint}'", max_results=1)
    return found[0] if found else None


def _epochs(run: Run) -> set[int]:
    """Epochs a run has numbers of. An epoch is logged in one transaction: one name tells for all.
    """
    name = next((name for name in sorted(run.data.metrics) if name.startswith("train/")), None)
    if name is None:
        return set()
    return {metric.step for metric in MlflowClient().get_metric_history(run.info.run_id, name)}


def _log_inputs(run_id: str, dataset: dict[str, Any], contexts: tuple[str, ...]) -> None:
    """Name the data a run works on, a split at a time, under DVC's hash where there is one.

    MLflow tells inputs apart by name and digest, so the name says which split.
    """
    digest = dataset.get("dvc_md5") or str(dataset.get("fingerprint", ""))[:32]
    if not digest:
        return
    inputs = []
    for split in contexts:
        entry = dataset.get("splits", {}).get(split)
        if entry is None:  # a split without images is left out
            continue
        data = Dataset(f"data/{split}", digest, source_type="local",
                       source=json.dumps({"uri": "data"}),
                       profile=json.dumps({"num_rows": entry["images"]}))
        inputs.append(DatasetInput(data, [InputTag("mlflow.data.context", split)]))
    MlflowClient().log_inputs(run_id, inputs)


def _log_path(run_id: str, path: Path, folder: str | None) -> None:
    client = MlflowClient()
    if path.is_dir():
        client.log_artifacts(run_id, str(path), folder)
    else:
        client.log_artifact(run_id, str(path), folder)


def _missing(rows: Iterable[dict[str, float]], known: set[int]) -> list[Metric]:
    """Metrics of those rows of a history whose epoch is not among ``known``, and now is."""
    found = []
    for row in rows:
        epoch = int(row["epoch"])
        if epoch not in known:
            known.add(epoch)
            found += _metrics({key: value for key, value in row.items() if key != "epoch"}, epoch)
    return found


def _log_metrics(run_id: str, metrics: list[Metric]) -> None:
    """Log in as few requests as MLflow allows; what is logged leaves the list."""
    while metrics:
        MlflowClient().log_batch(run_id, metrics[:METRICS_A_BATCH])
        del metrics[:METRICS_A_BATCH]


def _metrics(stats: dict[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in stats.items()]


def _history(root: Path) -> list[dict[str, float]]:
    path = root / "reports" / "history.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)]


def _model_card(root: Path) -> str:
    path = root / "reports" / "model_card.md"
    return path.read_text(encoding="utf-8")[:NOTE_CHARACTERS] if path.is_file() else ""


def _same(old: float | None, new: float) -> bool:
    return old is not None and (old == new or (math.isnan(old) and math.isnan(new)))
