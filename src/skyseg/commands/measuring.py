"""Runs models on the photographs of a data set, for benchmark, and measures what they give."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from skyseg.data.formats import supported
from skyseg.data.masks.meaning import infer_encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.masks.stats import count_values
from skyseg.data.parallel import in_order
from skyseg.data.pictures import codec
from skyseg.errors import UserError, explain
from skyseg.files import check_inside, write_png
from skyseg.inference.model import Model
from skyseg.metrics import suite as metrics
from skyseg.params import DataParams


class Photographs(NamedTuple):
    """The photographs to run models on."""

    ids: list[str]
    load: Callable[[str], Item]
    """Decodes one, with its mask. Not ahead in other threads: that would distort the latencies."""


class Item(NamedTuple):
    id: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None


class Measured(NamedTuple):
    stats: list[metrics.ImageStats]
    """One per image; empty without masks."""
    seconds: list[float]
    """One per image, from the decoded photograph to its map."""


def find_photographs(root: Path, data: DataParams, split: str | None, drawn: Path) -> Photographs:
    """The photographs of a data set, or of a folder without masks.

    Args:
        root, data, split: as ``benchmark``.
        drawn: folder into which masks of annotated shapes are drawn.

    Raises:
        UserError: see ``formats.find``; masks are ambiguous, or there is no such split.
    """
    if data.format == "pairs" and root.is_dir() and not supported.has_masks(root):
        if (other := supported.other_format(root)) is not None:
            raise UserError(f"{root}: laid out as {other}; add --format {other}")
        if split is not None:
            raise UserError(f"{root}: no masks, so there is no split {split!r}; omit --split")
        files = supported.find_photographs(root)
        print(f"{root}: no masks, so only maps and latency")
        return Photographs(list(files), lambda id: Item(id, codec.read(files[id]).pixels, None))
    known, notes = supported.find(root, data.format)
    samples = [sample for sample in known if split in (None, sample.split)]
    if not samples:
        raise UserError(f"{root}: no sample is in the split {split!r}; omit --split to use all")
    samples, meaning, said = supported.with_mask_files(samples, drawn, data, known)
    statistics = in_order(
        lambda sample: count_values(sample.mask, meaning), samples, "reading masks"
    )
    encoding, decided = infer_encoding(list(statistics), meaning)
    for line in (*notes, said + decided):
        print(line)
    by_id = {sample.id: sample for sample in samples}

    def load(id: str) -> Item:
        sample = by_id[id]
        return Item(id, codec.read(sample.image).pixels, read_mask(sample.mask, encoding))

    return Photographs(list(by_id), load)


def measure(
    contenders: list[Model], photographs: Photographs, maps: dict[str, Path]
) -> tuple[dict[str, Measured], list[str]]:
    """What each model gives on each photograph, and how long it takes; maps are saved in the given
    folders. Photographs on which something fails are left out of all models' results.

    Returns:
        The results by model, and an error message for each photograph that was left out.
    """
    results = {contender.name: Measured([], []) for contender in contenders}
    problems = []
    warm: set[str] = set()
    for id in tqdm(photographs.ids, desc="scoring", unit="img", disable=None):
        # All models on one photograph, then the next: other load on the machine affects all alike.
        try:
            item = photographs.load(id)
            measured = [_measure_one(contender, item, warm, maps) for contender in contenders]
        except Exception as error:
            problems.append(explain(error, id))
            continue
        for contender, (seconds, stats) in zip(contenders, measured, strict=True):
            results[contender.name].seconds.append(seconds)
            results[contender.name].stats.extend(stats)
    return results, problems


def _measure_one(
    contender: Model, item: Item, warm: set[str], maps: dict[str, Path]
) -> tuple[float, list[metrics.ImageStats]]:
    """Seconds that a model takes for a photograph, and its scores if there is a mask."""
    if contender.name not in warm:  # the first call also sets up memory and kernels
        contender.probability(item.image)
        warm.add(contender.name)
    start = time.perf_counter()
    found = contender.probability(item.image)
    seconds = time.perf_counter() - start
    if maps:
        path = maps[contender.name] / f"{item.id}.png"
        check_inside(path, maps[contender.name])
        write_png(path, Image.fromarray((found * 255).round().astype(np.uint8)))
    if item.mask is None:
        return seconds, []
    return seconds, [metrics.full_image_stats(found, item.mask, contender.threshold)]
