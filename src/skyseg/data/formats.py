"""How data sets are laid out on disk: one row of ``FORMATS`` and one reader per format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skyseg.data.pictures import list_pictures
from skyseg.errors import UserError

SPLIT_NAMES = {
    "train": "train", "training": "train", "tr": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test", "te": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One photograph and its mask, as found on disk."""

    id: str
    """Path of the image inside its part of the data set, without suffix: 'a', 'train/a'."""
    image: Path
    mask: Path
    split: str | None
    """'train', 'val' or 'test' if the data set defines it."""


@dataclass(frozen=True)
class Format:
    read: Callable[[Path], list[Sample]]
    layout: str
    """One line that says what the folder must contain; used in error messages."""
    index: bool = False
    """Masks hold class indices, so `data.foreground` must be set."""


def find_samples(root: Path, format: str) -> list[Sample]:
    """All samples of a data set, sorted by id; ids are unique.

    Raises:
        UserError: the folder does not exist, is empty or has another layout; an image has no mask,
            or a mask no image; two files have the same stem; or a listed file does not exist.
    """
    row = FORMATS[format]
    if not root.is_dir():
        raise UserError(f"{root}/: no such folder; format {format} expects {row.layout}")
    samples = row.read(root)
    if not samples:
        raise UserError(f"{root}/: contains no images; format {format} expects {row.layout}")
    _check_unique(samples)
    return sorted(samples, key=lambda sample: sample.id)


def find_photographs(root: Path) -> dict[str, Path]:
    """Photographs without masks, by id: those in ``root/images`` if it exists, else in ``root``.

    Raises:
        UserError: the folder does not exist or is empty, or two files have the same stem.
    """
    folder = root / "images" if (root / "images").is_dir() else root
    found = dict(sorted(_by_stem(folder).items()))
    if not found:
        raise UserError(f"{folder}/: contains no images")
    return found


def has_masks(root: Path) -> bool:
    """Whether a folder in the ``pairs`` layout has a folder of masks, for any of its splits."""
    return any((folder / "masks").is_dir() for folder in (root, *_subfolders(root)))


def other_format(root: Path) -> str | None:
    """The format other than ``pairs`` that a folder is laid out in, or None."""
    for name, row in FORMATS.items():
        with suppress(UserError):
            if name != "pairs" and row.read(root):
                return name
    return None


def _read_pairs(root: Path) -> list[Sample]:
    found = [
        folder
        for folder in (root, *_subfolders(root))
        if (folder / "images").is_dir() and (folder == root or folder.name in SPLIT_NAMES)
    ]
    if not found:
        raise _layout_error(root, "pairs")
    samples = []
    for folder in found:
        prefix = "" if folder == root else f"{folder.name}/"
        for stem, image, mask in _pair(folder / "images", folder / "masks"):
            # images/train/a.jpg means the same as train/images/a.jpg.
            split = SPLIT_NAMES.get((prefix + stem).split("/")[0]) if "/" in prefix + stem else None
            samples.append(Sample(prefix + stem, image, mask, split))
    return samples


def _read_camvid(root: Path) -> list[Sample]:
    lists = _lists(root)
    if not lists:
        raise _layout_error(root, "camvid")
    samples = []
    for split, path in lists.items():
        for number, line in _lines(path):
            columns = line.split()
            if len(columns) != 2:
                raise UserError(
                    f"{path}: line {number} should name an image and its mask, found {line!r}"
                )
            # Only the folder and the file name matter: published lists begin with /SegNet/CamVid/.
            image, mask = (root.joinpath(*Path(column).parts[-2:]) for column in columns)
            samples.append(Sample(f"{image.parent.name}/{image.stem}", image, mask, split))
    _check_exist([file for sample in samples for file in (sample.image, sample.mask)], lists)
    return samples


def _read_duts(root: Path) -> list[Sample]:
    folders = [
        folder
        for parent in (root, *_subfolders(root))
        for folder in _subfolders(parent)
        if folder.name.endswith("-Image")
    ]
    if not folders:
        raise _layout_error(root, "duts")
    samples = []
    for folder in folders:
        name = folder.name.removesuffix("-Image")  # DUTS-TR
        split = SPLIT_NAMES.get(name.split("-")[-1].lower())
        samples += [
            Sample(f"{name}/{stem}", image, mask, split)
            for stem, image, mask in _pair(folder, folder.with_name(f"{name}-Mask"))
        ]
    return samples


