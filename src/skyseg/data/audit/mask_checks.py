"""Faults of masks beside their photographs, relative to the rest of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from skyseg.data.audit.alignment import SIDE, Alignment, align
from skyseg.data.audit.expected import Expected, expectations
from skyseg.data.audit.findings import Finding
from skyseg.data.audit.photographs import FEW, RARE
from skyseg.data.formats.samples import Sample
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.pictures import codec

GRID = 16  # cells a side, of the summary of a mask

# The thresholds below were chosen on CamVid, Figaro1k, ADE20K, Cityscapes and rendered scenes, and
# on copies of them with other and shifted masks: see docs/audit.md.
ALIGNED = 0.5
"""Median alignment below which the data set's masks do not follow edges of its photographs, so that
nothing can be said; those data sets have 0.62 to 0.82."""
MISPLACED = 0.4
"""A mask whose alignment is below this share of the data set's median may be of another photograph,
if it is also less than ``CHANCE`` standard deviations above what other places have."""
CHANCE = 3.0
SHIFTED = 1.0
"""How many standard deviations a mask must be aligned better at another place to be shifted. In
those data sets as published, the largest such gain is 0.31."""
FOUND = 0.5
"""Share of the data set's median alignment that it must have there."""
ENLARGED = 2.0
"""Photographs that would have to be enlarged more have no sharp edges to compare."""
LEAST = 1.5 / SIDE
"""Smallest shift, as a share of the longer side."""
INVERTED = -0.3
"""Correlation of a mask with what is expected, below which it looks inverted."""
EXPECTED = 0.4
"""Median of these correlations from which the data set's masks can be expected at all."""
RAGGED = 0.33
"""Roughness of a mask from which its edges may be ragged: random changes of 30 % of the pixels
beside edges give 0.25 to 0.56."""
RAGGED_BEYOND = 1.7
"""How many times the upper quartile of the data set it must be, too."""
MISSED = 0.03
"""Share of the cells where foreground is expected, from which an empty mask is suspicious."""
MISSED_BEYOND = 2.0
"""How many times the 90th percentile of all empty masks it must be, too."""


class Measures(NamedTuple):
    """What is measured on one mask and its photograph."""

    share: float
    """Of foreground, in the valid pixels."""
    grid: np.ndarray
    """float16 [16, 16]: share of foreground in each cell."""
    colours: np.ndarray
    """uint8 [16, 16, 3]: mean colour of each cell."""
    alignment: Alignment | None
    """None for a mask without edges, and for a small photograph."""
    roughness: float
    """How many pixels have at most one neighbour, of eight, of their own kind, for each pixel on
    the edges of the mask after a median filter; NaN if there are none. Wires have two."""
    side: int
    """The longer side, in pixels."""


