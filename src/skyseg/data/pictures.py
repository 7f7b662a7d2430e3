"""Decodes and writes picture files. No other module opens one.

``decode`` returns 8-bit RGB, upright, with the metadata. ``open_upright`` returns Pillow's image in
the mode it is stored in, for masks, whose values must not be converted.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg.data.metadata import Metadata, orientation, read_metadata, write_options
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
# Formats of which only the first frame is used, and what to call a file with several frames.
SEVERAL_FRAMES = {
    "GIF": "animation",
    "PNG": "animation",
    "WEBP": "animation",
    "TIFF": "multi-page file",
}
FLAGS = {
    "1": "1bit",
    "L": "grey",
    "LA": "alpha",
    "RGBA": "alpha",
    "PA": "alpha",
    "P": "palette",
    "CMYK": "cmyk",
}
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
MARGIN = 2  # a JPEG decoded at reduced scale has at least this many times the wanted side


class Picture(NamedTuple):
    """A decoded picture."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB, upright."""
    flags: tuple[str, ...]
    """What is unusual about the file: exif (it was turned), grey, alpha, palette, 16bit, cmyk,
    1bit, frames."""
    metadata: Metadata
    """What is stored besides the pixels, for ``write`` to keep."""
    notes: tuple[str, ...]
    """Messages for the user about what is not used or not kept."""
    orientation: int = 1
    """Of EXIF, 1 to 8; the pixels have been turned by it."""


Photograph = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""What ``pixels_of`` accepts."""


class Limits(NamedTuple):
    """Largest size of a file that is decoded; larger ones are refused before decoding."""

    bytes: int
    pixels: int


UPLOAD = Limits(64 * 2**20, 80_000_000)  # about 1.2 GB of memory during segmentation


def read(path: Path, min_side: int | None = None) -> Picture:
    """Read a file and ``decode`` it."""
    return decode(read_bytes(path), str(path), min_side)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; a UserError if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def decode(
    data: bytes, name: str, min_side: int | None = None, limits: Limits | None = None
) -> Picture:
    """Decode a picture file.

    Transparent pictures are put on white, as web pages show them; 16-bit greys are divided by 257;
    of several frames only the first is used; colour profiles are kept but not applied.

    Args:
        data: the bytes of the file.
        name: used in error messages.
        min_side: smallest side that the caller will shrink the result to. A large JPEG may then be
            decoded at 1/2, 1/4 or 1/8 of its size, with at least twice this side, in half the time.
            After shrinking, pixels differ by less than one grey level of 255 (mean, measured on
            60 photographs).
        limits: larger files are refused before decoding.

    Raises:
        UserError: the file is empty, truncated, not a picture, too large, or HEIC without
            pillow-heif.
    """
    image, turned = open_upright(data, name, min_side, limits)
    format = image.format
    pixels, flags = _as_rgb(image, name)
    flags = (*(["exif"] if turned else []), *flags)
    notes = []
    frames = _frames(image) if format in SEVERAL_FRAMES else 1
    if frames > 1 and format:
        flags = (*flags, "frames")
        notes.append(f"{SEVERAL_FRAMES[format]}, only the first of {frames} frames is used")
    # A PNG's EXIF may come after its pixels; decoding a TIFF loses its EXIF.
    stored = image if format == "PNG" else _open(io.BytesIO(data))
    metadata, left_out = read_metadata(image, stored, format)
    return Picture(pixels, flags, metadata, (*notes, *left_out), turned or 1)


def pixels_of(photograph: Photograph) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] RGB, upright, from a path, a file's bytes, a PIL image, or such an array.

    Raises:
        UserError: see ``decode``; or the photograph is none of these types.
    """
    if isinstance(photograph, str | Path):
        return read(Path(photograph)).pixels
    if isinstance(photograph, bytes | bytearray | memoryview):
        return decode(bytes(photograph), "the photograph").pixels
    if isinstance(photograph, Image.Image):
        with _decoding("the image"):
            photograph.load()
            image, _ = _turn_upright(photograph)
        return _as_rgb(image, "the image")[0]
    if (
        isinstance(photograph, np.ndarray)
        and photograph.dtype == np.uint8
        and photograph.ndim == 3
        and photograph.shape[2] == 3
        and photograph.size
    ):
        return photograph
    what = (
        f"an array {photograph.dtype} {list(photograph.shape)}"
        if isinstance(photograph, np.ndarray)
        else type(photograph).__name__
    )
    raise UserError(
        f"a photograph must be a path, bytes, a PIL image or an array uint8 [H, W, 3], not {what}"
    )


