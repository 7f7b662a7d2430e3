"""Faults of picture files that show in their bytes: a wrong suffix, a missing end, changed bytes.

Decoders are lenient: Pillow decodes a JPEG whose bytes have changed and a PNG whose checksums do
not fit, and does not say so.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from skyseg.data.audit import jpeg
from skyseg.data.pictures.codec import FILE_FORMATS

# How files of each format begin: position, bytes, Pillow's name of the format.
MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WEBP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIF"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"jP  ", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
)
ALSO = {"JPEG": FILE_FORMATS["MPO"], "TIFF": (), "HEIF": (".avif",), "AVIF": (".heic", ".heif")}


def faults(content: bytes, path: Path) -> Iterator[tuple[str, str]]:
    """(kind, text) of each fault of a file that can be decoded."""
    format = format_of(content)
    if format is None:
        return
    suffixes = (*FILE_FORMATS[format], *ALSO.get(format, ()))
    if path.suffix.lower() not in suffixes:
        yield "wrong_suffix", f"{path}: a {format} file; rename it to {path.stem}{suffixes[0]}"
    if fault := CHECKS.get(format, lambda _: None)(content):
        yield "damaged", f"{path}: {fault}"


def format_of(content: bytes) -> str | None:
    """Pillow's name of the format that a file begins like, if it is one of ``MAGIC``."""
    return next((name for at, magic, name in MAGIC if content[at : at + len(magic)] == magic), None)


def png_fault(content: bytes) -> str | None:
    """Which checksum of a PNG does not fit, or what is missing."""
    at = 8
    while at + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        end = at + 12 + length
        if end > len(content):
            return "the end is missing"
        (stored,) = struct.unpack(">I", content[end - 4 : end])
        if zlib.crc32(content[at + 4 : end - 4]) != stored:
            return f"the checksum of its part {kind.decode('latin-1')!r} is wrong"
        if kind == b"IEND":
            return None
        at = end
    return "the end is missing"


def riff_fault(content: bytes) -> str | None:
    """Whether a WebP file is as long as it says."""
    (length,) = struct.unpack("<I", content[4:8])
    return "the end is missing" if length + 8 > len(content) else None


def bmp_fault(content: bytes) -> str | None:
    """Whether a BMP file is as long as it says; many writers say 0."""
    (length,) = struct.unpack("<I", content[2:6])
    return "the end is missing" if length > len(content) else None


def box_fault(content: bytes) -> str | None:
    """Whether the boxes of an ISO file (HEIC, AVIF, JP2) end where the file does."""
    at = 0
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if length == 1 and at + 16 <= len(content):
            (length,) = struct.unpack(">Q", content[at + 8 : at + 16])
        if length == 0:  # the last box, up to the end
            return None
        if length < 8 or at + length > len(content):
            return "the end is missing"
        at += length
    return None


CHECKS: dict[str, Callable[[bytes], str | None]] = {
    "JPEG": jpeg.fault,
    "PNG": png_fault,
    "WEBP": riff_fault,
    "BMP": bmp_fault,
    "HEIF": box_fault,
    "AVIF": box_fault,
}
