"""What people read after a run: tables, curves, galleries and the model card."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from skyseg.files import atomic_write, write_text
from skyseg.inference.overlays import fitted_error_overlay, sheet
from skyseg.metrics import suite as metrics
from skyseg.model.checkpoint import ModelConfig

# Image, predicted foreground, true mask, caption.
Finding = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.uint8], str]

COLUMNS, CELL = 4, (320, 240)  # of a sheet of overlays; pixels


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write indented JSON, floats rounded to six digits so that diffs show changes, not noise."""

    def rounded(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: rounded(child) for key, child in node.items()}
        return round(node, 6) if isinstance(node, float) else node

    write_text(path, json.dumps(rounded(value), indent=2) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, floats to six digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g"))


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """One row an epoch; the columns carry the names MLflow shows."""
    write_csv(path, pd.DataFrame(history))


def write_png(path: Path, picture: Image.Image) -> None:
    """Write a picture, losslessly."""
    with atomic_write(path) as aside:
        picture.save(aside, format="PNG", optimize=True)


def error_sheet(findings: Iterable[Finding]) -> Image.Image:
    """A contact sheet of what a model found, right and wrong pixels coloured.

    Each finding is shrunk as it comes: an iterator of large photographs needs little memory.
    """
    return sheet(
        [
            (fitted_error_overlay(image, found, mask, CELL)[1], caption)
            for image, found, mask, caption in findings
        ],
        columns=COLUMNS,
        cell=CELL,
    )


def threshold_table(histograms: NDArray[np.int64]) -> pd.DataFrame:
    """Scores at each threshold: the rows behind the PR and threshold curves.

    Args:
        histograms: int64 [N, 2, 256], one an image.
    """
    p, r = metrics.mean_curves(histograms)
    pooled = metrics.at_all(histograms.sum(0))
    return pd.DataFrame(
        {
            "threshold": metrics.THRESHOLDS,
            "precision": p,
            "recall": r,
            "f": metrics.f_measure(p, r),
            "iou": metrics.iou(pooled),
        }
    )


def curves(table: pd.DataFrame, scores: dict[str, float]) -> Image.Image:
    """``curves_figure`` as a picture."""
    buffer = io.BytesIO()
    curves_figure(table, scores).savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def curves_figure(table: pd.DataFrame, scores: dict[str, float]) -> Figure:
    """Precision-recall and threshold curves, with the shipped threshold marked."""
    shipped = table.iloc[(table["threshold"] - scores["threshold"]).abs().argmin()]
    figure = Figure(figsize=(11, 4.4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["recall"], table["precision"], color="#0072B2", lw=2)
    left.plot(
        shipped["recall"],
        shipped["precision"],
        "o",
        color="#D55E00",
        ms=8,
        label=f"shipped threshold {scores['threshold']:.3f}",
    )
    left.set(
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1.01),
        ylim=(0, 1.01),
        title=f"Precision and recall (max F {scores['f_max']:.3f})",
    )
    right.plot(table["threshold"], table["iou"], color="#0072B2", lw=2, label="IoU, pooled")
    right.plot(table["threshold"], table["f"], color="#009E73", lw=2, label="F-measure, β² = 0.3")
    right.axvline(
        scores["threshold"],
        color="#D55E00",
        ls="--",
        lw=1.2,
        label=f"shipped threshold {scores['threshold']:.3f}",
    )
    right.set(
        xlabel="threshold",
        xlim=(0, 1),
        ylim=(0, 1.01),
        title=f"Scores by threshold (IoU {scores['iou']:.3f})",
    )
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower center")
    return figure


def model_card(
    config: ModelConfig, scores: dict[str, float], split: str, decided: str, worst: pd.DataFrame
) -> str:
    """The model card in Markdown (sections after Mitchell et al., "Model Cards", FAT* 2019)."""
    counts = ", ".join(f"{part['images']} {name}" for name, part in config.data["splits"].items())
    start = config.params.get("model.init") or "random weights"
    enlarged = (
        "resized back to"
        if config.refine == "none"
        else f"brought to (refinement `{config.refine}`)"
    )
    refusal = (
        "where the surest hundredth of the pixels stays below "
        f'{config.presence:.3f}, the answer is "no foreground"'
        if config.presence
        else "every photograph is taken to have some"
    )
    rows = "\n".join(
        f"| {name} | {value:.4f} |" for name, value in scores.items() if name != "images"
    )
    bad = "\n".join(
        f"| {row.id} | {row.iou:.3f} | {row.foreground:.3f} | {row.predicted:.3f} |"
        for row in worst.itertuples()
    )
    return f"""# {config.variant}, {config.size} px: model card

**Model.** U²-Net (Qin et al., Pattern Recognition 2020), variant `{config.variant}`, a foreground
probability for each pixel. Input: an RGB photograph resized to {config.size} x {config.size};
output {enlarged} the photograph's own size. Foreground is a probability of at least
{config.threshold:.4f}, the threshold with the best IoU on the validation split; {refusal}.

**Training.** From {start}, {config.params.get("train.epochs")} epochs at most; these are the
averaged weights of epoch {config.epoch}, the best by validation IoU
({config.val.get("iou", float("nan")):.4f} at training size).
Seed {config.params.get("train.seed")}.

**Data.** {counts} images. {decided}

## Scores on {split}

{scores["images"]:.0f} images, each scored at its own resolution; `docs/metrics.md` defines the
names.

| metric | value |
|---|---|
{rows}

Worst images (IoU, true and predicted foreground share):

| image | IoU | true | predicted |
|---|---|---|---|
{bad}

## Limits

The scores hold for photographs like those of the data set above. Other cameras, places, weather and
subjects are untested until you score them.

## Provenance

| | |
|---|---|
| weights, SHA-256 | `{config.fingerprint}` |
| starting weights, SHA-256 | `{config.start}` |
| data, fingerprint | `{config.data["fingerprint"]}` |
| data, DVC md5 | `{config.data.get("dvc_md5")}` |
| git commit | `{config.git_commit}` |
| MLflow run | `{config.run}` |
| saved | {config.created} |
"""
