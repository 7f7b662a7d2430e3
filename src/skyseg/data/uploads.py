"""Photographs that a server is sent: looked at before they are unpacked."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg.data.images import decode_image, open_image
from skyseg.errors import UserError

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 80_000_000  # some 1.2 GB while it is scored


def decode_upload(data: bytes, name: str) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] RGB, upright, as ``skyseg.data.images.decode_image`` gives it.

    Raises:
        UserError: more bytes or pixels than a server takes, or what ``decode_image`` refuses.
    """
    if len(data) > MAX_BYTES:
        raise UserError(f"{name}: {len(data) / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB")
    width = height = 0
    # What cannot even be opened is explained by decode_image.
    with (
        suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError),
        open_image(io.BytesIO(data)) as image,
    ):
        width, height = image.size
    if width * height > MAX_PIXELS:
        raise UserError(f"{name}: {width}x{height} pixels; at most {MAX_PIXELS // 10**6} million")
    return decode_image(data, name).pixels
