"""Photographs with what is stored around their pixels: in, and out again with the results."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from skyseg.data.images import ORIENTATION, as_rgb, frame_count, open_image, open_upright
from skyseg.errors import UserError

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
ANIMATED = {"GIF": "animation", "PNG": "animation", "WEBP": "animation", "TIFF": "file of pages"}
XMP_KEYS = ("xmp", "XML:com.adobe.xmp")  # JPEG, WebP and TIFF; PNG
# What a TIFF keeps in the same table as its EXIF: how its pixels lie in the file, and what `icc`
# and `xmp` are (TIFF 6.0, section 8 and supplements).
TIFF_OWN = {
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    263,
    266,
    273,
    277,
    278,
    279,
    282,
    283,
    284,
    296,
    317,
    320,
    322,
    323,
    324,
    325,
    338,
    339,
    347,
    700,
    34675,
}
EXIF_LIMIT, XMP_LIMIT = 65527, 65504  # bytes: what a JPEG segment holds of each

# Run lengths suit masks: on 12 megapixels 66 ms and 156 kB, where Pillow's default takes 162 ms and
# 174 kB; on a cut-out of that size 1.4 s and 22.0 MB instead of 6.7 s and 22.5 MB.
PNG = {"compress_level": 1, "compress_type": 3}  # zlib's Z_RLE
JPEG = {"quality": 95, "subsampling": 0}  # colour edges at full resolution


class Picture(NamedTuple):
    """A photograph, upright."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB, as ``skyseg.data.images.read_image`` gives them."""
    icc: bytes | None
    """Its colour profile, if that is one of RGB."""
    exif: bytes
    """Its EXIF, the orientation set to upright, as it has been applied. Empty: none."""
    xmp: bytes
    dpi: tuple[float, float] | None
    notes: tuple[str, ...]
    """What the user should know was not used or is not kept."""


def size_of(path: Path) -> int:
    """How many pixels a file will decode to, from its header; 0 if that cannot be told."""
    try:
        with path.open("rb") as file:
            register_heif(file.read(12))
            with open_image(file) as image:
                return image.width * image.height
    except Exception:  # explained when it is decoded
        return 0


def decode(data: bytes, name: str) -> Picture:
    """A photograph from a file's bytes.

    Args:
        data: the file.
        name: stands in errors.

    Raises:
        UserError: as ``skyseg.data.images.read_image``; or HEIC without pillow-heif.
    """
    if not register_heif(data):
        raise UserError(f"{name}: HEIC needs the package pillow-heif: pip install 'skyseg[heic]'")
    image, turned = open_upright(data, name)
    format = image.format
    pixels = as_rgb(image, turned, name).pixels
    notes = []
    frames = frame_count(image)
    if frames > 1 and format in ANIMATED:
        notes.append(f"{ANIMATED[format]}, only the first of {frames} frames is used")
    icc = image.info.get("icc_profile")
    if icc and icc[16:20] != b"RGB ":  # ICC.1:2022, 7.2.8: the colour space, at byte 16
        notes.append(
            f"its colour profile is one of {icc[16:20].decode('latin-1').strip()}, "
            "results are RGB without a profile"
        )
        icc = None
    exif, lost = _exif(image, data, format)
    xmp = next((image.info[key] for key in XMP_KEYS if key in image.info), b"")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    if len(xmp) > XMP_LIMIT:
        xmp = b""
        lost.append("its XMP is too long and is left out")
    return Picture(pixels, icc or None, exif, xmp, _dpi(image.info.get("dpi")), (*notes, *lost))


def write(
    file: Path | BinaryIO,
    pixels: NDArray[np.uint8],
    format: str,
    source: Picture,
    data: bool = False,
) -> None:
    """Write a result with the metadata of the photograph it is made from.

    Args:
        file: a path or an open file.
        pixels: uint8 [H, W], [H, W, 3] or [H, W, 4].
        format: PNG or JPEG.
        source: the photograph.
        data: the pixels are no colours: leave the colour profile away.

    Raises:
        OSError: the file cannot be written, or the picture is larger than the format allows.
    """
    options: dict[str, Any] = dict(PNG if format == "PNG" else JPEG)
    if source.icc and not data:
        options["icc_profile"] = source.icc
    if source.exif:
        options["exif"] = source.exif
    if source.dpi:
        options["dpi"] = source.dpi
    if source.xmp and format == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", source.xmp.decode("utf-8", "replace"))
    elif source.xmp:
        options["xmp"] = source.xmp
    Image.fromarray(pixels).save(file, format, **options)


def register_heif(data: bytes) -> bool:
    """Let Pillow read HEIC if these bytes are that; False if it is and cannot."""
    if data[4:8] != b"ftyp" or data[8:12] not in HEIF_BRANDS:
        return True
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _exif(image: Image.Image, data: bytes, format: str | None) -> tuple[bytes, list[str]]:
    """EXIF that says upright, and a note where it cannot be kept."""
    try:
        if format != "PNG":  # whose EXIF may come after its pixels; a decoded TIFF has lost its own
            image = open_image(io.BytesIO(data))
        exif = image.getexif()
        for tag in (TIFF_OWN if format == "TIFF" else set()) & exif.keys():
            del exif[tag]
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1  # said, as without it readers look for one in the XMP
        kept = exif.tobytes() if len(exif) else b""
    except Exception:  # cameras write what no parser expects
        return b"", ["its EXIF is damaged and is left out"]
    if len(kept) > EXIF_LIMIT:
        return b"", ["its EXIF is too long and is left out"]
    return kept, []


def _dpi(value: Any) -> tuple[float, float] | None:
    """Resolution, where it is one."""
    try:
        x, y = (float(number) for number in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(number) and 0 < number < 1e6 for number in (x, y)) else None
