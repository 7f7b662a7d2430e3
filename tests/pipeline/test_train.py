"""train: what it leaves, and that a killed training goes on as if nothing had happened."""

import json

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from skyseg.errors import UserError
from skyseg.files import sha256
from skyseg.model.checkpoint import load_checkpoint, load_state
from skyseg.model.losses import SIDE_OUTPUTS
from skyseg.model.u2net import build_model
from skyseg.pipeline import train as stage
from skyseg.pipeline.prepare import prepare
from skyseg.training import engine
from tiny import make_pairs, make_params

pytest_plugins = ["mlflow_store"]


def settings(**train):
    return make_params(train={"epochs": 3, "batch_size": 4, "lr": 0.003, "device": "cpu"} | train)


@pytest.fixture
def prepared(store, monkeypatch):
    """A repository with a tiny prepared data set."""
    monkeypatch.chdir(store)
    make_pairs(store / "data", 14)
    prepare(settings(), store)
    (store / "models").mkdir()
    return store


def history(root):
    return pd.read_csv(root / "reports" / "history.csv")


def test_what_training_leaves(prepared):
    stage.train(settings(), prepared)
    config, _ = load_checkpoint(prepared / "models" / "best.safetensors")
    rows = history(prepared)
    assert rows["epoch"].tolist() == [1, 2, 3]
    expected = {f"{part}/loss" for part in ("train", "val")}
    expected |= {f"{part}/loss/{name}" for part in ("train", "val") for name in SIDE_OUTPUTS}
    expected |= {"val/iou", "val/f_max", "val/f_mean", "val/mae", "lr", "images_per_second"}
    assert expected <= set(rows.columns)
    best = rows.loc[rows["val/iou"].idxmax()]
    assert config.epoch == best["epoch"]
    assert config.val["iou"] == pytest.approx(best["val/iou"], abs=1e-5)
    assert 0 < config.threshold < 1
    assert config.params["train.lr"] == 0.003
    assert config.data["splits"]["train"]["images"] == 10
    figures = json.loads((prepared / "reports" / "train.json").read_text())
    assert figures["val"]["iou"] == pytest.approx(config.val["iou"], abs=1e-5)

    run = MlflowClient().get_run(config.run)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.lr"] == "0.003"
    for name in expected:
        assert [m.step for m in MlflowClient().get_metric_history(config.run, name)] == [1, 2, 3]
    pictures = [a.path for a in MlflowClient().list_artifacts(config.run, "images")]
    assert len([p for p in pictures if p.endswith(".png")]) == 3


# bfloat16 is trained in another memory layout, which the optimizer's state has to come back in.
@pytest.mark.parametrize(("killed_after", "precision"), [(1, "fp32"), (2, "bf16")])
def test_a_killed_training_ends_as_an_uninterrupted_one(
    prepared, monkeypatch, killed_after, precision
):
    params = settings(precision=precision)
    stage.train(params, prepared)
    whole_card, whole = load_checkpoint(prepared / "models" / "best.safetensors")
    whole_history = history(prepared)

    run_epoch = stage.run_epoch

    def dying(progress, *arguments):
        if progress.epoch == killed_after:
            raise KeyboardInterrupt
        return run_epoch(progress, *arguments)

    monkeypatch.setattr(stage, "run_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        stage.train(params, prepared)
    interrupted = load_state(prepared / "models" / "resume.safetensors")[1]["run"]
    assert MlflowClient().get_run(interrupted).info.status == "KILLED"
    for name in ("best.safetensors", "best.json"):  # as DVC does before it reruns a stage
        (prepared / "models" / name).unlink()
    monkeypatch.setattr(stage, "run_epoch", run_epoch)
    stage.train(params, prepared)

    config, model = load_checkpoint(prepared / "models" / "best.safetensors")
    assert config.run == interrupted != whole_card.run
    assert config.epoch == whole_card.epoch
    for (name, ours), theirs in zip(
        model.state_dict().items(), whole.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    same = [column for column in whole_history if column != "images_per_second"]
    pd.testing.assert_frame_equal(history(prepared)[same], whole_history[same])
    steps = [m.step for m in MlflowClient().get_metric_history(interrupted, "val/iou")]
    assert steps == [1, 2, 3]


def test_other_params_start_afresh(prepared, monkeypatch, capsys):
    run_epoch = stage.run_epoch

    def dying(progress, *arguments):
        if progress.epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(progress, *arguments)

    monkeypatch.setattr(stage, "run_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        stage.train(settings(), prepared)
    monkeypatch.setattr(stage, "run_epoch", run_epoch)
    stage.train(settings(lr=0.001, epochs=1), prepared)
    assert "starting afresh" in capsys.readouterr().out
    assert len(history(prepared)) == 1


def test_a_finished_training_trains_again(prepared):
    stage.train(settings(epochs=1), prepared)
    first = load_checkpoint(prepared / "models" / "best.safetensors")[0]
    stage.train(settings(epochs=1), prepared)
    again = load_checkpoint(prepared / "models" / "best.safetensors")[0]
    assert again.run != first.run
    assert again.fingerprint == first.fingerprint  # seeded


def test_patience_stops_early(prepared, monkeypatch):
    worse = iter([0.9, 0.8, 0.7, 0.6])
    evaluate = engine.evaluate
    monkeypatch.setattr(engine, "evaluate", lambda *args: evaluate(*args) | {"iou": next(worse)})
    stage.train(settings(epochs=4, patience=2), prepared)
    assert history(prepared)["epoch"].tolist() == [1, 2, 3]
    assert load_checkpoint(prepared / "models" / "best.safetensors")[0].epoch == 1


def test_initial_weights_are_used(prepared):
    torch.manual_seed(123)
    torch.save(build_model("u2netp").state_dict(), prepared / "start.pth")
    params = settings().model_copy(
        update={"model": settings().model.model_copy(update={"init": "start.pth"})}
    )
    model, fingerprint = stage.initial_model(params, prepared)
    assert fingerprint == sha256(prepared / "start.pth")
    state = model.state_dict()
    expected = torch.load(prepared / "start.pth", weights_only=True)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("init", "message"),
    [("missing.pth", "no such file"), ("half.pth", "weights of u2net_half: set model.variant")],
)
def test_unusable_initial_weights(prepared, init, message):
    if init == "half.pth":
        torch.save(build_model("u2net_half").state_dict(), prepared / init)
    model = settings().model.model_copy(update={"init": init})
    with pytest.raises(UserError, match=message):
        stage.initial_model(settings().model_copy(update={"model": model}), prepared)


def test_nothing_prepared(store):
    with pytest.raises(UserError, match="prepared"):
        stage.train(settings(), store)


def test_a_store_that_is_down_stops_before_training(prepared, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer"):
        stage.train(settings(), prepared)
    assert not (prepared / "models" / "best.safetensors").exists()
