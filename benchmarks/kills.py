"""Kills trainings in bulk, resumes them, and compares them with one that was not interrupted.

    python -m benchmarks kills       # 1,000 kills
    python -m benchmarks.kills 60    # as many as you like

A process imports PyTorch once and forks a child for each training: a tiny network, 16 pictures of
32 pixels, three epochs of four steps. A child gets a signal at a random moment, alone or in a
place that is drawn first; then the next child resumes. What DVC removes before it reruns a stage is
removed in between. Prints the table of docs/reliability.md.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import mmap
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import cache, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest import mock

import torch
from mlflow.store.db import utils
from torch import nn

from benchmarks.race import Row
from skyseg import provenance
from skyseg.errors import exit_code
from skyseg.model.checkpoint import load_state
from skyseg.model.losses import SIDE_OUTPUTS
from skyseg.params import Params
from skyseg.pipeline import train as stage
from skyseg.pipeline.prepare import prepare
from skyseg.scenes.dataset import write_scenes
from skyseg.tracking import connection, runs, unsent
from skyseg.training import engine, fit, resume

KILLS = 1000
EPOCHS = 3
PARAMS = Params.model_validate(
    {
        "data": {"foreground": [1]},
        "model": {"size": 32},
        "train": {"epochs": EPOCHS, "batch_size": 4, "device": "cpu", "precision": "fp32"},
    }
)
SCENES = 24  # of which 16 are for training: an epoch has four steps
SIGNALS = {signal.SIGKILL: "kill -9", signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
ENDED = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
SAVE_EVERY = (0.0, 0.05, 1000.0)  # seconds between saves within an epoch, drawn for each child
OUTPUTS = ("models/best.safetensors", "models/best.json", "reports/history.csv")
OUTPUTS += ("reports/train.json",)  # DVC removes them before it reruns the stage
LONGEST = 120  # seconds for a child
POLL = 0.0002  # seconds between two looks at where a child is

# Where a child can be: functions that are in it, as module and name.
PLACES: dict[str, tuple[tuple[Any, str], ...]] = {
    "while the run is created": ((runs, "create_run"), (runs, "log_inputs")),
    "in a step": ((engine, "_step"),),
    "while the state is saved": ((resume, "save_state"),),
    "in validation": ((engine, "validate"),),
    "while the best weights are written": ((stage, "save_checkpoint"),),
    "while figures and pictures are kept": ((unsent, "keep_metrics"), (unsent, "keep_image")),
    "while results are written": (
        (stage, "write_json"),
        (stage, "write_csv"),
        (unsent, "keep_file"),
    ),
}
ELSEWHERE = "elsewhere"
NAMES = (ELSEWHERE, *PLACES)
EPOCH_NAMES = (
    "before the first epoch",
    "in the first epoch",
    "in the second epoch",
    "in the last epoch, and after it",
)


# What MLflow has of a training, however often it was killed.
STORED = {
    "status": ["FINISHED"],
    "metrics are those of the history": True,
    "pictures": {
        (suffix, epoch): 1 for suffix in (".png", ".webp") for epoch in range(1, EPOCHS + 1)
    },
    "finished": True,
}


class Result(NamedTuple):
    """What is the same in a training that was interrupted and in one that was not."""

    weights: str
    """SHA-256 of best.safetensors."""
    state: str
    """SHA-256 of the tensors to resume from: weights, average, optimizer."""
    history: list[dict[str, float]]
    """To the bit, without the speed."""
    store: dict[str, Any]
    """Runs, their status, epochs and pictures in MLflow."""
    files: list[str]
    """In models/ and reports/, and what was left anywhere."""


class Kill(NamedTuple):
    signal: signal.Signals
    place: str
    epoch: str
    problem: str
    """Empty if nothing was lost."""


def rows(work: Path) -> list[Row]:
    """Print the table; there are no timings."""
    show(list(inject(work / "kills", KILLS, seed=13)))
    return []


def show(kills: list[Kill]) -> None:
    """Print the table; ends the program if something was lost."""
    print(table(kills))
    if problems := [kill for kill in kills if kill.problem]:
        sys.exit("\n".join(map(str, problems)))


def table(kills: list[Kill]) -> str:
    """How often each signal came in each place and epoch, and how often something was lost."""
    lines = ["| fault | " + " | ".join(SIGNALS.values()) + " | not identical |"]
    lines.append("|---" * (len(SIGNALS) + 2) + "|")
    for names, key in (
        (NAMES, lambda kill: kill.place),
        (EPOCH_NAMES, lambda kill: kill.epoch),
        (["all"], lambda kill: "all"),
    ):
        for name in names:
            found = [kill for kill in kills if key(kill) == name]
            counts = Counter(kill.signal for kill in found)
            lost = sum(bool(kill.problem) for kill in found)
            cells = [name, *(str(counts[each]) for each in SIGNALS), str(lost)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def inject(work: Path, count: int, seed: int) -> Iterator[Kill]:
    """Kill trainings ``count`` times; each is resumed, and often killed again, until it ends.

    ``work`` does not exist yet. What is left of a training that lost something is kept beside it.
    """
    draw, root = random.Random(seed), work / "training"
    place = mmap.mmap(-1, 2)  # shared with the children: where they are, and the epoch
    with ExitStack() as stack:
        make_small(stack)
        seconds, reference = set_up(work / "template", root, place)
        stack.callback(gc.unfreeze)
        gc.collect()
        gc.freeze()  # so that collecting garbage in a child copies no memory
        left = count
        while left:
            shutil.rmtree(root)
            shutil.copytree(work / "template", root)
            chain, problem = kill_and_resume(root, place, left, seconds, draw)
            left -= len(chain)
            problem = problem or difference(result(root), reference)
            if problem:
                kept = work.with_name(f"{work.name}-lost-{count - left}")
                shutil.copytree(root, kept)
                print(f"{chain}\n{problem}\nkept in {kept}", file=sys.stderr)
                if not chain:
                    raise SystemExit("error: it was not killed")
            yield from (kill._replace(problem=problem) for kill in chain)


def kill_and_resume(
    root: Path, place: mmap.mmap, most: int, seconds: float, draw: random.Random
) -> tuple[list[Kill], str]:
    """Train until a training ends, with up to ``most`` kills; also returns what was wrong."""
    chain: list[Kill] = []
    while True:
        for name in OUTPUTS:
            (root / name).unlink(missing_ok=True)
        child = start(train_once, root, place, draw.choice(SAVE_EVERY))
        kill = None
        if len(chain) < most and draw.random() < 0.8:
            number = draw.choice(list(SIGNALS))
            kill = interrupt(child, place, number, draw, seconds)
        code = wait(child)
        if kill and code:  # else it came when all was done
            chain.append(kill)
            problem = after(root, chain, code)
        else:
            problem = f"ended with {code}: {log(root)}" if code else ""
        if code == 0 or problem:
            return chain, problem


def make_small(stack: ExitStack) -> None:
    """Make trainings short until the stack is closed."""
    torch.set_num_threads(1)
    changes = (
        (fit, "build_model", lambda variant: Tiny()),
        # These take longer than a step.
        (stage, "SAMPLES", 1),
        (provenance, "deciding_files", cache(provenance.deciding_files)),
        (utils, "_get_latest_schema_revision", cache(utils._get_latest_schema_revision)),
    )
    for change in changes:
        stack.enter_context(mock.patch.object(*change))
    # They only sample the computer, and send how MLflow is used.
    quiet = {"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    stack.enter_context(mock.patch.dict(os.environ, quiet))
    provenance.deciding_files("train")
    utils._get_latest_schema_revision()


def set_up(template: Path, root: Path, place: mmap.mmap) -> tuple[float, Result]:
    """Make a workspace, and train there without a kill; also returns how long that takes."""
    root.mkdir(parents=True)
    done(make_workspace, root, place)
    shutil.copytree(root, template)
    done(train_once, root, place)
    for name in (root / "modules").read_text().split():  # so that the children need not
        if name.split(".")[0] in ("mlflow", "torch", "sqlalchemy", "alembic", "PIL"):
            with suppress(Exception):
                importlib.import_module(name)
    shutil.rmtree(root)
    shutil.copytree(template, root)
    seconds, reference = done(train_once, root, place), result(root)
    if reference.store != STORED:
        raise SystemExit(f"error: without a kill, the store has {reference.store}")
    return seconds, reference


def log(root: Path) -> str:
    """The end of what the trainings printed."""
    return (root / "log").read_text()[-2000:]


class Tiny(nn.Module):
    """A network with seven outputs and 100 weights, because the kills are under test."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.sides = nn.Conv2d(4, len(SIDE_OUTPUTS), 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.sides(self.body(x)).split(1, dim=1)