def measure(sample: Sample, encoding: Encoding) -> Measures:
    """Read a sample's mask and photograph, and measure how they fit.

    Raises:
        UserError: the encoding does not fit the mask.
    """
    mask = read_mask(sample.mask, encoding)
    image = codec.read(sample.image, min_side=SIDE // 2).pixels
    valid = int(np.count_nonzero(mask <= 1))
    foreground = (mask == 1).astype(np.uint8)
    height, width = map(int, mask.shape)
    scale = SIDE / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small_mask = cv2.resize(foreground.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return Measures(
        int(foreground.sum()) / max(valid, 1),
        _grid(small_mask).astype(np.float16),
        _grid(small),
        align(small, small_mask) if scale <= ENLARGED else None,
        _roughness(foreground),
        max(height, width),
    )


def found(samples: Sequence[Sample], measures: Sequence[Measures]) -> Iterator[Finding]:
    """All faults of masks; small data sets do not say what is usual."""
    if len(samples) < FEW:
        return
    expected = expectations(
        np.stack([each.grid.ravel() for each in measures]),
        np.stack([each.colours.reshape(-1, 3) for each in measures]),
    )
    shares = np.array([each.share for each in measures])
    yield from _constant(samples, shares, expected)
    inverted = list(_inverted(samples, expected))
    yield from inverted
    known = {id for each in inverted for id in each.ids}
    yield from _misplaced(samples, measures, known)
    yield from _ragged(samples, measures)


def _constant(
    samples: Sequence[Sample], shares: np.ndarray, expected: Expected
) -> Iterator[Finding]:
    """Masks without foreground, and masks that are all foreground, where these are rare; where
    empty masks are common, those in whose photographs foreground is expected."""
    empty, full = shares == 0, shares == 1
    where, text = empty, "no foreground"
    if empty.mean() > RARE:
        usual = np.percentile(expected.confident[empty], 90)
        where = empty & (expected.confident > max(MISSED, MISSED_BEYOND * usual))
        text = "no foreground, but other masks have it at such places with such colours"
    for index in np.flatnonzero(where).tolist():
        yield Finding("empty", (samples[index].id,), f"{samples[index].mask}: {text}")
    if full.mean() <= RARE:
        for index in np.flatnonzero(full).tolist():
            text = f"{samples[index].mask}: everything is foreground"
            yield Finding("full", (samples[index].id,), text)


def _inverted(samples: Sequence[Sample], expected: Expected) -> Iterator[Finding]:
    """Masks that are where the others lead one to expect none, and the reverse."""
    agreement = expected.agreement
    if np.isnan(agreement).all() or np.nanmedian(agreement) < EXPECTED:
        return
    for index in np.flatnonzero(agreement < INVERTED).tolist():
        sample = samples[index]
        text = f"{sample.mask}: looks inverted, compared with the other masks"
        yield Finding("inverted", (sample.id,), text)


def _misplaced(
    samples: Sequence[Sample], measures: Sequence[Measures], known: set[str]
) -> Iterator[Finding]:
    """Masks whose edges are not on the photograph's: shifted, or of another photograph."""
    aligned = [each.alignment for each in measures if each.alignment]
    if not aligned:
        return
    usual = float(np.median([each.here for each in aligned]))
    if usual < ALIGNED:
        return
    for sample, each in zip(samples, measures, strict=True):
        if each.alignment is None or sample.id in known:
            continue
        here, best, spread, middle, shift = each.alignment
        gain = (best - here) / max(spread, 1e-6)
        if np.hypot(*shift) > LEAST and gain > SHIFTED and best > FOUND * usual:
            right, down = (round(part * each.side) for part in shift)
            text = f"{sample.mask}: would fit its photograph if moved by {right}, {down} pixels"
            yield Finding("shifted", (sample.id,), f"{text} (right, down)")
        elif here < MISPLACED * usual and here - middle < CHANCE * spread:
            text = f"{sample.mask}: its edges are nowhere near edges of {sample.image}"
            yield Finding("mismatched", (sample.id,), text)


def _ragged(samples: Sequence[Sample], measures: Sequence[Measures]) -> Iterator[Finding]:
    """Masks whose edges are much rougher than the others'."""
    rough = np.array([each.roughness for each in measures])
    if np.isnan(rough).all():
        return
    limit = max(RAGGED, RAGGED_BEYOND * float(np.nanpercentile(rough, 75)))
    for index in np.flatnonzero(rough > limit).tolist():
        sample = samples[index]
        text = f"{sample.mask}: its edges are much rougher than those of the other masks"
        yield Finding("noisy_edges", (sample.id,), text)


def _grid(values: np.ndarray) -> np.ndarray:
    """The mean of [H, W] or [H, W, 3] in each cell of a grid: [16, 16] or [16, 16, 3]."""
    return cv2.resize(values, (GRID, GRID), interpolation=cv2.INTER_AREA)


def _roughness(foreground: np.ndarray) -> float:
    """See ``Measures``; of uint8 [H, W] in {0, 1}."""
    smooth = cv2.medianBlur(foreground, 5)
    edges = np.count_nonzero(smooth[1:] != smooth[:-1])
    edges += np.count_nonzero(smooth[:, 1:] != smooth[:, :-1])
    around = cv2.boxFilter(foreground, -1, (3, 3), normalize=False, borderType=cv2.BORDER_REPLICATE)
    alone = np.where(foreground == 1, around <= 2, around >= 7)
    return np.count_nonzero(alone) / edges if edges else float("nan")
