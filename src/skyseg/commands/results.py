"""A folder of results and its predictions.csv, which tells a second run what is done already."""

from __future__ import annotations

import csv
import errno
import io
import os
import threading
import unicodedata
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

from skyseg.commands.inputs import Input
from skyseg.data.pictures.folders import check_name
from skyseg.documents import read_text
from skyseg.errors import UserError, disk_is_full
from skyseg.files import check_inside, check_writable, write_text
from skyseg.inference.outputs import OUTPUTS

NAME = "predictions.csv"
MOST_BYTES = 2**31  # of the table; ten million photographs
# Paths are relative to the table's own folder. `foreground` is a share of the pixels, `confidence`
# is that of `skyseg.metrics.presence.confidence`; for videos both are means over the frames.
COLUMNS = ("file", "width", "height", "foreground", "confidence", "model", "sky", *OUTPUTS)


class Origin(NamedTuple):
    """How results are made. Earlier results are kept only if this is the same."""

    model: str
    """The model's label; for videos with ``--smooth``, also that value."""
    sky: str
    """File of the new sky; empty if none is needed."""


class Results:
    """The results in a folder.

    Args:
        folder: created if it does not exist.

    Raises:
        UserError: it cannot be written to, or its table was not written by ``skyseg predict``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._table = folder / NAME
        try:
            check_writable(self._table)
        except OSError as error:
            raise UserError(
                f"--out {folder}: cannot be written to ({error.strerror}); choose another folder"
            ) from None
        if self._table.is_symlink() or (self._table.exists() and not self._table.is_file()):
            raise UserError(
                f"{self._table}: not a regular file; choose another --out, or move it away"
            )
        self._lock = threading.Lock()  # guards the table
        self._rows = {row["file"]: row for row in _read(self._table)}
        if self._table.exists():
            self.close()  # drops a partial line that a killed run may have left
        self._claimed = {_claim_key(_base(row)): file for file, row in self._rows.items()}

    def files(self) -> set[Path]:
        """Resolved paths of the table and of all results here."""
        places = [self._table]
        for row in self._rows.values():
            places += [self.folder / row[kind] for kind in OUTPUTS if row[kind]]
        return {Path(os.path.realpath(place)) for place in places}

    def plan(
        self, source: Input, suffixes: dict[str, str], origin: Origin, overwrite: bool
    ) -> dict[str, Path]:
        """Paths of a source's missing results, by kind; empty if none is missing.

        Args:
            source: what the results are made from.
            suffixes: the requested kinds, and the ends of their file names.
            origin: how they would be made.
            overwrite: make them all again.

        Raises:
            UserError: other files are in their place, and ``overwrite`` is not set; or the source's
                name is not UTF-8.
        """
        file = self._key(source)
        check_name(PurePath(file), source.name)
        row = self._rows.get(file) if source.path else None
        base = _base(row) if row else self._claim(source, file)
        places = {kind: self.folder / f"{base}{suffix}" for kind, suffix in suffixes.items()}
        if row and row["model"] != origin.model:  # all results of a row are from one model
            kept = [
                row[kind]
                for kind in OUTPUTS
                if row[kind]
                and (self.folder / row[kind]).exists()
                and not (overwrite and kind in places)
            ]
            if kept:
                raise UserError(
                    f"{source.name}: {self.folder / kept[0]} was made by "
                    f"{row['model']}; choose another --out, or use --overwrite for each kind"
                )
        if overwrite:
            return places
        missing = {}
        for kind, path in places.items():
            if not os.path.lexists(path):
                missing[kind] = path
            elif row is None or not row[kind]:
                raise UserError(
                    f"{source.name}: {path} already exists and is not in {NAME}; choose "
                    "another --out, or use --overwrite"
                )
            elif kind == "replace" and row["sky"] != origin.sky:
                raise UserError(
                    f"{source.name}: {path} was made with another sky, {row['sky']}; choose "
                    "another --out, or use --overwrite"
                )
        return missing

    def check(self, path: Path) -> None:
        """Check that a result can be written.

        Raises:
            UserError: it cannot, or it is not in the folder.
            OSError: the disk is full.
        """
        check_inside(path, self.folder)
        try:
            check_writable(path)
        except OSError as error:
            if disk_is_full(error):
                raise
            too_long = error.errno == errno.ENAMETOOLONG
            advice = "rename the photograph" if too_long else "choose another --out"
            raise UserError(f"{path}: cannot be written ({error.strerror}); {advice}") from None

    def record(
        self, source: Input, figures: dict[str, float], origin: Origin, places: dict[str, Path]
    ) -> None:
        """Add results to the table. Called just before the files are renamed to their final paths,
        so that every result there is in the table."""
        file = self._key(source)
        old = self._rows.get(file, dict.fromkeys(COLUMNS, ""))
        row = (
            old
            | {"file": file, "model": origin.model}
            | {name: f"{value:.6g}" for name, value in figures.items()}
        )
        row |= {kind: path.relative_to(self.folder).as_posix() for kind, path in places.items()}
        if "replace" in places:
            row["sky"] = origin.sky
        with self._lock, self._table.open("a", encoding="utf-8", newline="") as table:
            writer = csv.DictWriter(table, COLUMNS)
            if not table.tell():
                writer.writeheader()
            writer.writerow(row)
            self._rows[file] = row

    def close(self) -> None:
        """Rewrite the table, sorted, with one row per file; rows of other runs are kept."""
        with self._lock:
            rows = {row["file"]: row for row in _read(self._table)}
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS)
            writer.writeheader()
            writer.writerows(rows[file] for file in sorted(rows))
            write_text(self._table, text.getvalue())

    def _key(self, source: Input) -> str:
        if source.path is None:
            return "-"
        here = os.path.realpath(self.folder)
        return Path(os.path.relpath(os.path.realpath(source.path), here)).as_posix()

    def _claim(self, source: Input, file: str) -> str:
        """Reserve the first name of 'a', 'a.jpg', 'a.jpg-2', ... that no other source uses."""
        place = source.place
        names = [place.with_suffix(""), place]
        number = 2
        while True:
            for name in names:
                base = name.as_posix()
                if self._claimed.setdefault(_claim_key(base), file) == file:
                    return base
            names = [place.with_name(f"{place.name}-{number}")]
            number += 1


def _read(table: Path) -> list[dict[str, str]]:
    advice = "choose another --out, or move the file away"
    if not os.path.lexists(table):
        return []
    with suppress(csv.Error):
        reader = csv.DictReader(io.StringIO(read_text(table, advice, MOST_BYTES), newline=""))
        if tuple(reader.fieldnames or ()) == COLUMNS:
            # The last line of a killed run may be cut off.
            rows = [row for row in reader if None not in (*row, *row.values()) and _base(row)]
            for row in rows:
                _check_row(row, table)
            return rows
    raise UserError(f"{table}: not written by skyseg predict; {advice}")


def _check_row(row: dict[str, str], table: Path) -> None:
    """Check that the results of a row are in the table's folder: the table may have been edited."""
    for kind in OUTPUTS:
        path = PurePath(row[kind])
        if path.anchor or ".." in path.parts or "\0" in row[kind]:
            raise UserError(
                f"{table}: the {kind} of {row['file']}, {row[kind]!r}, is not in this folder; "
                "correct or remove the row"
            )


def _claim_key(base: str) -> str:
    """Equal for names that are one file on some system."""
    return unicodedata.normalize("NFC", base).casefold()


def _base(row: dict[str, str]) -> str:
    """The common start of the names of a row's results; empty if it has none."""
    return next((row[kind].rpartition(f"-{kind}.")[0] for kind in OUTPUTS if row[kind]), "")
