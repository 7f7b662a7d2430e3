"""Photographs in, 8-bit RGB out: the one place that decodes and resizes images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from skyseg.errors import UserError

ORIENTATION = 0x0112  # EXIF tag
MARGIN = 2  # times the wanted side that a JPEG decoded at reduced scale has at least
# What cameras, scanners and the web make. Not all that Pillow reads: EPS would be a program to run.
FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "TIFF",
    "WEBP",
    "BMP",
    "GIF",
    "AVIF",
    "HEIF",
    "JPEG2000",
    "PPM",
    "TGA",
    "ICO",
)
FLAGS = {
    "1": "1bit",
    "L": "grey",
    "LA": "alpha",
    "RGBA": "alpha",
    "PA": "alpha",
    "P": "palette",
    "CMYK": "cmyk",
}


class Photograph(NamedTuple):
    pixels: np.ndarray
    """uint8 [H, W, 3] RGB, upright."""
    flags: tuple[str, ...]
    """What was unusual about the file: exif, grey, alpha, palette, 16bit, cmyk, 1bit."""


def read_image(path: Path, least: int | None = None) -> np.ndarray:
    """Decode a photograph to uint8 [H, W, 3] RGB, turned upright by its EXIF orientation.

    Transparent images are laid on white, as a page shows them; 16-bit greys are divided by 257;
    the first frame of several counts; colour profiles are not applied.

    Args:
        least: where the result will be shrunk to no less than this side, a large JPEG may be
            decoded at 1/2, 1/4 or 1/8 of its size, at least twice this side, in half the time.
            Shrunk afterwards, pixels differ by less than one grey level in 255 (mean, measured on
            60 photographs).

    Raises:
        UserError: the file is empty, truncated, not an image, or too large to decode safely.
    """
    return decode_image(read_bytes(path), str(path), least).pixels


def decode_image(data: bytes, name: str, least: int | None = None) -> Photograph:
    """``read_image`` for bytes; ``name`` stands in errors."""
    return as_rgb(*open_upright(data, name, least), name)


def as_rgb(image: Image.Image, turned: bool, name: str) -> Photograph:
    """What ``open_upright`` opened, as ``decode_image`` gives it."""
    flags = ["exif"] if turned else []
    if image.mode.startswith("I") or image.mode == "F":
        flags.append("16bit")
        return Photograph(_from_deep(image, name), tuple(flags))
    if image.mode in FLAGS:
        flags.append(FLAGS[image.mode])
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if image.mode != "RGB":  # converting copies, whatever the mode
            image = image.convert("RGB")
        return Photograph(np.asarray(image), tuple(flags))
    except ValueError as error:  # LAB and other spaces Pillow does not convert
        raise UserError(f"{name}: {error}; save it as an RGB JPEG or PNG") from None


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Squash uint8 [H, W, 3] to [size, size, 3]: bilinear, antialiased when shrinking."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; a missing or unreadable file is the user's to mend."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def open_image(file: BinaryIO) -> Image.Image:
    """``PIL.Image.open`` for ``FORMATS`` alone; HEIF is one once ``photographs.register_heif`` was
    called."""
    Image.init()
    return Image.open(file, formats=[format for format in FORMATS if format in Image.OPEN])


def frame_count(image: Image.Image) -> int:
    """Of an animation or a file of pages; 1 where that cannot be told."""
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # damaged tables, which the first picture does without
        return 1


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of an image that is known to be readable, upright; decodes nothing."""
    with open_image(io.BytesIO(data)) as image:
        width, height = image.size
        lies = image.getexif().get(ORIENTATION, 1) in range(5, 9)
        return (height, width) if lies else (width, height)


def open_upright(data: bytes, name: str, least: int | None = None) -> tuple[Image.Image, bool]:
    """A fully decoded image in its file's own mode, and whether EXIF turned it; ``least`` as in
    ``read_image``.

    Raises:
        UserError: as ``read_image``.
    """
    if not data:
        raise UserError(f"{name}: the file is empty; replace or remove it")
    try:
        image: Image.Image = open_image(io.BytesIO(data))
        if least:
            image.draft(None, (MARGIN * least, MARGIN * least))  # only JPEGs heed it
        image.load()
        turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
        if turned:
            format = image.format
            image = ImageOps.exif_transpose(image)
            image.format = format  # a transposed copy forgets it
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: not an image of a known kind; save it as JPEG or PNG") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{name}: more pixels than is safe to decode (limit "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} megapixels); "
            "shrink the image"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything on broken bytes
        raise UserError(
            f"{name}: truncated or damaged ({' '.join(str(error).split())}); replace or remove it"
        ) from None
    return image, turned


def _from_deep(image: Image.Image, name: str) -> np.ndarray:
    """Grey of 16 bits (or 32 holding 16) to uint8 RGB; 65535 becomes 255."""
    deep = np.asarray(image)
    if image.mode == "F" or deep.min() < 0 or deep.max() > 65535:
        raise UserError(f"{name}: pixels of 32 bits; save it with 8 or 16 bits a channel")
    grey = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
