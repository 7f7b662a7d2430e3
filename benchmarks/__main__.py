"""Run benchmarks and write reports/bench/: results.json, results.md, results.png.

    python -m benchmarks [NAME ...]

Without names, all of ``BENCHMARKS`` run; those in ``BY_NAME`` run only when they are named. A
benchmark that does not run keeps the rows of its last run.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report
from benchmarks.race import machine

BENCHMARKS = ("startup", "scoring", "loader", "inference", "preparing", "step")
BY_NAME = (
    "threads",
    "copies",
    "spoiling",
    "suspects",
    "kills",
)
OUT = Path("reports/bench")


def main(names: list[str]) -> None:
    known = BENCHMARKS + BY_NAME
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(f"error: unknown benchmark {', '.join(unknown)}; choose from {', '.join(known)}")
    rows = report.read(OUT)
    for name in names or BENCHMARKS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as work:
            found = list(importlib.import_module(f"benchmarks.{name}").rows(Path(work)))
        rows[name] = [dataclasses.replace(row, machine=machine()) for row in found]
        for row in found:
            print(report.line(row))
        print(f"({name}: {time.perf_counter() - start:.0f} s)", flush=True)
        report.write(OUT, {key: rows[key] for key in known if key in rows})


if __name__ == "__main__":
    main(sys.argv[1:])
