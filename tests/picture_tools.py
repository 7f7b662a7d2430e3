"""Writes picture files byte by byte, as no library does."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from skyseg.data.pictures import headers
from tiny import photograph

TURNED = (0x112, 3, 1, struct.pack("<HH", 6, 0))
"""The entry of EXIF that says 6: turn by a quarter."""


def encoded(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, format, **options)
    return buffer.getvalue()


def segment(marker: int, content: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg_with(parts: bytes) -> bytes:
    """A JPEG with further segments at its beginning."""
    data = encoded(photograph(0), "JPEG", quality=95)
    return data[:2] + parts + data[2:]


def jpeg_of_scans(more: int, size: tuple[int, int] = (16, 16)) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(Image.new("L", size), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * more + b"\xff\xd9"


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png_with(parts: bytes, at_end: bool = False) -> bytes:
    """A PNG with further chunks after its header, or before its end."""
    data = encoded(photograph(0), "PNG")
    at = len(data) - 12 if at_end else 33
    return data[:at] + parts + data[at:]


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A block of EXIF from (tag, type, count, value)."""
    table, values, end = b"", b"", 14 + 12 * len(entries)
    for tag, kind, count, value in entries:
        if len(value) > 4:
            value, values = struct.pack("<I", end + len(values)), values + value
        table += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + values


def tiff_with(data: bytes, *entries: tuple[int, int, int, bytes]) -> bytes:
    """A little-endian TIFF whose table has further entries, or others for the same tags."""
    layout = headers.tags(data)
    assert layout
    found = headers.table(data, layout, layout.first)[0]
    table = {entry.tag: data[entry.at : entry.at + 12] for entry in found}
    for tag, kind, count, value in entries:
        if len(value) > 4:
            data, value = data + value, struct.pack("<I", len(data))
        table[tag] = struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    rows = b"".join(row for _, row in sorted(table.items()))
    head = data[:4] + struct.pack("<I", len(data)) + data[8:]
    return head + struct.pack("<H", len(table)) + rows + bytes(4)


def tiff_of_pages(pages: int) -> bytes:
    """A TIFF whose table is repeated."""
    data = encoded(photograph(0), "TIFF")
    layout = headers.tags(data)
    assert layout
    count = int.from_bytes(data[layout.first : layout.first + 2], "little")
    end = layout.first + 2 + 12 * count
    table, offset = data[layout.first : end], len(data)
    parts = [data[:end] + struct.pack("<I", offset) + data[end + 4 :]]
    for page in range(1, pages):
        offset += len(table) + 4
        parts.append(table + struct.pack("<I", 0 if page == pages - 1 else offset))
    return b"".join(parts)
