"""Render one scene from a seed and an index, or write a whole data set of scenes."""

from __future__ import annotations

import csv
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from skyseg.errors import UserError
from skyseg.files import atomic_write
from skyseg.scenes.camera import photograph
from skyseg.scenes.canvas import Array, Pen, new_canvas
from skyseg.scenes.kinds import KINDS

# Width and height in pixels at scale 1, and how often the size is drawn.
SIZES = (
    (480, 360, 35),
    (480, 320, 20),
    (480, 270, 8),
    (440, 330, 10),
    (360, 480, 12),
    (320, 480, 5),
    (400, 400, 10),
)


def render(seed: int, index: int, scale: float = 1.0) -> tuple[Array, Array, str]:
    """Render scene number ``index`` of a seed.

    Returns the image (uint8, height x width x 3, RGB), its sky mask (uint8, height x width, 1 where
    at least half of the pixel is sky, else 0) and the kind of scene (a key of KINDS). ``scale``
    multiplies the resolution: 4 gives the same composition, four times as wide and as high.
    """
    rng = np.random.default_rng([seed, index])
    names = list(KINDS)
    weights = np.array([kind.weight for kind in KINDS.values()])
    kind = names[rng.choice(len(names), p=weights / weights.sum())]
    return (*render_kind(kind, rng, scale), kind)


def render_kind(kind: str, rng: np.random.Generator, scale: float) -> tuple[Array, Array]:
    shares = np.array([weight for _, _, weight in SIZES])
    width, height, _ = SIZES[rng.choice(len(SIZES), p=shares / shares.sum())]
    width, height = round(width * scale), round(height * scale)
    canvas = new_canvas(rng, width, height)
    light = KINDS[kind].compose(canvas, Pen(canvas), rng)
    return photograph(canvas, rng, width, height, light.night)


def write_scenes(
    out: Path, count: int, seed: int, scale: float = 1.0, progress: bool = True
) -> None:
    """Write scenes 1 to ``count`` of a seed as ``out/images/scene_0001.jpg`` (quality 70 to 86),
    ``out/masks/scene_0001.png`` (mode L, 0 or 1) and ``out/scenes.csv``.

    A scene's bytes depend on its seed, index and scale, but not on ``count``. An interrupted run
    leaves nothing behind.

    Raises:
        UserError: ``count`` is below 1, or ``out`` exists and is not an empty folder.
    """
    if count < 1:
        raise UserError(f"the number of scenes is {count}; it must be at least 1")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(
            f"{out}: exists and is not an empty folder; remove it or name another folder"
        )
    with atomic_write(out) as temporary:
        (temporary / "images").mkdir(parents=True)
        (temporary / "masks").mkdir()
        write = partial(_write_one, temporary, seed, scale)
        # The workers ignore Ctrl-C: this process handles it and stops them.
        with ProcessPoolExecutor(
            os.cpu_count(), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
        ) as pool:
            try:
                rows = list(
                    tqdm(
                        pool.map(write, range(1, count + 1)),
                        total=count,
                        unit="scene",
                        desc="scenes",
                        disable=not progress,
                    )
                )
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        with (temporary / "scenes.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["id", "kind", "foreground_share", "seed", "index"])
            table.writerows(rows)


def _write_one(folder: Path, seed: int, scale: float, index: int) -> tuple[str, str, str, int, int]:
    """Render and save one scene; returns its row of scenes.csv."""
    name = f"scene_{index:04d}"
    image, mask, kind = render(seed, index, scale)
    quality = 70 + (seed + 7 * index) % 17
    Image.fromarray(image).save(folder / "images" / f"{name}.jpg", quality=quality, optimize=True)
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png", optimize=True)
    return name, kind, f"{mask.mean():.4f}", seed, index
