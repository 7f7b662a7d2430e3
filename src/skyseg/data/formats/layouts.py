"""Reads data sets whose masks are pictures: one function per layout, and what they share."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from skyseg.data.formats.samples import (
    SPLIT_NAMES,
    Found,
    LayoutError,
    Sample,
    by_stem,
    first,
    stem_of,
)
from skyseg.data.tables import entry_parts, read_lines, without_suffix
from skyseg.errors import UserError

# What tools add to the name of a photograph to name its mask, and the other way round.
DECORATION = re.compile(
    r"^(masks?|gt|labels?|seg)[-_. ]+"
    r"|[-_. ]+(masks?|gt|ground[-_ ]?truth|labels?|labelids|seg|segmentation|annotations?|matte"
    r"|alpha|bin(ary)?|l|p|image|img|photo|rgb|sat)$"
)
MASK_FOLDERS = {
    "mask", "label", "labels", "gt", "groundtruth", "ground_truth", "annotation", "annotations",
    "annots", "seg", "segmentation", "segmentations", "alpha", "matte", "mattes",
}  # fmt: skip


def read_pairs(root: Path) -> Found:
    folders = [folder for folder in (root, *subfolders(root)) if (folder / "images").is_dir()]
    found = [each for each in folders if each == root or each.name.lower() in SPLIT_NAMES]
    if not found:
        raise LayoutError(f"{root}/: no folder images/")
    samples = []
    for folder in found:
        prefix = "" if folder == root else f"{folder.name}/"
        for stem, image, mask in _pair(folder / "images", folder / "masks"):
            id = prefix + stem
            # images/train/a.jpg means the same as train/images/a.jpg.
            split = SPLIT_NAMES.get(id.split("/")[0].lower()) if "/" in id else None
            samples.append(Sample(id, image, mask, split))
    return Found(samples, [])


def read_camvid(root: Path) -> Found:
    lists = _lists(root)
    notes: list[str] = []
    if not lists:
        raise LayoutError(f"{root}/: no train.txt, val.txt or test.txt")
    samples, missing = [], []
    for split, path in lists.items():
        for number, line in read_lines(path, notes):
            columns = _columns(line)
            where = f"{path}: line {number}"
            if len(columns) != 2:
                raise UserError(f"{where} should name an image and its mask, found {line!r}")
            # Only the folder and the file name matter: published lists begin with /SegNet/CamVid/.
            image, mask = (
                _existing(root.joinpath(*entry_parts(column, where)[-2:])) for column in columns
            )
            missing += [(file, where) for file in (image, mask) if not file.is_file()]
            id = stem_of(image, root)
            samples.append(Sample(id, image, mask, split))
    _check_listed(missing)
    return Found(samples, notes)


def read_duts(root: Path) -> Found:
    folders = [
        folder
        for parent in (root, *subfolders(root))
        for folder in subfolders(parent)
        if folder.name.endswith("-Image")
    ]
    if not folders:
        raise LayoutError(f"{root}/: no folder *-Image/")
    samples = []
    for folder in folders:
        name = folder.name.removesuffix("-Image")  # DUTS-TR
        split = SPLIT_NAMES.get(name.split("-")[-1].lower())
        samples += [
            Sample(f"{name}/{stem}", image, mask, split)
            for stem, image, mask in _pair(folder, folder.with_name(f"{name}-Mask"))
        ]
    return Found(samples, [])


def read_voc(root: Path) -> Found:
    lists = _lists(root / "ImageSets" / "Segmentation")
    notes: list[str] = []
    if not lists:
        raise LayoutError(f"{root}/: no ImageSets/Segmentation/train.txt, val.txt or test.txt")
    # JPEGImages also holds many images without masks: the lists say which to use.
    images = by_stem(root / "JPEGImages")
    masks = by_stem(root / "SegmentationClass")
    samples, missing = [], []
    for split, path in lists.items():
        for number, line in read_lines(path, notes):
            where = f"{path}: line {number}"
            stem = "/".join(entry_parts(line, where))
            stem = stem if stem in images else without_suffix(stem)
            image = images.get(stem, root / "JPEGImages" / f"{stem}.jpg")
            mask = masks.get(stem, root / "SegmentationClass" / f"{stem}.png")
            missing += [(file, where) for file in (image, mask) if not file.is_file()]
            samples.append(Sample(stem, image, mask, split))
    _check_listed(missing)
    return Found(samples, notes)


def read_ade20k(root: Path) -> Found:
    folders = subfolders(root / "images")
    if not folders or not (root / "annotations").is_dir():
        raise LayoutError(f"{root}/: no folders images/training/ and annotations/training/")
    samples = [
        Sample(f"{folder.name}/{stem}", image, mask, SPLIT_NAMES.get(folder.name.lower()))
        for folder in folders
        for stem, image, mask in _pair(folder, root / "annotations" / folder.name)
    ]
    return Found(samples, [])


def _pair(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """(stem, image, mask) for every image of a folder; an error if either is missing."""
    if not masks.is_dir():
        raise LayoutError(
            f"{masks}/: no such folder, but {images}/ exists; put the masks there"
            + _renamed_folder(masks)
        )
    left, right = by_stem(images), by_stem(masks)
    for these, those, what, fix in (
        (left, right, "an image without a mask", f"add {masks}/{{}}.png or remove the image"),
        (right, left, "a mask without an image", f"add {images}/{{}}.jpg or remove the mask"),
    ):
        if alone := sorted(these.keys() - those.keys()):
            advice = _alike(left, right) or fix.format(alone[0])
            raise UserError(
                f"{first([these[stem] for stem in alone])}: {what} ({len(alone):,} of "
                f"{len(these):,}); {advice}"
            )
    return [(stem, left[stem], right[stem]) for stem in sorted(left)]


def _alike(images: dict[str, Path], masks: dict[str, Path]) -> str | None:
    """Advice where the names of images and masks differ in one of the usual ways."""
    plain: dict[str, list[Path]] = {}
    for stem in masks.keys() - images.keys():
        plain.setdefault(_plain(stem), []).append(masks[stem])
    pairs = [
        (images[stem], plain[_plain(stem)][0])
        for stem in sorted(images.keys() - masks.keys())
        if len(plain.get(_plain(stem), ())) == 1
    ]
    if not pairs:
        return None
    image, mask = pairs[0]
    return (
        f"{mask} looks like the mask of {image} ({len(pairs):,} such pairs): give both the same "
        "name and place, except for the suffix"
    )


def _plain(stem: str) -> str:
    """A stem without its folders and without what tools add to names, in lower case."""
    name = without_suffix(stem.rpartition("/")[2]).casefold()
    while (shorter := DECORATION.sub("", name)) not in ("", name):
        name = without_suffix(shorter)
    return name


def _renamed_folder(masks: Path) -> str:
    """A hint where the folder of masks has another usual name."""
    names = [path.name for path in subfolders(masks.parent) if path.name.lower() in MASK_FOLDERS]
    return f": rename {names[0]}/ to {masks.name}/" if len(names) == 1 else ""


def subfolders(root: Path) -> list[Path]:
    """The folders in a folder, except hidden ones."""
    found = root.iterdir() if root.is_dir() else ()
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _lists(folder: Path) -> dict[str, Path]:
    """Those of train.txt, val.txt and test.txt that exist, by split."""
    paths = {split: folder / f"{split}.txt" for split in ("train", "val", "test")}
    return {split: path for split, path in paths.items() if path.exists()}


def _columns(line: str) -> list[str]:
    """The file names of a line: separated by a tab, a comma or spaces; quoted if they contain
    these."""
    for pattern in (r"\t+", r"\s*[,;]\s*", r"\s+", r"(?<=\.\w{3})\s+|(?<=\.\w{4})\s+"):
        columns = [column.strip("\"'") for column in re.split(pattern, line)]
        if len(columns) == 2:
            return columns
    return columns


def _existing(path: Path) -> Path:
    """The path, in the normal form in which its last two parts are on disk."""
    forms = (
        path.parent.parent
        / unicodedata.normalize(form, path.parent.name)
        / unicodedata.normalize(form, path.name)
        for form in ("NFC", "NFD")
    )
    return next((form for form in forms if form.is_file()), path)


def _check_listed(missing: list[tuple[Path, str]]) -> None:
    if missing:
        path, where = missing[0]
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(
            f"{path}{more}: listed in {where} but missing; add the file or remove its line"
        )
