"""The report a person reads: one HTML page with everything in it, for a browser without network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from skyseg.inference.overlays import fitted_error_overlay
from skyseg.metrics.slices import SLICES
from skyseg.metrics.suite import METRICS
from skyseg.model.checkpoint import ModelConfig
from skyseg.reports.report import Finding, curves_figure

CELL = (520, 390)  # of a gallery's pictures; pixels
BLUE, GREEN, VERMILLION, GREY = "#0072B2", "#009E73", "#D55E00", "#8a94a0"  # Okabe & Ito

HEADLINE = {
    "iou": "IoU",
    "boundary_f": "boundary F",
    "f_max": "max F",
    "mae": "mean absolute error",
}


class Champion(NamedTuple):
    """The registered model that this one would have to replace."""

    version: str
    itself: bool
    """Whether it is this very model."""
    scores: dict[str, float] | None
    """Its figures, if it was measured on the same data."""


class Evaluation(NamedTuple):
    """Everything the page shows."""

    config: ModelConfig
    split: str
    decided: str
    """What mask values were taken to mean."""
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    thresholds: pd.DataFrame
    """As ``report.threshold_table`` returns it."""
    reliability: pd.DataFrame
    """As ``calibration.reliability`` returns it."""
    slices: pd.DataFrame
    """As ``slices.table`` returns it."""
    weakest: pd.Series | None
    history: pd.DataFrame
    """The epochs of the training, as in reports/history.csv."""
    champion: Champion | None
    model_card: str
    """Markdown."""


def render(evaluation: Evaluation, worst: Iterable[Finding], best: Iterable[Finding]) -> str:
    """The page as HTML; needs no file and no address but itself."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        e=evaluation,
        metrics=METRICS,
        headline=HEADLINE,
        changes=_changes(evaluation),
        training=_svg(_training(evaluation.history)) if len(evaluation.history) else None,
        curves=_svg(curves_figure(evaluation.thresholds, evaluation.scores)),
        calibration=_svg(_calibration(evaluation.reliability)),
        slices=list(evaluation.slices.groupby("slice", sort=False)),
        meanings=SLICES,
        galleries=[("Worst", _pictures(worst)), ("Best", _pictures(best))],
        # The config of this very repository: its Markdown is as trusted as this page.
        model_card=Markup(
            MarkdownIt("commonmark", {"html": False}).enable("table").render(evaluation.model_card)
        ),
    )


def _changes(evaluation: Evaluation) -> list[tuple[str, float, float, bool]]:
    """Metric, ours, the champion's, and whether ours is better."""
    champion = evaluation.champion
    if champion is None or champion.itself or champion.scores is None:
        return []
    return [
        (
            name,
            evaluation.scores[name],
            champion.scores[name],
            (evaluation.scores[name] > champion.scores[name]) != METRICS[name].lower_is_better,
        )
        for name in METRICS
        if name in evaluation.scores and name in champion.scores
    ]


def _training(history: pd.DataFrame) -> Figure:
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
    right.plot(best["epoch"], best["val/iou"], "o", color=VERMILLION, label="kept")
    right.set(title="Validation, at training size", xlabel="epoch")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _calibration(table: pd.DataFrame) -> Figure:
    figure, (left, right) = _axes()
    left.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="means what it says")
    left.plot(table["confidence"], table["frequency"], "o-", color=BLUE, lw=2, ms=4, label="model")
    left.set(
        title="Reliability",
        xlabel="probability given",
        ylabel="share that is foreground",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    left.legend(frameon=False)
    right.bar(
        table["confidence"], table["pixels"] / max(table["pixels"].sum(), 1), width=0.05, color=BLUE
    )
    right.set(
        title="How often each probability is given",
        xlabel="probability given",
        ylabel="share of pixels, logarithmic",
        xlim=(0, 1),
        yscale="log",
    )
    return figure


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    both = figure.subplots(1, 2)
    for axes in both:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, both


def _svg(figure: Figure) -> str:
    """A figure as a data URI; the same figure gives the same text."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "skyseg"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _uri("image/svg+xml", buffer.getvalue())


def _pictures(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Photograph and overlay of each finding as data URIs, with the caption."""
    shown = []
    for image, found, mask, caption in findings:
        small, overlay = fitted_error_overlay(image, found, mask, CELL)
        shown.append({"photograph": _jpeg(small), "overlay": _jpeg(overlay), "caption": caption})
    return shown


def _jpeg(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=82, optimize=True)
    return _uri("image/jpeg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
