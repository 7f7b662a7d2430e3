"""Which faults the audit finds in photographs and masks that were spoiled on purpose.

From each of five data sets, 4 samples are spoiled in one way and put back among the others, 20 for
each way. Needs the photographs described in docs/audit.md.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.race import Row
from skyseg.data.audit import mask_checks, photographs, turned
from skyseg.data.audit.findings import Finding
from skyseg.data.audit.mask_checks import Measures
from skyseg.data.formats.samples import Sample
from skyseg.data.inspection import Inspection, inspect_sample
from skyseg.data.masks.encoding import Encoding
from skyseg.data.pictures.metadata import ORIENTATION
from skyseg.params import DataParams
from skyseg.scenes.dataset import write_scenes

REAL = Path(os.environ.get("SKYSEG_REAL_DATA", "../shared/data"))
EACH = 4  # samples of each data set that are spoiled in one way
MOST = 100  # samples taken of each
ENCODING = Encoding(kind="0/255", threshold=128)

# Folders of photographs and masks, and the mask value that is foreground.
SETS = {
    "CamVid": ("camvid/train", "camvid/trainannot", 0),
    "Figaro1k": ("figaro1k/images", "figaro1k/masks", 1),
    "ADE20K": ("ade20k_sky/images", "ade20k_sky/masks", 255),
    "Cityscapes": ("cityscapes_sky/images", "cityscapes_sky/masks", 255),
}


class Pair(NamedTuple):
    """A sample to spoil."""

    image: bytes
    """The photograph's file."""
    suffix: str
    mask: np.ndarray
    """bool [H, W]"""
    other: np.ndarray
    """The mask of another sample, at this one's size."""
    seed: int


class Looked(NamedTuple):
    """What the audit knows of a sample."""

    sample: Sample
    inspection: Inspection | None
    findings: list[Finding]
    measures: Measures | None


def rows(work: Path) -> Iterable[Row]:
    """Print the table; there are no timings."""
    counts = {name: [0, 0] for name in SPOILERS}
    alarms, total = 0, 0
    for name in (*SETS, "scenes"):
        clean = _clean(work / name, name)
        known = {(each.kind, id) for each in _findings(clean) for id in each.ids}
        alarms, total = alarms + len({id for _, id in known}), total + len(clean)
        print(f"{name}: {len(clean)} as they are, alarms: {sorted(known)}", flush=True)
        for way, (spoil, kinds) in SPOILERS.items():
            spoiled = _spoiled(work / name, clean, spoil, whole=way not in NEEDS_EDGES)
            changed = {each.sample.id: each for each in spoiled}
            found = {
                id
                for each in _findings([changed.get(each.sample.id, each) for each in clean])
                if each.kind in kinds
                for id in each.ids
            }
            counts[way][0] += len(found & changed.keys())
            counts[way][1] += len(changed)
            if missed := changed.keys() - found:
                print(f"  {way}: missed {sorted(missed)}", flush=True)
    print("\n| spoiled | found | reported as |\n|---|---|---|")
    for way, (found, of) in counts.items():
        print(f"| {way} | {found} of {of} | {', '.join(sorted(SPOILERS[way][1]))} |")
    print(f"\nFalse alarms: {alarms} of {total} samples as they are.\n")
    return ()


