"""Augmented training samples, compared with the published loader; one worker each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from skimage import io, transform

from benchmarks.race import Contender, Row, compare, race, seconds
from benchmarks.step import SIZE
from skyseg.data.arrays import open_split
from skyseg.data.masks.meaning import infer_encoding
from skyseg.data.masks.stats import count_values
from skyseg.data.preparation import write_split
from skyseg.data.transforms import augment
from skyseg.params import AugmentParams, DataParams
from skyseg.training import engine

IMAGES = 24


def published(files: list[list[str]]) -> Callable[[], None]:
    """As ``data_loader.py`` of the U-2-Net repository: scikit-image reads files and resizes them to
    320 pixels in float64, then a crop of 288 pixels is taken at random."""

    def run() -> None:
        for image_file, mask_file in files:
            image = transform.resize(io.imread(image_file), (320, 320), mode="constant")
            mask = transform.resize(
                io.imread(mask_file), (320, 320), mode="constant", order=0, preserve_range=True
            )
            top, left = random.randint(0, 32), random.randint(0, 32)
            crop = slice(top, top + SIZE), slice(left, left + SIZE)
            image, mask = image[crop], mask[crop]
            image = image / np.max(image)
            image = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            torch.from_numpy(image.transpose(2, 0, 1)).float()
            torch.from_numpy(mask / max(mask.max(), 1e-6)).float()

    return run


def ours(prepared: str) -> Callable[[], None]:
    """From the arrays that prepare wrote, so files are decoded only once for all epochs. More is
    augmented than by the published loader: scale, aspect ratio, flip, brightness, contrast,
    saturation, hue."""
    torch.set_num_threads(1)
    images, masks = open_split(Path(prepared), "train")
    settings, device = AugmentParams(), torch.device("cpu")

    def run() -> None:
        for batch in engine.batches(images, masks, 12, device, np.arange(len(images))):
            augment(batch.images, batch.masks, settings)

    return run


def rows(work: Path) -> Iterator[Row]:
    data = Path("data")
    files = [
        (image, data / "masks" / f"{image.stem}.png")
        for image in sorted((data / "images").iterdir())[:IMAGES]
    ]
    prepared = work / "prepared"
    prepared.mkdir()
    encoding, _ = infer_encoding(
        [count_values(mask, DataParams()) for _, mask in files], DataParams()
    )
    write_split(prepared, "train", files, SIZE, encoding)
    named = [[str(image), str(mask)] for image, mask in files]
    found = race(
        {
            "published": Contender("benchmarks.loader:published", {"files": named}),
            "ours": Contender("benchmarks.loader:ours", {"prepared": str(prepared)}),
        },
        rounds=7,
    )
    yield compare(
        f"training samples, {SIZE} px, one worker",
        seconds(found["ours"], IMAGES / 1e3),
        seconds(found["published"], IMAGES / 1e3),
        "ms per image",
        "≥ 50",
        "compared with U-2-Net's loader: reading and augmentation",
    )