def open_upright(
    data: bytes, name: str, min_side: int | None = None, limits: Limits | None = None
) -> tuple[Image.Image, int]:
    """A decoded image in the mode it is stored in, and the EXIF orientation, 2 to 8, by which it
    was turned; 0 if it was not turned.

    Args, Raises: as ``decode``.
    """
    if not data:
        raise UserError(f"{name}: the file is empty; replace or remove it")
    if not _register_heif(data):
        raise UserError(f"{name}: HEIC needs the package pillow-heif: pip install 'skyseg[heic]'")
    if limits:
        _check_limits(data, name, limits)
    with _decoding(name):
        image: Image.Image = _open(io.BytesIO(data))
        if min_side:
            image.draft(None, (MARGIN * min_side, MARGIN * min_side))  # only affects JPEGs
        # Pillow turns TIFFs itself when it decodes them.
        by_pillow = orientation(image) if image.format == "TIFF" else 1
        image.load()
        upright, turned = _turn_upright(image)
        return upright, turned or (by_pillow if by_pillow > 1 else 0)


def white_is_zero(image: Image.Image) -> bool:
    """Whether a file's header says that 0 is white, as TIFFs may (TIFF 6.0, tag 262)."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0


def _turn_upright(image: Image.Image) -> tuple[Image.Image, int]:
    """A decoded image upright, with white as its largest value, and its orientation as
    ``open_upright`` returns it."""
    stored = orientation(image)
    method = UPRIGHT.get(stored)
    turned = image if method is None else image.transpose(method)
    if image.mode.startswith("I;16") and white_is_zero(image):  # Pillow inverts up to 8 bits
        turned = Image.fromarray(65535 - np.asarray(turned).astype(np.uint16))
        turned.info = image.info
    turned.format = image.format  # of a new image, it is not known
    return turned, 0 if method is None else stored


@contextmanager
def _decoding(name: str) -> Iterator[None]:
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
    except MemoryError:
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
    _register_heif(data)
    return _open(io.BytesIO(data))


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of a readable picture, upright, from its header.

    Raises:
        Exception: of any type, if the picture cannot be read.
    """
    _register_heif(data)
    with _open(io.BytesIO(data)) as image:
        width, height = image.size
        swapped = orientation(image) >= 5 and image.format != "TIFF"  # Pillow has swapped those
        return (height, width) if swapped else (width, height)


def stored_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a file, before EXIF turns it, from its header; None if that fails."""
    try:
        with path.open("rb") as file:
            _register_heif(file.read(12))
            with _open(file) as image:
                return image.size
    except Exception:  # decoding it will report the error
        return None


def resize(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to [size, size, 3], ignoring the aspect ratio: bilinear, antialiased
    when shrinking."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def write(
    file: Path | BinaryIO,
    pixels: NDArray[np.uint8],
    suffix: str,
    metadata: Metadata,
    data: bool = False,
) -> None:
    """Write a picture with the metadata of the photograph it was made from.

    Args:
        file: a path or an open file.
        pixels: uint8 [H, W], [H, W, 3] or [H, W, 4].
        suffix: .png or .jpg, whatever ``file`` is called.
        metadata: of the photograph.
        data: the pixels are not colours, so the colour profile is left out.

    Raises:
        OSError: the file cannot be written, or the picture is larger than the format allows.
    """
    format = "PNG" if suffix == ".png" else "JPEG"
    Image.fromarray(pixels).save(file, format, **write_options(metadata, format, data))


def _check_limits(data: bytes, name: str, limits: Limits) -> None:
    if len(data) > limits.bytes:
        raise UserError(
            f"{name}: {len(data) / 2**20:.0f} MiB; shrink it to at most {limits.bytes // 2**20} MiB"
        )
    try:
        width, height = upright_size(data)
    except Exception:  # decoding it will report the error
        return
    if width * height > limits.pixels:
        raise UserError(
            f"{name}: {width}x{height} pixels; shrink it to at most "
            f"{limits.pixels // 10**6} million"
        )


def _open(file: BinaryIO) -> Image.Image:
    """``PIL.Image.open``, limited to ``FILE_FORMATS``."""
    Image.init()
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


def _frames(image: Image.Image) -> int:
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # its table is damaged; the first frame needs none
        return 1


def _as_rgb(image: Image.Image, name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """uint8 [H, W, 3] of an image in any mode, and the mode's flag."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bit(image, name), ("16bit",)
    flags = (FLAGS[image.mode],) if image.mode in FLAGS else ()
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if image.mode != "RGB":  # convert() would copy it
            image = image.convert("RGB")
        return np.asarray(image), flags
    except ValueError as error:  # Pillow does not convert LAB and some others
        raise UserError(f"{name}: {error}; save it as an RGB JPEG or PNG") from None


def _from_16_bit(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """16-bit grey (or 32-bit with 16-bit values) to uint8 RGB; 65535 becomes 255."""
    deep: NDArray[Any] = np.asarray(image)
    if image.mode == "F" or deep.min() < 0 or deep.max() > 65535:
        raise UserError(f"{name}: 32-bit pixels; save it with 8 or 16 bits per channel")
    grey = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
