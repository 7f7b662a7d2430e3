"""Opens picture files: which formats there are, how an image is turned upright, what can fail.

The images are Pillow's, in the mode they are stored in. ``pictures`` makes RGB of them.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from skyseg import files
from skyseg.data.pictures import headers
from skyseg.data.pictures.colours import is_clear
from skyseg.data.pictures.limits import OWN, Limits, check_cost
from skyseg.data.pictures.metadata import is_long, orientation, without_metadata
from skyseg.errors import UserError

# File formats of cameras, scanners and the web: Pillow's name of each, and its suffixes, the usual
# one first. Not every format that Pillow reads: decoding EPS, for example, runs a program.
FILE_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".mpo"),  # a JPEG followed by more pictures, as phones write
    "PNG": (".png", ".apng"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TGA": (".tga",),
    "ICO": (".ico",),
}
# Formats whose values may come back changed: a mask in them is not exactly black and white.
LOSSY = {"JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF"}
SUFFIXES = frozenset(suffix for suffixes in FILE_FORMATS.values() for suffix in suffixes)

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
# EXIF orientations 2 to 8, and the operation that turns each upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF_TURNS = {"JPEG", "MPO", "PNG", "WEBP"}  # AVIF and HEIC say it themselves; TIFF keeps its tag
# Pillow's warnings about damaged metadata, of which the user is told in other words.
SILENT = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
MARGIN = 2  # a JPEG decoded at reduced scale has at least this many times the wanted side


def read_bytes(path: Path, limits: Limits = OWN) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: it is missing, no regular file, too large, or cannot be read.
    """
    return files.read_bytes(path, limits.bytes)


def open_upright(
    data: bytes, name: str, min_side: int | None = None, limits: Limits = OWN
) -> tuple[Image.Image, int]:
    """A decoded image in the mode it is stored in, and the EXIF orientation, 2 to 8, by which it
    was turned; 0 if it was not turned.

    Args, Raises: as ``codec.decode``.
    """
    with decoding(name):
        image, turned, _ = open_parts(data, name, min_side, limits)
        return image, turned


