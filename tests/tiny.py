"""Makes tiny data sets and photographs for tests."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from skyseg.params import Params


def make_params(**sections: Any) -> Params:
    """Params for a tiny data set: 32 pixels, one epoch; sections as in params.yaml."""
    defaults = {"model": {"size": 32}, "train": {"epochs": 1}}
    return Params.model_validate(
        {
            name: defaults.get(name, {}) | sections.get(name, {})
            for name in defaults.keys() | sections.keys()
        }
    )


TRAINED = make_params(
    train={"epochs": 1, "batch_size": 4, "device": "cpu"}, evaluate={"gallery": 3, "batch_size": 2}
)
"""Settings of the fixture ``trained_workspace``."""


def photograph(seed: int, width: int = 48, height: int = 40) -> np.ndarray:
    """uint8 [height, width, 3]: coarse random colours, unlike those of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def sky(share: float, width: int = 48, height: int = 40) -> np.ndarray:
    """bool [height, width]: the upper ``share`` is foreground."""
    return np.arange(height)[:, None] < np.full(width, round(share * height))


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def make_pairs(root: Path, count: int = 20, seed: int = 0, suffix: str = ".png") -> None:
    """``count`` samples 00.. under root/images and root/masks (0/255), shares from 0 to 0.9."""
    for number in range(count):
        name = f"{number:02d}"
        save(root / "images" / (name + suffix), photograph(1000 * seed + number))
        share = number / count * 0.9
        save(root / "masks" / f"{name}.png", (sky(share) * 255).astype(np.uint8))


def squeezed(table: str) -> str:
    """A table with every run of spaces reduced to one, so that column widths do not matter."""
    return re.sub(" +", " ", table)


def bomb() -> bytes:
    """A PNG of 2.5 gigapixels in 100 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
