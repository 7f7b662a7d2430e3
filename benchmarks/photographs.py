"""Photographs for the benchmarks, in any number and size: sample scenes, enlarged, with noise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

NOISE = 4.0  # grey levels of deviation: a JPEG of quality 90 is then as large as a photograph's


def write_photographs(folder: Path, count: int, width: int, height: int) -> None:
    """Write ``count`` different pairs to folder/images (JPEG) and folder/masks (PNG)."""
    sources = sorted(Path("data/images").iterdir())
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)

    def write(number: int) -> None:
        rng = np.random.default_rng(number)
        source = sources[number % len(sources)]
        image, mask = Image.open(source), Image.open(Path("data/masks") / f"{source.stem}.png")
        side = rng.uniform(0.4, 1, 2) * image.size
        left, top = rng.uniform(0, 1, 2) * (image.size - side)
        box = (left, top, left + side[0], top + side[1])
        large = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, box)
        noise = rng.standard_normal((height, width, 1), np.float32) * NOISE
        noisy = (np.asarray(large) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "images" / f"{number:05d}.jpg", quality=90)
        mask.resize((width, height), Image.Resampling.NEAREST, box).save(
            folder / "masks" / f"{number:05d}.png", compress_level=1
        )

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(count)))
