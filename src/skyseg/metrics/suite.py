"""Every score that evaluation prints; ``METRICS`` says what each means.

Most are computed from the counts of ``skyseg.metrics.counts``. Those that need pixel positions are
in ``skyseg.metrics.saliency`` and ``skyseg.metrics.boundaries``. ``scorer`` says what happens to a
score that is undefined for every image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyseg.metrics import boundaries, saliency
from skyseg.metrics.calibration import expected_calibration_error, reliability
from skyseg.metrics.counts import (
    THRESHOLDS,
    Counts,
    at,
    at_all,
    count_image,
    dice,
    f_measure,
    iou,
    mean_curves,
    precision,
    recall,
    weighted_mean,
)


class Metric(NamedTuple):
    """A row of the table in the report and in docs/metrics.md."""

    over: str
    """What it is pooled over or averaged over."""
    meaning: str
    """One line, with its source."""
    lower_is_better: bool = False


PIXELS, IMAGES, MARKED = "pixels", "images", "images with foreground"

METRICS = {
    "iou": Metric(PIXELS, "intersection over union at the model's threshold (Jaccard 1912)"),
    "iou_image": Metric(IMAGES, "mean of the images' IoU"),
    "dice": Metric(PIXELS, "2 TP / (2 TP + FP + FN) at the model's threshold (Dice 1945)"),
    "precision": Metric(PIXELS, "share of the predicted foreground that is correct"),
    "recall": Metric(PIXELS, "share of the true foreground that is found"),
    "mae": Metric(
        IMAGES, "mean absolute error of the probability (Perazzi et al. 2012)", lower_is_better=True
    ),
    "f_max": Metric(
        MARKED,
        "F (β² = 0.3; Achanta et al. 2009) of mean precision and mean recall, "
        "at the best of 256 thresholds",
    ),
    "f_mean": Metric(MARKED, "the same, averaged over the thresholds"),
    "f_adaptive": Metric(
        MARKED,
        "F of each image at twice its mean probability (Achanta et al. "
        "2009): low by definition if foreground fills over half of the image",
    ),
    "f_max_image": Metric(MARKED, "mean of the images' F, at the best of 256 thresholds"),
    "f_weighted": Metric(
        MARKED, "F (β = 1) with errors weighted by position (Margolin et al. 2014)"
    ),
    "s_measure": Metric(IMAGES, "similarity of objects and of regions (Fan et al. 2017)"),
    "e_mean": Metric(IMAGES, "enhanced alignment (Fan et al. 2018), averaged over 256 thresholds"),
    "e_max": Metric(IMAGES, "the same, at the best threshold"),
    "boundary_iou": Metric(
        IMAGES,
        "IoU of the foreground within 2 % of the diagonal from its edge (Cheng et al. 2021)",
    ),
    "boundary_f": Metric(
        "images with an edge", "F (β² = 0.3) of edges, matched within 3 px (Qin et al. 2020)"
    ),
    "thin_recall": Metric(
        PIXELS,
        "share of the foreground and background narrower than 5 px at 480 x 360 "
        "(branches, wires, gaps) that is classified correctly",
    ),
    "ece": Metric(
        PIXELS,
        "expected calibration error: mean gap between probability and frequency (Guo et al. 2017)",
        lower_is_better=True,
    ),
    "false_alarms": Metric(
        "images without foreground",
        "share of them in which foreground is predicted",
        lower_is_better=True,
    ),
}
OPTIONAL = ("thin_recall", "false_alarms")  # left out if no image defines them
# Only for sets: for one image, the first two equal iou and f_max, and the last is 0 or 1.
SET_ONLY = ("iou_image", "f_max_image", "false_alarms")


class SpatialScores(NamedTuple):
    """Scores of one image that cannot be computed from its histogram; NaN if undefined."""

    f_weighted: float
    s_measure: float
    boundary_iou: float
    boundary_f: float
    thin_found: int
    """Pixels of thin structures that are classified correctly."""
    thin: int
    """Pixels of thin structures."""


class ImageStats(NamedTuple):
    """What one image contributes to every score."""

    histogram: NDArray[np.int64]
    """[2, 256]: pixels of background (row 0) and foreground (row 1) by probability bin."""
    absolute_error: float
    """Sum over pixels of |probability - mask|."""
    adaptive: float
    """F-measure at the image's own adaptive threshold; NaN without foreground."""
    shape: SpatialScores | None = None
    """What ``full_image_stats`` adds."""


