"""Scores by kind of photograph: where a model is weak, though its mean is high."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

FEWEST = 3  # images; the score of fewer says little about their kind
# Values of a column of the manifest: beyond, or beyond half as many as there are images, it names
# images rather than kinds.
MOST_VALUES = 12


class Slice(NamedTuple):
    """One way to cut a data set by a number that each image has."""

    column: str
    """Of the per-image table."""
    edges: tuple[float, ...]
    """Between the parts, ascending; a value on an edge belongs to the part above."""
    labels: tuple[str, ...]
    """One more than edges."""
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
        "mean luma of the photograph, 0 black to 1 white: below 0.15, to 0.35, above",
    ),
    "boundary length": Slice(
        "boundary_length",
        (1e-9, 1.0, 2.5),
        ("none", "simple", "winding", "intricate"),
        "length of the foreground's edge over the photograph's longer side: to 1, to 2.5, more",
    ),
    "image size": Slice(
        "megapixels",
        (0.5, 2.0, 8.0),
        ("under 0.5 MP", "0.5 to 2 MP", "2 to 8 MP", "over 8 MP"),
        "millions of pixels",
    ),
}


def traits(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> dict[str, float]:
    """What ``SLICES`` cuts by beside the share of foreground, of one photograph.

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
        found: a row an image, with the columns that ``SLICES`` names.
        manifest: the same images in the same order; each of its columns that has few different
            values (at most 12, and half as many as there are images) is a slice too.

    Returns:
        A row an image, a column a slice, labels as text; no slice that has one part only.
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
        score: from rows, int64 [n], to the scores of these images.

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
    """The part with the lowest IoU among those of at least ``FEWEST`` images, but for the part
    without foreground; None where no part has as many."""
    large = scores[(scores["images"] >= FEWEST) & (scores["part"] != "none")]
    return None if large.empty else large.loc[large["iou"].idxmin()]
