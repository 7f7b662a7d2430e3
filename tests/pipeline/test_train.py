"""train: what it writes, and that a killed training resumes as if it had not been interrupted."""

import json
import math
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from skyseg import provenance
from skyseg.errors import Terminated, UserError, exit_code
from skyseg.files import locked, sha256
from skyseg.model.checkpoint import load_checkpoint, load_config, load_state
from skyseg.model.device import pick_hardware
from skyseg.model.losses import SIDE_OUTPUTS
from skyseg.model.u2net import build_model
from skyseg.pipeline import train as stage
from skyseg.tracking import runs, unsent
from skyseg.training import engine, fit
from tiny import make_params


def settings(**train):
    return make_params(train={"epochs": 3, "batch_size": 4, "lr": 0.003, "device": "cpu"} | train)


def history(root):
    return pd.read_csv(root / "reports" / "history.csv")


def test_everything_that_training_writes(prepared):
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
    scores = json.loads((prepared / "reports" / "train.json").read_text())
    assert scores["val"]["iou"] == pytest.approx(config.val["iou"], abs=1e-5)

    run = MlflowClient().get_run(config.run)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.lr"] == "0.003"
    for name in expected:
        assert [m.step for m in MlflowClient().get_metric_history(config.run, name)] == [1, 2, 3]
    pictures = [a.path for a in MlflowClient().list_artifacts(config.run, "images")]
    assert len([p for p in pictures if p.endswith(".png")]) == 3


# bfloat16 trains in another memory layout, which the optimizer's state must have after loading.
@pytest.mark.parametrize(
    ("killed_after", "precision"), [(1, "fp32"), pytest.param(2, "bf16", marks=pytest.mark.slow)]
)
def test_a_resumed_training_gives_the_same_result_as_an_uninterrupted_one(
    prepared, monkeypatch, killed_after, precision
):
    params = settings(precision=precision)
    stage.train(params, prepared)
    whole_config, whole = load_checkpoint(prepared / "models" / "best.safetensors")
    whole_history = history(prepared)
    (prepared / "models" / "resume.safetensors").unlink()

    train_and_interrupt(params, prepared, monkeypatch, killed_after)
    interrupted = load_state(prepared / "models" / "resume.safetensors")[1]["run"]
    assert MlflowClient().get_run(interrupted).info.status == "KILLED"
    for name in ("best.safetensors", "best.json"):  # as DVC does before it reruns a stage
        (prepared / "models" / name).unlink()
    stage.train(params, prepared)

    config, model = load_checkpoint(prepared / "models" / "best.safetensors")
    assert config.run == interrupted != whole_config.run
    assert config.epoch == whole_config.epoch
    for (name, ours), theirs in zip(
        model.state_dict().items(), whole.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    same = [column for column in whole_history if column != "images_per_second"]
    pd.testing.assert_frame_equal(history(prepared)[same], whole_history[same])
    steps = [m.step for m in MlflowClient().get_metric_history(interrupted, "val/iou")]
    assert steps == [1, 2, 3]


def train_and_interrupt(params, root, monkeypatch, after: int) -> None:
    """Train until ``after`` epochs are done, then interrupt the training."""
    run_epoch = fit.run_epoch

    def interrupting(learner, arrays, train, hardware, progress, *callbacks):
        if progress.epoch == after:
            raise KeyboardInterrupt
        return run_epoch(learner, arrays, train, hardware, progress, *callbacks)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "run_epoch", interrupting)
        with pytest.raises(KeyboardInterrupt):
            stage.train(params, root)


def test_other_settings_start_from_scratch_and_the_old_ones_go_on(prepared, monkeypatch, capsys):
    train_and_interrupt(settings(epochs=2), prepared, monkeypatch, 1)
    begun = load_state(prepared / "models" / "resume.safetensors")[1]["run"]
    stage.train(settings(lr=0.001, epochs=1), prepared)
    printed = capsys.readouterr().out
    assert "had finished 1 of 2 epochs: it is kept as resume.previous.safetensors" in printed
    assert "starting from scratch" in printed
    assert len(history(prepared)) == 1

    stage.train(settings(epochs=2), prepared)
    assert "resuming after epoch 1" in capsys.readouterr().out
    assert load_config(prepared / "models" / "best.safetensors").run == begun


def test_settings_that_do_not_affect_training_resume(prepared, monkeypatch, capsys):
    train_and_interrupt(settings(), prepared, monkeypatch, 2)
    changed = make_params(
        train={"epochs": 3, "batch_size": 4, "lr": 0.003, "device": "cpu", "patience": 2},
        model={"size": 32, "refine": "colour"},
        evaluate={"gallery": 7},
        promote={"min_gain": 0.1},
        registry={"experiment": "other"},
    )
    stage.train(changed, prepared)
    assert "resuming after epoch 2" in capsys.readouterr().out
    config = load_config(prepared / "models" / "best.safetensors")
    assert config.refine == "colour"
    assert config.params["train.patience"] == 2


