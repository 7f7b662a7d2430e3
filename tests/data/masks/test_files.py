"""Mask files that are unusual in themselves."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mask_tools import HALF_SKY, U8, disc, error_message, judge, palette
from skyseg.data.masks.reading import read_mask
from tiny import save, sky

WHITE = Image.fromarray(HALF_SKY * U8(255))
OTHER = Image.fromarray(sky(0.2) * U8(255))


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.png", "a.webp", "a.avif", "a.mpo"])
@pytest.mark.parametrize("count", [2, 3, 20])
def test_several_pages_are_refused(tmp_path: Path, name: str, count: int) -> None:
    options = {"lossless": True} if name == "a.webp" else {}
    more = [Image.fromarray(sky(0.04 * n) * U8(255)) for n in range(1, count)]
    image = WHITE.convert("RGB") if name in ("a.webp", "a.avif", "a.mpo") else WHITE
    image.save(tmp_path / name, save_all=True, append_images=more, **options)
    said = f"{count} pages" if count < 17 else "over 16 pages"
    for data in ({}, {"foreground": [255]}):
        message = error_message([tmp_path / name], **data)
        assert f"{name}: {said} or frames; save one per mask" in message


def test_a_thumbnail_is_no_second_page(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    path, full, small = tmp_path / "a.tif", np.asarray(WHITE), np.asarray(WHITE.resize((12, 10)))
    with tifffile.TiffWriter(path) as writer:
        writer.write(full)
        writer.write(small, subfiletype=1)
    assert Image.open(path).n_frames == 2
    encoding, _ = judge([path])
    np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)
    # The first page is what is read, so it may not be the thumbnail.
    with tifffile.TiffWriter(path) as writer:
        writer.write(small, subfiletype=1)
        writer.write(full)
    assert "a.tif: 2 pages" in error_message([path])


def test_icons_of_several_sizes_are_refused(tmp_path: Path) -> None:
    WHITE.save(tmp_path / "a.ico", sizes=[(16, 16), (32, 32)])
    assert "a.ico: 2 pages or frames" in error_message([tmp_path / "a.ico"])


def with_alpha(grey: np.ndarray, alpha: np.ndarray, mode: str) -> Image.Image:
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).convert(mode)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_labels_in_alpha(tmp_path: Path, mode: str) -> None:
    black, label = np.zeros((40, 48), U8), HALF_SKY * U8(255)
    path = tmp_path / "a.png"
    with_alpha(black, label, mode).save(path)
    encoding, _ = judge([path])
    np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)
    assert "a.png: data.foreground is set, but this mask has an alpha" in error_message(
        [path], foreground=[255]
    )
    # Alpha that is the same everywhere says nothing, even if it is 0.
    for level in (255, 0):
        same = tmp_path / f"{level}.png"
        with_alpha(label, np.full_like(black, level), mode).save(same)
        for data in ({}, {"foreground": [255]}):
            encoding, _ = judge([same], **data)
            np.testing.assert_array_equal(read_mask(same, encoding), HALF_SKY)
        # But it must not count as all foreground beside masks whose label is in alpha.
        message = error_message([path, same])
        assert "a.png is a mask by its alpha channel and" in message
        assert f"{level}.png by its greys" in message


def test_palettes_with_transparency(tmp_path: Path) -> None:
    image = palette(HALF_SKY, [(0, 0, 0), (200, 30, 40)])
    image.save(tmp_path / "a.png", transparency=0)  # the background is transparent
    for data in ({}, {"foreground": [1]}):
        encoding, _ = judge([tmp_path / "a.png"], **data)
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png", encoding), HALF_SKY)
    image.save(tmp_path / "b.png", transparency=7)  # what is transparent does not occur
    encoding, _ = judge([tmp_path / "b.png"])
    assert encoding.kind != "alpha"
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png", encoding), HALF_SKY)


def test_white_that_is_transparent_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", HALF_SKY * U8(255), transparency=255)
    assert "its alpha channel differ" in error_message([tmp_path / "a.png"])
    save(tmp_path / "b.png", HALF_SKY, transparency=255)
    assert "its alpha channel differ" in error_message([tmp_path / "b.png"])


@pytest.mark.parametrize("data", [{}, {"foreground": [1]}])
@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (HALF_SKY.astype(np.float32), "floating-point values"),
        (HALF_SKY * np.int32(-5), "values outside 0-65535"),
        (HALF_SKY * np.int32(70_000), "values outside 0-65535"),
    ],
)
def test_numbers_that_are_no_masks(
    tmp_path: Path, pixels: np.ndarray, words: str, data: dict
) -> None:
    path = save(tmp_path / "a.tif", pixels)
    assert words in error_message([path], **data)


def test_modes_that_are_not_grey(tmp_path: Path) -> None:
    Image.new("LAB", (48, 40)).save(tmp_path / "lab.tif")
    assert "lab.tif: the mask is stored as LAB" in error_message([tmp_path / "lab.tif"])
    black_ink = Image.merge(
        "CMYK", [Image.new("L", (48, 40))] * 3 + [Image.eval(WHITE, lambda v: 255 - v)]
    )
    black_ink.save(tmp_path / "cmyk.tif")
    encoding, _ = judge([tmp_path / "cmyk.tif"])
    np.testing.assert_array_equal(read_mask(tmp_path / "cmyk.tif", encoding), HALF_SKY)


def test_16_bits_a_channel(tmp_path: Path) -> None:
    """Pillow keeps the upper 8 bits, so small numbers are lost."""
    deep = np.repeat(HALF_SKY[..., None] * np.uint16(65535), 3, 2)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    encoding, _ = judge([tmp_path / "a.png"])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", encoding), HALF_SKY)
    cv2.imwrite(str(tmp_path / "b.png"), deep // 65535)
    assert "b.png: 16 bits a channel, and the upper 8 are all 0" in error_message(
        [tmp_path / "b.png"]
    )
    for name in "ab":
        message = error_message([tmp_path / f"{name}.png"], foreground=[1])
        assert f"{name}.png: 16 bits a channel and several channels" in message


def test_jpeg_inside_tiff_is_lossy(tmp_path: Path) -> None:
    image = Image.fromarray(disc(soft=False))
    image.save(tmp_path / "a.tif", compression="jpeg", quality=75)
    assert np.isin(np.asarray(Image.open(tmp_path / "a.tif")), (0, 255)).mean() < 1
    encoding, sentence = judge([tmp_path / "a.tif"])
    assert "blurred by lossy compression" in sentence
    assert (read_mask(tmp_path / "a.tif", encoding) != (np.asarray(image) > 0)).mean() < 0.01
    assert "save the masks as PNG" in error_message([tmp_path / "a.tif"], foreground=[255])


def test_signed_numbers(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    for name, dtype, white in (("a", np.int16, 32767), ("b", np.uint32, 65535)):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, HALF_SKY.astype(dtype) * dtype(white), photometric="minisblack")
        encoding, _ = judge([path])
        np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)
        tifffile.imwrite(path, HALF_SKY.astype(dtype) * dtype(3), photometric="minisblack")
        encoding, _ = judge([path], foreground=[3])
        np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)
    tifffile.imwrite(tmp_path / "c.tif", HALF_SKY * np.int8(-1), photometric="minisblack")
    assert "signed 8-bit" in error_message([tmp_path / "c.tif"])
    for dtype in (np.float16, np.float64, np.uint64):
        tifffile.imwrite(tmp_path / "d.tif", HALF_SKY.astype(dtype), photometric="minisblack")
        error_message([tmp_path / "d.tif"])


def test_pages_of_a_damaged_or_endless_file(tmp_path: Path) -> None:
    WHITE.save(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    table = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[table : table + 2], "little")
    at = table + 2 + 12 * entries  # where the next page is said to begin
    for following in (table, len(content) - 3, 2**31):  # itself, nearly nothing, nothing
        content[at : at + 4] = following.to_bytes(4, "little")
        (tmp_path / "b.tif").write_bytes(content)
        encoding, _ = judge([tmp_path / "b.tif"])
        np.testing.assert_array_equal(read_mask(tmp_path / "b.tif", encoding), HALF_SKY)
