"""The meaning of a data set's mask values, and the function that applies it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from skyseg.params import IGNORE

Scale = Literal["two-valued", "8bit", "16bit"]


class Encoding(BaseModel):
    """What mask values mean, for every file of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["0/1", "0/255", "soft", "alpha", "index"]
    foreground: tuple[int, ...] = ()
    """Class indices that are foreground; kind index only."""
    ignore: tuple[int, ...] = ()
    """Values to ignore, in the loss and in every score."""
    invert: bool = False
    threshold: int | None = None
    """Smallest foreground value on the 8-bit scale; every kind but index."""
    wide: bool = False
    """16-bit files use values up to 65535 (otherwise they hold 8-bit values)."""


def decode_values(values: np.ndarray, scale: Scale, encoding: Encoding) -> np.ndarray:
    """Raw values to uint8 {0, 1, 255}: background, foreground, ignored."""
    if encoding.kind == "index":
        foreground = np.isin(values, encoding.foreground)
    elif scale == "two-valued":
        foreground = values == 1
    else:
        threshold = encoding.threshold or 0
        if scale == "16bit" and encoding.wide:
            threshold *= 256
        foreground = values >= threshold
    codes = (foreground != encoding.invert).astype(np.uint8)
    codes[np.isin(values, encoding.ignore)] = IGNORE
    return codes
