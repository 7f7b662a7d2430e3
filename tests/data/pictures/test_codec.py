import io
import os
import random
import socket
import struct
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from picture_tools import TURNED, encoded, exif
from skyseg.data.pictures import codec, frames, opening
from skyseg.data.pictures.codec import (
    FILE_FORMATS,
    OWN,
    SUFFIXES,
    UPLOAD,
    Limits,
    decode,
    read,
    resize,
    stored_size,
    upright_size,
    write,
)
from skyseg.data.pictures.folders import list_pictures
from skyseg.data.pictures.metadata import ORIENTATION
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
    np.testing.assert_array_equal(read(path).pixels, np.asarray(ImageOps.exif_transpose(expected)))
    flags = decode(path.read_bytes(), "a").flags
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
    pixels, flags, *_ = decode((tmp_path / "a.png").read_bytes(), "a")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(source.convert("RGB")))
    assert flags == ((flag,) if flag else ())


def test_transparency_becomes_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:, 2:, 3] = 255
    pixels = read(save(tmp_path / "a.png", rgba)).pixels
    assert (pixels[:, :2] == 255).all()
    assert (pixels[:, 2:] == 0).all()


def test_16_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 32768, 65535]], np.uint16)
    pixels, flags, *_ = decode(save(tmp_path / "a.png", deep).read_bytes(), "a")
    assert pixels[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]
    assert flags == ("16bit",)


def test_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    # Pillow writes CMYK JPEGs inverted, as Adobe does, and must read them back the same way.
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    red.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixels, flags, *_ = decode((tmp_path / "a.jpg").read_bytes(), "a")
    assert np.abs(pixels.astype(int) - (200, 30, 30)).max() < 12
    assert flags == ("cmyk",)


def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("png", "jpg"):
        path = save(tmp_path / f"a.{suffix}", photograph(2, 200, 200))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match=rf"a\.{suffix}: truncated or damaged"):
            read(path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png: the file is empty"):
        read(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"text\.png: not an image"):
        read(tmp_path / "text.png")
    with pytest.raises(UserError, match=r"gone\.png: cannot be read"):
        read(tmp_path / "gone.png")
    big = save(tmp_path / "big.png", photograph(3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(UserError, match=r"big\.png: more pixels than is safe"):
        read(big)


def test_float_images_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tiff", np.ones((4, 4), np.float32))
    with pytest.raises(UserError, match="32-bit pixels"):
        read(path)


def test_resize_averages_when_shrinking() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8)[None, :, None], (64, 32, 3))
    small = resize(stripes, 8)
    assert small.shape == (8, 8, 3)
    assert small.dtype == np.uint8
    # Without antialiasing every pixel would be black or white.
    assert np.abs(small.astype(int) - 127).max() <= 8
    assert resize(small, 8) is small


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_reduced_scale_is_close_and_keeps_twice_the_side(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(photograph(3, 700, 500)).convert(mode).save(path, quality=90)
    whole, reduced = read(path).pixels, read(path, min_side=60).pixels
    assert reduced.shape[0] in range(120, 240)
    difference = np.abs(resize(whole, 60).astype(int) - resize(reduced, 60))
    assert difference.mean() < 1  # of 255


def test_reduced_scale_still_finds_a_truncated_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", photograph(3, 700, 500))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match="truncated or damaged"):
        read(path, min_side=20)


@pytest.mark.parametrize(("orientation", "size"), [(1, (48, 40)), (3, (48, 40)), (6, (40, 48))])
def test_upright_size(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / "a.jpg", photograph(0), exif=exif)
    assert upright_size(path.read_bytes()) == size == read(path).pixels.shape[1::-1]


# Uploads to a server.


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_upload_within_the_limits_is_decoded() -> None:
    pixels = photograph(1)
    found = decode(png(pixels), "a.png", limits=UPLOAD).pixels
    np.testing.assert_array_equal(found, pixels)


def test_too_many_bytes() -> None:
    with pytest.raises(UserError, match=r"^a: 2 MiB; shrink it to at most 1 MiB$"):
        decode(bytes(2 * 2**20), "a", limits=Limits(2**20, 10**9))


def test_too_many_pixels_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)  # not reached
    with pytest.raises(UserError, match=r"^a\.png: 48x40 pixels"):
        decode(png(photograph(1)), "a.png", limits=Limits(2**30, 48 * 40 - 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"no image", "not an image"), (png(photograph(1))[:200], "truncated")],
)
def test_an_upload_that_is_not_a_photograph(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode(data, "a.png", limits=UPLOAD)


# Listing files.


def test_every_listed_suffix_is_decoded_and_no_other_is_listed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    for format, suffixes in FILE_FORMATS.items():
        for suffix in suffixes:
            for name in (f"a{suffix}", f"B{suffix.upper()}"):
                Image.fromarray(photograph(0, 48, 48)).save(tmp_path / name, format)
                assert read(tmp_path / name).pixels.shape == (48, 48, 3), name
    (tmp_path / "notes.txt").write_text("not a picture")
    Image.fromarray(photograph(0)).save(tmp_path / "program.eps")
    listed = list(list_pictures(tmp_path))
    assert {path.suffix for path in listed} == SUFFIXES | {s.upper() for s in SUFFIXES}


def test_unreadable_exif_does_not_lose_the_photograph(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = "Maker"
    data = bytearray(exif.tobytes())
    data[data.index(b"\x01\x0f") + 2 : data.index(b"\x01\x0f") + 4] = b"\xff\xff"  # no such type
    path = save(tmp_path / "a.jpg", photograph(0), exif=bytes(data))
    picture = read(path)
    assert picture.pixels.shape in ((40, 48, 3), (48, 40, 3))


# What is not a file.


def odd_paths(folder: Path) -> dict[str, tuple[Path, str]]:
    """Paths that are no files, and what the error says."""
    (folder / "loop").symlink_to("loop")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "broken").symlink_to("gone")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "to_pipe").symlink_to("pipe")
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path may have at most 107 bytes
        listening.bind("socket")
        os.chdir(here)
    device = "a pipe or a device; only files are read"
    return {
        "loop": (folder / "loop", "a link that leads to itself; remove it"),
        "loop of two": (folder / "one", "a link that leads to itself; remove it"),
        "broken": (folder / "broken", "a link that leads nowhere; restore"),
        "folder": (folder / "folder", "a folder; name a file"),
        "pipe": (folder / "pipe", device),
        "link to a pipe": (folder / "to_pipe", device),
        "socket": (folder / "socket", device),
        "device": (Path("/dev/zero"), device),
        "null byte": (Path("a\0b"), "cannot be read"),
        "long": (folder / ("x" * 300), "cannot be read: File name too long"),
        "below a file": (folder / "file" / "x", "cannot be read: Not a directory"),
    }


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, (path, message) in odd_paths(tmp_path).items():
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: {message}"), name
        assert stored_size(path) is None, name


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(OWN.bytes + 1)  # takes no space
    with pytest.raises(UserError, match=r"a\.png: larger than 2,048 MiB; shrink or remove it"):
        read(tmp_path / "a.png")


