"""What the pixel values of masks mean, decided once for a whole data set.

``measure`` counts the values of one file, ``decide`` looks at all counts and says what they mean
(an ``Encoding``) or refuses, ``read_mask`` applies that. Inside the program a mask is uint8 with
0 background, 1 foreground, 255 ignore.

How soft (anti-aliased) masks and class maps are told apart: along an edge in-between greys differ
from pixel to pixel, while a class fills areas. So a file is a class map where most pixels that are
neither 0 nor 255 equal both the next pixel to the right and the one below, and at most 64 such
values occur; and soft where at least three such values occur and it is no class map.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from skyseg.data.images import open_upright, read_bytes
from skyseg.data.mask_files import HALF, LOSSY, Scale, coloured, listed, values_of
from skyseg.errors import UserError
from skyseg.params import DataParams

IGNORE = 255
BLURRED = 0.2  # share of greys from which a JPEG mask is suspect
NEAR_WHITE = 239  # a soft data set has to reach it somewhere
MOST_CLASSES = 64  # more values than this in one file are greys, not classes


class Encoding(BaseModel):
    """What mask values mean, for every file of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["0/1", "0/255", "soft", "alpha", "index"]
    foreground: tuple[int, ...] = ()
    """Class indices that are foreground; kind index only."""
    ignore: tuple[int, ...] = ()
    """Values that count nowhere."""
    invert: bool = False
    threshold: int | None = None
    """Smallest foreground value on the 8-bit scale; every kind but index."""
    wide: bool = False
    """16-bit files run to 65535 (else they hold 8-bit values)."""


class Levels(NamedTuple):
    """How often each value of a file occurs."""

    values: np.ndarray
    """int64, ascending."""
    counts: np.ndarray
    flat: np.ndarray
    """How many of them equal the pixel to the right and the one below."""
    reduced: bool = False
    """More than 256 values of 16 bits, rounded to multiples of 257."""


class MaskStats(NamedTuple):
    """What one mask file holds."""

    path: Path
    sha256: str
    size: tuple[int, int]
    """Width, height, upright."""
    scale: Scale
    levels: Levels | None
    """Greys or indices; None: the colours of a file with an alpha channel are not grey."""
    alpha: Levels | None
    conflict: str | None
    """Why the alpha channel cannot be trusted to be the mask."""
    lossy: bool
    turned: bool


def read_mask(path: Path, encoding: Encoding) -> np.ndarray:
    """Decode a mask to uint8 [H, W], upright: 0 background, 1 foreground, 255 ignore.

    Raises:
        UserError: the file is damaged, or of a kind the encoding does not cover.
    """
    image, _ = open_upright(read_bytes(path), str(path))
    raw = values_of(image, path, indexed=encoding.kind == "index", ignore=encoding.ignore)
    values = raw.alpha if encoding.kind == "alpha" else raw.values
    if values is None:
        raise UserError(f"{path}: not readable as {encoding.kind} like the other masks")
    table = _codes(np.arange(np.iinfo(values.dtype).max + 1), raw.scale, encoding)
    return table[values]