def test_more_epochs_resume_and_print_what_that_changes(prepared, monkeypatch, capsys):
    train_and_interrupt(settings(epochs=3), prepared, monkeypatch, 2)
    stage.train(settings(epochs=5), prepared)
    printed = capsys.readouterr().out
    assert "resuming after epoch 2" in printed
    assert "train.epochs was 3 and is now 5" in printed
    rows = history(prepared)
    assert rows["epoch"].tolist() == [1, 2, 3, 4, 5]
    # Each epoch has two steps, so there are ten steps, and the first one is the warm-up.
    schedule = [0.5 * (1 + math.cos(math.pi * (step - 1) / 9)) * 0.003 for step in (4, 6, 8)]
    assert rows["lr"].tolist()[2:] == pytest.approx(schedule, rel=1e-4)
    config = load_config(prepared / "models" / "best.safetensors")
    tags = MlflowClient().get_run(config.run).data.tags
    assert tags["train.epochs.changed"] == "from 3 to 5 after epoch 2"


def test_fewer_epochs_than_are_done_start_from_scratch(prepared, monkeypatch, capsys):
    train_and_interrupt(settings(epochs=3), prepared, monkeypatch, 2)
    stage.train(settings(epochs=1), prepared)
    assert "has more than train.epochs: 1, and had finished 2 of 3" in capsys.readouterr().out
    assert history(prepared)["epoch"].tolist() == [1]


def test_edits_of_code_that_only_draws_or_logs_resume(prepared, monkeypatch, capsys):
    """A resumed training compares the same files as DVC."""
    train_and_interrupt(settings(), prepared, monkeypatch, 1)
    source, read = Path(provenance.__file__).parent, Path.read_bytes

    def edited(path, file):
        return read(path) + (b"# edited" if path == source / file else b"")

    for file, message in (
        ("reports/sheets.py", "resuming after epoch 1"),
        ("training/engine.py", "starting from scratch"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda path, file=file: edited(path, file))
            train_and_interrupt(settings(), prepared, monkeypatch, 1 if "scratch" in message else 2)
        assert message in capsys.readouterr().out


def test_the_commit_is_the_one_at_the_start(prepared, monkeypatch):
    commits = iter(["a" * 40, "b" * 40, "c" * 40])  # each call finds a new commit
    monkeypatch.setattr(stage, "git_commit", lambda root: next(commits))
    train_and_interrupt(settings(), prepared, monkeypatch, 1)
    stage.train(settings(), prepared)
    config = load_config(prepared / "models" / "best.safetensors")
    run = MlflowClient().get_run(config.run)
    assert config.git_commit == run.data.tags["mlflow.source.git.commit"] == "a" * 40


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "train.batch_size: 2"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "train.batch_size: 2"),
    ],
)
def test_running_out_of_memory_is_one_line_with_what_to_set(prepared, monkeypatch, error, advice):
    def full(*_):
        raise error

    monkeypatch.setattr(fit, "run_epoch", full)
    with pytest.raises(UserError, match="out of memory: 4 samples of 32 px") as caught:
        stage.train(settings(), prepared)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_finished_training_writes_its_results_again(prepared, monkeypatch, capsys):
    """As after a kill between its last epoch and its results."""
    stage.train(settings(epochs=1), prepared)
    best = prepared / "models" / "best.safetensors"
    first, content = load_config(best), best.read_bytes()
    for name in ("models/best.safetensors", "models/best.json", "reports/train.json"):
        (prepared / name).unlink()
    monkeypatch.setattr(fit, "run_epoch", None)  # nothing is trained
    stage.train(settings(epochs=1), prepared)
    assert "this training was finished" in capsys.readouterr().out
    assert best.read_bytes() == content
    assert load_config(best).run == first.run
    assert MlflowClient().get_run(first.run).info.status == "FINISHED"
    assert len(MlflowClient().get_metric_history(first.run, "val/iou")) == 1


def test_more_epochs_extend_a_finished_training(prepared, capsys):
    stage.train(settings(epochs=1), prepared)
    first = load_config(prepared / "models" / "best.safetensors")
    stage.train(settings(epochs=2), prepared)
    assert "train.epochs was 1 and is now 2: the learning rate" in capsys.readouterr().out
    assert history(prepared)["epoch"].tolist() == [1, 2]
    assert load_config(prepared / "models" / "best.safetensors").run == first.run


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_within_a_step_loses_nothing(prepared, monkeypatch, capsys, number, error):
    params, step, taken = settings(epochs=2), engine._step, []

    def interrupted(*arguments):
        taken.append(1)
        if len(taken) == 3:  # the first of two steps of the second epoch
            os.kill(os.getpid(), number)
        return step(*arguments)

    def train_until_the_signal():
        with pytest.raises(error):
            stage.train(params, prepared)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_step", interrupted)
        assert exit_code(train_until_the_signal) == 0  # it sets the handler of SIGTERM
    state = load_state(prepared / "models" / "resume.safetensors")[1]
    assert MlflowClient().get_run(state["run"]).info.status == "KILLED"
    assert (len(taken), len(state["history"]), state["begun"]["steps"]) == (3, 1, 1)

    monkeypatch.setattr(engine, "_step", lambda *_: taken.append(1) or step(*_))
    stage.train(params, prepared)
    assert "resuming after epoch 1 and 1 steps of epoch 2" in capsys.readouterr().out
    assert len(taken) == 4
    assert history(prepared)["epoch"].tolist() == [1, 2]
    run = MlflowClient().get_run(load_config(prepared / "models" / "best.safetensors").run)
    assert (run.info.run_id, run.info.status) == (state["run"], "FINISHED")


