"""A store that does not answer: training goes on, and everything arrives later, once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow import MlflowClient
from PIL import Image

from mlflow_tools import HISTORY, METRICS, free_port, make_model, mlflow_server
from skyseg.commands.sync import sync
from skyseg.errors import UserError
from skyseg.files import atomic_write
from skyseg.tracking import connection, unsent
from skyseg.tracking import training as tracking
from skyseg.tracking.evaluation import log_evaluation
from tiny import make_params
from tracking_tools import get, stats, steps, train, wait

ROOT = Path(__file__).parents[2]
PICTURE = Image.new("RGB", (300, 200))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a running MLflow server."""
    with mlflow_server(tmp_path_factory.mktemp("server"), free_port()) as uri:
        yield uri


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(tracking, "LONGEST_PAUSE_SECONDS", 0.5)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow waits 20 seconds for a locked database, and skyseg 5."""
    monkeypatch.setattr("skyseg.tracking.store.LOCK_SECONDS", 0.5)
    plain = sqlalchemy.sql.text
    monkeypatch.setattr(
        sqlalchemy.sql, "text", lambda text: plain(text.replace("= 20000;", "= 500;"))
    )


@contextmanager
def gone(file: Path) -> Iterator[None]:
    """The database is somewhere else for a while."""
    hidden = file.with_name("hidden.db")
    file.rename(hidden)
    try:
        yield
    finally:
        hidden.replace(file)  # sqlite has created an empty one


@contextmanager
def locked(file: Path, how: str = "EXCLUSIVE") -> Iterator[None]:
    """Another program writes to the database."""
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"BEGIN {how}")
        yield


def log_epoch(run: tracking.TrainingRun, epoch: int) -> None:
    run.record(epoch, {"train/loss": 1 / epoch, "val/iou": 0.5})
    run.image("validation", epoch, PICTURE, at=1_700_000_000_000 + epoch)


def pictures(run: str) -> list[int]:
    """The epochs of a run's pictures of full size."""
    files = MlflowClient().list_artifacts(run, "images")
    return sorted(int(f.path.split("+")[2]) for f in files if f.path.endswith(".png"))


def warnings(capsys: pytest.CaptureFixture[str], count: int) -> Callable[[], bool]:
    """Whether this many warnings have been printed; shows them."""
    seen: list[str] = []

    def enough() -> bool:
        seen.append(capsys.readouterr().err)
        return "".join(seen).count("WARNING") == count

    return enough


@pytest.mark.parametrize("trouble", [gone, locked])
def test_training_neither_waits_nor_loses_anything_if_the_store_fails(
    store: Path, capsys: pytest.CaptureFixture[str], impatient: None, trouble: Any
):
    with train() as run:
        log_epoch(run, 1)
        wait(lambda: not unsent.unsent_runs(store))
        with trouble(store / "mlflow.db"):
            start = time.monotonic()
            log_epoch(run, 2)
            log_epoch(run, 3)
            assert time.monotonic() - start < 1
            printed = ""
            while "WARNING" not in printed:
                assert time.monotonic() - start < 40
                printed += capsys.readouterr().err
                time.sleep(0.05)
            time.sleep(0.5)  # further attempts fail too, without a word
        log_epoch(run, 4)

    printed += capsys.readouterr().err
    assert printed.count("WARNING") == 1
    assert printed.count("Training continues") == 1
    assert printed.count("mlflow.db answers again") == 1
    assert "Traceback" not in printed
    assert steps(run.id, "val/iou") == pictures(run.id) == [1, 2, 3, 4]
    assert get(run.id).info.status == "FINISHED"
    assert not (store / "mlunsent").exists()


def test_unfinished_files_are_not_sent(store: Path):
    with train() as run:
        log_epoch(run, 1)
        kept = unsent.unsent_folder(store, run.id) / "artifacts" / "images"
        with atomic_write(kept / "validation+step+2+timestamp+0+x.png") as temporary:
            temporary.write_bytes(b"half")
            run.record(2, {"val/iou": 0.5})  # what is kept is sent now
            wait(lambda: steps(run.id, "val/iou") == [1, 2])
            assert temporary.exists()
            temporary.unlink()
            PICTURE.save(temporary)
    assert pictures(run.id) == [1, 2]


