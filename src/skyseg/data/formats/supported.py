"""How data sets are laid out on disk: one row of ``FORMATS`` per format.

``layouts`` reads those whose masks are pictures; ``coco``, ``labelme`` and ``cvat`` those whose
masks are shapes in annotation files, from which ``with_mask_files`` draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from skyseg.data.formats import coco, cvat, labelme, layouts
from skyseg.data.formats.annotations import check_extent, class_codes, draw
from skyseg.data.formats.layouts import subfolders
from skyseg.data.formats.samples import Found, LayoutError, Sample, by_stem, first
from skyseg.data.parallel import in_order
from skyseg.data.pictures import codec
from skyseg.data.pictures.folders import describe, list_folder
from skyseg.errors import UserError
from skyseg.params import IGNORE, DataParams


@dataclass(frozen=True)
class Format:
    read: Callable[[Path], Found]
    layout: str
    """One line that says what the folder must contain; used in error messages."""
    index: bool = False
    """Masks hold class indices, so `data.foreground` must be set."""
    upright: bool = False
    """The tool shows photographs as EXIF turns them, so masks certainly fit."""


class Drawn(NamedTuple):
    """Samples whose masks are pictures."""

    samples: list[Sample]
    meaning: DataParams
    """What their mask values mean."""
    said: str
    """Which classes the masks were drawn from, to begin a sentence with; may be empty."""


def find(root: Path, format: str) -> Found:
    """All samples of a data set, sorted by id, and messages for the user; ids are unique.

    Raises:
        UserError: the folder does not exist, is empty or has another layout; an image has no mask,
            or a mask no image; two files have the same stem; a listed file does not exist, or an
            annotation file is damaged.
    """
    row = FORMATS[format]
    if not root.is_dir():
        raise UserError(f"{root}/: no such folder; format {format} expects {row.layout}")
    try:
        samples, notes = row.read(root)
    except LayoutError as error:
        other = other_format(root, besides=format)
        raise UserError(
            f"{error}: not laid out as data.format: {format}, which expects {row.layout}; "
            + (f"this looks like data.format: {other}" if other else _content(root))
        ) from None
    if not samples:
        raise UserError(f"{root}/: contains no images; format {format} expects {row.layout}")
    _check_unique(samples)
    samples.sort(key=lambda sample: sample.id)
    return Found(samples, [*notes, *_unused(root, samples)])


def find_samples(root: Path, format: str) -> list[Sample]:
    """The samples that ``find`` finds."""
    return find(root, format).samples


def with_mask_files(
    samples: list[Sample], folder: Path, data: DataParams, known: list[Sample] | None = None
) -> Drawn:
    """Samples whose masks are pictures: masks of shapes are drawn into ``folder``.

    Args:
        samples: of one data set.
        folder: masks become ``folder/ID.png``, valued 0 background, 1 foreground, 255 ignore.
            Photographs that are inside annotation files are written beside it. The mask of a
            photograph that cannot be read is a single pixel.
        data: names the classes.
        known: the whole data set, if ``samples`` are a part; a class may be missing in a part.

    Returns:
        The samples and the settings, both unchanged if no sample has shapes.

    Raises:
        UserError: a class is not named or does not exist, or a photograph has not the size at which
            it was annotated.
    """
    everything = [sample.shapes for sample in known or samples if sample.shapes]
    if not everything:
        return Drawn(samples, data, "")
    codes = class_codes(everything, data)

    def drawn(sample: Sample) -> Sample:
        assert sample.shapes
        image = sample.image
        if sample.embedded:
            image = _extracted(sample, folder.parent / "photographs")
        where = f"{sample.mask}: {image.name}"
        size = _size(image, sample)
        mask = np.zeros((1, 1), np.uint8)
        if size:
            check_extent(sample.shapes, size, where)
            mask = draw(sample.shapes, codes, size)
        path = folder / f"{sample.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
        return Sample(sample.id, image, path, sample.split)

    ignore = [IGNORE] if data.ignore else []
    meaning = DataParams(foreground=[1], ignore=ignore, invert=data.invert)
    said = f"shapes called {', '.join(map(str, data.foreground or []))} are foreground"
    if data.ignore:
        said += f", {', '.join(map(str, data.ignore))} ignored"
    return Drawn(list(in_order(drawn, samples, "drawing masks")), meaning, f"{said}; ")


def find_photographs(root: Path) -> dict[str, Path]:
    """Photographs without masks, by id: those in ``root/images`` if it exists, else in ``root``.

    Raises:
        UserError: the folder does not exist or is empty, or two files have the same stem.
    """
    folder = root / "images" if (root / "images").is_dir() else root
    found = dict(sorted(by_stem(folder).items()))
    if not found:
        raise UserError(f"{folder}/: contains no images")
    return found


def has_masks(root: Path) -> bool:
    """Whether a folder in the ``pairs`` layout has a folder of masks, for any of its splits."""
    return any((folder / "masks").is_dir() for folder in (root, *subfolders(root)))


def other_format(root: Path, besides: str = "pairs") -> str | None:
    """The format, other than the given one, that a folder is laid out in, or None."""
    for name, row in FORMATS.items():
        with suppress(UserError):
            if name != besides and row.read(root).samples:
                return name
    return None


FORMATS: dict[str, Format] = {
    "pairs": Format(
        layouts.read_pairs,
        "images/ and masks/ with matching file names (suffixes may differ), "
        "optionally each under train/, val/ and test/",
    ),
    "camvid": Format(
        layouts.read_camvid,
        "train.txt, val.txt, test.txt with an image and a mask per line, "
        "and the folders they name, such as train/ and trainannot/",
        index=True,
    ),
    "duts": Format(
        layouts.read_duts,
        "pairs of folders such as DUTS-TR/DUTS-TR-Image/ and "
        "DUTS-TR/DUTS-TR-Mask/ (TR: train, VAL: val, TE: test)",
    ),
    "voc": Format(
        layouts.read_voc,
        "JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/train.txt, val.txt, test.txt",
        index=True,
    ),
    "ade20k": Format(
        layouts.read_ade20k,
        "images/training/, annotations/training/ and the same for validation",
        index=True,
    ),
    "coco": Format(
        coco.read,
        "photographs and COCO annotations of them, such as annotations/instances_train.json or "
        "train/_annotations.coco.json",
    ),
    "labelme": Format(
        labelme.read,
        "photographs and a LabelMe .json file for each, optionally under train/, val/ and test/",
        upright=True,
    ),
    "cvat": Format(
        cvat.read,
        "photographs and annotations.xml, as CVAT exports them in 'CVAT for images 1.1'",
        upright=True,
    ),
}


def _check_unique(samples: list[Sample]) -> None:
    seen: dict[str, Sample] = {}
    for sample in samples:
        other = seen.setdefault(sample.id, sample)
        if other is not sample:
            where = f"has the same id as {other.image}"
            if other.image == sample.image:
                where = f"listed for {other.split} and for {sample.split}"
                if sample.shapes:
                    where = f"annotated in {other.mask} and in {sample.mask}"
            raise UserError(f"{sample.image}: {where}; keep one of the two")


def _extracted(sample: Sample, folder: Path) -> Path:
    """Write a photograph that is inside its LabelMe file."""
    content = labelme.embedded_picture(sample.image)
    image, _ = codec.open_upright(content, f"{sample.image}: its imageData")
    suffix = codec.FILE_FORMATS[image.format or "PNG"][0]
    path = folder / f"{sample.id}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _size(image: Path, sample: Sample) -> tuple[int, int] | None:
    """Width and height of a photograph, upright; None if it cannot be read, which decoding it
    reports.

    Raises:
        UserError: it was annotated at another size.
    """
    assert sample.shapes
    try:
        width, height = codec.upright_size(codec.read_bytes(image))
    except Exception:  # of any type
        return None
    annotated = (sample.shapes.width or width, sample.shapes.height or height)
    if annotated != (width, height):
        turned = annotated == (height, width)
        raise UserError(
            f"{sample.mask}: annotated at {annotated[0]}x{annotated[1]} pixels, but {image} "
            f"has {width}x{height}"
            + (" when EXIF turns it upright" if turned else "")
            + "; annotate it again, or use the photograph that was annotated"
        )
    return width, height


def _unused(root: Path, samples: list[Sample]) -> list[str]:
    """A line about pictures that belong to no sample, and one about other files left out."""
    used = {path for sample in samples for path in (sample.image, sample.mask)}
    files, left_out = list_folder(root)
    if left := [path for path in files if path not in used]:
        real = {path.resolve() for path in used}  # a file may be reached by several links
        left = [path for path in left if path.resolve() not in real]
    notes = [f"{first(left)}: not part of the data set, so not used"] if left else []
    # Tables, lists and annotations are used; a folder may be reached by several links.
    shown = [each for each in left_out if each.reason not in ("side", "again")]
    return [*notes, describe(root, shown)] if shown else notes


def _content(root: Path) -> str:
    """'found a/, b.txt': the first few entries of a folder."""
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"found {', '.join(names[:6])}{more}" if names else "it is empty"
