"""The results of prepare: prepared/manifest.csv (one row per sample) and prepared/dataset.json."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from skyseg.data.encoding import Encoding
from skyseg.errors import UserError

SPLITS = ("train", "val", "test")
COLUMNS = (
    "id",
    "image",
    "mask",
    "split",
    "group",
    "width",
    "height",
    "foreground",
    "ignored",
    "image_sha256",
    "mask_sha256",
    "flags",
)


class SplitSummary(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    foreground: float
    """Mean over the images of the foreground share of their valid pixels."""
    fingerprint: str
    """SHA-256 over the split's images, masks and what mask values mean."""


class Dataset(BaseModel):
    """Summary of a prepared data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    encoding: Encoding
    decided: str
    """One sentence: what mask values were taken to mean."""
    size: int
    """Side of the pictures in the prepared arrays, in pixels."""
    fingerprint: str
    """SHA-256 over ids, splits, images, masks and what mask values mean."""
    splits: dict[str, SplitSummary]
    """By name; a split without images is left out."""
    dvc_md5: str | None
    """MD5 of the raw data in data.dvc; null if DVC does not track it."""


def summarise(
    manifest: pd.DataFrame, format: str, encoding: Encoding, decided: str, size: int, root: Path
) -> Dataset:
    """The ``Dataset`` of a manifest."""
    splits = {}
    for name in SPLITS:
        rows = manifest[manifest["split"] == name]
        if len(rows):
            splits[name] = SplitSummary(
                images=len(rows),
                foreground=round(float(rows["foreground"].mean()), 6),
                fingerprint=_fingerprint(rows, encoding),
            )
    return Dataset(
        format=format,
        encoding=encoding,
        decided=decided,
        size=size,
        splits=splits,
        fingerprint=_fingerprint(manifest, encoding),
        dvc_md5=_dvc_md5(root),
    )


def read_manifest(prepared: Path) -> pd.DataFrame:
    """One row per sample, columns ``COLUMNS``; paths are relative to the repository's root.

    Raises:
        UserError: the data has not been prepared.
    """
    text = {
        name: str for name in COLUMNS if name not in ("width", "height", "foreground", "ignored")
    }
    return pd.read_csv(_existing(prepared / "manifest.csv"), dtype=text, keep_default_na=False)


def read_dataset(prepared: Path) -> Dataset:
    """The summary of a prepared data set.

    Raises:
        UserError: the data has not been prepared.
    """
    return Dataset.model_validate_json(
        _existing(prepared / "dataset.json").read_text(encoding="utf-8")
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such file; prepare the data first: dvc repro prepare")
    return path


def _fingerprint(rows: pd.DataFrame, encoding: Encoding) -> str:
    ordered = rows.sort_values("id")[["id", "split", "image_sha256", "mask_sha256"]]
    content = [ordered.to_numpy().tolist(), encoding.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _dvc_md5(root: Path) -> str | None:
    path = root / "data.dvc"
    if not path.is_file():
        return None
    outs = (YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}).get("outs") or [{}]
    md5: str | None = outs[0].get("md5")
    return md5
