"""Runs: everything is logged exactly once, whatever happens to the process and the store."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image

from mlflow_tools import HISTORY, METRICS, free_port, make_model
from skyseg.errors import Terminated, UserError
from skyseg.tracking import connection, runs
from skyseg.tracking import training as tracking
from skyseg.tracking.evaluation import log_evaluation
from skyseg.tracking.store import repository_root, store_uri
from skyseg.tracking.unsent import unsent_folder
from tracking_tools import DATASET, get, stats, steps, train, train_nothing, wait


@pytest.mark.parametrize(
    "inside", [".", "src/deep", ".dvc/tmp/exps/tmp1234", ".dvc/tmp/exps/standalone/tmp1234"]
)
def test_all_folders_of_a_repository_use_the_same_store(
    tmp_path: Path, environment: Any, inside: str
):
    (tmp_path / ".dvc").mkdir()
    folder = tmp_path / inside
    (folder / ".dvc" if "exps" in inside else folder).mkdir(parents=True, exist_ok=True)

    assert repository_root(folder) == tmp_path
    assert store_uri(folder) == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_environment_overrides_dotenv_which_overrides_the_default(
    tmp_path: Path, environment: Any
):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".env").write_text("MLFLOW_TRACKING_URI=http://from-dotenv:5000\n")
    assert store_uri(tmp_path) == "http://from-dotenv:5000"

    environment["MLFLOW_TRACKING_URI"] = "sqlite:///elsewhere/a.db"
    assert store_uri(tmp_path) == f"sqlite:///{tmp_path}/elsewhere/a.db"


def test_connecting_does_not_change_the_environment(store: Path):
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert "MLFLOW_REGISTRY_URI" not in os.environ


def test_a_server_that_is_down_gives_a_one_line_error_within_seconds(
    tmp_path: Path, environment: Any
):
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        connection.connect(tmp_path, f"http://127.0.0.1:{free_port()}")

    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert "does not answer (Connection refused)" in message
    assert "unset MLFLOW_TRACKING_URI" in message
    assert "\n" not in message
    assert len(message) < 400


def test_an_unsupported_uri_is_a_user_error(tmp_path: Path, environment: Any):
    with pytest.raises(UserError, match="quux://x"):
        connection.connect(tmp_path, "quux://x")


def test_a_run_has_name_status_params_metrics_tags_and_files(store: Path, tmp_path: Path):
    note = tmp_path / "note.txt"
    note.write_text("a note")
    with train() as run:
        run.record(1, stats(HISTORY[0]))
        run.image("validation", 1, Image.new("RGB", (8, 8)), at=1_700_000_000_000)
        run.artifact(note, "notes")

    found = get(run.id)
    assert found.info.run_name == "a name"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"train.lr": "0.001", "data.ignore": "[11]"}
    assert found.data.metrics == stats(HISTORY[0])
    assert found.data.tags["mlflow.note.content"] == "a **description**"
    assert found.data.tags["mlflow.source.git.commit"] == "c" * 40
    files = {
        entry.path
        for folder in ("notes", "images")
        for entry in MlflowClient().list_artifacts(run.id, folder)
    }
    assert "notes/note.txt" in files
    assert any(path.startswith("images/validation+step+1+") for path in files)
    assert found.info.artifact_uri.startswith(str(store / "mlartifacts"))


def test_a_new_experiment_is_marked_as_model_training(store: Path):
    train_nothing()

    tags = MlflowClient().get_experiment_by_name("skies").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_an_existing_experiment_is_marked_too(store: Path):
    MlflowClient().create_experiment("skies")

    identifier = runs.experiment_id("skies")

    assert MlflowClient().get_experiment(identifier).tags[runs.KIND[0]] == runs.KIND[1]


def test_a_deleted_experiment_is_a_user_error(store: Path):
    identifier = runs.experiment_id("skies")
    MlflowClient().delete_experiment(identifier)

    with pytest.raises(UserError, match=f"restore -x {identifier}"):
        train_nothing()


def test_splits_are_logged_as_inputs_with_dvcs_hash(store: Path):
    run_id = train_nothing()

    inputs = {entry.dataset.name: entry for entry in get(run_id).inputs.dataset_inputs}
    assert set(inputs) == {"data/train", "data/val"}
    assert inputs["data/train"].dataset.digest == DATASET["dvc_md5"]
    assert inputs["data/train"].dataset.profile == '{"num_rows": 9}'
    assert [(tag.key, tag.value) for tag in inputs["data/val"].tags] == [
        ("mlflow.data.context", "val")
    ]


def test_data_that_dvc_does_not_track_are_logged_with_their_fingerprint(store: Path):
    run_id = train_nothing(dataset=DATASET | {"dvc_md5": None, "splits": {"train": {"images": 9}}})

    [only] = get(run_id).inputs.dataset_inputs
    assert only.dataset.digest == "f" * 32


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED"), (Terminated, "KILLED")],
)
def test_a_run_that_ends_early_has_the_right_status(
    store: Path, error: type[BaseException], status: str
):
    with pytest.raises(error), train() as run:
        raise error

    assert get(run.id).info.status == status


def test_a_resumed_run_has_each_epoch_once(store: Path):
    with train() as run:
        run.record(1, stats(HISTORY[0]))
    MlflowClient().update_run(run.id, "FAILED")

    with train(resume=run.id) as again:
        assert get(run.id).info.status == "RUNNING"
        again.replay(HISTORY[:2])  # killed after the state was saved and before epoch 2 was logged
        again.record(2, stats(HISTORY[1]))
        again.record(3, stats(HISTORY[2]))

    assert again.id == run.id
    assert steps(run.id, "train/loss") == steps(run.id, "val/iou") == [1, 2, 3]
    assert get(run.id).info.status == "FINISHED"


def test_resuming_a_run_that_the_store_does_not_have_starts_a_new_one(store: Path):
    with train(resume="0" * 32) as run:
        run.replay(HISTORY)

    assert run.id != "0" * 32
    assert steps(run.id, "val/iou") == [1, 2, 3]


def test_resuming_a_deleted_run_starts_a_new_one(store: Path):
    run_id = train_nothing()
    MlflowClient().delete_run(run_id)

    with train(resume=run_id) as again:
        assert again.id != run_id


def test_an_epoch_is_logged_in_one_request(store: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(
        MlflowClient, "log_batch", lambda self, run_id, metrics, *rest: calls.append(len(metrics))
    )
    run = tracking.TrainingRun("r", set(), unsent_folder(store, "r"))

    run.record(1, {f"metric{number}": 0.5 for number in range(30)})

    wait(lambda: bool(calls))
    assert calls == [30]


def test_system_metrics_are_logged(store: Path, environment: Any):
    environment["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "0.1"
    with train() as run:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            names = get(run.id).data.metrics
            if "system/cpu_utilization_percentage" in names:
                break
            time.sleep(0.1)

    assert "system/cpu_utilization_percentage" in names
    assert "system/system_memory_usage_percentage" in names


def test_an_evaluation_continues_the_run_and_can_be_repeated(store: Path):
    with train() as run:
        run.record(1, stats(HISTORY[0]))
    config = make_model(store, run=run.id)

    for _ in range(2):
        assert log_evaluation(store, config, METRICS, "skies") == run.id

    found = get(run.id)
    assert found.data.metrics["test/iou"] == 0.9
    assert len(steps(run.id, "test/iou")) == 1
    assert steps(run.id, "val/iou") == [1, 2, 3]  # the missing epochs come from the history
    assert found.data.tags["mlflow.note.content"] == (f"# A model card\n{config.fingerprint}\n")
    assert found.data.tags["fingerprint"] == config.fingerprint
    assert {entry.path for entry in MlflowClient().list_artifacts(run.id)} >= {
        "evaluate",
        "history.csv",
        "model_card.md",
    }
    assert {entry.dataset.name for entry in found.inputs.dataset_inputs} == {
        "data/train",
        "data/val",
        "data/test",
    }


def test_changed_scores_are_logged_in_addition_to_the_old_ones(store: Path):
    config = make_model(store)
    run = log_evaluation(store, config, METRICS, "skies")

    log_evaluation(store, config, {"test": METRICS["test"] | {"iou": 0.8}}, "skies")

    assert get(run).data.metrics["test/iou"] == 0.8
    assert len(steps(run, "test/iou")) == 2
    assert len(steps(run, "test/mae")) == 1


def test_an_empty_store_gets_a_restored_run_once(store: Path):
    config = make_model(store, run="0" * 32)

    first = log_evaluation(store, config, METRICS, "skies")
    second = log_evaluation(store, config, METRICS, "skies")

    assert first == second != "0" * 32
    found = get(first)
    assert found.data.tags["restored"] == "from the workspace"
    assert found.data.tags["mlflow.source.git.commit"] == "c" * 40
    assert found.data.tags["git_dirty"] == "true"
    assert found.data.params == {"train.lr": "0.001", "train.epochs": "3"}
    assert steps(first, "train/loss") == [1, 2, 3]
    assert found.info.status == "FINISHED"


def test_an_evaluation_without_a_working_store_is_a_user_error(store: Path):
    config = make_model(store)
    shutil.move(store / "mlflow.db", store / "hidden.db")

    with pytest.raises(UserError, match="does not answer"):
        log_evaluation(store, config, METRICS, "skies")
