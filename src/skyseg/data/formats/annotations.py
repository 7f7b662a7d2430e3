"""Shapes that people have drawn on photographs, and how a mask is made from them.

A point (x, y) is in pixels from the upper left corner of the picture: the first pixel reaches from
(0, 0) to (1, 1), and a pixel belongs to a polygon if its centre is inside (as in pycocotools).
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from skyseg.errors import UserError
from skyseg.params import IGNORE, DataParams

MOST_LISTED = 12  # classes in an error message
FARTHEST = 1e7  # pixels; no picture that can be decoded has a side of a tenth of it

# What the models of JSON files accept, so that damaged files cost neither time nor an overflow.
Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=FARTHEST)]
Count = Annotated[int, Field(ge=0, le=2**40)]
ClassName = Annotated[str, Field(max_length=200)]
Id = Annotated[int, Field(ge=-(2**63), lt=2**63)] | ClassName
FileName = Annotated[str, Field(max_length=1024)]


class Runs(NamedTuple):
    """A rectangle of pixels, run-length encoded."""

    left: int
    top: int
    width: int
    height: int
    counts: NDArray[np.int64]
    """Lengths of the runs: outside, inside, outside, ..."""
    by_columns: bool
    """Down the columns, as in COCO; otherwise along the rows."""


class Shape(NamedTuple):
    label: str
    parts: tuple[NDArray[np.float64] | Runs, ...]
    """Polygons [N, 2] of (x, y), and runs; the shape is their union."""


class Shapes(NamedTuple):
    """What is drawn on one photograph."""

    width: int | None
    """Of the photograph, upright, when it was annotated; None if that is not known."""
    height: int | None
    shapes: tuple[Shape, ...]
    layered: bool
    """Later shapes cover earlier ones. Otherwise shapes have no order: void covers foreground, and
    shapes of other classes cover nothing."""


def draw(shapes: Shapes, codes: dict[str, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask of a photograph: uint8 [H, W], 0 background, 1 foreground, 255 ignore.

    Args:
        shapes: what to draw.
        codes: 1 or 255 by class; all others are background.
        size: width and height.
    """
    mask = np.zeros(size[::-1], np.uint8)
    coded = [(codes.get(shape.label, 0), shape) for shape in shapes.shapes]
    if not shapes.layered:
        coded = sorted((pair for pair in coded if pair[0]), key=lambda pair: pair[0])
    for code, shape in coded:
        for part in shape.parts:
            _fill(mask, part, code)
    return mask


def class_codes(everything: Sequence[Shapes], data: DataParams) -> dict[str, int]:
    """What each named class becomes: 1 foreground, 255 ignore.

    Raises:
        UserError: data.foreground is not set, or a name occurs nowhere; it lists those that do.
    """
    counts = Counter(shape.label for shapes in everything for shape in shapes.shapes)
    listed = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common(MOST_LISTED))
    listed += f", and {len(counts) - MOST_LISTED} more" if len(counts) > MOST_LISTED else ""
    if not counts:
        raise UserError("no photograph has a shape with an area, so there is nothing to learn")
    if data.foreground is None:
        raise UserError(
            "data.foreground: not set; name the classes that are foreground, such as "
            f"[{counts.most_common(1)[0][0]}]; the data has {listed}"
        )
    wanted = {"foreground": data.foreground, "ignore": data.ignore}
    for key, names in wanted.items():
        for name in map(str, names):
            if name not in counts:
                near = _nearest(name, counts)
                raise UserError(
                    f"data.{key}: no shape is called {name!r}"
                    + (f"; did you mean {near!r}?" if near else "")
                    + f" (the data has {listed})"
                )
    return {str(name): 1 for name in data.foreground} | {str(name): IGNORE for name in data.ignore}


def polygon(points: Iterable[Sequence[float]]) -> NDArray[np.float64]:
    """Points as an array [N, 2]."""
    return np.array([tuple(point) for point in points], np.float64).reshape(-1, 2)


