"""COCO annotations: JSON files that list many photographs, with polygons and run-length encodings.

Layouts: ``annotations/instances_train2017.json`` (COCO, CVAT), ``train/_annotations.coco.json``
(Roboflow), ``result.json`` (Label Studio). Annotations have no order, so foreground is the union of
its shapes. A crowd (``iscrowd``) is foreground like any other: annotation tools use the flag to say
that a shape is run-length encoded. Several polygons of one annotation are its parts; holes are only
possible in run-length encodings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from skyseg.data import tables
from skyseg.data.formats.annotations import (
    ClassName,
    Coordinate,
    Count,
    FileName,
    Id,
    Runs,
    Shape,
    Shapes,
    Side,
    checked_runs,
    polygon,
    uncompressed,
)
from skyseg.data.formats.samples import AnnotatedFolder, Found, LayoutError, Sample, first, split_of
from skyseg.errors import UserError


class _Section(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Image(_Section):
    id: Id
    file_name: FileName
    width: Side | None = None
    height: Side | None = None


class _Category(_Section):
    id: Id
    name: ClassName


class _Rle(_Section):
    counts: list[Count] | str
    size: tuple[Side, Side]


class _Annotation(_Section):
    id: Id | None = None
    image_id: Id
    category_id: Id
    segmentation: list[list[Coordinate]] | list[Coordinate] | _Rle | None = None


class _File(_Section):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def read(root: Path) -> Found:
    """All photographs that the annotation files of a folder list, those without shapes too.

    Raises:
        LayoutError: there is no such file.
        UserError: one is damaged, or names a photograph that is not there.
    """
    known = AnnotatedFolder(root, ".json")
    contents: dict[Path, str] = {}
    guessed: dict[Path, list[str]] = {}
    for path in known.files:
        remarks: list[str] = []
        text = tables.read_text(path, tables.MOST_ANNOTATION_BYTES, remarks)
        if '"images"' in text and '"annotations"' in text:
            contents[path], guessed[path] = text, remarks
    chosen = _chosen(list(contents))
    if not chosen:
        raise LayoutError(f"{root}/: no COCO annotations (a .json file)")
    samples: list[Sample] = []
    notes = []
    if left := [path for path in contents if path not in chosen]:
        notes.append(f"{first(left)}: not used; {chosen[0].name} describes the shapes")
    for path in chosen:
        found = _read_file(path, contents[path], known)
        samples += found.samples
        notes += guessed[path] + found.notes
    return Found(samples, notes)


def _chosen(paths: list[Path]) -> list[Path]:
    """Those with instances. COCO has files of captions and of keypoints for the same images."""
    for fits in ("_annotations.coco", "instances"):
        if some := [path for path in paths if path.stem.startswith(fits)]:
            return some
    others = ("captions", "person_keypoints", "image_info", "panoptic")
    return [path for path in paths if not path.stem.startswith(others)]


def _read_file(path: Path, text: str, known: AnnotatedFolder) -> Found:
    try:
        content = _File.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        # Without the names of the alternatives that pydantic has tried.
        where = ".".join(str(part) for part in problem["loc"] if "[" not in str(part))
        raise UserError(
            f"{path}: not COCO annotations: {where + ': ' if where else ''}{problem['msg']}; "
            "export it again"
        ) from None
    names = {category.id: category.name for category in content.categories}
    images = {image.id: image for image in content.images}
    for kind, unique, given in (
        ("images", images, content.images),
        ("categories", names, content.categories),
    ):
        if len(unique) < len(given):
            raise UserError(f"{path}: two {kind} have the same id; export it again")
    shapes: dict[int | str, list[Shape]] = {image.id: [] for image in content.images}
    boxes = degenerate = 0
    for number, annotation in enumerate(content.annotations):
        where = f"{path}: annotation {annotation.id if annotation.id is not None else number}"
        if annotation.image_id not in images or annotation.category_id not in names:
            kind = "image" if annotation.image_id not in images else "category"
            raise UserError(f"{where}: its {kind} is not in the file; export it again")
        if not annotation.segmentation:
            boxes += 1
            continue
        image = images[annotation.image_id]
        parts = _parts(annotation.segmentation, image, where)
        degenerate += not parts
        if parts:
            shapes[image.id].append(Shape(names[annotation.category_id], parts))
    if boxes:
        raise UserError(
            f"{path}: {boxes:,} of {len(content.annotations):,} annotations have a box and no "
            "outline (segmentation); export polygons or masks, or remove them"
        )
    folder = path.parent.name if path.parent != known.root else ""
    split = split_of(path.stem) or split_of(folder)
    samples = [
        known.sample(
            known.picture(image.file_name, path, split),
            path,
            split,
            Shapes(image.width, image.height, tuple(shapes[image.id]), layered=False),
        )
        for image in content.images
    ]
    left = f"{path}: {degenerate:,} annotations with fewer than 3 points cover nothing"
    return Found(samples, [left] if degenerate else [])


def _parts(
    segmentation: list[list[float]] | list[float] | _Rle, image: _Image, where: str
) -> tuple[np.ndarray | Runs, ...]:
    """The parts of an annotation that cover anything."""
    if isinstance(segmentation, _Rle):
        height, width = segmentation.size
        counts = (
            uncompressed(segmentation.counts, where)
            if isinstance(segmentation.counts, str)
            else np.array(segmentation.counts, np.int64)
        )
        if None not in (image.width, image.height) and (width, height) != (
            image.width,
            image.height,
        ):
            raise UserError(
                f"{where}: {width}x{height} pixels, but its image has "
                f"{image.width}x{image.height}; export it again"
            )
        return (checked_runs(Runs(0, 0, width, height, counts, by_columns=True), where),)
    flat = [segmentation] if isinstance(segmentation[0], float) else segmentation
    polygons = []
    for numbers in flat:
        assert isinstance(numbers, list)
        if len(numbers) % 2:
            raise UserError(f"{where}: an odd number of coordinates; export it again")
        if len(numbers) >= 6:
            polygons.append(polygon(zip(numbers[::2], numbers[1::2], strict=True)))
    return tuple(polygons)
