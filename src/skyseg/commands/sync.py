"""sync: send to MLflow what it lacks of trainings during which it did not answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from skyseg.model.checkpoint import load_config
from skyseg.params import Params
from skyseg.tracking import connection, runs, unsent
from skyseg.tracking.evaluation import log_finished_training
from skyseg.tracking.store import UNSENT


def sync(params: Params, root: Path) -> None:
    """Send what is kept in ``mlunsent/``, and what the run of the last training lacks. Prints what
    was sent; sends nothing twice.

    Args:
        params: the section registry is used.
        root: the workspace.

    Raises:
        UserError: the store does not answer; what is not sent is kept.
    """
    store = connection.connect(root)
    anything = False
    for run_id in unsent.unsent_runs(root):
        with connection.store_errors():
            if runs.find_run(run_id) is None:
                print(
                    f"run {run_id} is not in {store}: what is kept for it in "
                    f"{UNSENT}/{run_id}/ stays there; set MLFLOW_TRACKING_URI to its store "
                    "and repeat this, or delete that folder"
                )
                anything = True
            else:
                sent = unsent.deliver(unsent.unsent_folder(root, run_id))
                anything |= _print_sent(sent, run_id, store)
    weights = root / "models" / "best.safetensors"
    # Written last, so an unfinished training, which may be running, does not have it.
    if weights.is_file() and (root / "reports" / "train.json").is_file():
        config = load_config(weights)
        sent = log_finished_training(root, config, params.registry.experiment)
        anything |= _print_sent(sent, "of the last training", store)
    if not anything:
        print(f"nothing to send: {store} has everything")


def _print_sent(sent: Counter[str], run: str, store: str) -> bool:
    """Print what was sent for a run. Returns whether it was anything."""
    if sent:
        amounts = ", ".join(f"{count} {kind}" for kind, count in sent.items())
        print(f"sent to run {run} in {store}: {amounts}")
    return bool(sent)
