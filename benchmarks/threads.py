"""How PyTorch's threads wait for each other: alone on the machine, and beside other work.

libgomp's threads spin at a barrier before they sleep. Alone that saves the time of waking up;
beside other work a spinning thread keeps the core from the one it waits for. ``GOMP_SPINCOUNT``
says how long they spin; ``skyseg/__init__.py`` sets it to the count that loses nearly nothing
alone.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.race import Contender, Row, compare, race, seconds

# libgomp's own default where OMP_WAIT_POLICY is not set (GCC 12, libgomp/env.c).
DEFAULT = 300_000
COUNTS = (DEFAULT, 30_000, 10_000, 3_000, 1_000, 0)
BUSY = 3  # other processes
STEP = {"variant": "u2netp", "batch": 4}


def rows(work: Path) -> Iterator[Row]:
    contenders = {
        count: Contender("benchmarks.step:ours", STEP, {"GOMP_SPINCOUNT": str(count)})
        for count in COUNTS
    }
    for others, rounds in ((0, 9), (BUSY, 5)):
        with ExitStack() as stack:
            for _ in range(others):
                spinner = stack.enter_context(
                    subprocess.Popen([sys.executable, "-c", "while True: pass"])
                )
                stack.callback(spinner.kill)
            found = race({str(count): one for count, one in contenders.items()}, rounds)
        beside = f"beside {others} busy processes" if others else "alone"
        for count in COUNTS[1:]:
            yield compare(
                f"training step {beside}, GOMP_SPINCOUNT={count}",
                seconds(found[str(count)], 1e-3),
                seconds(found[str(DEFAULT)], 1e-3),
                "ms",
                "",
                "beside libgomp's default",
            )
