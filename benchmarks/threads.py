"""How PyTorch's threads wait for one another, on an idle machine and on a busy one.

libgomp's threads spin at a barrier before they sleep. On an idle machine that saves the time to
wake up; on a busy one, a spinning thread occupies the core that the thread it waits for needs.
``GOMP_SPINCOUNT`` sets how long they spin; ``skyseg/__init__.py`` sets it to a count that costs
almost nothing on an idle machine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.race import Contender, Row, compare, race, seconds

# libgomp's default if OMP_WAIT_POLICY is not set (GCC 12, libgomp/env.c).
DEFAULT = 300_000
COUNTS = (DEFAULT, 30_000, 10_000, 3_000, 1_000, 0)
BUSY = 3  # other processes, on the busy machine
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
        load = f"next to {others} busy processes" if others else "alone"
        for count in COUNTS[1:]:
            yield compare(
                f"training step {load}, GOMP_SPINCOUNT={count}",
                seconds(found[str(count)], 1e-3),
                seconds(found[str(DEFAULT)], 1e-3),
                "ms",
                "",
                "compared with libgomp's default",
            )
