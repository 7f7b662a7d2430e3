"""Where a model's confident answers disagree with masks: confident learning on pixels.

The method is that of Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 2021, section 3.1: a pixel counts as confidently of a class if the class's
probability is at least the mean probability that pixels labelled with it have. It needs
probabilities from a model that has not trained on the samples.

cleanlab (2.9, Apache-2.0) implements it for arrays that hold all pixels of all classes, without
ignored pixels. Here histograms hold all that is needed, a few kilobytes per image; a test compares
the confident joints.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from skyseg.metrics.counts import BINS, count_image
from skyseg.params import IGNORE

BAND = 1 / 64
"""Width of the band on each side of a mask's edge that is not counted, as a share of the map's
side: 5 pixels of 320, 2 of 128. Annotators and models differ there everywhere."""
MOSTLY = 0.8
"""Share of the disagreement from which it is called missing or extra foreground."""

PROBABILITY = (np.arange(BINS) + 0.5) / BINS
"""What the probability of a pixel in each bin is taken to be."""

MISSING, EXTRA, MISPLACED, INVERTED, NONE = "missing", "extra", "misplaced", "inverted", "none"


class Thresholds(NamedTuple):
    """Mean probability that pixels of a label have of being what they are labelled; infinite if
    there are none."""

    background: float
    foreground: float


class Suspicion(NamedTuple):
    """How much a model's confident answer disagrees with a mask."""

    score: float
    """In 0..1, to rank by: the geometric mean of ``share`` and of 1 - IoU over confident pixels, so
    that neither large backgrounds nor small objects decide alone."""
    share: float
    """Share of the pixels counted that are confidently of the other class."""
    kind: str
    """``MISSING``: the mask lacks foreground. ``EXTRA``: it has too much. ``MISPLACED``: both.
    ``INVERTED``: confident pixels of both labels are mostly of the other class. ``NONE``."""


def histogram(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Counts of an image's pixels by label and probability, without those near the mask's edges.

    Args:
        probability: of foreground, float32 [H, W] in 0..1.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Returns:
        int64 [2, 256], as in ``counts.ImageCounts``.
    """
    return count_image(probability, without_edges(mask)).histogram


def without_edges(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask, uint8 [H, W], whose pixels within ``BAND`` of an edge are ignored."""
    reach = max(1, round(BAND * max(mask.shape)))
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    foreground = cv2.dilate((mask == 1).astype(np.uint8), near)
    background = cv2.dilate((mask == 0).astype(np.uint8), near)
    return np.where((foreground == 1) & (background == 1), np.uint8(IGNORE), mask)


def thresholds(histograms: NDArray[np.int64]) -> Thresholds:
    """The thresholds of a set of images: int64 [N, 2, 256]."""
    rows = histograms.sum(axis=0)
    sums = (rows[0] @ (1 - PROBABILITY), rows[1] @ PROBABILITY)
    return Thresholds(
        *(
            float(total / pixels) if pixels else np.inf
            for total, pixels in zip(sums, rows.sum(axis=1), strict=True)
        )
    )


def confident_joint(histograms: NDArray[np.int64], limits: Thresholds) -> NDArray[np.int64]:
    """Pixels by label and by the class that they confidently are; the others are not counted.

    A pixel that reaches both thresholds counts for the class with the higher probability.

    Args:
        histograms: int64 [..., 2, 256].
        limits: of the whole set of images.

    Returns:
        int64 [..., 2, 2]: background and foreground as the label, then as the class.
    """
    is_background, is_foreground = confident_classes(PROBABILITY, limits)
    return np.stack(
        [histograms[..., is_background].sum(-1), histograms[..., is_foreground].sum(-1)], axis=-1
    )


def confident_classes(
    probability: NDArray[np.floating], limits: Thresholds
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pixels are confidently background, and which foreground: two arrays of any shape."""
    # The thresholds are means of many such numbers, so they are not exact.
    background = 1 - probability >= limits.background - 1e-9
    foreground = probability >= limits.foreground - 1e-9
    return (
        background & ~(foreground & (probability > 0.5)),
        foreground & ~(background & (probability <= 0.5)),
    )


def suspicion(joint: NDArray[np.int64], pixels: int) -> Suspicion:
    """How suspect a mask is.

    Args:
        joint: the confident joint of its image, [2, 2].
        pixels: number of its pixels that count, confident or not.
    """
    missing, extra = int(joint[0, 1]), int(joint[1, 0])
    different = missing + extra
    if not different:
        return Suspicion(0.0, 0.0, NONE)
    share = different / pixels
    outside = different / (different + int(joint[1, 1]))
    return Suspicion(float(np.sqrt(share * outside)), share, _kind(joint))


def _kind(joint: NDArray[np.int64]) -> str:
    missing, extra = int(joint[0, 1]), int(joint[1, 0])
    if missing > joint[0, 0] and extra > joint[1, 1]:
        return INVERTED
    if missing >= MOSTLY * (missing + extra):
        return MISSING
    return EXTRA if extra >= MOSTLY * (missing + extra) else MISPLACED
