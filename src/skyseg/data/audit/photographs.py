"""Faults of photographs that show in their pixels: tiny, plain, grey among coloured ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from skyseg.data.audit.findings import Finding
from skyseg.data.formats.samples import Sample

TINY = 0.25
"""A photograph whose longer side is shorter than this share of the median is probably a thumbnail.
The smallest in CamVid, Figaro1k, ADE20K and Cityscapes has 0.37 of it."""
PLAIN = 1.5
"""Standard deviation, in grey levels of 255, below which a photograph is one plain colour. The
smallest of those data sets is above 15."""
GREY = 0.5
"""Mean difference between the channels, in grey levels, below which a photograph has no colours.
Foggy scenes have 3 or more."""
RARE = 0.05
"""A property of at most this share of a data set is rare in it."""
FEW = 20
"""Smaller data sets say nothing about what is rare."""


def blank(path: Path, pixels: np.ndarray) -> str | None:
    """What is wrong with a photograph, uint8 [H, W, 3], that has only one colour; else None."""
    if pixels.std(axis=(0, 1)).max() >= PLAIN:
        return None
    mean = pixels.mean()
    what = "black" if mean < 16 else "white" if mean > 239 else "one plain colour"
    return f"{path}: the photograph is {what}"


def tiny(samples: Sequence[Sample], sizes: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Photographs that are much smaller than the others; ``sizes``: width and height of each."""
    sides = np.array(sizes).max(axis=1)
    for index in np.flatnonzero(sides < TINY * np.median(sides)).tolist():
        sample, (width, height) = samples[index], sizes[index]
        text = f"{sample.image}: only {width}x{height} pixels"
        yield Finding("tiny", (sample.id,), text)


def colourfulness(pixels: np.ndarray) -> float:
    """Mean difference between the largest and the smallest channel, of uint8 [H, W, 3]."""
    return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())


def colourless(
    samples: Sequence[Sample], colourful: Sequence[float], plain: set[str]
) -> Iterator[Finding]:
    """Photographs without colours, where these are rare.

    Args:
        samples: with photographs.
        colourful: the ``colourfulness`` of each.
        plain: ids of those with a single colour, which are reported as that.
    """
    grey = np.array(colourful) < GREY
    if len(grey) < FEW or not 0 < grey.mean() <= RARE:
        return
    for index in np.flatnonzero(grey).tolist():
        sample = samples[index]
        if sample.id not in plain:
            yield Finding("colourless", (sample.id,), f"{sample.image}: no colours")
