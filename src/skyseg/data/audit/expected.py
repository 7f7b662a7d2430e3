"""Where a data set's masks usually have foreground, by place and colour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LEVELS = 6  # of each channel
SURE = 0.8


class Expected(NamedTuple):
    """What all the other masks lead one to expect of each mask."""

    agreement: np.ndarray
    """float [N]: correlation with the mask in -1..1; NaN for masks without edges."""
    confident: np.ndarray
    """float [N]: share of the cells whose expected share of foreground is above ``SURE``."""


def expectations(grids: np.ndarray, colours: np.ndarray) -> Expected:
    """Expect foreground where others have it, and in the colours in which others have it.

    This is naive Bayes on the shares of foreground at each place and in each colour of all the
    other masks.

    Args:
        grids: float [N, cells]: share of foreground in each cell of each mask.
        colours: uint8 [N, cells, 3]: mean colours of the cells.
    """
    bins = (colours.astype(np.int64) * LEVELS // 256) @ np.array([LEVELS * LEVELS, LEVELS, 1])
    kinds = LEVELS**3
    grids = grids.astype(np.float64)
    seen = np.bincount(bins.ravel(), minlength=kinds).astype(float)
    found = np.bincount(bins.ravel(), grids.ravel(), minlength=kinds)
    place, prior, count = grids.sum(axis=0), grids.sum(), grids.size
    agreement, confident = np.full(len(grids), np.nan), np.zeros(len(grids))
    for index, (grid, own) in enumerate(zip(grids, bins, strict=True)):
        others = _odds(prior - grid.sum(), count - grid.size)
        by_colour = _odds(
            (found - np.bincount(own, grid, minlength=kinds))[own],
            (seen - np.bincount(own, minlength=kinds))[own],
        )
        by_place = _odds(place - grid, np.full(len(grid), len(grids) - 1.0))
        expected = 1 / (1 + np.exp(-(by_colour + by_place - others)))
        confident[index] = np.mean(expected > SURE)
        if grid.std() > 1e-3 and expected.std() > 1e-3:
            agreement[index] = np.corrcoef(expected, grid)[0, 1]
    return Expected(agreement, confident)


def _odds(found: np.ndarray | float, seen: np.ndarray | float) -> np.ndarray:
    """Logarithm of the odds of foreground, cautious where little was seen."""
    return np.log((np.asarray(found) + 0.5) / (np.asarray(seen) - found + 0.5))
