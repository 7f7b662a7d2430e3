"""Is there any foreground at all? A photograph without sky must not come back with a small one.

The network answers pixel by pixel; its surest pixels tell whether to believe it. Where even these
are less sure than they are wherever there is foreground, the answer is "no foreground here".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SUREST = 0.01  # share of the pixels


def confidence(probability: NDArray[np.float32]) -> float:
    """Mean probability of the surest hundredth of the pixels, in 0..1.

    Args:
        probability: float32 [H, W], at the network's size, so that it means the same for every
            photograph.
    """
    count = max(1, round(SUREST * probability.size))
    return float(np.partition(probability.ravel(), -count)[-count:].mean())


def choose_presence(
    confidences: NDArray[np.float64], ious: NDArray[np.float64], has_foreground: NDArray[np.bool_]
) -> float:
    """The confidence below which to answer "no foreground": the one with the best mean IoU.

    Args:
        confidences: float64 [N], of the validation images.
        ious: float64 [N], of their masks at the operating threshold.
        has_foreground: bool [N].

    Returns:
        In 0..1, halfway between two images; the higher of several that are as good. 0, which never
        answers so, where every image has foreground: nothing can be learnt from these.
    """
    if has_foreground.all():
        return 0.0
    levels = np.unique(confidences)
    candidates = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2])
    answered = np.where(confidences >= candidates[:, None], ious, ~has_foreground).mean(axis=1)
    return float(candidates[answered >= answered.max() - 1e-9].max())


def without_foreground(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """The map of a photograph said to have no foreground: nothing reaches the threshold.

    Capped rather than zeroed, so that what the network saw can still be looked at, by half a bin of
    the histogram that scores are made from (``skyseg.metrics.suite``).
    """
    return np.minimum(probability, np.float32(threshold - 1 / 512))
