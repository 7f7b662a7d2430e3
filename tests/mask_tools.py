"""Decides what mask files mean, and makes pictures of masks, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skyseg.data.encoding import Encoding
from skyseg.data.mask_meaning import infer_encoding
from skyseg.data.mask_stats import count_values
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
