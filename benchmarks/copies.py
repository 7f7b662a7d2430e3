"""How many copies of photographs the audit finds, how often it is wrong, and how its time grows.

Of 100 photographs, one copy each is made in one way and put among them and 900 others. The same is
asked of two baselines: 16x16 grey thumbnails, which this repository used before, and imagehash's
perceptual hash of 64 bits. Needs the photographs described in docs/audit.md.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from benchmarks.race import Row
from skyseg.data.audit import copies
from skyseg.data.pictures.codec import read
from skyseg.scenes.dataset import write_scenes

REAL = Path(os.environ.get("SKYSEG_REAL_DATA", "../shared/data"))
CHOSEN = 100
HASH_BITS = 10  # of 64 that may differ; imagededup's default
SIZES = (1_000, 10_000, 50_000)

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(image: Image.Image, left: float, top: float, right: float, below: float) -> Image.Image:
    width, height = image.size
    box = (width * left, height * top, width * (1 - right), height * (1 - below))
    return image.crop(tuple(map(round, box)))  # type: ignore[arg-type]


def bordered(image: Image.Image, colour: str) -> Image.Image:
    return ImageOps.expand(image, round(0.03 * min(image.size)), colour)


def captioned(image: Image.Image, below: bool) -> Image.Image:
    height = round(0.08 * image.height)
    lower = image.height - (0 if below else height)
    whole = Image.new("RGB", (image.width, lower + height), "white" if below else "black")
    whole.paste(image.crop((0, 0, image.width, lower)))
    text = "A caption of the photograph"
    ImageDraw.Draw(whole).text((5, lower + 2), text, fill="black" if below else "white")
    return whole


def stamped(image: Image.Image) -> Image.Image:
    stamped, size = image.copy(), round(0.12 * image.height)
    place = (0.1 * image.width, 0.45 * image.height)
    ImageDraw.Draw(stamped).text(place, "SAMPLE TEXT", fill="white", font_size=size)
    return stamped


def curve(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    table = np.clip(change(np.arange(256.0)), 0, 255).round().astype(int).tolist() * 3
    return lambda image, _: image.point(table)


def noisy(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image) + rng.normal(0, 8, (image.height, image.width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


CHANGES: dict[str, Change] = {
    "saved again, JPEG quality 40": lambda image, _: saved(image, 40),
    "scaled to 60 %": lambda image, _: scaled(image, 0.6),
    "scaled to 150 %": lambda image, _: scaled(image, 1.5),
    "squashed to a square": lambda image, _: image.resize((256, 256)),
    "brightness +30 %": curve(lambda x: 1.3 * x),
    "brightness -30 %": curve(lambda x: 0.7 * x),
    "contrast +30 %": curve(lambda x: 127.5 + 1.3 * (x - 127.5)),
    "contrast -30 %": curve(lambda x: 127.5 + 0.7 * (x - 127.5)),
    "gamma 0.6": curve(lambda x: 255 * (x / 255) ** 0.6),
    "gamma 1.7": curve(lambda x: 255 * (x / 255) ** 1.7),
    "grey": lambda image, _: image.convert("L").convert("RGB"),
    "noise of 8 grey levels": noisy,
    "blurred": lambda image, _: image.filter(ImageFilter.GaussianBlur(1.5)),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "cropped by 2 % a side": lambda image, _: cropped(image, 0.02, 0.02, 0.02, 0.02),
    "cropped by 5 % a side": lambda image, _: cropped(image, 0.05, 0.05, 0.05, 0.05),
    "cropped by 0 to 5 % a side": lambda image, rng: cropped(image, *rng.uniform(0, 0.05, 4)),
    "white border of 3 %": lambda image, _: bordered(image, "white"),
    "black border of 3 %": lambda image, _: bordered(image, "black"),
    "caption over the lowest 8 %": lambda image, _: captioned(image, below=False),
    "caption below, of 8 %": lambda image, _: captioned(image, below=True),
    "mirrored, cropped by 3 %, brighter, JPEG 60": lambda image, _: saved(
        ImageOps.mirror(cropped(image, 0.03, 0.03, 0.03, 0.03)).point(lambda x: 1.2 * x), 60
    ),
    "large text over the middle": lambda image, _: stamped(image),
}

# Labels of pictures, the same for copies.
Method = Callable[[list[Image.Image]], np.ndarray]


def ours(images: list[Image.Image]) -> np.ndarray:
    small = np.stack([copies.thumbnail(np.asarray(image)) for image in images])
    return copies.clusters([str(number) for number in range(len(images))], small)


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    """Root mean square difference of at most 3 grey levels, and of a tenth of the contrast."""
    size = (16, 16)
    points = np.stack(
        [np.asarray(image.convert("L").resize(size, Image.Resampling.BOX)) for image in images]
    ).reshape(len(images), -1)
    contrast = points.std(axis=1)
    distances = squareform(pdist(points.astype(float))) / 16
    near = np.minimum(3, 0.1 * np.minimum(contrast[:, None], contrast))
    return _labels(distances <= near)


def perceptual_hash(images: list[Image.Image]) -> np.ndarray:
    bits = np.stack([imagehash.phash(image).hash.ravel() for image in images])
    return _labels(squareform(pdist(bits, "hamming")) * 64 <= HASH_BITS)


METHODS: dict[str, Method] = {
    "ours": ours,
    "16x16 thumbnails": thumbnails,
    "imagehash.phash": perceptual_hash,
}


def rows(work: Path) -> Iterable[Row]:
    """Print the tables; times are of one run."""
    sets = {
        "Figaro1k": _read((REAL / "figaro1k/images").iterdir()),
        "ADE20K": _read((REAL / "ade20k_sky/images").iterdir()),
        "Cityscapes": _read((REAL / "cityscapes_sky/images").iterdir()),
        "CamVid train, a frame a second": _read((REAL / "camvid/train").iterdir()),
        "CamVid val, 15 frames a second": _read((REAL / "camvid/val").iterdir()),
    }
    write_scenes(work / "scenes", 500, 5, 0.5)
    sets["rendered scenes"] = _read((work / "scenes" / "images").iterdir())
    # Half of each kind. The thresholds were chosen on others.
    hair, streets = sets["Figaro1k"][2::4], sets["CamVid train, a frame a second"][3::7]
    chosen = hair[: CHOSEN // 2] + streets[: CHOSEN - CHOSEN // 2]
    _found(chosen, sets["ADE20K"] + sets["Cityscapes"] + sets["rendered scenes"])
    print(
        f"\n| pictures as they are | pairs in all | {' | '.join(METHODS)} |\n|---|---|{'---|' * 3}"
    )
    for name, images in sets.items():
        pairs = [_pairs(method(images)) for method in METHODS.values()]
        count = len(images)
        print(f"| {name} ({count}) | {count * (count - 1) // 2:,} | {_cells(pairs)}", flush=True)
    across = sets["CamVid train, a frame a second"], sets["CamVid val, 15 frames a second"]
    joined = []
    for method in METHODS.values():
        labels = method([*across[0], *across[1]])
        joined.append(len({*labels[: len(across[0])]} & {*labels[len(across[0]) :]}))
    print(f"| CamVid train against val | {len(across[0]) * len(across[1]):,} | {_cells(joined)}")
    _times(np.stack([copies.thumbnail(np.asarray(each)) for all in sets.values() for each in all]))
    return ()


def _read(paths: Iterable[Path]) -> list[Image.Image]:
    return [Image.fromarray(read(path).pixels) for path in sorted(paths)]


def _found(chosen: list[Image.Image], others: list[Image.Image]) -> None:
    print(f"| copies | {' | '.join(METHODS)} |\n|---|{'---|' * 3}")
    for name, change in CHANGES.items():
        rng = np.random.default_rng(0)
        changed = [change(image, rng).convert("RGB") for image in chosen]
        counts = []
        for method in METHODS.values():
            labels = method([*chosen, *changed, *others])
            counts.append(
                int((labels[: len(chosen)] == labels[len(chosen) :][: len(chosen)]).sum())
            )
        print(f"| {name} | {_cells(counts)}", flush=True)


def _times(real: np.ndarray) -> None:
    """Seconds for many different thumbnails, each mixed from crops of two real ones."""
    rng = np.random.default_rng(0)

    def crop() -> np.ndarray:
        small, side = real[rng.integers(len(real))], rng.integers(20, 48)
        y, x = rng.integers(0, copies.SIDE - side, 2)
        part = small[y : y + side, x : x + side]
        return cv2.resize(part, (copies.SIDE, copies.SIDE)).astype(float)

    mixed = np.stack(
        [np.clip(crop() + crop() - 128, 0, 255).astype(np.uint8) for _ in range(max(SIZES))]
    )
    print("\n| thumbnails | seconds |\n|---|---|")
    for size in SIZES:
        start = time.perf_counter()
        copies.clusters([str(number) for number in range(size)], mixed[:size])
        print(f"| {size:,} | {time.perf_counter() - start:.1f} |", flush=True)


def _labels(same: np.ndarray) -> np.ndarray:
    labels: np.ndarray = connected_components(same, directed=False)[1]
    return labels


def _pairs(labels: np.ndarray) -> int:
    """Pictures that are called a copy of an earlier one."""
    return len(labels) - len(set(labels.tolist()))


def _cells(values: Iterable[int]) -> str:
    return " | ".join(map(str, values)) + " |"
