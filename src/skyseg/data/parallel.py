"""Runs work on all cores: results in order, bounded memory, and the first error stops it."""

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


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], description: str
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed by as many threads as cores.

    Threads are enough: Pillow, hashlib and NumPy release the interpreter lock in their slow parts.
    Only a few items are started ahead of the one yielded. An exception in a thread is raised here
    in place of its item's result, after the items already running have finished. The rest are not
    started.
    """
    workers = _cores()
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from tqdm(
                _ahead(pool, function, items, 4 * workers),
                total=len(items),
                desc=description,
                unit="img",
                disable=None,
            )
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: the cores this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Iterator[Result]:
    rest = iter(items)
    waiting: deque[Future[Result]] = deque(
        pool.submit(function, item) for item in islice(rest, window)
    )
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(rest, 1))


def overlapped(
    items: Iterable[Item],
    weight: Callable[[Item], int],
    budget: int,
    load: Callable[[Item], Loaded],
    work: Callable[[Sequence[Loaded]], Sequence[Worked]],
    postprocess: Callable[[Worked], Result],
    initializer: Callable[[], object] | None = None,
    batch: int = 1,
) -> Iterator[Result]:
    """Load, work on and postprocess each item; yield the results in order.

    ``load`` runs in threads, ahead of ``work``; ``work`` runs in the calling thread, on the loaded
    items; ``postprocess`` runs in threads, after it. An exception is raised here in place of its
    item's result; one in ``work``, in place of the result of the first item in its batch.

    Args:
        weight: gives the weight of an item, such as its number of pixels.
        budget: largest total weight of the items in progress; a heavier item is processed alone.
        initializer: called once in each thread.
        batch: most items that ``work`` gets at once; it does not wait for a batch to fill up.
    """
    workers = _cores()
    rest = ((weight(item), item) for item in items)
    upcoming = next(rest, None)
    loading: deque[tuple[int, Future[Loaded]]] = deque()
    postprocessing: deque[tuple[int, Future[Result]]] = deque()

    def ready() -> tuple[list[int], list[Loaded], Exception | None]:
        """The next items for ``work``, up to the first that failed to load, with its error."""
        costs: list[int] = []
        items: list[Loaded] = []
        while loading and len(costs) < batch and (not costs or loading[0][1].done()):
            cost, future = loading.popleft()
            costs.append(cost)
            try:
                items.append(future.result())
            except Exception as error:
                return costs, items, error
        return costs, items, None

    def fits() -> bool:
        begun = sum(cost for cost, _ in (*loading, *postprocessing))
        return upcoming is not None and (not begun or begun + upcoming[0] <= budget)

    with ThreadPoolExecutor(workers, initializer=initializer) as pool:
        try:
            while upcoming or loading or postprocessing:
                while upcoming and len(loading) < max(2 * workers, 2 * batch) and fits():
                    loading.append((upcoming[0], pool.submit(load, upcoming[1])))
                    upcoming = next(rest, None)
                if loading:
                    costs, loaded, error = ready()
                    try:
                        worked = work(loaded) if loaded else []
                    except Exception as failure:
                        worked, error = [], failure
                    done = [pool.submit(postprocess, each) for each in worked]
                    if error:  # raised after the results before it have been yielded
                        done.append(Future())
                        done[-1].set_exception(error)
                    postprocessing.extend(zip(costs, done, strict=False))
                while postprocessing and (postprocessing[0][1].done() or not (loading or fits())):
                    yield postprocessing.popleft()[1].result()
        finally:
            pool.shutdown(cancel_futures=True)
