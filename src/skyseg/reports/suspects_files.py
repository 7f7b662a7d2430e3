"""The files that ``skyseg audit`` writes: their names, and reading them again for the web page."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

from skyseg.data.tables import read_table
from skyseg.errors import UserError

FOLDER = Path("reports/audit")
TABLE, PAGE, PICTURES = "suspects.csv", "suspects.html", "suspects.zip"
CAPTIONS = ("photograph", "mask", "model", "they differ")
"""The pictures of a suspect, in their order."""
MOST_BYTES = 2**24  # of a picture
AGAIN = "run skyseg audit again"


class Suspect(NamedTuple):
    """A row of the table."""

    rank: int
    id: str
    split: str
    share: float
    """In 0..1, of the pixels: they are confidently of the other class."""
    kind: str
    """See ``metrics.confident.Suspicion``."""


def picture_name(rank: int, caption: str) -> str:
    """The name of a picture in ``PICTURES``."""
    return f"{rank}/{caption}.jpg"


def read_suspects(folder: Path) -> list[Suspect]:
    """The table's rows; none if there is no table.

    Raises:
        UserError: it is damaged.
    """
    path = folder / TABLE
    if not path.exists():
        return []
    table = read_table(path)
    try:
        return [
            Suspect(int(row["rank"]), row["id"], row["split"], float(row["share"]), row["kind"])
            for _, row in table.iterrows()
        ]
    except (KeyError, ValueError):
        raise UserError(f"{path}: damaged; {AGAIN}") from None


def read_pictures(folder: Path, suspect: Suspect) -> list[bytes]:
    """A JPEG for each of ``CAPTIONS``.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = folder / PICTURES
    try:
        with ZipFile(path) as archive:
            names = [picture_name(suspect.rank, caption) for caption in CAPTIONS]
            if any(archive.getinfo(name).file_size > MOST_BYTES for name in names):
                raise BadZipFile
            return [archive.read(name) for name in names]
    # Encrypted files are RuntimeErrors, kinds of compression not known here NotImplementedErrors.
    except (OSError, KeyError, ValueError, RuntimeError, BadZipFile, zlib.error):
        raise UserError(f"{path}: missing or damaged; {AGAIN}") from None
