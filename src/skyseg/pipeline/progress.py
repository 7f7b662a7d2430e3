"""Says how far a training is: a bar on a terminal, elsewhere a line a minute, and soon after the
start how long all of it will take and how much memory it needs."""

from __future__ import annotations

import resource
import sys
import time
from types import TracebackType

import torch
from tqdm import tqdm

TIMED = (
    3  # reports of steps before the time is estimated; the first, which may compile, is not timed
)
BURST = 1e-3  # seconds: steps this close together were reported together, as on a GPU
EVERY = 60  # seconds between two lines where there is no terminal
LINE = "{desc}: {n_fmt} of {total_fmt} images, {rate_fmt}, {remaining} left"


class TrainingProgress:
    """Counts images; a context manager.

    Args:
        total: images of the whole training.
        done: images trained on before a restart.
        epoch: images of an epoch; None: the time of an epoch is not said.
        advice: ends the line with the estimate.
    """

    def __init__(
        self, total: int, done: int = 0, epoch: int | None = None, advice: str = ""
    ) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=" images",
            smoothing=0.05,
            dynamic_ncols=True,
            disable=None,
        )
        self._total, self._first, self._done = total, done, done
        self._epoch, self._advice = epoch, advice
        self._reports, self._last, self._said = 0, 0.0, time.perf_counter()
        # Images after the first report, and when those of the last whole report were done.
        self._counted, self._timed, self._start, self._until = 0, 0, 0.0, 0.0

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def step(self, images: int, text: str = "", numbers: str = "") -> None:
        """A step is done.

        Args:
            images: of the step.
            text: what is going on, such as 'epoch 1/6'.
            numbers: such as the loss.
        """
        self._done += images
        self._bar.set_description(text, refresh=False)
        self._bar.set_postfix_str(numbers, refresh=False)
        self._bar.update(images)
        now = time.perf_counter()
        if now - self._last > BURST:
            self._report(text, numbers, now)
        self._last = now
        if self._reports == 1:
            self._start = now
        else:
            self._counted += images

    def _report(self, text: str, numbers: str, now: float) -> None:
        """A new report of one or more steps begins, so the one before is whole."""
        self._reports += 1
        self._timed, self._until = self._counted, self._last
        if self._reports == TIMED + 1:
            tqdm.write(self._estimate(self._seconds()))
        if self._bar.disable and self._reports > TIMED and now - self._said >= EVERY:
            self._said = now
            line = tqdm.format_meter(
                self._done,
                self._total,
                now - self._start,
                initial=self._first,
                prefix=text,
                unit=" images",
                rate=1 / self._seconds(),
                bar_format=LINE,
            )
            print(f"{line}{', ' * bool(numbers)}{numbers}", flush=True)

    def _seconds(self) -> float:
        """The time an image, without the first report."""
        return (self._until - self._start) / self._timed

    def at(self, done: int) -> None:
        """Set the number of images, where an epoch leaves some out."""
        self._bar.update(done - self._done if not self._bar.disable else 0)
        self._done = done

    def _estimate(self, seconds: float) -> str:
        """One line: how long the rest will take at this time an image."""
        left = duration(seconds * (self._total - self._done))
        each = f", {duration(seconds * self._epoch)} an epoch" if self._epoch else ""
        return f"about {left}{each}; {memory_used()} so far{self._advice}"


def memory_used() -> str:
    """The most memory that this process has used: the GPU's where there is one."""
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of the GPU's memory"
    unit = 1 if sys.platform == "darwin" else 1024  # bytes; see getrusage(2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"{peak / 2**30:.1f} GiB of memory"


def duration(seconds: float) -> str:
    """Such as '40 s', '12 min' or '3.5 h'."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
