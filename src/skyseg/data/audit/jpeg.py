"""Finds JPEGs whose bytes have changed, although they can be decoded."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

JUMP = 1.4
"""Size of a jump, in standard deviations along it, from which it may be damage."""
RATIO = 20.0
"""The same, relative to its median over the photograph. None of 620 photographs of Figaro1k, ADE20K
and Cityscapes has a jump above both that begins like damage: see docs/audit.md."""
CLIP = 40.0  # grey levels; edges of objects are larger and say nothing


def fault(content: bytes) -> str | None:
    """What is wrong with the compressed data of a JPEG, or None.

    Pillow ignores what libjpeg warns of: data that ends early or goes on after the last block. If
    the decoder finds its way back into the data before, no such thing happens, but the brightness
    of each block is stored as a difference from the block before. So from the changed byte on, the
    rest of the photograph has another brightness or colour.
    """
    import simplejpeg

    if b"\xff\xd9" not in content:
        return "the end is missing"
    try:
        # Of an MPO, only the first picture is decoded.
        pixels = simplejpeg.decode_jpeg(content, "RGB", strict=True)
    except ValueError as error:
        text = " ".join(str(error).split())
        return f"bytes inside have changed ({text})" if "orrupt" in text else None
    except Exception:  # kinds of JPEG that only Pillow decodes
        return None
    block = _block(content)
    if block and _jump(pixels, *block):
        return "bytes inside have changed: its brightness or colour jumps from one block on"
    return None


def _block(content: bytes) -> tuple[int, int] | None:
    """Width and height of a minimum coded unit, in pixels; None for a progressive JPEG, in which
    changed bytes have other effects."""
    with Image.open(io.BytesIO(content), formats=["JPEG", "MPO"]) as image:
        layers = getattr(image, "layer", ())
        if image.info.get("progressive") or not layers:
            return None
        return 8 * max(layer[1] for layer in layers), 8 * max(layer[2] for layer in layers)


def _jump(pixels: np.ndarray, width: int, height: int) -> bool:
    """Whether one channel of uint8 [H, W, 3] jumps along the way on which blocks are stored: from
    some block to the right end below the row above, and to its left above the row below."""
    rows = np.arange(height, pixels.shape[0] - 1, height)
    columns = pixels.shape[1] // width
    if len(rows) < 3 or columns < 3:
        return False
    above, before, at, after = (
        pixels[rows + offset, : columns * width].astype(np.float32) for offset in (-2, -1, 0, 1)
    )
    # The step at the border of two rows of blocks, beyond the steps beside it.
    step = (at - before - (before - above + after - at) / 2).clip(-CLIP, CLIP)
    step = step.reshape(len(rows), columns, width, 3).mean(axis=2)
    mean = _along(step) / columns
    deviation = np.sqrt(np.maximum(_along(step**2) / columns - mean**2, 0) + 0.25)
    typical = np.sqrt(np.median(mean**2)) + 0.05
    size = np.abs(mean)
    # Straight lines, such as the edge of a bar at the top, are larger jumps than any such way, and
    # only damage has an edge where it begins, inside a row of blocks.
    straight = np.maximum(size[:, :1], size[:, -1:])
    inside = pixels[height : height * len(rows), : columns * width].reshape(
        len(rows) - 1, height, columns, width, 3
    )
    edge = inside[:, :, 1:, 0].mean(axis=1) - inside[:, :, :-1, -1].mean(axis=1)
    begins = np.sign(mean[:, 1:-1]) * edge > size[:, 1:-1] / 2
    far = (size / deviation > JUMP) & (size / typical > RATIO) & (size > straight)
    return bool((far[:, 1:-1] & begins).any())


def _along(values: np.ndarray) -> np.ndarray:
    """Sums of [rows, columns, 3] from each block to the right, and in the next row up to it."""
    sums = np.concatenate([np.zeros_like(values[:, :1]), values.cumsum(axis=1)], axis=1)
    summed: np.ndarray = sums[:-1, -1:] - sums[:-1] + sums[1:]
    return summed
