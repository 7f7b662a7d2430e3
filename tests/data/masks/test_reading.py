from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mask_tools import BLACK, HALF_SKY, U8, VOC, WHITE, disc, error_message, judge, palette
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask, resize_mask
from skyseg.data.masks.stats import count_values, shares
from skyseg.data.pictures.metadata import ORIENTATION
from skyseg.params import DataParams
from tiny import save, sky

# Supported kinds of masks: each gives the same result.

KINDS: dict[str, tuple[np.ndarray, str, str]] = {
    "0/1": (HALF_SKY.astype(U8), "0/1", "0/1 (they look black)"),
    "0/255": (HALF_SKY.astype(U8) * U8(255), "0/255", "0/255, foreground 255"),
    "rgb": (np.repeat(HALF_SKY[..., None] * U8(255), 3, 2), "0/255", "0/255"),
    "rgba": (
        np.dstack(
            [np.repeat(HALF_SKY[..., None] * U8(255), 3, 2), np.full_like(HALF_SKY, 255, U8)]
        ),
        "0/255",
        "0/255",
    ),
    "alpha": (np.dstack([np.zeros((40, 48, 3), U8), HALF_SKY * U8(255)]), "alpha", "alpha channel"),
    "alpha of white": (
        np.dstack([np.repeat(HALF_SKY[..., None] * U8(255), 4, 2)]),
        "alpha",
        "alpha channel",
    ),
    "16 bit": (HALF_SKY * np.uint16(65535), "0/255", "0/65535"),
    "16 bit holding 8": (HALF_SKY * np.uint16(255), "0/255", "0/255"),
    "16 bit 0/1": (HALF_SKY.astype(np.uint16), "0/1", "0/1"),
    "boolean": (HALF_SKY, "0/255", "two-valued"),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds(tmp_path: Path, name: str) -> None:
    pixels, kind, words = KINDS[name]
    path = save(tmp_path / "a.png", pixels)
    encoding, sentence = judge([path])
    assert encoding.kind == kind
    assert words in sentence
    assert "0 of 1,920 pixels changed" in sentence
    np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)
    assert shares(count_values(path, DataParams()), encoding) == (0.5, 0)
    # The encoding survives a round trip through JSON.
    assert Encoding.model_validate_json(encoding.model_dump_json()) == encoding
    # An all-black file of the same kind is accepted, and ``invert`` inverts.
    black = save(tmp_path / "b.png", np.zeros_like(pixels))
    assert judge([path, black])[0] == encoding
    inverted, sentence = judge([path], invert=True)
    assert "inverted" in sentence
    np.testing.assert_array_equal(read_mask(path, inverted), ~HALF_SKY)


@pytest.mark.parametrize("colours", [VOC, [BLACK, WHITE], [(9, 9, 200), (250, 10, 10)]])
def test_palette_of_two_indices(tmp_path: Path, colours: list[tuple[int, int, int]]) -> None:
    palette(HALF_SKY, colours).save(tmp_path / "a.png")
    encoding, _ = judge([tmp_path / "a.png"])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", encoding), HALF_SKY)


def test_palette_whose_colours_are_black_and_white(tmp_path: Path) -> None:
    palette(np.where(HALF_SKY, 3, 2), [VOC[1], VOC[2], BLACK, WHITE]).save(tmp_path / "a.png")
    encoding, _ = judge([tmp_path / "a.png"])
    assert encoding.kind == "0/255"
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", encoding), HALF_SKY)


def test_palette_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    palette(HALF_SKY, [WHITE, BLACK]).save(tmp_path / "a.png")
    assert "index 0 white and index 1 black" in error_message([tmp_path / "a.png"])
    palette(np.zeros((9, 9)), [WHITE]).save(tmp_path / "b.png")
    assert "index 0 white" in error_message([tmp_path / "b.png"])
    # Setting the foreground index resolves it.
    encoding, _ = judge([tmp_path / "a.png"], foreground=[1])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", encoding), HALF_SKY)


def test_palette_of_classes_needs_foreground(tmp_path: Path) -> None:
    classes = HALF_SKY + 2 * sky(0.25)
    palette(classes, VOC).save(tmp_path / "a.png")
    assert "palette with indices 0, 1, 3: set data.foreground" in error_message(
        [tmp_path / "a.png"]
    )
    encoding, sentence = judge([tmp_path / "a.png"], foreground=[3], ignore=[1])
    assert "class index (0, 1, 3 seen), foreground 3, ignored 1" in sentence
    expected = np.where(classes == 1, 255, classes == 3)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", encoding), expected)


def test_files_of_1_8_and_16_bits_can_be_mixed(tmp_path: Path) -> None:
    files = [
        save(tmp_path / "a.png", HALF_SKY),
        save(tmp_path / "b.png", HALF_SKY * U8(255)),
        save(tmp_path / "c.png", HALF_SKY * np.uint16(65535)),
    ]
    encoding, _ = judge(files)
    for file in files:
        np.testing.assert_array_equal(read_mask(file, encoding), HALF_SKY)


