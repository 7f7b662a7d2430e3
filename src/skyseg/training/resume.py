"""Resuming a training: its saved state, and the settings, data and code to compare.

The state of a finished training is kept, too: so it can be extended, and its results can be written
again if it was killed while it wrote them.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skyseg.model.checkpoint import load_state, save_state
from skyseg.params import Params, flatten
from skyseg.provenance import fingerprint_of
from skyseg.training.engine import Begun, Learner
from skyseg.training.fit import Progress

# Settings that only say how long to train, or what is done with the weights afterwards: a training
# can be resumed after they change.
MAY_CHANGE = ("train.epochs", "train.patience", "model.refine")

SAVE_EVERY = 180  # seconds between two saves of the state within an epoch


class Notes(NamedTuple):
    """What the state contains besides tensors and history."""

    run: str | None = None
    """MLflow run of the training; None until it is created."""
    token: str = ""
    """A tag of that run, by which it is found after a kill before its id was saved."""
    commit: str | None = None
    """Commit of the code when the training began."""
    epochs: int | None = None
    """Value of ``train.epochs`` when the state was saved."""
    ended: int = 0
    """When the last epoch ended, in ms since 1970."""
    finished: bool = False
    """Whether the results of the training have been written."""


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
    """Go on with a training of the same settings, data and code, or start from scratch.

    A training that has not finished and cannot be resumed is kept as ``previous_state``, and used
    if its settings come back. Prints what it does, unless there is nothing to go on with.
    """
    loaded = load_state(state)
    if loaded and not _complete(*loaded):
        if not loaded[1].get("finished"):  # earlier versions kept nothing else of these
            print(f"starting from scratch: {state.name} is damaged")
        loaded = None
    if loaded and _fits(loaded[1], fingerprint, epochs):
        return _resumed(learner, *loaded, epochs)
    aside = previous_state(state)
    kept = load_state(aside)
    unfinished = loaded and _has_tensors(loaded[1]) and not loaded[1].get("finished")
    if loaded and unfinished:
        why = (
            f"has more than train.epochs: {epochs}"
            if loaded[1]["fingerprint"] == fingerprint
            else "is from a training with other settings, data or code"
        )
        print(
            f"{state.name} {why}, and had finished {len(loaded[1]['history'])} of "
            f"{loaded[1]['epochs']} epochs: it is kept as {aside.name}"
        )
        state.replace(aside)
    if kept and _complete(*kept) and _fits(kept[1], fingerprint, epochs):
        print(f"{aside.name} was from a training with the same settings, data and code")
        return _resumed(learner, *kept, epochs)
    if unfinished:
        print("starting from scratch")
    return Progress(), Notes()


def _fits(saved: dict[str, Any], fingerprint: str, epochs: int) -> bool:
    """Whether a training can go on: it is the same one, and has no more epochs than wanted."""
    return saved["fingerprint"] == fingerprint and len(saved["history"]) <= epochs


def previous_state(state: Path) -> Path:
    """Where the last state is kept that had not finished when other settings, data or code came."""
    return state.with_name(f"{state.stem}.previous{state.suffix}")


def _resumed(
    learner: Learner, tensors: dict[str, Tensor], saved: dict[str, Any], epochs: int
) -> tuple[Progress, Notes]:
    notes = Notes(**{name: saved[name] for name in Notes._fields if name in saved})
    if not _has_tensors(saved):
        return Progress(), notes
    history, begun = saved["history"], Begun(**saved["begun"]) if saved.get("begun") else None
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = tensor
    learner.model.load_state_dict(parts["model"])
    learner.average.load_state_dict(parts["average"])
    _load_optimizer(learner, parts["optimizer"], saved["scheduler"])
    steps = f"{begun.steps} steps of epoch {begun.epoch}" if begun else ""
    print(
        f"{'this training was finished: ' if notes.finished else ''}resuming after "
        + " and ".join(filter(None, [f"epoch {len(history)}" if history else "", steps]))
    )
    if notes.epochs != epochs:
        print(
            f"train.epochs was {notes.epochs} and is now {epochs}: the learning rate follows the "
            f"schedule for {epochs} epochs from here on, so the result differs from a training "
            f"that started with {epochs}"
        )
    return Progress(history, parts.get("best", {}), begun), notes


def _has_tensors(saved: dict[str, Any]) -> bool:
    """Whether a state is of a training that has done a step; else it has only notes."""
    return bool(saved["history"] or saved.get("begun"))


def _complete(tensors: dict[str, Tensor], saved: dict[str, Any]) -> bool:
    """Whether a state has all that ``save_progress`` writes."""
    kinds = {"fingerprint": str, "history": list, "scheduler": dict, "epochs": int}
    if not all(isinstance(saved.get(key), kind) for key, kind in kinds.items()):
        return False
    parts = {name.split("/", 1)[0] for name in tensors}
    needed = {"model", "average", "optimizer"} if _has_tensors(saved) else set()
    if saved["history"]:
        needed.add("best")
    begun = saved.get("begun")
    return (
        {"run", "commit"} <= saved.keys()
        and (not begun or begun.keys() == Begun.__dataclass_fields__.keys())
        and parts >= needed
        and all(isinstance(row, dict) and "val/iou" in row for row in saved["history"])
    )


@dataclass
class Saver:
    """Saves the state of a training at the end of epochs, and within long ones."""

    state: Path
    learner: Learner
    progress: Progress
    fingerprint: str
    notes: Notes
    _saved: float = field(default_factory=lambda: time.monotonic())

    def save(self, **changes: Any) -> None:
        """Save now, with these changes of the notes, which stay."""
        self.notes = self.notes._replace(**changes)
        save_progress(self.state, self.learner, self.progress, self.fingerprint, self.notes)
        self._saved = time.monotonic()

    def on_check(self, ending: bool) -> None:
        """Save if the training is ending, or if the last time is ``SAVE_EVERY`` ago."""
        if ending or time.monotonic() - self._saved >= SAVE_EVERY:
            self.save()


def save_progress(
    state: Path, learner: Learner, progress: Progress, fingerprint: str, notes: Notes
) -> None:
    """Write what ``load_progress`` reads.

    Before the first step, these are the notes alone, so that the next training goes on with the
    same run. Random numbers depend only on seed, epoch and step, so no generator state is saved.
    JSON keeps every bit of the sums.
    """
    begun = progress.begun
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
            if progress.history or begun
        },
        {
            "fingerprint": fingerprint,
            "history": progress.history,
            "begun": begun and asdict(begun),
            "scheduler": scheduler,
            **notes._asdict(),
        },
    )


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
