"""Decides what greys mean in masks without listed class indices.

How soft (anti-aliased) masks and class maps are distinguished: along a soft edge, in-between greys
differ from pixel to pixel, while a class fills areas. So a file is a class map if most pixels that
are neither black nor white equal both the next pixel to the right and the one below, and at most 64
such values occur. It is soft if at least three such values occur and it is not a class map.

White is the largest value of a kind of file. 16-bit files may use fewer bits: white is then the
largest value that occurs in any of them, if that is the largest of 8, 10, 12, 14 or 15 bits.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from skyseg.data.masks.encoding import DEEP, TWO_VALUED, Encoding
from skyseg.data.masks.files import HALF, coloured, listed
from skyseg.data.masks.stats import MaskStats, seen_values, top_value
from skyseg.errors import UserError
from skyseg.params import DataParams

BLURRED = 0.2  # a JPEG mask with a larger share of greys is ambiguous

NEAR_WHITE = 239 / 255  # some mask of a soft data set must reach this share of white

MOST_CLASSES = 64  # more values than this in one file are greys, not classes

FEWER_BITS = (1023, 4095, 16383, 32767)  # white in 16-bit files of 10, 12, 14 and 15 bits


class Scale(NamedTuple):
    """What black and white are in one kind of file."""

    one: int
    """What Pillow decodes a stored 1 to."""
    full: int
    """White."""


def decide_grey(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    """The encoding of masks that are black and white, and a description of it.

    Raises:
        UserError: the masks are ambiguous, mixed or in colour.
    """
    for s in stats:
        if s.levels is None:
            raise coloured(s.path)
    valued = [s for s in stats if s.kind not in TWO_VALUED]
    single = next((s for s in stats if s.kind == "1-bit"), None)
    if single and valued and {1, 255} & {*data.ignore_values}:
        raise UserError(
            f"data.ignore: {listed({1, 255} & {*data.ignore_values})} may be the white of 1-bit "
            f"masks such as {single.path} beside {valued[0].kind} masks such as {valued[0].path}; "
            "save all masks with 8 bits"
        )
    scales = _scales(valued, data)
    verdicts = {s.path: _verdict(s, data, scales[s.kind]) for s in valued}
    by_verdict = {v: [s for s in valued if verdicts[s.path] == v] for v in set(verdicts.values())}
    if unclear := by_verdict.get("unclear"):
        raise _ambiguous(unclear, valued, data, scales)

    white = [s for v in ("0/255", "soft") for s in by_verdict.get(v, [])]
    if (black := by_verdict.get("0/1")) and white:
        raise UserError(
            f"{black[0].path} holds 0 and 1 while {white[0].path} reaches "
            f"{top_value(white[0], data)}; save all masks as 0 and 255"
        )
    if black:
        return thresholded("0/1", 1, data), "0/1 (they look black), foreground 1"
    soft = by_verdict.get("soft", [])
    for kind, scale in scales.items():
        _check_white([s for s in white if s.kind == kind], scale, bool(soft), data)

    encoding = thresholded("soft" if soft else "0/255", HALF, data, scales)
    if not white:  # only all-black and two-valued (1-bit, palette) files: any threshold will do
        return encoding, "two-valued, foreground 1"
    main, *others = sorted({scales[s.kind] for s in white}, key=lambda scale: scale.full)[::-1]
    if soft:
        name = "0/255 blurred by lossy compression" if all(s.lossy for s in soft) else "soft greys"
        said = f"{name}, foreground from {(main.full + 1) // 2} on"
    else:
        said = f"0/{main.full}, foreground {main.full}"
    for scale in others:
        kinds = dict.fromkeys(s.kind for s in white if scales[s.kind] == scale)
        said += f", {' and '.join(kinds)} files from {(scale.full + 1) // 2} on"
    if two_valued := dict.fromkeys(s.kind for s in stats if s.kind in TWO_VALUED):
        said += f", {' and '.join(two_valued)} files 1"
    return encoding, said


def _scales(stats: list[MaskStats], data: DataParams) -> dict[str, Scale]:
    """Black and white of each kind of file."""
    scales = {}
    for kind in dict.fromkeys(s.kind for s in stats):
        files = [s for s in stats if s.kind == kind]
        white = files[0].white
        if kind not in DEEP:
            # Pillow scales all of less than 8 bits to 0-255.
            scales[kind] = Scale(round(255 / white), 255) if white < 255 else Scale(1, white)
            continue
        top = max(top_value(s, data) for s in files)
        full = 255 if top <= 255 else top if top in FEWER_BITS else 65535
        scales[kind] = Scale(1, full)
    return scales


def _check_white(stats: list[MaskStats], scale: Scale, soft: bool, data: DataParams) -> None:
    """Raise a UserError if no file of a kind reaches white."""
    top = max((top_value(s, data) for s in stats), default=scale.full)
    if soft and top < NEAR_WHITE * scale.full:
        raise UserError(
            f"{stats[0].path}: grey values, but no mask reaches white (largest value "
            f"{top}); stretch the masks to 0-{scale.full}, or set "
            "data.foreground if they are class indices"
        )


def thresholded(
    kind: Literal["0/1", "0/255", "soft", "alpha"],
    threshold: int,
    data: DataParams,
    scales: dict[str, Scale] | None = None,
) -> Encoding:
    """An encoding by a threshold on the 8-bit scale, and where others hold on other scales."""
    halves = {kind: (scale.full + 1) // 2 for kind, scale in (scales or {}).items()}
    wide = any(halves.get(kind) == HALF * 256 for kind in DEEP)
    usual = {kind: HALF * 256 if wide and kind in DEEP else HALF for kind in halves}
    return Encoding(
        kind=kind,
        threshold=threshold,
        ignore=tuple(sorted(data.ignore_values)),
        invert=data.invert,
        wide=wide,
        thresholds={kind: half for kind, half in halves.items() if half != usual[kind]},
    )


def _verdict(stats: MaskStats, data: DataParams, scale: Scale) -> str:
    """What one file without class indices holds: empty, 0/1, 0/255, soft or unclear."""
    assert stats.levels is not None
    kept = ~np.isin(stats.levels.values, data.ignore)
    values, counts, flat = (column[kept] for column in stats.levels[:3])
    one, full = scale
    for verdict, known in {"empty": {0}, "0/1": {0, one}, "0/255": {0, full}}.items():
        if set(values.tolist()) <= known:
            return verdict
    between = (values > 0) & (values < full)
    if stats.lossy:
        # JPEG surrounds the edges of a 0/255 mask with near-blacks and near-whites. If greys cover
        # much of the mask, or it does not reach white, JPEG has blurred class indices.
        blurred = (
            counts[between].sum() > BLURRED * counts.sum()
            or values.max() < NEAR_WHITE * full
            or bool(data.ignore)
        )
        return "unclear" if blurred else "soft"
    classes = flat[between].sum() > counts[between].sum() / 2 and between.sum() <= MOST_CLASSES
    inexact = stats.levels.reduced and data.ignore  # rounding would move ignored values
    return "unclear" if classes or between.sum() < 3 or values.max() > full or inexact else "soft"


def _ambiguous(
    stats: list[MaskStats], all_stats: list[MaskStats], data: DataParams, scales: dict[str, Scale]
) -> UserError:
    """The error for ambiguous mask values; it says which key resolves them.

    Args:
        stats: the files that are ambiguous.
        all_stats: these and the others.
        data: settings.
        scales: black and white of each kind of file.
    """
    path, kind, top = stats[0].path, stats[0].kind, top_value(stats[0], data)
    levels = stats[0].levels
    two = levels is not None and len(levels.values) <= 2
    if two and top in (255, *FEWER_BITS) and top < scales[kind].full:
        other = max(
            (s for s in all_stats if s.kind == kind), key=lambda each: top_value(each, data)
        )
        return UserError(
            f"{path}: {kind}, and its largest value is {top}, but {other.path} reaches "
            f"{top_value(other, data)}; save all masks with the same white"
        )
    # The numbers that settings would name: those that the files store, not Pillow's.
    same = [s for s in stats if s.kind == kind]
    white = min(stats[0].white, 255)
    seen = [(v * white + 127) // 255 for v in seen_values(same) if v not in data.ignore]
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
