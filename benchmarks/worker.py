"""A process that repeats one task on request, and reports how long it took.

    python -m benchmarks.worker MODULE:SETUP '{"argument": 1}'

Each contender runs in its own process, so that its allocator, threads and imports do not affect the
others. SETUP(argument=1) does the work that is not timed, and returns the function to time. That
function returns None or a dictionary of further numbers.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path


def main(what: str, arguments: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep the contender's own output out of the answers
    module, name = what.split(":")
    run = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        numbers = run() or {}
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "peak": peak(), **numbers}), file=answers, flush=True)


def peak() -> int:
    """Peak resident memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: there getrusage also counts the parent's memory before the exec
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
