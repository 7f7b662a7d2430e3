"""The results of prepare: prepared/manifest.csv (one row per sample) and prepared/dataset.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from skyseg.data.masks.encoding import Encoding
from skyseg.documents import Document, read_document, read_results, read_yaml, shown
from skyseg.errors import UserError

FIRST = "prepare the data first: dvc repro prepare"
AGAIN = "prepare the data again: dvc repro prepare"

SPLITS = ("train", "val", "test")
COLUMNS = (
    "id",
    "image",
    "mask",
    "split",
    "source",
    "weight",
    "group",
    "width",
    "height",
    "foreground",
    "ignored",
    "image_sha256",
    "mask_sha256",
    "flags",
)
# Columns with numbers, the smallest and the largest.
NUMBERS = (
    ("weight", 0, 1000),
    ("width", 1, 2**31),
    ("height", 1, 2**31),
    ("foreground", 0, 1),
    ("ignored", 0, 1),
)


class SplitSummary(Document):
    images: int = Field(ge=1)
    foreground: float = Field(ge=0, le=1)
    """Mean over the images of the foreground share of their valid pixels."""
    fingerprint: str
    """SHA-256 over the split's images, masks and what mask values mean."""


class Dataset(Document):
    """Summary of a prepared data set."""

    format: str
    encoding: Encoding
    sources: dict[str, Encoding] = Field({})
    """What the values of the original masks mean, by data set, if there are several; ``encoding``
    is then that of the masks that prepare has written."""
    decided: str
    """One sentence: what mask values were taken to mean; for several data sets, one for each."""
    size: int
    """Side of the pictures in the prepared arrays, in pixels."""
    fingerprint: str
    """SHA-256 over ids, splits, images, masks and what mask values mean."""
    splits: dict[str, SplitSummary]
    """By name; a split without images is left out."""
    dvc_md5: str | None
    """MD5 of the raw data in data.dvc; null if DVC does not track it."""

    def original(self, id: str) -> Encoding:
        """What the values of a sample's mask in ``data/`` mean."""
        return self.sources.get(id.split("/")[0], self.encoding)


def summarise(
    manifest: pd.DataFrame,
    format: str,
    encoding: Encoding,
    decided: str,
    size: int,
    root: Path,
    sources: Mapping[str, Encoding],
) -> Dataset:
    """The ``Dataset`` of a manifest."""
    meaning = [each.model_dump(mode="json") for each in (encoding, *sources.values())]
    splits = {}
    for name in SPLITS:
        rows = manifest[manifest["split"] == name]
        if len(rows):
            splits[name] = SplitSummary(
                images=len(rows),
                foreground=round(float(rows["foreground"].mean()), 6),
                fingerprint=_fingerprint(rows, meaning),
            )
    weights = (
        [] if (manifest["weight"] == 1).all() else manifest.sort_values("id")["weight"].tolist()
    )
    return Dataset(
        format=format,
        encoding=encoding,
        sources=dict(sources),
        decided=decided,
        size=size,
        splits=splits,
        fingerprint=_fingerprint(manifest, [*meaning, *weights]),
        dvc_md5=_dvc_md5(root),
    )


def read_manifest(prepared: Path) -> pd.DataFrame:
    """One row per sample, columns ``COLUMNS``; paths are relative to the repository's root.

    Raises:
        UserError: the data has not been prepared, or the file is damaged.
    """
    path = prepared / "manifest.csv"
    table = read_results(path, FIRST, COLUMNS)
    for name, least, most in NUMBERS:
        table[name] = _numbers(path, table[name], least, most)
    for name, wrong in (
        ("split", ~table["split"].isin(SPLITS)),
        ("id", (table["id"] == "") | table["id"].duplicated()),
    ):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise UserError(
                f"{path}: row {row + 1}: {name}: {shown(table[name][row])} is no {name}, or occurs "
                f"twice; {AGAIN}"
            )
    return table.astype({"width": int, "height": int})


def read_dataset(prepared: Path) -> Dataset:
    """The summary of a prepared data set.

    Raises:
        UserError: the data has not been prepared, or the file is damaged.
    """
    return read_document(prepared / "dataset.json", Dataset, FIRST)


def _numbers(path: Path, cells: pd.Series, least: float, most: float) -> pd.Series:
    numbers = pd.to_numeric(cells, errors="coerce")
    wrong = ~numbers.between(least, most)  # also where it is NaN
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{path}: row {row + 1}: {cells.name}: {shown(cells[row])} is not a number from "
            f"{least:g} to {most:g}; {AGAIN}"
        )
    return numbers


def _fingerprint(rows: pd.DataFrame, meaning: list[Any]) -> str:
    ordered = rows.sort_values("id")[["id", "split", "image_sha256", "mask_sha256"]]
    content = [ordered.to_numpy().tolist(), *meaning]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _dvc_md5(root: Path) -> str | None:
    path = root / "data.dvc"
    if not os.path.lexists(path):
        return None
    advice = "restore it with git, or track the data again: dvc add data"
    content = read_yaml(path, advice) or {}
    try:
        md5 = (content.get("outs") or [{}])[0].get("md5")
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{path}: not a file of DVC; {advice}") from None
    if not isinstance(md5, str | None):
        raise UserError(f"{path}: md5: {shown(md5)} is not text; {advice}")
    return md5
