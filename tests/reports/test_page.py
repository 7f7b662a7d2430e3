"""The HTML page is complete and self-contained; the model card."""

import re

import numpy as np
import pandas as pd

from skyseg.metrics import suite as metrics
from skyseg.model.checkpoint import ModelConfig
from skyseg.reports import page
from tiny import photograph, sky


def findings(*captions):
    mask = sky(0.5).astype(np.uint8)
    return [(photograph(1), mask == 1, mask, caption) for caption in captions]


def test_the_page_is_self_contained(evaluation):
    html = page.render_page(evaluation, findings("w1", "w2"), findings("b1"))
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert "http" not in re.sub(r'"data:[^"]*"', "", html)
    assert html.count("data:image/jpeg") == 6
    assert html.count("data:image/svg+xml") == 3


def test_the_page_has_scores_intervals_slices_galleries_and_model_card(evaluation):
    html = page.render_page(evaluation, findings("street_7  IoU 0.123"), [])
    for name in metrics.METRICS:
        if name in evaluation.scores:
            assert f'<code>{name}</code></td><td class="n">{evaluation.scores[name]:.4f}' in html
    for expected in (
        "0.123 to",
        "street_7  IoU 0.123",
        "<td>10 to 30 %</td>",
        "Masks: 0/255.",
        "<h1>A card</h1>",
        "<td>2</td>",
    ):
        assert expected in html
    assert "<h2>Best</h2>" not in html


def test_the_same_evaluation_gives_the_same_page(evaluation):
    assert page.render_page(evaluation, findings("a"), []) == page.render_page(
        evaluation, findings("a"), []
    )


def test_the_page_does_not_mention_the_champion(evaluation):
    """DVC can restore the page from its cache, when the champion may be another one."""
    assert "champion" not in page.render_page(evaluation, findings("a"), []).lower()


def test_names_cannot_become_markup(evaluation):
    html = page.render_page(evaluation, findings("<script>alert(1)</script>"), [])
    assert "<script>" not in html


def test_the_model_card_has_provenance_data_threshold_and_worst_images(evaluation):
    config = ModelConfig(
        variant="u2netp",
        size=64,
        threshold=0.25,
        fingerprint="f" * 64,
        epoch=3,
        val={"iou": 0.9},
        run="r" * 32,
        git_commit="c" * 40,
        params={"train.epochs": 5, "train.seed": 1, "model.init": None},
        data={
            "fingerprint": "d" * 64,
            "dvc_md5": None,
            "splits": {"train": {"images": 12}, "test": {"images": 3}},
        },
    )
    worst = pd.DataFrame([{"id": "street|7\n", "iou": 0.1, "foreground": 0.2, "predicted": 0.9}])
    text = page.render_model_card(config, evaluation.scores, "test", "masks: 0/1", worst)
    for expected in (
        "f" * 64,
        "d" * 64,
        "c" * 40,
        "r" * 32,
        "12 train, 3 test",
        "Masks: 0/1.",
        "| street\\|7 | 0.100 | 0.200 | 0.900 |",
        "random weights",
        "0.2500",
        "resized back to the",
        "Every photograph is assumed to have some",
    ):
        assert expected in text
    refined = page.render_model_card(
        config.model_copy(update={"refine": "colour", "presence": 0.75}),
        evaluation.scores,
        "test",
        "masks: 0/1",
        worst,
    )
    assert "upsampled (refinement `colour`) to" in refined
    assert "have a mean below\n0.750, the answer" in refined