def test_a_run_that_goes_on_forgets_how_it_ended(store: Path):
    """Delivering that removes the folder, in which the training writes."""
    with train() as run:
        log_epoch(run, 1)
    folder = unsent.unsent_folder(store, run.id)
    unsent.keep_status(folder, "KILLED")  # the store did not answer at the end
    with train(run.id) as again:
        assert not (folder / "status.json").exists()
        log_epoch(again, 2)
        wait(lambda: steps(run.id, "val/iou") == [1, 2])
        assert get(run.id).info.status == "RUNNING"
    assert get(run.id).info.status == "FINISHED"


def test_training_does_not_wait_for_a_slow_store(store: Path, monkeypatch: pytest.MonkeyPatch):
    send = MlflowClient.log_batch

    def slow(*arguments: Any, **options: Any) -> None:
        time.sleep(0.4)
        send(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "log_batch", slow)
    with train() as run:
        start = time.monotonic()
        for epoch in range(1, 6):
            run.record(epoch, {"val/iou": 0.5})
        assert time.monotonic() - start < 0.4

    assert steps(run.id, "val/iou") == [1, 2, 3, 4, 5]


@pytest.fixture
def interrupted(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """A run that ended while the store was gone."""
    monkeypatch.setattr(tracking, "END_SECONDS", 0.2)
    with train() as run:
        log_epoch(run, 1)
        wait(lambda: not unsent.unsent_runs(store))
        hidden = (store / "mlflow.db").rename(store / "hidden.db")
        log_epoch(run, 2)
        (store / "note.txt").write_text("a note")
        run.artifact(store / "note.txt", "notes")
    wait(lambda: not run._sender.is_alive())
    hidden.replace(store / "mlflow.db")
    assert "'skyseg sync' sends what is kept in mlunsent/" in capsys.readouterr().err
    connection.connect(store)
    return str(run.id)


def test_what_the_end_of_a_training_could_not_send_is_sent_by_sync_once(
    store: Path, interrupted: str, capsys: pytest.CaptureFixture[str]
):
    assert get(interrupted).info.status == "RUNNING"
    before = time.time() * 1000

    sync(make_params(), store)

    found = get(interrupted)
    printed = capsys.readouterr().out
    assert "1 epochs, 1 pictures, 1 other files, 1 end status" in printed
    assert steps(interrupted, "val/iou") == pictures(interrupted) == [1, 2]
    assert [file.path for file in MlflowClient().list_artifacts(interrupted, "notes")] == [
        "notes/note.txt"
    ]
    assert found.info.status == "FINISHED"
    assert found.info.end_time < before  # when the training ended

    sync(make_params(), store)
    assert "nothing to send" in capsys.readouterr().out
    assert steps(interrupted, "val/iou") == pictures(interrupted) == [1, 2]


@pytest.mark.parametrize("name", ["metrics-000002.json", "status.json"])
@pytest.mark.parametrize("text", ["", '{"status": 5}', "[[1, 2, 3, null]]"])
def test_a_damaged_file_is_named(store: Path, interrupted: str, name: str, text: str):
    (unsent.unsent_folder(store, interrupted) / name).write_text(text)

    with pytest.raises(UserError, match=f"{name}.*; delete it"):
        sync(make_params(), store)


def test_evaluating_sends_it_too(store: Path, interrupted: str):
    config = make_model(store, run=interrupted)

    log_evaluation(store, config, METRICS, "skies")

    assert steps(interrupted, "val/iou") == [1, 2, 3]
    assert pictures(interrupted) == [1, 2]
    assert not unsent.unsent_runs(store)


def test_what_is_sent_twice_arrives_once(store: Path, tmp_path: Path, interrupted: str):
    folder = unsent.unsent_folder(store, interrupted)
    shutil.copytree(folder, tmp_path / "copy")
    unsent.deliver(folder)
    shutil.copytree(tmp_path / "copy", folder)  # killed before they were removed

    unsent.deliver(folder)

    assert steps(interrupted, "val/iou") == pictures(interrupted) == [1, 2]


def test_a_resumed_training_sends_what_the_killed_one_kept(store: Path, interrupted: str):
    with train(resume=interrupted) as run:
        run.replay([{"epoch": epoch, **stats(HISTORY[0])} for epoch in (1, 2, 3)])

    assert run.id == interrupted
    assert steps(run.id, "val/iou") == [1, 2, 3]


def test_sync_gives_an_empty_store_the_last_training(
    store: Path, capsys: pytest.CaptureFixture[str]
):
    make_model(store, run="0" * 32)
    (store / "reports" / "train.json").write_text("{}")
    folder = unsent.unsent_folder(store, "0" * 32)
    unsent.keep_status(folder, "FINISHED")

    sync(make_params(), store)
    printed = capsys.readouterr().out
    sync(make_params(), store)
    again = capsys.readouterr().out

    assert f"run {'0' * 32} is not in sqlite" in printed
    assert "of the last training" in printed
    assert "3 epochs, 1 other files, 1 end status" in printed
    assert "of the last training" not in again
    assert (folder / "status.json").exists()


def test_a_database_that_nobody_else_can_read_is_one_line(
    store: Path, capfd: pytest.CaptureFixture[str], impatient: None
):
    with locked(store / "mlflow.db"), pytest.raises(UserError) as caught:
        connection.connect(store)
    assert "does not answer (database is locked): end the program" in str(caught.value)
    assert not capfd.readouterr().err


def test_a_database_that_another_program_writes_to_is_one_line(
    trained: Path, capfd: pytest.CaptureFixture[str], impatient: None
):
    config = make_model(trained)
    with locked(trained / "mlflow.db", "IMMEDIATE"), pytest.raises(UserError) as caught:
        log_evaluation(trained, config, METRICS, "skies")
    assert "does not answer (database is locked): end the program" in str(caught.value)
    assert not capfd.readouterr().err


def test_a_database_that_cannot_be_opened_is_one_line_at_once(tmp_path: Path, environment: Any):
    (tmp_path / "mlflow.db").mkdir()

    start = time.monotonic()
    with pytest.raises(UserError, match="unable to open database file"):
        connection.connect(tmp_path)

    assert time.monotonic() - start < 5


@pytest.mark.slow
def test_a_database_that_is_deleted_during_a_training(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "END_SECONDS", 0.2)
    with train() as run:
        log_epoch(run, 1)
        wait(lambda: not unsent.unsent_runs(store))
        (store / "mlflow.db").unlink()
        log_epoch(run, 2)
    make_model(store, run=run.id)
    (store / "reports" / "train.json").write_text("{}")
    shutil.copy(ROOT / "params.yaml", store)

    # MLflow keeps the deleted database open in this process.
    printed = subprocess.run(
        [sys.executable, "-m", "skyseg", "sync"],
        cwd=store,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert f"run {run.id} is not in sqlite" in printed
    assert "sent to run of the last training" in printed
    with closing(sqlite3.connect(store / "mlflow.db")) as db:
        found = db.execute("SELECT step FROM metrics WHERE key = 'val/iou' ORDER BY step")
        assert [step for (step,) in found] == [1, 2, 3]
    assert len(list(store.glob("mlunsent/*/artifacts/images/*.png"))) == 1


@pytest.mark.slow
def test_a_server_that_is_killed_stopped_and_restarted_during_a_training(
    tmp_path: Path, environment: Any, capsys: pytest.CaptureFixture[str]
):
    port = free_port()
    with mlflow_server(tmp_path, port) as uri:
        connection.connect(tmp_path, uri)
        context = train(root=tmp_path)
        run = context.__enter__()
        log_epoch(run, 1)
        wait(lambda: not unsent.unsent_runs(tmp_path))
    start = time.monotonic()
    log_epoch(run, 2)  # killed
    assert time.monotonic() - start < 1
    wait(lambda: run._offline)

    with mlflow_server(tmp_path, port) as uri:
        wait(lambda: not run._offline)
        wait(lambda: not unsent.unsent_runs(tmp_path))
        group = server_group(uri)
        os.killpg(group, signal.SIGSTOP)
        start = time.monotonic()
        log_epoch(run, 3)  # silent
        log_epoch(run, 4)
        assert time.monotonic() - start < 1
        wait(lambda: run._offline)
        assert time.monotonic() - start < 20  # two requests
        os.killpg(group, signal.SIGCONT)
        wait(lambda: not run._offline)
        log_epoch(run, 5)
        context.__exit__(None, None, None)

        assert steps(run.id, "val/iou") == pictures(run.id) == [1, 2, 3, 4, 5]
        assert get(run.id).info.status == "FINISHED"
        printed = capsys.readouterr().err
        assert printed.count("WARNING") == printed.count(f"{uri} answers again") == 2


@pytest.mark.slow
def test_a_training_ends_within_seconds_beside_a_silent_server(
    tmp_path: Path, environment: Any, capsys: pytest.CaptureFixture[str], server: str
):
    connection.connect(tmp_path, server)
    group = server_group(server)
    try:
        with train(root=tmp_path) as run:
            os.killpg(group, signal.SIGSTOP)
            for epoch in range(1, 41):
                log_epoch(run, epoch)
            start = time.monotonic()
        assert time.monotonic() - start < 13
        assert capsys.readouterr().err.count("'skyseg sync'") == 1
        start = time.monotonic()
        with pytest.raises(UserError, match=r"does not answer \(timed out"):
            connection.connect(tmp_path, server)
        assert time.monotonic() - start < 10
    finally:
        os.killpg(group, signal.SIGCONT)
    environment["MLFLOW_TRACKING_URI"] = server
    sync(make_params(), tmp_path)
    assert steps(run.id, "val/iou") == pictures(run.id) == list(range(1, 41))
    assert get(run.id).info.status == "FINISHED"


def server_group(uri: str) -> int:
    """The process group of a server, by its port on the command line."""
    port = uri.rsplit(":", 1)[1].encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"mlflow" in words and port in words:
            return os.getpgid(int(entry.name))
    raise AssertionError("no server")


def client(number: int, uri: str, root: Path) -> None:
    """One of many trainings at the same time."""
    connection.connect(root, uri)
    with train(root=root, name=f"client {number}", experiment="many") as run:
        for epoch in (1, 2, 3):
            log_epoch(run, epoch)


def twenty_clients(uri: str, root: Path) -> None:
    # Not forks of this process: threads of earlier tests may hold locks. Only what is installed can
    # be imported ahead.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skyseg.commands.sync", "skyseg.model.u2net", "mlflow.server"])
    processes = [context.Process(target=client, args=(n, uri, root)) for n in range(20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 20

    os.environ["MLFLOW_TRACKING_URI"] = uri
    sync(make_params(), root)  # what a busy machine did not take in time
    assert not unsent.unsent_runs(root)
    [experiment] = MlflowClient().search_experiments(filter_string="name = 'many'")
    found = MlflowClient().search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in found} == {f"client {n}" for n in range(20)}
    for run in found:
        assert run.info.status == "FINISHED"
        assert steps(run.info.run_id, "val/iou") == pictures(run.info.run_id) == [1, 2, 3]


@pytest.mark.slow
def test_twenty_clients_lose_nothing_on_one_database(
    tmp_path: Path, empty_template: Path, environment: Any
):
    shutil.copy(empty_template / "mlflow.db", tmp_path)
    twenty_clients(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)


@pytest.mark.slow
def test_twenty_clients_lose_nothing_on_a_server(tmp_path: Path, environment: Any, server: str):
    twenty_clients(server, tmp_path)
