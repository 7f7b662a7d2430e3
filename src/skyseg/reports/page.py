"""Reports about a model: a self-contained HTML page, and the model card."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
import pandas as pd
from markdown_it import MarkdownIt
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from skyseg.errors import printable
from skyseg.metrics.slices import SLICES
from skyseg.metrics.suite import METRICS
from skyseg.model.checkpoint import ModelConfig
from skyseg.reports.figures import calibration_figure, curves_figure, training_figure
from skyseg.reports.sheets import Finding, fitted_error_overlay
from skyseg.reports.tables import escape_cell

CELL = (520, 390)  # of a gallery's pictures; pixels

HEADLINE = {
    "iou": "IoU",
    "boundary_f": "boundary F",
    "f_max": "max F",
    "mae": "mean absolute error",
}


class Evaluation(NamedTuple):
    """Everything the page shows."""

    config: ModelConfig
    split: str
    decided: str
    """How the mask values were interpreted."""
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    thresholds: pd.DataFrame
    """As ``suite.threshold_table`` returns it."""
    reliability: pd.DataFrame
    """As ``calibration.reliability`` returns it."""
    slices: pd.DataFrame
    """As ``slices.table`` returns it."""
    weakest: pd.Series | None
    history: pd.DataFrame
    """The epochs of the training, as in reports/history.csv."""
    model_card: str
    """Markdown."""


def render_page(evaluation: Evaluation, worst: Iterable[Finding], best: Iterable[Finding]) -> str:
    """The page as HTML. Self-contained: it loads no other file or URL."""
    return (
        _environment(autoescape=True)
        .get_template("page.html")
        .render(
            e=evaluation,
            metrics=METRICS,
            headline=HEADLINE,
            training=svg(training_figure(evaluation.history)) if len(evaluation.history) else None,
            curves=svg(curves_figure(evaluation.thresholds, evaluation.scores)),
            calibration=svg(calibration_figure(evaluation.reliability)),
            slices=list(evaluation.slices.groupby("slice", sort=False)),
            meanings=SLICES,
            galleries=[("Worst", _pictures(worst)), ("Best", _pictures(best))],
            # Safe to insert: this parser escapes HTML in the Markdown.
            model_card=Markup(
                MarkdownIt("commonmark", {"html": False})
                .enable("table")
                .render(evaluation.model_card)
            ),
        )
    )


def render_model_card(
    config: ModelConfig, scores: dict[str, float], split: str, decided: str, worst: pd.DataFrame
) -> str:
    """The model card in Markdown (sections after Mitchell et al., "Model Cards", FAT* 2019).

    Args:
        config: the model config.
        scores: on the split, as ``skyseg.metrics.suite.summarise`` returns them.
        split: its name.
        decided: how the mask values were interpreted.
        worst: rows of the per-image table, the worst first.
    """
    return (
        _environment(autoescape=False)
        .get_template("model_card.md.jinja")
        .render(c=config, scores=scores, split=split, decided=decided, worst=worst, nan=math.nan)
    )


def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": escape_cell, "printable": printable}
    return environment


def svg(figure: Figure) -> str:
    """A figure as a data URI. The same figure always gives the same text."""
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
