"""The suspects that ``skyseg audit`` has found, and what a person does about them on the page.

Clients name a suspect by its id, which must be in the audit's table. Files are found from that
table and from the data set, never from what a client sends.
"""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skyseg.app import actions, inbox, replacing
from skyseg.app.actions import Photo, Pixels
from skyseg.app.texts import say
from skyseg.data.audit import excluded
from skyseg.data.formats.samples import Sample
from skyseg.data.manifest import read_dataset
from skyseg.data.masks.reading import read_mask
from skyseg.data.pictures import codec
from skyseg.data.sources import find_everything
from skyseg.data.tables import id_key
from skyseg.errors import UserError, printable
from skyseg.params import load_params
from skyseg.reports.suspects_files import (
    AGAIN,
    FOLDER,
    TABLE,
    Suspect,
    read_pictures,
    read_suspects,
)

# Keys of texts.
KINDS = ("missing", "extra", "misplaced", "inverted")
PICTURES = ("picture_photograph", "picture_mask", "picture_model", "picture_differ")
LONGEST_REASON = 200  # characters


class Correction(NamedTuple):
    """What is being corrected."""

    suspect: Suspect
    model: str | None
    """The model whose answer is painted on; None: the data set's mask is."""


def audited(root: Path) -> bool:
    """Whether there is a result of ``skyseg audit``."""
    return (root / FOLDER / TABLE).exists()


def listed(root: Path) -> list[Suspect]:
    """The suspects of the newest audit, without those that have been excluded since.

    Raises:
        UserError: the audit's table, or that of excluded samples, is damaged.
    """
    found = read_suspects(root / FOLDER)
    if any(each.kind not in KINDS for each in found):
        raise UserError(f"{root / FOLDER / TABLE}: damaged; {AGAIN}")
    out = excluded.read_excluded(root / "data")
    return [each for each in found if id_key(each.id) not in out]


def choose(root: Path, id: object, language: str) -> Suspect:
    """The suspect with an id that a client sends.

    Raises:
        UserError: it is not in the list, whatever else it may be.
    """
    found = next((each for each in listed(root) if isinstance(id, str) and each.id == id), None)
    if found is None:
        raise UserError(say("not_listed", language))
    return found


def choices(root: Path, language: str) -> list[tuple[str, str]]:
    """What the list shows for each suspect, and its id."""
    waiting = {str(entry.provenance.get("replaces")) for entry in inbox.entries(root)}
    rows = []
    for each in listed(root):
        text = f"{each.rank}. {printable(each.id)} ({each.split})"
        if each.id in waiting:
            text = say("suspect_waiting", language, choice=text)
        rows.append((text, each.id))
    return rows


def line(suspect: Suspect, language: str) -> str:
    """One line about a suspect."""
    return say("suspect_line", language, says=say(suspect.kind, language), share=suspect.share)


def view(root: Path, suspect: Suspect, language: str) -> str:
    """The pictures of a suspect as HTML.

    Raises:
        UserError: they are missing or damaged.
    """
    figures = []
    for key, content in zip(PICTURES, read_pictures(root / FOLDER, suspect), strict=True):
        text = html.escape(say(key, language))
        source = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        figures.append(
            f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
        )
    return "".join(figures)


def exclude(root: Path, suspect: Suspect, reason: object, language: str) -> str:
    """Keep a suspect out of the data set, as ``skyseg exclude`` does. Returns what to do next.

    Raises:
        UserError: there is no reason, the sample is gone, or the table cannot be written.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise UserError(say("no_reason", language))
    sample = sample_of(root, suspect)
    excluded.exclude(root / "data", sample.id, reason[:LONGEST_REASON])
    count = len(excluded.read_excluded(root / "data"))
    return say("excluded", language, id=html.escape(printable(sample.id)), count=count)


def begin(
    root: Path, suspect: Suspect, model: str | None, folder: Path, language: str
) -> tuple[Path, Correction]:
    """Write the picture to paint on: the photograph, with the mask to begin with.

    Args:
        root: the workspace.
        suspect: whose mask is to be corrected.
        model: the model whose answer to begin with; None: the data set's mask.
        folder: for the picture.
        language: of error messages.

    Raises:
        UserError: the sample has no mask file, or is gone; a file or the model cannot be read.
    """
    sample = sample_of(root, suspect)
    replacing.check_replaceable(sample)
    if model:
        found = actions.segment(_photo(sample), model, root, language)
        return actions.to_paint_on(found, folder, "suspect"), Correction(suspect, model)
    picture, mask = _with_mask(root, sample, language)
    shrunk = actions.shrunk(picture.pixels, mask.astype(np.float32), actions.EDITED)
    return actions.tinted(*shrunk, 0.5, folder, "suspect"), Correction(suspect, None)


def save(
    root: Path, correction: Correction, layers: list[bytes], language: str
) -> tuple[str, Pixels]:
    """Save a corrected mask to the inbox, as an entry that replaces that of its sample.

    Returns:
        As ``actions.save``.
    """
    sample = sample_of(root, correction.suspect)
    replacing.check_replaceable(sample)
    if correction.model:
        photo = _photo(sample)
        return actions.save(photo, correction.model, layers, root, language, replaces=sample.id)
    _, foreground = _with_mask(root, sample, language)
    before = foreground.astype(np.uint8) * np.uint8(255)
    mask = actions.corrected(before, layers)
    provenance: dict[str, Any] = {
        "photo": sample.image.name,
        "corrected": int((mask != before).sum()),
        "pixels": int(mask.size),
        "replaces": sample.id,
    }
    content = codec.read_bytes(sample.image, codec.UPLOAD)
    return inbox.save(root, content, mask, sample.image.name, provenance), mask


def sample_of(root: Path, suspect: Suspect) -> Sample:
    """The sample of a suspect.

    Raises:
        UserError: it is no longer in the data set.
    """
    samples = find_everything(load_params(root / "params.yaml"), root)
    found = next((each for each in samples if id_key(each.id) == id_key(suspect.id)), None)
    if found is None:
        known = [each.id for each in samples]
        raise UserError(f"{excluded.unknown_id(suspect.id, known)}; {AGAIN}")
    return found


def _photo(sample: Sample) -> Photo:
    return Photo(sample.image, sample.image.name)


def _with_mask(
    root: Path, sample: Sample, language: str
) -> tuple[codec.Picture, NDArray[np.bool_]]:
    """The photograph of a sample, and its mask at the same size."""
    picture = actions.read(_photo(sample), language)
    mask = read_mask(sample.mask, read_dataset(root / "prepared").original(sample.id)) == 1
    if mask.shape != picture.pixels.shape[:2]:
        raise UserError(f"{sample.mask}: not of the photograph's size; prepare the data again")
    return picture, mask
