"""A training's run in MLflow, written while it trains.

Functions work on the store that ``connection.connect`` was last called for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from requests import RequestException

from skyseg.tracking import runs
from skyseg.tracking.connection import impatience, reason, store_errors

# After connection, which sets the environment that mlflow reads while it is imported.
import mlflow  # isort: skip
from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Metric  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor  # isort: skip

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLING_SECONDS = 5  # of system metrics


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
    commit: str | None,
    resume: str | None = None,
) -> Iterator[TrainingRun]:
    """A run for the length of a training, in the store ``connect`` chose.

    Ends as FINISHED, as KILLED after Ctrl-C, as FAILED after any other exception.

    Args:
        experiment: name of the experiment; made if there is none.
        name, description: what people see.
        params: settings under DVC's names.
        tags: further tags; a run that goes on gets them too.
        dataset: content of ``prepared/dataset.json``.
        commit: of the code, as ``skyseg.provenance.git_commit`` gives it.
        resume: a run to go on with; if this store does not know it, a new run starts.

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
