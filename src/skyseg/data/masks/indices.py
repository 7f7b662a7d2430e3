"""Decides what class indices mean in files of several kinds, where ``data.foreground`` lists some.

A 1-bit file stores white as 1, an 8-bit file as 255. So the numbers of some kinds of files can be
read in two ways: as they are stored, or as brightness scaled to 8 bits. What is certain is used to
choose: the values that settings name, and those of files that can be read in one way only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skyseg.data.masks.encoding import DEEP, TWO_VALUED, Encoding, brightness, decode_values
from skyseg.data.masks.files import listed
from skyseg.data.masks.stats import MaskStats
from skyseg.errors import UserError
from skyseg.params import IGNORE, DataParams

FULL = (1023, 4095, 16383, 32767, 65535)  # white in 16-bit files: 10, 12, 14, 15 and 16 bits


class Kind(NamedTuple):
    """All mask files of a data set that store their values in one way."""

    name: str
    example: MaskStats
    stored: frozenset[int]
    """The values that occur, as they are stored."""
    shown: frozenset[int] | None
    """The same as brightness; None if that is not possible."""
    same: bool
    """Both mean the same, or only one is possible."""
    white: int
    """The stored value that is white."""


def decide_index(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    """The encoding of class indices, and a description of it.

    Raises:
        UserError: a file cannot hold class indices, or it is unclear how they are stored.
    """
    for s in stats:
        _check(s)
    encoding = Encoding(
        kind="index",
        foreground=tuple(sorted(data.foreground_values or [])),
        ignore=tuple(sorted(data.ignore_values)),
        invert=data.invert,
    )
    kinds = [
        _kind([s for s in stats if s.kind == name], encoding)
        for name in dict.fromkeys(s.kind for s in stats)
    ]
    _check_known(kinds, encoding)
    scaled = choose(kinds, encoding)
    encoding = encoding.model_copy(
        update={"scaled": {kind.name: kind.white for kind in kinds if kind.name in scaled}}
    )
    seen = sorted({v for k in kinds for v in ((k.shown if k.name in scaled else None) or k.stored)})
    if absent := sorted(set(encoding.foreground) - set(seen)):
        raise UserError(
            f"data.foreground: {listed(absent)} occurs in no mask in "
            f"{stats[0].path.parent}/; values found: {listed(seen)}"
        )
    what = f"class index ({listed(seen)} seen), foreground {listed(encoding.foreground)}"
    for kind in kinds:
        if kind.name in scaled:
            what += f", {kind.name} files such as {kind.example.path.name} scaled to 0-255"
    if IGNORE in seen and IGNORE not in (*encoding.ignore, *encoding.foreground):
        what += " (255, void in most data sets, counts as background: see data.ignore)"
    return encoding, what


def choose(kinds: list[Kind], encoding: Encoding) -> set[str]:
    """The names of the kinds whose values are to be read as brightness.

    Raises:
        UserError: it is not certain for one of the kinds.
    """
    unsure = {kind.name: kind for kind in kinds if not kind.same}
    named = frozenset((0, *encoding.foreground, *encoding.ignore))
    known = named.union(*(kind.stored for kind in kinds if kind.same))
    scaled: set[str] = set()
    while unsure:
        found = {kind.name: _known_reading(kind, known, encoding) for kind in unsure.values()}
        name = next((name for name, values in found.items() if values), "")
        values = found.get(name)
        if values is None:
            if len(unsure) < len(kinds):  # what else is known has not decided
                name = next(iter(unsure))
                other = next(kind for kind in kinds if kind.name not in unsure)
                raise _unclear(unsure[name], other, unsure[name].stored <= known)
            name, values = _named_reading(list(unsure.values()), named - {0}, encoding)
        if values is not unsure.pop(name).stored:
            scaled.add(name)
        known |= values
    return scaled


def _known_reading(kind: Kind, known: frozenset[int], encoding: Encoding) -> frozenset[int] | None:
    """The values of a kind in the one reading of which all are known; None if that is not certain.

    Brightness must also contain foreground: white that would only be void, or another class, is as
    likely a class that other files do not hold.
    """
    assert kind.shown is not None
    stored, shown = kind.stored <= known, kind.shown <= known
    if stored and not shown:
        return kind.stored
    marked = (kind.shown - {0}) & {*encoding.foreground}
    return kind.shown if shown and not stored and marked else None


def _named_reading(
    kinds: list[Kind], named: frozenset[int], encoding: Encoding
) -> tuple[str, frozenset[int]]:
    """The first kind that holds more of the named values in one of the readings, and its values.

    Raises:
        UserError: there is none.
    """
    marked = named & {*encoding.foreground}
    for wanted in (marked, named):
        for kind in kinds:
            shown = kind.shown or frozenset()
            more = len(wanted & kind.stored) - len(wanted & shown)
            if more > 0:
                return kind.name, kind.stored
            if more < 0 and marked & shown:
                return kind.name, shown
    # Palettes are made for indices; single bits are usually labels.
    usual = next((kind for kind in kinds if kind.name in TWO_VALUED), None)
    if usual:
        return usual.name, usual.stored
    if len(kinds) == 1 and not named & kinds[0].stored:
        return kinds[0].name, kinds[0].stored  # no named value occurs at all, as is said later
    raise _unclear(kinds[0], kinds[1] if len(kinds) > 1 else None, both=True)


def _check_known(kinds: list[Kind], encoding: Encoding) -> None:
    """Raise a UserError if a kind has no foreground, whichever way it is read, and holds values
    that neither the settings nor other kinds know."""
    foreground = {*encoding.foreground}
    named = {0, *encoding.foreground, *encoding.ignore}
    for kind in kinds:
        others = [other for other in kinds if other.name != kind.name]
        if kind.name == "8-bit" or not others:
            continue
        if kind.stored & foreground or (kind.shown or kind.stored) & foreground:
            continue
        known = named.union(*(other.stored for other in others if other.same))
        if not (kind.stored <= known or (kind.shown or kind.stored) <= known):
            raise _unclear(kind, others[0], both=False)


def _unclear(kind: Kind, other: Kind | None, both: bool) -> UserError:
    beside = f" beside {other.name} files such as {other.example.path}" if other else ""
    shown = f", or {listed(kind.shown)} as brightness" if kind.shown else ""
    fits = "both readings fit" if both else "no reading fits"
    return UserError(
        f"{kind.example.path}: {kind.name} files hold {listed(kind.stored)}{shown}; {fits} "
        f"data.foreground and data.ignore{beside}; save all masks as 8-bit PNGs of class indices"
    )


def _kind(stats: list[MaskStats], encoding: Encoding) -> Kind:
    """What all files of one kind hold."""
    one = stats[0]
    stored = frozenset(int(v) for s in stats if s.levels for v in s.levels.values)
    white = one.white
    if one.kind in DEEP:
        if max(stored) <= 255:
            # 8-bit values in a larger container.
            return Kind(one.kind, one, stored, None, True, white)
        white = next(full for full in FULL if full >= max(stored))
    shown: set[int] = set()
    same = True
    for s in stats:
        assert s.levels is not None
        grey = brightness(s.levels.values, s.kind, white, s.greys)
        shown |= {int(v) for v in grey}
        same = same and np.array_equal(
            decode_values(grey, s.kind, encoding), decode_values(s.levels.values, s.kind, encoding)
        )
    if -1 in shown:
        _check_one_white(stats, white, encoding)
        return Kind(one.kind, one, stored, None, True, white)
    return Kind(one.kind, one, stored, frozenset(shown), same, white)


def _check_one_white(stats: list[MaskStats], white: int, encoding: Encoding) -> None:
    """Raise a UserError if files of one kind have white as 255 and as a larger number."""
    if 255 not in encoding.foreground or white in (*encoding.foreground, *encoding.ignore):
        return
    holding = [
        next((s for s in stats if s.levels and value in s.levels.values), None)
        for value in (255, white)
    ]
    if white > 255 and holding[0] and holding[1]:
        raise UserError(
            f"{holding[0].path} holds 255 and {holding[1].path} {white}, so the white of "
            f"{stats[0].kind} files is unclear; save all masks with the same white"
        )


def _check(stats: MaskStats) -> None:
    """Raise a UserError if a file cannot hold class indices."""
    if stats.lossy:
        raise UserError(
            f"{stats.path}: data.foreground is set, but lossy compression (JPEG, WebP) "
            "blurs class indices; save the masks as PNG"
        )
    if stats.levels is None or (stats.alpha is not None and len(stats.alpha.values) > 1):
        raise UserError(
            f"{stats.path}: data.foreground is set, but this mask has an alpha "
            "channel; save class indices as a one-channel PNG"
        )
    if stats.levels.reduced:
        raise UserError(
            f"{stats.path}: more than 256 different values cannot be class indices; set "
            "data.foreground: null for soft masks"
        )
