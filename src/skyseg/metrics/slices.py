"""Scores by kind of photograph: they show where a model is weak although its mean is high."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

FEWEST = 3  # images; a score of fewer says little about their kind
# Different values in a column of the manifest. A column with more, or with more than half as many
# as there are images, names images rather than kinds.
MOST_VALUES = 12


class Slice(NamedTuple):
    """One way to cut a data set by a number that each image has."""

    column: str
    """Column of the per-image table."""
    edges: tuple[float, ...]
    """Limits between the parts, ascending; a value on a limit belongs to the part above it."""
    labels: tuple[str, ...]
    """Names of the parts, one more than there are edges."""
    meaning: str


SLICES = {
    "foreground share": Slice(
        "foreground",
        (1e-9, 0.1, 0.3, 0.6),
        ("none", "up to 10 %", "10 to 30 %", "30 to 60 %", "over 60 %"),
        "share of the valid pixels that are foreground",
    ),
    "brightness": Slice(
        "brightness",
        (0.15, 0.35),
        ("night", "dusk", "day"),
        "mean luma of the photograph, from 0 (black) to 1 (white); limits 0.15 and 0.35",
    ),
    "boundary length": Slice(
        "boundary_length",
        (1e-9, 1.0, 2.5),
        ("none", "simple", "winding", "intricate"),
        "length of the foreground's edge divided by the photograph's longer side; limits 1 and 2.5",
    ),
    "image size": Slice(
        "megapixels",
        (0.5, 2.0, 8.0),
        ("under 0.5 MP", "0.5 to 2 MP", "2 to 8 MP", "over 8 MP"),
        "millions of pixels",
    ),
}


def traits(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> dict[str, float]:
    """The numbers of one photograph that ``SLICES`` uses, except the share of foreground.

    Args:
        image: uint8 [H, W, 3], RGB.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.
    """
    # Foreground pixels with a background pixel among their eight neighbours.
    touched = cv2.dilate((mask == 0).astype(np.uint8), np.ones((3, 3), np.uint8))
    red, green, blue = image.reshape(-1, 3).mean(axis=0) / 255
    return {
        "brightness": float(0.299 * red + 0.587 * green + 0.114 * blue),  # ITU-R BT.601
        "boundary_length": float(((mask == 1) & (touched == 1)).sum() / max(mask.shape)),
        "megapixels": mask.size / 1e6,
    }


def assign(found: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The part of each slice that each image falls into.

    Args:
        found: one row per image, with the columns that ``SLICES`` names.
        manifest: the same images in the same order. Each column with few different values (at most
            12, and at most half as many as there are images) is a slice too.

    Returns:
        One row per image, one column per slice, labels as text. Slices with only one part are left
        out.
    """
    parts = {
        name: np.array(row.labels)[np.searchsorted(row.edges, found[row.column], side="right")]
        for name, row in SLICES.items()
    }
    parts |= {name: manifest[name].astype(str).to_numpy() for name in manifest.columns}
    table = pd.DataFrame(parts)
    most = {
        name: MOST_VALUES if name in SLICES else min(MOST_VALUES, len(table) // 2) for name in table
    }
    return table[[name for name in table if 2 <= table[name].nunique() <= most[name]]]


def table(
    parts: pd.DataFrame, score: Callable[[NDArray[np.int64]], dict[str, float]]
) -> pd.DataFrame:
    """Scores of every part.

    Args:
        parts: as ``assign`` returns them.
        score: takes row numbers, int64 [n]; returns the scores of these images.

    Returns:
        Columns ``slice``, ``part``, ``images`` and the scores; parts in their natural order.
    """
    rows = []
    for name in parts.columns:
        order = SLICES[name].labels if name in SLICES else sorted(parts[name].unique())
        for label in order:
            chosen = np.flatnonzero(parts[name] == label)
            if len(chosen):
                rows.append({"slice": name, "part": label, **score(chosen)})
    return pd.DataFrame(rows)


def worst(scores: pd.DataFrame) -> pd.Series | None:
    """The part with the lowest IoU among those with at least ``FEWEST`` images, except the part
    without foreground; None if there is no such part."""
    large = scores[(scores["images"] >= FEWEST) & (scores["part"] != "none")]
    return None if large.empty else large.loc[large["iou"].idxmin()]
