"""How often each value occurs in a mask file: enough to decide what its values mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skyseg.data.masks.encoding import DEEP, TWO_VALUED, Encoding, compared_values, decode_values
from skyseg.data.masks.files import read_mask_file
from skyseg.data.pictures.codec import read_bytes
from skyseg.params import IGNORE, DataParams


class Levels(NamedTuple):
    """How often each value of a file occurs."""

    values: np.ndarray
    """int64, ascending."""
    counts: np.ndarray
    flat: np.ndarray
    """How many pixels of each value equal the pixel to the right and the one below."""
    reduced: bool = False
    """True for a file with more than 256 values, which are rounded to about 256."""


class MaskStats(NamedTuple):
    """What one mask file contains."""

    path: Path
    sha256: str
    size: tuple[int, int]
    """Width and height, upright."""
    kind: str
    """How the file stores its values, see ``storage.Storage``."""
    white: int
    """The largest number that a file of this kind can store."""
    greys: np.ndarray | None
    """int16 [256], the grey of each palette index, if class indices are listed."""
    levels: Levels | None
    """Greys, or the stored numbers if class indices are listed; None for a file with an alpha
    channel whose colours are not grey."""
    alpha: Levels | None
    conflict: str | None
    """Why the alpha channel cannot be trusted to be the mask."""
    lossy: bool
    turned: int
    """The EXIF orientation, 2 to 8, by which it was turned upright; 0 if it was not."""


def count_values(path: Path, data: DataParams) -> MaskStats:
    """Count the values of one mask file.

    Raises:
        UserError: see ``read_mask_file``.
    """
    content = read_bytes(path)
    raw, size, lossy, turned = read_mask_file(
        content, path, indexed=data.foreground is not None, ignore=tuple(data.ignore_values)
    )
    return MaskStats(
        path,
        hashlib.sha256(content).hexdigest(),
        size,
        raw.kind,
        raw.white,
        raw.greys,
        None if raw.values is None else _levels(raw.values),
        None if raw.alpha is None else _levels(raw.alpha),
        raw.conflict,
        lossy,
        turned,
    )


def shares(stats: MaskStats, encoding: Encoding) -> tuple[float, float]:
    """(foreground share of the valid pixels, ignored share of all pixels) of a file."""
    background, foreground, ignored = pixel_counts(stats, encoding)
    return (
        foreground / max(background + foreground, 1),
        ignored / max(background + foreground + ignored, 1),
    )


def pixel_counts(stats: MaskStats, encoding: Encoding) -> tuple[int, int, int]:
    """How many pixels of a file are background, foreground and ignored."""
    levels = _used(stats, encoding)
    values = compared_values(levels.values, stats.kind, stats.greys, encoding)
    codes = decode_values(values, _kind(stats, encoding), encoding)
    background, foreground, ignored = (int(levels.counts[codes == c].sum()) for c in (0, 1, IGNORE))
    return background, foreground, ignored


def count_soft_pixels(stats: MaskStats, encoding: Encoding) -> int:
    """How many pixels of a soft file the threshold changes to black or white."""
    kind = _kind(stats, encoding)
    if encoding.kind not in ("soft", "alpha") or kind in TWO_VALUED:
        return 0
    values, counts, *_ = _used(stats, encoding)
    full = 65535 if encoding.wide and kind in DEEP else 255
    if kind in encoding.thresholds:
        full = 2 * encoding.thresholds[kind] - 1
    between = (values > 0) & (values < full) & ~np.isin(values, encoding.ignore)
    return int(counts[between].sum())


def seen_values(stats: list[MaskStats]) -> list[int]:
    """All values that occur in any of the files, ascending."""
    values: Iterable[np.ndarray] = (s.levels.values for s in stats if s.levels is not None)
    return [int(value) for value in reduce(np.union1d, values)]


def top_value(stats: MaskStats, data: DataParams) -> int:
    """The largest value of a file that is not ignored; 0 if all are."""
    assert stats.levels is not None
    return int(np.setdiff1d(stats.levels.values, data.ignore).max(initial=0))


def _used(stats: MaskStats, encoding: Encoding) -> Levels:
    levels = stats.alpha if encoding.kind == "alpha" else stats.levels
    assert levels is not None  # infer_encoding has refused the others
    return levels


def _kind(stats: MaskStats, encoding: Encoding) -> str:
    return "8-bit" if encoding.kind == "alpha" else stats.kind


def _levels(values: np.ndarray) -> Levels:
    """Histogram; a file with more than 256 values is a soft mask and reduced to about 256."""

    def histogram(v: np.ndarray) -> np.ndarray:
        return np.bincount(v.ravel(), minlength=65536 if v.dtype == np.uint16 else 256)

    counts = histogram(values)
    reduced = bool(np.count_nonzero(counts) > 256)
    if reduced:
        # In steps of a power of two, so that none crosses a threshold; the extremes stay exact.
        bits = int(values.max()).bit_length()
        step = 2 ** (bits - 8)
        exact = (values == 0) | (values == 2**bits - 1)
        values = np.where(exact, values, values // step * step + step // 2).astype(np.uint16)
        counts = histogram(values)
    present = np.flatnonzero(counts)
    flat = np.zeros_like(counts)
    if len(present) > 2:  # not needed for two values
        corner = values[:-1, :-1]
        flat = histogram(corner[(corner == values[1:, :-1]) & (corner == values[:-1, 1:])])
    return Levels(present, counts[present], flat[present], reduced)
