"""Overheads: the command's help, a repro with nothing to do, tracking a training in MLflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from benchmarks.photographs import write_photographs
from benchmarks.race import ROOT, Contender, Row, race, seconds
from skyseg.model.device import pick_hardware
from skyseg.model.u2net import build_model
from skyseg.params import flatten, load_params
from skyseg.reports import sheets
from skyseg.tracking import connection
from skyseg.tracking import training as tracking
from skyseg.training import engine

SHEET = 8  # validation pictures logged at each epoch: skyseg.pipeline.train.SAMPLES
SMALL = {"model": {"size": 32}, "train": {"epochs": 1}, "evaluate": {"gallery": 3}}
SAMPLE = 140  # training images of the sample data set
PART = 5  # a fifth of an epoch is timed


def command(words: list[str], folder: str) -> Callable[[], None]:
    """Run a command in a folder and discard its output."""

    def run() -> None:
        subprocess.run(words, cwd=folder, env=_environment(), check=True, stdout=subprocess.DEVNULL)

    return run


def track_epochs(folder: str) -> Callable[[], None]:
    """What a training logs to MLflow at each epoch, in a sqlite store, without the training."""
    params = load_params()
    connection.connect(Path(folder))
    rng = np.random.default_rng(0)
    shape = (SHEET, params.model.size, params.model.size)
    pictures = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    masks = rng.integers(0, 2, shape, dtype=np.uint8)
    scores = {f"{part}/metric{number}": 0.5 for part in ("train", "val") for number in range(12)}

    def run() -> None:
        with tracking.training_run(
            "bench",
            "bench",
            "bench",
            params=flatten(params),
            tags={},
            dataset={},
            commit=None,
            token="bench",
            root=Path(folder),
        ) as tracked:
            for epoch in range(1, params.train.epochs + 1):
                tracked.record(epoch, scores)
                tracked.image(
                    "validation",
                    epoch,
                    sheets.error_sheet(
                        [
                            (picture, mask == 1, mask, "")
                            for picture, mask in zip(pictures, masks, strict=True)
                        ]
                    ),
                    at=0,
                )

    return run


def training() -> Callable[[], None]:
    """A part of an epoch of the sample data set, with the settings of params.yaml."""
    params = load_params()
    hardware = pick_hardware(params.train.device, params.train.precision)
    learner = engine.build_learner(build_model(params.model.variant), params.train, 10**6, hardware)
    rng = np.random.default_rng(0)
    shape = (SAMPLE, params.model.size, params.model.size)
    images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    masks = rng.integers(0, 2, shape, dtype=np.uint8)

    def run() -> None:
        engine.train_one_epoch(
            learner,
            engine.batches(
                images, masks, params.train.batch_size, hardware.device, np.arange(SAMPLE // PART)
            ),
            params.train,
            hardware,
            [str(row) for row in range(SAMPLE)],
            engine.Begun(1, 0.0),
            lambda *_: None,
            lambda *_: None,
        )

    return run


def rows(work: Path) -> Iterator[Row]:
    given = {"words": [sys.executable, "-m", "skyseg", "--help"], "folder": str(ROOT)}
    found = race({"help": Contender("benchmarks.startup:command", given)}, rounds=9)["help"]
    yield _absolute("skyseg --help", seconds(found), "s", "≤ 0.4")

    workspace = work / "workspace"
    _reproduce(workspace)
    given = {"words": ["dvc", "repro", "--quiet"], "folder": str(workspace)}
    found = race({"repro": Contender("benchmarks.startup:command", given)}, rounds=5)["repro"]
    yield _absolute("dvc repro with nothing to do", seconds(found), "s", "≤ 2")

    epochs = load_params().train.epochs
    both = race(
        {
            "track": Contender("benchmarks.startup:track_epochs", {"folder": str(workspace)}),
            "train": Contender("benchmarks.startup:training"),
        },
        rounds=3,
    )
    shares = [
        100 * track / (epochs * PART * part)
        for track, part in zip(seconds(both["track"]), seconds(both["train"]), strict=True)
    ]
    yield _absolute(
        f"tracking {epochs} epochs of the sample data in MLflow", shares, "% of training", "≤ 2"
    )


def _absolute(name: str, values: list[float], unit: str, target: str) -> Row:
    return Row(name, float(np.median(values)), None, unit, None, None, None, target)


def _environment() -> dict[str, str]:
    """Environment variables for a command: programs of this Python environment come first in PATH,
    and Python may write bytecode, which happens in the first round, which does not count."""
    here = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    here.pop("PYTHONDONTWRITEBYTECODE", None)
    return here


def _reproduce(folder: Path) -> None:
    """A copy of this repository after a small ``dvc repro``."""

    def run(*words: str) -> None:
        subprocess.run(words, cwd=folder, env=_environment(), check=True, stdout=subprocess.DEVNULL)

    shutil.copytree(ROOT / "src", folder / "src")
    for name in ("dvc.yaml", ".dvcignore", "models/start.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    write_photographs(folder / "data", 20, 96, 72)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    for section, values in SMALL.items():
        params[section].update(values)
    yaml.dump(params, folder / "params.yaml")
    run("git", "init", "--quiet")
    run("dvc", "init", "--quiet")
    run("dvc", "repro", "--quiet")
