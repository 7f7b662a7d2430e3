"""ui: show runs and models in MLflow's own web pages. Does not import mlflow, which is slow."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

from skyseg.commands.options import check_port
from skyseg.tracking.store import artifact_folder, database, store_uri


def run(root: Path, experiment: str, port: int) -> None:
    """Replace this process by an MLflow server for the workspace's store. Ctrl-C stops it.

    Args:
        root: the workspace. If its store is already a server, only the address is printed.
        experiment: name of the experiment that the printed address opens.
        port: port on 127.0.0.1, the only address it listens on.

    Raises:
        UserError: the port cannot be used.
    """
    uri = store_uri(root)
    if uri.startswith("http"):
        print(f"This workspace already uses an MLflow server: {uri}")
        return
    check_port(port, "ui")
    found = _experiment(uri, experiment)
    page = f"experiments/{found}/runs" if found else "experiments"
    # MLflow 3.17 opens in its GenAI view, whatever the experiment's kind, unless the address says
    # otherwise or the browser remembers another choice.
    print(
        f"MLflow on {uri} will be ready in a few seconds at\n"
        f"  http://127.0.0.1:{port}/#/{page}?workflowType=machine_learning\n"
        "Choose 'Model training' at the top left once; the browser remembers it.\n"
        "Press Ctrl-C to stop.",
        flush=True,
    )
    # The job runner starts seven processes for GenAI evaluations, which are not used here.
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
    }
    os.execve(
        sys.executable,
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--backend-store-uri",
            uri,
            "--workers",
            "1",
            "--uvicorn-opts",
            "--no-access-log",
            "--artifacts-destination",
            str(artifact_folder(uri) or "mlartifacts"),
        ],
        environment,
    )


def _experiment(uri: str, name: str) -> str | None:
    """The id of an experiment in a sqlite store, else None. Importing MLflow would take seconds."""
    path = database(uri)
    if path is None:
        return None
    file = f"{path.absolute().as_uri()}?mode=ro"
    with suppress(sqlite3.Error), closing(sqlite3.connect(file, uri=True)) as db:
        row = db.execute("SELECT experiment_id FROM experiments WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None
    return None
