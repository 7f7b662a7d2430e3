from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from skyseg.data.images import ORIENTATION, decode_image, read_image, resize_image, upright_size
from skyseg.errors import UserError
from tiny import photograph, save


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = photograph(0)
    path = save(tmp_path / "a.png", pixels, exif=exif)
    expected = Image.fromarray(pixels)
    expected.getexif()[ORIENTATION] = orientation
    np.testing.assert_array_equal(read_image(path), np.asarray(ImageOps.exif_transpose(expected)))
    flags = decode_image(path.read_bytes(), "a").flags
    assert flags == (("exif",) if orientation > 1 else ())


@pytest.mark.parametrize(
    ("mode", "flag"),
    [
        ("L", "grey"),
        ("1", "1bit"),
        ("P", "palette"),
        ("LA", "alpha"),
        ("RGBA", "alpha"),
        ("RGB", None),
    ],
)
def test_modes_become_rgb(tmp_path: Path, mode: str, flag: str | None) -> None:
    source = Image.fromarray(photograph(1)).convert(mode)
    source.save(tmp_path / "a.png")
    pixels, flags = decode_image((tmp_path / "a.png").read_bytes(), "a")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(source.convert("RGB")))
    assert flags == ((flag,) if flag else ())


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:, 2:, 3] = 255
    pixels = read_image(save(tmp_path / "a.png", rgba))
    assert (pixels[:, :2] == 255).all()
    assert (pixels[:, 2:] == 0).all()


def test_16_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 32768, 65535]], np.uint16)
    pixels, flags = decode_image(save(tmp_path / "a.png", deep).read_bytes(), "a")
    assert pixels[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]
    assert flags == ("16bit",)


def test_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    # Pillow writes CMYK JPEGs as Adobe does, inverted, and has to read them back so.
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    red.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixels, flags = decode_image((tmp_path / "a.jpg").read_bytes(), "a")
    assert np.abs(pixels.astype(int) - (200, 30, 30)).max() < 12
    assert flags == ("cmyk",)


def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("png", "jpg"):
        path = save(tmp_path / f"a.{suffix}", photograph(2, 200, 200))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match=rf"a\.{suffix}: truncated or damaged"):
            read_image(path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png: the file is empty"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"text\.png: not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(UserError, match=r"gone\.png: cannot be read"):
        read_image(tmp_path / "gone.png")
    big = save(tmp_path / "big.png", photograph(3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(UserError, match=r"big\.png: more pixels than is safe"):
        read_image(big)


def test_float_images_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tiff", np.ones((4, 4), np.float32))
    with pytest.raises(UserError, match="pixels of 32 bits"):
        read_image(path)


def test_resize_averages_when_shrinking() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8)[None, :, None], (64, 32, 3))
    small = resize_image(stripes, 8)
    assert small.shape == (8, 8, 3)
    assert small.dtype == np.uint8
    # Without antialiasing every pixel would be black or white.
    assert np.abs(small.astype(int) - 127).max() <= 8
    assert resize_image(small, 8) is small


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_reduced_scale_is_near_and_keeps_twice_the_side(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(photograph(3, 700, 500)).convert(mode).save(path, quality=90)
    whole, reduced = read_image(path), read_image(path, least=60)
    assert reduced.shape[0] in range(120, 240)
    apart = np.abs(resize_image(whole, 60).astype(int) - resize_image(reduced, 60))
    assert apart.mean() < 1  # of 255


def test_reduced_scale_still_finds_a_truncated_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", photograph(3, 700, 500))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="truncated or damaged"):
        read_image(path, least=20)


@pytest.mark.parametrize(("orientation", "size"), [(1, (48, 40)), (3, (48, 40)), (6, (40, 48))])
def test_upright_size(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / "a.jpg", photograph(0), exif=exif)
    assert upright_size(path.read_bytes()) == size == read_image(path).shape[1::-1]
