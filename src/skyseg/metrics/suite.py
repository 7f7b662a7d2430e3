"""Scores of probability maps; ``METRICS`` says what each means.

A map is reduced once to a histogram: how many background and foreground pixels fall into each of
256 probability bins. Every threshold ``k / 256`` then has exact counts of true and false positives
and negatives, and most scores are functions of these counts. Those that need the pixels' places are
in ``skyseg.metrics.saliency`` and ``skyseg.metrics.boundaries``. Ignored pixels are never counted.

Where a score is undefined: an image without foreground has IoU 1 if nothing is predicted and 0
otherwise; it has no recall, so F-measures are averaged over the images that have foreground.
Precision and recall are pooled over pixels; where nothing is predicted, precision is 0. ``scorer``
says what becomes of a score that no image defines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from skyseg.metrics import boundaries, saliency
from skyseg.metrics.calibration import expected_calibration_error, reliability

BINS = 256
THRESHOLDS = np.arange(BINS) / BINS
# Weight of precision over recall in the F-measure of the salient object detection literature
# (Achanta et al., CVPR 2009; U-2-Net section 4.3).
BETA2 = 0.3


class Metric(NamedTuple):
    """A row of the table that people read."""

    over: str
    """What it is pooled over or averaged over."""
    meaning: str
    """One line, with its source."""
    lower_is_better: bool = False


PIXELS, IMAGES, MARKED = "pixels", "images", "images with foreground"

METRICS = {
    "iou": Metric(PIXELS, "intersection over union at the model's threshold (Jaccard 1912)"),
    "iou_image": Metric(IMAGES, "the same of each image"),
    "dice": Metric(PIXELS, "2 TP / (2 TP + FP + FN) at the model's threshold (Dice 1945)"),
    "precision": Metric(PIXELS, "share of the predicted foreground that is right"),
    "recall": Metric(PIXELS, "share of the true foreground that is found"),
    "mae": Metric(
        IMAGES, "mean absolute error of the probability (Perazzi et al. 2012)", lower_is_better=True
    ),
    "f_max": Metric(
        MARKED,
        "F (β² = 0.3; Achanta et al. 2009) of mean precision and mean recall, "
        "at the best of 256 thresholds",
    ),
    "f_mean": Metric(MARKED, "the same, its mean over the thresholds"),
    "f_adaptive": Metric(
        MARKED,
        "F of each image at twice its mean probability (Achanta et al. "
        "2009): low by definition where foreground fills over half of it",
    ),
    "f_max_image": Metric(MARKED, "mean of the images' F, at the best of 256 thresholds"),
    "f_weighted": Metric(MARKED, "F (β = 1) with errors weighted by place (Margolin et al. 2014)"),
    "s_measure": Metric(IMAGES, "likeness of objects and of regions (Fan et al. 2017)"),
    "e_mean": Metric(IMAGES, "enhanced alignment (Fan et al. 2018), its mean over 256 thresholds"),
    "e_max": Metric(IMAGES, "the same, at the best threshold"),
    "boundary_iou": Metric(
        IMAGES, "IoU of what lies within 2 % of the diagonal inside an edge (Cheng et al. 2021)"
    ),
    "boundary_f": Metric(
        "images with an edge", "F (β² = 0.3) of edges, 3 px apart at most (Qin et al. 2020)"
    ),
    "thin_recall": Metric(
        PIXELS,
        "share found of foreground and background narrower than 5 px at "
        "480 x 360: branches, wires, gaps",
    ),
    "ece": Metric(
        PIXELS,
        "expected calibration error: what probabilities are off by (Guo et al. 2017)",
        lower_is_better=True,
    ),
    "false_alarms": Metric(
        "images without foreground", "share in which any is predicted", lower_is_better=True
    ),
}
OPTIONAL = ("thin_recall", "false_alarms")  # no score at all where there is nothing of their kind
OF_SETS = ("iou_image", "f_max_image", "false_alarms")  # one image's are its iou and f_max, or none


class Counts(NamedTuple):
    """Pixels by outcome: numbers, or arrays of one shape."""

    tp: NDArray
    fp: NDArray
    fn: NDArray
    tn: NDArray


class Shape(NamedTuple):
    """Scores of one image that its histogram does not hold; NaN where undefined."""

    f_weighted: float
    s_measure: float
    boundary_iou: float
    boundary_f: float
    thin_found: int
    """Pixels of thin structures that are classified right."""
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
    shape: Shape | None = None
    """What ``full_image_stats`` adds."""


def image_stats(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> ImageStats:
    """Reduce one probability map to what is cheap: every score that needs only counts.

    Args:
        probability: float32 [H, W] in 0..1.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Raises:
        ValueError: shapes differ.
    """
    if probability.shape != mask.shape:
        raise ValueError(f"shapes differ: {probability.shape} and {mask.shape}")
    bins = (probability * BINS).astype(np.uint16)
    bins -= bins == BINS  # a probability of 1 is of the last bin
    rows = np.bincount((mask * np.uint16(BINS) + bins).ravel(), minlength=2 * BINS)
    histogram = rows[: 2 * BINS].reshape(2, BINS).copy()  # ignored pixels are row 255
    ground, truth = mask == 0, mask == 1
    on_ground, on_truth = (cv2.sumElems(probability * where)[0] for where in (ground, truth))
    error = on_ground + np.count_nonzero(truth) - on_truth
    mean = (on_ground + on_truth) / max(histogram.sum(), 1)
    return ImageStats(histogram, error, _adaptive_f(probability, ground, truth, mean))


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
        shape=Shape(
            f_weighted=saliency.f_weighted(probability, mask),
            s_measure=saliency.s_measure(probability, mask),
            boundary_iou=boundaries.boundary_iou(found, mask),
            boundary_f=float(f_measure(*edges)),
            thin_found=int(np.count_nonzero(thin & (found == (mask == 1)))),
            thin=int(np.count_nonzero(thin)),
        )
    )


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
    """Intersection over union (Jaccard index); 1 where both are empty."""
    union = counts.tp + counts.fp + counts.fn
    return np.where(union == 0, 1.0, counts.tp / np.maximum(union, 1))


def dice(counts: Counts) -> NDArray:
    """2 tp / (2 tp + fp + fn); 1 where both are empty."""
    sizes = 2 * counts.tp + counts.fp + counts.fn
    return np.where(sizes == 0, 1.0, 2 * counts.tp / np.maximum(sizes, 1))


def precision(counts: Counts) -> NDArray:
    """tp / (tp + fp); 0 where nothing is predicted."""
    return counts.tp / np.maximum(counts.tp + counts.fp, 1)


def recall(counts: Counts) -> NDArray:
    """tp / (tp + fn); 0 where there is no foreground."""
    return counts.tp / np.maximum(counts.tp + counts.fn, 1)


def f_measure(p: NDArray | float, r: NDArray | float) -> NDArray:
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
    counts, marked = at_all(histograms), histograms[:, 1].sum(-1) > 0
    p, r = (np.nan_to_num(_mean(values, marked)) for values in (precision(counts), recall(counts)))
    return p, r


Scorer = Callable[[NDArray[np.int64]], dict[str, float]]


def scorer(stats: Sequence[ImageStats], threshold: float) -> Scorer:
    """Scores of any of these images, quick enough to be asked a thousand times.

    Args:
        stats: one entry an image, at least one.
        threshold: the model's operating threshold.

    Returns:
        A function of rows, int64 [n], at least one, repeats counting as often. It gives each of
        ``METRICS`` (only those of counts, where ``image_stats`` made the entries), ``threshold``
        and ``images``. Where no image defines a score it is 0, but those in ``OPTIONAL`` are left
        out.
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
    """What ``scorer`` gives for all of them."""
    return scorer(stats, threshold)(np.arange(len(stats)))


