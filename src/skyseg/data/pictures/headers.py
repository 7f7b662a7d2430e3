"""Finds the parts of picture files in their bytes, without decoding anything.

Whatever the bytes are, nothing here raises an error or takes long: walks end at the first part that
does not fit, and the caller stops them when it has seen enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

SOS = 0xDA  # JPEG: start of a scan
LONE = {0x01, 0xD8}  # JPEG markers without content
# The next JPEG marker; within a scan, FF 00 is a byte and D0 to D7 are restarts (T.81, B.1.1).
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
EXIF_MAGIC = b"Exif\0\0"
# How a block of EXIF begins: its first table is at byte 8.
EXIF_BEGINS = (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08")

ORIENTATION = 0x0112  # EXIF tag
EXTRA_SAMPLES = 338  # TIFF tag
SUBTABLES = {0x8769, 0x8825, 0xA005}  # EXIF tags that say where another table is
INTEGERS = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # TIFF types of whole numbers, and their bytes
UNIT = INTEGERS | {2: 1, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
MOST_ENTRIES = 4096  # of a table of tags that are read; cameras write some dozens


class Part(NamedTuple):
    """A segment of a JPEG, a chunk of a PNG, or a block of a GIF."""

    kind: bytes
    """A JPEG marker's second byte, a PNG chunk's name, or a GIF block's first byte; b"" for the
    data that follow a GIF block."""
    start: int
    end: int
    """Of the whole part; for a JPEG scan, of its header."""


class Tags(NamedTuple):
    """How a TIFF or EXIF block is laid out."""

    order: Literal["little", "big"]
    big: bool
    """BigTIFF, with 8-byte offsets."""
    first: int
    """Where the first table is."""


class Entry(NamedTuple):
    """An entry of a table of tags."""

    tag: int
    type: int
    values: int
    """How many."""
    at: int
    """Where the entry is."""
    size: int
    """Bytes of its value; 0 if its type is not known."""
    value: int
    """Where its first value is."""


def jpeg_segments(data: bytes) -> Iterator[Part]:
    """The segments of a JPEG up to the end of its first picture."""
    at = 2
    while found := JPEG_MARKER.search(data, at):
        start, marker = found.start(), data[found.start() + 1]
        length = 0 if marker in LONE else int.from_bytes(data[start + 2 : start + 4])
        if marker == 0xD9 or (marker not in LONE and length < 2):
            return
        at = start + 2 + length
        yield Part(bytes([marker]), start, at)


def png_chunks(data: bytes) -> Iterator[Part]:
    """The chunks of a PNG, up to its end."""
    at = len(PNG_MAGIC)
    while at + 8 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        yield Part(kind, at, end)
        if kind == b"IEND":
            return
        at = end


def gif_blocks(data: bytes) -> Iterator[Part]:
    """The blocks of a GIF, and their data (GIF89a, 15 to 26)."""

    def palette(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    at = 13 + palette(data[10]) if len(data) > 10 else 13
    while at + 10 <= len(data) and data[at : at + 1] != b";":
        kind, start = data[at : at + 1], at
        at += {b",": 11 + palette(data[at + 9]), b"!": 2}.get(kind, 1)
        yield Part(kind, start, at)
        length = 255 if kind in (b",", b"!") else 0
        while length and at < len(data):
            start, length = at, data[at]
            at += 1 + length
            yield Part(b"", start, at)


def tags(data: bytes) -> Tags | None:
    """The layout of a TIFF or EXIF block; None if it is not one."""
    order: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
    if data[:2] not in order or len(data) < 8:
        return None
    byte_order = order[data[:2]]
    big = int.from_bytes(data[2:4], byte_order) == 43
    return Tags(byte_order, big, int.from_bytes(data[8:16] if big else data[4:8], byte_order))


def table(data: bytes, layout: Tags, offset: int) -> tuple[list[Entry], int]:
    """The entries of a table of tags, at most ``MOST_ENTRIES``, and where the next table is.

    The next one is at 0 if there is none, or if this one is cut off.
    """
    word, head, step = (8, 8, 20) if layout.big else (4, 2, 12)

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at : at + length], layout.order)

    count = number(offset, head)
    entries: list[Entry] = []
    for index in range(min(count, MOST_ENTRIES)):
        at = offset + head + index * step
        if at + step > len(data):
            return entries, 0
        type, length = number(at + 2, 2), number(at + 4, word)
        size, value = length * UNIT.get(type, 0), at + 4 + word
        if size > word:
            value = number(value, word)
        entries.append(Entry(number(at, 2), type, length, at, size, value))
    return entries, number(offset + head + count * step, word)


def whole_number(data: bytes, layout: Tags, entry: Entry) -> int | None:
    """The first value of an entry, if it is a whole number that is there."""
    length = INTEGERS.get(entry.type)
    if not length or not entry.values or entry.value + length > len(data):
        return None
    return int.from_bytes(data[entry.value : entry.value + length], layout.order)


def with_straight_alpha(data: bytes) -> bytes | None:
    """A TIFF whose colours are multiplied by alpha (TIFF 6.0, tag 338), saying that they are not;
    None for other files."""
    layout = tags(data)
    entries = table(data, layout, layout.first)[0] if layout else []
    for entry in entries:
        if layout and entry.tag == EXTRA_SAMPLES and whole_number(data, layout, entry) == 1:
            start = entry.value
            return data[:start] + (2).to_bytes(2, layout.order) + data[start + 2 :]
    return None


def exif_orientation(block: bytes) -> int | None:
    """The orientation in a block of EXIF, whatever else in it is damaged; None without one."""
    block = block[len(EXIF_MAGIC) :] if block.startswith(EXIF_MAGIC) else block
    layout = tags(block)
    if layout is None:
        return None
    found = (each for each in table(block, layout, layout.first)[0] if each.tag == ORIENTATION)
    return next((whole_number(block, layout, each) for each in found), None)


def tags_size(block: bytes, without: frozenset[int] = frozenset()) -> int:
    """Bytes of all values in the first table of a block and the tables below it.

    Args:
        block: a TIFF, or a block of EXIF.
        without: tags of the first table that do not count.
    """
    block = block[len(EXIF_MAGIC) :] if block.startswith(EXIF_MAGIC) else block
    layout = tags(block)
    if layout is None:
        return 0
    waiting, seen, total = [layout.first], {0}, 0
    while waiting:
        offset = waiting.pop()
        for entry in table(block, layout, offset)[0]:
            if offset == layout.first and entry.tag in without:
                continue
            total += entry.size
            below = whole_number(block, layout, entry) if entry.tag in SUBTABLES else None
            if below and below not in seen:
                seen.add(below)
                waiting.append(below)
    return total


def exif_of(data: bytes) -> bytes:
    """The block of EXIF of a JPEG or PNG; of WebP, AVIF and HEIC, from where it begins."""
    if data.startswith(b"\xff\xd8"):
        found = []
        for kind, start, end in jpeg_segments(data):
            if kind[0] == SOS:
                break
            if kind == b"\xe1" and data.startswith(EXIF_MAGIC, start + 4):
                found.append(data[start + 4 + len(EXIF_MAGIC) : end])
        return b"".join(found)
    if data.startswith(PNG_MAGIC):
        parts = png_chunks(data)
        return next((data[at + 8 : end - 4] for kind, at, end in parts if kind == b"eXIf"), b"")
    at = exif_position(data)
    return b"" if at is None else data[at:]


def exif_position(data: bytes) -> int | None:
    """Where the block of EXIF of a WebP, AVIF or HEIC begins; None for other files."""
    if data[4:8] != b"ftyp" and data[8:12] != b"WEBP":
        return None
    return min((at for magic in EXIF_BEGINS if (at := data.find(magic)) > 0), default=None)
