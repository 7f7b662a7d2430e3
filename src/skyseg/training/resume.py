"""What a killed training goes on from: one safetensors file, and what must be equal for that."""

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
# goes on when they change.
MAY_CHANGE = ("train.epochs", "train.patience", "model.refine")


class Notes(NamedTuple):
    """What the state says besides tensors and history."""

    run: str | None = None
    """MLflow run of the training."""
    commit: str | None = None
    """Commit of the code when the training began."""
    epochs: int | None = None
    """What ``train.epochs`` was."""


def training_fingerprint(params: Params, inputs: list[str | None]) -> str:
    """SHA-256 of all that decides what a training computes: settings, data, initial weights, code.

    Args:
        params: all settings; only those of ``model`` and ``train`` count, less ``MAY_CHANGE``.
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
    """Take up a killed training of the same settings, data and code; else start afresh.

    Says on stdout what it does, unless there is nothing to go on from.
    """
    loaded = load_state(state)
    if loaded is None or loaded[1].get("finished"):
        return Progress(), Notes()
    tensors, saved = loaded
    if saved.get("fingerprint") != fingerprint:
        print(f"starting afresh: {state.name} is from a training with other settings, data or code")
        return Progress(), Notes()
    if len(saved["history"]) > epochs:
        print(f"starting afresh: {state.name} has trained {len(saved['history'])} epochs already")
        return Progress(), Notes()
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = tensor
    learner.model.load_state_dict(parts["model"])
    learner.average.load_state_dict(parts["average"])
    _load_optimizer(learner, parts["optimizer"], saved["scheduler"])
    notes = Notes(saved["run"], saved["commit"], saved["epochs"])
    print(f"going on after epoch {len(saved['history'])}")
    if notes.epochs != epochs:
        print(
            f"train.epochs was {notes.epochs} and is {epochs} now: the learning rate goes on as in "
            f"a training of {epochs}, so the result differs from one begun with {epochs}"
        )
    return Progress(saved["history"], parts["best"]), notes


def save_progress(
    state: Path, learner: Learner, progress: Progress, fingerprint: str, notes: Notes
) -> None:
    """Write what ``load_progress`` reads. Random numbers follow from seed and epoch: no state."""
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
    """Leave a state that says there is nothing to go on from."""
    save_state(state, {}, {"finished": True})


def _load_optimizer(
    learner: Learner, tensors: dict[str, Tensor], scheduler: dict[str, Any]
) -> None:
    weights = [weight for group in learner.optimizer.param_groups for weight in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, slot = name.split("/")
        # In the weight's memory layout: a fused optimizer pairs numbers by their place in memory.
        like = weights[int(index)]
        slots.setdefault(int(index), {})[slot] = (
            torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        )
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    base, lambdas = learner.scheduler.base_lrs, learner.scheduler.lr_lambdas
    learner.scheduler.load_state_dict(scheduler | {"lr_lambdas": [None]})
    # By the schedule as it is now: train.epochs may have changed.
    step = learner.scheduler.last_epoch
    rates = [rate * factor(step) for rate, factor in zip(base, lambdas, strict=True)]
    learner.scheduler._last_lr = rates
    for group, rate in zip(learner.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
