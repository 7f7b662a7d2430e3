"""train: from prepared arrays to the best checkpoint by validation IoU.

Writes ``models/best.safetensors`` with its config ``models/best.json``, ``reports/history.csv``,
``reports/train.json``, and ``models/resume.safetensors``, from which a killed run goes on.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from skyseg.data.arrays import open_split
from skyseg.data.manifest import Dataset, read_dataset, read_manifest
from skyseg.errors import exit_code
from skyseg.files import sha256
from skyseg.model.checkpoint import (
    ModelConfig,
    load_into,
    load_state,
    read_weights,
    save_checkpoint,
    save_state,
)
from skyseg.model.device import Hardware, pick_hardware
from skyseg.model.u2net import U2Net, build_model
from skyseg.params import Params, flatten, load_params
from skyseg.provenance import git_commit, run_fingerprint
from skyseg.reports import report
from skyseg.tracking import connection, registry
from skyseg.tracking import training as tracking
from skyseg.training import engine

SAMPLES = 8  # validation pictures logged at each epoch


@dataclass
class Arrays:
    """The prepared samples: uint8 [N, size, size, 3] and [N, size, size]."""

    train: tuple[engine.Pixels, engine.Pixels]
    val: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    names: list[str]
    """Ids of the training samples, by row."""


@dataclass
class Progress:
    """How far a training is: what outlives a kill, besides the learner's tensors."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: ModelConfig | None = None
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    run: str | None = None
    start: str | None = None
    """SHA-256 of the initial weights; None for random ones."""

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self.history)


