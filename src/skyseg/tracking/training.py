"""Tracking in MLflow: training as it happens, and the evaluation of what it made.

``connection``, ``runs``, this module, ``registry`` and ``served_model`` are the only ones that
import mlflow. Functions work on the store that ``connection.connect`` was last called for.
"""

from __future__ import annotations

import csv
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from requests import RequestException

from skyseg.model.checkpoint import ModelConfig
from skyseg.provenance import git_commit
from skyseg.tracking import runs
from skyseg.tracking.connection import impatience, reason, store_errors

# After connection, which sets the environment that mlflow reads while it is imported.
import mlflow  # isort: skip
from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Metric, RunTag  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor  # isort: skip

if TYPE_CHECKING:
    from PIL.Image import Image

# What the figures of ``reports/metrics.json`` are called: ``val/...`` is each epoch's, measured at
# training size, so those measured on the same photographs at their own size are named apart.
FIGURES = {"test": "test", "val": "val_full_size"}
SAMPLING_SECONDS = 5  # of system metrics
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
        self._unsent += runs.missing(rows, self._known)
        self._flush()

    def image(self, key: str, epoch: int, image: Image) -> None:
        """Log a picture that belongs to an epoch; the UI shows them in a grid with a slider.

        While the store is away, pictures are dropped: each would cost a wait.
        """
        if not self._away:
            self._send(lambda: MlflowClient().log_image(self.id, image, key=key, step=epoch))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or a folder with all in it, into ``folder`` among the run's artifacts."""
        self._send(lambda: runs.log_path(self.id, path, folder))

    def _flush(self) -> None:
        if self._unsent:
            self._send(lambda: runs.log_metrics(self.id, self._unsent))

    def _send(self, request: Callable[[], object]) -> None:
        """Make a request; say once that the store is away, and once that it is back."""
        try:
            with impatience(self._away):
                request()
        except (MlflowException, RequestException, OSError) as error:
            if not self._away:
                print(
                    f"\nWARNING: MLflow at {mlflow.get_tracking_uri()} stopped answering "
                    f"({reason(error)}). Training goes on; its numbers are kept, and sent when "
                    "it is back, at the latest when the model is evaluated.",
                    file=sys.stderr,
                    flush=True,
                )
            self._away = True
        else:
            if self._away:
                print(
                    f"\nMLflow at {mlflow.get_tracking_uri()} is back.", file=sys.stderr, flush=True
                )
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
def training_run(
    experiment: str,
    name: str,
    description: str,
    params: dict[str, Any],
    tags: dict[str, str],
    dataset: dict[str, Any],
    resume: str | None = None,
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
        run = runs.find_run(resume)
        known: set[int] = set()
        if run is None:
            run = runs.create_run(
                experiment, name, description, params, tags, git_commit(Path.cwd())
            )
            runs.log_inputs(run.info.run_id, dataset, ("train", "val"))
        else:
            MlflowClient().update_run(run.info.run_id, status="RUNNING")
            known = runs.epochs(run)
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


def log_evaluation(
    root: Path,
    config: ModelConfig,
    metrics: dict[str, dict[str, float]],
    experiment: str,
) -> str:
    """Log a checkpoint's scores and reports to the run that trained it; twice is as good as once.

    Where this store has no such run, as in a second clone, one is made from the config and
    ``reports/history.csv`` and tagged as restored.

    Args:
        root: the workspace, with ``reports/``.
        config: the checkpoint's.
        metrics: content of ``reports/metrics.json``: figures by split.
        experiment: name of the experiment a restored run goes into.

    Returns:
        The run's id.

    Raises:
        UserError: the store does not answer, or the experiment was deleted.
    """
    client = MlflowClient()
    with store_errors():
        run = runs.find_run(config.run) or runs.find_restored_run(config, experiment)
        if run is None:
            run = runs.create_run(
                experiment,
                f"{config.variant} {config.size}px (restored)",
                "Restored from a workspace whose training was logged to another store.",
                config.params,
                {
                    "restored": "from the workspace",
                    "variant": config.variant,
                    "fingerprint": config.fingerprint,
                },
                config.git_commit,
            )
            runs.log_inputs(run.info.run_id, config.data, ("train", "val"))
        run_id = run.info.run_id
        runs.log_metrics(run_id, runs.missing(_history(root), runs.epochs(run)))
        figures = {
            f"{FIGURES[split]}/{name}": value
            for split, scores in metrics.items()
            for name, value in scores.items()
        }
        changed = {
            name: value
            for name, value in figures.items()
            if not _same(run.data.metrics.get(name), value)
        }
        note = _model_card(root)
        tags = {"fingerprint": config.fingerprint} | ({"mlflow.note.content": note} if note else {})
        client.log_batch(
            run_id,
            runs.as_metrics(changed, config.epoch or 0),
            (),
            [RunTag(key, value) for key, value in tags.items()],
        )
        runs.log_inputs(run_id, config.data, tuple(metrics))
        for path, folder in (
            (root / "reports" / "evaluate", "evaluate"),
            (root / "reports" / "history.csv", None),
            (root / "reports" / "model_card.md", None),
            (root / "reports" / "report.html", None),
        ):
            if path.exists():
                runs.log_path(run_id, path, folder)
        if run.info.status != "FINISHED":  # restored, or its store was away at the end
            client.set_terminated(run_id)
    return run_id


def _history(root: Path) -> list[dict[str, float]]:
    path = root / "reports" / "history.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def _model_card(root: Path) -> str:
    path = root / "reports" / "model_card.md"
    return path.read_text(encoding="utf-8")[:NOTE_CHARACTERS] if path.is_file() else ""


def _same(old: float | None, new: float) -> bool:
    return old is not None and (old == new or (math.isnan(old) and math.isnan(new)))
