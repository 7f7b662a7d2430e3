"""doctor: one row per check, also where half of what it looks at is broken."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlflow_tools import free_port
from skyseg.commands import doctor
from tiny import make_pairs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def healthy(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which nothing is broken, except perhaps for the GPU."""
    shutil.copy(ROOT / "params.yaml", store)
    (store / ".dvc" / "sample").mkdir()
    (store / ".dvc" / "config").write_text("['remote \"sample\"']\n    url = sample\n")
    make_pairs(store / "data", 3)
    size = sum(path.stat().st_size for path in (store / "data").rglob("*.png"))
    (store / "data.dvc").write_text(f"outs:\n- md5: abc.dir\n  size: {size}\n  nfiles: 6\n")
    monkeypatch.chdir(store)
    git(store, "init", "--quiet")
    git(store, "commit", "--quiet", "--allow-empty", "--message", "first")
    return store


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True)


def states(root: Path) -> dict[str, str]:
    return {name: found.state for name, found in doctor.examine(root).items() if name != "gpu"}


def test_nothing_is_broken_in_a_healthy_repository(
    healthy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(doctor.CHECKS, "gpu")

    assert doctor.run(healthy)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(doctor.CHECKS) + 1
    assert {line.split()[0] for line in lines[1:]} >= {"versions", "data", "git", "mlflow"}
    assert set(states(healthy).values()) == {"ok"}


def test_an_empty_folder_has_rows_for_everything(
    tmp_path: Path, environment: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", "")  # no git, no nvidia-smi
    found = doctor.examine(tmp_path)

    assert list(found) == list(doctor.CHECKS)
    assert {name for name, result in found.items() if result.state == "broken"} == {
        "settings",
        "data",
    }
    assert all(result.fix for result in found.values() if result.state != "ok")
    assert found["git"].found == "git is not installed"


def lock_database(root: Path) -> Any:
    db = sqlite3.connect(root / "mlflow.db")
    db.execute("BEGIN EXCLUSIVE")
    return db


def unfinished(root: Path) -> None:
    notes = json.dumps({"history": [{}, {}], "epochs": 5})
    header = json.dumps({"__metadata__": {"notes": notes}}).encode()
    (root / "models").mkdir()
    (root / "models" / "resume.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def move_database(root: Path) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as db, db:
        db.execute("UPDATE experiments SET artifact_location = '/once/here/mlartifacts'")


def write(path: str, text: str) -> Any:
    def action(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return action


@pytest.mark.parametrize(
    ("action", "check", "state", "text"),
    [
        (write("params.yaml", "train: {lr: fast}\n"), "settings", "broken", "train.lr"),
        (write("data/new.png", "new"), "data", "note", "7 files"),
        (write("data.dvc", "{"), "data", "broken", "the check failed"),
        (lambda root: shutil.rmtree(root / "data"), "data", "broken", "missing"),
        (lambda root: (root / "data.dvc").unlink(), "data", "note", "not tracked"),
        (lambda root: (root / ".dvc" / "sample").rmdir(), "remote", "broken", "does not exist"),
        (write(".dvc/config", "oops"), "remote", "broken", "no section headers"),
        (write("mlflow.db", "no database" * 99), "mlflow", "broken", "not a database"),
        (lock_database, "mlflow", "broken", "locked"),
        (move_database, "paths", "broken", "/once/here"),
        (unfinished, "training", "note", "2 of 5 epochs"),
        (write("models/resume.safetensors", "?"), "training", "note", "damaged"),
        (write("mlunsent/abc/status.json", "{}"), "training", "note", "lacks"),
        (write("models/.best.json.999999999.part", ""), "left over", "note", "best.json"),
        (
            write(".dvc/tmp/rwlock", '{"data": {"write": {"pid": 999999999}}}'),
            "left over",
            "note",
            "killed",
        ),
    ],
)
def test_what_is_broken_is_found(
    healthy: Path, action: Any, check: str, state: str, text: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctor, "CHECKS", {check: doctor.CHECKS[check]})
    monkeypatch.setattr("skyseg.tracking.store.LOCK_SECONDS", 0.2)
    kept = action(healthy)  # a connection with its lock

    found = doctor.examine(healthy)[check]

    assert (found.state, text in found.found, bool(found.fix)) == (state, True, True), found
    del kept


def test_a_git_folder_of_another_user_is_found(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    monkeypatch.setenv("HOME", str(healthy))

    found = doctor._git(healthy)

    assert found.state == "broken"
    assert found.fix == f"git config --global --add safe.directory '{healthy}'"


def test_a_server_that_is_down_is_found(healthy: Path, environment: Any):
    environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"

    assert "does not answer" in doctor._mlflow(healthy).found


def test_a_driver_that_torch_cannot_use_is_found(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        doctor, "_ask", lambda command, *rest: (0, "H100, 5" if command[0] == "nvidia-smi" else "")
    )

    assert doctor._gpu(healthy).found == "H100, 5; torch does not see it"


def test_an_old_version_is_found(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    plain = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda name: "1.0" if name == "dvc" else plain(name))

    found = doctor._versions(healthy)

    assert found.state == "broken"
    assert "dvc>=3.67 (found 1.0)" in found.fix


def test_a_check_that_hangs_is_left(healthy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "LIMIT_SECONDS", 0.2)
    monkeypatch.setattr(doctor, "CHECKS", {"disk": lambda root: time.sleep(60)})
    start = time.monotonic()

    assert not doctor.run(healthy)
    assert time.monotonic() - start < 5


def test_the_exit_code_says_whether_something_is_broken(healthy: Path):
    (healthy / "params.yaml").unlink()
    done = subprocess.run(
        ["python", "-m", "skyseg", "doctor"],
        cwd=healthy,
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
    )

    assert done.returncode == 1
    assert not done.stderr
    assert "settings" in done.stdout
