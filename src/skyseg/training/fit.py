"""Training, epoch by epoch: everything that decides the resulting weights.

Nothing is written or logged here: ``pipeline.train`` does that. So DVC and a resumed training only
have to compare this module and the modules that it imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyseg.data.arrays import open_split
from skyseg.data.manifest import read_manifest
from skyseg.errors import UserError
from skyseg.model.device import Hardware
from skyseg.model.u2net import build_model
from skyseg.model.weights import load_into, read_weights
from skyseg.params import Params, TrainParams
from skyseg.training import engine


@dataclass
class Arrays:
    """The prepared samples: uint8 [N, size, size, 3] and [N, size, size]."""

    train: tuple[engine.Pixels, engine.Pixels]
    val: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    train_names: list[str]
    """Ids of the training samples, by row."""
    val_names: list[str]
    weights: NDArray[np.float64]
    """[N]: how often an epoch shows each training sample."""

    @property
    def epoch_images(self) -> int:
        """Number of images that an epoch shows."""
        return len(epoch_order(self.weights, np.random.default_rng(0)))


@dataclass
class Progress:
    """How far a training has got; saved for resuming, together with the learner's tensors."""

    history: list[dict[str, float]] = field(default_factory=list)
    """One row per epoch, under the names that MLflow shows."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """The averaged weights of the best epoch."""
    begun: engine.Begun | None = None
    """What is done of the next epoch; None if it has not begun."""

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best(self) -> dict[str, float]:
        """The finished epoch with the best validation IoU; the first if several are equal."""
        return max(self.history, key=lambda row: row["val/iou"])


def open_arrays(prepared: Path, device: torch.device) -> Arrays:
    """Open what prepare wrote, with the training split on the GPU if it fits.

    Raises:
        UserError: nothing is prepared there, or it is damaged, or an epoch would show no image.
    """
    manifest = read_manifest(prepared)
    train, val = (
        manifest.loc[manifest["split"] == split, "id"].tolist() for split in ("train", "val")
    )
    images, masks = open_split(prepared, "train", len(train))
    arrays = Arrays(
        (engine.resident(images, device), engine.resident(masks, device)),
        open_split(prepared, "val", len(val)),
        train,
        val,
        manifest.loc[manifest["split"] == "train", "weight"].to_numpy(np.float64),
    )
    if not arrays.epoch_images:
        raise UserError("data.sources: the weights leave an epoch without images; raise one")
    return arrays


def epoch_order(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of the training samples in the order in which an epoch shows them.

    Args:
        weights: [N], above 0. Of samples with weight w, each occurs floor(w) times, and a share of
            w - floor(w) of them, drawn at random, once more.
        rng: of this epoch.
    """
    rows = np.repeat(np.arange(len(weights)), np.floor(weights).astype(int))
    for weight in np.unique(weights[weights % 1 > 0]):
        alike = np.flatnonzero(weights == weight)
        drawn = rng.choice(alike, round(float(weight % 1) * len(alike)), replace=False)
        rows = np.concatenate([rows, drawn])
    return rng.permutation(rows)


def new_learner(
    params: Params, images: int, hardware: Hardware, weights: Path | None, source: str
) -> engine.Learner:
    """A network with seeded or pretrained weights, its optimizer and its schedule.

    Args:
        params: the settings.
        images: number of images that an epoch shows.
        hardware: what to train on.
        weights: a file of pretrained weights; None: random ones.
        source: what the user calls them; used in error messages.

    Raises:
        UserError: the weights cannot be read, or belong to another network.
    """
    torch.manual_seed(params.train.seed)
    model = build_model(params.model.variant)
    if weights is not None:
        load_into(model, read_weights(weights), source)
    steps = max(images // params.train.batch_size, 1)
    return engine.build_learner(model, params.train, steps * params.train.epochs, hardware)


def fit(
    learner: engine.Learner,
    arrays: Arrays,
    train: TrainParams,
    hardware: Hardware,
    progress: Progress,
    on_step: Callable[[int, float], None],
    on_check: Callable[[bool], None],
) -> Iterator[dict[str, float]]:
    """Train until all epochs are done or validation has not improved for too long.

    Yields each epoch's row after updating ``progress.history`` and ``progress.best_weights``, so
    that nothing is lost if the training is killed after that.

    Args:
        on_step: called for each step with the number of its images and its loss.
        on_check: see ``engine.train_one_epoch``; ``progress`` can be saved then.

    Raises:
        UserError: a loss or a gradient is not finite; names the samples of the batch.
    """
    while not finished(progress, train):
        row = run_epoch(learner, arrays, train, hardware, progress, on_step, on_check)
        progress.history.append(row)
        progress.begun = None
        if progress.best is row:
            progress.best_weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in learner.average.module.state_dict().items()
            }
        yield row


def finished(progress: Progress, train: TrainParams) -> bool:
    """Whether all epochs are done, or validation has not improved for too long."""
    if progress.epoch >= train.epochs:
        return True
    if not train.patience or not progress.history:
        return False
    return progress.epoch - progress.best["epoch"] >= train.patience


def run_epoch(
    learner: engine.Learner,
    arrays: Arrays,
    train: TrainParams,
    hardware: Hardware,
    progress: Progress,
    on_step: Callable[[int, float], None],
    on_check: Callable[[bool], None],
) -> dict[str, float]:
    """Train for the next epoch, or the rest of it, then validate the averaged weights; returns a
    row of the history.

    Order and augmentation depend only on the seed, the epoch and the step, so a resumed training
    computes what an uninterrupted one would have computed.
    """
    epoch, size = progress.epoch + 1, train.batch_size
    lr = float(learner.scheduler.get_last_lr()[0])
    begun = progress.begun = progress.begun or engine.Begun(epoch, lr)
    order = epoch_order(arrays.weights, np.random.default_rng([train.seed, epoch]))
    # Full batches only; the samples that are left out change from epoch to epoch.
    order = order[: max(len(order) // size, 1) * size]
    trained = engine.train_one_epoch(
        learner,
        engine.batches(*arrays.train, size, hardware.device, order[begun.images :]),
        train,
        hardware,
        arrays.train_names,
        begun,
        on_step,
        on_check,
    )
    rows = np.arange(len(arrays.val_names))
    validated = engine.validate(
        learner.average.module,
        engine.batches(*arrays.val, size, hardware.device, rows),
        train.loss,
        hardware,
        arrays.val_names,
    )
    return {
        "epoch": epoch,
        "lr": begun.lr,
        "images_per_second": begun.images / begun.seconds,
        **{f"train/{name}": value for name, value in trained.items()},
        **{f"val/{name}": value for name, value in validated.items()},
    }
