"""Logs a training to MLflow while it runs.

Functions work on the store that ``connection.connect`` was last called for.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from skyseg.errors import UserError, held_signals, signal_behind
from skyseg.tracking import runs, unsent
from skyseg.tracking.connection import FAILURES, reason, short_timeouts, store_errors
from skyseg.tracking.store import UNSENT

if TYPE_CHECKING:
    from PIL.Image import Image

SAMPLING_SECONDS = 5  # between two samples of the system metrics
PAUSE_SECONDS = 5  # after the first failure to send; each further one doubles it
LONGEST_PAUSE_SECONDS = 60
END_SECONDS = 10  # how long the end of a training waits for the store

# It warns of every failure to send; that the store does not answer is printed once, below.
logging.getLogger("mlflow.system_metrics.system_metrics_monitor").setLevel(logging.CRITICAL)


class TrainingRun:
    """The run of a training in progress.

    What is logged is first kept as files, which a thread sends to the store in order: see
    ``unsent``. So the training never waits for the store, and what the store did not take is sent
    by ``skyseg sync`` or when the model is evaluated.
    """

    def __init__(self, run_id: str, known: set[int], unsent_folder: Path) -> None:
        self.id = run_id
        self._folder = unsent_folder
        unsent.forget_status(unsent_folder)  # else its delivery removes folders while this writes
        # Epochs in the store or kept for it; logged again, they would get a second value.
        self._known = known | unsent.kept_epochs(unsent_folder)
        self._offline = False
        self._monitor: SystemMetricsMonitor | None = None
        self._news, self._ending = threading.Event(), threading.Event()
        self._news.set()  # something may be left from before
        self._sender = threading.Thread(target=self._send_until_end, daemon=True)
        self._sender.start()

    def record(self, epoch: int, stats: dict[str, float]) -> None:
        """Log an epoch's metrics. Does nothing if the epoch is logged already."""
        self.replay([{"epoch": epoch, **stats}])

    def replay(self, rows: Iterable[dict[str, float]]) -> None:
        """Log the rows of a history (each with its ``epoch``) that the run does not have yet."""
        for row in rows:
            if metrics := runs.missing([row], self._known):
                unsent.keep_metrics(self._folder, metrics, int(row["epoch"]))
                self._news.set()

    def image(self, key: str, epoch: int, image: Image, at: int) -> None:
        """Log a picture of an epoch; the UI shows these in a grid with a slider.

        Args:
            key: what it shows.
            epoch: its number.
            image: the picture; replaces an earlier one with the same key, epoch and time.
            at: when it was made, in ms since 1970.
        """
        unsent.keep_image(self._folder, key, epoch, image, at)
        self._news.set()

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file to ``folder`` among the run's artifacts."""
        unsent.keep_file(self._folder, path, folder)
        self._news.set()

    def _send_until_end(self) -> None:
        """Send what is kept whenever there is something new, and after a failure only after a
        pause, which grows. Prints when the store stops answering and when it answers again."""
        self._start_monitor()
        pause = PAUSE_SECONDS
        while True:
            self._news.wait()
            self._news.clear()
            ended = self._ending.is_set()
            if ended and not self._offline:
                self._stop_monitor()
            try:
                unsent.deliver(self._folder)
            except (*FAILURES, UserError) as error:
                self._print_offline(error)
                if ended:
                    return
                self._ending.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                self._news.set()
            else:
                self._print_online()
                pause = PAUSE_SECONDS
                if ended:
                    return

    def _print_offline(self, error: Exception) -> None:
        if not self._offline:
            print(
                f"\nWARNING: MLflow at {mlflow.get_tracking_uri()} stopped answering "
                f"({reason(error)}). Training continues. What it logs is kept in "
                f"{UNSENT}/, and sent when MLflow answers again.",
                file=sys.stderr,
                flush=True,
            )
        self._offline = True

    def _print_online(self) -> None:
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
        with suppress(*FAILURES):
            self._monitor = SystemMetricsMonitor(self.id, SAMPLING_SECONDS, resume_logging=True)
            self._monitor.start()

    def _stop_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None

    def _end(self, status: str) -> None:
        """Keep the run's status, and wait a little until all is sent."""
        unsent.keep_status(self._folder, status)
        self._ending.set()
        self._news.set()
        self._sender.join(END_SECONDS)
        if self._folder.exists():
            print(
                f"\nWARNING: MLflow at {mlflow.get_tracking_uri()} does not have all of this "
                f"training yet; 'skyseg sync' sends what is kept in {UNSENT}/, and so does "
                "evaluating the model.",
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def training_run(
    experiment: str,
    name: str,
    description: str,
    params: dict[str, Any],
    tags: dict[str, str],
    dataset: dict[str, Any],
    commit: str | None,
    token: str,
    resume: str | None = None,
    *,
    root: Path,
) -> Iterator[TrainingRun]:
    """Within the block, a run for a training, in the store that ``connect`` has set.

    Nothing that is logged raises an error or waits if the store stops answering.

    Its final status is FINISHED, KILLED after Ctrl-C or SIGTERM, or FAILED after any other
    exception.

    Args:
        experiment: name of the experiment; created if there is none.
        name, description: shown in the UI.
        params: settings, by the names that DVC gives them.
        tags: further tags; set on a resumed run too.
        dataset: content of ``prepared/dataset.json``.
        commit: of the code, as ``skyseg.provenance.git_commit`` gives it.
        token: a tag of the run.
        resume: id of a run to continue; if this store does not have it, the run with this token;
            if there is none either, a new run starts.
        root: the workspace; its repository keeps what could not be sent.

    Raises:
        UserError: the experiment was deleted, or the store does not answer at the start.
    """
    # Until the end, because the thread that sends reads them from the environment.
    with short_timeouts():
        tracked, status = None, "FAILED"
        try:
            # A signal waits, so that no run is left that is RUNNING.
            with held_signals(), store_errors():
                run, known = _start(
                    experiment, name, description, params, tags, dataset, commit, token, resume
                )
                folder = unsent.unsent_folder(root, run.info.run_id)
                tracked = TrainingRun(run.info.run_id, known, folder)
            yield tracked
            status = "FINISHED"
        except BaseException as error:
            if signal_behind(error) is not None:
                status = "KILLED"
            raise
        finally:
            if tracked:
                with held_signals():
                    tracked._end(status)


def _start(
    experiment: str,
    name: str,
    description: str,
    params: dict[str, Any],
    tags: dict[str, str],
    dataset: dict[str, Any],
    commit: str | None,
    token: str,
    resume: str | None,
) -> tuple[Run, set[int]]:
    """Create or reopen a run; also returns the epochs that it has."""
    run = runs.find_run(resume) or runs.find_run_of_training(token, experiment)
    known: set[int] = set()
    if run is None:
        tags = tags | {runs.TOKEN: token}
        run = runs.create_run(experiment, name, description, params, tags, commit)
    else:
        MlflowClient().update_run(run.info.run_id, status="RUNNING")
        for key, value in tags.items():
            MlflowClient().set_tag(run.info.run_id, key, value)
        known = runs.epochs(run)
        # Missing if the training was killed when it had just created the run.
        runs.log_params(run, params)
    if not (run.inputs and run.inputs.dataset_inputs):
        runs.log_inputs(run.info.run_id, dataset, ("train", "val"))
    return run, known
