"""Decodes and writes picture files.

``decode`` returns 8-bit RGB, upright, with the metadata. ``open_upright`` returns Pillow's image in
the mode it is stored in, for masks, whose values must not be converted.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg.data.pictures import frames, headers
from skyseg.data.pictures.colours import as_rgb
from skyseg.data.pictures.limits import OWN, UPLOAD, Limits
from skyseg.data.pictures.metadata import Metadata, orientation, read_metadata, write_options
from skyseg.data.pictures.opening import (
    FILE_FORMATS,
    LOSSY,
    SUFFIXES,
    UPRIGHT,
    decoding,
    header,
    open_image,
    open_parts,
    open_upright,
    read_bytes,
    stored_size,
    turn_upright,
    upright_size,
    white_is_zero,
)
from skyseg.errors import UserError

# What others take from here: the one module for picture files.
__all__ = [
    "FILE_FORMATS",
    "LOSSY",
    "OWN",
    "SUFFIXES",
    "UPLOAD",
    "UPRIGHT",
    "Limits",
    "Picture",
    "decode",
    "decode_rgba",
    "header",
    "open_upright",
    "pixels_of",
    "read",
    "read_bytes",
    "resize",
    "stored_size",
    "upright_size",
    "white_is_zero",
    "write",
]


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
    format: str = "PNG"
    """A key of ``FILE_FORMATS``."""


Photograph = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""What ``pixels_of`` accepts."""


def read(path: Path, min_side: int | None = None) -> Picture:
    """Read a file and ``decode`` it."""
    return decode(read_bytes(path), str(path), min_side)


def decode(data: bytes, name: str, min_side: int | None = None, limits: Limits = OWN) -> Picture:
    """Decode a picture file.

    Transparent pictures are put on white, as web pages show them, unless no pixel is opaque; 16-bit
    greys are divided by 257, 12-bit ones by 16; of several frames only the first is used; colour
    profiles are kept but not applied. Damaged metadata is left out.

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
    with decoding(name):
        image, turned, bare = open_parts(data, name, min_side, limits)
        format = image.format
        pixels, flags, clear = as_rgb(_scaled(image, data), name)
        several = frames.note(data, image)
        # A PNG's EXIF may come after its pixels; decoding a TIFF loses its EXIF.
        stored = image if format == "PNG" else open_image(io.BytesIO(bare or data))
        metadata, left_out = read_metadata(image, stored, format)
    if bare:
        left_out.append("its metadata is damaged or too long, and is left out")
    flags = (*(["exif"] if turned else []), *flags, *(["frames"] if several else []))
    notes = (text for text in (several, clear, *left_out) if text)
    return Picture(pixels, flags, metadata, tuple(notes), turned or 1, format or "PNG")


def decode_rgba(data: bytes, name: str, limits: Limits = OWN) -> NDArray[np.uint8]:
    """uint8 [H, W, 4] RGBA of a picture file, upright, in straight alpha; else as ``decode``."""
    with decoding(name):
        return np.asarray(open_parts(data, name, None, limits)[0].convert("RGBA"))


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
        with decoding("the image"):
            photograph.load()
            image, _ = turn_upright(photograph, orientation(photograph))
            return as_rgb(image, "the image").pixels
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


def _scaled(image: Image.Image, data: bytes) -> Image.Image:
    """12-bit greys of a TIFF as 16-bit ones; other images unchanged."""
    layout = headers.tags(data) if image.format == "TIFF" else None
    if layout is None or not image.mode.startswith("I;16"):
        return image
    entries = headers.table(data, layout, layout.first)[0]
    bits = {entry.tag: headers.whole_number(data, layout, entry) for entry in entries}.get(258)
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 16) if bits == 12 else image


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
