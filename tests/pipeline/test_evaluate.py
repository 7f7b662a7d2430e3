"""evaluate: scores at the photographs' own resolution, reports, one registered version."""

import json

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from skyseg.commands.promote import promote
from skyseg.data.pictures.codec import read
from skyseg.errors import UserError
from skyseg.files import sha256
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.metrics import counts
from skyseg.metrics import suite as metrics
from skyseg.pipeline.evaluate import evaluate, score
from skyseg.pipeline.train import train
from skyseg.provenance import code_digest
from tiny import TRAINED, make_params

PARAMS = TRAINED


def test_everything_that_evaluate_writes(trained_workspace):
    root = trained_workspace
    evaluate(PARAMS, root)
    scores = json.loads((root / "reports" / "metrics.json").read_text())["test"]
    assert set(scores) | {"false_alarms", "thin_recall"} == {
        *metrics.METRICS,
        "threshold",
        "images",
    }

    # The same scores computed by hand, from the files alone.
    manifest = pd.read_csv(root / "prepared" / "manifest.csv", dtype={"id": str})
    test = manifest[manifest["split"] == "test"]
    predictor = CheckpointPredictor(root / "models" / "best.safetensors", "cpu")
    tp = union = 0
    for row in test.itertuples():
        found = probability(predictor, read(root / row.image).pixels) >= predictor.config.threshold
        truth = np.asarray(Image.open(root / row.mask)) > 0
        assert found.shape == truth.shape  # the photograph's own size
        tp, union = tp + (found & truth).sum(), union + (found | truth).sum()
    assert scores["images"] == len(test) == 2
    assert scores["iou"] == pytest.approx(tp / union, abs=1e-5)
    assert scores["threshold"] == pytest.approx(predictor.config.threshold, abs=1e-6)

    table = pd.read_csv(root / "reports" / "evaluate" / "per_image.csv", dtype={"id": str})
    assert table["id"].tolist() == test["id"].tolist()
    assert table["iou"].mean() == pytest.approx(scores["iou_image"], abs=1e-5)
    assert len(pd.read_csv(root / "reports" / "evaluate" / "thresholds.csv")) == counts.BINS
    for picture in ("curves.png", "gallery.png"):
        assert min(Image.open(root / "reports" / "evaluate" / picture).size) > 100
    page = (root / "reports" / "report.html").read_text()
    assert f"{scores['boundary_f']:.4f}" in page
    card = (root / "reports" / "model_card.md").read_text()
    assert predictor.config.fingerprint in card
    assert f"| iou | {scores['iou']:.4f} |" in card

    version = MlflowClient().get_model_version_by_alias("skyseg", "challenger")
    assert str(version.version) == "1"
    assert version.tags["fingerprint"] == predictor.config.fingerprint
    run = MlflowClient().get_run(predictor.config.run)
    assert run.data.metrics["test/iou"] == pytest.approx(scores["iou"], abs=1e-5)


def test_the_comparison_with_the_champion_is_printed(trained_workspace, capsys):
    evaluate(PARAMS, trained_workspace)
    assert "there is no champion yet" in capsys.readouterr().out
    promote(PARAMS, trained_workspace)
    evaluate(PARAMS, trained_workspace)
    assert "this model is already the champion, version 1" in capsys.readouterr().out
    longer = make_params(
        train={"epochs": 2, "batch_size": 4, "device": "cpu"},
        evaluate={"gallery": 3, "batch_size": 2},
    )
    train(longer, trained_workspace)
    evaluate(longer, trained_workspace)
    printed = capsys.readouterr().out
    assert "compared with the champion, version 1, on the same photographs:" in printed
    [row] = [line.split() for line in printed.splitlines() if line.startswith("iou ")]
    assert float(row[1]) - float(row[2]) == pytest.approx(float(row[3]), abs=2e-4)

    MlflowClient().set_model_version_tag("skyseg", "1", "scoring", "an earlier release")
    evaluate(longer, trained_workspace)
    assert "version 1, was scored on other data or with other code" in capsys.readouterr().out


def test_evaluating_twice_registers_one_version(trained_workspace):
    evaluate(PARAMS, trained_workspace)
    evaluate(PARAMS, trained_workspace)
    assert len(MlflowClient().search_model_versions("name = 'skyseg'")) == 1


def test_score_agrees_with_what_evaluate_reports(trained_workspace):
    evaluate(PARAMS, trained_workspace)
    written = json.loads((trained_workspace / "reports" / "metrics.json").read_text())
    weights = trained_workspace / "models" / "best.safetensors"
    again = score(weights, PARAMS, trained_workspace).result.scores
    assert again == pytest.approx(written["test"], abs=1e-5)
    assert written["weights"] == sha256(weights)
    assert written["scoring"] == code_digest("scoring")


def test_reports_are_written_even_if_the_store_is_down(trained_workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        evaluate(PARAMS, trained_workspace)
    assert (trained_workspace / "reports" / "metrics.json").is_file()
    assert (trained_workspace / "reports" / "model_card.md").is_file()


def test_no_checkpoint_and_no_test_split(trained_workspace):
    manifest = trained_workspace / "prepared" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",test,", ",train,"))
    with pytest.raises(UserError, match=r"evaluate\.split: no sample is in the split 'test'"):
        evaluate(PARAMS, trained_workspace)
    (trained_workspace / "models" / "best.json").unlink()
    with pytest.raises(UserError, match=r"best\.json"):
        score(
            trained_workspace / "models" / "best.safetensors",
            make_params(evaluate={"split": "val"}),
            trained_workspace,
        )
