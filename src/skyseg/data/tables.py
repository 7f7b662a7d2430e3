"""Reads the text files that users bring: lists of file names, and CSV tables.

They come from spreadsheets and from other systems, so they may begin with a byte order mark, be in
UTF-16 or Windows-1252, end their lines in any of three ways, and separate columns by ``,``, ``;``
or a tab. What cannot be read for certain is refused, with the file, the line and what to do.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import stat
import unicodedata
from pathlib import Path

import pandas as pd

from skyseg.data.pictures.codec import SUFFIXES
from skyseg.errors import UserError

MOST_BYTES = 64 * 2**20  # a list or table of some million rows
MOST_ANNOTATION_BYTES = 2**30  # COCO's own train annotations have 450 MB
LONGEST_LINE = 32_768  # characters; a path has at most 4,096

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
SEPARATORS = ",;\t"
TABLE_SUFFIXES = (".csv", ".tsv")
# No text file contains these; a form feed and Windows' end-of-file character do occur.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x19\x1b-\x1f]")
# Other encodings read as Windows-1252 give symbols or capitals inside lower-case words, ...
INSIDE_A_WORD = re.compile(
    r"[a-z][^\x00-\x7f’–·ªº­a-zß-öø-ÿœšž][a-z]|[a-zß-öø-ÿ][À-ÖØ-ÞŒŠŽŸ]|[†‡ˆ‰˜ƒ¤¦¨¬¯¶¸]\w"
)
# ... or most of its letters beyond ASCII side by side.
BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")


def read_text(path: Path, most: int = MOST_BYTES, notes: list[str] | None = None) -> str:
    """The text of a file, without its byte order mark.

    UTF-8, UTF-16 or UTF-32. Anything else is taken for Windows-1252, which a note says, unless the
    result is visibly wrong.

    Args:
        path: a regular file.
        most: refuse larger files, in bytes.
        notes: a message is added here if the encoding was guessed.

    Raises:
        UserError: not a regular file, too large, cannot be read, or not text.
    """
    content = read_file(path, most)
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = MARKS.get(mark) or _unmarked_encoding(content)
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if mark or encoding != "utf-8":
            raise UserError(
                f"{path}: damaged {encoding.upper()} text (byte {error.start + len(mark)}); "
                "save it again as UTF-8"
            ) from None
        text = _from_windows(content, path, error.start, notes)
    if found := CONTROL.search(text):
        raise UserError(
            f"{path}: line {_line_of(text, found.start())}: not text (contains the character "
            f"{ord(found[0])}); save it as UTF-8 text"
        )
    return text


def read_lines(path: Path, notes: list[str] | None = None) -> list[tuple[int, str]]:
    """The lines of a list that are not blank, with their numbers, without spaces and quotes around
    them, in NFC.

    Args, Raises: as ``read_text``; also a line too long for a file name.
    """
    lines = []
    for number, line in enumerate(_split_lines(read_text(path, notes=notes)), 1):
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{path}: line {number}: {len(line):,} characters, so this is not a list of file "
                "names; write one per line"
            )
        text = line.strip()
        # One pair of quotes around the whole line; a line may hold several quoted names.
        if len(text) > 1 and text[0] == text[-1] in "\"'" and text.count(text[0]) == 2:
            text = text[1:-1].strip()
        if text:
            lines.append((number, unicodedata.normalize("NFC", text)))
    return lines


def entry_parts(entry: str, where: str) -> tuple[str, ...]:
    """The parts of a path in a list: 'C:\\\\set\\\\a.png' and '/set/a.png' are ('set', 'a.png').

    Args:
        entry: with ``/`` or ``\\``.
        where: file and line, for error messages.

    Raises:
        UserError: a part is '..', so that the path may leave the data folder, or nothing is left.
    """
    path = re.sub(r"^[A-Za-z]:", "", entry.replace("\\", "/"))
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts:
        raise UserError(
            f"{where}: {entry!r} leaves the data folder; copy the file into it and name it without "
            "'..'"
        )
    if not parts:
        raise UserError(f"{where}: {entry!r} names no file; correct or remove it")
    return parts


def read_table(path: Path, notes: list[str] | None = None) -> pd.DataFrame:
    """A CSV table: all cells as text, without spaces around them, in NFC; blank rows are left out.
    The index is the line number of each row.

    Args:
        path: separated by ``,``, ``;`` or tabs; its first line names the columns.
        notes: as ``read_text``.

    Raises:
        UserError: as ``read_text``; also an empty table, a row with more or fewer cells than the
            header, a column name that occurs twice, or quotes that do not close.
    """
    text = read_text(path, notes=notes)
    separator, body, skipped = _separator(text)
    reader = csv.reader(_split_lines(body), delimiter=separator, strict=True, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            cells = [unicodedata.normalize("NFC", cell.strip()) for cell in row]
            if any(cells):
                rows.append((reader.line_num + skipped, cells))
    except csv.Error as error:
        raise UserError(
            f"{path}: line {reader.line_num + skipped}: not a CSV table ({error}); save it again "
            "as CSV UTF-8"
        ) from None
    if not rows:
        raise UserError(f"{path}: empty; its first line should name the columns")
    header = _without_empty_end(rows[0][1])
    if "" in header:
        raise UserError(f"{path}: line {rows[0][0]}: column {header.index('') + 1} has no name")
    if twice := [name for name in header if header.count(name) > 1]:
        raise UserError(
            f"{path}: line {rows[0][0]}: two columns are named {twice[0]!r}; rename or remove one"
        )
    return pd.DataFrame(
        [_fitted(cells, header, f"{path}: line {number}") for number, cells in rows[1:]],
        index=[number for number, _ in rows[1:]],
        columns=header,
        dtype=str,
    )


def column(table: pd.DataFrame, name: str) -> str | None:
    """The name of a column as the table spells it, whatever its case; None if there is none."""
    exact = [known for known in table.columns if known == name]
    alike = [known for known in table.columns if known.casefold() == name.casefold()]
    found = exact or alike
    return found[0] if len(found) == 1 else None


def id_key(name: str) -> str:
    """A sample's id in the one spelling in which ids are compared: NFC, ``/``, no ``./``."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def without_suffix(name: str) -> str:
    """A file name without the suffix of a picture: 'a/b.JPG' is 'a/b', 'a.b' stays."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in SUFFIXES else name


def read_file(path: Path, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        UserError: it is a folder, a pipe or the like, has more than ``most`` bytes, or cannot be
            read.
    """
    try:
        # A pipe would wait for ever for somebody who writes into it.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise UserError(f"{path}: not a regular file; put a text file in its place")
            if about.st_size > most:
                raise UserError(
                    f"{path}: {about.st_size / 2**20:,.0f} MiB, more than the {most // 2**20:,} "
                    "MiB that are read; remove what is not needed"
                )
            return file.read(most)
    except IsADirectoryError:
        raise UserError(f"{path}: a folder; put a text file in its place") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _unmarked_encoding(content: bytes) -> str:
    """UTF-16 without a byte order mark has a zero in most pairs of bytes, always the same one."""
    start = content[:4096]
    if len(start) >= 2 and len(content) % 2 == 0:
        even, odd = (start[first::2].count(0) / len(start[first::2]) for first in (0, 1))
        if odd > 0.5 and not even:
            return "utf-16-le"
        if even > 0.5 and not odd:
            return "utf-16-be"
    return "utf-8"


