"""The meaning of a data set's mask values, and the function that applies it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from skyseg.documents import Document
from skyseg.params import IGNORE

# Kinds of files, see ``storage.Storage``, in which 1 is foreground, whatever other files use,
# unless class indices are listed.
TWO_VALUED = ("1-bit", "palette")
DEEP = ("16-bit", "32-bit")  # may hold values up to 65535, or of fewer bits
INVERTED = ", white is zero"  # ends the names of kinds in which 0 is white


# A number that a mask file can store.
Value = Annotated[int, Field(ge=0, le=2**16 - 1)]
White = Annotated[int, Field(ge=1, le=2**32 - 1)]


class Encoding(Document):
    """What mask values mean, for every file of a data set."""

    kind: Literal["0/1", "0/255", "soft", "alpha", "index"]
    foreground: tuple[Value, ...] = ()
    """Class indices that are foreground; kind index only."""
    ignore: tuple[Value, ...] = ()
    """Values to ignore, in the loss and in every score."""
    invert: bool = False
    threshold: int | None = None
    """Smallest foreground value on the 8-bit scale; every kind but index."""
    wide: bool = False
    """16-bit files use values up to 65535 (otherwise they hold 8-bit values)."""
    thresholds: dict[str, int] = Field({})
    """Smallest foreground value in kinds of files with another scale, such as 12 bits in 16."""
    scaled: dict[str, White] = Field({})
    """Kinds of files whose values are brightness and scaled to 8 bits before they are compared with
    ``foreground`` and ``ignore``, and the value that is white; kind index only."""

    @model_serializer(mode="wrap")
    def _without_what_is_rare(
        self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Without the last two where they are empty: fingerprints of prepared data stay as they
        were before these existed."""
        fields: dict[str, Any] = serialise(self)
        return {k: v for k, v in fields.items() if v or k not in ("thresholds", "scaled")}


def decode_values(values: np.ndarray, kind: str, encoding: Encoding) -> np.ndarray:
    """Values to uint8 {0, 1, 255}: background, foreground, ignored.

    Args:
        values: of a file, any shape; those of ``compared_values`` if the encoding is of kind index.
        kind: of the file.
        encoding: of the data set.
    """
    if encoding.kind == "index":
        foreground = np.isin(values, encoding.foreground)
    elif kind in TWO_VALUED:
        foreground = values == 1
    else:
        threshold = encoding.threshold or 0
        if kind in DEEP and encoding.wide:
            threshold *= 256
        foreground = values >= encoding.thresholds.get(kind, threshold)
    codes = (foreground != encoding.invert).astype(np.uint8)
    codes[np.isin(values, encoding.ignore)] = IGNORE
    return codes


def compared_values(
    codes: np.ndarray, kind: str, greys: np.ndarray | None, encoding: Encoding
) -> np.ndarray:
    """The numbers to compare with class indices, from those that a file stores."""
    white = encoding.scaled.get(kind)
    return codes if white is None else brightness(codes, kind, white, greys)


def brightness(codes: np.ndarray, kind: str, white: int, greys: np.ndarray | None) -> np.ndarray:
    """Stored numbers as brightness from 0 to 255; -1 where that is not a whole number.

    Args:
        codes: any shape.
        kind: of the file.
        white: the number that is white (black where white is zero).
        greys: int [256], the grey of each palette index, -1 for colours; None without a palette.
    """
    if greys is not None:
        return greys[codes]
    wide = codes.astype(np.int64) * 255
    whole = np.where((wide % white == 0) & (wide <= 255 * white), wide // white, -1)
    return np.where(whole < 0, -1, 255 - whole) if kind.endswith(INVERTED) else whole
