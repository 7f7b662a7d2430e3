"""The page of masks that are probably wrong: each with its photograph and a model's answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import pandas as pd
from PIL import Image

from skyseg.data.manifest import SPLITS
from skyseg.data.masks.encoding import Encoding
from skyseg.errors import printable
from skyseg.files import atomic_write, write_csv, write_text
from skyseg.inference.overlays import outline, overlay, tint
from skyseg.inference.suspects import Answers, Look, Ranking, look
from skyseg.metrics import confident
from skyseg.metrics.confident import Thresholds
from skyseg.params import IGNORE
from skyseg.reports.audit_page import data_uri, environment, jpeg
from skyseg.reports.sheets import FALSE_ALARM, MISS, fit
from skyseg.reports.suspects_files import CAPTIONS, PAGE, PICTURES, TABLE, picture_name

SAYS = {
    confident.MISSING: "the mask lacks foreground",
    confident.EXTRA: "the mask has too much foreground",
    confident.MISPLACED: "the mask is elsewhere: shifted, or another photograph's",
    confident.INVERTED: "the mask is inverted",
}
"""What each kind of suspicion means."""


CELL = (400, 320)  # of a picture; pixels


class Card(NamedTuple):
    """What is shown of a suspect."""

    suspect: Any
    """Its row in the ranking, from ``itertuples``."""
    pictures: list[bytes]
    """A JPEG for each of ``CAPTIONS``."""


def make_cards(
    ranking: Ranking,
    suspects: pd.DataFrame,
    samples: pd.DataFrame,
    answers: Answers,
    encoding: Encoding,
    root: Path,
) -> list[Card]:
    """Compute the answers for suspects again, and draw them.

    Args:
        ranking: of all samples.
        suspects: the rows of ``ranking.table`` to show.
        samples: the rows of the manifest that were ranked.
        answers: the models.
        encoding: what mask values mean.
        root: folder that the manifest's paths are relative to.

    Raises:
        UserError: a photograph or a mask cannot be read.
    """
    places = {id: place for place, id in enumerate(samples["id"])}

    def card(suspect: Any) -> Card:
        place = places[suspect.id]
        (row,) = samples.iloc[[place]].itertuples()
        seen = look(answers.predictors[answers.owners[place]], row, encoding, root)
        return Card(suspect, [jpeg(picture) for picture in pictures_of(seen, ranking.limits)])

    return [card(suspect) for suspect in suspects.itertuples()]


def write_results(
    out: Path, ranking: Ranking, suspects: pd.DataFrame, cards: list[Card], models: int
) -> None:
    """Write the table, the page and the pictures. Where the table is, the others belong to it."""
    out.mkdir(parents=True, exist_ok=True)
    (out / TABLE).unlink(missing_ok=True)
    with atomic_write(out / PICTURES) as temporary, ZipFile(temporary, "w") as archive:
        for card in cards:
            for caption, picture in zip(CAPTIONS, card.pictures, strict=True):
                archive.writestr(picture_name(card.suspect.rank, caption), picture)
    write_text(out / PAGE, render_suspects(ranking, cards, models))
    write_csv(out / TABLE, suspects)


def render_suspects(ranking: Ranking, cards: list[Card], models: int) -> str:
    """The page as HTML. Self-contained: it loads no other file or URL.

    Args:
        ranking: of all samples.
        cards: the suspects, the worst first.
        models: how many have answered.
    """
    return (
        environment()
        .get_template("suspects.html")
        .render(
            cards=[
                {
                    "suspect": suspect,
                    "says": SAYS[suspect.kind],
                    "pictures": list(zip(map(data_uri, pictures), CAPTIONS, strict=True)),
                    "command": exclude_command(suspect.id, SAYS[suspect.kind]),
                }
                for suspect, pictures in cards
            ],
            total=len(ranking.table),
            splits={
                split: int((ranking.table["split"] == split).sum())
                for split in SPLITS
                if (ranking.table["split"] == split).any()
            },
            limits=ranking.limits,
            iou=ranking.iou,
            models=models,
            band=confident.BAND,
        )
    )


def pictures_of(seen: Look, limits: Thresholds) -> Iterator[np.ndarray]:
    """The pictures of a suspect, uint8 [H, W, 3], in the order of ``CAPTIONS``."""
    photograph, _ = fit(seen.image, np.zeros(seen.image.shape[:2], np.uint8), CELL)
    size = (photograph.shape[1], photograph.shape[0])
    mask = np.asarray(Image.fromarray(seen.mask).resize(size, Image.Resampling.NEAREST))
    found = np.asarray(Image.fromarray(seen.probability).resize(size, Image.Resampling.BILINEAR))
    yield photograph
    yield overlay(photograph, mask)
    yield overlay(photograph, found >= 0.5)
    yield disagreement(photograph, mask, found, limits)


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