def image_stats(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> ImageStats:
    """Reduce one probability map to what is cheap: the scores that need only counts.

    Args:
        probability: float32 [H, W] in 0..1.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Raises:
        ValueError: shapes differ.
    """
    counted = count_image(probability, mask)
    mean = counted.probability / max(counted.histogram.sum(), 1)
    adaptive = _adaptive_f(probability, mask == 0, mask == 1, mean)
    return ImageStats(counted.histogram, counted.absolute_error, adaptive)


def full_image_stats(
    probability: NDArray[np.float32], mask: NDArray[np.uint8], threshold: float
) -> ImageStats:
    """Reduce one probability map to all that ``METRICS`` needs.

    Args:
        probability: float32 [H, W] in 0..1.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.
        threshold: the model's operating threshold, for edges and thin structures.

    Raises:
        ValueError: shapes differ.
    """
    stats = image_stats(probability, mask)
    found = probability >= threshold
    edges = boundaries.edge_precision_recall(found, mask)
    thin = boundaries.thin_structures(mask)
    return stats._replace(
        shape=SpatialScores(
            f_weighted=saliency.f_weighted(probability, mask),
            s_measure=saliency.s_measure(probability, mask),
            boundary_iou=boundaries.boundary_iou(found, mask),
            boundary_f=float(f_measure(*edges)),
            thin_found=int(np.count_nonzero(thin & (found == (mask == 1)))),
            thin=int(np.count_nonzero(thin)),
        )
    )


Scorer = Callable[[NDArray[np.int64]], dict[str, float]]


def scorer(stats: Sequence[ImageStats], threshold: float) -> Scorer:
    """A function that scores any selection of these images, fast enough to call a thousand times.

    Args:
        stats: one entry per image, at least one.
        threshold: the model's operating threshold.

    Returns:
        A function of row numbers, int64 [n], at least one; a repeated row counts again. It returns
        each of ``METRICS`` (only those computed from counts if ``image_stats`` made the entries),
        ``threshold`` and ``images``. A score that is undefined for every image is 0, but those in
        ``OPTIONAL`` are left out.
    """
    score = _scorer(stats, threshold)

    def defined(rows: NDArray[np.int64]) -> dict[str, float]:
        scores = {
            name: 0.0 if math.isnan(value) else value
            for name, value in score(rows).items()
            if name not in OPTIONAL or not math.isnan(value)
        }
        return {**scores, "threshold": threshold, "images": len(rows)}

    return defined


def summarise(stats: Sequence[ImageStats], threshold: float) -> dict[str, float]:
    """What ``scorer`` returns for all images."""
    return scorer(stats, threshold)(np.arange(len(stats)))


def image_scores(stats: ImageStats, threshold: float) -> dict[str, float]:
    """One image's row of the per-image table: scores of a set of one image, NaN if undefined."""
    scores = _scorer([stats], threshold)(np.zeros(1, np.int64))
    for name in SET_ONLY:
        del scores[name]
    counts = at(stats.histogram, threshold)
    pixels = max(int(stats.histogram.sum()), 1)
    return {
        **scores,
        "foreground": float(counts.tp + counts.fn) / pixels,
        "predicted": float(counts.tp + counts.fp) / pixels,
    }


def threshold_table(histograms: NDArray[np.int64]) -> pd.DataFrame:
    """Scores at each threshold: the rows behind the PR and threshold curves.

    Args:
        histograms: int64 [N, 2, 256], one per image.
    """
    p, r = mean_curves(histograms)
    pooled = at_all(histograms.sum(0))
    return pd.DataFrame(
        {
            "threshold": THRESHOLDS,
            "precision": p,
            "recall": r,
            "f": f_measure(p, r),
            "iou": iou(pooled),
        }
    )


def _scorer(stats: Sequence[ImageStats], threshold: float) -> Scorer:
    """``scorer``, with NaN for scores that are undefined for every image.

    Every score is a function of weighted means over images, where the weight is how often an image
    is selected. The values that are averaged are computed once.
    """
    histograms = np.stack([s.histogram for s in stats])
    counts, curves = at(histograms, threshold), at_all(histograms)
    p, r = precision(curves), recall(curves)
    f = f_measure(p, r)
    has_foreground, pixels = histograms[:, 1].any(-1), histograms.sum((1, 2))
    images = {
        "iou_image": iou(counts),
        "mae": np.array([s.absolute_error for s in stats]) / np.maximum(pixels, 1),
        "f_adaptive": np.array([s.adaptive for s in stats]),
        "false_alarms": np.where(has_foreground, np.nan, counts.fp > 0),
    }
    shapes = np.array([s.shape for s in stats if s.shape])  # [N, fields]
    if len(shapes):
        of = dict(zip(SpatialScores._fields, shapes.T, strict=True))
        images |= {
            name: of[name] for name in ("f_weighted", "s_measure", "boundary_iou", "boundary_f")
        }
        e = np.zeros(p.shape)  # an image with only ignored pixels has no E-measure
        e[pixels > 0] = saliency.e_curve(*at_all(histograms[pixels > 0]))

    def score(rows: NDArray[np.int64]) -> dict[str, float]:
        weights = np.bincount(rows, minlength=len(stats))
        pooled = Counts(*(weights @ outcome for outcome in counts))
        mean_f = f_measure(
            weighted_mean(p, weights * has_foreground), weighted_mean(r, weights * has_foreground)
        )
        scores = {
            "iou": iou(pooled),
            "dice": dice(pooled),
            "precision": precision(pooled),
            "recall": recall(pooled),
            "f_max": mean_f.max(),
            "f_mean": mean_f.mean(),
            "f_max_image": weighted_mean(f, weights * has_foreground).max(),
            "ece": expected_calibration_error(reliability(np.tensordot(weights, histograms, 1))),
            **{
                name: weighted_mean(np.nan_to_num(values), weights * ~np.isnan(values))
                for name, values in images.items()
            },
        }
        if len(shapes):
            mean_e = weighted_mean(e, weights * (pixels > 0))
            scores |= {
                "e_mean": mean_e.mean(),
                "e_max": mean_e.max(),
                "thin_recall": weighted_mean(of["thin_found"], weights) / thin
                if (thin := weighted_mean(of["thin"], weights))
                else np.nan,
            }
        return {name: float(scores[name]) for name in METRICS if name in scores}

    return score


def _adaptive_f(
    probability: NDArray[np.float32],
    background: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    mean: float,
) -> float:
    """F-measure at twice the mean probability, at most 1 (Achanta et al. 2009, section 4)."""
    if not truth.any():
        return math.nan
    found = probability >= min(2 * mean, 1.0)
    tp, fp, size = (
        int(np.count_nonzero(where)) for where in (found & truth, found & background, truth)
    )
    return float(f_measure(tp / max(tp + fp, 1), tp / size))
