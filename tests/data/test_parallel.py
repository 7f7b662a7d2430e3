"""Overlapped work: in order, bounded, and over at the first error."""

import threading
import time

import pytest

from skyseg.data.parallel import in_order, overlapped
from skyseg.errors import UserError


def run(
    items, weights=None, budget=10, load=lambda x: x, work=lambda x: x, finish=lambda x: x, batch=1
):
    return list(
        overlapped(
            items,
            lambda item: (weights or {}).get(item, 1),
            budget,
            load,
            lambda loaded: [work(item) for item in loaded],
            finish,
            None,
            batch,
        )
    )


def test_results_are_in_order_whatever_takes_how_long():
    def slowly(item):
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item + 1

    assert run(range(20), load=slowly, finish=slowly) == list(range(2, 22))
    assert run([]) == []


def test_work_is_done_by_the_calling_thread_and_the_rest_is_not():
    threads = {"load": set(), "work": set(), "finish": set()}

    def note(name):
        def step(item):
            threads[name].add(threading.get_ident())
            return item

        return step

    run(range(9), load=note("load"), work=note("work"), finish=note("finish"))
    here = threading.get_ident()
    assert threads["work"] == {here}
    assert here not in threads["load"] | threads["finish"]


def test_what_is_under_way_stays_within_the_budget():
    lock, under_way, most = threading.Lock(), 0, 0
    weights = {item: 3 + item % 4 for item in range(30)}

    def load(item):
        nonlocal under_way, most
        with lock:
            under_way += weights[item]
            most = max(most, under_way)
        return item

    def finish(item):
        nonlocal under_way
        time.sleep(0.005)
        with lock:
            under_way -= weights[item]
        return item

    assert run(range(30), weights, 14, load, finish=finish) == list(range(30))
    assert 6 < most <= 14


def test_what_is_heavier_than_the_budget_is_done_alone():
    under_way: list[int] = []
    seen = {}

    def load(item):
        under_way.append(item)
        return item

    def finish(item):
        time.sleep(0.01)  # for others to be begun
        seen[item] = list(under_way)
        under_way.remove(item)
        return item

    assert run(range(6), {3: 100}, 10, load, finish=finish) == list(range(6))
    assert seen[3] == [3]
    assert max(map(len, seen.values())) > 1


@pytest.mark.parametrize("step", ["load", "work", "finish"])
def test_an_error_is_raised_at_its_turn(step):
    done = []

    def fail(item):
        if item == 3:
            raise ValueError("three")
        return item

    steps = {"load": lambda x: x, "work": lambda x: x, "finish": lambda x: x} | {step: fail}
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


def test_a_batch_is_what_is_loaded_and_no_more_than_asked_for():
    sizes = []

    def work(items):
        sizes.append(len(items))
        time.sleep(0.01)  # the others are loaded meanwhile
        return [2 * item for item in items]

    found = list(
        overlapped(range(50), lambda _: 1, 100, lambda x: x, work, lambda x: x + 1, batch=4)
    )
    assert found == [2 * item + 1 for item in range(50)]
    assert max(sizes) == 4
    assert sum(sizes) == 50


def test_what_is_loaded_before_an_error_in_its_batch_is_not_lost():
    gate = threading.Event()
    done = []

    def load(item):
        if item == 0:
            gate.wait(5)  # so that they are loaded together, where there are two cores
        if item == 2:
            gate.set()
            raise ValueError("two")
        return item

    with pytest.raises(ValueError, match="two"):
        done.extend(
            overlapped(range(3), lambda _: 1, 8, load, lambda items: items, lambda x: x, batch=8)
        )
    assert done == [0, 1]


def test_in_order_raises_at_the_items_turn_and_begins_no_more() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise UserError("item 3")
        return -item

    results = in_order(work, range(10_000), "working")
    assert [next(results) for _ in range(3)] == [0, -1, -2]
    with pytest.raises(UserError, match="item 3"):
        next(results)
    assert len(begun) < 5_000
