"""Trainings killed at random moments and resumed are the same to the bit as those that are not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 40  # each takes a second, and more on a busy machine
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_trainings_that_are_killed_lose_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kills", str(KILLS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [counts] = re.findall(r"^\| all \| (\d+) \| (\d+) \| (\d+) \| 0 \|$", done.stdout, re.MULTILINE)
    assert sum(map(int, counts)) == KILLS
    assert min(map(int, counts)) > 0
