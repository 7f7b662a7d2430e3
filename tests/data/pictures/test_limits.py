"""Small files that would take long to decode are refused, or lose what would take long."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from picture_tools import (
    chunk,
    encoded,
    exif,
    jpeg_of_scans,
    jpeg_with,
    png_with,
    segment,
    tiff_of_pages,
    tiff_with,
)
from skyseg.data.pictures import limits
from skyseg.data.pictures.codec import decode
from skyseg.data.pictures.limits import OWN, Limits
from skyseg.errors import UserError
from tiny import photograph


def gif_with(parts: bytes) -> bytes:
    data = encoded(Image.new("L", (4, 4)), "GIF")
    at = data.index(b",", 13)
    return data[:at] + parts + data[at:]


def bmp_of_runs(length: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 1, length, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + length, 0, 0, 1078) + head + bytes(1024 + length)


TEN_STRIPS = struct.pack("<10I", *[8] * 10)
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "scans": (lambda: jpeg_of_scans(400), "a JPEG of more than 100 scans"),
    "scans_of_colours": (
        lambda: (
            encoded(photograph(0), "JPEG", progressive=True)[:-2]
            + segment(0xDA, bytes.fromhex("01010000013f")[:6] + b"\0") * 200
            + b"\xff\xd9"
        ),
        "a JPEG of more than 100 scans",
    ),
    "segments": (lambda: jpeg_with(segment(0xFE) * 2000), "too many segments"),
    "fill_bytes": (lambda: jpeg_with(b"\xff" * 2**21), "or bytes between them"),
    "no_scan": (lambda: b"\xff\xd8\xff\xe0\0\0" + bytes(2**21), "a JPEG without pixels"),
    "chunks": (lambda: png_with(chunk(b"prVt") * 20_000), "a PNG of more than"),
    "empty_pixels": (lambda: png_with(chunk(b"IDAT") * 20_000), "a PNG of more than"),
    "comment": (lambda: gif_with(b"!\xfe" + (b"\xff" + b"x" * 255) * 5000 + b"\0"), "a GIF of"),
    "strips": (
        lambda: tiff_with(encoded(photograph(0), "TIFF"), (273, 4, 2**18 + 1, bytes(2**20 + 4))),
        "a TIFF of 262,145 strips",
    ),
    "shared_values": (
        lambda: tiff_with(
            encoded(photograph(0), "TIFF"),
            (50_000, 7, 2**20, bytes(2**20)),
            *[(50_001 + n, 7, 2**20, struct.pack("<I", 8)) for n in range(9)],
        ),
        "a TIFF whose tags share their values",
    ),
    "tags": (
        lambda: tiff_with(
            encoded(photograph(0), "TIFF"), *[(1000 + n, 3, 1, b"\1\0") for n in range(5000)]
        ),
        "a TIFF of 4,096 tags or more",
    ),
    "tiles": (
        lambda: encoded(Image.new("L", (520, 520)), "JPEG2000", tile_size=(4, 4)),
        "a JPEG 2000 of 16,900 tiles",
    ),
    "layers": (
        lambda: (
            b"\xff\x4f\xff\x51"
            + struct.pack(">HH8IH3B", 41, 0, 8, 8, 0, 0, 8, 8, 0, 0, 1, 7, 1, 1)
            + segment(0x52, struct.pack(">BBHB", 0, 0, 60_000, 0))
        ),
        "a JPEG 2000 of 60,000 layers",
    ),
    "spaces": (lambda: b"P6" + b" " * 2**20 + b"2 2 255 123456789012", "a PPM with a header"),
    "long_comment": (lambda: b"P5 #" + b"x" * 2**20 + b"\n2 2 255 1234", "a PPM with a header"),
    "comments": (lambda: b"P2 90 2 255 " + b"#\n1 " * 180, "a PPM written in digits"),
    "runs": (lambda: bmp_of_runs(2**26), "a BMP of more than 64 MiB of run lengths"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_take_long_is_refused_by_name_at_once(name: str) -> None:
    make, message = REFUSED[name]
    data, start = make(), time.perf_counter()
    with pytest.raises(UserError, match=rf"^a: .*{message}.* takes very long.*; save it again$"):
        decode(data, "a")
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "data",
    [
        jpeg_of_scans(80),
        jpeg_with(segment(0xE1, b"Exif\0\0" + b"\xff\xda" * 300)),  # no scans
        jpeg_with(segment(0xE2, b"FPXR\0" + bytes(60_000)) * 200),
        png_with(chunk(b"tEXt", b"a\0b") * 5000),
        png_with(chunk(b"IDAT") * 100),
        encoded(Image.new("L", (8, 8)), "JPEG2000", tile_size=(4, 4)),
        b"P2\n# by a program\n2 1\n255\n1 2",
        gif_with(b"!\xfe" + (b"\xff" + b"x" * 255) * 500 + b"\0"),
    ],
)
def test_what_programs_write_is_decoded(data: bytes) -> None:
    decode(data, "a")


LONG = bytes(40_000)
METADATA = {
    "exif_shared_jpeg": lambda: jpeg_with(
        segment(
            0xE1, exif((900, 5, 5000, LONG), *[(1000 + n, 5, 5000, b"\x10") for n in range(99)])
        )
    ),
    "exif_shared_png": lambda: png_with(
        chunk(
            b"eXIf",
            exif((900, 5, 5000, LONG), *[(1000 + n, 5, 5000, b"\x10") for n in range(99)])[6:],
        )
    ),
    "exif_in_many_segments": lambda: jpeg_with(segment(0xE1, exif() + bytes(60_000)) * 500),
    "profile": lambda: png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(10**7)))),
    "text": lambda: png_with(chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**7)))),
    "text_at_end": lambda: png_with(
        chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**7))), at_end=True
    ),
    "xmp": lambda: png_with(
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(10**7)))
    ),
    "much_text": lambda: png_with(
        b"".join(chunk(b"zTXt", b"%d\0\0" % n + zlib.compress(bytes(10**6))) for n in range(80))
    ),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_would_take_long_is_left_out_with_a_note(name: str) -> None:
    data, start = METADATA[name](), time.perf_counter()
    picture = decode(data, "a")
    assert time.perf_counter() - start < 1
    assert picture.notes == ("its metadata is damaged or too long, and is left out",)
    lossy = 4 if data.startswith(b"\xff\xd8") else 0
    assert np.abs(picture.pixels.astype(int) - photograph(0)).mean() <= lossy


def test_pages_are_counted_up_to_a_bound() -> None:
    data, start = tiff_of_pages(100_000), time.perf_counter()
    picture = decode(data, "a")
    assert time.perf_counter() - start < 1
    assert picture.notes == ("multi-page file, only the first of more than 100 frames is used",)


def test_bytes_are_limited_for_every_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^a: 2 MiB; shrink it to at most 1 MiB$"):
        limits.check_cost(bytes(2**21), "a", Limits(2**20, 10**9))
    assert OWN.bytes == 2**31


def test_an_icon_cannot_hide_a_larger_picture() -> None:
    inside = encoded(Image.new("L", (3000, 2000)), "PNG")
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22)
    data = struct.pack("<HHH", 0, 1, 1) + entry + inside
    with pytest.raises(UserError, match="3000x2000 pixels; shrink it to at most 1 million"):
        decode(data, "a.ico", limits=Limits(2**30, 10**6))
