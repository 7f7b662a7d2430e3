"""prepare, compared with decoding each photograph and each mask once, on all cores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.photographs import write_photographs
from benchmarks.race import Contender, Row, compare, race, seconds
from skyseg.params import Params
from skyseg.pipeline.prepare import prepare

IMAGES, WIDTH, HEIGHT = 800, 1152, 864  # 1 MP
TRAINING_SIZE = 320


def decoding(root: str) -> Callable[[], None]:
    files = [
        path for part in ("images", "masks") for path in (Path(root) / "data" / part).iterdir()
    ]

    def decode(path: Path) -> None:
        with Image.open(path) as image:
            np.asarray(image)

    def run() -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(decode, files))

    return run


def ours(root: str) -> Callable[[], None]:
    params = Params.model_validate({"model": {"size": TRAINING_SIZE}, "train": {"epochs": 1}})

    def run() -> None:
        prepare(params, Path(root))

    return run


def rows(work: Path) -> Iterator[Row]:
    root = work / "preparing"
    write_photographs(root / "data", IMAGES, WIDTH, HEIGHT)
    given = {"root": str(root)}
    found = race(
        {
            "decoding": Contender("benchmarks.preparing:decoding", given),
            "ours": Contender("benchmarks.preparing:ours", given),
        },
        rounds=2,
    )
    peak = max(answer["peak"] for answer in found["ours"]) / 2**20
    shutil.rmtree(root)
    yield compare(
        "prepare, JPEGs of 1 MP",
        seconds(found["ours"], IMAGES / 1e3),
        seconds(found["decoding"], IMAGES / 1e3),
        "ms per image",
        "≥ 0.5",
        "compared with decoding every photograph and mask once, on all cores; "
        "prepare reads them twice, because the splits need all masks first",
    )
    yield Row("prepare, peak memory", peak, None, "MiB", None, None, None, "≤ 1536")
