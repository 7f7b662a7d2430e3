"""predict: make masks, cut-outs and other pictures from photographs and videos."""

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

from skyseg.commands.inputs import Input, expand
from skyseg.commands.options import check_choice, check_folder
from skyseg.commands.results import Origin, Results
from skyseg.data import pictures
from skyseg.data.parallel import overlapped
from skyseg.errors import UserError, disk_is_full, is_out_of_memory
from skyseg.files import atomic_write
from skyseg.inference import unmixing, video
from skyseg.inference.loading import default_name, load_model
from skyseg.inference.model import Model
from skyseg.inference.outputs import OUTPUTS, Job
from skyseg.inference.predictor import Predictor, single_thread
from skyseg.metrics import presence

BUDGET = 64_000_000  # pixels processed at a time; a larger photograph is processed alone
BATCH = 16  # photographs per forward pass on a GPU
MIN_PIXELS = 250_000  # pixels; smaller photographs count as this many
NO_PIXELS = np.empty((0, 0, 3), np.uint8)
UNMIXED = {"cutout", "replace"}  # outputs that need pymatting
NO_MEMORY = "not enough memory for it; scale it down, or close other programs"


class Request(NamedTuple):
    """What to make from each input, and how."""

    model: Model
    kinds: list[str]
    sky: NDArray[np.uint8] | None
    origin: Origin
    overwrite: bool
    smooth: float


@dataclass
class Task:
    """An input being processed; each step adds to it."""

    source: Input
    places: dict[str, Path]
    """Paths of its missing results, by kind; empty if there is nothing to do."""
    problem: str | None = None
    """Why it failed; later steps then skip it."""
    picture: pictures.Picture | None = None
    input: Any = None
    logits: Tensor | None = None


