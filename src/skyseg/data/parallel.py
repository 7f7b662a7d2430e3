"""Work spread over all cores: results in order, memory flat, the first error ends it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Sequence[Item],
             description: str) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed by as many threads as cores.

    Threads suffice: Pillow, hashlib and NumPy release the interpreter lock where the time goes.
    Few items are begun ahead of the one yielded. An exception in a thread is raised here, at its
    item's turn, once those already running have ended; the rest are not begun.
    """
    workers = _cores()
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from tqdm(_ahead(pool, function, items, 4 * workers), total=len(items),
                            desc=description, unit="img", disable=None)
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: those this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ahead(pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item],
           window: int) -> Iterator[Result]:
    rest = iter(items)
    waiting: deque[Future[Result]] = deque(
        pool.submit(function, item) for item in islice(rest, window))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
