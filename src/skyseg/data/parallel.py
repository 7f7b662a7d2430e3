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


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], description: str
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed by as many threads as cores.

    Threads suffice: Pillow, hashlib and NumPy release the interpreter lock where the time goes.
    Few items are begun ahead of the one yielded. An exception in a thread is raised here, at its
    item's turn, once those already running have ended; the rest are not begun.
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
    if hasattr(os, "sched_getaffinity"):  # Linux: those this process may use
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
    finish: Callable[[Worked], Result],
    initializer: Callable[[], object] | None = None,
    batch: int = 1,
) -> Iterator[Result]:
    """Yield each item's result, loaded, worked on and finished, in order.

    ``load`` runs in threads ahead of ``work``, which runs here on what is loaded, and ``finish`` in
    threads behind. An exception is raised here at its item's turn; one in ``work``, at the turn of
    the first item it worked on.

    Args:
        weight: of an item, such as its pixels.
        budget: what the items under way may weigh together; a heavier one is under way alone.
        initializer: called once in each thread.
        batch: how many loaded items ``work`` gets at most; it never waits to get more than one.
    """
    workers = _cores()
    rest = ((weight(item), item) for item in items)
    upcoming = next(rest, None)
    loading: deque[tuple[int, Future[Loaded]]] = deque()
    finishing: deque[tuple[int, Future[Result]]] = deque()

    def ready() -> tuple[list[int], list[Loaded], Exception | None]:
        """The next items for ``work``, up to the first that could not be loaded."""
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
        begun = sum(cost for cost, _ in (*loading, *finishing))
        return upcoming is not None and (not begun or begun + upcoming[0] <= budget)

    with ThreadPoolExecutor(workers, initializer=initializer) as pool:
        try:
            while upcoming or loading or finishing:
                while upcoming and len(loading) < max(2 * workers, 2 * batch) and fits():
                    loading.append((upcoming[0], pool.submit(load, upcoming[1])))
                    upcoming = next(rest, None)
                if loading:
                    costs, loaded, error = ready()
                    try:
                        worked = work(loaded) if loaded else []
                    except Exception as failure:
                        worked, error = [], failure
                    done = [pool.submit(finish, each) for each in worked]
                    if error:  # raised once those before it have been yielded
                        done.append(Future())
                        done[-1].set_exception(error)
                    finishing.extend(zip(costs, done, strict=False))
                while finishing and (finishing[0][1].done() or not (loading or fits())):
                    yield finishing.popleft()[1].result()
        finally:
            pool.shutdown(cancel_futures=True)
