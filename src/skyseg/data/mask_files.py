"""Reads mask files in any of Pillow's modes as numbers, before it is known what those mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from skyseg.data.encoding import Scale
from skyseg.data.pictures import LOSSY
from skyseg.errors import UserError

HALF = 128  # smallest foreground value where black and white are not exact


class Raw(NamedTuple):
    values: np.ndarray | None
    """uint8 or uint16 [H, W], greys or indices; None if the colours are not grey."""
    scale: Scale
    """two-valued: 1-bit files and palettes; in them 1 is foreground, whatever other files use."""
    alpha: np.ndarray | None
    conflict: str | None
    """Why the alpha channel cannot be trusted to be the mask."""


def values_of(image: Image.Image, path: Path, indexed: bool, ignore: tuple[int, ...]) -> Raw:
    """Values and alpha of a mask file, before it is known what they mean.

    ``indexed``: the user has listed class indices, so the colours of palettes are not used.
    """
    mode = image.mode
    if mode == "1":
        return Raw(np.asarray(image).astype(np.uint8), "two-valued", None, None)
    if mode == "P" and (indexed or "transparency" not in image.info):
        if indexed:
            return Raw(np.asarray(image), "8bit", None, None)
        return _palette(image, path, ignore)
    if mode == "L" and "transparency" not in image.info:
        return Raw(np.asarray(image), "8bit", None, None)
    if mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise UserError(f"{path}: values outside 0-65535; save the mask with 8 or 16 bits")
        return Raw(deep.astype(np.uint16), "16bit", None, None)
    if image.has_transparency_data:
        return _with_alpha(np.asarray(image.convert("RGBA")))
    if mode == "F":
        raise UserError(f"{path}: the mask has floating-point values; save it as an 8-bit PNG")
    grey = _grey(np.asarray(image.convert("RGB")), tolerance=12 if image.format in LOSSY else 0)
    if grey is None:
        raise coloured(path)
    return Raw(grey, "8bit", None, None)


def _palette(image: Image.Image, path: Path, ignore: tuple[int, ...]) -> Raw:
    """A palette file without listed class indices: indices 0 and 1, or the greys of its colours."""
    indices = np.asarray(image)
    flat = np.array(image.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(flat)] = flat
    used = np.setdiff1d(np.unique(indices), ignore)
    greys = colours[:, 0]
    if set(used.tolist()) <= {0, 1}:
        first, second = colours[0], colours[1]
        if (first >= 250).all() and ((second <= 5).all() or len(used) == 1):
            raise UserError(
                f"{path}: the palette makes index 0 white and index 1 black, so the foreground "
                "is unclear; set data.foreground to [0] or [1]"
            )
        return Raw(indices, "two-valued", None, None)
    grey = (colours[used] == greys[used, None]).all()
    if grey and (np.isin(greys[used], (0, 255)).all() or (greys[used] == used).all()):
        # Ignored indices keep their number.
        table = np.where(np.isin(np.arange(256), ignore), np.arange(256), greys).astype(np.uint8)
        return Raw(table[indices], "8bit", None, None)
    raise UserError(
        f"{path}: a palette with indices {listed(used.tolist())}: set data.foreground "
        "to the foreground indices and data.ignore to the void ones"
    )


def _with_alpha(rgba: np.ndarray) -> Raw:
    """Colours and alpha of a mask with an alpha channel, and why they conflict, if so."""
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    grey, opaque, conflict = _grey(rgb, tolerance=0), alpha >= HALF, None
    if alpha.min() == alpha.max():
        return Raw(grey, "8bit", alpha, None)
    if grey is not None and _two_tone(grey):
        if np.mean((grey > (int(grey.min()) + int(grey.max())) / 2) != opaque) > 0.01:
            conflict = "its black-and-white colours and its alpha channel differ"
    elif opaque.any():
        # A cut-out photograph has thousands of colours; a few that cover most of it are classes.
        packed = rgb[opaque].astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        _, counts = np.unique(packed, return_counts=True)
        large = counts[counts >= 0.01 * packed.size]
        if len(large) > 1 and large.sum() >= 0.98 * packed.size:
            conflict = f"its opaque part is painted in {len(large)} colours, like classes"
    return Raw(grey, "8bit", alpha, conflict)


def _two_tone(grey: np.ndarray) -> bool:
    """Whether nearly all pixels have the lowest or the highest value, and both occur."""
    low, high = grey.min(), grey.max()
    return bool(low < high and np.mean((grey == low) | (grey == high)) >= 0.98)


def _grey(rgb: np.ndarray, tolerance: int) -> np.ndarray | None:
    """One channel uint8 [H, W] if all three are nearly equal; None if they differ."""
    red, green, blue = (rgb[..., channel].astype(np.int16) for channel in range(3))
    if max(np.abs(red - green).max(), np.abs(red - blue).max()) > tolerance:
        return None
    return rgb[..., 1]


def coloured(path: Path) -> UserError:
    return UserError(
        f"{path}: the mask is in colour; save class indices as a one-channel PNG and set "
        "data.foreground, or save the mask as black and white"
    )


def listed(values: Iterable[int]) -> str:
    """Values as text, such as '0-11, 255': runs shortened, at most eight of them."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    texts = [f"{a}" if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in runs]
    return ", ".join(texts[:8]) + (f", ... ({len(texts) - 8} more)" if len(texts) > 8 else "")
