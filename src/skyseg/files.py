"""Writing so that an interrupted command never leaves half a result."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; rename it to ``path`` when the block succeeds.

    The caller creates the sibling, a file or a folder. If the block raises, the sibling is removed
    and whatever was at ``path`` before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        if aside.is_dir() and path.exists():
            shutil.rmtree(path)  # rename(2) replaces files and empty folders only
        aside.replace(path)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, aside and renamed."""
    with atomic_write(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write indented JSON, floats rounded to six digits so that diffs show changes, not noise."""

    def rounded(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: rounded(child) for key, child in node.items()}
        return round(node, 6) if isinstance(node, float) else node

    write_text(path, json.dumps(rounded(value), indent=2) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, floats to six digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def write_png(path: Path, picture: Image.Image) -> None:
    """Write a picture, losslessly."""
    with atomic_write(path) as aside:
        picture.save(aside, format="PNG", optimize=True)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