def run(
    inputs: list[str],
    out: Path,
    model: str | None,
    kinds: list[str],
    sky: Path | None,
    overwrite: bool,
    smooth: float,
) -> None:
    """Run ``predict`` with command line options: into a folder, or from stdin to stdout.

    Raises:
        UserError: options contradict each other; see also ``load_model`` and ``predict``.
    """
    if str(out) == "-" and (inputs != ["-"] or len(kinds) > 1):
        raise UserError(
            "--out -: takes only one photograph, from standard input (-), and one --output; "
            "for more, choose a folder"
        )
    for kind in kinds:
        check_choice("--output", kind, OUTPUTS)
    check_folder("--out", out)
    opened = load_model(model or default_name())
    if str(out) == "-":
        pass_through(opened, kinds[0], sky)
    else:
        predict(inputs, out, opened, kinds, sky, overwrite, smooth)


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

    While the network runs, other threads decode and preprocess the next photographs, and
    postprocess, encode and write the earlier ones.

    Args:
        inputs: see ``skyseg.commands.inputs.expand``.
        out: folder for the results; see ``skyseg.commands.results.Results``.
        model: segments the inputs.
        kinds: rows of ``OUTPUTS``.
        sky: a photograph with the new sky, for ``replace``.
        overwrite: make existing results again.
        smooth: see ``skyseg.inference.video.segment``.

    Raises:
        UserError: at the start, if there is a problem with all inputs; at the end, if some inputs
            failed. Each of those has its own line on stderr.
    """
    request = _request(model, kinds, sky, overwrite, smooth)
    results = Results(out)
    found, problems = expand(inputs, results.files())
    for problem in problems:
        _report(f"error: {problem}")
    count = Counter(failed=len(problems))
    tasks = (_plan(source, request, results) for source in found)
    batch = BATCH if torch.cuda.is_available() else 1
    forward = Forward(model.predictor, batch)
    steps = (
        _each(lambda task: _load(task, request)),
        lambda tasks: _forward(tasks, forward),
        _each(lambda task: _write_results(task, request, results)),
    )
    with warnings.catch_warnings(), closing(results):
        warnings.filterwarnings("ignore", module="PIL")  # what matters is reported as error or note
        for task in tqdm(
            overlapped(tasks, _weight, BUDGET, *steps, single_thread, batch),
            total=len(found),
            desc="segmenting",
            unit="file",
            disable=None,
        ):
            if task.source.is_video:
                _attempt(lambda task: _segment_video(task, request, results), task)
            for note in task.picture.notes if task.picture else ():
                _report(f"note: {task.source.name}: {note}")
            if task.problem:
                _report(f"error: {task.problem}")
            count["failed" if task.problem else "done" if task.places else "already there"] += 1
    _report(
        f"{out}: "
        + ", ".join(f"{count[state]} {state}" for state in ("done", "already there", "failed"))
    )
    if count["failed"]:
        raise UserError(f"{count['failed']} of {count.total()} inputs failed, see above")


def pass_through(model: Model, kind: str, sky: Path | None = None) -> None:
    """Segment the photograph on standard input to standard output.

    Raises:
        UserError: the photograph cannot be read, or the result cannot be written.
    """
    request = _request(model, [kind], sky, overwrite=False, smooth=0)
    picture = pictures.decode(sys.stdin.buffer.read(), "standard input")
    for note in picture.notes:
        _report(f"note: standard input: {note}")
    output = OUTPUTS[kind]
    job = Job(picture.pixels, model.probability(picture.pixels), model.threshold, request.sky)
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


def _request(
    model: Model, kinds: list[str], sky: Path | None, overwrite: bool, smooth: float
) -> Request:
    if ("replace" in kinds) != (sky is not None):
        raise UserError(
            "--output replace needs a new sky; add --sky FILE"
            if sky is None
            else "--sky needs --output replace; add that, or omit --sky"
        )
    pixels = pictures.decode(pictures.read_bytes(sky), str(sky)).pixels if sky else None
    if UNMIXED & set(kinds):
        unmixing.load()  # takes seconds; done here once, not in each thread
    origin = Origin(model.label, str(sky.resolve()) if sky else "")
    return Request(model, list(dict.fromkeys(kinds)), pixels, origin, overwrite, smooth)


def _plan(source: Input, request: Request, results: Results) -> Task:
    suffixes = (
        video.SUFFIXES
        if source.is_video
        else {kind: output.suffix for kind, output in OUTPUTS.items()}
    )
    task = Task(source, {})
    try:
        task.places = results.plan(
            source,
            {kind: suffixes[kind] for kind in request.kinds},
            _origin(source, request),
            request.overwrite,
        )
    except UserError as error:
        task.problem = str(error)
    return task


def _origin(source: Input, request: Request) -> Origin:
    if not source.is_video or not request.smooth:
        return request.origin
    return request.origin._replace(model=f"{request.origin.model}, smoothed {request.smooth:g}")


def _weight(task: Task) -> int:
    if task.problem or not task.places or task.source.is_video or task.source.path is None:
        return MIN_PIXELS
    width, height = pictures.stored_size(task.source.path) or (0, 0)
    return max(MIN_PIXELS, width * height)


def _each(step: Callable[[Task], None]) -> Callable[[Task], Task]:
    """Wrap a step: skip videos and tasks with nothing to do, and record errors in the task."""

    def guarded(task: Task) -> Task:
        if not task.source.is_video:
            _attempt(step, task)
        return task

    return guarded


def _attempt(step: Callable[[Task], None], task: Task) -> None:
    if task.problem or not task.places:
        return
    try:
        step(task)
    except UserError as error:
        task.problem = str(error)
    except OSError as error:
        if disk_is_full(error):
            raise
        task.problem = (
            f"{task.source.name}: its results cannot be written ({error.strerror or error})"
        )
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        task.problem = f"{task.source.name}: {NO_MEMORY}"


def _load(task: Task, request: Request) -> None:
    data = pictures.read_bytes(task.source.path) if task.source.path else sys.stdin.buffer.read()
    task.picture = pictures.decode(data, task.source.name)
    task.input = request.model.predictor.preprocess(task.picture.pixels)


class Forward:
    """A predictor's forward pass that adapts to the available memory.

    If there is too little memory for a batch, it halves the batch size and keeps the smaller one.

    Args:
        predictor: runs the network.
        batch: most inputs in one pass.
    """

    def __init__(self, predictor: Predictor, batch: int) -> None:
        self._predictor = predictor
        self.batch = batch

    def __call__(self, inputs: Sequence[Any]) -> list[Tensor | None]:
        """The logits of each input; None if there is too little memory for it alone."""
        found: list[Tensor | None] = []
        while len(found) < len(inputs):
            part = inputs[len(found) : len(found) + self.batch]
            try:
                found += list(self._predictor.forward(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    found.append(None)
                self.batch = max(1, len(part) // 2)
        return found


def _forward(tasks: Sequence[Task], forward: Forward) -> Sequence[Task]:
    ready = [task for task in tasks if task.input is not None and not task.problem]
    for task, logits in zip(ready, forward([task.input for task in ready]), strict=True):
        task.logits = logits
        if logits is None:
            task.problem = f"{task.source.name}: {NO_MEMORY}"
    return tasks


def _write_results(task: Task, request: Request, results: Results) -> None:
    assert task.picture is not None
    assert task.logits is not None
    pixels = task.picture.pixels
    probability = request.model.predictor.postprocess(task.logits, pixels)
    numbers = {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "foreground": float(np.mean(probability >= request.model.threshold)),
        "confidence": presence.confidence(task.logits.sigmoid().cpu().numpy()),
    }
    job = Job(pixels, probability, request.model.threshold, request.sky)
    with ExitStack() as files:
        for kind, path in task.places.items():
            temporary = files.enter_context(atomic_write(path))
            pictures.write(
                temporary,
                OUTPUTS[kind].make(job),
                path.suffix,
                task.picture.metadata,
                OUTPUTS[kind].data,
            )
        results.record(task.source, numbers, request.origin, task.places)
    task.picture = task.picture._replace(pixels=NO_PIXELS)  # frees memory; notes are still needed
    task.input = task.logits = None


def _segment_video(task: Task, request: Request, results: Results) -> None:
    assert task.source.path is not None
    with ExitStack() as files:
        places = {
            kind: files.enter_context(atomic_write(path)) for kind, path in task.places.items()
        }
        numbers, notes = video.segment(
            task.source.path, places, request.model, request.sky, request.smooth
        )
        results.record(task.source, numbers, _origin(task.source, request), task.places)
    for note in notes:
        _report(f"note: {task.source.name}: {note}")


def _report(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
