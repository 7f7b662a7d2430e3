"""The samples that a person keeps out of a data set: the table ``data/excluded.csv``.

Its columns are ``id`` and ``reason``. It belongs to the data, so DVC tracks it with them.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from skyseg.data.formats.samples import Sample
from skyseg.data.tables import column, id_key, read_table, without_suffix
from skyseg.documents import shown
from skyseg.errors import UserError, printable
from skyseg.files import write_csv

TABLE = "excluded.csv"


def read_excluded(data: Path, notes: list[str] | None = None) -> dict[str, str]:
    """Reason by id, in the table's order; empty if there is no table.

    Args:
        data: the folder with the table.
        notes: messages about how the table was read are added here.

    Raises:
        UserError: the table cannot be read, has no column ``id``, or a row has no id.
    """
    path = data / TABLE
    if not path.exists() and not path.is_symlink():
        return {}
    table = read_table(path, notes)
    ids, reasons = column(table, "id"), column(table, "reason")
    if ids is None:
        raise UserError(
            f"{path}: no column id (found {shown(', '.join(table.columns))}); its first line is "
            "id,reason"
        )
    excluded: dict[str, str] = {}
    for line, row in table.iterrows():
        if not row[ids]:
            raise UserError(f"{path}: line {line}: no id; fill it in, or remove the row")
        excluded[id_key(row[ids])] = row[reasons] if reasons else ""
    return excluded


def keep_out(
    samples: Sequence[Sample], excluded: dict[str, str], notes: list[str]
) -> tuple[list[Sample], dict[str, str]]:
    """The samples that stay, and the reasons by id of those that are kept out.

    Args:
        samples: of the data set.
        excluded: from ``read_excluded``; an id may end with a picture's suffix.
        notes: a message about those that are kept out, and one about ids that are not in the data
            set, are added here.
    """
    known = {id_key(sample.id): sample.id for sample in samples}
    out: dict[str, str] = {}
    unknown = []
    for name, reason in excluded.items():
        id = known.get(name) or known.get(id_key(without_suffix(name)))
        if id is None:
            unknown.append(name)
        else:
            out[id] = reason
    if out:
        notes.append(f"{TABLE}: {next(iter(out))} is kept out{_more(len(out) - 1)}")
    if unknown:
        advice = unknown_id(unknown[0], list(known.values()))
        notes.append(f"{TABLE}: {advice}{_more(len(unknown) - 1)}")
    return [sample for sample in samples if sample.id not in out], out


def _more(count: int) -> str:
    return f" (and {count:,} more)" if count else ""


def unknown_id(name: str, known: Sequence[str]) -> str:
    """Says that an id is not in the data set, and which is the nearest."""
    # A spreadsheet turns the id 01 into the number 1.
    near = [id for id in known if id.rsplit("/", 1)[-1].lstrip("0") == name]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0)
    return f"{name!r} is not in the data set" + (f"; did you mean {near[0]!r}?" if near else "")


def exclude(data: Path, id: str, reason: str) -> Path:
    """Add a sample to the table, or change the reason of one that is in it.

    Args:
        data: the folder of the data set.
        id: of the sample; the caller knows that it exists.
        reason: at least a word.

    Returns:
        The table.

    Raises:
        UserError: there is no reason, or the table cannot be read or written.
    """
    reason = " ".join(printable(reason.replace("\n", " ")).split())
    if not reason:
        raise UserError("--reason: empty; say in a few words why the sample is kept out")
    rows = read_excluded(data) | {id_key(id): reason}
    path = data / TABLE
    try:
        write_csv(path, pd.DataFrame(rows.items(), columns=["id", "reason"]))
    except PermissionError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make {data}/ writable"
        ) from None
    return path
