from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from skyseg.data.mask_meaning import infer_encoding
from skyseg.data.mask_stats import count_values, shares
from skyseg.data.masks import Encoding, read_mask, resize_mask
from skyseg.data.metadata import ORIENTATION
from skyseg.errors import UserError
from skyseg.params import DataParams
from tiny import save, sky

HALF_SKY = sky(0.5)
U8 = np.uint8


def judge(files: list[Path], **data: Any) -> tuple[Encoding, str]:
    params = DataParams.model_validate(data)
    return infer_encoding([count_values(path, params) for path in files], params)


def error_message(files: list[Path], **data: Any) -> str:
    with pytest.raises(UserError) as caught:
        judge(files, **data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def disc(side: int = 96, soft: bool = True) -> np.ndarray:
    """uint8 [side, side]: a white disc on black, its edge anti-aliased or not."""
    big = 8 * side
    y, x = np.mgrid[:big, :big] - big / 2
    white = Image.fromarray(((x * x + y * y < (big / 3) ** 2) * 255).astype(U8))
    small = np.asarray(white.resize((side, side), Image.Resampling.BOX))
    return small if soft else ((small >= 128) * 255).astype(U8)


def palette(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(indices.astype(U8), "L").convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([channel for colour in colours for channel in colour])
    return image


VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


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


# Refused masks, and the fix that the error names.

CLASSES = np.repeat(np.arange(21, dtype=U8), 30).reshape(21, 30).repeat(10, axis=0)


def test_ambiguous_values_name_the_key(tmp_path: Path) -> None:
    two = save(tmp_path / "two.png", HALF_SKY * U8(38))
    assert "mask values 0, 38 are ambiguous: set data.foreground: [38]" in error_message([two])
    classes = save(tmp_path / "classes.png", CLASSES)
    message = error_message([classes])
    assert "classes.png: mask values 0-20" in message
    assert "set data.foreground" in message
    lossy = save(tmp_path / "lossy.jpg", CLASSES)
    assert "save the masks as PNG" in error_message([lossy])
    assert "save the masks as PNG" in error_message([lossy], foreground=[2])
    void = save(tmp_path / "void.jpg", np.where(CLASSES > 18, 255, CLASSES * U8(6)))
    assert "save the masks as PNG" in error_message([void])


def test_trimaps_are_refused(tmp_path: Path) -> None:
    trimap = np.select([sky(0.3), sky(0.7)], [255, 128]).astype(U8)
    assert "set data.ignore: [128]" in error_message([save(tmp_path / "a.png", trimap)])


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 60), st.booleans(), st.integers(0, 1000))
def test_no_class_map_passes_for_a_soft_mask(
    tmp_path_factory: pytest.TempPathFactory, count: int, void: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = np.append(rng.choice(np.arange(1, 255), count - 1, replace=False), 0)
    if void:
        values[0] = 255
    cells = rng.choice(values, (12, 12)).astype(U8).repeat(8, axis=0).repeat(8, axis=1)
    cells[:8, : 8 * 2] = np.repeat(values[:2], 8)
    path = save(tmp_path_factory.mktemp("classes") / "a.png", cells)
    error_message([path])


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 12), st.integers(0, 1000))
def test_every_blurred_shape_is_soft(
    tmp_path_factory: pytest.TempPathFactory, sigma: float, seed: int
) -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    shape = np.zeros((120, 160))
    top, left = rng.integers(5, 40, 2)
    shape[top : top + 60, left : left + 70] = 255
    soft = gaussian_filter(shape, sigma).round().astype(U8)
    path = save(tmp_path_factory.mktemp("soft") / "a.png", soft)
    encoding, _ = judge([path])
    np.testing.assert_array_equal(read_mask(path, encoding), soft >= 128)


def test_mixed_scales_name_one_file_of_each(tmp_path: Path) -> None:
    files = [
        save(tmp_path / "a.png", HALF_SKY * U8(255)),
        save(tmp_path / "b.png", HALF_SKY.astype(U8)),
    ]
    message = error_message(files)
    assert "b.png holds 0 and 1 while " in message
    assert "a.png reaches 255" in message
    files[0] = save(tmp_path / "a.png", disc())
    assert "b.png holds 0 and 1" in error_message(files)


def test_soft_masks_have_to_reach_white(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.tile(np.arange(200, dtype=U8), (9, 1)))
    assert "no mask reaches white (largest value 199)" in error_message([path])


def test_constant_sets(tmp_path: Path) -> None:
    for level, word in ((0, "background"), (255, "foreground")):
        files = [save(tmp_path / f"{n}.png", np.full((9, 9), level, U8)) for n in range(2)]
        message = error_message(files)
        assert f"is {word} in all 2 masks" in message
        assert "data.invert" in message
    path = save(tmp_path / "c.png", np.full((9, 9), 3, U8))
    assert "check data.foreground" in error_message([path], foreground=[3])


def test_colours_are_refused(tmp_path: Path) -> None:
    red = np.zeros((9, 9, 3), U8)
    red[:5, :, 0] = 255
    path = save(tmp_path / "a.png", red)
    for data in ({}, {"foreground": [1]}):
        assert "a.png: the mask is in colour; save class indices" in error_message([path], **data)


def test_alpha_that_cannot_be_trusted(tmp_path: Path) -> None:
    grey = HALF_SKY * U8(255)
    differ = np.dstack([grey, grey, grey, ~sky(0.2) * U8(255)])
    path = save(tmp_path / "a.png", differ)
    assert "its alpha channel differ" in error_message([path])
    painted = np.zeros((40, 48, 4), U8)
    painted[:15] = (255, 0, 0, 255)
    painted[15:30] = (0, 0, 255, 255)
    assert "painted in 2 colours" in error_message([save(tmp_path / "b.png", painted)])
    assert "has an alpha channel" in error_message([path], foreground=[255])
    cutout = np.dstack([np.zeros((40, 48, 3), U8), grey])
    files = [save(tmp_path / "c.png", cutout), save(tmp_path / "d.png", grey)]
    message = error_message(files)
    assert "c.png has an alpha channel and" in message
    assert "d.png has none" in message


def test_cut_out_photographs_are_masks_by_alpha(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cutout = np.dstack([rng.integers(0, 256, (40, 48, 3), dtype=U8), HALF_SKY * U8(255)])
    path = save(tmp_path / "a.png", cutout)
    encoding, _ = judge([path])
    np.testing.assert_array_equal(read_mask(path, encoding), HALF_SKY)


def test_numbers_that_are_not_masks(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tiff", np.full((4, 4), 0.5, np.float32))
    assert "floating-point" in error_message([path])
    path = save(tmp_path / "b.tiff", np.full((4, 4), 70_000, np.int32))
    assert "values outside 0-65535" in error_message([path])
    path = save(tmp_path / "c.png", np.arange(4096, dtype=np.uint16).reshape(64, 64))
    assert "cannot be class indices" in error_message([path], foreground=[7])


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