def make_workspace(root: Path) -> None:
    """A repository with prepared pictures and an empty MLflow store."""
    (root / ".dvc").mkdir(parents=True)
    write_scenes(root / "data", SCENES, 1, scale=0.1)
    prepare(PARAMS, root)
    (root / "models").mkdir()
    connection.connect(root)


def train_once(root: Path) -> None:
    stage.train(PARAMS, root)
    (root / "modules").write_text("\n".join(sys.modules))


def done(command: Callable[[Path], None], root: Path, place: mmap.mmap) -> float:
    """The seconds that a command takes in a child."""
    child, began = start(command, root, place, save_every=1000.0), time.monotonic()
    if wait(child):
        raise SystemExit(f"error: {command.__name__}: {log(root)}")
    return time.monotonic() - began


def start(command: Callable[[Path], None], root: Path, place: mmap.mmap, save_every: float) -> int:
    """Fork a child that runs a command; returns its number when the command begins."""
    place[:] = bytes([0, 255])
    child = os.fork()
    if child:
        while place[1] == 255:
            time.sleep(POLL)
        return child
    code = 70
    try:
        log = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # A shell starts background jobs with Ctrl-C ignored, and they pass that on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resume.SAVE_EVERY = save_every
        follow(place)

        def run() -> None:
            place[1] = 0
            command(root)

        code = exit_code(run)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def follow(place: mmap.mmap) -> None:
    """Note in ``place`` which of ``PLACES`` this process is in, and the epoch."""

    def noting(function: Callable[..., Any], number: int) -> Callable[..., Any]:
        @wraps(function)
        def noted(*arguments: Any, **options: Any) -> Any:
            before, place[0] = place[0], number
            try:
                return function(*arguments, **options)
            finally:
                place[0] = before

        return noted

    for number, functions in enumerate(PLACES.values(), 1):
        for module, name in functions:
            setattr(module, name, noting(getattr(module, name), number))
    run_epoch = fit.run_epoch

    def epoch(learner: Any, arrays: Any, train: Any, hardware: Any, progress: Any, *more: Any):
        place[1] = {1: 1, EPOCHS: 3}.get(progress.epoch + 1, 2)
        return run_epoch(learner, arrays, train, hardware, progress, *more)

    fit.run_epoch = epoch


