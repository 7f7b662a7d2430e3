"""Score a model on a prepared split, each photograph at its own resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.parallel import in_order
from skyseg.data.pictures import codec
from skyseg.inference.predictor import Predictor, probabilities
from skyseg.metrics import slices, suite


class Pair(NamedTuple):
    image: NDArray[np.uint8]
    """[H, W, 3], RGB."""
    mask: NDArray[np.uint8]
    """[H, W]; 0 background, 1 foreground, 255 ignore."""


class SplitScores(NamedTuple):
    """Scores of a model on a split."""

    stats: list[suite.ImageStats]
    """One per image."""
    scorer: suite.Scorer
    """Computes the scores of any subset of the images, given by row."""
    scores: dict[str, float]
    """Over all images."""
    per_image: pd.DataFrame
    """One row per image, in the manifest's order: id, scores, and the traits that slices use."""

    @property
    def histograms(self) -> NDArray[np.int64]:
        """[N, 2, 256], one per image; see ``skyseg.metrics.counts``."""
        return np.stack([one.histogram for one in self.stats])

    @property
    def worst_first(self) -> pd.DataFrame:
        """``per_image`` sorted by IoU, lowest first; keeps the manifest's index."""
        return self.per_image.sort_values(["iou", "id"])


def score_split(
    predictor: Predictor, root: Path, manifest: pd.DataFrame, encoding: Encoding, batch_size: int
) -> SplitScores:
    """Score each photograph, while other threads decode the next ones.

    Args:
        predictor: the model.
        root: folder that the manifest's paths are relative to.
        manifest: the split's rows.
        encoding: what mask values mean.
        batch_size: photographs per forward pass.

    Raises:
        UserError: a photograph or a mask cannot be read.
    """
    load: Callable[[Any], Pair] = partial(read_pair, root=root, encoding=encoding)
    pairs = in_order(load, list(manifest.itertuples()), "scoring")
    return score_pairs(predictor, list(manifest["id"]), pairs, batch_size)


def score_pairs(
    predictor: Predictor, ids: list[str], pairs: Iterable[Pair], batch_size: int
) -> SplitScores:
    """The same for photographs that have been decoded.

    Args:
        predictor: the model.
        ids: of the photographs.
        pairs: the photographs, in the same order.
        batch_size: photographs per forward pass.
    """
    stats: list[suite.ImageStats] = []
    traits: list[dict[str, float]] = []
    batch: list[Pair] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == batch_size or len(stats) + len(batch) == len(ids):
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
            {"id": name, **suite.image_scores(one, predictor.threshold), **image_traits}
            for name, one, image_traits in zip(ids, stats, traits, strict=True)
        ]
    )
    return SplitScores(stats, scorer, scorer(np.arange(len(stats))), per_image)


def read_pair(row: Any, root: Path, encoding: Encoding) -> Pair:
    """Decode the photograph and the mask of a row of the manifest, from ``itertuples``."""
    return Pair(codec.read(root / row.image).pixels, read_mask(root / row.mask, encoding))
