"""A process that does one thing again whenever it is told to, and says how long it took.

    python -m benchmarks.worker MODULE:SETUP '{"argument": 1}'

Each contender has a process of its own: the allocator, the threads and the imports of one then
neither help nor hinder another. SETUP(argument=1) does what is not timed and returns what is: a
function whose result, if it has one, is a dictionary of further figures.
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
    os.dup2(2, 1)  # what the contender prints is no answer
    module, name = what.split(":")
    run = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        figures = run() or {}
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "peak": peak(), **figures}), file=answers, flush=True)


def peak() -> int:
    """The most bytes that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage also counts what the parent had before the exec
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
