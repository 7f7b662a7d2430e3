"""Fixtures that make tiny data sets."""

from __future__ import annotations

import os

# Read when torch is first imported. The threads of a tiny picture wait for each other, on a busy
# machine for seconds a picture.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiny import make_pairs


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository root, and the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pairs(workspace: Path) -> Callable[..., Path]:
    """Call it to fill the workspace's data/ with ``make_pairs``; gives data/."""

    def fill(count: int = 20, **options: Any) -> Path:
        make_pairs(workspace / "data", count, **options)
        return workspace / "data"

    return fill
