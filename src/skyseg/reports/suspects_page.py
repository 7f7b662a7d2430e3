"""The page of masks that are probably wrong: each with its photograph and a model's answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from skyseg.data.encoding import Encoding
from skyseg.errors import printable
from skyseg.inference.overlays import outline, overlay, tint
from skyseg.inference.suspects import Answers, Look, Ranking, look
from skyseg.metrics import confident
from skyseg.metrics.confident import Thresholds
from skyseg.params import IGNORE
from skyseg.reports.audit_page import CELL, environment, uri
from skyseg.reports.sheets import FALSE_ALARM, MISS, fit

SAYS = {
    confident.MISSING: "the mask lacks foreground",
    confident.EXTRA: "the mask has too much foreground",
    confident.MISPLACED: "the mask is elsewhere: shifted, or another photograph's",
    confident.INVERTED: "the mask is inverted",
}
"""What each kind of suspicion means."""


def render_suspects(
    ranking: Ranking,
    suspects: pd.DataFrame,
    samples: pd.DataFrame,
    answers: Answers,
    encoding: Encoding,
    root: Path,
) -> str:
    """The page as HTML. Self-contained: it loads no other file or URL.

    Args:
        ranking: of all samples.
        suspects: the rows of ``ranking.table`` to show.
        samples: the rows of the manifest that were ranked.
        answers: the models, whose maps are computed again.
        encoding: what mask values mean.
        root: folder that the manifest's paths are relative to.

    Raises:
        UserError: a photograph or a mask cannot be read.
    """
    return (
        environment()
        .get_template("suspects.html")
        .render(
            cards=list(_cards(ranking, suspects, samples, answers, encoding, root)),
            total=len(samples),
            splits=samples["split"].value_counts(sort=False).to_dict(),
            limits=ranking.limits,
            iou=ranking.iou,
            models=len(answers.predictors),
            band=confident.BAND,
        )
    )


def _cards(
    ranking: Ranking,
    suspects: pd.DataFrame,
    samples: pd.DataFrame,
    answers: Answers,
    encoding: Encoding,
    root: Path,
) -> Iterator[dict[str, Any]]:
    places = {id: place for place, id in enumerate(samples["id"])}
    for suspect in suspects.itertuples():
        place = places[suspect.id]
        (row,) = samples.iloc[[place]].itertuples()
        seen = look(answers.predictors[answers.owners[place]], row, encoding, root)
        yield {
            "suspect": suspect,
            "says": SAYS[str(suspect.kind)],
            "pictures": list(pictures_of(seen, ranking.limits)),
            "command": exclude_command(str(suspect.id), SAYS[str(suspect.kind)]),
        }


def pictures_of(seen: Look, limits: Thresholds) -> Iterator[tuple[str, str]]:
    """The four pictures of a suspect as data URIs, with their captions."""
    photograph, _ = fit(seen.image, np.zeros(seen.image.shape[:2], np.uint8), CELL)
    size = (photograph.shape[1], photograph.shape[0])
    mask = np.asarray(Image.fromarray(seen.mask).resize(size, Image.Resampling.NEAREST))
    found = np.asarray(Image.fromarray(seen.probability).resize(size, Image.Resampling.BILINEAR))
    yield uri(photograph), "photograph"
    yield uri(overlay(photograph, mask)), "mask"
    yield uri(overlay(photograph, found >= 0.5)), "model"
    yield uri(disagreement(photograph, mask, found, limits)), "they differ"


def disagreement(
    photograph: np.ndarray, mask: np.ndarray, found: np.ndarray, limits: Thresholds
) -> np.ndarray:
    """Where a confident answer differs from a mask: vermillion where the mask lacks foreground,
    yellow where it has too much; the outline is the mask's.

    Args:
        photograph: uint8 [H, W, 3].
        mask: uint8 [H, W]; 0 background, 1 foreground, 255 ignore.
        found: probability of foreground, float32 [H, W].
        limits: from which probability an answer is confident.

    Returns:
        uint8 [H, W, 3].
    """
    counted = confident.without_edges(mask)
    background, foreground = confident.confident_classes(found, limits)
    grey = np.repeat(photograph.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    picture = tint(grey, (counted == 0) & foreground, FALSE_ALARM, 0.7)
    picture = tint(picture, (counted == 1) & background, MISS, 0.7)
    picture = tint(picture, mask == IGNORE, (255, 255, 255), 0.5)
    return outline(picture, mask == 1, (255, 255, 255))


def exclude_command(id: str, reason: str) -> str:
    """The command that keeps a sample out, for a shell."""
    dashes = "-- " if id.startswith("-") else ""
    return f"skyseg exclude --reason {shlex.quote(reason)} {dashes}{shlex.quote(printable(id))}"
