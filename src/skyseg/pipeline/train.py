"""train: from prepared arrays to the best checkpoint by validation IoU.

Writes ``models/best.safetensors`` with its config ``models/best.json``, ``reports/history.csv``,
``reports/train.json``, and ``models/resume.safetensors``, from which an interrupted run resumes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
from PIL.Image import Image
from tqdm import tqdm

from skyseg.data.manifest import Dataset, read_dataset
from skyseg.errors import exit_code, memory_errors
from skyseg.files import locked, sha256, write_csv, write_json
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.device import Hardware, pick_hardware
from skyseg.params import Params, flatten, load_params
from skyseg.pipeline.progress import TrainingProgress
from skyseg.provenance import git_commit
from skyseg.reports.sheets import error_sheet
from skyseg.reports.tables import escape_cell
from skyseg.tracking import connection, registry
from skyseg.tracking.training import training_run
from skyseg.training import engine
from skyseg.training.fit import Arrays, Progress, fit, new_learner, open_arrays
from skyseg.training.resume import Notes, Saver, load_progress, training_fingerprint

SAMPLES = 8  # validation pictures logged after each epoch


def train(params: Params, root: Path) -> None:
    """Train the network that ``params`` describe on ``root/prepared``.

    Raises:
        UserError: nothing is prepared, the pretrained weights are unusable, CUDA was requested and
            is missing, the tracking server does not answer, a loss is not finite, or another
            training is running here.
    """
    with locked(root / "models" / ".training", f"{root / 'models'}: another training is running"):
        _train(params, root)


def _train(params: Params, root: Path) -> None:
    hardware = pick_hardware(params.train.device, params.train.precision)
    dataset = read_dataset(root / "prepared")
    arrays = open_arrays(root / "prepared", hardware.device)
    images = arrays.epoch_images
    connection.connect(root)
    weights = initial_weights(params, root)
    learner = new_learner(params, images, hardware, weights, f"model.init: {params.model.init}")
    start = sha256(weights) if weights else None
    state = root / "models" / "resume.safetensors"
    fingerprint = training_fingerprint(params, [dataset.fingerprint, start])
    progress, notes = load_progress(learner, state, fingerprint, params.train.epochs)
    tags = {"variant": params.model.variant, "hardware": str(hardware)}
    if notes.epochs not in (None, params.train.epochs):
        tags["train.epochs.changed"] = (
            f"from {notes.epochs} to {params.train.epochs} after epoch {progress.epoch}"
        )
    notes = notes._replace(
        token=notes.token or uuid4().hex,
        commit=notes.commit or git_commit(root),
        epochs=params.train.epochs,
        finished=False,
    )
    saver = Saver(state, learner, progress, fingerprint, notes)
    if notes.run is None:
        saver.save()
    samples = len(arrays.train_names)
    of = "" if images == samples else f" an epoch, of {samples} samples"
    print(
        f"training {params.model.variant} at {params.model.size} px on {hardware}: "
        f"{images} images{of}, {params.train.epochs} epochs",
        flush=True,
    )

    if hardware.device.type == "cuda":
        print(compiling(params, images, hardware), flush=True)

    with training_run(
        params.registry.experiment,
        run_name(params),
        description(params, dataset, hardware),
        params=flatten(params),
        tags=tags,
        dataset=dataset.model_dump(),
        commit=notes.commit,
        token=saver.notes.token,
        resume=notes.run,
        root=root,
    ) as run:
        if notes.run != run.id:
            saver.save(run=run.id)

        def log_picture() -> None:
            sheet = validation_sheet(learner, arrays, hardware, progress.history[-1])
            run.image("validation", progress.epoch, sheet, saver.notes.ended)

        run.replay(progress.history)
        if progress.history and not progress.begun:
            log_picture()  # it is lost if the training was killed before it was logged

        def save_best() -> ModelConfig:
            config = best_config(params, dataset, progress, saver.notes, start)
            return save_checkpoint(
                root / "models" / "best.safetensors", progress.best_weights, config
            )

        begun = progress.begun.images if progress.begun else 0
        with TrainingProgress(
            params.train.epochs * images, progress.epoch * images + begun, images
        ) as shown:

            def on_step(count: int, loss: float) -> None:
                iou = f", val IoU {progress.history[-1]['val/iou']:.4f}" if progress.history else ""
                epoch = f"epoch {progress.epoch + 1}/{params.train.epochs}"
                shown.step(count, epoch, f"loss {loss:.3f}{iou}")

            epochs = fit(learner, arrays, params.train, hardware, progress, on_step, saver.on_check)
            for row in with_memory_advice(epochs, params, hardware):
                write_csv(root / "reports" / "history.csv", pd.DataFrame(progress.history))
                if progress.best is row:
                    save_best()
                saver.save(ended=int(time.time() * 1000))
                tqdm.write(summary(row, progress))
                run.record(progress.epoch, {k: v for k, v in row.items() if k != "epoch"})
                log_picture()
                shown.at(progress.epoch * images)
        # Needed even if a training was killed after its last epoch: DVC has removed these files.
        write_csv(root / "reports" / "history.csv", pd.DataFrame(progress.history))
        best = save_best()
        write_json(root / "reports" / "train.json", {"val": {**best.val, "epoch": best.epoch}})
        saver.save(finished=True)
        run.artifact(root / "reports" / "history.csv")
    print(
        f"best epoch {best.epoch} of {progress.epoch}: validation IoU {best.val['iou']:.4f} "
        f"at threshold {best.threshold:.3f}; saved in models/best.safetensors"
    )


def compiling(params: Params, images: int, hardware: Hardware) -> str:
    """One line: whether the network is compiled, and why."""
    total = params.train.epochs * images
    if params.train.compile == "off":
        return "not compiled (train.compile: off)"
    if engine.compiles(params.train, total, hardware.device):
        return (
            f"compiling takes some {engine.COMPILE_SECONDS} s, less if PyTorch's cache has this "
            "network; the speed of the first epoch includes it"
        )
    return (
        f"not compiled: that takes some {engine.COMPILE_SECONDS} s and pays from about "
        f"{engine.COMPILE_PAYS:,} images on, and this training has {total:,} (train.compile: on "
        "does it anyway)"
    )


def initial_weights(params: Params, root: Path) -> Path | None:
    """The file that ``model.init`` names, downloaded if it is a registered model's, or None."""
    source = params.model.init
    if not source:
        return None
    return registry.download_weights(source) if source.startswith("models:") else root / source


