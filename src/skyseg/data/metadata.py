"""What a picture file stores besides its pixels: colour profile, EXIF, XMP, resolution."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

ORIENTATION = 0x0112  # EXIF tag
XMP_KEYS = ("xmp", "XML:com.adobe.xmp")  # JPEG, WebP and TIFF; PNG
XMP_ORIENTATION = rb'tiff:Orientation="\d"|<tiff:Orientation>\d</tiff:Orientation>'
# Tags that a TIFF keeps in the same table as its EXIF: the layout of its pixels, its profile and
# its XMP (TIFF 6.0, section 8 and supplements).
TIFF_LAYOUT = {
    *(254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 282, 283, 284, 296),
    *(317, 320, 322, 323, 324, 325, 338, 339, 347, 700, 34675),
}
EXIF_LIMIT, XMP_LIMIT = 65527, 65504  # bytes: the most that a JPEG segment can hold

# Run-length encoding suits masks. A mask of 12 megapixels takes 66 ms and 156 kB, with Pillow's
# default 162 ms and 174 kB; a cut-out of that size 1.4 s and 22.0 MB instead of 6.7 s and 22.5 MB.
PNG_OPTIONS = {"compress_level": 1, "compress_type": 3}  # zlib's Z_RLE
JPEG_OPTIONS = {"quality": 95, "subsampling": 0}  # colour edges at full resolution


class Metadata(NamedTuple):
    """Metadata of one picture."""

    icc: bytes | None = None
    """Its colour profile, if it is for RGB."""
    exif: bytes = b""
    """Its EXIF, with the orientation set to upright, as the pixels have been turned."""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if it is missing or cannot be read."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # some cameras write EXIF that no parser expects
        return 1
    return value if value in range(2, 9) else 1


def read_metadata(
    image: Image.Image, stored: Image.Image, format: str | None
) -> tuple[Metadata, list[str]]:
    """The metadata of an image, and a note on each part that cannot be kept.

    Args:
        image: the decoded image.
        stored: the image that still has its EXIF.
        format: Pillow's name of its file format.
    """
    left_out = []
    icc = image.info.get("icc_profile")
    if icc and icc[16:20] != b"RGB ":  # ICC.1:2022, 7.2.8: the colour space, at byte 16
        left_out.append(
            f"its colour profile is for {icc[16:20].decode('latin-1').strip()}; "
            "results are RGB without a profile"
        )
        icc = None
    try:
        exif = _exif(stored, format)
    except Exception:  # some cameras write EXIF that no parser expects
        exif = b""
        left_out.append("its EXIF is damaged and is left out")
    xmp = next((image.info[key] for key in XMP_KEYS if key in image.info), b"")
    xmp = re.sub(XMP_ORIENTATION, b"", xmp.encode() if isinstance(xmp, str) else xmp)
    if len(exif) > EXIF_LIMIT:
        exif = b""
        left_out.append("its EXIF is too long and is left out")
    if len(xmp) > XMP_LIMIT:
        xmp = b""
        left_out.append("its XMP is too long and is left out")
    return Metadata(icc or None, exif, xmp, _dpi(image.info.get("dpi"))), left_out


def write_options(metadata: Metadata, format: str, data: bool) -> dict[str, Any]:
    """Options of ``PIL.Image.Image.save`` that write the metadata.

    Args:
        metadata: what to write.
        format: PNG or JPEG.
        data: the pixels are not colours, so the colour profile is left out.
    """
    options: dict[str, Any] = dict(PNG_OPTIONS if format == "PNG" else JPEG_OPTIONS)
    if metadata.icc and not data:
        options["icc_profile"] = metadata.icc
    if metadata.exif:
        options["exif"] = metadata.exif
    if metadata.dpi:
        options["dpi"] = metadata.dpi
    if metadata.xmp and format == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    return options


def _exif(image: Image.Image, format: str | None) -> bytes:
    """EXIF with the orientation set to upright."""
    exif = image.getexif()
    for tag in (TIFF_LAYOUT if format == "TIFF" else set()) & exif.keys():
        del exif[tag]
    if ORIENTATION in exif:
        exif[ORIENTATION] = 1  # kept: without it, readers look for one in the XMP
    return exif.tobytes() if len(exif) else b""


def _dpi(value: Any) -> tuple[float, float] | None:
    """The resolution, or None if it is missing or not valid."""
    try:
        x, y = (float(number) for number in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(number) and 0 < number < 1e6 for number in (x, y)) else None
