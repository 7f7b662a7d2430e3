from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mask_tools import HALF_SKY, U8, disc, error_message, judge
from skyseg.data.masks.reading import read_mask
from tiny import save, sky

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
