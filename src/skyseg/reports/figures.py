"""Plots of curves, as matplotlib figures."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

# Colours that the colour-blind can tell apart (Okabe & Ito).
BLUE, GREEN, VERMILLION, GREY = "#0072B2", "#009E73", "#D55E00", "#8a94a0"


def curves_figure(table: pd.DataFrame, scores: dict[str, float]) -> Figure:
    """Precision-recall and threshold curves, with the model's threshold marked."""
    chosen = table.iloc[(table["threshold"] - scores["threshold"]).abs().argmin()]
    figure = Figure(figsize=(11, 4.4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["recall"], table["precision"], color=BLUE, lw=2)
    left.plot(
        chosen["recall"],
        chosen["precision"],
        "o",
        color=VERMILLION,
        ms=8,
        label=f"model's threshold {scores['threshold']:.3f}",
    )
    left.set(
        xlabel="recall",
        ylabel="precision",
        xlim=(0, 1.01),
        ylim=(0, 1.01),
        title=f"Precision and recall (max F {scores['f_max']:.3f})",
    )
    right.plot(table["threshold"], table["iou"], color=BLUE, lw=2, label="IoU, pooled")
    right.plot(table["threshold"], table["f"], color=GREEN, lw=2, label="F-measure, β² = 0.3")
    right.axvline(
        scores["threshold"],
        color=VERMILLION,
        ls="--",
        lw=1.2,
        label=f"model's threshold {scores['threshold']:.3f}",
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


def training_figure(history: pd.DataFrame) -> Figure:
    """Losses and validation scores by epoch; ``history`` as in reports/history.csv."""
    figure, (left, right) = _axes()
    for axes, column, colour, label in (
        (left, "train/loss", GREY, "training"),
        (left, "val/loss", BLUE, "validation"),
        (right, "val/iou", BLUE, "IoU"),
        (right, "val/f_max", GREEN, "max F"),
    ):
        axes.plot(history["epoch"], history[column], "o-", color=colour, lw=2, ms=4, label=label)
    left.set(title="Loss, summed over the seven outputs", xlabel="epoch")
    best = history.loc[history["val/iou"].idxmax()]
    right.plot(best["epoch"], best["val/iou"], "o", color=VERMILLION, label="saved epoch")
    right.set(title="Validation, at training size", xlabel="epoch")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def calibration_figure(table: pd.DataFrame) -> Figure:
    """Reliability, and how often each probability occurs; ``table`` as from ``reliability``."""
    figure, (left, right) = _axes()
    left.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="perfect calibration")
    left.plot(table["confidence"], table["frequency"], "o-", color=BLUE, lw=2, ms=4, label="model")
    left.set(
        title="Reliability",
        xlabel="predicted probability",
        ylabel="share of pixels that are foreground",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    left.legend(frameon=False)
    right.bar(
        table["confidence"], table["pixels"] / max(table["pixels"].sum(), 1), width=0.05, color=BLUE
    )
    right.set(
        title="How often each probability occurs",
        xlabel="predicted probability",
        ylabel="share of pixels, log scale",
        xlim=(0, 1),
        yscale="log",
    )
    return figure


def as_image(figure: Figure) -> Image.Image:
    """A figure as a picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    both = figure.subplots(1, 2)
    for axes in both:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, both