def with_memory_advice(
    epochs: Iterator[dict[str, float]], params: Params, hardware: Hardware
) -> Iterator[dict[str, float]]:
    """Yield the epochs; if memory runs out in one, raise an error that says what to set."""
    size = params.train.batch_size
    smaller = f"train.batch_size: {size // 2}" if size > 1 else "a smaller model.size"
    with memory_errors(
        f"{size} samples of {params.model.size} px at a time are too many for {hardware}; set "
        f"{smaller} in params.yaml"
    ):
        yield from epochs


def summary(row: dict[str, float], progress: Progress) -> str:
    """One line about the last epoch."""
    return (
        f"epoch {progress.epoch}: loss {row['train/loss']:.3f}, validation loss "
        f"{row['val/loss']:.3f}, IoU {row['val/iou']:.4f}, max F {row['val/f_max']:.4f}, "
        f"{row['images_per_second']:.1f} images/s"
        + (" (best so far)" if progress.best is row else "")
    )


def best_config(
    params: Params, dataset: Dataset, progress: Progress, notes: Notes, start: str | None
) -> ModelConfig:
    """The model config for the weights of the best epoch so far."""
    best = progress.best
    validated = {
        name.removeprefix("val/"): value for name, value in best.items() if name.startswith("val/")
    }
    return ModelConfig(
        variant=params.model.variant,
        size=params.model.size,
        threshold=validated["threshold"],
        presence=validated["presence"],
        refine=params.model.refine,
        epoch=int(best["epoch"]),
        val=validated,
        data=dataset.model_dump(),
        params=flatten(params),
        start=start,
        git_commit=notes.commit,
        run=notes.run,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def validation_sheet(
    learner: engine.Learner, arrays: Arrays, hardware: Hardware, row: dict[str, float]
) -> Image:
    """The same few validation pictures after every epoch, with the model's predictions.

    Args:
        row: of the history, for the epoch that has just ended.
    """
    images, masks = arrays.val
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLES).round().astype(int))
    maps = engine.predict(
        learner.average.module,
        engine.batches(images, masks, len(rows), hardware.device, rows),
        hardware,
    )
    return error_sheet(
        [
            (images[index], found >= row["val/threshold"], masks[index], "")
            for index, found in zip(rows, maps, strict=True)
        ]
    )


def run_name(params: Params) -> str:
    """Name of the run, such as 'u2netp 160 px, 10 epochs, lr 0.002, 2026-11-27 00:12:05', with the
    local time, which tells runs with the same settings apart."""
    return (
        f"{params.model.variant} {params.model.size} px, {params.train.epochs} epochs, "
        f"lr {params.train.lr:g}, {datetime.now():%Y-%m-%d %H:%M:%S}"
    )


def description(params: Params, dataset: Dataset, hardware: Hardware) -> str:
    """Description at the top of the run's page in the MLflow UI (Markdown)."""
    start = escape_cell(params.model.init or "random weights")
    images = ", ".join(f"{part.images} {split}" for split, part in dataset.splits.items())
    return (
        f"**{params.model.variant}** at {params.model.size} px from {start}, on {hardware}.\n\n"
        f"Data: {images}. {escape_cell(dataset.decided)}"
    )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: train(load_params(), Path())))
