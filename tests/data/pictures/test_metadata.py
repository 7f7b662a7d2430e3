"""Photographs in any mode are read with their metadata, and results are written with it."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

import picture_tools as tools
from skyseg.data.pictures import codec
from skyseg.data.pictures.metadata import ORIENTATION
from skyseg.errors import UserError
from tiny import photograph, save

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, GPS, NORTH = 0x010F, 0x8825, 1


def exif(orientation: int = 6) -> Image.Exif:
    made = Image.Exif()
    made[ORIENTATION], made[MAKE] = orientation, "Maker"
    made[GPS] = {NORTH: "N"}
    loaded = Image.Exif()  # TIFFs are written from EXIF that has been read
    loaded.load(made.tobytes())
    return loaded


def decode(path: Path) -> codec.Picture:
    return codec.decode(path.read_bytes(), str(path))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("result", [".png", ".jpg"])
def test_profile_and_metadata_are_kept(tmp_path: Path, suffix: str, result: str):
    path = save(
        tmp_path / f"a.{suffix}", photograph(0), exif=exif(), icc_profile=PROFILE, dpi=(300, 300)
    )
    picture = decode(path)
    np.testing.assert_array_equal(picture.pixels, codec.read(path).pixels)
    assert picture.pixels.shape == (48, 40, 3)
    assert picture.notes == ()

    codec.write(tmp_path / "result", picture.pixels, result, picture.metadata)
    with Image.open(tmp_path / "result") as written:
        written.load()
        assert written.format == {".png": "PNG", ".jpg": "JPEG"}[result]
        assert written.size == (40, 48)
        assert written.info["icc_profile"] == PROFILE
        if suffix != "webp":  # WebP has no such field
            assert written.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        kept = written.getexif()
        assert kept[MAKE] == "Maker"
        assert kept.get_ifd(GPS)[NORTH] == "N"
        assert kept.get(ORIENTATION, 1) == 1


def test_data_has_no_colour_profile(tmp_path: Path):
    picture = decode(save(tmp_path / "a.jpg", photograph(0), exif=exif(), icc_profile=PROFILE))
    codec.write(tmp_path / "m.png", picture.pixels[..., 0], ".png", picture.metadata, data=True)
    with Image.open(tmp_path / "m.png") as written:
        assert written.mode == "L"
        assert "icc_profile" not in written.info
        assert written.getexif()[MAKE] == "Maker"


def test_xmp_is_kept_without_its_orientation(tmp_path: Path):
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" dc:creator="Ann"/>'
        b"</x:xmpmeta>"
    )
    jpeg = save(tmp_path / "a.jpg", photograph(0), exif=exif(), xmp=xmp)
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    png = save(tmp_path / "a.png", photograph(0), exif=exif(), pnginfo=info)
    for path in (jpeg, png):
        for result in (".jpg", ".png"):
            picture = decode(path)
            codec.write(tmp_path / "r", picture.pixels, result, picture.metadata)
            text = (tmp_path / "r").read_bytes()
            assert b'dc:creator="Ann"' in text
            assert b"Orientation" not in text


def test_a_result_is_upright_whatever_its_xmp_says(tmp_path: Path):
    """EXIF takes precedence over XMP; neither may turn the result."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    picture = decode(save(tmp_path / "a.jpg", photograph(0), exif=exif(1), xmp=xmp))
    for result in (".jpg", ".png"):
        codec.write(tmp_path / "r", picture.pixels, result, picture.metadata)
        assert codec.read(tmp_path / "r").pixels.shape == picture.pixels.shape == (40, 48, 3)


def test_xmp_too_long_for_a_jpeg_is_left_out_with_a_note(tmp_path: Path):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>" + " " * 70_000)
    picture = decode(save(tmp_path / "a.png", photograph(0), pnginfo=info))
    assert picture.notes == ("its XMP is too long and is left out",)
    codec.write(tmp_path / "r.jpg", picture.pixels, ".jpg", picture.metadata)


