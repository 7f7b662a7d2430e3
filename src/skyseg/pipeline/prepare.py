"""prepare: from raw photographs and masks to checked, split and resized training data.

Reads ``data/``, writes ``prepared/`` (manifest.csv, dataset.json, arrays) and
``reports/prepare/`` (summary.json, samples.png, foreground.png, foreground.csv).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from skyseg.data import audit, pictures
from skyseg.data.arrays import ARRAY_SPLITS, write_split
from skyseg.data.formats import FORMATS, Sample, find_samples
from skyseg.data.manifest import COLUMNS, Dataset, summarise
from skyseg.data.mask_meaning import infer_encoding
from skyseg.data.mask_stats import MaskStats, count_values, shares
from skyseg.data.masks import Encoding, read_mask
from skyseg.data.parallel import in_order
from skyseg.data.split import SPLITS, assign, group_names
from skyseg.errors import UserError, exit_code
from skyseg.files import atomic_write
from skyseg.inference.overlays import fit, overlay, sheet
from skyseg.params import DataParams, Params, load_params

SHOWN = 5  # sample pictures a split
CELL = (300, 225)
BINS = 20
COLOURS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73"}


class Look(NamedTuple):
    """What one look at a sample's files tells."""

    flags: list[str]
    width: int
    height: int
    image_sha256: str
    thumbnail: np.ndarray
    mask: MaskStats


def prepare(params: Params, root: Path = Path()) -> None:
    """Prepare ``root/data`` for training and evaluation.

    Raises:
        UserError: whatever is wrong with the data; ``root/prepared`` is then as it was.
    """
    samples = find_samples(root / "data", params.data.format)
    if FORMATS[params.data.format].index and params.data.foreground is None:
        raise UserError(
            f"data.foreground: not set, but masks of format {params.data.format} hold "
            "class indices; name the ones that are foreground, such as [0]"
        )
    looks = list(in_order(lambda sample: look(sample, params.data), samples, "looking"))
    encoding, decided = infer_encoding([seen.mask for seen in looks], params.data)
    print(decided)
    manifest = tabulate(samples, looks, encoding, params, root)
    dataset = summarise(manifest, params.data.format, encoding, decided, params.model.size, root)
    print(", ".join(f"{name} {split.images:,}" for name, split in dataset.splits.items()))

    with (
        atomic_write(root / "prepared") as prepared,
        atomic_write(root / "reports" / "prepare") as report,
    ):
        prepared.mkdir()
        report.mkdir()
        for split in ARRAY_SPLITS:
            rows = manifest[manifest["split"] == split]
            files = [
                (root / image, root / mask)
                for image, mask in zip(rows["image"], rows["mask"], strict=True)
            ]
            write_split(prepared, split, files, params.model.size, encoding)
        manifest.to_csv(prepared / "manifest.csv", index=False)
        (prepared / "dataset.json").write_text(dataset.model_dump_json(indent=2) + "\n")
        write_summary(report, manifest, dataset)
        sample_sheet(manifest, encoding, root).save(report / "samples.png")
        write_histogram(report, manifest)


def look(sample: Sample, data: DataParams) -> Look:
    """Look at a sample's files once: everything that splitting and the manifest need to know.

    Raises:
        UserError: a damaged file, or an image and a mask of different sizes.
    """
    content = pictures.read_bytes(sample.image)
    picture = pictures.decode(content, str(sample.image), least=audit.LEAST)
    mask = count_values(sample.mask, data)
    width, height = pictures.upright_size(content)
    if mask.size != (width, height):
        turned = " upright (by its EXIF orientation)" if "exif" in picture.flags else ""
        raise UserError(
            f"{sample.mask}: {mask.size[0]}x{mask.size[1]} pixels, but {sample.image} "
            f"has {width}x{height}{turned}; they must be equal"
        )
    return Look(
        [*picture.flags, *(["mask-exif"] if mask.turned else [])],
        width,
        height,
        hashlib.sha256(content).hexdigest(),
        audit.thumbnail(picture.pixels),
        mask,
    )


def tabulate(
    samples: list[Sample], looks: list[Look], encoding: Encoding, params: Params, root: Path
) -> pd.DataFrame:
    """The manifest: one row a sample, by split and id, with groups, splits and flags decided."""
    ids = [sample.id for sample in samples]
    measured = [shares(seen.mask, encoding) for seen in looks]
    digests = [seen.image_sha256 for seen in looks]
    clusters = audit.clusters(digests, np.stack([seen.thumbnail for seen in looks]))
    refuse_leaks(samples, looks, clusters)
    groups = group_names(ids, params.split, root / "data")
    joined = audit.merge(groups, clusters)
    table = pd.DataFrame(
        {
            "id": ids,
            "image": [sample.image.relative_to(root).as_posix() for sample in samples],
            "mask": [sample.mask.relative_to(root).as_posix() for sample in samples],
            "group": pd.Series(groups).groupby(joined).transform("min"),
            "width": [seen.width for seen in looks],
            "height": [seen.height for seen in looks],
            "foreground": np.round([share for share, _ in measured], 6),
            "ignored": np.round([share for _, share in measured], 6),
            "image_sha256": digests,
            "mask_sha256": [seen.mask.sha256 for seen in looks],
        }
    )
    table["split"] = assign(
        ids, [sample.split for sample in samples], table["foreground"], table["group"], params.split
    )
    table["flags"] = [
        ";".join([*seen.flags, *more])
        for seen, more in zip(looks, duplicate_flags(table, clusters), strict=True)
    ]
    order = table["split"].map(SPLITS.index)
    return (
        table.assign(order=order).sort_values(["order", "id"])[list(COLUMNS)].reset_index(drop=True)
    )


