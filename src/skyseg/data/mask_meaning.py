"""Infers what the pixel values of masks mean, once for a whole data set.

``mask_stats.count_values`` counts the values of one file. ``infer_encoding`` looks at the counts of
all files and returns what the values mean (an ``Encoding``), or raises an error if that is unclear.
``masks.read_mask`` applies the encoding.

How soft (anti-aliased) masks and class maps are distinguished: along a soft edge, in-between greys
differ from pixel to pixel, while a class fills areas. So a file is a class map if most pixels that
are neither 0 nor 255 equal both the next pixel to the right and the one below, and at most 64 such
values occur. It is soft if at least three such values occur and it is not a class map.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from skyseg.data.encoding import Encoding
from skyseg.data.mask_files import HALF, coloured, listed
from skyseg.data.mask_stats import (
    MaskStats,
    count_soft_pixels,
    pixel_counts,
    seen_values,
    top_value,
)
from skyseg.errors import UserError
from skyseg.params import IGNORE, DataParams

BLURRED = 0.2  # a JPEG mask with a larger share of greys is ambiguous

NEAR_WHITE = 239  # some mask of a soft data set must reach this value

MOST_CLASSES = 64  # more values than this in one file are greys, not classes


def infer_encoding(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    """What the masks of a data set mean, and one sentence that describes it.

    Raises:
        UserError: the masks are ambiguous, mixed or constant. The message names a file, its values
            and the key of params.yaml (or the change to the files) that resolves it.
    """
    if data.foreground is not None:
        encoding, what = _decide_index(stats, data)
    elif any(s.alpha is not None and len(s.alpha.values) > 1 for s in stats):
        encoding, what = _decide_alpha(stats, data)
    else:
        encoding, what = _decide_grey(stats, data)

    background, foreground, ignored = np.sum([pixel_counts(s, encoding) for s in stats], axis=0)
    if not background or not foreground:
        raise _constant(stats, encoding, what, all_foreground=bool(foreground))
    changed = sum(count_soft_pixels(s, encoding) for s in stats)
    parts = [what]
    if encoding.ignore:
        parts.append(f"ignored {listed(encoding.ignore)}")
    if encoding.invert:
        parts.append("inverted")
    return encoding, (
        f"masks: {', '.join(parts)}; {changed:,} of "
        f"{background + foreground + ignored:,} pixels changed"
    )


def _decide_index(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    for s in stats:
        if s.lossy:
            raise UserError(
                f"{s.path}: data.foreground is set, but lossy compression (JPEG, WebP) "
                "blurs class indices; save the masks as PNG"
            )
        if s.levels is None or (s.alpha is not None and len(s.alpha.values) > 1):
            raise UserError(
                f"{s.path}: data.foreground is set, but this mask has an alpha "
                "channel; save class indices as a one-channel PNG"
            )
        if s.levels.reduced:
            raise UserError(
                f"{s.path}: more than 256 different values cannot be class indices; set "
                "data.foreground: null for soft masks"
            )
    seen = seen_values(stats)
    foreground = data.foreground_values or []
    if absent := sorted(set(foreground) - set(seen)):
        raise UserError(
            f"data.foreground: {listed(absent)} occurs in no mask in "
            f"{stats[0].path.parent}/; values found: {listed(seen)}"
        )
    what = f"class index ({listed(seen)} seen), foreground {listed(foreground)}"
    if IGNORE in seen and IGNORE not in (*data.ignore, *foreground):
        what += " (255, void in most data sets, counts as background: see data.ignore)"
    return Encoding(
        kind="index",
        foreground=tuple(sorted(foreground)),
        ignore=tuple(sorted(data.ignore)),
        invert=data.invert,
    ), what


def _decide_alpha(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    varied = next(s for s in stats if s.alpha is not None and len(s.alpha.values) > 1)
    for s in stats:
        if s.alpha is None:
            raise UserError(
                f"{varied.path} has an alpha channel and {s.path} has none; "
                "save all masks the same way, preferably as one-channel PNG"
            )
        if s.conflict:
            raise UserError(f"{s.path}: {s.conflict}; save the mask as a one-channel PNG")
    return (_encoding("alpha", HALF, data), f"alpha channel, foreground from {HALF} on")


def _decide_grey(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    for s in stats:
        if s.levels is None:
            raise coloured(s.path)
    valued = [s for s in stats if s.scale != "two-valued"]
    wide = any(s.scale == "16bit" and top_value(s, data) > 255 for s in valued)
    verdicts = {s.path: _verdict(s, data, wide) for s in valued}
    by_verdict = {v: [s for s in valued if verdicts[s.path] == v] for v in set(verdicts.values())}
    if unclear := by_verdict.get("unclear"):
        raise _ambiguous(unclear, data)

    white = [s for v in ("0/255", "soft") for s in by_verdict.get(v, [])]
    if (black := by_verdict.get("0/1")) and white:
        raise UserError(
            f"{black[0].path} holds 0 and 1 while {white[0].path} reaches "
            f"{top_value(white[0], data)}; save all masks as 0 and 255"
        )
    if black:
        return _encoding("0/1", 1, data), "0/1 (they look black), foreground 1"
    if by_verdict.get("soft"):
        top = max(top_value(s, data) for s in white)
        if top < NEAR_WHITE * (257 if wide else 1):
            raise UserError(
                f"{white[0].path}: grey values, but no mask reaches white (largest value "
                f"{top}); stretch the masks to 0-{65535 if wide else 255}, or set "
                "data.foreground if they are class indices"
            )
        lossy = all(s.lossy for s in by_verdict["soft"])
        name = "0/255 blurred by lossy compression" if lossy else "soft greys"
        return (
            _encoding("soft", HALF, data, wide),
            f"{name}, foreground from {HALF * 256 if wide else HALF} on",
        )
    if white:
        full = 65535 if wide else 255
        return _encoding("0/255", HALF, data, wide), f"0/{full}, foreground {full}"
    # Only all-black and two-valued (1-bit, palette) files: any threshold will do.
    return _encoding("0/255", HALF, data, wide), "two-valued, foreground 1"


def _encoding(
    kind: Literal["0/1", "0/255", "soft", "alpha"],
    threshold: int,
    data: DataParams,
    wide: bool = False,
) -> Encoding:
    return Encoding(
        kind=kind,
        threshold=threshold,
        ignore=tuple(sorted(data.ignore)),
        invert=data.invert,
        wide=wide,
    )


def _verdict(stats: MaskStats, data: DataParams, wide: bool) -> str:
    """What one file without class indices holds: empty, 0/1, 0/255, soft or unclear."""
    assert stats.levels is not None
    kept = ~np.isin(stats.levels.values, data.ignore)
    values, counts, flat = (column[kept] for column in stats.levels[:3])
    full = 65535 if wide and stats.scale == "16bit" else 255
    for verdict, known in {"empty": {0}, "0/1": {0, 1}, "0/255": {0, full}}.items():
        if set(values.tolist()) <= known:
            return verdict
    between = (values > 0) & (values < full)
    if stats.lossy:
        # JPEG surrounds the edges of a 0/255 mask with near-blacks and near-whites. If greys cover
        # much of the mask, or it does not reach white, JPEG has blurred class indices.
        blurred = (
            counts[between].sum() > BLURRED * counts.sum()
            or values.max() < NEAR_WHITE
            or bool(data.ignore)
        )
        return "unclear" if blurred else "soft"
    classes = flat[between].sum() > counts[between].sum() / 2 and between.sum() <= MOST_CLASSES
    inexact = stats.levels.reduced and data.ignore  # rounding would move ignored values
    return "unclear" if classes or between.sum() < 3 or values.max() > full or inexact else "soft"


def _ambiguous(stats: list[MaskStats], data: DataParams) -> UserError:
    """The error for ambiguous mask values; it says which key resolves them."""
    path = stats[0].path
    seen = [value for value in seen_values(stats) if value not in data.ignore]
    holds = f"{path}: mask values {listed(seen)} are ambiguous"
    if any(s.lossy for s in stats):
        return UserError(
            f"{holds}: lossy compression (JPEG, WebP) has blurred them; save the masks as PNG"
        )
    others = [value for value in seen if value != 0]
    if len(others) == 1:
        return UserError(f"{holds}: set data.foreground: [{others[0]}]")
    if len(seen) <= 3 and others[-1] == 255:
        return UserError(
            f"{holds}: set data.ignore: [{others[0] if others[0] != 1 else 255}] if "
            f"it marks void, or data.foreground to the foreground values"
        )
    return UserError(
        f"{holds}: they look like class indices; set data.foreground to the "
        "foreground ones, such as [1], and data.ignore to the void ones, such as [255]"
    )


def _constant(
    stats: list[MaskStats], encoding: Encoding, what: str, all_foreground: bool
) -> UserError:
    folder = stats[0].path.parent
    name = "foreground" if all_foreground else "background"
    key = "data.foreground" if encoding.kind == "index" else "data.invert and the mask files"
    return UserError(
        f"{folder}/: every valid pixel is {name} in all {len(stats)} masks "
        f"(read as {what}), so there is nothing to learn; check {key}"
    )
