"""What is remembered of the data that the champion was trained on, to compare other data with it.

``promote`` keeps it in ``models/champion_data.json``, which Git tracks. So ``prepare`` can compare
without asking the model registry.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from skyseg.data.audit.across import DRIFT
from skyseg.data.audit.findings import Finding
from skyseg.documents import Document, read_document
from skyseg.files import write_text

FILE = Path("models/champion_data.json")
DECILES = np.linspace(0, 1, 11)


class TrainingData(Document):
    """Distributions over the photographs of a training split."""

    images: int
    foreground: list[float] = Field(min_length=11, max_length=11)
    """Deciles of the share of foreground, from the minimum to the maximum."""
    pixels: list[float] = Field(min_length=11, max_length=11)
    """Deciles of the number of pixels."""


class Remembered(Document):
    """Content of ``FILE``; null where nothing is known."""

    champion: TrainingData | None = None
    previous: TrainingData | None = None


def describe(manifest: pd.DataFrame) -> TrainingData:
    """The training data of a manifest."""
    train = manifest[manifest["split"] == "train"]
    return TrainingData(
        images=len(train),
        foreground=train["foreground"].quantile(DECILES).round(4).tolist(),
        pixels=(train["width"] * train["height"]).quantile(DECILES).round(0).tolist(),
    )


def drift_from_champion(manifest: pd.DataFrame, root: Path) -> Iterator[Finding]:
    """How the training split differs from the data that the champion was trained on.

    Raises:
        UserError: the file that says so is damaged.
    """
    known = read_remembered(root).champion
    if known is None:
        return
    train = manifest[manifest["split"] == "train"]
    for name, values, deciles, form in (
        ("share of foreground", train["foreground"], known.foreground, "{:.0%}"),
        ("number of pixels", train["width"] * train["height"], known.pixels, "{:,.0f}"),
    ):
        if _distance(values.to_numpy(float), np.array(deciles)) >= DRIFT:
            yield Finding(
                "drift",
                (),
                f"train differs from the champion's training data: median {name} "
                f"{form.format(values.median())}, there {form.format(deciles[5])}",
            )


def read_remembered(root: Path) -> Remembered:
    """What is known about the training data of the champion and of the one before.

    Raises:
        UserError: the file is damaged.
    """
    path = root / FILE
    if not os.path.lexists(path):
        return Remembered()
    advice = "restore it with git, or remove it: then data is not compared with the champion's"
    return read_document(path, Remembered, advice)


def write_remembered(root: Path, remembered: Remembered) -> None:
    """Replace the file."""
    write_text(root / FILE, remembered.model_dump_json(indent=2) + "\n")


def _distance(values: np.ndarray, deciles: np.ndarray) -> float:
    """Largest distance between two cumulative distributions, at the deciles of one (a
    Kolmogorov-Smirnov distance).

    Where several deciles are equal, the distribution jumps: below the value it is at most the first
    of them, at the value at least the last.
    """
    ordered = np.sort(values)
    below = np.searchsorted(ordered, deciles, side="left") / len(values)
    up_to = np.searchsorted(ordered, deciles, side="right") / len(values)
    first = np.array([DECILES[deciles == value].min() for value in deciles])
    last = np.array([DECILES[deciles == value].max() for value in deciles])
    return float(np.maximum(below - first, last - up_to).max())