def _read_voc(root: Path) -> list[Sample]:
    lists = _lists(root / "ImageSets" / "Segmentation")
    if not lists:
        raise _layout_error(root, "voc")
    # JPEGImages also holds many images without masks: the lists say which to use.
    images = _by_stem(root / "JPEGImages")
    masks = _by_stem(root / "SegmentationClass")
    samples, missing = [], []
    for split, path in lists.items():
        for _, stem in _lines(path):
            image = images.get(stem, root / "JPEGImages" / f"{stem}.jpg")
            mask = masks.get(stem, root / "SegmentationClass" / f"{stem}.png")
            missing += [file for file in (image, mask) if not file.exists()]
            samples.append(Sample(stem, image, mask, split))
    _check_exist(missing, lists)
    return samples


def _read_ade20k(root: Path) -> list[Sample]:
    folders = _subfolders(root / "images")
    if not folders:
        raise _layout_error(root, "ade20k")
    return [
        Sample(f"{folder.name}/{stem}", image, mask, SPLIT_NAMES.get(folder.name))
        for folder in folders
        for stem, image, mask in _pair(folder, root / "annotations" / folder.name)
    ]


FORMATS: dict[str, Format] = {
    "pairs": Format(
        _read_pairs,
        "images/ and masks/ with matching file names (suffixes may differ), "
        "optionally each under train/, val/ and test/",
    ),
    "camvid": Format(
        _read_camvid,
        "train.txt, val.txt, test.txt with an image and a mask per line, "
        "and the folders they name, such as train/ and trainannot/",
        index=True,
    ),
    "duts": Format(
        _read_duts,
        "pairs of folders such as DUTS-TR/DUTS-TR-Image/ and "
        "DUTS-TR/DUTS-TR-Mask/ (TR: train, VAL: val, TE: test)",
    ),
    "voc": Format(
        _read_voc,
        "JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/train.txt, val.txt, test.txt",
        index=True,
    ),
    "ade20k": Format(
        _read_ade20k,
        "images/training/, annotations/training/ and the same for validation",
        index=True,
    ),
}


def _pair(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    """(stem, image, mask) for every image of a folder; an error if either is missing."""
    if not masks.is_dir():
        raise UserError(f"{masks}/: no such folder, but {images}/ exists; put the masks there")
    left, right = _by_stem(images), _by_stem(masks)
    if alone := sorted(left.keys() - right.keys()):
        raise UserError(
            f"{_first([left[stem] for stem in alone])}: an image without a mask; "
            f"add {masks / alone[0]}.png or remove the image"
        )
    if alone := sorted(right.keys() - left.keys()):
        raise UserError(
            f"{_first([right[stem] for stem in alone])}: a mask without an image; "
            f"add {images / alone[0]}.jpg or remove the mask"
        )
    return [(stem, left[stem], right[stem]) for stem in sorted(left)]


def _by_stem(folder: Path) -> dict[str, Path]:
    """Picture files anywhere in a folder, by relative path without suffix: 'sequence/0001'."""
    files: dict[str, Path] = {}
    for path in list_pictures(folder) if folder.is_dir() else ():
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise UserError(
                f"{files[stem]} and {path.name}: two files with the same stem; remove or rename one"
            )
        files[stem] = path
    return files


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _lists(folder: Path) -> dict[str, Path]:
    """Those of train.txt, val.txt and test.txt that exist, by split."""
    paths = {split: folder / f"{split}.txt" for split in ("train", "val", "test")}
    return {split: path for split, path in paths.items() if path.is_file()}


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file; it should list file names") from None
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _check_exist(files: Iterable[Path], lists: dict[str, Path]) -> None:
    if missing := [path for path in files if not path.is_file()]:
        names = ", ".join(path.name for path in lists.values())
        raise UserError(
            f"{_first(missing)}: listed in {names} but missing; add the file or remove its line"
        )


def _check_unique(samples: list[Sample]) -> None:
    seen: dict[str, Sample] = {}
    for sample in samples:
        other = seen.setdefault(sample.id, sample)
        if other is not sample:
            where = (
                f"listed for {other.split} and for {sample.split}"
                if other.image == sample.image
                else f"has the same id as {other.image}"
            )
            raise UserError(f"{sample.image}: {where}; keep one of the two")


def _first(paths: list[Path]) -> str:
    """'a.png' or 'a.png (and 3 more)'."""
    return f"{paths[0]}" + (f" (and {len(paths) - 1} more)" if len(paths) > 1 else "")


def _layout_error(root: Path, format: str) -> UserError:
    return UserError(
        f"{root}/: not laid out as data.format: {format}, which expects {FORMATS[format].layout}"
    )
