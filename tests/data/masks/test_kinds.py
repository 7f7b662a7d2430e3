"""Masks of several depths and containers in one set."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mask_tools import (
    BLACK,
    HALF_SKY,
    U8,
    WHITE,
    disc,
    error_message,
    grey_png,
    judge,
    palette,
    pgm,
    tiff,
)
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.masks.stats import count_soft_pixels, count_values, shares
from skyseg.data.pictures import codec
from skyseg.data.pictures.metadata import ORIENTATION
from skyseg.errors import UserError
from skyseg.params import DataParams
from tiny import save, sky

VOID = sky(0.1)  # within the foreground


def voided(white: int, void: int) -> np.ndarray:
    """uint16 [40, 48]: the upper half white, its top void."""
    return np.where(VOID, void, HALF_SKY * white).astype(np.uint16)


EXPECTED = np.where(VOID, 255, HALF_SKY)

Make = Callable[[Path], Path]

# Files that hold HALF_SKY as brightness, next to 8-bit files of 0, 255 and void 128.
WHITES: dict[str, tuple[str, Make]] = {
    "1-bit": ("1-bit.png", lambda p: save(p, HALF_SKY)),
    "1-bit TIFF": ("b.tif", lambda p: save(p, HALF_SKY)),
    "1-bit BMP": ("b.bmp", lambda p: save(p, HALF_SKY)),
    "1-bit PBM": ("b.pbm", lambda p: save(p, HALF_SKY)),
    "1-bit, white is zero": ("b.tif", lambda p: tiff(p, ~HALF_SKY, 1, 0)),
    "2-bit": ("b.png", lambda p: grey_png(p, HALF_SKY * 3, 2)),
    "4-bit": ("b.png", lambda p: grey_png(p, HALF_SKY * 15, 4)),
    "4-bit TIFF": ("b.tif", lambda p: tiff(p, HALF_SKY * 15, 4)),
    "palette": ("b.png", lambda p: drawn_palette(p, HALF_SKY, BLACK, WHITE)),
    "palette, white first": ("b.gif", lambda p: drawn_palette(p, ~HALF_SKY, WHITE, BLACK)),
    "16-bit": ("b.png", lambda p: save(p, HALF_SKY * np.uint16(65535))),
    "16-bit TIFF": ("b.tif", lambda p: save(p, HALF_SKY * np.uint16(65535))),
    "16-bit holding 8": ("b.png", lambda p: save(p, HALF_SKY * np.uint16(255))),
    "12 bits in 16": ("b.png", lambda p: save(p, HALF_SKY * np.uint16(4095))),
    "10 bits in 16": ("b.png", lambda p: save(p, HALF_SKY * np.uint16(1023))),
    "signed 16-bit": ("b.tif", lambda p: save(p, HALF_SKY * np.int32(32767))),
    "12-bit": ("b.tif", lambda p: tiff(p, HALF_SKY * 4095, 12)),
    "PGM": ("b.pgm", lambda p: pgm(p, HALF_SKY * 100, 100)),
    "PGM of 1000": ("b.pgm", lambda p: pgm(p, HALF_SKY * 1000, 1000)),
}


def drawn_palette(path: Path, indices: np.ndarray, *colours: tuple[int, int, int]) -> Path:
    palette(indices, list(colours)).save(path)
    return path


@pytest.mark.parametrize("name", WHITES)
def test_white_is_255_beside_masks_with_void(tmp_path: Path, name: str) -> None:
    file, make = WHITES[name]
    plain = save(tmp_path / "a.png", voided(255, 128).astype(U8))
    other = make(tmp_path / file)
    data = {"foreground": [255], "ignore": [128]}
    encoding, sentence = judge([plain, other], **data)
    np.testing.assert_array_equal(read_mask(plain, encoding), EXPECTED)
    np.testing.assert_array_equal(read_mask(other, encoding), HALF_SKY)
    assert shares(count_values(other, DataParams.model_validate(data)), encoding) == (0.5, 0)
    if name != "16-bit holding 8":
        assert f"files such as {file} scaled to 0-255" in sentence
    assert Encoding.model_validate_json(encoding.model_dump_json()) == encoding
    # The order of the files does not matter.
    assert judge([other, plain], **data)[0] == encoding
    # Alone as well, what the settings name decides.
    alone, _ = judge([other], foreground=[255])
    np.testing.assert_array_equal(read_mask(other, alone), HALF_SKY)


@pytest.mark.parametrize("name", sorted({*WHITES} - {"palette, white first"}))  # it is refused
def test_greys_of_any_kind_beside_8_bits(tmp_path: Path, name: str) -> None:
    file, make = WHITES[name]
    other = make(tmp_path / file)
    plain = save(tmp_path / "a.png", HALF_SKY * U8(255))
    for files in ([other], [plain, other], [other, plain]):
        encoding, _ = judge(files)
        for path in files:
            np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)
            assert shares(count_values(path, DataParams()), encoding) == (0.5, 0)


CLASSES = np.repeat(np.arange(4), 10)[:, None].repeat(48, axis=1)

# Files that hold the class indices 0 to 3.
INDICES: dict[str, tuple[str, Make]] = {
    "2-bit": ("b.png", lambda p: grey_png(p, CLASSES, 2)),
    "4-bit": ("b.png", lambda p: grey_png(p, CLASSES, 4)),
    "2-bit TIFF": ("b.tif", lambda p: tiff(p, CLASSES, 2)),
    "4-bit TIFF": ("b.tif", lambda p: tiff(p, CLASSES, 4)),
    "4-bit, white is zero": ("b.tif", lambda p: tiff(p, CLASSES, 4, 0)),
    "8-bit, white is zero": ("b.tif", lambda p: tiff(p, CLASSES, 8, 0)),
    "16-bit, white is zero": ("b.tif", lambda p: tiff(p, CLASSES, 16, 0)),
    "palette": ("b.png", lambda p: drawn_palette(p, CLASSES, BLACK, (9, 0, 0), WHITE, (0, 9, 0))),
    "grey palette": (
        "b.png",
        lambda p: drawn_palette(p, CLASSES, BLACK, (85,) * 3, (170,) * 3, WHITE),
    ),
    "16-bit": ("b.png", lambda p: save(p, CLASSES.astype(np.uint16))),
    "PGM": ("b.pgm", lambda p: pgm(p, CLASSES, 3)),
    "PGM of 20": ("b.pgm", lambda p: pgm(p, CLASSES, 20)),
    "PGM of 300": ("b.pgm", lambda p: pgm(p, CLASSES, 300)),
    "12-bit": ("b.tif", lambda p: tiff(p, CLASSES, 12)),
}


@pytest.mark.parametrize("name", INDICES)
def test_class_indices_are_what_the_file_stores(tmp_path: Path, name: str) -> None:
    file, make = INDICES[name]
    other, plain = make(tmp_path / file), save(tmp_path / "a.png", CLASSES.astype(U8))
    expected = np.where(CLASSES == 2, 255, CLASSES == 1)
    for files in ([other], [plain, other]):
        encoding, sentence = judge(files, foreground=[1], ignore=[2])
        assert "class index (0-3 seen)" in sentence
        for path in files:
            np.testing.assert_array_equal(read_mask(path, encoding), expected)


def test_what_is_not_certain_names_one_file_of_each_kind(tmp_path: Path) -> None:
    # White of the 1-bit file may be class 1, or 255, which is void.
    plain = save(tmp_path / "a.png", voided(1, 255).astype(U8))
    single = save(tmp_path / "b.png", HALF_SKY)
    message = error_message([plain, single], foreground=[1], ignore=[255])
    assert "b.png: 1-bit files hold 0, 1, or 0, 255 as brightness; both readings fit" in message
    assert "beside 8-bit files such as" in message
    assert "a.png" in message
    # It is the same without listed indices.
    message = error_message([plain, single], ignore=[255])
    assert "b.png" in message
    assert "a.png" in message
    # Neither fits.
    grey = save(tmp_path / "c.png", voided(200, 100).astype(U8))
    message = error_message([grey, single], foreground=[200], ignore=[100])
    assert "no reading fits" in message
    assert "c.png" in message
    # Values that nothing else knows.
    deep = save(tmp_path / "d.png", HALF_SKY * np.uint16(4000))
    message = error_message([grey, deep], foreground=[200])
    assert "d.png: 16-bit files hold 0, 4000; no reading fits" in message


def test_files_without_any_known_value_are_refused(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.png", HALF_SKY * U8(255))
    painted = drawn_palette(tmp_path / "b.png", HALF_SKY, BLACK, (128, 0, 0))
    few = grey_png(tmp_path / "c.png", HALF_SKY * 2, 2)
    for other in (painted, few):
        message = error_message([plain, other], foreground=[255])
        assert f"{other.name}: " in message
        assert "no reading fits" in message
        assert "a.png" in message
    # Without foreground they are certain.
    empty = save(tmp_path / "d.png", np.zeros((40, 48), bool))
    encoding, _ = judge([plain, empty], foreground=[255])
    assert not read_mask(empty, encoding).any()


def test_white_is_zero_with_values_that_fit_both_ways_is_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", HALF_SKY * 255, 8, 0)
    message = error_message([path], foreground=[255])
    assert "a.tif: 8-bit, white is zero files hold 0, 255, or 0, 255 as brightness" in message


def test_photographs_whose_white_is_zero(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", np.arange(1920).reshape(40, 48) * 30, 16, 0)
    shown = 65535 - np.arange(1920).reshape(40, 48) * 30
    pixels = codec.read(path).pixels
    np.testing.assert_array_equal(pixels[..., 0], (shown + 128) // 257)
    np.testing.assert_array_equal(codec.pixels_of(Image.open(path)), pixels)


@pytest.mark.parametrize("number", range(2, 9))
def test_turned_tiffs_say_so(tmp_path: Path, number: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = number
    stored = Image.fromarray(VOID * U8(200))
    for compression in ("raw", "tiff_lzw"):
        path = tmp_path / f"{compression}.tif"
        stored.save(path, exif=exif, compression=compression)
        picture = codec.read(path)
        assert picture.orientation == number
        assert "exif" in picture.flags
        assert codec.upright_size(path.read_bytes()) == picture.pixels.shape[1::-1]
        upright = np.asarray(stored.transpose(codec.UPRIGHT[number]))
        np.testing.assert_array_equal(picture.pixels[..., 0], upright)


def test_a_turned_mask_whose_white_is_zero(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(
        tmp_path / "a.tif",
        ~HALF_SKY * np.uint16(65535),
        photometric="miniswhite",
        extratags=[(ORIENTATION, 3, 1, 6, True)],
    )
    encoding, _ = judge([tmp_path / "a.tif"])
    assert count_values(tmp_path / "a.tif", DataParams()).turned == 6
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif", encoding), np.rot90(HALF_SKY, -1))


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_white_is_zero_shows_what_people_saw(tmp_path: Path, bits: int) -> None:
    path = tiff(tmp_path / "a.tif", ~HALF_SKY * (2**bits - 1), bits, 0)
    encoding, _ = judge([path])
    np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)


def test_single_bits_with_index_1_stay_indices(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", HALF_SKY)
    encoding, _ = judge([path], foreground=[1])
    assert not encoding.scaled
    np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)
    inverse, _ = judge([path], foreground=[0])
    np.testing.assert_array_equal(read_mask(path, inverse), ~HALF_SKY)


def test_a_class_that_only_16_bit_files_hold(tmp_path: Path) -> None:
    deep = save(tmp_path / "a.png", np.where(HALF_SKY, 300, 7).astype(np.uint16))
    plain = save(tmp_path / "b.png", np.where(HALF_SKY, 3, 7).astype(U8))
    encoding, _ = judge([deep, plain], foreground=[3, 300])
    for path in (deep, plain):
        np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)


@pytest.mark.parametrize("full", [1023, 4095, 16383, 32767, 65535])
def test_soft_masks_of_any_depth_beside_8_bits(tmp_path: Path, full: int) -> None:
    ramp = np.linspace(0, full, 60_000).round().astype(np.uint16).reshape(200, 300)
    deep, plain = save(tmp_path / "a.png", ramp), save(tmp_path / "b.png", disc())
    encoding, sentence = judge([deep, plain])
    half = (full + 1) // 2
    assert f"soft greys, foreground from {half} on, 8-bit files from 128 on" in sentence
    np.testing.assert_array_equal(read_mask(deep, encoding), ramp >= half)
    np.testing.assert_array_equal(read_mask(plain, encoding), disc() >= 128)
    stats = count_values(deep, DataParams())
    assert shares(stats, encoding)[0] == (ramp >= half).mean()
    assert count_soft_pixels(stats, encoding) == ((ramp > 0) & (ramp < full)).sum()


def test_two_whites_in_one_kind_name_a_file_of_each(tmp_path: Path) -> None:
    files = [
        save(tmp_path / "a.png", HALF_SKY * np.uint16(4095)),
        save(tmp_path / "b.png", HALF_SKY * np.uint16(65535)),
    ]
    message = error_message(files)
    assert "a.png: 16-bit, and its largest value is 4095, but" in message
    assert "b.png reaches 65535" in message
    eight = save(tmp_path / "d.png", HALF_SKY * np.uint16(255))
    message = error_message([eight, files[1]], foreground=[255])
    assert "d.png holds 255 and" in message
    assert "b.png 65535" in message
    black = grey_png(tmp_path / "c.png", HALF_SKY, 4)
    assert "c.png holds 0 and 1" in error_message([black, files[1]])


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_without_listed_indices(tmp_path: Path, bits: int) -> None:
    path = grey_png(tmp_path / "a.png", HALF_SKY, bits)
    encoding, sentence = judge([path])
    assert "0/1 (they look black)" in sentence
    np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)
    # An error says the numbers that settings have to name.
    classes = grey_png(tmp_path / "b.png", HALF_SKY * 2, bits)
    assert "mask values 0, 2 are ambiguous: set data.foreground: [2]" in error_message([classes])
    encoding, _ = judge([classes], foreground=[2])
    np.testing.assert_array_equal(read_mask(classes, encoding), HALF_SKY)


def test_a_class_that_only_1_bit_files_hold_is_no_void(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.png", np.select([VOID, HALF_SKY], [255, 3], 0).astype(U8))
    single = save(tmp_path / "b.png", HALF_SKY)
    message = error_message([plain, single], foreground=[3], ignore=[255])
    assert "b.png: 1-bit files hold 0, 1, or 0, 255 as brightness" in message


def stored_as(path: Path, kind: str, codes: np.ndarray) -> Path:
    """A file that stores ``codes`` as they are."""
    if kind in ("1-bit", "2-bit", "4-bit"):
        return grey_png(path, codes, int(kind[0]))
    if kind == "palette":
        palette(codes, [(0, 0, 0), *((9, i, 254 - i) for i in range(255))]).save(path)
        return path
    return save(path, codes.astype({"8-bit": U8, "16-bit": np.uint16}[kind]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_class_indices_in_mixed_files_are_right_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mixed")
    foreground = data.draw(st.integers(0, 6), "foreground")
    ignore = data.draw(st.sampled_from([[], [7], [255]]), "ignore")
    files, expected = [], []
    for number in range(data.draw(st.integers(1, 5), "files")):
        kind = data.draw(st.sampled_from(["1-bit", "2-bit", "4-bit", "8-bit", "16-bit", "palette"]))
        most = {"1-bit": 1, "2-bit": 3, "4-bit": 7}.get(kind, 7)
        values = data.draw(st.lists(st.integers(0, most), min_size=2, max_size=5), kind)
        if ignore == [255] and most == 7 and kind != "4-bit" and data.draw(st.booleans()):
            values.append(255)
        codes = np.repeat(np.array(values), 4)[None].repeat(8, axis=0)
        files.append(stored_as(folder / f"{number}.png", kind, codes))
        expected.append(np.where(np.isin(codes, ignore), 255, codes == foreground))
    try:
        encoding, _ = judge(files, foreground=[foreground], ignore=ignore)
    except UserError:
        return
    for file, right in zip(files, expected, strict=True):
        np.testing.assert_array_equal(read_mask(file, encoding), right)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_white_in_mixed_files_is_right_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mixed")
    void = data.draw(st.sampled_from([0, 128, 7]), "void")
    files, expected = [], []
    for number in range(data.draw(st.integers(1, 5), "files")):
        name = data.draw(st.sampled_from([*WHITES, "8-bit", "void"]), "kind")
        if name in WHITES:
            file, make = WHITES[name]
            path = make(folder / f"{number}{file}")
        else:
            path = folder / f"{number}.png"
            save(path, voided(255, void if name == "void" else 255).astype(U8))
        files.append(path)
        ignored = name == "void" and void
        expected.append(EXPECTED if ignored else np.where(VOID & (name == "void"), 0, HALF_SKY))
    try:
        encoding, _ = judge(files, foreground=[255], ignore=[void] if void else [])
    except UserError:
        return
    for file, right in zip(files, expected, strict=True):
        np.testing.assert_array_equal(read_mask(file, encoding), right)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_greys_in_mixed_files_are_right_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mixed")
    files, expected = [], []
    for number in range(data.draw(st.integers(2, 5), "files")):
        name = data.draw(st.sampled_from([*WHITES, "soft", "soft, 12 bits"]), "kind")
        if name in WHITES:
            file, make = WHITES[name]
            files.append(make(folder / f"{number}{file}"))
            expected.append(HALF_SKY)
        else:
            deep = disc().astype(np.uint16) * 16
            soft = disc() if name == "soft" else np.where(deep == 4080, 4095, deep)
            files.append(save(folder / f"{number}.png", soft))
            expected.append(disc() >= 128)
    try:
        encoding, _ = judge(files)
    except UserError:
        return
    for file, right in zip(files, expected, strict=True):
        np.testing.assert_array_equal(read_mask(file, encoding), right)
        measured = shares(count_values(file, DataParams()), encoding)[0]
        assert measured == pytest.approx(right.mean())


def test_old_encodings_can_be_read_and_keep_their_fingerprint() -> None:
    old = {"kind": "0/255", "foreground": [], "ignore": [], "invert": False, "threshold": 128}
    encoding = Encoding.model_validate_json(json.dumps(old))
    assert encoding.model_dump(mode="json") == old | {"wide": False}
