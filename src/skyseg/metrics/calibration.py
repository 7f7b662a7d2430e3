"""Calibration: whether the predicted probabilities match the observed frequencies."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PARTS = 16  # equal parts of the probability scale, each 16 of the histogram's 256 bins


def reliability(histogram: NDArray[np.int64]) -> pd.DataFrame:
    """How often pixels with a given probability really are foreground.

    Args:
        histogram: int64 [2, 256], pixels of background and foreground by probability bin, summed
            over the images (``skyseg.metrics.suite``).

    Returns:
        A row for each of ``PARTS`` equal parts of 0..1 that has pixels: ``confidence`` (mean
        probability, exact to 1/512), ``frequency`` (share of foreground) and ``pixels``.
    """
    bins = histogram.shape[-1]
    centres = (np.arange(bins) + 0.5) / bins
    pixels = histogram.sum(0)
    parts = np.arange(bins) * PARTS // bins
    count, foreground, confidence = (
        np.bincount(parts, weights) for weights in (pixels, histogram[1], pixels * centres)
    )
    found = count > 0
    return pd.DataFrame(
        {
            "confidence": confidence[found] / count[found],
            "frequency": foreground[found] / count[found],
            "pixels": count[found].astype(np.int64),
        }
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean |frequency - confidence| over pixels (Guo et al., ICML 2017, eq. 3; there for the
    predicted class, here for foreground). 0 if there are no pixels.

    Args:
        table: as ``reliability`` returns it.
    """
    gap = (table["frequency"] - table["confidence"]).abs()
    return float((gap * table["pixels"]).sum() / max(table["pixels"].sum(), 1))
