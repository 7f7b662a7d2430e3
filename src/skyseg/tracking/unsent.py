"""Keeps what a training logs as files until the store has it, so that nothing is lost if the store
does not answer and the training is killed.

One folder per run, ``mlunsent/RUN`` in the main repository:

- ``metrics-EPOCH.json``: a list of ``[name, value, timestamp in ms, step]``;
- ``artifacts/``: files, at their paths among the run's artifacts;
- ``status.json``: how the run ended, ``{"status": ..., "end_time": in ms}``.

A file is removed when it is delivered. Delivering it twice changes nothing: MLflow ignores a metric
with the same value, time and step, and replaces an artifact at the same path.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from uuid import NAMESPACE_OID, uuid5

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
from PIL.Image import Image

from skyseg.documents import Document, read_document, read_json
from skyseg.errors import UserError
from skyseg.files import atomic_write, write_json, write_text
from skyseg.tracking import runs
from skyseg.tracking.store import UNSENT, repository_root

STATUS = "status.json"
DAMAGED = "delete it; metrics are in reports/history.csv too"


class End(Document):
    """How a run ended."""

    status: Literal["FINISHED", "FAILED", "KILLED"]
    end_time: int
    """In ms since 1970."""


def unsent_folder(root: Path, run_id: str) -> Path:
    """The folder of a run; ``root`` is any folder of the repository or of its temporary clones."""
    return repository_root(root) / UNSENT / run_id


def unsent_runs(root: Path) -> list[str]:
    """The ids of the runs for which something is kept."""
    folder = repository_root(root) / UNSENT
    return sorted(path.name for path in folder.glob("*") if _files(path))


def keep_metrics(folder: Path, metrics: list[Metric], epoch: int) -> None:
    """Keep the metrics of an epoch."""
    rows = [[metric.key, metric.value, metric.timestamp, metric.step] for metric in metrics]
    write_text(folder / f"metrics-{epoch:06}.json", json.dumps(rows))


def keep_image(folder: Path, key: str, epoch: int, image: Image, at: int) -> None:
    """Keep a picture of an epoch, in the two sizes and with the names of MLflow's ``log_image``.

    The same run, key, epoch and time ``at`` (in ms since 1970) give the same name, so that a
    picture that is logged again replaces the first.
    """
    identity = uuid5(NAMESPACE_OID, f"{folder.name} {key} {epoch} {at}")
    name = f"{key}+step+{epoch}+timestamp+{at}+{identity}"
    images = folder / "artifacts" / "images"
    with atomic_write(images / f"{name}.png") as temporary:
        image.save(temporary, "PNG")
    with atomic_write(images / f"{name}+compressed.webp") as temporary:
        compress_image_size(image).save(temporary, "WEBP")


def keep_file(folder: Path, path: Path, where: str | None) -> None:
    """Keep a copy of a file, for the folder ``where`` among the run's artifacts."""
    with atomic_write(folder / "artifacts" / (where or ".") / path.name) as temporary:
        shutil.copyfile(path, temporary)


def keep_status(folder: Path, status: str) -> None:
    """Keep how and when the run ended."""
    content = {"status": status, "end_time": int(time.time() * 1000)}
    write_json(folder / STATUS, content)


def forget_status(folder: Path) -> None:
    """Drop how a run ended that goes on now."""
    (folder / STATUS).unlink(missing_ok=True)


def kept_epochs(folder: Path) -> set[int]:
    """The epochs whose metrics are kept."""
    return {int(path.stem.split("-")[1]) for path in folder.glob("metrics-[0-9]*.json")}


def deliver(folder: Path) -> Counter[str]:
    """Send what is kept for a run to the store, in the order of the epochs and its status last.

    Another process may deliver the same at the same time.

    Returns:
        How much was delivered, by kind: epochs, pictures, other files, end status.

    Raises:
        UserError: a file is damaged. What is delivered is removed, the rest is kept.
        Exception: one of ``connection.FAILURES``; likewise.
    """
    run_id, client, delivered = folder.name, MlflowClient(), Counter[str]()
    # The training writes it last, so if it is here now, all else is, and is sent before it.
    status = folder / STATUS
    ended = status.exists()
    for path in sorted(folder.glob("metrics-[0-9]*.json")):
        with _unless_gone(path):
            runs.log_metrics(run_id, _read_metrics(path))
            path.unlink()
            delivered["epochs"] += 1
    artifacts = folder / "artifacts"
    for path in _files(artifacts):
        with _unless_gone(path):
            inside = path.relative_to(artifacts).parent.as_posix()
            client.log_artifact(run_id, str(path), None if inside == "." else inside)
            if path.suffix == ".webp":  # the second file of a picture
                client.set_tag(run_id, MLFLOW_LOGGED_IMAGES, True)
                delivered["pictures"] += 1
            elif inside != "images":
                delivered["other files"] += 1
            path.unlink()
    if ended:
        with _unless_gone(status):
            client.set_terminated(run_id, **read_document(status, End, DAMAGED).model_dump())
            status.unlink()
            delivered["end status"] += 1
        # os.walk skips folders that another process removes in the meantime; rglob fails.
        for empty in (
            *(Path(place) for place, _, _ in os.walk(folder, topdown=False)),
            folder.parent,
        ):
            with suppress(OSError):
                empty.rmdir()
    return delivered


@contextmanager
def _unless_gone(path: Path) -> Iterator[None]:
    """Ignore that a file is gone, because another process has delivered it."""
    try:
        yield
    except (FileNotFoundError, UserError):
        if path.exists():
            raise


def _read_metrics(path: Path) -> list[Metric]:
    """What ``keep_metrics`` wrote."""
    rows = read_json(path, DAMAGED)
    try:
        return [Metric(str(key), float(value), int(at), int(step)) for key, value, at, step in rows]
    except (TypeError, ValueError):
        raise UserError(f"{path}: not rows of name, value, time and step; {DAMAGED}") from None


def _files(folder: Path) -> list[Path]:
    """All files in a folder, except unfinished ones, whose folders begin with a dot."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(found)
