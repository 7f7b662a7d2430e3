"""A sample of a data set: a photograph and its mask, or the shapes to draw its mask from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from skyseg.data.formats.annotations import Shapes
from skyseg.data.pictures.codec import SUFFIXES
from skyseg.data.pictures.folders import check_name, list_pictures
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
    """The mask, or the file that describes its shapes."""
    split: str | None
    """'train', 'val' or 'test' if the data set defines it."""
    shapes: Shapes | None = None
    """What to draw the mask from, if it is no picture: see ``formats.with_mask_files``."""
    embedded: bool = False
    """The photograph is inside the LabelMe file ``image``."""


class Found(NamedTuple):
    """What was found in a folder."""

    samples: list[Sample]
    notes: list[str]
    """Messages for the user: what was left out, and what was guessed."""


class LayoutError(UserError):
    """The folder is not laid out as the format expects."""


def split_of(name: str) -> str | None:
    """The split that a folder's or file's name contains as a word: 'instances_train2017'."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def split_of_folders(path: Path) -> str | None:
    """The split that one of the folders of a relative path is named after."""
    names = (SPLIT_NAMES.get(part.lower()) for part in path.parts[:-1])
    return next((name for name in names if name), None)


def by_stem(folder: Path) -> dict[str, Path]:
    """Picture files anywhere in a folder, by relative path without suffix, in NFC: 'sequence/0001'.

    Raises:
        UserError: two files have the same stem, or a name is not UTF-8.
    """
    files: dict[str, Path] = {}
    for path in list_pictures(folder) if folder.is_dir() else ():
        stem = stem_of(path, folder)
        if stem in files:
            raise UserError(
                f"{files[stem]} and {path.name}: two files with the same stem; remove or rename one"
            )
        files[stem] = path
    return files


def stem_of(path: Path, folder: Path) -> str:
    """A path below a folder, relative to it, without its suffix, in NFC.

    Raises:
        UserError: the name is not UTF-8.
    """
    check_name(path)
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())


def first(paths: list[Path]) -> str:
    """'a.png' or 'a.png (and 3 more)'."""
    return f"{paths[0]}" + (f" (and {len(paths) - 1} more)" if len(paths) > 1 else "")


class AnnotatedFolder:
    """The files below a folder, to find the photographs that annotations name.

    Annotations name them by the paths of the machine on which they were made. So a photograph is
    looked for by its file name, anywhere below the folder; where several have it, the one whose
    path agrees best is taken.
    """

    def __init__(self, root: Path, suffix: str) -> None:
        self.root = root
        self.files: list[Path] = []
        """The files with the suffix of annotations."""
        self._pictures: dict[str, list[Path]] = {}
        for path in list_pictures(root, frozenset({suffix})) if root.is_dir() else ():
            if path.suffix.lower() in SUFFIXES:
                self._pictures.setdefault(_key(path.name), []).append(path)
            else:
                self.files.append(path)

    def picture(self, name: str, source: Path, split: str | None = None) -> Path:
        """The photograph that an annotation calls ``name``.

        Args:
            name: a file name, or a path that ends with it.
            source: the annotation file.
            split: which its photographs are in, if known.

        Raises:
            UserError: there is none, or several fit equally well.
        """
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        found = self._pictures.get(_key(parts[-1])) if parts else None
        if not found:
            raise UserError(
                f"{source}: {name!r} is not in {self.root}/; add it, or remove its entry"
            )

        def agreement(path: Path) -> tuple[int, bool, int]:
            own = path.relative_to(self.root).parts
            near = source.parent.relative_to(self.root).parts
            return (
                _equal(reversed(own), reversed(parts)),
                split is not None and split in map(split_of, own[:-1]),
                _equal(own, near),
            )

        ranked = sorted(found, key=agreement, reverse=True)
        if len(ranked) > 1 and agreement(ranked[0]) == agreement(ranked[1]):
            raise UserError(
                f"{source}: {name!r} can be {ranked[0]} or {ranked[1]}; rename one of them, or "
                "name its folder"
            )
        return ranked[0]

    def beside(self, source: Path) -> Path | None:
        """The photograph of the same name as an annotation file, in its folder."""
        return next(
            (
                path
                for suffix in sorted(SUFFIXES)
                for path in self._pictures.get(_key(source.stem + suffix), ())
                if path.parent == source.parent
            ),
            None,
        )

    def sample(self, picture: Path, source: Path, split: str | None, shapes: Shapes) -> Sample:
        """A sample; its id is the photograph's path below the folder, without suffix and without a
        leading 'images/'. Folders named after a split say which it is in if nothing else does."""
        return Sample(
            stem_of(picture, self.root).removeprefix("images/"),
            picture,
            source,
            split or split_of_folders(picture.relative_to(self.root)),
            shapes,
        )


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _equal(one: Iterable[str], two: Iterable[str]) -> int:
    """How many parts agree from the start."""

    def leading() -> Iterator[int]:
        for left, right in zip(one, two, strict=False):
            if _key(left) != _key(right):
                return
            yield 1

    return sum(leading())