@pytest.mark.parametrize("dtype", [U8, np.uint16])
def test_class_indices(tmp_path: Path, dtype: type) -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 12, (30, 40)).astype(dtype)
    if dtype == np.uint16:
        classes[0, :10] = 999
    path = save(tmp_path / "a.png", classes)
    encoding, sentence = judge([path], foreground=[0, 4], ignore=[11])
    assert "class index (0-11" in sentence
    expected = np.where(classes == 11, 255, np.isin(classes, (0, 4)))
    np.testing.assert_array_equal(read_mask(path, encoding), expected)
    foreground, ignored = shares(
        count_values(path, DataParams(foreground=[0, 4], ignore=[11])), encoding
    )
    assert foreground == pytest.approx((expected == 1).sum() / (expected != 255).sum())
    assert ignored == pytest.approx((expected == 255).mean())
    message = error_message([path], foreground=[0, 77])
    assert "data.foreground: 77 occurs in no mask" in message
    assert "values found: 0-11" in message


def test_class_indices_warn_when_void_counts_as_background(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 1, 255]], U8))
    assert "see data.ignore" in judge([path], foreground=[1])[1]
    assert "see data.ignore" not in judge([path], foreground=[1], ignore=[255])[1]


@pytest.mark.parametrize(("values", "ignore"), [((0, 1, 255), 255), ((0, 255, 128), 128)])
def test_binary_masks_with_an_ignored_value(
    tmp_path: Path, values: tuple[int, int, int], ignore: int
) -> None:
    codes = np.repeat(np.array([[0, 1, 2]]), 9, axis=0).repeat(9, axis=1)
    path = save(tmp_path / "a.png", np.array(values, U8)[codes])
    encoding, sentence = judge([path], ignore=[ignore])
    assert f"ignored {ignore}" in sentence
    np.testing.assert_array_equal(read_mask(path, encoding), np.array([0, 1, 255])[codes])
    assert "ambiguous: set data.ignore: " + f"[{ignore}]" in error_message([path])


def test_an_ignored_16_bit_value_does_not_make_the_others_16_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 1, 65535]], np.uint16))
    encoding, _ = judge([path], ignore=[65535])
    assert read_mask(path, encoding).tolist() == [[0, 1, 255]]


def test_soft_edges_are_thresholded_at_half(tmp_path: Path) -> None:
    soft = disc()
    path = save(tmp_path / "a.png", soft)
    encoding, sentence = judge([path])
    assert encoding.kind == "soft"
    between = ((soft > 0) & (soft < 255)).sum()
    assert f"foreground from 128 on; {between:,} of" in sentence
    np.testing.assert_array_equal(read_mask(path, encoding), soft >= 128)
    deep = save(tmp_path / "b.png", soft.astype(np.uint16) * 257 + (soft == 127))
    wide, sentence = judge([deep])
    assert "foreground from 32768 on" in sentence
    np.testing.assert_array_equal(read_mask(deep, wide), soft >= 128)


def test_foreground_share_of_16_bit_soft_masks_matches_their_pixels(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 60_000).astype(np.uint16).reshape(200, 300)
    path = save(tmp_path / "a.png", ramp)
    encoding, _ = judge([path])
    codes = read_mask(path, encoding)
    np.testing.assert_array_equal(codes, ramp >= 32768)
    assert shares(count_values(path, DataParams()), encoding)[0] == pytest.approx(codes.mean())


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_noise(tmp_path: Path, quality: int) -> None:
    clean = disc(soft=False)
    path = save(tmp_path / "a.jpg", clean, quality=quality)
    noisy = np.asarray(Image.open(path))
    encoding, sentence = judge([path])
    touched = ((noisy > 0) & (noisy < 255)).sum()
    assert f"blurred by lossy compression, foreground from 128 on; {touched:,} of" in sentence
    assert (read_mask(path, encoding) != (clean > 0)).mean() < 0.01
    rgb = save(tmp_path / "b.jpg", np.repeat(clean[..., None], 3, 2), quality=quality)
    assert judge([rgb])[0] == encoding


@pytest.mark.parametrize("suffix", [".webp", ".heic"])
def test_the_noise_of_other_lossy_formats(tmp_path: Path, suffix: str) -> None:
    clean = disc(soft=False)
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = save(tmp_path / f"a{suffix}", np.repeat(clean[..., None], 3, 2), quality=40)
    encoding, sentence = judge([path])
    assert "blurred by lossy compression, foreground from 128 on" in sentence
    assert (read_mask(path, encoding) != (clean > 0)).mean() < 0.01


def test_exif_turns_masks_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for name, pixels in {"a.png": HALF_SKY * U8(255), "b.png": HALF_SKY * np.uint16(65535)}.items():
        path = save(tmp_path / name, pixels, exif=exif)
        encoding, _ = judge([path])
        np.testing.assert_array_equal(read_mask(path, encoding), np.rot90(HALF_SKY, -1))


# Resizing.

MASKS = arrays(
    U8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.sampled_from([0, 1, 255])
)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(1, 50))
def test_resized_masks_stay_masks(mask: np.ndarray, size: int) -> None:
    small = resize_mask(mask, size)
    assert small.shape == (size, size)
    assert small.dtype == U8
    assert set(np.unique(small)) <= set(np.unique(mask))


@settings(max_examples=40, deadline=None)
@given(arrays(U8, (12, 12), elements=st.sampled_from([0, 1, 255])), st.sampled_from([2, 3, 4]))
def test_resize_follows_the_majority_of_valid_pixels(mask: np.ndarray, factor: int) -> None:
    blocks = (
        mask.reshape(12 // factor, factor, -1, factor)
        .swapaxes(1, 2)
        .reshape(12 // factor, 12 // factor, -1)
    )
    valid = (blocks != 255).sum(-1)
    expected = np.where(2 * valid <= factor**2, 255, 2 * (blocks == 1).sum(-1) >= valid)
    np.testing.assert_array_equal(resize_mask(mask, 12 // factor), expected)