def resize_mask(mask: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize uint8 {0, 1, 255} [H, W] to [size, size], or to (width, height).

    A pixel is ignored where at least half the area it covers is ignored, and else foreground where
    at least half of the valid area is foreground.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if mask.shape == (height, width):
        return mask

    def share(where: np.ndarray) -> np.ndarray:
        image = Image.fromarray(where.astype(np.float32))
        return np.asarray(image.resize((width, height), Image.Resampling.BOX))

    foreground = share(mask == 1)
    valid = share(mask != IGNORE) if (mask == IGNORE).any() else np.float32(1)
    resized = (foreground >= valid / 2 - 1e-6).astype(np.uint8)
    return np.where(valid <= 0.5 + 1e-6, np.uint8(IGNORE), resized)


def measure(path: Path, data: DataParams) -> MaskStats:
    """Count the values of one mask file.

    Raises:
        UserError: the file is damaged, coloured, or has pixels of 32 bits.
    """
    content = read_bytes(path)
    image, turned = open_upright(content, str(path))
    raw = values_of(image, path, indexed=data.foreground is not None, ignore=tuple(data.ignore))
    return MaskStats(
        path, hashlib.sha256(content).hexdigest(), image.size, raw.scale,
        None if raw.values is None else _levels(raw.values),
        None if raw.alpha is None else _levels(raw.alpha),
        raw.conflict, image.format in LOSSY, turned)


def shares(stats: MaskStats, encoding: Encoding) -> tuple[float, float]:
    """(foreground share of the valid pixels, ignored share of all) of a measured file."""
    background, foreground, ignored = _count(stats, encoding)
    return (foreground / max(background + foreground, 1),
            ignored / max(background + foreground + ignored, 1))


def decide(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    """What the masks of a data set mean, and one sentence that says so.

    Raises:
        UserError: ambiguous, mixed or constant masks; names a file, what it holds and the key
            of params.yaml (or the change to the files) that settles it.
    """
    if data.foreground is not None:
        encoding, what = _decide_index(stats, data)
    elif any(s.alpha is not None and len(s.alpha.values) > 1 for s in stats):
        encoding, what = _decide_alpha(stats, data)
    else:
        encoding, what = _decide_grey(stats, data)

    background, foreground, ignored = np.sum([_count(s, encoding) for s in stats], axis=0)
    if not background or not foreground:
        raise _constant(stats, encoding, what, all_foreground=bool(foreground))
    changed = sum(_between(s, encoding) for s in stats)
    parts = [what]
    if encoding.ignore:
        parts.append(f"ignored {listed(encoding.ignore)}")
    if encoding.invert:
        parts.append("inverted")
    return encoding, (f"masks: {', '.join(parts)}; {changed:,} of "
                      f"{background + foreground + ignored:,} pixels changed")


# Deciding, one function a kind.


def _decide_index(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    for s in stats:
        if s.lossy:
            raise UserError(f"{s.path}: data.foreground is set, but lossy compression (JPEG, WebP) "
                            "blurs class indices; save the masks as PNG")
        if s.levels is None or (s.alpha is not None and len(s.alpha.values) > 1):
            raise UserError(f"{s.path}: data.foreground is set, but this mask has an alpha "
                            "channel; save class indices as a PNG of one channel")
        if s.levels.reduced:
            raise UserError(f"{s.path}: more than 256 different values are no class indices; set "
                            "data.foreground: null for soft masks")
    seen = _seen(stats)
    foreground = data.foreground or []
    if absent := sorted(set(foreground) - set(seen)):
        raise UserError(f"data.foreground: {listed(absent)} occurs in no mask of "
                        f"{stats[0].path.parent}/; values that do: {listed(seen)}")
    what = f"class index ({listed(seen)} seen), foreground {listed(foreground)}"
    if IGNORE in seen and IGNORE not in (*data.ignore, *foreground):
        what += " (255, void in most data sets, counts as background: see data.ignore)"
    return Encoding(kind="index", foreground=tuple(sorted(foreground)),
                    ignore=tuple(sorted(data.ignore)), invert=data.invert), what


def _decide_alpha(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    varied = next(s for s in stats if s.alpha is not None and len(s.alpha.values) > 1)
    for s in stats:
        if s.alpha is None:
            raise UserError(f"{varied.path} has an alpha channel and {s.path} has none; "
                            "save all masks the same way, best as one-channel PNG")
        if s.conflict:
            raise UserError(f"{s.path}: {s.conflict}; save the mask as a one-channel PNG")
    return (_encoding("alpha", HALF, data),
            f"alpha channel, foreground from {HALF} on")


def _decide_grey(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    for s in stats:
        if s.levels is None:
            raise coloured(s.path)
    valued = [s for s in stats if s.scale != "two-valued"]
    wide = any(s.scale == "16bit" and _top(s, data) > 255 for s in valued)
    verdicts = {s.path: _verdict(s, data, wide) for s in valued}
    by_verdict = {v: [s for s in valued if verdicts[s.path] == v] for v in set(verdicts.values())}
    if unclear := by_verdict.get("unclear"):
        raise _unclear(unclear, data)

    white = [s for v in ("0/255", "soft") for s in by_verdict.get(v, [])]
    if (black := by_verdict.get("0/1")) and white:
        raise UserError(f"{black[0].path} holds 0 and 1 while {white[0].path} reaches "
                        f"{_top(white[0], data)}; save all masks as 0 and 255")
    if black:
        return _encoding("0/1", 1, data), "0/1 (they look black), foreground 1"
    if by_verdict.get("soft"):
        top = max(_top(s, data) for s in white)
        if top < NEAR_WHITE * (257 if wide else 1):
            raise UserError(f"{white[0].path}: greys, but no mask reaches white (largest value "
                            f"{top}); stretch the masks to 0-{65535 if wide else 255}, or set "
                            "data.foreground if they are class indices")
        lossy = all(s.lossy for s in by_verdict["soft"])
        name = "0/255 blurred by JPEG" if lossy else "soft greys"
        return (_encoding("soft", HALF, data, wide),
                f"{name}, foreground from {HALF * 256 if wide else HALF} on")
    if white:
        full = 65535 if wide else 255
        return _encoding("0/255", HALF, data, wide), f"0/{full}, foreground {full}"
    # Only all-black and two-valued (1-bit, palette) files: any threshold will do.
    return _encoding("0/255", HALF, data, wide), "two-valued, foreground 1"


def _encoding(kind: Literal["0/1", "0/255", "soft", "alpha"], threshold: int, data: DataParams,
              wide: bool = False) -> Encoding:
    return Encoding(kind=kind, threshold=threshold, ignore=tuple(sorted(data.ignore)),
                    invert=data.invert, wide=wide)


def _verdict(stats: MaskStats, data: DataParams, wide: bool) -> str:
    """One file without class indices: empty, 0/1, 0/255, soft or unclear."""
    assert stats.levels is not None
    kept = ~np.isin(stats.levels.values, data.ignore)
    values, counts, flat = (column[kept] for column in stats.levels[:3])
    full = 65535 if wide and stats.scale == "16bit" else 255
    for verdict, known in {"empty": {0}, "0/1": {0, 1}, "0/255": {0, full}}.items():
        if set(values.tolist()) <= known:
            return verdict
    between = (values > 0) & (values < full)
    if stats.lossy:
        # JPEG surrounds the edges of a 0/255 mask with near-blacks and near-whites; where greys
        # cover much of it, or white is not reached, it has blurred class indices.
        blurred = (counts[between].sum() > BLURRED * counts.sum() or values.max() < NEAR_WHITE
                   or bool(data.ignore))
        return "unclear" if blurred else "soft"
    classes = flat[between].sum() > counts[between].sum() / 2 and between.sum() <= MOST_CLASSES
    inexact = stats.levels.reduced and data.ignore  # rounding would move ignored values
    return ("unclear" if classes or between.sum() < 3 or values.max() > full or inexact
            else "soft")


def _unclear(stats: list[MaskStats], data: DataParams) -> UserError:
    """Mask values that mean nothing by themselves: say which key settles it."""
    path = stats[0].path
    seen = [value for value in _seen(stats) if value not in data.ignore]
    holds = f"{path}: mask values {listed(seen)} are ambiguous"
    if any(s.lossy for s in stats):
        return UserError(f"{holds}: JPEG or WebP has blurred them; save the masks as PNG")
    others = [value for value in seen if value != 0]
    if len(others) == 1:
        return UserError(f"{holds}: set data.foreground: [{others[0]}]")
    if len(seen) <= 3 and others[-1] == 255:
        return UserError(f"{holds}: set data.ignore: [{others[0] if others[0] != 1 else 255}] if "
                         f"that marks void, or data.foreground to the values that are foreground")
    return UserError(f"{holds}: they look like class indices; set data.foreground to the ones that "
                     "are foreground, such as [1], and data.ignore to void, such as [255]")


def _constant(stats: list[MaskStats], encoding: Encoding, what: str,
              all_foreground: bool) -> UserError:
    folder = stats[0].path.parent
    name = "foreground" if all_foreground else "background"
    key = "data.foreground" if encoding.kind == "index" else "data.invert and the mask files"
    return UserError(f"{folder}/: every pixel that counts is {name} in all {len(stats)} masks "
                     f"(read as {what}): nothing to learn; check {key}")


# Counting.


def _levels(values: np.ndarray) -> Levels:
    """Histogram; a 16-bit file of more than 256 values is a soft mask and kept to 8 bits."""
    def histogram(v: np.ndarray) -> np.ndarray:
        return np.bincount(v.ravel(), minlength=65536 if v.dtype == np.uint16 else 256)

    counts = histogram(values)
    reduced = bool(np.count_nonzero(counts) > 256)
    if reduced:
        # The extremes stay exact, and no value crosses the threshold at 32768.
        eighth = ((values.astype(np.uint32) + 128) // 257).clip(1, 254) * 257
        values = np.where((values == 0) | (values == 65535), values, eighth).astype(np.uint16)
        counts = histogram(values)
    present = np.flatnonzero(counts)
    flat = np.zeros_like(counts)
    if len(present) > 2:  # two values need no telling apart
        corner = values[:-1, :-1]
        flat = histogram(corner[(corner == values[1:, :-1]) & (corner == values[:-1, 1:])])
    return Levels(present, counts[present], flat[present], reduced)


def _codes(values: np.ndarray, scale: Scale, encoding: Encoding) -> np.ndarray:
    """The meaning, uint8 {0, 1, 255}, of raw values."""
    if encoding.kind == "index":
        foreground = np.isin(values, encoding.foreground)
    elif scale == "two-valued":
        foreground = values == 1
    else:
        threshold = encoding.threshold or 0
        if scale == "16bit" and encoding.wide:
            threshold *= 256
        foreground = values >= threshold
    codes = (foreground != encoding.invert).astype(np.uint8)
    codes[np.isin(values, encoding.ignore)] = IGNORE
    return codes


def _count(stats: MaskStats, encoding: Encoding) -> tuple[int, int, int]:
    """Pixels of a file that are background, foreground, ignored."""
    levels = _used(stats, encoding)
    codes = _codes(levels.values, _scale(stats, encoding), encoding)
    background, foreground, ignored = (int(levels.counts[codes == c].sum()) for c in (0, 1, IGNORE))
    return background, foreground, ignored


def _between(stats: MaskStats, encoding: Encoding) -> int:
    """Pixels of a soft file that a threshold moved to black or white."""
    if encoding.kind not in ("soft", "alpha") or _scale(stats, encoding) == "two-valued":
        return 0
    values, counts, *_ = _used(stats, encoding)
    full = 65535 if encoding.wide and stats.scale == "16bit" else 255
    between = (values > 0) & (values < full) & ~np.isin(values, encoding.ignore)
    return int(counts[between].sum())


def _used(stats: MaskStats, encoding: Encoding) -> Levels:
    levels = stats.alpha if encoding.kind == "alpha" else stats.levels
    assert levels is not None  # decide() has refused the others
    return levels


def _scale(stats: MaskStats, encoding: Encoding) -> Scale:
    return "8bit" if encoding.kind == "alpha" else stats.scale


def _seen(stats: list[MaskStats]) -> list[int]:
    values: Iterable[np.ndarray] = (s.levels.values for s in stats if s.levels is not None)
    return [int(value) for value in reduce(np.union1d, values)]


def _top(stats: MaskStats, data: DataParams) -> int:
    assert stats.levels is not None
    return int(np.setdiff1d(stats.levels.values, data.ignore).max(initial=0))
