"""Confidence intervals of scores: percentile bootstrap over the images.

Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3. Whole images are drawn
with replacement, because the pixels of one photograph are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = dict[str, float]
DRAWS = 1000
COVERAGE = 0.95


def resample(score: Callable[[NDArray[np.int64]], Scores], images: int) -> list[Scores]:
    """Scores of ``DRAWS`` samples of the images, drawn with replacement.

    Args:
        score: takes row numbers, int64 [images], with repeats; returns the scores of these images.
        images: the number of images.

    Returns:
        ``DRAWS`` results. Draw k has the same rows in every call, so the draws of two models on the
        same images are paired.
    """
    rng = np.random.default_rng(0)
    return [score(rng.integers(images, size=images)) for _ in range(DRAWS)]


def intervals(draws: list[Scores]) -> dict[str, tuple[float, float]]:
    """The central 95 % of each score that is in every draw."""
    common = set.intersection(*(set(draw) for draw in draws))
    tails = 100 * np.array([(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return {
        name: tuple(np.percentile([draw[name] for draw in draws], tails).tolist())
        for name in draws[0]
        if name in common
    }


def differences(draws: list[Scores], baseline: list[Scores]) -> list[Scores]:
    """For each draw, how much higher a model scores than another on the same images."""
    return [
        {name: draw[name] - other[name] for name in draw.keys() & other.keys()}
        for draw, other in zip(draws, baseline, strict=True)
    ]
