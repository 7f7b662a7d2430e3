"""How far a score could have come out otherwise: percentile bootstrap over the images.

Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3. Images are drawn with
replacement, whole, because the pixels of one photograph are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = dict[str, float]
DRAWS = 1000
COVERAGE = 0.95


def resample(score: Callable[[NDArray[np.int64]], Scores], images: int) -> list[Scores]:
    """Scores of as many images, drawn again and again.

    Args:
        score: from rows, int64 [images], with repeats, to the scores of these images.
        images: how many there are.

    Returns:
        ``DRAWS`` results. Draw k takes the same rows every time, so that those of two models on the
        same images are pairs.
    """
    rng = np.random.default_rng(0)
    return [score(rng.integers(images, size=images)) for _ in range(DRAWS)]


def intervals(draws: list[Scores]) -> dict[str, tuple[float, float]]:
    """The central 95 % of each score; of those that every draw has."""
    common = set.intersection(*(set(draw) for draw in draws))
    tails = 100 * np.array([(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return {
        name: tuple(np.percentile([draw[name] for draw in draws], tails).tolist())
        for name in draws[0]
        if name in common
    }


def differences(draws: list[Scores], baseline: list[Scores]) -> list[Scores]:
    """Draw by draw, how much higher a model scores than another on the same images."""
    return [
        {name: draw[name] - other[name] for name in draw.keys() & other.keys()}
        for draw, other in zip(draws, baseline, strict=True)
    ]
