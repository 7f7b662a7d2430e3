"""Scores of a model on a prepared split, each photograph at its own resolution."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyseg.data import pictures
from skyseg.data.encoding import Encoding
from skyseg.data.masks import read_mask
from skyseg.data.parallel import in_order
from skyseg.inference.predictor import Predictor, probabilities
from skyseg.metrics import slices, suite


class Pair(NamedTuple):
    image: NDArray[np.uint8]
    """[H, W, 3], RGB."""
    mask: NDArray[np.uint8]
    """[H, W]; 0 background, 1 foreground, 255 ignore."""


class SplitScores(NamedTuple):
    """What a model scores on a split."""

    histograms: NDArray[np.int64]
    """[N, 2, 256], one an image; see ``skyseg.metrics.counts``."""
    scorer: suite.Scorer
    """Scores of any of the images, by row."""
    scores: dict[str, float]
    """Of all."""
    per_image: pd.DataFrame
    """A row an image, in the manifest's order: id, scores, and what it is sliced by."""

    @property
    def worst_first(self) -> pd.DataFrame:
        """``per_image`` by IoU; the index stays that of the manifest."""
        return self.per_image.sort_values(["iou", "id"])


def score_split(
    predictor: Predictor, root: Path, manifest: pd.DataFrame, encoding: Encoding, batch_size: int
) -> SplitScores:
    """Score each photograph, decoding some while others are scored.

    Args:
        predictor: the model.
        root: what the manifest's paths are relative to.
        manifest: the split's rows.
        encoding: what mask values mean.
        batch_size: photographs in one forward pass.

    Raises:
        UserError: a photograph or a mask that cannot be read.
    """
    stats: list[suite.ImageStats] = []
    traits: list[dict[str, float]] = []
    batch: list[Pair] = []
    load: Callable[[Any], Pair] = partial(read_pair, root=root, encoding=encoding)
    for pair in in_order(load, list(manifest.itertuples()), "scoring"):
        batch.append(pair)
        if len(batch) == batch_size or len(stats) + len(batch) == len(manifest):
            maps = probabilities(predictor, [pair.image for pair in batch])
            stats += [
                suite.full_image_stats(found, pair.mask, predictor.threshold)
                for found, pair in zip(maps, batch, strict=True)
            ]
            traits += [slices.traits(*pair) for pair in batch]
            batch = []
    scorer = suite.scorer(stats, predictor.threshold)
    per_image = pd.DataFrame(
        [
            {"id": name, **suite.image_scores(one, predictor.threshold), **its}
            for name, one, its in zip(manifest["id"], stats, traits, strict=True)
        ]
    )
    histograms = np.stack([one.histogram for one in stats])
    return SplitScores(histograms, scorer, scorer(np.arange(len(stats))), per_image)


def read_pair(row: Any, root: Path, encoding: Encoding) -> Pair:
    """Decode the photograph and the mask of a row of the manifest, as itertuples gives it."""
    return Pair(pictures.read(root / row.image).pixels, read_mask(root / row.mask, encoding))