class Died(BaseException):
    """Ends a training like ``kill -9``: nothing handles it, and the run stays as it is."""


def die(*_):
    raise Died


def test_a_kill_before_the_runs_id_is_saved_leaves_one_run(prepared, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(runs, "log_params", die)  # the run was created just before
        with pytest.raises(Died):
            stage.train(settings(epochs=1), prepared)
    stage.train(settings(epochs=1), prepared)
    [run] = MlflowClient().search_runs([runs.experiment_id("skyseg")])
    assert run.info.run_id == load_config(prepared / "models" / "best.safetensors").run
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "1"
    assert len(run.inputs.dataset_inputs) == 2


@pytest.mark.parametrize("place", ["keep_metrics", "keep_image", "deliver"])
def test_the_picture_of_an_epoch_is_logged_once_whatever_was_lost(prepared, monkeypatch, place):
    """Killed after the state was saved, and before or after the picture was kept."""
    original = getattr(unsent, place)

    def after(*arguments):
        if place == "keep_image":
            original(*arguments)
        raise Died

    with monkeypatch.context() as patch:
        if place == "deliver":  # what was sent is kept, as if it had not been noted
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            stage.train(settings(epochs=1), prepared)
        else:
            patch.setattr(unsent, place, after)
            with pytest.raises(Died):
                stage.train(settings(epochs=2), prepared)
    stage.train(settings(epochs=2), prepared)
    run = load_config(prepared / "models" / "best.safetensors").run
    names = [artifact.path for artifact in MlflowClient().list_artifacts(run, "images")]
    for suffix in (".png", ".webp"):
        epochs = [name.split("+")[2] for name in names if name.endswith(suffix)]
        assert sorted(epochs) == ["1", "2"]


def test_a_training_that_ended_in_its_first_epoch_goes_on_in_the_same_run(prepared, monkeypatch):
    train_and_interrupt(settings(epochs=1), prepared, monkeypatch, 0)
    begun = load_state(prepared / "models" / "resume.safetensors")[1]["run"]
    stage.train(settings(epochs=1), prepared)
    assert load_config(prepared / "models" / "best.safetensors").run == begun
    assert MlflowClient().get_run(begun).info.status == "FINISHED"


def test_two_trainings_in_one_folder(prepared):
    with (
        locked(prepared / "models" / ".training", "x"),
        pytest.raises(UserError, match=rf"another training is running \(process {os.getpid()}\)"),
    ):
        stage.train(settings(epochs=1), prepared)


def test_patience_stops_early(prepared, monkeypatch):
    worse = iter([0.9, 0.8, 0.7, 0.6])
    validate = engine.validate
    monkeypatch.setattr(engine, "validate", lambda *args: validate(*args) | {"iou": next(worse)})
    stage.train(settings(epochs=4, patience=2), prepared)
    assert history(prepared)["epoch"].tolist() == [1, 2, 3]
    assert load_checkpoint(prepared / "models" / "best.safetensors")[0].epoch == 1


def test_initial_weights_are_used(prepared):
    torch.manual_seed(123)
    torch.save(build_model("u2netp").state_dict(), prepared / "start.pth")
    params = settings().model_copy(
        update={"model": settings().model.model_copy(update={"init": "start.pth"})}
    )
    weights = stage.initial_weights(params, prepared)
    assert weights == prepared / "start.pth"
    learner = fit.new_learner(params, 8, pick_hardware("cpu"), weights, "start.pth")
    state = learner.model.state_dict()
    expected = torch.load(weights, weights_only=True)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    stage.train(params, prepared)
    config = load_config(prepared / "models" / "best.safetensors")
    assert config.start == sha256(weights)


@pytest.mark.parametrize(
    ("init", "message"),
    [("missing.pth", "no such file"), ("half.pth", "weights of u2net_half: set model.variant")],
)
def test_unusable_initial_weights(prepared, init, message):
    if init == "half.pth":
        torch.save(build_model("u2net_half").state_dict(), prepared / init)
    model = settings().model.model_copy(update={"init": init})
    with pytest.raises(UserError, match=message):
        stage.train(settings().model_copy(update={"model": model}), prepared)


def test_nothing_prepared(store):
    with pytest.raises(UserError, match="prepared"):
        stage.train(settings(), store)


def test_a_store_that_is_down_is_an_error_before_training(prepared, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer"):
        stage.train(settings(), prepared)
    assert not (prepared / "models" / "best.safetensors").exists()