def interrupt(
    child: int, place: mmap.mmap, number: signal.Signals, draw: random.Random, seconds: float
) -> Kill | None:
    """Send a signal to a child in a random place, or at a random moment; None if it has ended."""
    wanted = draw.choice([None, *NAMES[1:]])
    moment = time.monotonic() + draw.uniform(0, seconds)
    skip = draw.randrange(4)  # a place is entered several times
    inside = False
    while wanted is not None and time.monotonic() < moment + seconds:
        was, inside = inside, NAMES[place[0]] == wanted
        skip -= inside and not was
        if inside and skip < 0:
            moment = time.monotonic() + draw.uniform(0, 0.004)
            break
        if ended(child):
            break
        time.sleep(POLL)
    while time.monotonic() < moment and not ended(child):
        time.sleep(POLL)
    if ended(child):
        return None
    os.kill(child, number)
    return Kill(number, NAMES[place[0]], EPOCH_NAMES[place[1]], "")


def ended(child: int) -> bool:
    """Whether a child has ended; it can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait(child: int) -> int:
    """The exit code of a child, or the negative number of the signal that ended it."""
    deadline = time.monotonic() + LONGEST
    while not ended(child):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(POLL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def after(root: Path, chain: list[Kill], code: int) -> str:
    """What is wrong directly after the last of some signals; empty if nothing."""
    kill = chain[-1]
    if code not in (ENDED[kill.signal], -kill.signal):
        return f"exit code {code}: {log(root)}"
    # What kill -9 left is RUNNING until the run goes on.
    left = any(each.signal == signal.SIGKILL for each in chain) and kill.epoch == EPOCH_NAMES[0]
    states = {status for _, status in stored_runs(root)}
    if code > 0 and not left and states - {"KILLED", "FINISHED"}:
        return f"after {SIGNALS[kill.signal]}, the run is {states}"
    return ""


def stored_runs(root: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        return database.execute("SELECT run_uuid, status FROM runs").fetchall()


def result(root: Path) -> Result:
    """What a training has left."""
    loaded = load_state(root / "models" / "resume.safetensors")
    assert loaded is not None
    tensors, notes = loaded
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    history = notes["history"]
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        metrics = database.execute("SELECT key, step, value FROM metrics ORDER BY 1, 2").fetchall()
    expected = sorted(
        (key, row["epoch"], value)
        for row in history
        for key, value in row.items()
        if key != "epoch"
    )
    pictures = Counter(
        (path.suffix, int(path.name.split("+")[2]))
        for path in root.glob("mlartifacts/*/artifacts/images/validation+*")
    )
    speed = "images_per_second"
    return Result(
        hashlib.sha256((root / "models" / "best.safetensors").read_bytes()).hexdigest(),
        digest.hexdigest(),
        [{key: value for key, value in row.items() if key != speed} for row in history],
        {
            "status": [status for _, status in stored_runs(root)],
            "metrics are those of the history": metrics == expected,
            "pictures": dict(sorted(pictures.items())),
            "finished": notes["finished"],
        },
        sorted(
            f"{path.relative_to(root)} {path.stat().st_mode:o}"
            for folder in ("models", "reports", "mlunsent")
            for path in (root / folder).rglob("*")
        )
        + sorted(map(str, root.rglob("*.part"))),
    )


def difference(found: Result, reference: Result) -> str:
    """Which fields differ; empty if none."""
    return "; ".join(
        f"{name}: {str(ours)[:600]} instead of {str(theirs)[:600]}"
        for name, ours, theirs in zip(Result._fields, found, reference, strict=True)
        if ours != theirs
    )


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        show(list(inject(Path(folder) / "kills", int(sys.argv[1]), seed=14)))
