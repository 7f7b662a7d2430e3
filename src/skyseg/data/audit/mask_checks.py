"""Faults of masks beside their photographs, relative to the rest of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from skyseg.data.audit.findings import Finding
from skyseg.data.audit.photographs import FEW, RARE
from skyseg.data.encoding import Encoding
from skyseg.data.masks import read_mask
from skyseg.data.samples import Sample

GRID = 16  # cells a side, of the summary of a mask


class Measures(NamedTuple):
    """What is measured on one mask and its photograph."""

    share: float
    """Of foreground, in the valid pixels."""
    grid: np.ndarray
    """float16 [16, 16]: share of foreground in each cell."""


def measure(sample: Sample, encoding: Encoding) -> Measures:
    """Read a sample's mask and photograph, and measure how they fit.

    Raises:
        UserError: the encoding does not fit the mask.
    """
    mask = read_mask(sample.mask, encoding)
    valid = np.count_nonzero(mask <= 1)
    foreground = mask == 1
    return Measures(np.count_nonzero(foreground) / max(valid, 1), grid_of(foreground))


def grid_of(values: np.ndarray) -> np.ndarray:
    """The mean of [H, W] in each cell of a grid, as float16 [16, 16]."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX)).astype(np.float16)


def found(samples: Sequence[Sample], measures: Sequence[Measures]) -> Iterator[Finding]:
    """All faults of masks."""
    yield from _constant(samples, np.array([each.share for each in measures]))


def _constant(samples: Sequence[Sample], shares: np.ndarray) -> Iterator[Finding]:
    """Masks without foreground, and masks that are all foreground, where these are rare."""
    for kind, share, text in (
        ("empty", 0.0, "no foreground"),
        ("full", 1.0, "everything is foreground"),
    ):
        such = np.flatnonzero(shares == share)
        if len(shares) >= FEW and len(such) <= RARE * len(shares):
            for index in such:
                sample = samples[index]
                yield Finding(kind, (sample.id,), f"{sample.mask}: {text}")