def refuse_leaks(samples: list[Sample], looks: list[Look], clusters: np.ndarray) -> None:
    """Refuse images that predefined splits share: a score on them would be worth nothing."""
    splits = pd.Series([sample.split or "train" for sample in samples])
    leaks = splits.groupby(clusters).filter(lambda names: names.nunique() > 1)
    if leaks.empty:
        return
    members = leaks.index.to_numpy()[clusters[leaks.index] == clusters[leaks.index[0]]]
    one = members[splits[members] == splits[members[0]]]
    two = members[splits[members] != splits[members[0]]]
    first, second = audit.closest_across(np.stack([seen.thumbnail for seen in looks]), one, two)
    count = len(np.unique(clusters[leaks.index]))
    raise UserError(
        f"{samples[first].image} ({splits[first]}) and {samples[second].image} ({splits[second]}) "
        "are the same photograph in two splits"
        + (f" (and {count - 1} more such sets)" if count > 1 else "")
        + "; remove one of them"
    )


def duplicate_flags(table: pd.DataFrame, clusters: np.ndarray) -> list[list[str]]:
    """duplicate (equal files), near-duplicate, and masks-differ where equal files have two masks,
    for each row."""
    same = table.groupby("image_sha256")
    columns = {
        "duplicate": same["id"].transform("size") > 1,
        "near-duplicate": pd.Series(clusters).groupby(clusters).transform("size")
        > same["id"].transform("size"),
        "masks-differ": same["mask_sha256"].transform("nunique") > 1,
    }
    return [
        [name for name, holds in zip(columns, row, strict=True) if holds]
        for row in zip(*columns.values(), strict=True)
    ]


# Reports.


def write_summary(report: Path, manifest: pd.DataFrame, dataset: Dataset) -> None:
    """summary.json: what a person wants to know about the data set, and what DVC may diff."""
    flags = manifest["flags"].str.split(";").explode()
    summary = {
        "masks": dataset.decided,
        "images": len(manifest),
        "groups": int(manifest["group"].nunique()),
        "splits": {
            name: {
                "images": len(rows),
                "groups": int(rows["group"].nunique()),
                "foreground": round(float(rows["foreground"].mean()), 4),
                "without_foreground": int((rows["foreground"] == 0).sum()),
                "ignored": round(float(rows["ignored"].mean()), 4),
            }
            for name, rows in manifest.groupby("split", sort=False)
        },
        "width": [int(manifest["width"].min()), int(manifest["width"].max())],
        "height": [int(manifest["height"].min()), int(manifest["height"].max())],
        "flags": {
            name: int(count) for name, count in sorted(flags[flags != ""].value_counts().items())
        },
        "fingerprint": dataset.fingerprint,
    }
    (report / "summary.json").write_text(
        json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def sample_sheet(manifest: pd.DataFrame, encoding: Encoding, root: Path) -> Image.Image:
    """A row of overlays a split: one without foreground, if any, then from little to much."""
    shown = []
    for split, rows in manifest.groupby("split", sort=False):
        ranked = rows.sort_values(["foreground", "id"])
        empty, some = ranked[ranked["foreground"] == 0], ranked[ranked["foreground"] > 0]
        chosen = pd.concat([empty.head(1), spread(some, SHOWN - min(len(empty), 1))])
        for row in chosen.itertuples():
            picture = overlay(
                *fit(
                    pictures.read(root / row.image).pixels,
                    read_mask(root / row.mask, encoding),
                    CELL,
                )
            )
            shown.append((picture, f"{split} · {row.id} · {row.foreground:.0%}"))
        shown += [(np.full((1, 1, 3), 255, np.uint8), "")] * (SHOWN - len(chosen))
    return sheet(shown, SHOWN, CELL)


def spread(ranked: pd.DataFrame, count: int) -> pd.DataFrame:
    """Up to ``count`` rows, evenly spaced and away from the extremes."""
    ranks = (np.arange(count) + 0.5) * len(ranked) / count
    return ranked.iloc[np.unique(ranks.astype(int))] if len(ranked) else ranked


def write_histogram(report: Path, manifest: pd.DataFrame) -> None:
    """foreground.csv (foreground: centre of the bin; a column a split: per cent of its images) and
    the same as foreground.png."""
    edges = np.linspace(0, 1, BINS + 1)
    histogram = pd.DataFrame({"foreground": (edges[:-1] + edges[1:]) / 2})
    for split, rows in manifest.groupby("split", sort=False):
        histogram[split] = np.histogram(rows["foreground"], edges)[0] * 100 / len(rows)
    histogram.round(4).to_csv(report / "foreground.csv", index=False)

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for split in histogram.columns[1:]:
        rows = manifest[manifest["split"] == split]
        axes.stairs(
            histogram[split],
            edges * 100,
            color=COLOURS[split],
            linewidth=2,
            label=f"{split}: {len(rows):,} images, mean {rows['foreground'].mean():.1%}",
        )
        axes.stairs(histogram[split], edges * 100, color=COLOURS[split], fill=True, alpha=0.12)
    axes.set(
        xlabel="foreground, % of an image's valid pixels",
        ylabel="% of the split's images",
        xlim=(0, 100),
        ylim=(0, None),
        title="How much of each image is foreground",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(report / "foreground.png", dpi=120)


def main() -> None:
    prepare(load_params())


if __name__ == "__main__":
    sys.exit(exit_code(main))
