"""Decides what mask files mean, and makes pictures of masks, for tests."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.meaning import infer_encoding
from skyseg.data.masks.stats import count_values
from skyseg.errors import UserError
from skyseg.params import DataParams
from tiny import sky

HALF_SKY = sky(0.5)
U8 = np.uint8


def judge(files: list[Path], **data: Any) -> tuple[Encoding, str]:
    params = DataParams.model_validate(data)
    return infer_encoding([count_values(path, params) for path in files], params)


def error_message(files: list[Path], **data: Any) -> str:
    with pytest.raises(UserError) as caught:
        judge(files, **data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def disc(side: int = 96, soft: bool = True) -> np.ndarray:
    """uint8 [side, side]: a white disc on black, its edge anti-aliased or not."""
    big = 8 * side
    y, x = np.mgrid[:big, :big] - big / 2
    white = Image.fromarray(((x * x + y * y < (big / 3) ** 2) * 255).astype(U8))
    small = np.asarray(white.resize((side, side), Image.Resampling.BOX))
    return small if soft else ((small >= 128) * 255).astype(U8)


def palette(indices: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(indices.astype(U8), "L").convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([channel for colour in colours for channel in colour])
    return image


VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def grey_png(path: Path, codes: np.ndarray, bits: int) -> Path:
    """A grey PNG of 1, 2, 4, 8 or 16 bits, written by hand; ``codes`` [H, W]."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = codes.shape
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in codes]
    else:
        rows = []
        for row in codes:
            one = np.unpackbits(row.astype(U8)[:, None], axis=1)[:, -bits:]
            rows.append(np.packbits(one.ravel()).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )
    return path


def pgm(path: Path, codes: np.ndarray, maximum: int) -> Path:
    height, width = codes.shape
    content = codes.astype(U8 if maximum < 256 else ">u2").tobytes()
    path.write_bytes(b"P5 %d %d %d\n" % (width, height, maximum) + content)
    return path


def tiff(path: Path, codes: np.ndarray, bits: int, photometric: int = 1) -> Path:
    """A grey TIFF of one strip, uncompressed; photometric 0: white is zero."""
    height, width = codes.shape
    if bits == 16:
        content = codes.astype("<u2").tobytes()
    elif bits == 12:
        flat = codes.ravel().astype(np.uint32)
        pairs = (flat[::2] << 12) | flat[1::2]
        content = np.stack([pairs >> 16, pairs >> 8 & 255, pairs & 255], 1).astype(U8).tobytes()
    else:
        content = b"".join(
            np.packbits(np.unpackbits(row.astype(U8)[:, None], axis=1)[:, -bits:]).tobytes()
            for row in codes
        )
    entries = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(content)),
    ]  # fmt: skip
    table = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        table += struct.pack("<HHII", tag, kind, 1, value)
    content += b"\0" * (len(content) % 2)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + table + bytes(4))
    return path
