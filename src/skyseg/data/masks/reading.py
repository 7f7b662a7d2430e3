"""Reads masks with the encoding that was decided once for the whole data set, and resizes them.

Inside the program a mask is uint8: 0 background, 1 foreground, 255 ignore.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from skyseg.data.masks.encoding import Encoding, compared_values, decode_values
from skyseg.data.masks.files import read_mask_file
from skyseg.data.pictures.codec import read_bytes
from skyseg.errors import UserError
from skyseg.params import IGNORE


def read_mask(path: Path, encoding: Encoding) -> np.ndarray:
    """Decode a mask to uint8 [H, W], upright: 0 background, 1 foreground, 255 ignore.

    Raises:
        UserError: the file is damaged, or the encoding does not fit it.
    """
    raw = read_mask_file(
        read_bytes(path), path, indexed=encoding.kind == "index", ignore=encoding.ignore
    ).raw
    values = raw.alpha if encoding.kind == "alpha" else raw.values
    if values is None:
        raise UserError(
            f"{path}: cannot be read as {encoding.kind} like the other masks; save all masks the "
            "same way"
        )
    numbers = np.arange(256 if raw.greys is not None else np.iinfo(values.dtype).max + 1)
    table = decode_values(
        compared_values(numbers, raw.kind, raw.greys, encoding), raw.kind, encoding
    )
    return table.take(values)  # takes half the time of table[values]


def resize_mask(mask: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize uint8 {0, 1, 255} [H, W] to [size, size], or to (width, height).

    A pixel is ignored if at least half of the area it covers is ignored. Otherwise it is foreground
    if at least half of the valid area is foreground.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if mask.shape == (height, width):
        return mask

    def share(where: np.ndarray) -> np.ndarray:
        image = Image.fromarray(where.astype(np.float32))
        return np.asarray(image.resize((width, height), Image.Resampling.BOX))

    foreground = share(mask == 1)
    valid = share(mask != IGNORE) if (mask == IGNORE).any() else np.float32(1)
    resized = (foreground >= valid / 2 - 1e-6).astype(np.uint8)
    return np.where(valid <= 0.5 + 1e-6, np.uint8(IGNORE), resized)
