"""Writes the files of a trained model, and runs MLflow servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests
import torch

from skyseg.metrics.evidence import EVIDENCE, Evidence, Origin, write_evidence
from skyseg.metrics.suite import ImageStats, SpatialScores
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.u2net import build_model
from skyseg.provenance import code_digest
from skyseg.tracking import history

HISTORY = [
    {"epoch": epoch, "lr": 0.001, "train/loss": 3.0 / epoch, "val/iou": 0.5 + epoch / 10}
    for epoch in (1, 2, 3)
]
METRICS = {
    "test": {
        "iou": 0.9,
        "iou_image": 0.88,
        "f_max": 0.95,
        "f_mean": 0.94,
        "f_adaptive": 0.93,
        "precision": 0.96,
        "recall": 0.92,
        "mae": 0.05,
        "threshold": 0.5,
        "images": 6,
    }
}


SCORING = code_digest("scoring")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(
    command: list[str],
    health: str,
    seconds: float = 120,
    **environment: str,
) -> Iterator[subprocess.Popen]:
    """Run a server in the background. Yields the process once the server answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | environment,
    )
    try:
        deadline = time.monotonic() + seconds
        while True:
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command} did not answer"
            try:
                if requests.get(health, timeout=2).ok:
                    break
            except requests.RequestException:
                time.sleep(0.2)
        yield process
    finally:
        with suppress(ProcessLookupError):  # the process group: the server and its workers
            os.killpg(process.pid, 9)
        process.wait()


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """Run an MLflow server with its files in ``folder``. Yields its URI."""
    uri = f"http://127.0.0.1:{port}"
    with running(
        [
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination",
            str(folder / "files"),
        ],
        f"{uri}/health",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    ):
        yield uri


def set_champion(model: str, version: str) -> None:
    """Promote a version without comparing it."""
    entries, champion = history.current(model)
    assert history.append(
        model, entries, history.new_entry("promoted", version, champion, "for a test")
    )
    history.finish(model)


def make_evidence(
    weights: str, iou: float, test_fingerprint: str = "t" * 64, images: int = 6, **changes: Any
) -> Evidence:
    """Scores of ``images`` photographs of 10,000 pixels, half of them foreground, all with the same
    IoU (in steps of 1/5000) and without a false positive. ``changes`` are of the fields of
    ``SpatialScores``."""
    histogram = np.zeros((2, 256), np.int64)
    histogram[0, 0], histogram[1, 255] = 5000, round(5000 * iou)
    histogram[1, 0] = 5000 - histogram[1, 255]
    shape = SpatialScores(0.9, 0.9, 0.8, 0.8, 0, 0)._replace(**changes)
    stats = [ImageStats(histogram, 50.0, 0.9, shape)] * images
    parts = pd.DataFrame({"brightness": ["day"] * (images // 2) + ["night"] * (images // 2)})
    origin = Origin(
        weights=weights, data=f"test {test_fingerprint}", scoring=SCORING, threshold=0.5
    )
    return Evidence(origin, stats, parts)


def make_model(
    root: Path,
    seed: int = 0,
    run: str | None = None,
    iou: float = 0.9,
    test_fingerprint: str = "t" * 64,
) -> ModelConfig:
    """Write models/ and reports/ as the train and evaluate stages do."""
    torch.manual_seed(seed)
    splits = {
        "train": {"images": 9, "fingerprint": "r" * 64},
        "val": {"images": 4, "fingerprint": "v" * 64},
        "test": {"images": 6, "fingerprint": test_fingerprint},
    }
    data = {"fingerprint": "f" * 64, "dvc_md5": "d" * 32 + ".dir", "splits": splits}
    config = save_checkpoint(
        root / "models" / "best.safetensors",
        build_model("u2netp").state_dict(),
        ModelConfig(
            variant="u2netp",
            size=32,
            epoch=3,
            val={"iou": 0.8},
            data=data,
            params={"train.lr": 0.001, "train.epochs": 3},
            git_commit="c" * 40 + "-dirty",
            run=run,
        ),
    )
    reports = root / "reports"
    (reports / "evaluate").mkdir(parents=True, exist_ok=True)
    names = list(HISTORY[0])
    (reports / "history.csv").write_text(
        "\n".join(
            [",".join(names), *(",".join(str(row[name]) for name in names) for row in HISTORY)]
        )
        + "\n"
    )
    (reports / "metrics.json").write_text(
        json.dumps(
            {
                "test": METRICS["test"] | {"iou": iou},
                "weights": config.fingerprint,
                "scoring": SCORING,
            }
        )
    )
    write_evidence(root / EVIDENCE, make_evidence(config.fingerprint, iou, test_fingerprint))
    (reports / "evaluate" / "per_image.csv").write_text("id,iou\na,0.9\n")
    (reports / "model_card.md").write_text(f"# A model card\n{config.fingerprint}\n")
    return config
