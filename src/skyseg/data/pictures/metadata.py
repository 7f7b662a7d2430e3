"""What a picture file stores besides its pixels: colour profile, EXIF, XMP, resolution."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from skyseg.data.pictures import headers
from skyseg.data.pictures.headers import ORIENTATION, PNG_MAGIC, SOS

XMP_KEYS = ("xmp", "XML:com.adobe.xmp")  # JPEG, WebP and TIFF; PNG
XMP_ORIENTATION = rb'tiff:Orientation="\d"|<tiff:Orientation>\d</tiff:Orientation>'
# Tags that a TIFF keeps in the same table as its EXIF: the layout of its pixels, its profile and
# its XMP (TIFF 6.0, section 8 and supplements).
TIFF_LAYOUT = frozenset(
    {
        *(254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 282, 283, 284, 292, 293),
        *(
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
            *range(512, 522),
            *range(529, 533),
            700,
        ),
        34675,
    }
)
TIFF_PIXELS = TIFF_LAYOUT - {282, 283, 700, 34675} | {ORIENTATION}  # without resolution, XMP, ICC
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
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
    """The EXIF orientation, 1 to 8; 1 (upright) if it is missing or cannot be read.

    Pillow's own reader gives up at the first damaged entry.
    """
    if "exif" in image.info and isinstance(image.info["exif"], bytes):
        value = headers.exif_orientation(image.info["exif"])
        if value is not None:
            return value if value in range(2, 9) else 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # some cameras write EXIF that no parser expects
        return 1
    return value if value in range(2, 9) else 1


def is_long(data: bytes) -> bool:
    """Whether the EXIF of a picture file is longer than results can hold, or would become so when
    it is read: many entries can share one long value."""
    if data[:4] in TIFF_MAGIC:
        return headers.tags_size(data, TIFF_LAYOUT) > EXIF_LIMIT
    block = headers.exif_of(data)
    if not data.startswith((b"\xff\xd8", PNG_MAGIC)):  # its end is not known
        return headers.tags_size(block) > 2 * EXIF_LIMIT
    return len(block) > EXIF_LIMIT or headers.tags_size(block) > 2 * EXIF_LIMIT


def without_metadata(data: bytes) -> bytes | None:
    """The file without what is stored besides the pixels, if that can be done without decoding.

    Its orientation is lost too, but for a TIFF.
    """
    if data.startswith(b"\xff\xd8"):
        return _jpeg_pixels(data)
    if data.startswith(PNG_MAGIC):
        kept = (part for part in headers.png_chunks(data) if part.kind in PNG_PIXELS)
        return PNG_MAGIC + b"".join(data[part.start : part.end] for part in kept)
    if data[:4] in TIFF_MAGIC and (layout := headers.tags(data)):
        changed = bytearray(data)
        for entry in headers.table(data, layout, layout.first)[0]:
            if entry.tag not in TIFF_PIXELS:
                changed[entry.at + 2 : entry.at + 4] = b"\xff\xff"  # a type to skip (TIFF 6.0, 2)
        return bytes(changed)
    at = headers.exif_position(data)
    # The offsets of these formats must stay, so the table of tags, at byte 8, becomes empty.
    return None if at is None else data[: at + 8] + b"\0\0" + data[at + 10 :]


def _jpeg_pixels(data: bytes) -> bytes:
    """A JPEG without its application segments, except Adobe's, which says how colours are stored,
    and without comments."""
    kept, at = [data[:2]], 2
    for kind, start, end in headers.jpeg_segments(data):
        if kind[0] == SOS:
            return b"".join([*kept, data[start:]])
        if not (0xE0 <= kind[0] <= 0xED or kind[0] in (0xEF, 0xFE)):
            kept.append(data[start:end])
        at = end
    return b"".join([*kept, data[at:]])


def read_metadata(
    image: Image.Image, stored: Image.Image, format: str | None
) -> tuple[Metadata, list[str]]:
    """The metadata of an image, and a note on each part that cannot be kept.

    Args:
        image: the decoded image.
        stored: the image that still has its EXIF.
        format: Pillow's name of its file format.
    """
    left_out: list[str] = []
    icc = image.info.get("icc_profile")
    if icc:
        # ICC.1:2022, 7.2: the length at byte 0, the colour space at 16, a signature at 36.
        if not isinstance(icc, bytes) or icc[36:40] != b"acsp" or _length(icc) > len(icc):
            left_out.append("its colour profile is damaged and is left out")
            icc = None
        elif icc[16:20] != b"RGB ":
            left_out.append(
                f"its colour profile is for {icc[16:20].decode('latin-1').strip()}; "
                "results are RGB without a profile"
            )
            icc = None
    try:
        exif = _exif(stored, format)
        if _is_incomplete(stored):
            left_out.append("a part of its EXIF is damaged and is left out")
    except Exception:  # some cameras write EXIF that no parser expects
        exif = b""
        left_out.append("its EXIF is damaged and is left out")
    xmp = next((image.info[key] for key in XMP_KEYS if key in image.info), b"")
    xmp = xmp.encode(errors="replace") if isinstance(xmp, str) else xmp
    if not isinstance(xmp, bytes):
        xmp = b""
        left_out.append("its XMP is damaged and is left out")
    xmp = re.sub(XMP_ORIENTATION, b"", xmp)
    if len(exif) > EXIF_LIMIT:
        exif = b""
        left_out.append("its EXIF is too long and is left out")
    if len(xmp) > XMP_LIMIT:
        xmp = b""
        left_out.append("its XMP is too long and is left out")
    dpi = _dpi(image.info.get("dpi"))
    if dpi is None and image.info.get("dpi"):
        left_out.append("its resolution in dpi is not valid and is left out")
    return Metadata(icc or None, exif, xmp, dpi), left_out


def _is_incomplete(stored: Image.Image) -> bool:
    """Whether Pillow has read fewer tags than there are in a block of EXIF."""
    block = stored.info.get("exif") or b""
    block = block.removeprefix(headers.EXIF_MAGIC)
    layout = headers.tags(block)
    if layout is None:
        return bool(block)
    entries, _ = headers.table(block, layout, layout.first)
    return len(stored.getexif()) < len({entry.tag for entry in entries if entry.size})


def _length(icc: bytes) -> int:
    return int.from_bytes(icc[:4])


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
    for tag in (TIFF_LAYOUT if format == "TIFF" else frozenset()) & exif.keys():
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
    return (
        (x, y) if all(math.isfinite(number) and 0 < number < 65536 for number in (x, y)) else None
    )