def test_a_tiff_with_a_damaged_page_table_has_one_page(tmp_path: Path):
    path = save(tmp_path / "a.tif", photograph(0))
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    following = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[following : following + 4] = (4).to_bytes(4, "little")  # no table starts there
    picture = codec.decode(bytes(data), "a.tif")
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.pixels, photograph(0))


def test_eps_is_refused(tmp_path: Path):
    buffer = io.BytesIO()
    Image.fromarray(photograph(0)).save(buffer, "EPS")
    with pytest.raises(UserError, match="not an image in a supported format"):
        codec.decode(buffer.getvalue(), "a.eps")


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.png"),
        ("CMYK", "a.jpg"),
        ("CMYK", "a.tif"),
        ("RGBA", "a.png"),
        ("LA", "a.png"),
        ("P", "a.gif"),
        ("1", "a.png"),
        ("RGBA", "a.webp"),
    ],
)
def test_every_mode_decodes_as_in_training(tmp_path: Path, mode: str, name: str):
    Image.fromarray(photograph(0)).convert(mode).save(tmp_path / name)
    picture = decode(tmp_path / name)
    np.testing.assert_array_equal(picture.pixels, codec.read(tmp_path / name).pixels)


def test_16_bits(tmp_path: Path):
    deep = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    picture = decode(save(tmp_path / "a.png", deep))
    np.testing.assert_array_equal(picture.pixels[..., 0], np.round(deep / 257))


def test_a_profile_for_another_colour_space_is_not_kept(tmp_path: Path):
    cmyk = PROFILE[:16] + b"CMYK" + PROFILE[20:]
    path = tmp_path / "a.jpg"
    Image.fromarray(photograph(0)).convert("CMYK").save(path, icc_profile=cmyk)
    picture = decode(path)
    assert picture.metadata.icc is None
    assert picture.notes == ("its colour profile is for CMYK; results are RGB without a profile",)


def test_a_note_says_that_only_the_first_frame_is_used(tmp_path: Path):
    frames = [Image.fromarray(photograph(seed)) for seed in range(3)]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        [note] = decode(tmp_path / name).notes
        assert "only the first of 3 frames is used" in note
    first, _, last = (np.asarray(frame).astype(int) for frame in frames)
    found = decode(tmp_path / "a.tif").pixels
    assert np.abs(found - first).mean() < np.abs(found - last).mean() / 10


def test_a_phone_photograph_with_a_preview_is_not_an_animation(tmp_path: Path):
    Image.fromarray(photograph(0)).save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.fromarray(photograph(1))]
    )
    assert decode(tmp_path / "a.jpg").notes == ()


def test_heic(tmp_path: Path):
    heif = pytest.importorskip("pillow_heif")
    pixels = photograph(0, 64, 48)
    heif.from_pillow(Image.fromarray(pixels)).save(
        tmp_path / "a.heic", quality=90, exif=exif(1).tobytes()
    )
    assert codec.stored_size(tmp_path / "a.heic") == (64, 48)
    picture = decode(tmp_path / "a.heic")
    assert picture.pixels.shape == (48, 64, 3)
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 8
    image = Image.Exif()
    image.load(picture.metadata.exif)
    assert image[MAKE] == "Maker"


def test_heic_without_pillow_heif(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"a\.heic: HEIC needs .* pip install 'skyseg\[heic\]'"):
        codec.decode(b"\0\0\0\x18ftypheic" + bytes(100), "a.heic")


def test_damaged_metadata_does_not_lose_the_photograph(tmp_path: Path):
    path = save(
        tmp_path / "a.jpg",
        photograph(0),
        exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff",
        dpi=(0, 0),
    )
    picture = decode(path)
    codec.write(tmp_path / "r.png", picture.pixels, ".png", picture.metadata)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "r.png")), picture.pixels)


def test_the_stored_size_comes_from_the_header(tmp_path: Path):
    assert codec.stored_size(save(tmp_path / "a.jpg", photograph(0))) == (48, 40)
    (tmp_path / "text.jpg").write_text("not a photograph")
    assert codec.stored_size(tmp_path / "text.jpg") is None
    assert codec.stored_size(tmp_path / "gone.jpg") is None


