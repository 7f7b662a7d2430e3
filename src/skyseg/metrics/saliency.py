"""Scores from the salient object detection literature for one image, as their authors compute them.

Without ignored pixels, each equals PySODMetrics to 1e-4 (``tests/metrics/test_saliency.py``).
Ignored pixels count as if they were outside the image. Probabilities are used as they are, not
stretched to 0..1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from skyseg.params import IGNORE

EPS = float(np.spacing(1.0))

# Margolin et al.'s Gaussian window over the errors: side and standard deviation, in pixels.
WINDOW, SIGMA = 7, 5.0
# From a background pixel with foreground in its window, the squared distance to the nearest
# foreground is at most 3² + 3² = 18, so the nearest is at most 4 rows or columns away.
REACH, FARTHEST = 4, 18
HALF = 5  # pixels over which the discount of a background error halves (Margolin et al.)
FAR = 80  # pixels from the foreground at which that discount is below 2e-5


def f_weighted(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Weighted F-measure, 2 Pw Rw / (Pw + Rw): errors are weighted by position (Margolin et al.,
    "How to Evaluate Foreground Maps", CVPR 2014; β = 1).

    The error of a foreground pixel is limited to the Gaussian mean of the errors around it. An
    error d pixels away from the foreground has the weight 2 - 2^(-d / 5).

    Args:
        probability: float32 [H, W] in 0..1.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Returns:
        0..1; NaN without foreground.
    """
    foreground_pixels = (mask == 1).view(np.uint8)
    left, top, width, height = cv2.boundingRect(foreground_pixels)
    if width == 0:
        return float("nan")
    error = np.abs(probability - foreground_pixels)
    error[mask == IGNORE] = 0
    everywhere = _sum(error)

    near = np.s_[max(0, top - FAR) : top + height + FAR, max(0, left - FAR) : left + width + FAR]
    error, mask = _padded(error[near], 0), _padded(mask[near], IGNORE)
    truth = mask == 1
    distance = cv2.distanceTransform((~truth).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    spread = error.copy()
    place, nearest = _nearest_foreground(truth, mask == 0, distance)
    spread.put(place, error.take(nearest))
    around = cv2.GaussianBlur(spread, (WINDOW, WINDOW), SIGMA, borderType=cv2.BORDER_CONSTANT)
    on_truth = error * truth
    missed = _sum(cv2.min(on_truth, around))

    # The weight of an error is 2 minus this: 1 on the foreground, 2 far from it.
    discount = np.exp(np.float32(-np.log(2) / HALF) * distance)
    false = 2 * everywhere - float(np.vdot(error, discount)) - _sum(on_truth)
    size = np.count_nonzero(truth)
    hit = max(size - missed, 0.0)
    recall, precision = hit / size, hit / (hit + false + EPS)
    return 2 * recall * precision / (recall + precision + EPS)


def s_measure(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Structure measure, (So + Sr) / 2: similarity of foreground and background as objects, and of
    the four quarters around the foreground's centroid (Fan et al., "Structure-measure", ICCV 2017;
    α = 0.5).

    For an empty mask it is the mean of 1 - probability, for a full mask the mean probability.

    Args:
        probability: float32 [H, W] in 0..1.
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.

    Returns:
        0..1; NaN if every pixel is ignored.
    """
    foreground_pixels = (mask == 1).view(np.uint8)
    size, foreground = np.count_nonzero(mask != IGNORE), np.count_nonzero(foreground_pixels)
    if foreground in (0, size):
        mean = _sum(probability * (mask != IGNORE)) / size if size else float("nan")
        return mean if foreground else 1 - mean

    # MATLAB's ranges include their end, so the centroid belongs to the upper left quarter.
    y, x = (
        round(sums.ravel() @ np.arange(sums.size) / foreground) + 1
        for sums in (
            cv2.reduce(foreground_pixels, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S) for axis in (1, 0)
        )
    )
    quarters = np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]
    background, truth = (
        np.array([_moments(probability[quarter], mask[quarter] == value) for quarter in quarters])
        for value in (0, 1)
    )
    share = foreground / size
    mean, variance = _mean_and_variance(*truth.sum(0))
    in_objects = share * _object(mean, variance)
    mean, variance = _mean_and_variance(*background.sum(0))
    in_objects += (1 - share) * _object(1 - mean, variance)
    in_regions = sum(
        (g[0] + t[0]) / size * _similarity(probability[quarter], mask[quarter], g, t)
        for quarter, g, t in zip(quarters, background, truth, strict=True)
    )
    return max(0.0, float(0.5 * in_objects + 0.5 * in_regions))


def e_curve(tp: NDArray, fp: NDArray, fn: NDArray, tn: NDArray) -> NDArray[np.float64]:
    """Enhanced-alignment measure of binary maps (Fan et al., IJCAI 2018), from counts: the mean of
    (2 a b / (a² + b²) + 1)² / 4, where a and b are map and mask minus their means.

    For an empty mask it is the share of pixels predicted as background, for a full mask the share
    predicted as foreground. The authors' code divides by the number of pixels minus one, so a
    perfect map of N pixels scores N / (N - 1).

    Args:
        tp, fp, fn, tn: pixels by outcome, arrays of the same shape; at least one pixel in total.

    Returns:
        Array of that shape.
    """
    size, foreground = tp + fp + fn + tn, tp + fn
    found_mean, truth_mean = (tp + fp) / size, foreground / size

    def enhanced(found: int, truth: int) -> NDArray[np.float64]:
        a, b = found - found_mean, truth - truth_mean
        return (2 * a * b / (a * a + b * b + EPS) + 1) ** 2 / 4

    both = tp * enhanced(1, 1) + fp * enhanced(1, 0) + fn * enhanced(0, 1) + tn * enhanced(0, 0)
    total = np.where(foreground == 0, tn, np.where(foreground == size, tp, both))
    return total / np.maximum(size - 1, 1)


def _sum(values: cv2.typing.MatLike) -> float:
    """Sum in double precision, without a copy."""
    return cv2.sumElems(values)[0]


def _padded(array: NDArray, value: int) -> NDArray:
    return cv2.copyMakeBorder(array, REACH, REACH, REACH, REACH, cv2.BORDER_CONSTANT, value=value)


def _nearest_foreground(
    truth: NDArray[np.bool_], background: NDArray[np.bool_], distance: NDArray[np.float32]
) -> tuple[NDArray, NDArray]:
    """The background pixels with foreground in their window, and the foreground pixel nearest to
    each; flat indices. Only these affect the Gaussian mean at a foreground pixel.
    """
    window = np.ones((WINDOW, WINDOW), np.uint8)
    place = np.flatnonzero(cv2.dilate(truth.view(np.uint8), window).view(bool) & background)
    squared = np.rint(np.square(distance.take(place))).astype(np.int64)
    candidates = place[:, None] + (STEPS @ (truth.shape[1], 1)).take(squared, axis=0)
    first = truth.take(candidates).argmax(1)
    return place, candidates[np.arange(len(place)), first]


def _steps() -> NDArray[np.int64]:
    """[19, 8, 2]: the steps (rows, columns) of each squared length, padded with (0, 0).

    Leftmost first, then topmost: of equally near pixels, scipy's distance transform, and so
    PySODMetrics, takes the first in this order.
    """
    steps = np.zeros((FARTHEST + 1, 8, 2), np.int64)
    reach = range(-REACH, REACH + 1)
    for squared, rows in enumerate(steps):
        found = [(y, x) for x in reach for y in reach if y * y + x * x == squared]
        rows[: len(found)] = np.reshape(found, (-1, 2))
    return steps


STEPS = _steps()


def _moments(p: NDArray[np.float32], where: NDArray[np.bool_]) -> tuple[int, float, float]:
    """Count, sum and sum of squares."""
    values = p * where
    return int(np.count_nonzero(where)), _sum(values), cv2.norm(values, cv2.NORM_L2SQR)


def _mean_and_variance(count: float, total: float, squares: float) -> tuple[float, float]:
    """Sample mean and variance; the variance of a single value is 0."""
    mean = total / count
    return mean, max(squares - total * mean, 0.0) / max(count - 1, 1)


def _object(mean: float, variance: float) -> float:
    """Similarity of probabilities to an object of ones: 2 x / (x² + 1 + σ) (Fan et al. 2017)."""
    return 2 * mean / (mean * mean + 1 + variance**0.5 + EPS)


def _similarity(
    p: NDArray[np.float32],
    mask: NDArray[np.uint8],
    background: NDArray[np.float64],
    truth: NDArray[np.float64],
) -> float:
    """SSIM without its constants (Fan et al. 2017) from the moments of p on background and
    foreground: 1 if p and mask are constant, 0 if only the mask is or if there are no pixels.
    """
    count, total, squares = background + truth
    foreground = truth[0]
    if count == 0:
        return 0.0
    if foreground in (0, count):
        low, high, *_ = cv2.minMaxLoc(p, (mask != IGNORE).view(np.uint8))
        return float(low == high)
    (x, x_variance), (y, y_variance) = (
        _mean_and_variance(count, total, squares),
        _mean_and_variance(count, foreground, foreground),
    )
    covariance = (truth[1] - x * foreground) / (count - 1)
    return 4 * x * y * covariance / ((x * x + y * y) * (x_variance + y_variance) + EPS)
