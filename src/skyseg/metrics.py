"""Scores of probability maps, as pure functions of counts.

A map is reduced once to a histogram: how many background and foreground pixels fall into each of
256 probability bins. Every threshold ``k / 256`` then has exact counts of true and false positives
and negatives, and every score is a function of these counts. Ignored pixels are never counted.

Where a score is undefined: an image without foreground has IoU 1 if nothing is predicted and 0
otherwise; it has no recall, so precision, recall and F-measure are averaged over the images that
have foreground. Where nothing is predicted, precision is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skyseg.params import IGNORE

BINS = 256
THRESHOLDS = np.arange(BINS) / BINS
# Weight of precision over recall in the F-measure of the salient object detection literature
# (Achanta et al., CVPR 2009; U-2-Net section 4.3).
BETA2 = 0.3


class Counts(NamedTuple):
    """Pixels by outcome: numbers, or arrays of one shape."""

    tp: NDArray
    fp: NDArray
    fn: NDArray
    tn: NDArray


class ImageStats(NamedTuple):
    """What one image contributes to every score."""

    histogram: NDArray[np.int64]
    """[2, 256]: pixels of background (row 0) and foreground (row 1) by probability bin."""
    absolute_error: float
    """Sum over pixels of |probability - mask|."""
    adaptive: float
    """F-measure at the image's own adaptive threshold; NaN without foreground."""


def measure(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> ImageStats:
    """Reduce one probability map.

    Args:
        probability: float32 [H, W] in 0..1.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Raises:
        ValueError: shapes differ.
    """
    if probability.shape != mask.shape:
        raise ValueError(f"shapes differ: {probability.shape} and {mask.shape}")
    valid = mask != IGNORE
    p, truth = probability[valid], mask[valid] == 1
    bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    histogram = np.bincount(truth * BINS + bins, minlength=2 * BINS).reshape(2, BINS)
    error = float(np.abs(p - truth, dtype=np.float64).sum())
    return ImageStats(histogram, error, _adaptive_f(p, truth))


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
    return Counts(tp=above[..., 1, :], fp=above[..., 0, :],
                  fn=below[..., 1, :], tn=below[..., 0, :])


def iou(counts: Counts) -> NDArray:
    """Intersection over union (Jaccard index); 1 where both are empty."""
    union = counts.tp + counts.fp + counts.fn
    return np.where(union == 0, 1.0, counts.tp / np.maximum(union, 1))


def precision(counts: Counts) -> NDArray:
    """tp / (tp + fp); 0 where nothing is predicted."""
    return counts.tp / np.maximum(counts.tp + counts.fp, 1)


def recall(counts: Counts) -> NDArray:
    """tp / (tp + fn); 0 where there is no foreground."""
    return counts.tp / np.maximum(counts.tp + counts.fn, 1)


def f_measure(p: NDArray, r: NDArray) -> NDArray:
    """(1 + b2) p r / (b2 p + r) with b2 = 0.3 (U-2-Net eq. 4); 0 where both are 0."""
    denominator = BETA2 * p + r
    return (1 + BETA2) * p * r / np.where(denominator == 0, 1, denominator)


def best_threshold(histogram: NDArray[np.int64]) -> float:
    """The threshold with the highest pooled IoU; of those within 0.001 of it, the nearest to 0.5.

    Validation IoU hardly changes over a wide range of thresholds; the middle is the safe side for
    photographs that are less sure than these.

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
    histograms = histograms[histograms[:, 1].sum(-1) > 0]
    if len(histograms) == 0:
        return np.zeros(BINS), np.zeros(BINS)
    counts = at_all(histograms)
    return precision(counts).mean(0), recall(counts).mean(0)


def summarise(stats: list[ImageStats], threshold: float) -> dict[str, float]:
    """Scores of a set of images.

    Args:
        stats: one entry an image, at least one.
        threshold: the model's operating threshold, for IoU, precision and recall.

    Returns:
        ``iou`` pooled over all pixels, ``iou_image`` the mean over images, ``precision`` and
        ``recall`` pooled, ``f_max``, ``f_mean`` (maximum and mean over thresholds of the F-measure
        of the mean precision and recall), ``f_adaptive`` (mean over images, each at twice its mean
        probability, at most 1: low by definition where the foreground fills over half of the image,
        as skies do), ``mae`` (mean over images), ``threshold``, ``images``.
    """
    histograms = np.stack([s.histogram for s in stats])
    pooled = at(histograms.sum(0), threshold)
    f = f_measure(*mean_curves(histograms))
    adaptive = np.array([s.adaptive for s in stats])
    errors = [s.absolute_error / max(s.histogram.sum(), 1) for s in stats]
    return {
        "iou": float(iou(pooled)),
        "iou_image": float(iou(at(histograms, threshold)).mean()),
        "f_max": float(f.max()),
        "f_mean": float(f.mean()),
        "f_adaptive": float(np.nanmean(adaptive)) if np.isfinite(adaptive).any() else 0.0,
        "precision": float(precision(pooled)),
        "recall": float(recall(pooled)),
        "mae": float(np.mean(errors)),
        "threshold": threshold,
        "images": len(stats),
    }


def image_scores(stats: ImageStats, threshold: float) -> dict[str, float]:
    """One image's row of the per-image table; precision and recall as for a pooled set of one."""
    counts = at(stats.histogram, threshold)
    pixels = max(int(stats.histogram.sum()), 1)
    return {
        "iou": float(iou(counts)),
        "precision": float(precision(counts)),
        "recall": float(recall(counts)),
        "f_adaptive": stats.adaptive,
        "mae": stats.absolute_error / pixels,
        "foreground": float(counts.tp + counts.fn) / pixels,
        "predicted": float(counts.tp + counts.fp) / pixels,
    }


def _adaptive_f(p: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """F-measure at twice the mean probability, at most 1 (Achanta et al. 2009, section 4)."""
    if not truth.any():
        return float("nan")
    predicted = p >= min(2 * float(p.mean(dtype=np.float64)), 1.0)
    tp, positives = (predicted & truth).sum(), predicted.sum()
    return float(f_measure(tp / max(positives, 1), tp / truth.sum()))
