"""CVAT annotations: an XML file 'CVAT for images 1.1' that lists photographs and their shapes.

Shapes are layered by ``z_order``, then by their order in the file, as CVAT shows them and exports
them to masks. CVAT shows photographs upright, so its points are those of the upright picture.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np

from skyseg.data import tables
from skyseg.data.formats.annotations import (
    FARTHEST,
    Runs,
    Shape,
    Shapes,
    box,
    checked_runs,
    ellipse,
    polygon,
    rotated,
)
from skyseg.data.formats.samples import AnnotatedFolder, Found, LayoutError, split_of
from skyseg.errors import UserError

HEAD = re.compile(rb"<annotations[\s>]")


def read(root: Path) -> Found:
    """All photographs that the XML files of a folder list, those without shapes too.

    Raises:
        LayoutError: there is no such file.
        UserError: one is damaged, is of a video task, or names a photograph that is not there.
    """
    known = AnnotatedFolder(root, ".xml")
    samples = []
    left: Counter[str] = Counter()
    for path in known.files:
        content = tables.read_file(path, tables.MOST_ANNOTATION_BYTES)
        if not HEAD.search(content[:4096].replace(b"\0", b"")):  # also in UTF-16
            continue
        for image in _images(content, path):
            name = image.get("name", "")
            where = f"{path}: image {name[:200]!r}"
            split = split_of(image.get("subset", ""))
            shapes = _shapes(image, where, left)
            picture = known.picture(name, path, split)
            samples.append(known.sample(picture, path, split, shapes))
    if not samples:
        raise LayoutError(f"{root}/: no CVAT annotations (an .xml file)")
    notes = []
    if left:
        listed = ", ".join(f"{count:,} {kind}" for kind, count in left.items())
        notes.append(f"{root}/: shapes without an area are not used: {listed}")
    return Found(samples, notes)


def _images(content: bytes, path: Path) -> Iterator[Element]:
    """The <image> elements of a file."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        for _, element in iterparse(io.BytesIO(content), forbid_dtd=True):
            if element.tag == "track":
                raise UserError(
                    f"{path}: annotations of a video; export it from CVAT as 'CVAT for images 1.1'"
                )
            if element.tag == "image":
                yield element
                element.clear()
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable XML file ({problem}); export it again") from None


def _shapes(image: Element, where: str, left: Counter[str]) -> Shapes:
    width, height = (int(_number(image, key, where)) for key in ("width", "height"))
    layers = []
    for element in image:
        reader = PARTS.get(element.tag)
        if reader is None:
            left[element.tag] += 1
            continue
        shape = Shape(element.get("label", "")[:200], (reader(element, where),))
        layers.append((_number(element, "z_order", where, "0"), shape))
    layers.sort(key=lambda layer: layer[0])  # stable: equal ones keep their order
    return Shapes(width, height, tuple(shape for _, shape in layers), layered=True)


def _polygon(element: Element, where: str) -> np.ndarray:
    points = [pair.split(",") for pair in element.get("points", "").split(";")]
    try:
        corners = polygon([(float(x), float(y)) for x, y in points])
        if len(corners) < 3 or not (abs(corners) <= FARTHEST).all():
            raise ValueError
        return corners
    except ValueError:
        raise UserError(f"{where}: a polygon with unreadable points; export it again") from None


def _box(element: Element, where: str) -> np.ndarray:
    sides = [_number(element, key, where) for key in ("xtl", "ytl", "xbr", "ybr")]
    return polygon(rotated(box(*sides), _number(element, "rotation", where, "0")))


def _ellipse(element: Element, where: str) -> np.ndarray:
    numbers = [_number(element, key, where) for key in ("cx", "cy", "rx", "ry")]
    return polygon(rotated(ellipse(*numbers), _number(element, "rotation", where, "0")))


def _mask(element: Element, where: str) -> Runs:
    left, top, width, height = (
        int(_number(element, key, where)) for key in ("left", "top", "width", "height")
    )
    try:
        counts = np.array([int(part) for part in element.get("rle", "").split(",")], np.int64)
    except (ValueError, OverflowError):
        raise UserError(f"{where}: a mask with unreadable runs; export it again") from None
    return checked_runs(Runs(left, top, width, height, counts, by_columns=False), where)


PARTS: dict[str, Callable[[Element, str], np.ndarray | Runs]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}


def _number(element: Element, key: str, where: str, default: str = "") -> float:
    text = element.get(key, default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= FARTHEST:
        raise UserError(f"{where}: {element.tag} has {key}={text[:40]!r}; export it again")
    return number
