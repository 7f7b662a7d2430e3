"""Resuming an interrupted training: its saved state, and the settings, data and code to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skyseg.model.checkpoint import load_state, save_state
from skyseg.params import Params, flatten
from skyseg.provenance import fingerprint_of
from skyseg.training.engine import Learner
from skyseg.training.fit import Progress

# Settings that only say how long to train, or what is done with the weights afterwards: a training
# can be resumed after they change.
MAY_CHANGE = ("train.epochs", "train.patience", "model.refine")


class Notes(NamedTuple):
    """What the state contains besides tensors and history."""

    run: str | None = None
    """MLflow run of the training."""
    commit: str | None = None
    """Commit of the code when the training began."""
    epochs: int | None = None
    """Value of ``train.epochs`` when the state was saved."""


def training_fingerprint(params: Params, inputs: list[str | None]) -> str:
    """SHA-256 of all that decides what a training computes: settings, data, initial weights, code.

    Args:
        params: all settings; only those of ``model`` and ``train`` count, except ``MAY_CHANGE``.
        inputs: fingerprints of the data and of the initial weights.
    """
    settings = {
        name: value
        for name, value in flatten(params).items()
        if name.split(".")[0] in ("model", "train") and name not in MAY_CHANGE
    }
    return fingerprint_of("train", settings, inputs)


def load_progress(
    learner: Learner, state: Path, fingerprint: str, epochs: int
) -> tuple[Progress, Notes]:
    """Resume an interrupted training with the same settings, data and code, or start from scratch.

    Prints what it does, unless there is nothing to resume.
    """
    loaded = load_state(state)
    if loaded is None or loaded[1].get("finished"):
        return Progress(), Notes()
    tensors, saved = loaded
    if not _complete(tensors, saved):
        print(f"starting from scratch: {state.name} is damaged")
        return Progress(), Notes()
    if saved["fingerprint"] != fingerprint:
        print(
            f"starting from scratch: {state.name} is from a training with other settings, data or "
            "code"
        )
        return Progress(), Notes()
    if len(saved["history"]) > epochs:
        print(
            f"starting from scratch: {state.name} already has {len(saved['history'])} epochs, "
            f"more than train.epochs: {epochs}"
        )
        return Progress(), Notes()
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = tensor
    learner.model.load_state_dict(parts["model"])
    learner.average.load_state_dict(parts["average"])
    _load_optimizer(learner, parts["optimizer"], saved["scheduler"])
    notes = Notes(saved["run"], saved["commit"], saved["epochs"])
    print(f"resuming after epoch {len(saved['history'])}")
    if notes.epochs != epochs:
        print(
            f"train.epochs was {notes.epochs} and is now {epochs}: the learning rate follows the "
            f"schedule for {epochs} epochs from here on, so the result differs from a training "
            f"that started with {epochs}"
        )
    return Progress(saved["history"], parts["best"]), notes


def _complete(tensors: dict[str, Tensor], saved: dict[str, Any]) -> bool:
    """Whether a state has all that ``save_progress`` writes."""
    kinds = {"fingerprint": str, "history": list, "scheduler": dict, "epochs": int}
    return (
        all(isinstance(saved.get(key), kind) for key, kind in kinds.items())
        and {"run", "commit"} <= saved.keys()
        and {name.split("/", 1)[0] for name in tensors} >= {"model", "average", "optimizer", "best"}
        and all(isinstance(row, dict) and "val/iou" in row for row in saved["history"])
    )


def save_progress(
    state: Path, learner: Learner, progress: Progress, fingerprint: str, notes: Notes
) -> None:
    """Write what ``load_progress`` reads. Random numbers depend only on seed and epoch, so no
    generator state is saved."""
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
            "scheduler": scheduler,
            **notes._asdict(),
        },
    )


def mark_finished(state: Path) -> None:
    """Write a state that says there is nothing to resume."""
    save_state(state, {}, {"finished": True})


def _load_optimizer(
    learner: Learner, tensors: dict[str, Tensor], scheduler: dict[str, Any]
) -> None:
    weights = [weight for group in learner.optimizer.param_groups for weight in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, slot = name.split("/")
        # Use the weight's memory layout: a fused optimizer pairs values by their place in memory.
        like = weights[int(index)]
        slots.setdefault(int(index), {})[slot] = (
            torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        )
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    base, lambdas = learner.scheduler.base_lrs, learner.scheduler.lr_lambdas
    learner.scheduler.load_state_dict(scheduler | {"lr_lambdas": [None]})
    # Use the current schedule: train.epochs may have changed.
    step = learner.scheduler.last_epoch
    rates = [rate * factor(step) for rate, factor in zip(base, lambdas, strict=True)]
    learner.scheduler._last_lr = rates
    for group, rate in zip(learner.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
