"""Two colours out of one at soft edges: foreground and background, by pymatting's multi-level
method (Germer et al., Fast Multi-Level Foreground Estimation, ICPR 2020)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyseg.errors import UserError

Pixels = NDArray[np.uint8]

TILE, MARGIN = 512, 64  # pixels: worked on at a time, which bounds the memory; and seen around it


def unmix(image: Pixels, matte: Pixels) -> tuple[Pixels, Pixels]:
    """Colours of the foreground and of the background alone, each uint8 [H, W, 3].

    Only where the matte is soft do they differ from the photograph's.

    Args:
        image: uint8 [H, W, 3].
        matte: uint8 [H, W]; 255 is foreground.

    Raises:
        UserError: pymatting is not installed.
    """
    foreground, background = image.copy(), image.copy()
    height, width = matte.shape
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            inner = np.s_[top:top + TILE, left:left + TILE]
            soft = (matte[inner] > 0) & (matte[inner] < 255)
            if not soft.any():
                continue
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            outer = np.s_[y:top + TILE + MARGIN, x:left + TILE + MARGIN]
            found = _estimator()(image[outer] / np.float32(255), matte[outer] / np.float32(255),
                                 return_background=True)
            back = np.s_[top - y:top - y + TILE, left - x:left - x + TILE]
            for target, colours in zip((foreground, background), found, strict=True):
                target[inner][soft] = (colours[back][soft] * 255 + 0.5).astype(np.uint8)
    return foreground, background


@cache
def _estimator() -> Callable[..., Any]:
    try:
        from pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml
    except ImportError:
        raise UserError("cut-outs and replaced skies need the package pymatting: "
                        "pip install 'skyseg[cutout]'") from None
    return estimate_foreground_ml
