"""What predict has to do for each input, found out before the work begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skyseg.commands.inputs import Input
from skyseg.commands.results import Origin, Results
from skyseg.data.pictures import codec
from skyseg.errors import UserError, explain
from skyseg.inference import video
from skyseg.inference.model import Model
from skyseg.inference.outputs import LONGEST, OUTPUTS

MIN_PIXELS = 250_000  # pixels; smaller photographs count as this many


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
    places: dict[str, Path] = field(default_factory=dict)
    """Paths of the results to make, by kind; later steps skip a task without any."""
    pixels: int = MIN_PIXELS
    """How many pixels it counts as, to limit memory."""
    messages: list[str] = field(default_factory=list)
    """Notes and errors of one line that the user has not seen yet."""
    failed: bool = False
    """Whether it failed, or one of its results did."""
    picture: codec.Picture | None = None
    input: Any = None
    logits: Tensor | None = None

    def note(self, text: str) -> None:
        self.messages.append(f"note: {self.source.name}: {text}")

    def problem(self, text: str) -> None:
        self.messages.append(f"error: {text}")
        self.failed = True

    def fail(self, error: Exception) -> None:
        """Record an error that ends the work on this input.

        Raises:
            OSError: the disk is full.
        """
        self.problem(explain(error, self.source.name))
        self.places = {}
        self.release()

    def release(self) -> None:
        """Free the memory of what the steps have added."""
        self.picture = self.input = self.logits = None

    @property
    def state(self) -> str:
        return "failed" if self.failed else "done" if self.places else "already there"


def attempt(step: Callable[[Task], None], task: Task) -> None:
    """Run a step, unless there is nothing to do; whatever it raises fails only this task.

    Raises:
        OSError: the disk is full.
    """
    if task.places:
        try:
            step(task)
        except Exception as error:
            task.fail(error)


def plan(source: Input, request: Request, results: Results) -> Task:
    """The results to make from an input, without those that cannot be made.

    Raises:
        OSError: the disk is full.
    """
    task = Task(source)
    try:
        places = results.plan(
            source, suffixes(source, request.kinds), origin(source, request), request.overwrite
        )
        size = _size(source) if places else None
        for kind, path in places.items():
            try:
                check_size(path, size)
                results.check(path)
                task.places[kind] = path
            except UserError as error:
                task.problem(f"{source.name}: {error}")
    except Exception as error:
        task.fail(error)
        return task
    if size and not source.is_video:
        task.pixels = max(MIN_PIXELS, size[0] * size[1])
    return task


def suffixes(source: Input, kinds: list[str]) -> dict[str, str]:
    """The ends of the names of a source's results, by kind."""
    if source.is_video:
        return {kind: video.SUFFIXES[kind] for kind in kinds}
    return {kind: OUTPUTS[kind].suffix for kind in kinds}


def origin(source: Input, request: Request) -> Origin:
    """How the results of an input are made."""
    if not source.is_video or not request.smooth:
        return request.origin
    return request.origin._replace(model=f"{request.origin.model}, smoothed {request.smooth:g}")


def check_size(path: Path, size: tuple[int, int] | None) -> None:
    """Check that the format of a result can hold it.

    Args:
        path: of the result.
        size: width and height in pixels; None if not known yet.

    Raises:
        UserError: it cannot.
    """
    longest = {**LONGEST, **video.LONGEST}.get(path.suffix)
    if size and longest and max(size) > longest:
        raise UserError(
            f"{path}: {size[0]}x{size[1]} pixels, but {path.suffix} files can have at most "
            f"{longest:,} a side; scale it down, or choose another --output"
        )


def _size(source: Input) -> tuple[int, int] | None:
    if source.path is None:
        return None
    return (video.stored_size if source.is_video else codec.stored_size)(source.path)
