"""Contenders take turns, so that other load slows all alike; results are medians of ratios."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Contender:
    setup: str
    """For example ``benchmarks.step:published``; see ``benchmarks.worker``."""
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables added for its process."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    ours: float
    baseline: float | None
    unit: str
    ratio: float | None
    """How many times as fast ours is: the median over the rounds; ``low``, ``high``: quartiles."""
    low: float | None
    high: float | None
    target: str
    machine: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without a target."""
        if not self.target:
            return None
        sign, number = self.target.split()[:2]
        value = self.ours if self.ratio is None else self.ratio
        return value >= float(number) if sign == "≥" else value <= float(number)


def race(
    contenders: dict[str, Contender], rounds: int, warm: int = 1
) -> dict[str, list[dict[str, float]]]:
    """Run each contender ``rounds`` times, in turns, after ``warm`` rounds that do not count.

    Returns:
        The workers' answers by contender: seconds, peak (resident bytes), and further numbers.

    Raises:
        SystemExit: a contender's process exited.
    """
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_start(one)) for name, one in contenders.items()}
        for name, worker in workers.items():
            _answer(name, worker)
        for number in range(warm + rounds):
            for name, worker in workers.items():
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
                answer = _answer(name, worker)
                if number >= warm:
                    answers[name].append(answer)
    return answers


def compare(
    name: str,
    ours: Sequence[float],
    baseline: Sequence[float],
    unit: str,
    target: str,
    note: str = "",
) -> Row:
    """A row from two series of the same rounds, for quantities where less is better."""
    ratios = np.divide(baseline, ours)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return Row(
        name,
        float(np.median(ours)),
        float(np.median(baseline)),
        unit,
        float(middle),
        float(low),
        float(high),
        target,
        note=note,
    )


def seconds(answers: list[dict[str, float]], per: float = 1) -> list[float]:
    """The times of a contender, each divided by ``per``, such as the items in a run."""
    return [answer["seconds"] / per for answer in answers]


def machine() -> str:
    """What the results depend on: processor or GPU, and PyTorch's version."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.is_file() else []
        model = next(
            (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
            platform.processor(),
        )
        flags = next((line for line in lines if line.startswith("flags")), "")
        best = next(
            (kind for kind in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if kind in flags),
            "no AVX2",
        )
        name = f"{model}, {torch.get_num_threads()} threads, {best}"
    return f"{name}; PyTorch {torch.__version__}"


def _start(contender: Contender) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.worker",
        contender.setup,
        json.dumps(contender.arguments),
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | contender.environment,
    )


def _answer(name: str, worker: subprocess.Popen[str]) -> dict[str, float]:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"error: contender {name} exited; its output is above")
    return json.loads(line)
