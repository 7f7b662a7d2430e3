"""Two people promote at the same moment: real processes, on sqlite and on a server."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mlflow_tools import free_port, make_model, mlflow_server, set_champion
from skyseg.errors import UserError
from skyseg.tracking import connection, history, registry
from tiny import make_params

PARAMS = make_params(
    registry={"model": "sky", "experiment": "skies"},
    train={"device": "cpu"},
    promote={"budgets": {"latency": None}},  # two processes at once take turns on few cores
)
ROUNDS = int(os.environ.get("SKYSEG_RACES", "8"))
SECONDS = 120  # that a process waits for the other


def promote_often(root: Path, uri: str, barrier: Any, outcomes: Any) -> None:
    """A process that promotes the model in its workspace once in each round."""
    from skyseg.commands import contenders
    from skyseg.commands.promote import promote
    from skyseg.metrics import bootstrap

    bootstrap.DRAWS, contenders.TIMINGS = 20, 1
    for number in range(ROUNDS):
        barrier.wait(SECONDS)
        try:
            outcome = f"version {promote(PARAMS, root, uri)}"
        except UserError as error:
            outcome = str(error)
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        outcomes.put((number, root.name, outcome))
        barrier.wait(SECONDS)


@pytest.fixture(params=["sqlite", "server"])
def uri(request: pytest.FixtureRequest, store: Path, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{store}/mlflow.db"
        return
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server", free_port()) as address:
        yield address


@pytest.mark.slow
def test_of_two_promotions_at_once_the_better_model_wins(store: Path, tmp_path: Path, uri: str):
    from skyseg.commands.promote import promote

    roots = {}
    for version, iou in (("1", 0.8), ("2", 0.9), ("3", 0.95)):
        roots[version] = tmp_path / f"version {version}"
        shutil.copytree(store, roots[version])
        make_model(roots[version], seed=int(version), iou=iou)
        assert promote(PARAMS, roots[version], uri) == version
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skyseg.commands.contenders", "skyseg.commands.promote"])
    barrier, outcomes = context.Barrier(3), context.Queue()
    workers = [
        context.Process(target=promote_often, args=(roots[version], uri, barrier, outcomes))
        for version in ("2", "3")
    ]
    connection.connect(store, uri)
    for worker in workers:
        worker.start()
    found = []
    for _ in range(ROUNDS):
        set_champion("sky", "1")
        barrier.wait(SECONDS)
        barrier.wait(SECONDS)
        entries = history.read("sky")
        found.append((registry.aliases("sky"), entries))
    for worker in workers:
        worker.join(SECONDS)

    said = dict[tuple[int, str], str]()
    while not outcomes.empty():
        number, name, outcome = outcomes.get()
        said[number, name] = outcome
    for number, (aliases, _) in enumerate(found):
        assert aliases["champion"] == "3"
        assert said[number, "version 3"] == "version 3"
        second = said[number, "version 2"]
        assert second == "version 2" or "version 2 is not promoted" in second, second
        assert aliases["previous"] == ("2" if second == "version 2" else "1")
    entries = found[-1][1]
    assert all(entry.replaces == before.version for before, entry in pairwise(entries))
