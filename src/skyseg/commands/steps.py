"""The steps of predict, from a planned input to its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from torch import Tensor

from skyseg.commands.inputs import read_stdin
from skyseg.commands.results import Results
from skyseg.commands.tasks import Request, Task, attempt, check_size, origin
from skyseg.data.pictures import codec
from skyseg.errors import explain, is_out_of_memory
from skyseg.files import atomic_write
from skyseg.inference import video
from skyseg.inference.outputs import OUTPUTS, Job
from skyseg.inference.predictor import Predictor
from skyseg.metrics import presence


def for_photographs(step: Callable[[Task], None]) -> Callable[[Task], Task]:
    """A step that skips videos, and records what it raises in the task."""

    def guarded(task: Task) -> Task:
        if not task.source.is_video:
            attempt(step, task)
        return task

    return guarded


def load(task: Task, request: Request) -> None:
    """Decode and preprocess a photograph."""
    data = codec.read_bytes(task.source.path) if task.source.path else read_stdin()
    task.picture = codec.decode(data, task.source.name)
    for note in task.picture.notes:
        task.note(note)
    task.input = request.model.predictor.preprocess(task.picture.pixels)


class Forward:
    """A predictor's forward pass that adapts to the available memory.

    If there is too little memory for a batch, it halves the batch size and keeps the smaller one.
    If a batch fails for another reason, it runs each input of it alone.

    Args:
        predictor: runs the network.
        batch: most inputs in one pass.
    """

    def __init__(self, predictor: Predictor, batch: int) -> None:
        self._predictor = predictor
        self.batch = batch

    def __call__(self, inputs: Sequence[Any]) -> list[Tensor | Exception]:
        """The logits of each input, or the error it raises alone."""
        found: list[Tensor | Exception] = []
        while len(found) < len(inputs):
            part = inputs[len(found) : len(found) + self.batch]
            try:
                found += list(self._predictor.forward(part))
            except Exception as error:
                if is_out_of_memory(error):
                    self.batch = max(1, len(part) // 2)
                if len(part) == 1:
                    found.append(error)
                elif not is_out_of_memory(error):
                    found += [one for each in part for one in self([each])]
        return found


def run_network(tasks: Sequence[Task], forward: Forward) -> Sequence[Task]:
    """Run the network on the photographs among some tasks."""
    ready = [task for task in tasks if task.input is not None and task.places]
    for task, logits in zip(ready, forward([task.input for task in ready]), strict=True):
        if isinstance(logits, Exception):
            task.fail(logits)
        else:
            task.logits = logits
    return tasks


def write_results(task: Task, request: Request, results: Results) -> None:
    """Make the results of a photograph. If one cannot be made, the others still are."""
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
        made = {}
        for kind, path in task.places.items():
            try:
                with ExitStack() as unfinished:
                    temporary = unfinished.enter_context(atomic_write(path))
                    check_size(path, (pixels.shape[1], pixels.shape[0]))
                    codec.write(
                        temporary,
                        OUTPUTS[kind].make(job),
                        path.suffix,
                        task.picture.metadata,
                        OUTPUTS[kind].data,
                    )
                    files.push(unfinished.pop_all())
                made[kind] = path
            except Exception as error:
                task.problem(explain(error, f"{task.source.name}: {path} cannot be made"))
        if made:
            results.record(task.source, numbers, request.origin, made)
    task.release()


def segment_video(task: Task, request: Request, results: Results) -> None:
    """Make the results of a video."""
    assert task.source.path is not None
    with ExitStack() as files:
        places = {
            kind: files.enter_context(atomic_write(path)) for kind, path in task.places.items()
        }
        numbers, notes = video.segment(
            task.source.path, places, request.model, request.sky, request.smooth
        )
        results.record(task.source, numbers, origin(task.source, request), task.places)
    for note in notes:
        task.note(note)