def _from_windows(content: bytes, path: Path, start: int, notes: list[str] | None) -> str:
    """Windows-1252 text; a UserError where that is visibly the wrong guess."""
    line = 1 + len(re.findall(rb"\r\n|\r|\n", content[:start]))
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    runs = BEYOND_ASCII.findall(text)
    alone = sum(len(run) == 1 for run in runs)
    if CONTROL.search(text) or INSIDE_A_WORD.search(text) or 2 * alone <= sum(map(len, runs)):
        raise UserError(f"{path}: line {line}: not UTF-8 text; save it as UTF-8 (CSV UTF-8)")
    if notes is not None:
        example = next(part for part in _split_lines(text) if BEYOND_ASCII.search(part))
        notes.append(
            f"{path}: not UTF-8, read as Windows-1252 ({example.strip()[:60]!r}); save it as "
            "UTF-8 if that is wrong"
        )
    return text


def _split_lines(text: str) -> list[str]:
    """Lines that end in \\n, \\r\\n or \\r. ``str.splitlines`` would split at other characters."""
    return re.split(r"\r\n|\n|\r", text.rstrip("\x1a"))


def _line_of(text: str, position: int) -> int:
    return len(_split_lines(text[:position]))


def _separator(text: str) -> tuple[str, str, int]:
    """The separator, the table without a line ``sep=;``, and how many lines were removed."""
    if found := re.match(r"(?:sep=)(.)\r?\n?", text):
        return found[1], text[found.end() :], 1
    lines = _split_lines(text)
    header = re.sub(r'"[^"]*"', "", next((line for line in lines if line.strip()), ""))
    return max(SEPARATORS, key=header.count), text, 0


def _without_empty_end(cells: list[str]) -> list[str]:
    """Spreadsheets add separators for columns that have been emptied."""
    end = len(cells)
    while end and not cells[end - 1]:
        end -= 1
    return cells[:end]


def _fitted(cells: list[str], header: list[str], where: str) -> list[str]:
    """A row with as many cells as the header."""
    count = len(_without_empty_end(cells))
    if count > len(header):
        raise UserError(
            f"{where}: {count} cells, but the header has {len(header)}; quote cells that contain "
            "the separator"
        )
    if len(cells) < len(header):
        raise UserError(f"{where}: {len(cells)} cells, but the header has {len(header)}; add them")
    return cells[: len(header)]