def test_written_masks_are_small(tmp_path: Path):
    mask = np.zeros((1000, 1000), np.uint8)
    mask[:500] = 255
    file = io.BytesIO()
    photo = decode(save(tmp_path / "a.png", photograph(0)))
    codec.write(file, mask, ".png", photo.metadata, data=True)
    assert len(file.getvalue()) < 10_000
    np.testing.assert_array_equal(np.asarray(Image.open(file)), mask)


# Odd metadata around pixels that are fine.

ODD = {
    "maker_is_a_ratio": (0x10F, 5, 1, struct.pack("<II", 7, 2)),
    "text_beyond_the_end": (0x10F, 2, 500, struct.pack("<I", 9999)),
    "ratio_below_0": (0x9201, 10, 1, struct.pack("<ii", -1, 0)),
    "no_such_type": (0x10F, 99, 1, b"abcd"),
    "resolution_is_text": (0x11A, 2, 4, b"abc\0"),
    "resolution_by_0": (0x11A, 5, 1, struct.pack("<II", 0, 0)),
    "table_within_itself": (0x8769, 4, 1, struct.pack("<I", 8)),
}


def odd_exif(name: str) -> bytes:
    tag, kind, count, value = ODD[name]
    if name == "text_beyond_the_end":  # of which only the offset is written
        block = tools.exif((tag, 4, 1, value), tools.TURNED)
        return block.replace(struct.pack("<HHI", tag, 4, 1), struct.pack("<HHI", tag, kind, count))
    return tools.exif(*sorted([(tag, kind, count, value), tools.TURNED]))


def odd_file(name: str, format: str) -> bytes:
    """A photograph with odd EXIF that says that it is turned."""
    pixels = photograph(0)
    if format == "TIFF":
        return tools.tiff_with(tools.encoded(pixels, format), ODD[name], tools.TURNED)
    return tools.encoded(pixels, format, exif=odd_exif(name))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("name", ODD)
def test_odd_exif_does_not_lose_the_photograph(name: str, format: str):
    data = odd_file(name, format)
    picture = codec.decode(data, "a")
    assert picture.pixels.shape == (48, 40, 3)  # turned
    assert picture.orientation == 6
    assert "exif" in picture.flags
    assert codec.upright_size(data) == (40, 48)
    lossy = 0 if format in ("PNG", "TIFF") else 9
    assert np.abs(np.rot90(picture.pixels.astype(int)) - photograph(0)).mean() <= lossy
    for suffix in (".png", ".jpg"):
        file = io.BytesIO()
        codec.write(file, picture.pixels, suffix, picture.metadata)
        again = codec.decode(file.getvalue(), "r")
        assert again.pixels.shape == picture.pixels.shape
        assert again.notes == ()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("maker_is_a_ratio", "its EXIF is damaged and is left out"),
        ("text_beyond_the_end", "a part of its EXIF is damaged and is left out"),
        ("ratio_below_0", "its EXIF is damaged and is left out"),
    ],
)
def test_what_is_lost_of_odd_exif_is_said(name: str, note: str, format: str):
    assert codec.decode(odd_file(name, format), "a").notes == (note,)


def test_exif_that_is_cut_off():
    for format in ("JPEG", "PNG", "WEBP"):
        picture = codec.decode(tools.encoded(photograph(0), format, exif=b"Exif\0\0II*\0"), "a")
        assert picture.metadata.exif == b""
        [note] = picture.notes
        assert "EXIF is damaged and is left out" in note


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_avif_with_odd_exif_is_decoded(order: str):
    """Pillow writes the EXIF of an AVIF again when it opens one."""
    made = Image.Exif()
    made.endian = order
    made[ORIENTATION], made[MAKE] = 6, "abcdefg"
    data = tools.encoded(photograph(0), "AVIF", exif=made.tobytes())
    assert codec.decode(data, "a").pixels.shape == (48, 40, 3)
    fine, odd = (struct.pack(f"{order}HHI", MAKE, *kind) for kind in ((2, 8), (5, 1)))
    assert fine in data
    data = data.replace(fine, odd)
    picture = codec.decode(data, "a")
    assert picture.notes == ("its metadata is damaged or too long, and is left out",)
    assert picture.pixels.shape == (48, 40, 3)
    assert codec.upright_size(data) == (40, 48)