# Whatever the bytes are.


def seeds() -> dict[str, bytes]:
    """A small file of each format, and of what its decoder treats apart."""
    pixels = photograph(0, 24, 16)
    rgba = np.dstack([pixels, pixels[..., 0]])
    more = {"save_all": True, "append_images": [Image.fromarray(photograph(1, 24, 16))]}
    block = exif(TURNED, (271, 2, 8, b"abcdefg\0"))
    found = {name: encoded(pixels, name) for name in FILE_FORMATS}
    found |= {f"{name}-exif": encoded(pixels, name, exif=block) for name in ("JPEG", "PNG", "WEBP")}
    found |= {f"{name}-alpha": encoded(rgba, name) for name in ("PNG", "WEBP", "TIFF", "TGA")}
    found |= {f"{name}-more": encoded(pixels, name, **more) for name in ("GIF", "PNG", "TIFF")}
    packed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    found |= {name: encoded(pixels, "TIFF", compression=name) for name in packed}
    return found | {"digits": b"P3 2 1 255\n1 2 3 4 5 6"}


def changed(data: bytes, rng: random.Random) -> bytes:
    """The data with some bytes changed, removed, repeated or cut off, most near the beginning."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(min(len(new), rng.choice((100, 10**9))) or 1)
        kind = rng.randrange(5)
        if kind == 0:
            new[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            new[at : at + 4] = rng.choice((0, 1, 0x7FFFFFFF, 2**32 - 1)).to_bytes(4)
        elif kind == 2:
            del new[at : at + rng.choice((1, 4, 60))]
        elif kind == 3:
            new[at:at] = new[max(0, at - 12) : at]
        elif rng.random() < 0.2:
            del new[at:]
    return bytes(new)


def test_decoding_raises_nothing_but_user_errors() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    rng, messages = random.Random(0), []
    for name, seed in seeds().items():
        for number in range(100):
            data = changed(seed, rng)
            try:
                picture = decode(data, "a", limits=Limits(2**20, 10**6))
            except UserError as error:
                messages.append(str(error))
                continue
            if name != "HEIF":  # damaged, it may have another size than its header says
                assert upright_size(data) == picture.pixels.shape[1::-1], (name, number)
            write(io.BytesIO(), picture.pixels, ".png", picture.metadata)
    assert messages
    assert all(message.startswith("a: ") and "\n" not in message for message in messages)


@pytest.mark.parametrize("error", [RecursionError, SystemError, struct.error, UserWarning])
def test_whatever_a_decoder_raises_is_a_user_error(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error("two\nlines")

    data = png(photograph(0))
    for module, place in ((opening, "open_image"), (codec, "as_rgb"), (frames, "note")):
        with monkeypatch.context() as patch:
            patch.setattr(module, place, broken)
            with pytest.raises(UserError, match=r"^a: truncated or damaged \(two lines\)"):
                decode(data, "a")
