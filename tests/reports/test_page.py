"""The HTML page: whole, self-contained, and with what it was given in it."""

import re

import numpy as np
import pandas as pd
import pytest

from skyseg.metrics import slices
from skyseg.metrics import suite as metrics
from skyseg.metrics.calibration import reliability
from skyseg.model.checkpoint import ModelConfig
from skyseg.reports import page, report
from tiny import photograph, sky

CARD = ModelConfig(variant="u2netp", size=64, threshold=0.5, fingerprint="f" * 64, epoch=2)
HISTORY = pd.DataFrame(
    [
        {"epoch": 1, "train/loss": 2.0, "val/loss": 2.1, "val/iou": 0.5, "val/f_max": 0.6},
        {"epoch": 2, "train/loss": 1.0, "val/loss": 1.2, "val/iou": 0.7, "val/f_max": 0.8},
    ]
)


@pytest.fixture(scope="module")
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
        config=CARD,
        split="test",
        decided="masks: 0/255",
        scores=scorer(np.arange(5)),
        intervals={"iou": (0.123, 0.987)},
        thresholds=report.threshold_table(histograms),
        reliability=reliability(histograms.sum(0)),
        slices=by_slice,
        weakest=slices.worst(by_slice),
        history=HISTORY,
        champion=None,
        model_card="# A config\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    )


def findings(*captions):
    mask = sky(0.5).astype(np.uint8)
    return [(photograph(1), mask == 1, mask, caption) for caption in captions]


def test_the_page_needs_nothing_but_itself(evaluation):
    html = page.render(evaluation, findings("w1", "w2"), findings("b1"))
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert "http" not in re.sub(r'"data:[^"]*"', "", html)
    assert html.count("data:image/jpeg") == 6
    assert html.count("data:image/svg+xml") == 3


def test_scores_intervals_slices_galleries_and_config_are_there(evaluation):
    html = page.render(evaluation, findings("street_7  IoU 0.123"), [])
    for name in metrics.METRICS:
        if name in evaluation.scores:
            assert f'<code>{name}</code></td><td class="n">{evaluation.scores[name]:.4f}' in html
    for expected in (
        "0.123 to",
        "street_7  IoU 0.123",
        "<td>10 to 30 %</td>",
        "Masks: 0/255.",
        "There is no champion yet",
        "<h1>A config</h1>",
        "<td>2</td>",
    ):
        assert expected in html
    assert "<h2>Best</h2>" not in html


def test_the_same_evaluation_gives_the_same_page(evaluation):
    assert page.render(evaluation, findings("a"), []) == page.render(evaluation, findings("a"), [])


def test_a_champion_on_the_same_data_is_compared(evaluation):
    theirs = evaluation.scores | {"iou": evaluation.scores["iou"] + 0.1, "mae": 0.9}
    html = page.render(evaluation._replace(champion=page.Champion("3", False, theirs)), [], [])
    assert "Version 3, on the same photographs" in html
    rows = re.findall(r'class="n (good|bad|)">\s*([+-][\d.]+)', html)
    assert ("bad", "-0.1000") in rows
    assert ("good", f"{evaluation.scores['mae'] - 0.9:+.4f}") in rows  # lower is better


def test_a_champion_on_other_data_is_not(evaluation):
    html = page.render(evaluation._replace(champion=page.Champion("3", False, None)), [], [])
    assert "version 3, was measured on other data" in html


def test_the_champion_itself_is_not_compared_with_itself(evaluation):
    theirs = page.Champion("3", True, evaluation.scores)
    html = page.render(evaluation._replace(champion=theirs), [], [])
    assert "This model is the champion, version 3." in html
    assert "+0.0000" not in html


def test_names_cannot_become_markup(evaluation):
    html = page.render(evaluation, findings("<script>alert(1)</script>"), [])
    assert "<script>" not in html
