"""Corrected masks that wait to join the data set: the app saves them, a command accepts them.

An entry is a folder ``inbox/NAME/`` with the photograph as it was uploaded (``photo.jpg``), its
mask (``mask.png``, 0 and 255) and ``provenance.json``.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg.data import decoder, pictures
from skyseg.data.folders import list_folder
from skyseg.data.formats import find_samples
from skyseg.data.mask_meaning import infer_encoding
from skyseg.data.mask_stats import count_values
from skyseg.data.masks import Encoding
from skyseg.errors import UserError
from skyseg.files import atomic_write, sha256, write_text
from skyseg.params import DataParams

FOLDER = "inbox"
SAMPLED_MASKS = 64  # masks of the data set that are read to find out their encoding


class Entry(NamedTuple):
    name: str
    photo: Path
    mask: Path
    provenance: dict[str, Any]


def save(
    root: Path, photo: bytes, mask: NDArray[np.uint8], title: str, provenance: dict[str, Any]
) -> str:
    """Add an entry.

    Args:
        root: the workspace.
        photo: the photograph's file, as it was uploaded.
        mask: uint8 [H, W], 0 or 255, at the photograph's upright size.
        title: the photograph's file name; the entry's name begins with it.
        provenance: where the mask comes from; ``created`` (ISO 8601, UTC) and the photograph's
            ``sha256`` are added.

    Returns:
        The entry's name.

    Raises:
        UserError: the photograph cannot be read, the mask does not fit it, or the folder cannot be
            written.
    """
    picture = decoder.decode(photo, title)
    height, width = picture.pixels.shape[:2]
    if (height, width) != mask.shape:
        raise UserError(
            f"{title}: {width}x{height} pixels, but the mask has {mask.shape[1]}x{mask.shape[0]}"
        )
    now = datetime.now(UTC)
    stem = re.sub(r"[^0-9A-Za-z]+", "-", Path(title).stem).strip("-").lower()[:40] or "photo"
    name = _unused_name(f"{stem}-{now:%Y%m%dT%H%M%S}", lambda name: (root / FOLDER / name).exists())
    suffix = pictures.FILE_FORMATS[picture.format][0]
    try:
        with atomic_write(root / FOLDER / name) as temporary:
            temporary.mkdir()
            (temporary / f"photo{suffix}").write_bytes(photo)
            Image.fromarray(mask).save(temporary / "mask.png")
            write_text(
                temporary / "provenance.json",
                json.dumps(
                    provenance
                    | {
                        "created": now.isoformat(timespec="seconds"),
                        "sha256": sha256(next(temporary.glob("photo.*"))),
                    },
                    indent=2,
                )
                + "\n",
            )
    except PermissionError as error:
        raise _unwritable(error, root / FOLDER) from None
    return name


def entries(root: Path) -> list[Entry]:
    """The entries of the inbox, sorted by name.

    Raises:
        UserError: an entry lacks a file, or its provenance is not JSON.
    """
    return [_read(root, name) for name in _names(root)]


def accept(root: Path, names: Iterable[str], data: DataParams) -> list[Path]:
    """Move entries into the data set; all are checked before the first one is moved.

    Args:
        root: the workspace.
        names: of the entries.
        data: the data set's format, and what its mask values mean; accepted masks are written in
            the same encoding.

    Returns:
        The photographs' new paths. Mask and provenance have the same stem, in ``data/masks/`` and
        ``data/provenance/``.

    Raises:
        UserError: the data set is not in format pairs; there is no such entry; a photograph or
            mask cannot be read, or their sizes differ; the photograph is already in the data set.
    """
    if data.format != "pairs":
        raise UserError(
            f"data.format is {data.format}, but photographs can be accepted only into a data set "
            f"of format pairs; copy them from {root / FOLDER}/ into your data set by hand"
        )
    waiting = [_checked(_read(root, name)) for name in dict.fromkeys(names)]
    folder = root / "data"
    encoding = _encoding(folder, data)
    _refuse_duplicates(folder, waiting)
    taken = _stems(folder)
    return [_move(entry, folder, encoding, taken) for entry in waiting]


def _names(root: Path) -> list[str]:
    """The folders of the inbox, without those still being written, which begin with a dot."""
    folder = root / FOLDER
    return (
        sorted(
            path.name
            for path in folder.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )
        if folder.is_dir()
        else []
    )


def _read(root: Path, name: str) -> Entry:
    names = _names(root)
    if name not in names:
        raise UserError(
            f"{name}: not in {root / FOLDER}/, which contains {', '.join(names) or 'nothing'}"
        )
    folder = root / FOLDER / name
    photos, mask = list(folder.glob("photo.*")), folder / "mask.png"
    if len(photos) != 1 or not mask.is_file():
        raise UserError(
            f"{folder}/: needs one photograph (photo.*) and mask.png; complete or remove the entry"
        )
    try:
        provenance = json.loads(pictures.read_bytes(folder / "provenance.json"))
    except ValueError:
        raise UserError(
            f"{folder}/provenance.json: not JSON; correct or remove the entry"
        ) from None
    return Entry(name, photos[0], mask, provenance)


def _checked(entry: Entry) -> Entry:
    image, mask = pictures.read(entry.photo).pixels, _read_mask(entry.mask)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{entry.mask}: {mask.shape[1]}x{mask.shape[0]} pixels, but the photograph "
            f"has {image.shape[1]}x{image.shape[0]}; correct or remove the entry"
        )
    return entry


def _read_mask(path: Path) -> NDArray[np.uint8]:
    image, _ = pictures.open_upright(pictures.read_bytes(path), str(path))
    mask = np.asarray(image)
    if image.mode != "L" or not np.isin(mask, (0, 255)).all():
        raise UserError(f"{path}: not an 8-bit grey PNG of 0 and 255; correct or remove the entry")
    return mask


def _encoding(folder: Path, data: DataParams) -> Encoding:
    """The encoding of the data set's masks, inferred from some of them."""
    if not folder.is_dir():
        return Encoding(kind="0/255", threshold=128, invert=data.invert)
    samples = find_samples(folder, "pairs")
    some = samples[:: -(-len(samples) // SAMPLED_MASKS)]
    return infer_encoding([count_values(sample.mask, data) for sample in some], data)[0]


def _refuse_duplicates(folder: Path, waiting: list[Entry]) -> None:
    """Refuse duplicate photographs: they could get into two splits, which prepare refuses."""
    sizes: dict[int, list[Path]] = {}
    for path in list_folder(folder).files if folder.is_dir() else ():
        sizes.setdefault(path.stat().st_size, []).append(path)
    for entry in waiting:
        same_size = sizes.setdefault(entry.photo.stat().st_size, [])
        for path in same_size:
            if sha256(path) == sha256(entry.photo):
                raise UserError(
                    f"{entry.name}: the same photograph already exists, {path}; to keep the new "
                    f"mask, copy {entry.mask} over the old one; then remove the entry"
                )
        same_size.append(entry.photo)


def _stems(folder: Path) -> set[str]:
    return {path.stem for part in ("images", "masks") for path in (folder / part).glob("*")}


def _unused_name(name: str, taken: Any) -> str:
    number, unused = 1, name
    while taken(unused):
        number += 1
        unused = f"{name}-{number}"
    return unused


def _move(entry: Entry, folder: Path, encoding: Encoding, taken: set[str]) -> Path:
    """Move an entry. Photograph last: after an interruption, prepare reports the lone mask."""
    name = _unused_name(entry.name, taken.__contains__)
    taken.add(name)
    buffer = io.BytesIO()
    _encode(_read_mask(entry.mask) > 0, encoding).save(buffer, "PNG")
    photo = folder / "images" / (name + entry.photo.suffix)
    for path, content in (
        (
            folder / "provenance" / f"{name}.json",
            (json.dumps(entry.provenance, indent=2) + "\n").encode(),
        ),
        (folder / "masks" / f"{name}.png", buffer.getvalue()),
        (photo, entry.photo.read_bytes()),
    ):
        try:
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
        except PermissionError as error:
            raise _unwritable(error, folder) from None
    shutil.rmtree(entry.photo.parent)
    return photo


def _unwritable(error: PermissionError, folder: Path) -> UserError:
    return UserError(
        f"{error.filename}: cannot be written ({error.strerror}); make {folder}/ writable"
    )


def _encode(foreground: NDArray[np.bool_], encoding: Encoding) -> Image.Image:
    """A mask as an image in the given encoding."""
    marked = foreground != encoding.invert
    if encoding.kind == "index":
        other = next(
            value for value in range(256) if value not in (*encoding.foreground, *encoding.ignore)
        )
        index = encoding.foreground[0]
        return Image.fromarray(
            np.where(marked, index, other).astype(np.uint16 if index > 255 else np.uint8)
        )
    if encoding.kind == "0/1":
        return Image.fromarray(marked.astype(np.uint8))
    white = Image.fromarray(marked.astype(np.uint8) * np.uint8(255))
    return Image.merge("LA", (white, white)) if encoding.kind == "alpha" else white
