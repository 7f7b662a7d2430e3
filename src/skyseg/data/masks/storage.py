"""How a mask file stores its values, from its header: what Pillow changes when it decodes them.

Pillow scales greys of 2 and 4 bits, and those of PGM files, to 0-255 (PGM files with more than 8
bits to 0-65535), keeps the upper 8 of 16 bits where there are several channels, and inverts TIFFs
whose white is zero. Class indices are read back from that.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple, cast

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from skyseg.data.masks.encoding import INVERTED
from skyseg.data.pictures.codec import LOSSY, header, white_is_zero
from skyseg.errors import UserError

MOST_PAGES = 16  # pages are counted up to here; a file can claim any number of them

# Tags of TIFF 6.0, and the sample format of signed numbers.
BITS, SAMPLE_FORMAT, NEW_SUBFILE_TYPE, SUBFILE_TYPE = 258, 339, 254, 255
SIGNED = 2
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # compressions, as Pillow calls them


class Storage(NamedTuple):
    """How a file stores its pixels."""

    kind: str
    """Such as '1-bit', 'palette', '4-bit', '8-bit', '16-bit', '8-bit, white is zero'. In files of
    one kind a value means the same."""
    white: int
    """The largest number that the file can store; Pillow decodes it to ``top``."""
    top: int
    coarse: bool
    """It stores 16 bits a channel, and Pillow decodes the upper 8."""
    lossy: bool
    """Values may come back changed."""


def storage_of(content: bytes, image: Image.Image, name: str) -> Storage:
    """How a mask file stores its values.

    Args:
        content: the file.
        image: what it decodes to.
        name: used in error messages.

    Raises:
        UserError: it holds several pages, or its values cannot be read exactly.
    """
    stored = header(content)
    mode = image.mode  # in an icon's header it is another
    bits = _bits(content, stored, mode)
    lossy = stored.format in LOSSY or stored.info.get("compression") in LOSSY_TIFF
    _refuse_pages(stored, name)
    if mode == "LAB":
        raise UserError(f"{name}: the mask is stored as LAB; save it as a one-channel PNG")
    if bits == 8 and stored.format == "TIFF" and SIGNED in _tag(stored, SAMPLE_FORMAT):
        raise UserError(f"{name}: the mask has signed 8-bit values; save it as an 8-bit PNG")
    if mode in ("P", "PA"):
        return Storage("palette", 255, 255, False, lossy)
    if mode not in ("1", "L") and not mode.startswith("I"):
        return Storage("8-bit", 255, 255, bits == 16, lossy)
    white = 2 ** min(bits, 16) - 1
    top = white if bits in (1, 12) else 65535 if bits > 8 else 255
    kind = f"{bits}-bit"
    if (maximum := _pgm_maximum(stored)) not in (None, white):
        kind, white = f"PGM with maximum {maximum}", maximum or 1
    if white_is_zero(stored):
        kind += INVERTED
    return Storage(kind, white, top, False, lossy)


def codes_of(values: np.ndarray, storage: Storage) -> np.ndarray:
    """The numbers that a grey file stores, from those that Pillow decodes; same shape and dtype."""
    inverted = storage.kind.endswith(INVERTED)
    if storage.top == storage.white and not inverted:
        return values
    decoded = np.arange(np.iinfo(values.dtype).max + 1, dtype=np.int64)
    codes = (decoded * storage.white + storage.top // 2) // storage.top
    codes = codes.clip(0, storage.white)
    return (storage.white - codes if inverted else codes).astype(values.dtype).take(values)


def _bits(content: bytes, stored: Image.Image, mode: str) -> int:
    """Bits per channel: 1, 2, 4, 8, 12, 16 or 32."""
    if stored.format == "PNG":
        return content[24]  # in the header chunk, which comes first
    if stored.format == "TIFF":
        return int(max(_tag(stored, BITS, (1,))))
    return 1 if mode == "1" else 16 if mode.startswith("I") else 8


def _tag(stored: Image.Image, tag: int, default: tuple[int, ...] = (0,)) -> tuple[int, ...]:
    value = getattr(stored, "tag_v2", {}).get(tag, default)
    return value if isinstance(value, tuple) else (value,)


def _pgm_maximum(stored: Image.Image) -> int | None:
    """The largest value that a PGM file says it can hold; None for other files."""
    if stored.format != "PPM" or stored.mode not in ("L", "I"):
        return None
    arguments = cast(ImageFile, stored).tile[0].args
    if isinstance(arguments, tuple):
        return int(arguments[1])
    return 65535 if stored.mode == "I" else 255


def _refuse_pages(stored: Image.Image, name: str) -> None:
    pages = _pages(stored)
    if pages > 1:
        count = f"over {MOST_PAGES}" if pages > MOST_PAGES else f"{pages}"
        raise UserError(f"{name}: {count} pages or frames; save one per mask")


def _pages(stored: Image.Image) -> int:
    """How many pictures a file holds, at most ``MOST_PAGES`` + 1. Thumbnails do not count."""
    if stored.format == "ICO":
        return len(stored.info.get("sizes", ())) or 1
    if stored.format not in ("TIFF", "GIF"):
        return int(getattr(stored, "n_frames", 1))
    pages = 1
    with suppress(Exception):  # EOFError at the end, any other if the next page is damaged
        for page in range(1, 4 * MOST_PAGES):
            stored.seek(page)
            reduced = _tag(stored, NEW_SUBFILE_TYPE)[0] & 1 or _tag(stored, SUBFILE_TYPE)[0] == 2
            pages += not reduced
            if pages > MOST_PAGES:
                break
    return pages
