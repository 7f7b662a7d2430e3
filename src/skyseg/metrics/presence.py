"""Decide whether there is any foreground: a photograph without sky should get no small patch of it.

The network classifies each pixel; its most confident pixels show whether to trust it. If even these
are less confident than in photographs that have foreground, the answer is "no foreground here".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_CONFIDENT = 0.01  # share of the pixels


def confidence(probability: NDArray[np.float32]) -> float:
    """Mean probability of the most confident hundredth of the pixels, in 0..1.

    Args:
        probability: float32 [H, W], at the network's size, so that the result means the same for
            every photograph.
    """
    count = max(1, round(MOST_CONFIDENT * probability.size))
    return float(np.partition(probability.ravel(), -count)[-count:].mean())


def choose_presence(
    confidences: NDArray[np.float64], ious: NDArray[np.float64], has_foreground: NDArray[np.bool_]
) -> float:
    """The confidence below which to answer "no foreground": the one with the best mean IoU.

    Args:
        confidences: float64 [N], of the validation images.
        ious: float64 [N], IoU of each at the operating threshold.
        has_foreground: bool [N].

    Returns:
        In 0..1, halfway between the confidences of two images; the highest if several are equally
        good. 0, which never gives that answer, if every image has foreground: then there is nothing
        to choose it from.
    """
    if has_foreground.all():
        return 0.0
    levels = np.unique(confidences)
    candidates = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2])
    answered = np.where(confidences >= candidates[:, None], ious, ~has_foreground).mean(axis=1)
    return float(candidates[answered >= answered.max() - 1e-9].max())


def without_foreground(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """The map of a photograph judged to have no foreground, capped just below the threshold.

    It is capped and not zeroed, so that one can still see what the network found. The cap is half a
    bin of the histogram below the threshold (``skyseg.metrics.counts``).
    """
    return np.minimum(probability, np.float32(threshold - 1 / 512))
