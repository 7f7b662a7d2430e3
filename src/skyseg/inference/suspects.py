"""Ranks the samples of a data set by how much models' confident answers disagree with the masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import resize_mask
from skyseg.data.parallel import in_order
from skyseg.inference.predictor import Predictor
from skyseg.inference.scoring import read_pair
from skyseg.metrics import confident, counts
from skyseg.metrics.confident import Thresholds

BATCH = 8  # photographs in one forward pass

COLUMNS = ("rank", "id", "split", "score", "share", "kind")


class Answers(NamedTuple):
    """Models, and which of them answers for which sample."""

    predictors: list[Predictor]
    owners: NDArray[np.int64]
    """For each sample, the index of a model that has not trained on it."""


class Look(NamedTuple):
    """A sample and a model's answer, at the size of the network's map, whose aspect ratio may
    differ from the photograph's."""

    image: NDArray[np.uint8]
    """[H, W, 3], the whole photograph."""
    mask: NDArray[np.uint8]
    """[side, side]; 0 background, 1 foreground, 255 ignore."""
    probability: NDArray[np.float32]
    """[side, side], of foreground."""


class Ranking(NamedTuple):
    """All samples, the most suspect first."""

    table: pd.DataFrame
    """Columns ``COLUMNS``, and the index of the samples given."""
    limits: Thresholds
    """From which probability an answer is confident."""
    iou: float
    """Of the maps at 0.5 with the masks, pooled over the pixels that are counted."""


def rank(answers: Answers, samples: pd.DataFrame, encoding: Encoding, root: Path) -> Ranking:
    """Compare all samples with the models' answers.

    A few photographs are in memory at a time, and a histogram for each sample.

    Args:
        answers: the models.
        samples: rows of the manifest.
        encoding: what mask values mean.
        root: folder that the manifest's paths are relative to.

    Raises:
        UserError: a photograph or a mask cannot be read.
    """
    histograms = np.zeros((len(samples), 2, counts.BINS), np.int64)
    for number, predictor in enumerate(answers.predictors):
        rows = np.flatnonzero(answers.owners == number)
        compared = _compare(predictor, samples.iloc[rows], encoding, root)
        for row, (mask, probability) in zip(rows, compared, strict=True):
            histograms[row] = confident.histogram(probability, mask)
    limits = confident.thresholds(histograms)
    found = [
        confident.suspicion(joint, int(histogram.sum()))
        for joint, histogram in zip(
            confident.confident_joint(histograms, limits), histograms, strict=True
        )
    ]
    table = samples[["id", "split"]].join(pd.DataFrame(found, index=samples.index))
    table = table.sort_values(["score", "id"], ascending=[False, True])
    table["rank"] = np.arange(1, len(table) + 1)
    iou = float(counts.iou(counts.at(histograms.sum(axis=0), 0.5)))
    return Ranking(table[list(COLUMNS)], limits, iou)


def look(predictor: Predictor, row: Any, encoding: Encoding, root: Path) -> Look:
    """One row of the manifest, from ``itertuples``, with a model's answer.

    Raises:
        UserError: the photograph or the mask cannot be read.
    """
    image, mask = read_pair(row, root, encoding)
    ((mask, probability),) = _answer(predictor, [(predictor.preprocess(image), mask)])
    return Look(image, mask, probability)


def _compare(
    predictor: Predictor, samples: pd.DataFrame, encoding: Encoding, root: Path
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """``_answer`` for each sample, while other threads decode the next ones."""

    def load(row: Any) -> tuple[Any, NDArray[np.uint8]]:
        image, mask = read_pair(row, root, encoding)
        return predictor.preprocess(image), mask

    batch: list[tuple[Any, NDArray[np.uint8]]] = []
    for loaded in in_order(load, list(samples.itertuples()), "auditing"):
        batch.append(loaded)
        if len(batch) == BATCH:
            yield from _answer(predictor, batch)
            batch = []
    if batch:
        yield from _answer(predictor, batch)


def _answer(
    predictor: Predictor, batch: Sequence[tuple[Any, NDArray[np.uint8]]]
) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Masks and foreground probabilities at the size of the network's map, uint8 and float32
    [side, side]. The map is as the network gives it: neither refined nor emptied."""
    logits = predictor.forward([inputs for inputs, _ in batch])
    maps = torch.sigmoid(logits.float()).cpu().numpy()
    return [
        (resize_mask(mask, found.shape[0]), found)
        for (_, mask), found in zip(batch, maps, strict=True)
    ]
