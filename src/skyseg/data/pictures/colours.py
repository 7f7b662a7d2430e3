"""Pixels of any mode of Pillow as 8-bit RGB."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg.errors import UserError

FLAGS = {
    "1": "1bit",
    "L": "grey",
    "LA": "alpha",
    "RGBA": "alpha",
    "PA": "alpha",
    "P": "palette",
    "CMYK": "cmyk",
}
CLEAR = "wholly transparent, so its transparency is ignored"


class Colours(NamedTuple):
    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    flags: tuple[str, ...]
    """The mode's name in ``codec.Picture.flags``, if it is unusual."""
    note: str | None
    """What the user should know about how the pixels were made."""


def as_rgb(image: Image.Image, name: str) -> Colours:
    """The colours of a decoded image, on white where it is transparent.

    A picture without any opaque pixel counts as opaque: programs write one whose colours are meant.

    Args:
        image: in any mode.
        name: used in error messages.

    Raises:
        UserError: the mode cannot be converted, or has values that 16 bits cannot hold.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bit(image, name)
    flags = (FLAGS[image.mode],) if image.mode in FLAGS else ()
    note = None
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            if is_clear(image):
                image, note = image.convert("RGB"), CLEAR
            else:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if image.mode != "RGB":  # convert() would copy it
            image = image.convert("RGB")
    except ValueError as error:  # Pillow does not convert LAB and some others
        raise UserError(f"{name}: {error}; save it as an RGB JPEG or PNG") from None
    return Colours(np.asarray(image), flags, note)


def is_clear(rgba: Image.Image) -> bool:
    """Whether every pixel of an RGBA image is wholly transparent."""
    return rgba.getchannel("A").getextrema() == (0, 0)


def _from_16_bit(image: Image.Image, name: str) -> Colours:
    """16-bit grey, or 32-bit with 16-bit values; 65535 becomes 255."""
    deep: NDArray[Any] = np.asarray(image)
    if image.mode == "F" or deep.min() < 0 or deep.max() > 65535:
        raise UserError(f"{name}: 32-bit pixels; save it with 8 or 16 bits per channel")
    note, key = None, image.info.get("transparency")
    grey = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(key, int) and (deep == key).all():
        note = CLEAR
    elif isinstance(key, int):  # of a PNG: pixels of this value are transparent
        grey[deep == key] = 255
    return Colours(np.repeat(grey[:, :, None], 3, axis=2), ("16bit",), note)
