"""Pixels of every mode as RGB, and what transparency means."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from picture_tools import chunk, encoded, exif, tiff_with
from skyseg.data.pictures.codec import decode, open_upright
from skyseg.data.pictures.colours import CLEAR
from tiny import photograph

PHOTO = photograph(0)
GREY = PHOTO[..., 0]


def with_alpha(alpha: int | np.ndarray) -> np.ndarray:
    return np.dstack([PHOTO, np.broadcast_to(np.uint8(alpha), GREY.shape)])


def png_16_bit(alpha: np.ndarray) -> bytes:
    """A PNG of 16-bit RGBA, which Pillow does not write."""
    deep = np.dstack([PHOTO.astype(np.uint16) * 257, alpha.astype(np.uint16)]).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    head = struct.pack(">IIBBBBB", GREY.shape[1], GREY.shape[0], 16, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND")
    )


def palette(**options: object) -> tuple[bytes, np.ndarray]:
    image = Image.fromarray(PHOTO).quantize(16)
    return encoded(image, "PNG", **options), np.asarray(image.convert("RGB"))


def premultiplied_tiff(alpha: int) -> bytes:
    """RGBA whose tag says that colours are multiplied by alpha."""
    return tiff_with(encoded(with_alpha(alpha), "TIFF"), (338, 3, 1, struct.pack("<H", 1)))


CLEAR_FILES = {
    "rgba": (encoded(with_alpha(0), "PNG"), PHOTO),
    "grey": (
        encoded(Image.fromarray(np.dstack([GREY, GREY * 0]), "LA"), "PNG"),
        np.dstack([GREY] * 3),
    ),
    "palette": palette(transparency=bytes(16)),
    "key": (encoded(np.full((8, 8, 3), 90, np.uint8), "PNG", transparency=(90, 90, 90)), None),
    "grey_key": (encoded(np.full((8, 8), 90, np.uint8), "PNG", transparency=90), None),
    "deep": (png_16_bit(np.zeros(GREY.shape)), PHOTO),
    "deep_nearly": (png_16_bit(np.full(GREY.shape, 200)), PHOTO),  # 200 of 65535
    "webp": (encoded(with_alpha(0), "WEBP", lossless=True, exact=True), PHOTO),
    "tiff": (encoded(with_alpha(0), "TIFF"), PHOTO),
    "premultiplied_tiff": (premultiplied_tiff(0), PHOTO),
    "tga": (encoded(with_alpha(0), "TGA"), PHOTO),
    "deep_grey_key": (
        encoded(np.full((8, 8), 90 * 257, np.uint16), "PNG", transparency=90 * 257),
        None,
    ),
}


@pytest.mark.parametrize("name", CLEAR_FILES)
def test_a_wholly_transparent_photograph_is_opaque(name: str) -> None:
    data, expected = CLEAR_FILES[name]
    picture = decode(data, "a")
    assert picture.notes == (CLEAR,)
    expected = np.full((8, 8, 3), 90, np.uint8) if expected is None else expected
    np.testing.assert_array_equal(picture.pixels, expected)


@pytest.mark.parametrize("name", ["png", "webp", "tiff"])
def test_a_partly_transparent_one_is_on_white(name: str) -> None:
    alpha = np.zeros(GREY.shape, np.uint8)
    alpha[3, 4] = 255
    options = {"lossless": True, "exact": True} if name == "webp" else {}
    picture = decode(encoded(with_alpha(alpha), name.upper(), **options), "a")
    assert picture.notes == ()
    assert (picture.pixels == 255).all(axis=2).sum() >= GREY.size - 1
    assert picture.pixels[3, 4].tolist() == PHOTO[3, 4].tolist()


def test_some_transparent_values_are_white() -> None:
    deep = np.full((2, 2), 90 * 257, np.uint16)
    deep[0, 0] = 7
    for data in (
        encoded(deep, "PNG", transparency=7),
        encoded((deep // 257).astype(np.uint8), "PNG", transparency=0),
    ):
        assert decode(data, "a").pixels[..., 0].tolist() == [[255, 90], [90, 90]]


def test_a_premultiplied_tiff_has_its_colours() -> None:
    np.testing.assert_array_equal(decode(premultiplied_tiff(255), "a").pixels, PHOTO)


def twelve_bits(white_is_zero: bool) -> bytes:
    """A TIFF of one row of two 12-bit greys, 4095 and 0."""
    data = encoded(np.zeros((1, 3), np.uint8), "TIFF")
    entries = [(256, 2), (257, 1), (258, 12), (262, 0 if white_is_zero else 1), (278, 1), (279, 3)]
    return tiff_with(
        data[:4] + data[4:] + b"\xff\xf0\0",
        *[(tag, 3, 1, struct.pack("<H", value)) for tag, value in entries],
        (273, 4, 1, struct.pack("<I", len(data))),
    )


def test_12_bits_of_a_tiff() -> None:
    picture = decode(twelve_bits(False), "a")
    assert picture.pixels.tolist() == [[[255] * 3, [0] * 3]]
    assert picture.flags == ("16bit",)
    # As they are stored, for masks.
    assert np.asarray(open_upright(twelve_bits(False), "a")[0]).tolist() == [[4095, 0]]


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_that_is_zero(dtype: type, turn: int) -> None:
    values = np.array([[0, 1], [3, 9]], dtype) * dtype(20)
    largest = np.iinfo(dtype).max
    tags = ((262, 3, 1, struct.pack("<H", 0)), (274, 3, 1, struct.pack("<H", turn)))
    data = tiff_with(encoded(values, "TIFF"), *tags)
    expected = largest - (values if turn == 1 else np.rot90(values, -1))
    np.testing.assert_array_equal(np.asarray(open_upright(data, "a")[0]), expected)
    assert decode(data, "a").orientation == turn


def test_exif_is_no_transparency() -> None:
    assert decode(encoded(PHOTO, "PNG", exif=exif()), "a").pixels.shape == PHOTO.shape