def box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def ellipse(x: float, y: float, across: float, down: float) -> list[tuple[float, float]]:
    """An ellipse with the given centre and radii, as a polygon with a corner for every pixel."""
    count = int(np.clip(2 * math.pi * max(abs(across), abs(down), 1), 64, 4096))
    turns = np.arange(count) * (2 * math.pi / count)
    return list(zip(x + across * np.cos(turns), y + down * np.sin(turns), strict=True))


def rotated(
    points: list[tuple[float, float]], degrees: float
) -> list[tuple[float, float]] | NDArray[np.float64]:
    """Points turned clockwise about the middle of their extent."""
    if not degrees:
        return points
    corners = np.array(points)
    middle = (corners.min(0) + corners.max(0)) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: NDArray[np.float64] = (corners - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle
    return turned


def runs_of(pixels: NDArray[np.bool_], left: int, top: int) -> Runs:
    """Runs of a rectangle bool [H, W] whose upper left pixel is at (left, top)."""
    flat = pixels.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(changes, prepend=0, append=flat.size)
    return Runs(left, top, pixels.shape[1], pixels.shape[0], counts, by_columns=False)


def checked_runs(runs: Runs, where: str) -> Runs:
    """The same runs.

    Raises:
        UserError: a run is negative, or together they do not fill the rectangle.
    """
    area = runs.width * runs.height
    fills = area > 0 and ((runs.counts >= 0) & (runs.counts <= area)).all()
    if not fills or runs.width < 1 or runs.counts.sum() != area:
        raise UserError(
            f"{where}: damaged run-length encoding (does not fill {runs.width}x{runs.height} "
            "pixels); export it again"
        )
    return runs


def uncompressed(text: str, where: str) -> NDArray[np.int64]:
    """The runs in COCO's compressed encoding: 5 bits a character, low ones first; from the fourth
    run on, each is stored as the difference from the run two before it (``rleFrString``).

    Raises:
        UserError: it is damaged.
    """
    codes = np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((codes & 0x20) == 0)  # the last character of each number
    if not len(last) or last[-1] != len(codes) - 1 or codes.min() < 0 or codes.max() > 63:
        raise UserError(f"{where}: damaged run-length encoding; export it again")
    first = np.concatenate([[0], last[:-1] + 1])
    places = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    if places.max() > 8:
        raise UserError(f"{where}: damaged run-length encoding; export it again")
    values = np.add.reduceat((codes & 0x1F) << (5 * places), first)
    values -= np.where(codes[last] & 0x10, 1 << (5 * (places[last] + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def check_extent(shapes: Shapes, size: tuple[int, int], where: str) -> None:
    """Refuse points that are farther outside the picture than it is large: they are mistakes, and
    tracing their outline would take long.

    Raises:
        UserError: there is one.
    """
    reach = max(size)
    for shape in shapes.shapes:
        for part in shape.parts:
            if isinstance(part, Runs):
                ends = [part.left, part.top, part.left + part.width, part.top + part.height]
                corners = np.array(ends, np.float64).reshape(2, 2)
            else:
                corners = part
            if corners.min() < -reach or (corners.max(0) > np.add(size, reach)).any():
                raise UserError(
                    f"{where}: a {shape.label} reaches far outside the picture of "
                    f"{size[0]}x{size[1]} pixels; draw it again"
                )


def _fill(mask: NDArray[np.uint8], part: NDArray[np.float64] | Runs, code: int) -> None:
    """Set the pixels that a part covers."""
    height, width = mask.shape
    if not isinstance(part, Runs):
        from pycocotools import mask as coco

        [outline] = coco.frPyObjects([part.ravel().tolist()], height, width)
        counts = uncompressed(outline["counts"].decode(), "pycocotools")
        part = Runs(0, 0, width, height, counts, by_columns=True)
    flat = np.repeat(np.arange(len(part.counts)) % 2 == 1, part.counts)
    inside = (
        flat.reshape(part.width, part.height).T
        if part.by_columns
        else flat.reshape(part.height, part.width)
    )
    top, left = max(part.top, 0), max(part.left, 0)
    inside = inside[top - part.top :, left - part.left :]
    target = mask[top : top + inside.shape[0], left : left + inside.shape[1]]
    target[inside[: target.shape[0], : target.shape[1]]] = code


def _nearest(name: str, known: Iterable[str]) -> str | None:
    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[near[0]] if near else None
