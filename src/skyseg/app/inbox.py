"""Corrected masks that wait to join the data set: the app saves them, a command accepts them.

An entry is a folder ``inbox/NAME/`` with the photograph as it was uploaded (``photo.jpg``), its
mask (``mask.png``, 0 and 255) and ``provenance.json``, which may say that the mask ``replaces``
that of a sample, by its id. Masks that have been replaced are kept in ``inbox/replaced/NAME/``.
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

from skyseg.app import replacing
from skyseg.data.audit.excluded import unknown_id
from skyseg.data.formats.samples import Sample
from skyseg.data.masks.encoding import Encoding
from skyseg.data.pictures import codec, decoder
from skyseg.data.pictures.folders import list_folder
from skyseg.data.sources import Source, find_in
from skyseg.data.tables import id_key
from skyseg.documents import read_json, shown
from skyseg.errors import UserError
from skyseg.files import atomic_write, sha256, write_text

FOLDER = "inbox"
REPLACED = "replaced"  # folder in it for the masks that entries have replaced


class Entry(NamedTuple):
    name: str
    photo: Path
    mask: Path
    provenance: dict[str, Any]


class Accepted(NamedTuple):
    """What became of an entry."""

    path: Path
    """The photograph of the new sample, or the mask that was replaced."""
    old: Path | None
    """The folder with the mask that was replaced."""


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
    suffix = codec.FILE_FORMATS[picture.format][0]
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


def accept(
    root: Path, names: Iterable[str], source: Source, replace: bool = False
) -> list[Accepted]:
    """Move entries into the data set; all are checked before the first one is moved.

    An entry that says which sample it ``replaces`` gives that sample its mask; others become new
    samples.

    Args:
        root: the workspace.
        names: of the entries.
        source: the data set; accepted masks are written in the encoding of its masks.
        replace: an entry whose photograph is already in the data set replaces the mask there.

    Returns:
        What became of each. Mask and provenance of a new sample have the photograph's stem, in the
        data set's ``masks/`` and ``provenance/``.

    Raises:
        UserError: there is no such entry; a photograph or mask cannot be read, or their sizes
            differ; a mask cannot be replaced. Of new samples: the data set is not in format pairs,
            or the photograph is already in it.
    """
    folder, data = source.folder, source.data
    waiting = [_checked(_read(root, name)) for name in dict.fromkeys(names)]
    samples = find_in(source).samples if folder.is_dir() else []
    targets = {entry.name: _target(entry, samples, replace) for entry in waiting}
    new = [entry for entry in waiting if targets[entry.name] is None]
    if new and data.format != "pairs":
        raise UserError(
            f"the format of {folder}/ is {data.format}, but only a data set of format pairs takes "
            f"new photographs; copy them from {root / FOLDER}/ into your data set by hand"
        )
    replaced = _replaced_samples(targets)
    for sample in replaced:
        replacing.check_replaceable(sample)
    form = replacing.form_of(samples, data, replaced)
    _refuse_duplicates(folder, new)
    plans = {
        entry.name: replacing.plan(target, entry.photo, _read_mask(entry.mask) > 0, form)
        for entry in waiting
        if (target := targets[entry.name])
    }
    taken = _stems(folder)
    return [
        _replace(entry, plans[entry.name], root, source)
        if entry.name in plans
        else Accepted(_move(entry, folder, form.encoding, taken), None)
        for entry in waiting
    ]


def _names(root: Path) -> list[str]:
    """The entries' folders, without those still being written, which begin with a dot."""
    folder = root / FOLDER
    return (
        sorted(
            path.name
            for path in folder.iterdir()
            if path.is_dir() and not path.name.startswith(".") and path.name != REPLACED
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
    advice = "correct or remove the entry"
    provenance = read_json(folder / "provenance.json", advice)
    if not isinstance(provenance, dict):
        raise UserError(f"{folder}/provenance.json: {shown(provenance)} is no record; {advice}")
    return Entry(name, photos[0], mask, provenance)


def _checked(entry: Entry) -> Entry:
    image, mask = codec.read(entry.photo).pixels, _read_mask(entry.mask)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{entry.mask}: {mask.shape[1]}x{mask.shape[0]} pixels, but the photograph "
            f"has {image.shape[1]}x{image.shape[0]}; correct or remove the entry"
        )
    return entry


def _read_mask(path: Path) -> NDArray[np.uint8]:
    image, _ = codec.open_upright(codec.read_bytes(path), str(path))
    mask = np.asarray(image)
    if image.mode != "L" or not np.isin(mask, (0, 255)).all():
        raise UserError(f"{path}: not an 8-bit grey PNG of 0 and 255; correct or remove the entry")
    return mask


def replaces(entry: Entry) -> str | None:
    """The id of the sample whose mask an entry replaces."""
    id = entry.provenance.get("replaces")
    if id is not None and not isinstance(id, str):
        raise UserError(
            f"{entry.photo.parent}/provenance.json: replaces: {shown(id)} is no id; correct or "
            "remove the entry"
        )
    return id


def _target(entry: Entry, samples: list[Sample], replace: bool) -> Sample | None:
    """The sample whose mask an entry replaces; None if it becomes a new one."""
    id = replaces(entry)
    if id is not None:
        found = next((each for each in samples if id_key(each.id) == id_key(id)), None)
        if found is None:
            raise UserError(f"{entry.name}: {unknown_id(id, [each.id for each in samples])}")
        return found
    if not replace:
        return None
    size, content = entry.photo.stat().st_size, sha256(entry.photo)
    same = [
        each
        for each in samples
        if each.image.stat().st_size == size and sha256(each.image) == content
    ]
    if len(same) > 1:
        raise UserError(
            f"{entry.name}: the photograph of {same[0].image} and of {same[1].image}; remove one "
            "of them from the data set"
        )
    return same[0] if same else None


def _replaced_samples(targets: dict[str, Sample | None]) -> list[Sample]:
    """The samples that get another mask.

    Raises:
        UserError: two entries replace the same one.
    """
    entries: dict[str, str] = {}
    for name, sample in targets.items():
        if sample and (other := entries.setdefault(sample.id, name)) != name:
            raise UserError(
                f"{other} and {name}: both replace the mask of {sample.id}; remove one of them"
            )
    return [sample for sample in targets.values() if sample]


def _refuse_duplicates(folder: Path, waiting: list[Entry]) -> None:
    """Refuse duplicate photographs: they could get into two splits, which prepare refuses."""
    sizes: dict[int, list[Path]] = {}
    for path in list_folder(folder).files if waiting and folder.is_dir() else ():
        sizes.setdefault(path.stat().st_size, []).append(path)
    for entry in waiting:
        same_size = sizes.setdefault(entry.photo.stat().st_size, [])
        for path in same_size:
            if sha256(path) != sha256(entry.photo):
                continue
            if path.parent.parent.name == FOLDER:
                raise UserError(
                    f"{entry.name}: the same photograph as that of {path.parent.name}; remove one "
                    "of the two entries"
                )
            raise UserError(
                f"{entry.name}: the same photograph already exists, {path}; to give it the new "
                f"mask, run 'skyseg inbox accept --replace {entry.name}'; else remove the entry"
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
    replacing.plain(_read_mask(entry.mask) > 0, encoding).save(buffer, "PNG")
    photo = folder / "images" / (name + entry.photo.suffix)
    try:
        _write_provenance(entry, folder, name)
        for path, content in (
            (folder / "masks" / f"{name}.png", buffer.getvalue()),
            (photo, entry.photo.read_bytes()),
        ):
            with atomic_write(path) as temporary:
                temporary.write_bytes(content)
    except PermissionError as error:
        raise _unwritable(error, folder) from None
    shutil.rmtree(entry.photo.parent)
    return photo


def _replace(entry: Entry, plan: replacing.Replacement, root: Path, source: Source) -> Accepted:
    """Replace a sample's mask. After an interruption, accepting the entry again completes it."""
    aside = root / FOLDER / REPLACED / entry.name
    try:
        _write_provenance(entry, source.folder, plan.id.removeprefix(source.prefix))
        replacing.carry_out(plan, aside)
    except PermissionError as error:
        raise _unwritable(error, root) from None
    shutil.rmtree(entry.photo.parent)
    return Accepted(plan.new, aside)


def _write_provenance(entry: Entry, folder: Path, id: str) -> None:
    text = json.dumps(entry.provenance, indent=2) + "\n"
    write_text(folder / "provenance" / f"{id}.json", text)


def _unwritable(error: PermissionError, folder: Path) -> UserError:
    return UserError(
        f"{error.filename}: cannot be written ({error.strerror}); make {folder}/ writable"
    )
