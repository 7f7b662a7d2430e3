"""Corrected masks on their way into the data set: saved by the app, accepted on the command line.

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

from skyseg.data import pictures
from skyseg.data.formats import find_samples
from skyseg.data.mask_meaning import infer_encoding
from skyseg.data.mask_stats import count_values
from skyseg.data.masks import Encoding
from skyseg.errors import UserError
from skyseg.files import atomic_write, sha256, write_text
from skyseg.params import DataParams

FOLDER = "inbox"
LOOKED_AT = 64  # masks of the data set that say how its masks are written


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
        title: what the photograph's file was called; its name begins with it.
        provenance: what is known of the mask; ``created`` (ISO 8601, UTC) and the photograph's
            ``sha256`` are added.

    Returns:
        The entry's name.

    Raises:
        UserError: the photograph cannot be read, the mask does not fit it, or the folder cannot be
            written.
    """
    image, _ = pictures.open_upright(photo, title)
    if image.size != mask.shape[::-1]:
        raise UserError(
            f"{title}: {image.width}x{image.height} pixels, but the mask has "
            f"{mask.shape[1]}x{mask.shape[0]}"
        )
    now = datetime.now(UTC)
    stem = re.sub(r"[^0-9A-Za-z]+", "-", Path(title).stem).strip("-").lower()[:40] or "photo"
    name = _free(f"{stem}-{now:%Y%m%dT%H%M%S}", lambda name: (root / FOLDER / name).exists())
    suffix = pictures.FILE_FORMATS[image.format or "PNG"][0]
    try:
        with atomic_write(root / FOLDER / name) as aside:
            aside.mkdir()
            (aside / f"photo{suffix}").write_bytes(photo)
            Image.fromarray(mask).save(aside / "mask.png")
            write_text(
                aside / "provenance.json",
                json.dumps(
                    provenance
                    | {
                        "created": now.isoformat(timespec="seconds"),
                        "sha256": sha256(next(aside.glob("photo.*"))),
                    },
                    indent=2,
                )
                + "\n",
            )
    except PermissionError as error:
        raise _unwritable(error, root / FOLDER) from None
    return name


def entries(root: Path) -> list[Entry]:
    """What waits, sorted by name.

    Raises:
        UserError: an entry that lacks a file, or whose provenance is no JSON.
    """
    return [_read(root, name) for name in _names(root)]


def accept(root: Path, names: Iterable[str], data: DataParams) -> list[Path]:
    """Move entries into the data set; all of them are checked before the first one is moved.

    Args:
        root: the workspace.
        names: of the entries.
        data: the data set's format, and what its mask values mean: accepted masks are written as
            the others are.

    Returns:
        The photographs' new places. Masks have the same stem in ``data/masks/``, provenance in
        ``data/provenance/``.

    Raises:
        UserError: the data set is not in format pairs, no such entry, a photograph or mask that
            does not fit or cannot be read, or a photograph that the data set has already.
    """
    if data.format != "pairs":
        raise UserError(
            f"data.format is {data.format}, and accepted photographs are added to "
            "images/ and masks/ of format pairs; add them to your data set by hand "
            f"from {root / FOLDER}/"
        )
    waiting = [_checked(_read(root, name)) for name in dict.fromkeys(names)]
    folder = root / "data"
    encoding = _encoding(folder, data)
    _refuse_known(folder, waiting)
    taken = _stems(folder)
    return [_move(entry, folder, encoding, taken) for entry in waiting]


def _names(root: Path) -> list[str]:
    """Folders of the inbox; those that begin with a dot are being written."""
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
    there = _names(root)
    if name not in there:
        raise UserError(
            f"{name}: not in {root / FOLDER}/, which holds {', '.join(there) or 'nothing'}"
        )
    folder = root / FOLDER / name
    photos, mask = list(folder.glob("photo.*")), folder / "mask.png"
    if len(photos) != 1 or not mask.is_file():
        raise UserError(
            f"{folder}/: should hold one photograph (photo.*) and mask.png; complete or remove it"
        )
    try:
        provenance = json.loads(pictures.read_bytes(folder / "provenance.json"))
    except ValueError:
        raise UserError(f"{folder}/provenance.json: not JSON; repair or remove the entry") from None
    return Entry(name, photos[0], mask, provenance)


def _checked(entry: Entry) -> Entry:
    image, mask = pictures.read(entry.photo).pixels, _read_mask(entry.mask)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{entry.mask}: {mask.shape[1]}x{mask.shape[0]} pixels, but the photograph "
            f"has {image.shape[1]}x{image.shape[0]}; repair or remove the entry"
        )
    return entry


def _read_mask(path: Path) -> NDArray[np.uint8]:
    image, _ = pictures.open_upright(pictures.read_bytes(path), str(path))
    mask = np.asarray(image)
    if image.mode != "L" or not np.isin(mask, (0, 255)).all():
        raise UserError(
            f"{path}: should be an 8-bit grey PNG of 0 and 255; repair or remove the entry"
        )
    return mask


def _encoding(folder: Path, data: DataParams) -> Encoding:
    """How the data set's masks are written, told from some of them."""
    if not folder.is_dir():
        return Encoding(kind="0/255", threshold=128, invert=data.invert)
    samples = find_samples(folder, "pairs")
    some = samples[:: -(-len(samples) // LOOKED_AT)]
    return infer_encoding([count_values(sample.mask, data) for sample in some], data)[0]


def _refuse_known(folder: Path, waiting: list[Entry]) -> None:
    """The same photograph twice may land in two splits, which prepare refuses."""
    sizes: dict[int, list[Path]] = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file():
            sizes.setdefault(path.stat().st_size, []).append(path)
    for entry in waiting:
        same_size = sizes.setdefault(entry.photo.stat().st_size, [])
        for path in same_size:
            if sha256(path) == sha256(entry.photo):
                raise UserError(
                    f"{entry.name}: there is the same photograph already, "
                    f"{path}; copy {entry.mask} over that one's mask, or remove the "
                    "entry"
                )
        same_size.append(entry.photo)


def _stems(folder: Path) -> set[str]:
    return {path.stem for part in ("images", "masks") for path in (folder / part).glob("*")}


def _free(name: str, taken: Any) -> str:
    number, free = 1, name
    while taken(free):
        number += 1
        free = f"{name}-{number}"
    return free


def _move(entry: Entry, folder: Path, encoding: Encoding, taken: set[str]) -> Path:
    """Photograph last: a mask without one is refused by prepare, but not the other way unseen."""
    name = _free(entry.name, taken.__contains__)
    taken.add(name)
    buffer = io.BytesIO()
    _written_as(_read_mask(entry.mask) > 0, encoding).save(buffer, "PNG")
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
            with atomic_write(path) as aside:
                aside.write_bytes(content)
        except PermissionError as error:
            raise _unwritable(error, folder) from None
    shutil.rmtree(entry.photo.parent)
    return photo


def _unwritable(error: PermissionError, folder: Path) -> UserError:
    return UserError(
        f"{error.filename}: cannot be written ({error.strerror}); make {folder}/ writable"
    )


def _written_as(foreground: NDArray[np.bool_], encoding: Encoding) -> Image.Image:
    """A mask that means the same among those of an encoding."""
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
