"""A folder of results and its predictions.csv: which file became what, for a second run."""

from __future__ import annotations

import csv
import io
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from skyseg.commands.inputs import Input
from skyseg.errors import UserError
from skyseg.files import write_text
from skyseg.inference.outputs import OUTPUTS

NAME = "predictions.csv"
# Paths are relative to the table's own folder; `foreground` is a share of the pixels (of a video,
# the mean over its frames), `confidence` what `skyseg.metrics.presence.confidence` says.
COLUMNS = ("file", "width", "height", "foreground", "confidence", "model", "sky", *OUTPUTS)


class Origin(NamedTuple):
    """How results are made: what must be the same for an earlier one to be still good."""

    model: str
    """Its label; of videos with ``--smooth``, that too."""
    sky: str
    """The new sky's file; empty where none is needed."""


class Results:
    """The results in a folder.

    Args:
        folder: made if it is not there.

    Raises:
        UserError: it cannot be written to, or its table is not one of ours.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._table = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f".{NAME}.{os.getpid()}.part").touch()
            (folder / f".{NAME}.{os.getpid()}.part").unlink()
        except OSError as error:
            raise UserError(
                f"--out {folder}: cannot be written to ({error.strerror}); name another folder"
            ) from None
        self._lock = threading.Lock()  # of the table
        self._rows = {row["file"]: row for row in _read(self._table)}
        if self._table.exists():
            self.close()  # without the half of a line that a killed run may have left
        self._claimed = {_base(row).casefold(): file for file, row in self._rows.items()}

    def files(self) -> set[Path]:
        """Resolved paths of all results here."""
        return {
            (self.folder / row[kind]).resolve()
            for row in self._rows.values()
            for kind in OUTPUTS
            if row[kind]
        }

    def plan(
        self, source: Input, suffixes: dict[str, str], origin: Origin, overwrite: bool
    ) -> dict[str, Path]:
        """Where each missing result of a source goes, by kind; empty: all are there.

        Args:
            source: what the results are made from.
            suffixes: the wanted kinds, and how their files' names end.
            made: how they would be made.
            overwrite: make them all again.

        Raises:
            UserError: something else is in their place, which only ``overwrite`` replaces.
        """
        file = self._key(source)
        row = self._rows.get(file) if source.path else None
        base = _base(row) if row else self._claim(source, file)
        places = {kind: self.folder / f"{base}{suffix}" for kind, suffix in suffixes.items()}
        if row and row["model"] != origin.model:  # one row, one model
            staying = [
                row[kind]
                for kind in OUTPUTS
                if row[kind]
                and (self.folder / row[kind]).exists()
                and not (overwrite and kind in places)
            ]
            if staying:
                raise UserError(
                    f"{source.name}: {self.folder / staying[0]} was made by "
                    f"{row['model']}; name another --out, or --overwrite each kind"
                )
        if overwrite:
            return places
        missing = {}
        for kind, path in places.items():
            if not path.exists():
                missing[kind] = path
            elif row is None or not row[kind]:
                raise UserError(
                    f"{source.name}: {path} exists already, from elsewhere; name "
                    "another --out, or --overwrite it"
                )
            elif kind == "replace" and row["sky"] != origin.sky:
                raise UserError(
                    f"{source.name}: {path} has another sky, {row['sky']}; name "
                    "another --out, or --overwrite it"
                )
        return missing

    def record(
        self, source: Input, figures: dict[str, float], origin: Origin, places: dict[str, Path]
    ) -> None:
        """Note what is about to be in place. Called before files are renamed to their places, so
        that whatever is there has been noted."""
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
        """Write the table anew, sorted, one row a file; another run's rows too."""
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
        return Path(os.path.relpath(source.path.resolve(), self.folder.resolve())).as_posix()

    def _claim(self, source: Input, file: str) -> str:
        """The first name of 'a', 'a.jpg', 'a.jpg-2', ... that no other source's results have."""
        place = source.place
        names = [place.with_suffix(""), place]
        number = 2
        while True:
            for name in names:
                base = name.as_posix()
                if self._claimed.setdefault(base.casefold(), file) == file:
                    return base
            names = [place.with_name(f"{place.name}-{number}")]
            number += 1


def _read(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        return []
    with (
        suppress(OSError, UnicodeDecodeError, csv.Error),
        table.open(encoding="utf-8", newline="") as file,
    ):
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) == COLUMNS:
            # The last line of a killed run may be cut off.
            return [row for row in reader if None not in (*row, *row.values()) and _base(row)]
    raise UserError(
        f"{table}: not a table that skyseg predict wrote; name another --out, or move it away"
    )


def _base(row: dict[str, str]) -> str:
    """What the names of a row's results begin with; empty where it has none."""
    return next((row[kind].rpartition(f"-{kind}.")[0] for kind in OUTPUTS if row[kind]), "")