def open_parts(
    data: bytes, name: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, int, bytes | None]:
    """As ``open_upright``, and the file without its metadata if it could only be decoded so."""
    if not data:
        raise UserError(f"{name}: the file is empty; replace or remove it")
    if not _register_heif(data):
        raise UserError(f"{name}: HEIC needs the package pillow-heif: pip install 'skyseg[heic]'")
    check_cost(data, name, limits)
    bare = without_metadata(data) if is_long(data) else None
    try:
        return (*_load(bare or data, data, name, min_side, limits), bare)
    except (UserError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception:
        bare = None if bare else without_metadata(data)
        if not bare or bare == data:
            raise
        with suppress(Exception):
            return (*_load(bare, data, name, min_side, limits), bare)
        raise  # what is wrong with the file as it is


def _load(
    data: bytes, whole: bytes, name: str, min_side: int | None, limits: Limits
) -> tuple[Image.Image, int]:
    """As ``open_upright``.

    Args:
        data: the file, perhaps without its metadata.
        whole: the file with its metadata.
    """
    image: Image.Image = open_image(io.BytesIO(data))
    _check_size(image, name, limits)
    if min_side:
        image.draft(None, (MARGIN * min_side, MARGIN * min_side))  # only affects JPEGs
    # Pillow turns TIFFs itself when it decodes them.
    by_pillow = orientation(image) if image.format == "TIFF" else 1
    image.load()
    _check_size(image, name, limits)  # a HEIC may be larger than its header says
    if isinstance(image.info.get("transparency"), str):
        raise ValueError("a text of that name hides its transparency")  # decoded without texts
    clear_tiff = image.format == "TIFF" and image.mode == "RGBA" and is_clear(image)
    # Pillow has divided by an alpha of 0. Whoever wrote colours there had not multiplied by it.
    if clear_tiff and (straight := headers.with_straight_alpha(data)):
        image = open_image(io.BytesIO(straight))
        image.load()
    upright, turned = turn_upright(image, _orientation(image, data, whole))
    return upright, turned or (by_pillow if by_pillow > 1 else 0)


def _check_size(image: Image.Image, name: str, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.pixels:
        raise UserError(
            f"{name}: {width}x{height} pixels; shrink it to at most "
            f"{limits.pixels // 10**6} million"
        )


def _orientation(image: Image.Image, data: bytes, whole: bytes) -> int:
    """The EXIF orientation of a file, of which ``data``, perhaps without metadata, was opened."""
    if data is not whole and image.format in EXIF_TURNS:
        found = headers.exif_orientation(headers.exif_of(whole))
        return found if found and 2 <= found <= 8 else 1
    return orientation(image)


def white_is_zero(image: Image.Image) -> bool:
    """Whether a file's header says that 0 is white, as TIFFs may (TIFF 6.0, tag 262)."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0


def turn_upright(image: Image.Image, stored: int) -> tuple[Image.Image, int]:
    """A decoded image upright, with white as its largest value, and its orientation as
    ``open_upright`` returns it.

    Args:
        image: as it is stored.
        stored: its EXIF orientation.
    """
    method = UPRIGHT.get(stored)
    turned = image if method is None else image.transpose(method)
    if image.mode.startswith("I;16") and white_is_zero(image):  # Pillow inverts up to 8 bits
        turned = Image.fromarray(65535 - np.asarray(turned).astype(np.uint16))
        turned.info = image.info
    turned.format = image.format  # of a new image, it is not known
    return turned, 0 if method is None else stored


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn any exception of a decoder into a ``UserError`` of one line."""
    try:
        yield
    except Image.UnidentifiedImageError:
        raise UserError(
            f"{name}: not an image in a supported format; save it as JPEG or PNG"
        ) from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{name}: more pixels than is safe to decode (limit "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels); shrink the image"
        ) from None
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly any exception on damaged data
        raise UserError(
            f"{name}: truncated or damaged ({' '.join(str(error).split())}); replace or remove it"
        ) from None


def header(data: bytes) -> Image.Image:
    """Pillow's image of a readable picture, with its tags, before its pixels are decoded.

    Raises:
        Exception: of any type, if the picture cannot be read.
    """
    return _header(data)[0]


def _header(data: bytes) -> tuple[Image.Image, bytes]:
    """As ``header``, and what was opened: the file, or the file without its metadata."""
    _register_heif(data)
    bare = without_metadata(data) if is_long(data) else None
    with suppress(Exception):
        return open_image(io.BytesIO(bare or data)), bare or data
    bare = without_metadata(data) or data
    return open_image(io.BytesIO(bare)), bare


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of a readable picture, upright, from its header.

    Raises:
        Exception: of any type, if the picture cannot be read.
    """
    image, opened = _header(data)
    with image:
        width, height = image.size
        # Pillow has swapped those of a TIFF.
        swapped = _orientation(image, opened, data) >= 5 and image.format != "TIFF"
        return (height, width) if swapped else (width, height)


def stored_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a file, before EXIF turns it, from its header; None if that fails."""
    try:
        with files.open_regular(path) as file:
            _register_heif(file.read(12))
            with open_image(file) as image:
                return image.size
    except Exception:  # decoding it will report the error
        return None


def open_image(file: BinaryIO) -> Image.Image:
    """``PIL.Image.open``, limited to ``FILE_FORMATS``."""
    Image.init()
    if SILENT not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image.open(file, formats=[name for name in FILE_FORMATS if name in Image.OPEN])


def _register_heif(data: bytes) -> bool:
    """If the data begins like HEIC, enable it in Pillow; False if pillow-heif is missing for it."""
    if data[4:8] != b"ftyp" or data[8:12] not in HEIF_BRANDS:
        return True
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
