"""Reads mask files in any of Pillow's modes as numbers, before it is known what those mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from skyseg.data.masks.encoding import INVERTED
from skyseg.data.masks.storage import Storage, codes_of, storage_of
from skyseg.data.pictures.codec import open_upright
from skyseg.errors import UserError

HALF = 128  # smallest foreground value where black and white are not exact


class Raw(NamedTuple):
    """The pixels of a mask file."""

    values: np.ndarray | None
    """uint8 or uint16 [H, W], upright: the numbers that the file stores if class indices are
    listed, otherwise greys (indices of palettes); None if the colours are not grey."""
    kind: str
    """How the file stores them, see ``storage.Storage``."""
    alpha: np.ndarray | None = None
    conflict: str | None = None
    """Why the alpha channel cannot be trusted to be the mask."""
    white: int = 255
    """The largest number that a file of this kind can store."""
    greys: np.ndarray | None = None
    """int16 [256]: the grey of each palette index, -1 for colours; only if indices are listed."""


class MaskFile(NamedTuple):
    """A mask file, before it is known what its values mean."""

    raw: Raw
    size: tuple[int, int]
    """Width and height, upright."""
    lossy: bool
    turned: int
    """The EXIF orientation, 2 to 8, by which it was turned upright; 0 if it was not."""


def read_mask_file(content: bytes, path: Path, indexed: bool, ignore: tuple[int, ...]) -> MaskFile:
    """Read a mask file in any mode.

    Args:
        content: the bytes of the file.
        path: used in error messages.
        indexed: the user has listed class indices, so numbers are read as they are stored.
        ignore: the values that the user ignores.

    Raises:
        UserError: the file is damaged, in colour, has several pages, or has values that are not
            whole numbers of 16 bits.
    """
    image, turned = open_upright(content, str(path))
    storage = storage_of(content, image, str(path))
    raw = _indexed(image, path, storage) if indexed else _greys(image, path, storage, ignore)
    return MaskFile(raw, image.size, storage.lossy, turned)


def _indexed(image: Image.Image, path: Path, storage: Storage) -> Raw:
    """The numbers that a file stores: class indices, perhaps stored as greys."""
    if image.mode == "P":  # its colours and their transparency only serve to show it
        return Raw(np.asarray(image), "palette", greys=_palette_greys(image))
    if storage.coarse:
        raise UserError(
            f"{path}: 16 bits a channel and several channels, so small values are lost; save "
            "class indices as a one-channel PNG"
        )
    single = image.mode in ("1", "F") or image.mode.startswith("I")
    if single or (image.mode == "L" and "transparency" not in image.info):
        codes = codes_of(_one_channel(image, path), storage)
        return Raw(codes, storage.kind, white=storage.white)
    return _several_channels(image, path, storage)


def _greys(image: Image.Image, path: Path, storage: Storage, ignore: tuple[int, ...]) -> Raw:
    """The greys that a file shows, or the indices of a palette."""
    kind = storage.kind.removesuffix(INVERTED)
    see_through = "transparency" in image.info and not image.mode.startswith("I")
    if see_through and (alpha := np.asarray(image.convert("RGBA"))[..., 3]).min() == alpha.max():
        see_through = False  # what would be transparent does not occur, or nothing else does
    if see_through:
        return _with_alpha(np.asarray(image.convert("RGBA")))
    if image.mode == "P":
        return _palette(image, path, ignore)
    if image.mode in ("1", "L", "F"):
        return Raw(_one_channel(image, path), kind, white=storage.white)
    if image.mode.startswith("I"):
        if storage.white != storage.top:  # Pillow has scaled it to 16 bits
            kind = "16-bit"
        return Raw(_one_channel(image, path), kind, white=storage.top)
    raw = _several_channels(image, path, storage)
    if storage.coarse and raw.alpha is None and raw.values is not None and not raw.values.any():
        raise UserError(
            f"{path}: 16 bits a channel, and the upper 8 are all 0; save the mask as a "
            "one-channel 8-bit PNG"
        )
    return raw


def _one_channel(image: Image.Image, path: Path) -> np.ndarray:
    """uint8 or uint16 [H, W] of an image with one channel."""
    values = np.asarray(image)
    if image.mode == "F":
        raise UserError(f"{path}: the mask has floating-point values; save it as an 8-bit PNG")
    if image.mode in ("1", "L"):
        return values.astype(np.uint8, copy=False)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: values outside 0-65535; save the mask with 8 or 16 bits")
    return values.astype(np.uint16)


def _several_channels(image: Image.Image, path: Path, storage: Storage) -> Raw:
    """Equal channels, or an alpha channel."""
    if image.has_transparency_data:
        return _with_alpha(np.asarray(image.convert("RGBA")))
    try:
        rgb = np.asarray(image.convert("RGB"))
    except ValueError:  # Pillow does not convert every mode
        raise UserError(
            f"{path}: the mask is stored as {image.mode}; save it as a one-channel PNG"
        ) from None
    grey = _grey(rgb, tolerance=12 if storage.lossy else 0)
    if grey is None:
        raise coloured(path)
    return Raw(grey, "8-bit")


def _palette_greys(image: Image.Image) -> np.ndarray:
    """int16 [256]: the grey of each index, -1 for colours and for indices without one."""
    colours = np.array(image.getpalette("RGB") or [], np.int16).reshape(-1, 3)
    greys = np.full(256, -1, np.int16)
    greys[: len(colours)] = np.where((colours == colours[:, :1]).all(axis=1), colours[:, 0], -1)
    return greys


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
        return Raw(indices, "palette")
    grey = (colours[used] == greys[used, None]).all()
    if grey and (np.isin(greys[used], (0, 255)).all() or (greys[used] == used).all()):
        # Ignored indices keep their number.
        table = np.where(np.isin(np.arange(256), ignore), np.arange(256), greys).astype(np.uint8)
        return Raw(table[indices], "8-bit")
    raise UserError(
        f"{path}: a palette with indices {listed(used.tolist())}: set data.foreground "
        "to the foreground indices and data.ignore to the void ones"
    )


def _with_alpha(rgba: np.ndarray) -> Raw:
    """Colours and alpha of a mask with an alpha channel, and why they conflict, if so."""
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    grey, opaque, conflict = _grey(rgb, tolerance=0), alpha >= HALF, None
    if alpha.min() == alpha.max():
        return Raw(grey, "8-bit", alpha)
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
    return Raw(grey, "8-bit", alpha, conflict)


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
