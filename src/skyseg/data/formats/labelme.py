"""LabelMe annotations: one JSON file per photograph, beside it or in another folder.

Later shapes cover earlier ones, as in LabelMe's own export to masks. LabelMe shows photographs
upright, so its points are those of the upright picture. A photograph without a file has not been
annotated and is left out, with a note; one whose file has no shapes has no foreground.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from skyseg.data import tables
from skyseg.data.formats.annotations import (
    ClassName,
    Coordinate,
    FileName,
    Runs,
    Shape,
    Shapes,
    Side,
    box,
    ellipse,
    polygon,
    runs_of,
)
from skyseg.data.formats.samples import AnnotatedFolder, Found, LayoutError, Sample
from skyseg.data.pictures import codec
from skyseg.errors import UserError

WITHOUT_AREA = ("point", "points", "line", "linestrip")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore")

    label: ClassName | int
    points: list[tuple[Coordinate, Coordinate]]
    shape_type: ClassName | None = None
    mask: str | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    shapes: list[_Shape]
    imageData: str | None = None  # noqa: N815
    imagePath: FileName  # noqa: N815 (LabelMe's own names)
    imageWidth: Side | None = None  # noqa: N815
    imageHeight: Side | None = None  # noqa: N815


def read(root: Path) -> Found:
    """All annotated photographs of a folder.

    Raises:
        LayoutError: there is no such file.
        UserError: a file is damaged, or its photograph is not there.
    """
    known = AnnotatedFolder(root, ".json")
    samples: list[Sample] = []
    notes: list[str] = []
    inside = 0
    left: Counter[str] = Counter()
    for path in known.files:
        remarks: list[str] = []
        text = tables.read_text(path, tables.MOST_ANNOTATION_BYTES, remarks)
        if '"shapes"' not in text or '"imagePath"' not in text:
            continue
        notes += remarks
        content = _parsed(path, text)
        picture = _picture(path, content, known)
        inside += picture == path
        shapes = []
        for number, shape in enumerate(content.shapes, 1):
            part = _part(shape, f"{path}: shape {number}")
            if part is None:
                left[shape.shape_type or "polygon"] += 1
            else:
                shapes.append(Shape(str(shape.label), (part,)))
        drawn = Shapes(content.imageWidth, content.imageHeight, tuple(shapes), layered=True)
        sample = known.sample(picture, path, None, drawn)
        samples.append(replace(sample, embedded=picture == path))
    if not samples:
        raise LayoutError(f"{root}/: no LabelMe annotations (.json files beside the photographs)")
    if inside:
        notes.append(f"{root}/: {inside:,} photographs are taken from inside their LabelMe files")
    if left:
        listed = ", ".join(f"{count:,} {kind}" for kind, count in left.items())
        notes.append(f"{root}/: shapes without an area are not used: {listed}")
    return Found(samples, notes)


def _parsed(path: Path, text: str) -> _File:
    try:
        return _File.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(
            f"{path}: not LabelMe annotations: {where + ': ' if where else ''}{problem['msg']}; "
            "save it again in LabelMe"
        ) from None


def embedded_picture(path: Path) -> bytes:
    """The photograph inside a LabelMe file, as it was opened.

    Raises:
        UserError: it is damaged.
    """
    content = _parsed(path, tables.read_text(path, tables.MOST_ANNOTATION_BYTES))
    return _from_base64(content.imageData, f"{path}: its imageData")


def _picture(path: Path, content: _File, known: AnnotatedFolder) -> Path:
    """The photograph, under the name that the file gives or, if it was renamed with its file,
    beside it. If it is only inside the file, the file."""
    try:
        return known.picture(content.imagePath, path)
    except UserError:
        beside = known.beside(path) or (path if content.imageData else None)
        if beside is None:
            raise
        return beside


def _part(shape: _Shape, where: str) -> np.ndarray | Runs | None:
    """What a shape covers; None for points and lines."""
    kind, points = shape.shape_type or "polygon", shape.points
    if kind in WITHOUT_AREA:
        return None
    if kind == "mask":
        return _mask(shape, where)
    if kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        return polygon(ellipse(*points[0], radius, radius))
    if kind == "rectangle" and len(points) == 2:
        return polygon(box(*points[0], *points[1]))
    if kind in ("polygon", "rectangle", "rotation"):
        return polygon(points) if len(points) >= 3 else None
    raise UserError(
        f"{where}: {kind!r} with {len(points)} points is not supported; draw a polygon, rectangle, "
        "circle or mask"
    )


def _mask(shape: _Shape, where: str) -> Runs:
    """A PNG of the part of the picture that begins at the shape's first point."""
    content = _from_base64(shape.mask, f"{where}: its mask")
    if not shape.points:
        raise UserError(f"{where}: its mask has no place; draw it again")
    image, _ = codec.open_upright(content, f"{where}: its mask", limits=codec.UPLOAD)
    left, top = (int(value) for value in shape.points[0])
    return runs_of(np.asarray(image.convert("L")) > 0, left, top)


def _from_base64(text: str | None, what: str) -> bytes:
    try:
        content = base64.b64decode(text or "", validate=True)
    except ValueError:
        content = b""
    if not content:
        raise UserError(f"{what} is damaged; save it again in LabelMe")
    return content
