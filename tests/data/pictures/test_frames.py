"""How many pictures a file holds, for the note that only the first is used."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from picture_tools import encoded, tiff_of_pages, tiff_with
from skyseg.data.pictures import headers
from skyseg.data.pictures.codec import decode
from tiny import photograph

FRAMES = [Image.fromarray(photograph(seed)) for seed in range(120)]


def note(data: bytes) -> str | None:
    return next(iter(decode(data, "a").notes), None)


@pytest.mark.parametrize(
    ("format", "kind"),
    [
        ("GIF", "animation"),
        ("PNG", "animation"),
        ("WEBP", "animation"),
        ("AVIF", "animation"),
        ("TIFF", "multi-page file"),
        ("HEIF", "file of several pictures"),
    ],
)
@pytest.mark.parametrize(("number", "count"), [(2, "2"), (101, "more than 100")])
def test_every_format(format: str, kind: str, number: int, count: str) -> None:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    small = [frame.resize((16, 16)) for frame in FRAMES[:number]]
    data = encoded(small[0], format, save_all=True, append_images=small[1:])
    assert note(data) == f"{kind}, only the first of {count} frames is used"


def test_one_picture_needs_no_note() -> None:
    assert note(encoded(FRAMES[0], "GIF")) is None
    assert note(encoded(FRAMES[0], "TIFF")) is None


def test_exactly_as_many_as_the_bound() -> None:
    assert note(tiff_of_pages(100)) == "multi-page file, only the first of 100 frames is used"


def test_a_thumbnail_is_no_page() -> None:
    first = encoded(FRAMES[0], "TIFF")
    small = tiff_with(encoded(FRAMES[1].resize((8, 8)), "TIFF"), (254, 4, 1, struct.pack("<I", 1)))
    layout = headers.tags(small)
    assert layout
    moved = tiff_with(
        small,
        *[
            (entry.tag, entry.type, entry.values, struct.pack("<I", entry.value + len(first)))
            for entry in headers.table(small, layout, layout.first)[0]
            if entry.size > 4
        ],
    )
    offset = len(first) + int.from_bytes(moved[4:8], "little")
    start = headers.tags(first)
    assert start
    end = start.first + 2 + 12 * int.from_bytes(first[start.first : start.first + 2], "little")
    joined = first[:end] + struct.pack("<I", offset) + first[end + 4 :] + moved
    assert Image.open(io.BytesIO(joined)).n_frames == 2
    assert note(joined) is None


def test_a_loop_of_pages_ends() -> None:
    data = encoded(FRAMES[0], "TIFF")
    layout = headers.tags(data)
    assert layout
    end = layout.first + 2 + 12 * int.from_bytes(data[layout.first : layout.first + 2], "little")
    assert note(data[:end] + data[4:8] + data[end + 4 :]) is None


def test_the_data_of_a_gif_may_look_like_blocks() -> None:
    """Blocks of 44 bytes begin as pictures do."""
    data = encoded(Image.new("L", (4, 4)), "GIF")
    at = data.index(b",", 13)
    comment = b"!\xfe" + (b"," + bytes(44)) * 20 + b"\0"
    assert note(data[:at] + comment + data[at:]) is None
    two = encoded(FRAMES[0], "GIF", save_all=True, append_images=[FRAMES[1]])
    assert note(two) == "animation, only the first of 2 frames is used"