def train(params: Params, root: Path) -> None:
    """Train the network that ``params`` describe on ``root/prepared``.

    Raises:
        UserError: nothing prepared, unusable initial weights, no CUDA where it is asked for, a
            tracking server that does not answer, a loss that is not finite.
    """
    hardware = pick_hardware(params.train.device, params.train.precision)
    dataset, arrays = open_arrays(root / "prepared", hardware.device)
    connection.connect(root)
    steps = max(len(arrays.names) // params.train.batch_size, 1)
    model, start = initial_model(params, root)
    learner = engine.build_learner(model, params.train, steps * params.train.epochs, hardware)
    state = root / "models" / "resume.safetensors"
    fingerprint = run_fingerprint(flatten(params), [dataset.fingerprint, start])
    progress = resume(learner, state, fingerprint)
    progress.start = start
    print(
        f"training {params.model.variant} at {params.model.size} px on {hardware}: "
        f"{len(arrays.names)} images, {params.train.epochs} epochs",
        flush=True,
    )

    with tracking.training_run(
        params.registry.experiment,
        run_name(params),
        description(params, dataset, hardware),
        params=flatten(params),
        tags={"variant": params.model.variant, "hardware": str(hardware)},
        dataset=dataset.model_dump(),
        resume=progress.run,
    ) as run:
        progress.run = run.id
        run.replay(progress.history)
        with progress_bar(params, arrays, progress) as bar:
            while not finished(progress, params):
                stats = run_epoch(progress, learner, arrays, params, hardware, bar)
                progress.history.append(stats)
                report.write_history(root / "reports" / "history.csv", progress.history)
                keep_best(progress, learner, root, params, dataset)
                save_progress(state, learner, progress, fingerprint)
                tqdm.write(summary(stats, progress))
                run.record(progress.epoch, {k: v for k, v in stats.items() if k != "epoch"})
                run.image(
                    "validation",
                    progress.epoch,
                    validation_sheet(learner, arrays, hardware, stats["val/threshold"]),
                )
        report.write_history(root / "reports" / "history.csv", progress.history)
        finish(progress, state, root)
        run.artifact(root / "reports" / "history.csv")


def open_arrays(prepared: Path, device: torch.device) -> tuple[Dataset, Arrays]:
    """What prepare wrote; the training split on the GPU already, where it fits."""
    manifest = read_manifest(prepared)
    names = manifest.loc[manifest["split"] == "train", "id"].tolist()
    images, masks = open_split(prepared, "train")
    placed = engine.resident(images, device), engine.resident(masks, device)
    return read_dataset(prepared), Arrays(placed, open_split(prepared, "val"), names)


def initial_model(params: Params, root: Path) -> tuple[U2Net, str | None]:
    """A seeded network, with the weights that ``model.init`` names, if any, and their SHA-256."""
    torch.manual_seed(params.train.seed)
    model = build_model(params.model.variant)
    source = params.model.init
    if not source:
        return model, None
    weights = registry.download_weights(source) if source.startswith("models:") else root / source
    load_into(model, read_weights(weights), f"model.init: {source}")
    return model, sha256(weights)


def resume(learner: engine.Learner, state: Path, fingerprint: str) -> Progress:
    """Take up a killed training of the same settings, data and code; else start afresh."""
    loaded = load_state(state)
    if loaded is None:
        return Progress()
    tensors, notes = loaded
    if notes.get("finished"):
        return Progress()
    if notes.get("fingerprint") != fingerprint:
        print(f"starting afresh: {state.name} is from a training with other params, data or code")
        return Progress()
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = tensor
    learner.model.load_state_dict(parts["model"])
    learner.average.load_state_dict(parts["average"])
    weights = [weight for group in learner.optimizer.param_groups for weight in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, slot = name.split("/")
        # In the weight's memory layout: a fused optimizer pairs numbers by their place in memory.
        like = weights[int(index)]
        slots.setdefault(int(index), {})[slot] = (
            torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        )
    learner.optimizer.load_state_dict(
        {"state": slots, "param_groups": learner.optimizer.state_dict()["param_groups"]}
    )
    learner.scheduler.load_state_dict(notes["scheduler"] | {"lr_lambdas": [None]})
    for group, lr in zip(
        learner.optimizer.param_groups, learner.scheduler.get_last_lr(), strict=True
    ):
        group["lr"] = lr
    print(f"going on after epoch {len(notes['history'])}")
    return Progress(
        notes["history"], ModelConfig.model_validate(notes["best"]), parts["best"], notes["run"]
    )


def save_progress(
    state: Path, learner: engine.Learner, progress: Progress, fingerprint: str
) -> None:
    """Write what ``resume`` reads. Random numbers follow from seed and epoch: no state."""
    slots = {
        f"{index}/{name}": tensor
        for index, values in learner.optimizer.state_dict()["state"].items()
        for name, tensor in values.items()
    }
    parts: dict[str, dict[str, Tensor]] = {
        "model": learner.model.state_dict(),
        "average": learner.average.state_dict(),
        "optimizer": slots,
        "best": progress.best_weights,
    }
    scheduler = {
        key: value for key, value in learner.scheduler.state_dict().items() if key != "lr_lambdas"
    }
    best = progress.best.model_dump() if progress.best else None
    save_state(
        state,
        {
            f"{part}/{name}": tensor
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
        },
        {
            "fingerprint": fingerprint,
            "history": progress.history,
            "best": best,
            "run": progress.run,
            "scheduler": scheduler,
        },
    )


def progress_bar(params: Params, arrays: Arrays, progress: Progress) -> tqdm:
    """One bar for the whole training, so that the time left is the training's."""
    per_epoch = len(arrays.names)
    return tqdm(
        total=params.train.epochs * per_epoch,
        initial=progress.epoch * per_epoch,
        unit=" images",
        smoothing=0.05,
        dynamic_ncols=True,
        disable=None,
    )


def run_epoch(
    progress: Progress,
    learner: engine.Learner,
    arrays: Arrays,
    params: Params,
    hardware: Hardware,
    bar: tqdm,
) -> dict[str, float]:
    """Train for an epoch, then validate the averaged weights; returns a row of the history.

    Order and augmentation depend on the seed and the epoch alone, so that a resumed training
    computes what an uninterrupted one would have.
    """
    epoch, size = progress.epoch + 1, params.train.batch_size
    torch.manual_seed(params.train.seed * 100_003 + epoch)
    order = np.random.default_rng([params.train.seed, epoch]).permutation(len(arrays.names))
    # Full batches only; who is left out changes from epoch to epoch.
    order = order[: max(len(order) // size, 1) * size]
    bar.set_description(f"epoch {epoch}/{params.train.epochs}")
    iou = f", val IoU {progress.history[-1]['val/iou']:.4f}" if progress.history else ""

    def on_step(images: int, loss: float) -> None:
        bar.set_postfix_str(f"loss {loss:.3f}{iou}", refresh=False)
        bar.update(images)

    lr, start = float(learner.scheduler.get_last_lr()[0]), time.perf_counter()
    trained = engine.train_one_epoch(
        learner,
        engine.batches(*arrays.train, size, hardware.device, order),
        params.train,
        hardware,
        arrays.names,
        on_step,
    )
    seconds = time.perf_counter() - start
    in_order = np.arange(len(arrays.val[0]))
    validated = engine.evaluate(
        learner.average.module,
        engine.batches(*arrays.val, size, hardware.device, in_order),
        params.train.loss,
        hardware,
    )
    bar.update(epoch * len(arrays.names) - bar.n)
    return {
        "epoch": epoch,
        "lr": lr,
        "images_per_second": len(order) / seconds,
        **{f"train/{name}": value for name, value in trained.items()},
        **{f"val/{name}": value for name, value in validated.items()},
    }


def summary(stats: dict[str, float], progress: Progress) -> str:
    """One line on the last epoch."""
    best = progress.best is not None and progress.best.epoch == progress.epoch
    return (
        f"epoch {progress.epoch}: loss {stats['train/loss']:.3f}, validation loss "
        f"{stats['val/loss']:.3f}, IoU {stats['val/iou']:.4f}, max F {stats['val/f_max']:.4f}, "
        f"{stats['images_per_second']:.1f} images/s{' (best so far)' if best else ''}"
    )


def finished(progress: Progress, params: Params) -> bool:
    """Whether all epochs are done, or validation has not improved for too long."""
    if progress.epoch >= params.train.epochs:
        return True
    if not params.train.patience or progress.best is None or progress.best.epoch is None:
        return False
    return progress.epoch - progress.best.epoch >= params.train.patience


def keep_best(
    progress: Progress, learner: engine.Learner, root: Path, params: Params, dataset: Dataset
) -> None:
    """Write a checkpoint if the last epoch has the best validation IoU so far."""
    stats = progress.history[-1]
    validated = {
        name.removeprefix("val/"): value for name, value in stats.items() if name.startswith("val/")
    }
    if progress.best is not None and validated["iou"] <= progress.best.val["iou"]:
        return
    progress.best_weights = {
        name: tensor.detach().cpu().clone()
        for name, tensor in learner.average.module.state_dict().items()
    }
    config = ModelConfig(
        variant=params.model.variant,
        size=params.model.size,
        threshold=validated["threshold"],
        presence=validated["presence"],
        refine=params.model.refine,
        epoch=progress.epoch,
        val=validated,
        data=dataset.model_dump(),
        params=flatten(params),
        start=progress.start,
        git_commit=git_commit(root),
        run=progress.run,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    progress.best = save_checkpoint(
        root / "models" / "best.safetensors", progress.best_weights, config
    )


def validation_sheet(
    learner: engine.Learner, arrays: Arrays, hardware: Hardware, threshold: float
) -> Any:
    """The same few validation pictures at every epoch, with what the model finds in them."""
    images, masks = arrays.val
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLES).round().astype(int))
    maps = engine.predict(
        learner.average.module,
        engine.batches(images, masks, len(rows), hardware.device, rows),
        hardware,
    )
    return report.error_sheet(
        [
            (images[row], found >= threshold, masks[row], "")
            for row, found in zip(rows, maps, strict=True)
        ]
    )


def finish(progress: Progress, state: Path, root: Path) -> None:
    """Leave the best checkpoint, its figures, and a state that says there is nothing to resume."""
    assert progress.best is not None  # at least one epoch ran
    best = save_checkpoint(
        root / "models" / "best.safetensors", progress.best_weights, progress.best
    )
    report.write_json(root / "reports" / "train.json", {"val": {**best.val, "epoch": best.epoch}})
    save_state(state, {}, {"finished": True})
    print(
        f"best epoch {best.epoch} of {progress.epoch}: validation IoU {best.val['iou']:.4f} "
        f"at threshold {best.threshold:.3f}; kept in models/best.safetensors"
    )


def run_name(params: Params) -> str:
    """Such as 'u2netp 160 px, 10 epochs, lr 0.002'."""
    return (
        f"{params.model.variant} {params.model.size} px, {params.train.epochs} epochs, "
        f"lr {params.train.lr:g}"
    )


def description(params: Params, dataset: Dataset, hardware: Hardware) -> str:
    """What the run page of the MLflow UI says above everything else (Markdown)."""
    start = params.model.init or "random weights"
    images = ", ".join(f"{part.images} {split}" for split, part in dataset.splits.items())
    return (
        f"**{params.model.variant}** at {params.model.size} px from {start}, on {hardware}.\n\n"
        f"Data: {images}. {dataset.decided}"
    )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: train(load_params(), Path())))
