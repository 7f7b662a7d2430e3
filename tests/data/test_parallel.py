"""Overlapped work: results in order, bounded memory, and a stop at the first error."""

import threading
import time

import pytest

from skyseg.data.parallel import in_order, overlapped
from skyseg.errors import UserError


def run(
    items,
    weights=None,
    budget=10,
    load=lambda x: x,
    work=lambda x: x,
    postprocess=lambda x: x,
    batch=1,
):
    return list(
        overlapped(
            items,
            lambda item: (weights or {}).get(item, 1),
            budget,
            load,
            lambda loaded: [work(item) for item in loaded],
            postprocess,
            None,
            batch,
        )
    )


def test_results_are_in_order_however_long_items_take():
    def slowly(item):
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item + 1

    assert run(range(20), load=slowly, postprocess=slowly) == list(range(2, 22))
    assert run([]) == []


def test_only_work_runs_in_the_calling_thread():
    threads = {"load": set(), "work": set(), "postprocess": set()}

    def note(name):
        def step(item):
            threads[name].add(threading.get_ident())
            return item

        return step

    run(range(9), load=note("load"), work=note("work"), postprocess=note("postprocess"))
    here = threading.get_ident()
    assert threads["work"] == {here}
    assert here not in threads["load"] | threads["postprocess"]


def test_items_in_progress_stay_within_the_budget():
    lock, in_progress, most = threading.Lock(), 0, 0
    weights = {item: 3 + item % 4 for item in range(30)}

    def load(item):
        nonlocal in_progress, most
        with lock:
            in_progress += weights[item]
            most = max(most, in_progress)
        return item

    def postprocess(item):
        nonlocal in_progress
        time.sleep(0.005)
        with lock:
            in_progress -= weights[item]
        return item

    assert run(range(30), weights, 14, load, postprocess=postprocess) == list(range(30))
    assert 6 < most <= 14


def test_an_item_heavier_than_the_budget_is_processed_alone():
    in_progress: list[int] = []
    seen = {}

    def load(item):
        in_progress.append(item)
        return item

    def postprocess(item):
        time.sleep(0.01)  # gives other items time to start
        seen[item] = list(in_progress)
        in_progress.remove(item)
        return item

    assert run(range(6), {3: 100}, 10, load, postprocess=postprocess) == list(range(6))
    assert seen[3] == [3]
    assert max(map(len, seen.values())) > 1


@pytest.mark.parametrize("step", ["load", "work", "postprocess"])
def test_an_error_is_raised_in_place_of_its_result(step):
    done = []

    def fail(item):
        if item == 3:
            raise ValueError("three")
        return item

    steps = {"load": lambda x: x, "work": lambda x: x, "postprocess": lambda x: x} | {step: fail}
    work = steps.pop("work")
    with pytest.raises(ValueError, match="three"):
        done.extend(
            overlapped(
                range(1000),
                lambda _: 1,
                8,
                **steps,
                work=lambda items: [work(item) for item in items],
            )
        )
    assert done == [0, 1, 2]


def test_a_batch_has_loaded_items_up_to_its_limit():
    sizes = []

    def work(items):
        sizes.append(len(items))
        time.sleep(0.01)  # other items load in the meantime
        return [2 * item for item in items]

    found = list(
        overlapped(range(50), lambda _: 1, 100, lambda x: x, work, lambda x: x + 1, batch=4)
    )
    assert found == [2 * item + 1 for item in range(50)]
    assert max(sizes) == 4
    assert sum(sizes) == 50


def test_items_loaded_before_an_error_in_their_batch_are_not_lost():
    gate = threading.Event()
    done = []

    def load(item):
        if item == 0:
            gate.wait(5)  # so that all are loaded together, if there are two cores
        if item == 2:
            gate.set()
            raise ValueError("two")
        return item

    with pytest.raises(ValueError, match="two"):
        done.extend(
            overlapped(range(3), lambda _: 1, 8, load, lambda items: items, lambda x: x, batch=8)
        )
    assert done == [0, 1]


def test_in_order_raises_in_place_of_the_result_and_starts_no_more_items() -> None:
    started = []

    def work(item: int) -> int:
        started.append(item)
        if item == 3:
            raise UserError("item 3")
        return -item

    results = in_order(work, range(10_000), "working")
    assert [next(results) for _ in range(3)] == [0, -1, -2]
    with pytest.raises(UserError, match="item 3"):
        next(results)
    assert len(started) < 5_000
