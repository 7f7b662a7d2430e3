"""Mask files before anyone knows what their values mean: from Pillow's modes to numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from skyseg.data.encoding import Scale
from skyseg.errors import UserError

HALF = 128
LOSSY = {"JPEG", "MPO", "JPEG2000", "WEBP", "AVIF"}


class Raw(NamedTuple):
    values: np.ndarray | None
    """uint8 or uint16 [H, W], greys or indices; None: colours that are not grey."""
    scale: Scale
    """two-valued: 1-bit files and palettes, where 1 is foreground whatever other files use."""
    alpha: np.ndarray | None
    conflict: str | None
    """Why the alpha channel cannot be trusted to be the mask."""


def values_of(image: Image.Image, path: Path, indexed: bool, ignore: tuple[int, ...]) -> Raw:
    """Values and alpha of a mask file, before anyone knows what they mean.

    ``indexed``: the user has named class indices, so palettes are not looked at.
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
            raise UserError(f"{path}: values beyond 65535; save the mask with 8 or 16 bits")
        return Raw(deep.astype(np.uint16), "16bit", None, None)
    if image.has_transparency_data:
        return _with_alpha(np.asarray(image.convert("RGBA")))
    if mode == "F":
        raise UserError(f"{path}: a mask of floating-point numbers; save it as an 8-bit PNG")
    grey = _grey(np.asarray(image.convert("RGB")), tolerance=12 if image.format in LOSSY else 0)
    if grey is None:
        raise coloured(path)
    return Raw(grey, "8bit", None, None)


def _palette(image: Image.Image, path: Path, ignore: tuple[int, ...]) -> Raw:
    """A palette without named classes: index 0 and 1, or the greys its colours show."""
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
                f"{path}: the palette shows index 0 white and 1 black: which is "
                "foreground? set data.foreground to the index, [0] or [1]"
            )
        return Raw(indices, "two-valued", None, None)
    grey = (colours[used] == greys[used, None]).all()
    if grey and (np.isin(greys[used], (0, 255)).all() or (greys[used] == used).all()):
        # Ignored indices keep their number.
        table = np.where(np.isin(np.arange(256), ignore), np.arange(256), greys).astype(np.uint8)
        return Raw(table[indices], "8bit", None, None)
    raise UserError(
        f"{path}: a palette with indices {listed(used.tolist())}: set data.foreground "
        "to those that are foreground, and data.ignore to void"
    )


def _with_alpha(rgba: np.ndarray) -> Raw:
    """A mask with an alpha channel: both readings, and whether they contradict each other."""
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    grey, opaque, conflict = _grey(rgb, tolerance=0), alpha >= HALF, None
    if alpha.min() == alpha.max():
        return Raw(grey, "8bit", alpha, None)
    if grey is not None and _two_tone(grey):
        if np.mean((grey > (int(grey.min()) + int(grey.max())) / 2) != opaque) > 0.01:
            conflict = "its black-and-white picture and its alpha channel differ"
    elif opaque.any():
        # A cut-out photograph has thousands of colours; a few big ones are painted classes.
        packed = rgb[opaque].astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        _, counts = np.unique(packed, return_counts=True)
        large = counts[counts >= 0.01 * packed.size]
        if len(large) > 1 and large.sum() >= 0.98 * packed.size:
            conflict = f"its opaque part is painted in {len(large)} colours, like classes"
    return Raw(grey, "8bit", alpha, conflict)


def _two_tone(grey: np.ndarray) -> bool:
    """Whether nearly all pixels are its darkest or its brightest, and both occur."""
    low, high = grey.min(), grey.max()
    return bool(low < high and np.mean((grey == low) | (grey == high)) >= 0.98)


def _grey(rgb: np.ndarray, tolerance: int) -> np.ndarray | None:
    """The one channel uint8 [H, W] that three nearly equal ones hold; None if they differ."""
    red, green, blue = (rgb[..., channel].astype(np.int16) for channel in range(3))
    if max(np.abs(red - green).max(), np.abs(red - blue).max()) > tolerance:
        return None
    return rgb[..., 1]


def coloured(path: Path) -> UserError:
    return UserError(
        f"{path}: a mask in colours; save class indices as a one-channel PNG and set "
        "data.foreground, or save the mask as black and white"
    )


def listed(values: Iterable[int]) -> str:
    """'0-11, 255': runs shortened, at most eight of them."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    texts = [f"{a}" if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in runs]
    return ", ".join(texts[:8]) + (f", ... ({len(texts) - 8} more)" if len(texts) > 8 else "")
