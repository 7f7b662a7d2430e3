"""An evaluation, for the tests of what is written about it."""

import numpy as np
import pandas as pd
import pytest

from skyseg.metrics import slices
from skyseg.metrics import suite as metrics
from skyseg.metrics.calibration import reliability
from skyseg.model.checkpoint import ModelConfig
from skyseg.reports import page
from tiny import photograph, sky

CONFIG = ModelConfig(variant="u2netp", size=64, threshold=0.5, fingerprint="f" * 64, epoch=2)
HISTORY = pd.DataFrame(
    [
        {"epoch": 1, "train/loss": 2.0, "val/loss": 2.1, "val/iou": 0.5, "val/f_max": 0.6},
        {"epoch": 2, "train/loss": 1.0, "val/loss": 1.2, "val/iou": 0.7, "val/f_max": 0.8},
    ]
)


@pytest.fixture(scope="session")
def evaluation():
    pairs = [
        (photograph(k), sky(share).astype(np.uint8))
        for k, share in enumerate([0.0, 0.2, 0.4, 0.5, 0.7])
    ]
    maps = [
        np.clip(mask * 0.6 + image[..., 0] / 640, 0, 1).astype(np.float32) for image, mask in pairs
    ]
    stats = [
        metrics.full_image_stats(found, mask, 0.5)
        for found, (_, mask) in zip(maps, pairs, strict=True)
    ]
    scorer = metrics.scorer(stats, 0.5)
    histograms = np.stack([one.histogram for one in stats])
    per_image = pd.DataFrame(
        [
            metrics.image_scores(one, 0.5) | slices.traits(*pair)
            for one, pair in zip(stats, pairs, strict=True)
        ]
    )
    parts = slices.assign(per_image, pd.DataFrame(index=range(5)))
    by_slice = slices.table(parts, scorer)
    return page.Evaluation(
        config=CONFIG,
        split="test",
        decided="masks: 0/255",
        scores=scorer(np.arange(5)),
        intervals={"iou": (0.123, 0.987)},
        thresholds=metrics.threshold_table(histograms),
        reliability=reliability(histograms.sum(0)),
        slices=by_slice,
        weakest=slices.worst(by_slice),
        history=HISTORY,
        model_card="# A card\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    )
