"""What may be decoded: a small file can take hours or all memory, so each cost is bounded before.

Pixels are bounded by ``pictures``, which opens the file; what is here needs only its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from skyseg.data.pictures import headers
from skyseg.data.pictures.headers import PNG_MAGIC, SOS
from skyseg.errors import UserError

# The rest of each limit is far above what programs write, and below what takes a second.
SEGMENTS = 1000  # of a JPEG before its pixels
JUNK = 2**20  # bytes between them
CHUNKS = 10_000  # of a PNG, and one more for each CHUNK bytes
CHUNK = 1024
BLOCKS = 4000  # of a GIF before its first picture
STRIPS = 2**18  # and tiles, of a TIFF
TILES, LAYERS = 2**14, 256  # of a JPEG 2000
# Of PPM, PGM and PBM files: bytes of the header; comments and bytes of those written in digits.
PPM_HEADER, PPM_COMMENTS = 2**16, 100
SLOW = 2**26  # bytes of formats that Pillow decodes in Python, at some 6 MB a second


class Limits(NamedTuple):
    """Largest file that is decoded; larger ones are refused before decoding."""

    bytes: int
    pixels: int
    scans: int = 100
    """Of a progressive JPEG, each of which goes over all pixels; programs write about ten."""


# For files of the user's own: as many pixels as Pillow decodes, and 16 bits of RGBA for each.
OWN = Limits(2 * 2**30, 178_956_970)
UPLOAD = Limits(64 * 2**20, 80_000_000)  # about 1.2 GB of memory during segmentation


def check_cost(data: bytes, name: str, limits: Limits) -> None:
    """Check what decoding costs, but for the number of pixels.

    Raises:
        UserError: it costs more than the limits allow.
    """
    if len(data) > limits.bytes:
        raise UserError(
            f"{name}: {len(data) / 2**20:.0f} MiB; shrink it to at most {limits.bytes // 2**20} MiB"
        )
    for magic, cost in COSTS:
        if data.startswith(magic) and (text := cost(data, limits)):
            raise UserError(f"{name}: {text}, which takes very long to decode; save it again")


def _jpeg(data: bytes, limits: Limits) -> str | None:
    before, junk, at, scans = 0, 0, 2, 0
    # Counting bytes is fast, and no smaller than the number of scans.
    few = data.count(bytes([0xFF, SOS])) <= limits.scans
    for kind, start, end in headers.jpeg_segments(data):
        scans += kind[0] == SOS
        if not scans:
            before, junk, at = before + 1, junk + start - at, end
        if before > SEGMENTS or junk > JUNK:
            return "a JPEG with too many segments, or bytes between them, before its pixels"
        if scans > limits.scans:
            return f"a JPEG of more than {limits.scans} scans"
        if scans and few:
            return None
    return None if scans or len(data) - at < JUNK else "a JPEG without pixels"


def _png(data: bytes, limits: Limits) -> str | None:
    most = CHUNKS + len(data) // CHUNK
    for count, _ in enumerate(headers.png_chunks(data)):
        if count >= most:
            return f"a PNG of more than {most:,} chunks"
    return None


def _gif(data: bytes, limits: Limits) -> str | None:
    for count, part in enumerate(headers.gif_blocks(data)):
        if part.kind == b",":
            return None
        if count >= BLOCKS:  # Pillow joins those of a comment one by one
            return f"a GIF of more than {BLOCKS:,} blocks before its picture"
    return None


def _tiff(data: bytes, limits: Limits) -> str | None:
    layout = headers.tags(data)
    if layout is None:
        return None
    entries, _ = headers.table(data, layout, layout.first)
    if len(entries) >= headers.MOST_ENTRIES:
        return f"a TIFF of {len(entries):,} tags or more"
    if sum(entry.size for entry in entries) > 2 * len(data) + 2**16:
        return "a TIFF whose tags share their values"
    strips = max((entry.values for entry in entries if entry.tag in (273, 324)), default=0)
    return f"a TIFF of {strips:,} strips or tiles" if strips > STRIPS else None


def _jpeg2000(data: bytes, limits: Limits) -> str | None:
    """T.800, A.5.1 and A.6.1: size of the picture and of its tiles, and number of layers."""
    start = data.find(b"\xff\x4f\xff\x51")
    size = [int.from_bytes(data[at : at + 4]) for at in range(start + 8, start + 40, 4)]
    if start < 0 or not (size[4] and size[5]):
        return None
    (width, height), (left, top) = size[:2], size[6:]
    tiles = -(-(width - left) // size[4]) * -(-(height - top) // size[5])
    if tiles > TILES:
        return f"a JPEG 2000 of {tiles:,} tiles"
    at = start + 4 + int.from_bytes(data[start + 4 : start + 6])
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\x52", b"\x90", b""):
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
    layers = int.from_bytes(data[at + 6 : at + 8]) if data[at : at + 2] == b"\xff\x52" else 0
    return f"a JPEG 2000 of {layers:,} layers" if layers > LAYERS else None


def _ppm(data: bytes, limits: Limits) -> str | None:
    begin = re.sub(rb"#[^\r\n]*", b"", data[:PPM_HEADER])
    if len(data) > PPM_HEADER and len(begin.split(None, 4)) < 4:
        return "a PPM with a header of more than 64 KiB"
    if data[1:2] in b"123" and (len(data) > SLOW or data.count(b"#") > PPM_COMMENTS):
        return "a PPM written in digits, with more than 64 MiB or 100 comments"
    return None


def _bmp(data: bytes, limits: Limits) -> str | None:
    run_lengths = data[14:15] >= b"\x28" and data[30:31] in (b"\1", b"\2")  # BITMAPINFOHEADER
    return "a BMP of more than 64 MiB of run lengths" if run_lengths and len(data) > SLOW else None


COSTS: tuple[tuple[bytes, Callable[[bytes, Limits], str | None]], ...] = (
    (b"\xff\xd8", _jpeg),
    (PNG_MAGIC, _png),
    (b"GIF8", _gif),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"II+\0", _tiff),
    (b"MM\0+", _tiff),
    *((b"P%d" % number, _ppm) for number in range(1, 7)),
    (b"BM", _bmp),
    (b"\xff\x4f\xff\x51", _jpeg2000),
    (b"\0\0\0\x0cjP  ", _jpeg2000),
)
