"""Tables and pictures that people read after a run."""

import json

import numpy as np
import pandas as pd
import pytest

from skyseg.metrics import suite as metrics
from skyseg.model.checkpoint import ModelConfig
from skyseg.reports import report


@pytest.fixture
def stats():
    rng = np.random.default_rng(0)
    masks = (rng.random((3, 20, 20)) > 0.6).astype(np.uint8)
    maps = np.clip(masks * 0.5 + rng.random((3, 20, 20)) * 0.5, 0, 1).astype(np.float32)
    return [metrics.image_stats(p, m) for p, m in zip(maps, masks, strict=True)]


def test_threshold_table_holds_the_summarys_figures(stats):
    table = report.threshold_table(np.stack([s.histogram for s in stats]))
    scores = metrics.summarise(stats, 0.5)
    row = table[table["threshold"] == 0.5].iloc[0]
    assert row["iou"] == pytest.approx(scores["iou"])
    assert table["f"].max() == pytest.approx(scores["f_max"])
    assert table["f"].mean() == pytest.approx(scores["f_mean"])


def test_curves_are_a_picture_with_something_in_it(stats):
    scores = metrics.summarise(stats, 0.5)
    picture = report.curves(report.threshold_table(np.stack([s.histogram for s in stats])), scores)
    assert picture.size == (1320, 528)
    assert len(picture.getcolors(1 << 20)) > 100


def test_json_is_rounded_and_numbers_survive(tmp_path):
    report.write_json(tmp_path / "a" / "m.json", {"test": {"iou": 1 / 3, "images": 7}})
    assert json.loads((tmp_path / "a" / "m.json").read_text()) == {
        "test": {"iou": 0.333333, "images": 7}
    }


def test_history_columns_are_the_names_mlflow_shows(tmp_path):
    rows = [
        {"epoch": 1, "train/loss": 2.0, "val/iou": 0.5},
        {"epoch": 2, "train/loss": 1.0, "val/iou": 0.625},
    ]
    report.write_history(tmp_path / "history.csv", rows)
    assert pd.read_csv(tmp_path / "history.csv").to_dict("records") == rows


def test_model_config_says_where_a_model_comes_from(stats):
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
    worst = pd.DataFrame([{"id": "street_7", "iou": 0.1, "foreground": 0.2, "predicted": 0.9}])
    text = report.model_card(config, metrics.summarise(stats, 0.25), "test", "masks: 0/1", worst)
    for expected in (
        "f" * 64,
        "d" * 64,
        "c" * 40,
        "r" * 32,
        "12 train, 3 test",
        "masks: 0/1",
        "street_7",
        "random weights",
        "0.2500",
        "resized back to the photograph's",
        "every photograph is taken to have some",
    ):
        assert expected in text
    fine = report.model_card(
        config.model_copy(update={"refine": "colour", "presence": 0.75}),
        metrics.summarise(stats, 0.25),
        "test",
        "masks: 0/1",
        worst,
    )
    assert "brought to (refinement `colour`) the photograph's own size" in fine
    assert "stays below 0.750" in fine
