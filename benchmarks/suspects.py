"""How many wrong masks ``skyseg audit`` ranks first, among masks that were spoiled on purpose.

From each of three data sets 100 samples are taken, and the masks of 10 of them are spoiled. They
are prepared and audited as the commands do it, first out of fold, then with the pretrained weights
alone. Needs the photographs described in docs/audit.md.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from benchmarks.race import Row
from benchmarks.spoiling import REAL, SETS, shift
from skyseg.commands import audit
from skyseg.params import Params
from skyseg.pipeline.prepare import prepare

Mask = NDArray[np.bool_]

TAKEN = 100  # samples of each data set
SPOILED = 10
DATA_SETS = ("CamVid", "Cityscapes", "Figaro1k")
SETTINGS = Params.model_validate(
    {
        "data": {"format": "pairs"},
        "model": {"size": 128, "init": "models/start.safetensors"},
        "train": {"epochs": 6, "batch_size": 4, "lr": 0.0005, "device": "cpu"},
    }
)


def rows(work: Path) -> Iterable[Row]:
    """Print the tables; there are no timings of contenders."""
    lines, places = [], []
    for name in DATA_SETS:
        root = work / name
        ways = _write(root, name)
        prepare(SETTINGS, root)
        for answers, model in (("out of fold", None), ("pretrained", audit.PRETRAINED)):
            start = time.perf_counter()
            ranked = _audit(root, None if model is None else str(root / model))
            seconds = time.perf_counter() - start
            rank = ranked.set_index("id")["rank"].reindex(ways)
            lines.append(
                f"| {name} | {answers} | {(rank <= 10).sum()} of {SPOILED} | "
                f"{(rank <= 20).sum()} of {SPOILED} | {seconds:.0f} s |"
            )
            print(lines[-1], flush=True)
            if model is None:
                places += [(ways[id], name, place) for id, place in rank.items()]
    print("\n| data set | answers | in the first 10 | in the first 20 | time |")
    print("|---|---|---|---|---|", *lines, sep="\n")
    print(
        "\n| spoiled | " + " | ".join(DATA_SETS) + " |",
        "|---" * (len(DATA_SETS) + 1) + "|",
        sep="\n",
    )
    for way in SPOILERS:
        found = {data: place for each, data, place in places if each == way}
        shown = ("-" if np.isnan(found[data]) else f"{found[data]:.0f}" for data in DATA_SETS)
        print(f"| {way} | {' | '.join(shown)} |")
    print()
    return ()


def _write(root: Path, name: str) -> dict[str, str]:
    """A workspace with some samples of a data set. Returns how masks were spoiled, by id."""
    images, masks, value = SETS[name]
    paths = sorted((REAL / images).iterdir())
    paths = paths[:: len(paths) // TAKEN][:TAKEN]
    drawn = {path.stem: _read(REAL / masks, path.stem) == value for path in paths}
    shares = {stem: mask.mean() for stem, mask in drawn.items()}
    # Masks without foreground cannot be shifted, and a full one lacks nothing.
    fit = [stem for stem, share in shares.items() if 0.05 < share < 0.95]
    chosen = fit[3 :: len(fit) // SPOILED][:SPOILED]
    ways = dict(zip(chosen, SPOILERS, strict=True))
    for part in ("images", "masks"):
        (root / "data" / part).mkdir(parents=True)
    (root / "models").mkdir()
    for suffix in (".safetensors", ".json"):
        shutil.copy(Path(audit.PRETRAINED).with_suffix(suffix), root / "models")
    for number, path in enumerate(paths):
        shutil.copy(path, root / "data" / "images")
        mask = drawn[path.stem]
        if path.stem in ways:
            other = drawn[chosen[chosen.index(path.stem) - 1]]
            mask = SPOILERS[ways[path.stem]](mask, other, number)
        image = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
        image.save(root / "data" / "masks" / f"{path.stem}.png")
    return ways


def _read(folder: Path, stem: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(next(folder.glob(f"{stem}.*"))))


def _audit(root: Path, model: str | None) -> pd.DataFrame:
    """All samples, ranked."""
    audit.run("all", model, root / "audit", 2 * TAKEN, 3, None, True, SETTINGS, root)
    return pd.read_csv(root / "audit" / "suspects.csv", dtype={"id": str})


def _cut(mask: Mask, share: float, value: bool) -> Mask:
    """A copy whose columns at the left, with a share of the foreground, have one value."""
    columns = np.cumsum(mask.sum(axis=0))
    return np.where(
        np.arange(mask.shape[1]) < np.searchsorted(columns, share * columns[-1]), value, mask
    )


def _half_inverted(mask: Mask, other: Mask, seed: int) -> Mask:
    result = mask.copy()
    half = mask.shape[1] // 2
    result[:, :half] = ~mask[:, :half]
    return result


def _other(mask: Mask, other: Mask, seed: int) -> Mask:
    size = mask.shape[1], mask.shape[0]
    return np.asarray(Image.fromarray(other).resize(size, Image.Resampling.NEAREST))


def _grown(mask: Mask, other: Mask, seed: int) -> Mask:
    """With a rectangle of background, a tenth of the picture, marked at the bottom."""
    result = mask.copy()
    height, width = mask.shape
    result[-height // 4 :, : round(0.4 * width)] = True
    return result


SPOILERS: dict[str, Callable[[Mask, Mask, int], Mask]] = {
    "shifted by 15 px": lambda mask, other, seed: shift(mask, 15, seed),
    "shifted by 30 px": lambda mask, other, seed: shift(mask, 30, seed),
    "another photograph's": _other,
    "mirrored": lambda mask, other, seed: mask[:, ::-1],
    "upside down": lambda mask, other, seed: mask[::-1],
    "left half inverted": _half_inverted,
    "inverted": lambda mask, other, seed: ~mask,
    "half of the foreground missing": lambda mask, other, seed: _cut(mask, 0.5, False),
    "a fifth of the foreground missing": lambda mask, other, seed: _cut(mask, 0.2, False),
    "a tenth of the picture too much": _grown,
}
