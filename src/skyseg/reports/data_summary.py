"""What ``prepare`` reports about a data set: counts, sample pictures, shares of foreground."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from skyseg.data.audit.gate import Audit
from skyseg.data.audit.training_data import describe
from skyseg.data.manifest import Dataset
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.pictures import codec
from skyseg.inference.overlays import overlay
from skyseg.reports.sheets import fit, sheet

SHOWN = 5  # sample pictures per split
CELL = (300, 225)
BINS = 20
COLOURS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73"}


def write_summary(report: Path, manifest: pd.DataFrame, dataset: Dataset) -> None:
    """Write summary.json: statistics of the data set, for people and for diffs with DVC."""
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
        "training": describe(manifest).model_dump(),
        "fingerprint": dataset.fingerprint,
    }
    (report / "summary.json").write_text(
        json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def write_dropped(report: Path, audit: Audit) -> None:
    """Write dropped.csv: the samples that are left out, and why.

    Columns: id; why, a kind of finding or 'excluded' by a person; text.
    """
    rows = [(id, finding.kind, finding.text) for id, finding in audit.dropped.items()]
    rows += [(id, "excluded", reason) for id, reason in audit.excluded.items()]
    table = pd.DataFrame(sorted(rows), columns=["id", "why", "text"])
    table.to_csv(report / "dropped.csv", index=False)


def sample_sheet(manifest: pd.DataFrame, encoding: Encoding, root: Path) -> Image.Image:
    """A row of overlays per split: one without foreground, if any, then from little to much."""
    shown = []
    for split, rows in manifest.groupby("split", sort=False):
        ranked = rows.sort_values(["foreground", "id"])
        empty, some = ranked[ranked["foreground"] == 0], ranked[ranked["foreground"] > 0]
        chosen = pd.concat([empty.head(1), spread(some, SHOWN - min(len(empty), 1))])
        for row in chosen.itertuples():
            picture = overlay(
                *fit(
                    codec.read(root / row.image).pixels,
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
    """Write foreground.csv and, as a plot, foreground.png.

    Columns: foreground, the centre of the bin; and one per split, the percentage of its images.
    """
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
