"""Logs an evaluation to the run that trained the model."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag

from skyseg.documents import Document, read_document, read_history, read_text
from skyseg.errors import UserError
from skyseg.model.checkpoint import ModelConfig
from skyseg.tracking import runs, unsent
from skyseg.tracking.connection import store_errors

# Prefixes in MLflow of the scores in ``reports/metrics.json``. ``val/...`` are the scores of each
# epoch, at training size, so scores on the same photographs at their own size get another prefix.
PREFIXES = {"test": "test", "val": "val_full_size"}
NOTE_CHARACTERS = 8000  # MLflow's limit on a tag


class Metrics(Document):
    """Content of ``reports/metrics.json``."""

    weights: str
    """Fingerprint of the weights that were scored."""
    scoring: str = ""
    """Digest of the code that computed the scores."""
    test: dict[str, float] | None = None
    val: dict[str, float] | None = None

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """By split; the splits that were scored."""
        return {name: found for name in PREFIXES if (found := getattr(self, name))}


def read_metrics(path: Path) -> Metrics:
    """The scores of a model.

    Raises:
        UserError: the file is missing, damaged or has no scores.
    """
    advice = (
        "a model without scores cannot be registered; run 'dvc repro', or 'dvc pull' if it was run "
        "elsewhere"
    )
    metrics = read_document(path, Metrics, advice)
    if not metrics.scores:
        raise UserError(f"{path}: has no scores of {' or '.join(PREFIXES)}; {advice}")
    return metrics


def log_evaluation(
    root: Path,
    config: ModelConfig,
    metrics: dict[str, dict[str, float]],
    experiment: str,
) -> str:
    """Log a checkpoint's scores and reports to the run that trained it. Can be repeated.

    If this store does not have that run, as in a second clone, a run is created from the model
    config and ``reports/history.csv`` and tagged as restored.

    Args:
        root: the workspace, with ``reports/``.
        config: the checkpoint's model config.
        metrics: content of ``reports/metrics.json``: scores by split.
        experiment: name of the experiment for a restored run.

    Returns:
        The run's id.

    Raises:
        UserError: the store does not answer, or the experiment was deleted.
    """
    client = MlflowClient()
    with store_errors():
        run, _ = log_training(root, config, experiment)
        run_id = run.info.run_id
        logged = {
            f"{PREFIXES[split]}/{name}": value
            for split, scores in metrics.items()
            for name, value in scores.items()
        }
        changed = {
            name: value
            for name, value in logged.items()
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
        # A restored run, or one whose store did not answer when training ended.
        if run.info.status != "FINISHED":
            client.set_terminated(run_id)
    return run_id


def log_training(root: Path, config: ModelConfig, experiment: str) -> tuple[Run, Counter[str]]:
    """Log what the run that trained a checkpoint lacks of its training. Can be repeated.

    Args:
        root, config, experiment: as for ``log_evaluation``.

    Returns:
        The run, and how much was logged, by kind.

    Raises:
        UserError: the experiment was deleted.
        Exception: MLflow's own, see ``store_errors``.
    """
    run = runs.find_run(config.run) or runs.find_restored_run(config, experiment)
    if run is None:
        created = f" {config.created[:16].replace('T', ' ')}" if config.created else ""
        run = runs.create_run(
            experiment,
            f"{config.variant} {config.size} px{created} (restored)",
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
    run_id, client = run.info.run_id, MlflowClient()
    logged = unsent.deliver(unsent.unsent_folder(root, run_id))
    known = runs.epochs(client.get_run(run_id))
    before = len(known)
    runs.log_metrics(run_id, runs.missing(_history(root), known))
    logged["epochs"] += len(known) - before
    return client.get_run(run_id), +logged


def log_finished_training(root: Path, config: ModelConfig, experiment: str) -> Counter[str]:
    """The same with ``reports/history.csv`` and the run's status. Returns how much was logged.

    Raises:
        UserError: as ``log_evaluation``.
    """
    client = MlflowClient()
    with store_errors():
        run, logged = log_training(root, config, experiment)
        history, run_id = root / "reports" / "history.csv", run.info.run_id
        if history.is_file() and history.name not in {
            entry.path for entry in client.list_artifacts(run_id)
        }:
            runs.log_path(run_id, history, None)
            logged["other files"] += 1
        if run.info.status != "FINISHED":
            client.set_terminated(run_id)
            logged["end status"] += 1
    return logged


def _history(root: Path) -> list[dict[str, float]]:
    path = root / "reports" / "history.csv"
    if not os.path.lexists(path):
        return []
    return [dict(row.dropna()) for _, row in read_history(path).iterrows()]


def _model_card(root: Path) -> str:
    path = root / "reports" / "model_card.md"
    if not os.path.lexists(path):
        return ""
    return read_text(path, "evaluate again: dvc repro evaluate")[:NOTE_CHARACTERS]


def _same(old: float | None, new: float) -> bool:
    return old is not None and (old == new or (math.isnan(old) and math.isnan(new)))