def _clean(folder: Path, name: str) -> list[Looked]:
    """Samples of a data set, with masks of 0 and 255."""
    if name in SETS:
        images, masks, value = SETS[name]
        paths = sorted((REAL / images).iterdir())
        paths = paths[:: max(1, len(paths) // MOST)][:MOST]
    else:
        write_scenes(folder / "source", 2 * MOST, 11)
        masks, value = folder / "source" / "masks", 1
        paths = sorted((folder / "source" / "images").iterdir())
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    samples = []
    for path in paths:
        source = next((REAL / masks).glob(f"{path.stem}.*"))
        image, mask = folder / "images" / path.name, folder / "masks" / f"{path.stem}.png"
        shutil.copy(path, image)
        Image.fromarray(np.asarray(Image.open(source)) == value).convert("L").save(mask)
        samples.append(Sample(path.stem, image, mask, None))
    return _look(samples)


def _look(samples: list[Sample]) -> list[Looked]:
    def look(sample: Sample) -> Looked:
        _, inspection, findings = inspect_sample(sample, DataParams())
        measures = mask_checks.measure(sample, ENCODING) if inspection else None
        return Looked(sample, inspection, findings, measures)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(look, samples))


def _findings(looked: list[Looked]) -> list[Finding]:
    """All findings of a data set, as prepare collects them."""
    findings = [finding for each in looked for finding in each.findings]
    usable = [each for each in looked if each.inspection and each.measures]
    samples = [each.sample for each in usable]
    inspections = [each.inspection for each in usable if each.inspection]
    plain = {id for each in findings if each.kind == "blank" for id in each.ids}
    findings += photographs.tiny(samples, [(each.width, each.height) for each in inspections])
    findings += photographs.colourless(samples, [each.colourful for each in inspections], plain)
    findings += turned.find(
        samples,
        [each.orientation for each in inspections],
        [each.mask.turned for each in inspections],
        [(each.width, each.height) for each in inspections],
    )
    findings += mask_checks.found(samples, [each.measures for each in usable if each.measures])
    return findings


def _spoiled(
    folder: Path, clean: list[Looked], spoil: Callable[[Pair], Spoiled], whole: bool
) -> list[Looked]:
    """Some samples, spoiled. Unless ``whole``, only those that have foreground and background."""
    fit = [each for each in clean if each.measures and (whole or 0.01 < each.measures.share < 0.99)]
    chosen = fit[3 :: max(1, len(fit) // EACH)][:EACH]
    samples = []
    for number, each in enumerate(chosen):
        sample = each.sample
        other = chosen[number - 1].sample.mask
        mask = Image.open(sample.mask)
        pair = Pair(
            sample.image.read_bytes(),
            sample.image.suffix,
            np.asarray(mask) > 0,
            np.asarray(Image.open(other).resize(mask.size, Image.Resampling.NEAREST)) > 0,
            number,
        )
        image, suffix, drawn, mask_suffix = spoil(pair)
        path = folder / "spoiled" / f"{sample.id}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image)
        mask_path = folder / "spoiled" / f"{sample.id}_mask{mask_suffix}"
        Image.fromarray(drawn).convert("L").save(mask_path, quality=30)
        samples.append(Sample(sample.id, path, mask_path, None))
    return _look(samples)


# The file of the photograph, its suffix, the mask, and its suffix.
Spoiled = tuple[bytes, str, np.ndarray, str]


def _file(image: Image.Image, suffix: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if suffix == ".png" else "JPEG", quality=90)
    return buffer.getvalue()


def _with_mask(
    change: Callable[[Pair], np.ndarray], suffix: str = ".png"
) -> Callable[..., Spoiled]:
    return lambda pair: (pair.image, pair.suffix, change(pair), suffix)


def _with_bytes(change: Callable[[Pair], bytes]) -> Callable[..., Spoiled]:
    return lambda pair: (change(pair), pair.suffix, pair.mask, ".png")


def _with_photograph(change: Callable[[Image.Image], Image.Image]) -> Callable[..., Spoiled]:
    def spoil(pair: Pair) -> Spoiled:
        image = change(Image.open(io.BytesIO(pair.image)).convert("RGB"))
        mask = Image.fromarray(pair.mask).resize(image.size, Image.Resampling.NEAREST)
        return _file(image, pair.suffix), pair.suffix, np.asarray(mask), ".png"

    return spoil


def _change_bytes(pair: Pair) -> bytes:
    """64 bytes in the middle half become random ones."""
    rng = np.random.default_rng(pair.seed)
    content = bytearray(pair.image)
    at = int(rng.integers(len(content) // 4, 3 * len(content) // 4))
    content[at : at + 64] = rng.bytes(64)
    return bytes(content)


def _turned(pair: Pair) -> Spoiled:
    """Stored upside down, with EXIF that says so, and a mask drawn on the stored pixels."""
    image = Image.open(io.BytesIO(pair.image)).convert("RGB").rotate(180)
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, exif=exif)
    return buffer.getvalue(), ".jpg", pair.mask[::-1, ::-1], ".png"


def _suffix(pair: Pair) -> Spoiled:
    return pair.image, ".jpg" if pair.suffix == ".png" else ".png", pair.mask, ".png"


def shift(mask: np.ndarray, distance: float, seed: int) -> np.ndarray:
    """Moved by a distance, in a random direction; border pixels are repeated."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    down, right = round(distance * np.sin(angle)), round(distance * np.cos(angle))
    rows = np.clip(np.arange(mask.shape[0]) - down, 0, mask.shape[0] - 1)
    columns = np.clip(np.arange(mask.shape[1]) - right, 0, mask.shape[1] - 1)
    return mask[rows][:, columns]


def _ragged(pair: Pair) -> np.ndarray:
    """Pixels up to 3 beside an edge change their side with a probability of 30 %."""
    import cv2

    pixels, square = pair.mask.astype(np.uint8), np.ones((7, 7), np.uint8)
    band = cv2.dilate(pixels, square) != cv2.erode(pixels, square)
    rng = np.random.default_rng(pair.seed)
    return pair.mask ^ (band & (rng.random(band.shape) < 0.3))


def _plain(colour: str) -> Callable[..., Spoiled]:
    return _with_photograph(lambda image: Image.new("RGB", image.size, colour))


SPOILERS: dict[str, tuple[Callable[[Pair], Spoiled], set[str]]] = {
    "truncated to 60 %": (
        _with_bytes(lambda pair: pair.image[: len(pair.image) * 6 // 10]),
        {"unreadable", "damaged"},
    ),
    "last 100 bytes missing": (
        _with_bytes(lambda pair: pair.image[:-100]),
        {"unreadable", "damaged"},
    ),
    "64 bytes changed inside": (_with_bytes(_change_bytes), {"unreadable", "damaged"}),
    "wrong extension": (_suffix, {"wrong_suffix"}),
    "tiny": (_with_photograph(lambda image: image.resize((48, 36))), {"tiny"}),
    "black": (_plain("black"), {"blank"}),
    "one plain colour": (_plain("#7799bb"), {"blank"}),
    "colourless": (
        _with_photograph(lambda image: image.convert("L").convert("RGB")),
        {"colourless"},
    ),
    "empty mask": (_with_mask(lambda pair: np.zeros_like(pair.mask)), {"empty"}),
    "full mask": (_with_mask(lambda pair: np.ones_like(pair.mask)), {"full"}),
    "inverted mask": (_with_mask(lambda pair: ~pair.mask), {"inverted", "full"}),
    "another photograph's mask": (_with_mask(lambda pair: pair.other), {"mismatched", "shifted"}),
    "mask shifted by 3 %": (
        _with_mask(lambda pair: shift(pair.mask, 0.03 * max(pair.mask.shape), pair.seed)),
        {"shifted"},
    ),
    "mask shifted by 10 pixels": (
        _with_mask(lambda pair: shift(pair.mask, 10, pair.seed)),
        {"shifted"},
    ),
    "photograph turned by EXIF, mask not": (_turned, {"turned"}),
    "ragged mask edges": (_with_mask(_ragged), {"noisy_edges"}),
}
# Masks without edges cannot be shifted or ragged, and two empty ones are alike.
NEEDS_EDGES = {way for way in SPOILERS if "mask" in way and way != "full mask"}