def image_scores(stats: ImageStats, threshold: float) -> dict[str, float]:
    """One image's row of the per-image table: its scores as a set of one, NaN where undefined."""
    scores = _scorer([stats], threshold)(np.zeros(1, np.int64))
    for name in OF_SETS:
        del scores[name]
    counts = at(stats.histogram, threshold)
    pixels = max(int(stats.histogram.sum()), 1)
    return {
        **scores,
        "foreground": float(counts.tp + counts.fn) / pixels,
        "predicted": float(counts.tp + counts.fp) / pixels,
    }


def _scorer(stats: Sequence[ImageStats], threshold: float) -> Scorer:
    """``scorer`` with NaN for what no image defines.

    Every score is a function of weighted means over images, the weight being how often an image is
    asked for: what they are means of is computed once.
    """
    histograms = np.stack([s.histogram for s in stats])
    counts, curves = at(histograms, threshold), at_all(histograms)
    p, r = precision(curves), recall(curves)
    f = f_measure(p, r)
    marked, pixels = histograms[:, 1].any(-1), histograms.sum((1, 2))
    images = {
        "iou_image": iou(counts),
        "mae": np.array([s.absolute_error for s in stats]) / np.maximum(pixels, 1),
        "f_adaptive": np.array([s.adaptive for s in stats]),
        "false_alarms": np.where(marked, np.nan, counts.fp > 0),
    }
    shapes = np.array([s.shape for s in stats if s.shape])  # [N, fields]
    if len(shapes):
        of = dict(zip(Shape._fields, shapes.T, strict=True))
        images |= {
            name: of[name] for name in ("f_weighted", "s_measure", "boundary_iou", "boundary_f")
        }
        e = np.zeros(p.shape)  # an image that is wholly ignored has none
        e[pixels > 0] = saliency.e_curve(*at_all(histograms[pixels > 0]))

    def score(rows: NDArray[np.int64]) -> dict[str, float]:
        weights = np.bincount(rows, minlength=len(stats))
        pooled = Counts(*(weights @ outcome for outcome in counts))
        mean_f = f_measure(_mean(p, weights * marked), _mean(r, weights * marked))
        scores = {
            "iou": iou(pooled),
            "dice": dice(pooled),
            "precision": precision(pooled),
            "recall": recall(pooled),
            "f_max": mean_f.max(),
            "f_mean": mean_f.mean(),
            "f_max_image": _mean(f, weights * marked).max(),
            "ece": expected_calibration_error(reliability(np.tensordot(weights, histograms, 1))),
            **{
                name: _mean(np.nan_to_num(values), weights * ~np.isnan(values))
                for name, values in images.items()
            },
        }
        if len(shapes):
            mean_e = _mean(e, weights * (pixels > 0))
            scores |= {
                "e_mean": mean_e.mean(),
                "e_max": mean_e.max(),
                "thin_recall": _mean(of["thin_found"], weights) / thin
                if (thin := _mean(of["thin"], weights))
                else np.nan,
            }
        return {name: float(scores[name]) for name in METRICS if name in scores}

    return score


def _mean(values: NDArray, weights: NDArray) -> NDArray:
    """Weighted mean over the first axis; NaN where there is no weight."""
    total = weights.sum()
    return weights @ values / total if total else np.full(values.shape[1:], np.nan)


def _adaptive_f(
    probability: NDArray[np.float32],
    ground: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    mean: float,
) -> float:
    """F-measure at twice the mean probability, at most 1 (Achanta et al. 2009, section 4)."""
    if not truth.any():
        return math.nan
    found = probability >= min(2 * mean, 1.0)
    tp, fp, size = (
        int(np.count_nonzero(where)) for where in (found & truth, found & ground, truth)
    )
    return float(f_measure(tp / max(tp + fp, 1), tp / size))
