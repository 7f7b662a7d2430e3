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
Loaded = TypeVar("Loaded")
Worked = TypeVar("Worked")
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


def overlapped(items: Iterable[Item], weight: Callable[[Item], int], budget: int,
               load: Callable[[Item], Loaded], work: Callable[[Loaded], Worked],
               finish: Callable[[Worked], Result],
               initializer: Callable[[], object] | None = None) -> Iterator[Result]:
    """Yield ``finish(work(load(item)))`` for each item, in order.

    ``load`` runs in threads ahead of ``work``, which runs here, one item at a time; ``finish`` runs
    in threads behind. An exception is raised here, at its item's turn.

    Args:
        weight: of an item, such as its pixels.
        budget: what the items under way may weigh together; a heavier one is under way alone.
        initializer: called once in each thread.
    """
    workers = _cores()
    rest = ((weight(item), item) for item in items)
    upcoming = next(rest, None)
    loading: deque[tuple[int, Future[Loaded]]] = deque()
    finishing: deque[tuple[int, Future[Result]]] = deque()

    def fits() -> bool:
        begun = sum(cost for cost, _ in (*loading, *finishing))
        return upcoming is not None and (not begun or begun + upcoming[0] <= budget)

    with ThreadPoolExecutor(workers, initializer=initializer) as pool:
        try:
            while upcoming or loading or finishing:
                while upcoming and len(loading) < 2 * workers and fits():
                    loading.append((upcoming[0], pool.submit(load, upcoming[1])))
                    upcoming = next(rest, None)
                if loading:
                    cost, loaded = loading.popleft()
                    try:
                        finished = pool.submit(finish, work(loaded.result()))
                    except Exception as error:  # raised once those before it have been yielded
                        finished = Future()
                        finished.set_exception(error)
                    finishing.append((cost, finished))
                while finishing and (finishing[0][1].done() or not (loading or fits())):
                    yield finishing.popleft()[1].result()
        finally:
            pool.shutdown(cancel_futures=True)
