"""predict: photographs and videos in; masks, cut-outs and other pictures of them out."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from skyseg.commands import inputs as sources
from skyseg.commands.inputs import Source
from skyseg.commands.results import Made, Results
from skyseg.data import pictures
from skyseg.data.parallel import overlapped
from skyseg.errors import UserError, disk_is_full
from skyseg.files import atomic_write
from skyseg.inference import unmixing, video
from skyseg.inference.model import Model
from skyseg.inference.outputs import OUTPUTS, Job
from skyseg.inference.predictor import single_thread
from skyseg.metrics import presence

BUDGET = 64_000_000  # pixels under way at a time; a larger photograph is under way alone
BATCH = 16  # photographs that a GPU is given at a time
LEAST = 250_000  # pixels that the smallest photograph counts as
NOTHING = np.empty((0, 0, 3), np.uint8)
UNMIXED = {"cutout", "replace"}  # outputs that need pymatting


class Wish(NamedTuple):
    """What is wanted of each input."""

    model: Model
    kinds: list[str]
    sky: NDArray[np.uint8] | None
    made: Made
    overwrite: bool
    smooth: float


@dataclass
class Task:
    """An input on its way; each step adds to it."""

    source: Source
    places: dict[str, Path]
    """Where its missing results go, by kind; none: there is nothing to do."""
    problem: str | None = None
    """Why it failed; then no step touches it."""
    picture: pictures.Picture | None = None
    shrunk: Any = None
    logits: Tensor | None = None


def predict(
    inputs: list[str],
    out: Path,
    model: Model,
    kinds: list[str],
    sky: Path | None = None,
    overwrite: bool = False,
    smooth: float = 0.0,
) -> None:
    """Segment photographs and videos into a folder.

    Photographs are decoded and shrunk in threads ahead of the network, and refined, encoded and
    written in threads behind it.

    Args:
        inputs: see ``skyseg.commands.inputs.find``.
        out: the results' folder; see ``skyseg.commands.results.Results``.
        model: what segments them.
        kinds: rows of ``OUTPUTS``.
        sky: a photograph, the new sky of ``replace``.
        overwrite: make again what is there.
        smooth: see ``skyseg.inference.video.segment``.

    Raises:
        UserError: what concerns all inputs, at once; else, at the end, that some failed, each of
            which has had its line on stderr.
    """
    wish = _wish(model, kinds, sky, overwrite, smooth)
    results = Results(out)
    found, problems = sources.find(inputs, results.files())
    for problem in problems:
        _say(f"error: {problem}")
    count = Counter(failed=len(problems))
    tasks = (_plan(source, wish, results) for source in found)
    steps = (
        _each(lambda task: _load(task, wish)),
        lambda tasks: _run(tasks, wish),
        _each(lambda task: _finish(task, wish, results)),
    )
    batch = BATCH if torch.cuda.is_available() else 1
    with warnings.catch_warnings(), closing(results):
        warnings.filterwarnings("ignore", module="PIL")  # what matters comes as error or note
        for task in tqdm(
            overlapped(tasks, _weight, BUDGET, *steps, single_thread, batch),
            total=len(found),
            desc="segmenting",
            unit="file",
            disable=None,
        ):
            if task.source.is_video:
                _attempt(lambda task: _segment_video(task, wish, results), task)
            for note in task.picture.notes if task.picture else ():
                _say(f"note: {task.source.name}: {note}")
            if task.problem:
                _say(f"error: {task.problem}")
            count["failed" if task.problem else "done" if task.places else "there already"] += 1
    _say(
        f"{out}: "
        + ", ".join(f"{count[state]} {state}" for state in ("done", "there already", "failed"))
    )
    if count["failed"]:
        raise UserError(f"{count['failed']} of {count.total()} inputs failed, see above")


def pass_through(model: Model, kind: str, sky: Path | None = None) -> None:
    """Segment the photograph on standard input to standard output.

    Raises:
        UserError: it cannot be read, or its result not be written.
    """
    wish = _wish(model, [kind], sky, overwrite=False, smooth=0)
    picture = pictures.decode(sys.stdin.buffer.read(), "standard input")
    for note in picture.notes:
        _say(f"note: standard input: {note}")
    output = OUTPUTS[kind]
    job = Job(picture.pixels, model.probability(picture.pixels), model.threshold, wish.sky)
    try:
        pictures.write(
            sys.stdout.buffer,
            output.make(job),
            Path(output.suffix).suffix,
            picture.metadata,
            output.data,
        )
    except OSError as error:
        if disk_is_full(error):
            raise
        raise UserError(f"standard output: cannot be written ({error.strerror or error})") from None


def _wish(model: Model, kinds: list[str], sky: Path | None, overwrite: bool, smooth: float) -> Wish:
    if ("replace" in kinds) != (sky is not None):
        raise UserError(
            "--output replace needs the new sky, --sky FILE"
            if sky is None
            else "--sky is for --output replace, which is not asked for"
        )
    pixels = pictures.decode(pictures.read_bytes(sky), str(sky)).pixels if sky else None
    if UNMIXED & set(kinds):
        unmixing.load()  # seconds, and not in each thread
    made = Made(model.label, str(sky.resolve()) if sky else "")
    return Wish(model, list(dict.fromkeys(kinds)), pixels, made, overwrite, smooth)


def _plan(source: Source, wish: Wish, results: Results) -> Task:
    suffixes = (
        video.SUFFIXES
        if source.is_video
        else {kind: output.suffix for kind, output in OUTPUTS.items()}
    )
    task = Task(source, {})
    try:
        task.places = results.plan(
            source,
            {kind: suffixes[kind] for kind in wish.kinds},
            _made(source, wish),
            wish.overwrite,
        )
    except UserError as error:
        task.problem = str(error)
    return task


def _made(source: Source, wish: Wish) -> Made:
    if not source.is_video or not wish.smooth:
        return wish.made
    return wish.made._replace(model=f"{wish.made.model}, smoothed {wish.smooth:g}")


def _weight(task: Task) -> int:
    if task.problem or not task.places or task.source.is_video or task.source.path is None:
        return LEAST
    return max(LEAST, pictures.pixel_count(task.source.path))


def _each(step: Callable[[Task], None]) -> Callable[[Task], Task]:
    """A step for photographs that there is still something to do for."""

    def careful(task: Task) -> Task:
        if not task.source.is_video:
            _attempt(step, task)
        return task

    return careful


def _attempt(step: Callable[[Task], None], task: Task) -> None:
    if task.problem or not task.places:
        return
    try:
        step(task)
    except UserError as error:
        task.problem = str(error)
    except MemoryError:
        task.problem = f"{task.source.name}: not enough memory for its size; shrink it"
    except OSError as error:
        if disk_is_full(error):
            raise
        task.problem = (
            f"{task.source.name}: its results cannot be written ({error.strerror or error})"
        )


def _load(task: Task, wish: Wish) -> None:
    data = pictures.read_bytes(task.source.path) if task.source.path else sys.stdin.buffer.read()
    task.picture = pictures.decode(data, task.source.name)
    task.shrunk = wish.model.predictor.preprocess(task.picture.pixels)


def _run(tasks: Sequence[Task], wish: Wish) -> Sequence[Task]:
    shrunk = [task for task in tasks if task.shrunk is not None and not task.problem]
    if shrunk:
        logits = wish.model.predictor.forward([task.shrunk for task in shrunk])
        for task, one in zip(shrunk, logits, strict=True):
            task.logits = one
    return tasks


def _finish(task: Task, wish: Wish, results: Results) -> None:
    assert task.picture is not None
    assert task.logits is not None
    pixels = task.picture.pixels
    probability = wish.model.predictor.postprocess(task.logits, pixels)
    figures = {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "foreground": float(np.mean(probability >= wish.model.threshold)),
        "confidence": presence.confidence(task.logits.sigmoid().cpu().numpy()),
    }
    job = Job(pixels, probability, wish.model.threshold, wish.sky)
    with ExitStack() as asides:
        for kind, path in task.places.items():
            aside = asides.enter_context(atomic_write(path))
            pictures.write(
                aside,
                OUTPUTS[kind].make(job),
                path.suffix,
                task.picture.metadata,
                OUTPUTS[kind].data,
            )
        results.record(task.source, figures, wish.made, task.places)
    task.picture = task.picture._replace(pixels=NOTHING)  # the notes are still wanted
    task.shrunk = task.logits = None


def _segment_video(task: Task, wish: Wish, results: Results) -> None:
    assert task.source.path is not None
    with ExitStack() as asides:
        places = {
            kind: asides.enter_context(atomic_write(path)) for kind, path in task.places.items()
        }
        figures, notes = video.segment(task.source.path, places, wish.model, wish.sky, wish.smooth)
        results.record(task.source, figures, _made(task.source, wish), task.places)
    for note in notes:
        _say(f"note: {task.source.name}: {note}")


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
