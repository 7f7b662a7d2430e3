"""Pixel counts and the scores computed from them: all that training needs.

A map is reduced once to a histogram: how many background and foreground pixels fall into each of
256 probability bins. Every threshold ``k / 256`` then has exact counts of true and false positives
and negatives. Ignored pixels are never counted.

Where a score is undefined: an image without foreground has IoU 1 if nothing is predicted and 0
otherwise; it has no recall, so F-measures are averaged over the images that have foreground.
Precision and recall are pooled over pixels; where nothing is predicted, precision is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 256
THRESHOLDS = np.arange(BINS) / BINS
# Weight of precision over recall in the F-measure of the salient object detection literature
# (Achanta et al., CVPR 2009; U-2-Net section 4.3).
BETA2 = 0.3


class Counts(NamedTuple):
    """Pixels by outcome: numbers, or arrays of the same shape."""

    tp: NDArray
    fp: NDArray
    fn: NDArray
    tn: NDArray


class ImageCounts(NamedTuple):
    """What one image contributes to the scores computed from counts."""

    histogram: NDArray[np.int64]
    """[2, 256]: pixels of background (row 0) and foreground (row 1) by probability bin."""
    absolute_error: float
    """Sum over valid pixels of |probability - mask|."""
    probability: float
    """Sum over valid pixels of the probability."""


def count_image(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> ImageCounts:
    """Reduce one probability map to its counts.

    Args:
        probability: float32 [H, W] in 0..1.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Raises:
        ValueError: shapes differ.
    """
    if probability.shape != mask.shape:
        raise ValueError(f"shapes differ: {probability.shape} and {mask.shape}")
    bins = (probability * BINS).astype(np.uint16)
    bins -= bins == BINS  # a probability of 1 belongs to the last bin
    rows = np.bincount((mask * np.uint16(BINS) + bins).ravel(), minlength=2 * BINS)
    histogram = rows[: 2 * BINS].reshape(2, BINS).copy()  # ignored pixels would be row 255
    background, truth = mask == 0, mask == 1
    on_background, on_foreground = (
        cv2.sumElems(probability * where)[0] for where in (background, truth)
    )
    error = on_background + np.count_nonzero(truth) - on_foreground
    return ImageCounts(histogram, error, on_background + on_foreground)


def at(histogram: NDArray[np.int64], threshold: float) -> Counts:
    """Counts where foreground is ``probability >= threshold``.

    Args:
        histogram: int64 [..., 2, 256].
        threshold: in 0..1; exact for multiples of 1/256, else rounded up to the next one.

    Returns:
        Counts of shape [...].
    """
    k = int(np.ceil(threshold * BINS))
    below, above = histogram[..., :k].sum(-1), histogram[..., k:].sum(-1)
    return Counts(tp=above[..., 1], fp=above[..., 0], fn=below[..., 1], tn=below[..., 0])


def at_all(histogram: NDArray[np.int64]) -> Counts:
    """Counts at each of ``THRESHOLDS``: [..., 2, 256] -> Counts of shape [..., 256]."""
    above = histogram[..., ::-1].cumsum(-1)[..., ::-1]
    below = above[..., :1] - above
    return Counts(
        tp=above[..., 1, :], fp=above[..., 0, :], fn=below[..., 1, :], tn=below[..., 0, :]
    )


def iou(counts: Counts) -> NDArray:
    """Intersection over union (Jaccard index); 1 if both are empty."""
    union = counts.tp + counts.fp + counts.fn
    return np.where(union == 0, 1.0, counts.tp / np.maximum(union, 1))


def dice(counts: Counts) -> NDArray:
    """2 tp / (2 tp + fp + fn); 1 if both are empty."""
    sizes = 2 * counts.tp + counts.fp + counts.fn
    return np.where(sizes == 0, 1.0, 2 * counts.tp / np.maximum(sizes, 1))


def precision(counts: Counts) -> NDArray:
    """tp / (tp + fp); 0 if nothing is predicted."""
    return counts.tp / np.maximum(counts.tp + counts.fp, 1)


def recall(counts: Counts) -> NDArray:
    """tp / (tp + fn); 0 if there is no foreground."""
    return counts.tp / np.maximum(counts.tp + counts.fn, 1)


def f_measure(p: NDArray | float, r: NDArray | float) -> NDArray:
    """(1 + b2) p r / (b2 p + r) with b2 = 0.3 (U-2-Net eq. 4); 0 if both are 0."""
    denominator = BETA2 * p + r
    return (1 + BETA2) * p * r / np.where(denominator == 0, 1, denominator)


def best_threshold(histogram: NDArray[np.int64]) -> float:
    """Of the thresholds whose pooled IoU is within 0.001 of the highest, the one nearest to 0.5.

    Validation IoU hardly changes over a wide range of thresholds. The middle is the safe choice for
    photographs on which the model is less sure than on these.

    Args:
        histogram: int64 [2, 256], summed over the validation images.
    """
    scores = iou(at_all(histogram))[1:]  # 0 would call everything foreground
    candidates = THRESHOLDS[1:][scores >= scores.max() - 1e-3]
    return float(candidates[np.abs(candidates - 0.5).argmin()])


def mean_curves(histograms: NDArray[np.int64]) -> tuple[NDArray, NDArray]:
    """Precision and recall at each threshold, averaged over the images that have foreground.

    Args:
        histograms: int64 [N, 2, 256].

    Returns:
        Two float arrays [256]; zeros if no image has foreground.
    """
    counts, has_foreground = at_all(histograms), histograms[:, 1].sum(-1) > 0
    p, r = (
        np.nan_to_num(weighted_mean(values, has_foreground))
        for values in (precision(counts), recall(counts))
    )
    return p, r


def validation_scores(images: Sequence[ImageCounts], threshold: float) -> dict[str, float]:
    """``iou`` (pooled, at the threshold), ``f_max``, ``f_mean`` and ``mae`` of a set of images.

    They equal the scores of the same names in ``skyseg.metrics.suite``.
    """
    histograms = np.stack([image.histogram for image in images])
    f = f_measure(*mean_curves(histograms))
    pixels = np.maximum(histograms.sum((1, 2)), 1)
    return {
        "iou": float(iou(at(histograms.sum(0), threshold))),
        "f_max": float(f.max()),
        "f_mean": float(f.mean()),
        "mae": float(np.mean([image.absolute_error for image in images] / pixels)),
    }


def weighted_mean(values: NDArray, weights: NDArray) -> NDArray:
    """Weighted mean over the first axis; NaN if all weights are 0."""
    total = weights.sum()
    return weights @ values / total if total else np.full(values.shape[1:], np.nan)