@pytest.mark.parametrize(
    "parts",
    [
        tools.chunk(b"iCCP", b"sRGB\0\0" + b"not zlib"),
        tools.chunk(b"iCCP", b"sRGB\0\x09"),
        tools.chunk(b"tEXt", b"transparency\0no number"),
        tools.chunk(b"tEXt", b"bbox\0no box"),
        tools.chunk(b"pHYs", b"\0"),
        tools.chunk(b"sRGB", b""),
        tools.chunk(b"acTL", b"\0"),
        tools.chunk(b"gAMA", b"")[:-4] + b"\0\0\0\0",  # wrong checksum
        tools.chunk(b"eXIf", b"\0" * 40),
    ],
)
def test_odd_chunks_do_not_lose_a_png(parts: bytes):
    picture = codec.decode(tools.png_with(parts), "a")
    np.testing.assert_array_equal(picture.pixels, photograph(0))
    assert codec.upright_size(tools.png_with(parts)) == (48, 40)


def test_a_damaged_profile_is_left_out_with_a_note():
    for profile in (b"not a profile", PROFILE[:200], PROFILE[:36] + b"none" + PROFILE[40:]):
        for format in ("JPEG", "PNG", "TIFF", "WEBP"):
            picture = codec.decode(tools.encoded(photograph(0), format, icc_profile=profile), "a")
            assert picture.metadata.icc is None
            assert picture.notes == ("its colour profile is damaged and is left out",)


def test_a_resolution_that_is_not_valid_is_left_out_with_a_note(tmp_path: Path):
    picture = decode(save(tmp_path / "a.png", photograph(0), dpi=(10**6, 10**6)))
    assert picture.metadata.dpi is None
    assert picture.notes == ("its resolution in dpi is not valid and is left out",)


def test_a_damaged_entry_before_the_pixels_does_not_lose_a_tiff():
    """Pillow stops at it, and libtiff does not."""
    beyond = (270, 2, 500, struct.pack("<I", 10**6))
    data = tools.tiff_with(tools.encoded(photograph(0), "TIFF"), (270, 4, 1, beyond[3]))
    data = data.replace(struct.pack("<HHI", 270, 4, 1), struct.pack("<HHI", *beyond[:3]))
    picture = codec.decode(data, "a")
    np.testing.assert_array_equal(picture.pixels, photograph(0))
    assert picture.notes == ("its metadata is damaged or too long, and is left out",)


def test_pillow_prints_no_warnings(recwarn: pytest.WarningsRecorder):
    codec.decode(odd_file("text_beyond_the_end", "JPEG"), "a")
    assert not recwarn.list


@pytest.mark.parametrize("bad", [tools.chunk(b"iCCP", b"a\0\x09"), tools.chunk(b"sRGB")])
@pytest.mark.parametrize("first", [True, False])
def test_a_png_that_loses_its_metadata_is_turned_all_the_same(bad: bytes, first: bool):
    exif = tools.chunk(b"eXIf", tools.exif(tools.TURNED)[6:])
    data = tools.png_with(bad + exif if first else exif + bad)
    picture = codec.decode(data, "a")
    np.testing.assert_array_equal(np.rot90(picture.pixels), photograph(0))
    assert codec.upright_size(data) == (40, 48)
    assert codec.open_upright(data, "a")[1] == 6
    assert picture.notes == ("its metadata is damaged or too long, and is left out",)


def test_a_jpeg_with_too_much_exif_is_turned_all_the_same():
    """Entries that share one long value; one of them says that it is turned."""
    shared = [(1000 + n, 5, 5000, struct.pack("<I", 8)) for n in range(99)]
    block = tools.exif(tools.TURNED, (900, 5, 5000, bytes(40_000)), *shared)
    data = tools.jpeg_with(tools.segment(0xE1, block))
    assert codec.decode(data, "a").pixels.shape == (48, 40, 3)
    assert codec.upright_size(data) == (40, 48)
