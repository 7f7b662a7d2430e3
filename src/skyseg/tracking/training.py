"""Logs a training to MLflow while it runs.

Functions work on the store that ``connection.connect`` was last called for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from requests import RequestException

from skyseg.tracking import runs
from skyseg.tracking.connection import reason, short_timeouts, store_errors

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLING_SECONDS = 5  # between two samples of the system metrics


class TrainingRun:
    """The run of a training in progress. No method raises an error if the store stops answering:
    metrics that could not be sent are kept, and retried at each epoch."""

    def __init__(self, run_id: str, known: set[int]) -> None:
        self.id = run_id
        self._known = known  # epochs in the store; logged again, they would get a second value
        self._unsent: list[Metric] = []
        self._offline = False
        self._monitor: SystemMetricsMonitor | None = None

    def record(self, epoch: int, stats: dict[str, float]) -> None:
        """Log an epoch's metrics, in one request. Does nothing if the epoch is logged already."""
        self.replay([{"epoch": epoch, **stats}])

    def replay(self, rows: Iterable[dict[str, float]]) -> None:
        """Log the rows of a history (each with its ``epoch``) that the run does not have yet."""
        self._unsent += runs.missing(rows, self._known)
        self._flush()

    def image(self, key: str, epoch: int, image: Image) -> None:
        """Log a picture of an epoch; the UI shows these in a grid with a slider.

        Pictures are dropped while the store does not answer: each would wait for the timeout.
        """
        if not self._offline:
            self._send(lambda: MlflowClient().log_image(self.id, image, key=key, step=epoch))

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file or a whole folder to ``folder`` among the run's artifacts."""
        self._send(lambda: runs.log_path(self.id, path, folder))

    def _flush(self) -> None:
        if self._unsent:
            self._send(lambda: runs.log_metrics(self.id, self._unsent))

    def _send(self, request: Callable[[], object]) -> None:
        """Make a request. Prints once when the store stops answering, and once when it is back."""
        try:
            with short_timeouts(self._offline):
                request()
        except (MlflowException, RequestException, OSError) as error:
            if not self._offline:
                print(
                    f"\nWARNING: MLflow at {mlflow.get_tracking_uri()} stopped answering "
                    f"({reason(error)}). Training continues. Its metrics are kept, and logged when "
                    "MLflow answers again or when the model is evaluated.",
                    file=sys.stderr,
                    flush=True,
                )
            self._offline = True
        else:
            if self._offline:
                print(
                    f"\nMLflow at {mlflow.get_tracking_uri()} answers again.",
                    file=sys.stderr,
                    flush=True,
                )
                self._offline = False
                self._start_monitor()  # the monitor stops at its first failure

    def _start_monitor(self) -> None:
        """Log usage of CPU, memory, disk, network and GPU every few seconds, in a thread."""
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("false", "0"):
            return
        self._stop_monitor()
        self._monitor = SystemMetricsMonitor(self.id, SAMPLING_SECONDS, resume_logging=True)
        self._monitor.start()

    def _stop_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None

    def _end(self, status: str) -> None:
        self._flush()
        with short_timeouts(self._offline):
            self._stop_monitor()
        self._send(lambda: MlflowClient().set_terminated(self.id, status))


@contextmanager
def training_run(
    experiment: str,
    name: str,
    description: str,
    params: dict[str, Any],
    tags: dict[str, str],
    dataset: dict[str, Any],
    commit: str | None,
    resume: str | None = None,
) -> Iterator[TrainingRun]:
    """Within the block, a run for a training, in the store that ``connect`` has set.

    Its final status is FINISHED, KILLED after Ctrl-C, or FAILED after any other exception.

    Args:
        experiment: name of the experiment; created if there is none.
        name, description: shown in the UI.
        params: settings, by the names that DVC gives them.
        tags: further tags; set on a resumed run too.
        dataset: content of ``prepared/dataset.json``.
        commit: of the code, as ``skyseg.provenance.git_commit`` gives it.
        resume: id of a run to continue; if this store does not have it, a new run starts.

    Raises:
        UserError: the experiment was deleted, or the store does not answer at the start.
    """
    with store_errors():
        run = runs.find_run(resume)
        known: set[int] = set()
        if run is None:
            run = runs.create_run(experiment, name, description, params, tags, commit)
            runs.log_inputs(run.info.run_id, dataset, ("train", "val"))
        else:
            MlflowClient().update_run(run.info.run_id, status="RUNNING")
            for key, value in tags.items():
                MlflowClient().set_tag(run.info.run_id, key, value)
            known = runs.epochs(run)
    tracked = TrainingRun(run.info.run_id, known)
    tracked._start_monitor()
    status = "FAILED"
    try:
        yield tracked
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracked._end(status)
