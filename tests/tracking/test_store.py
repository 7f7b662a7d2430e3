"""A store in odd places, and one whose repository was moved or copied."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conftest import PATHS
from mlflow_tools import METRICS, SCORING, make_model
from skyseg.commands import doctor
from skyseg.errors import UserError
from skyseg.tracking import connection, registry, runs, store
from skyseg.tracking.evaluation import log_evaluation

# Characters that have a meaning in URIs.
ODD = ["a%20b", "a b", "a#b", "a?b", "ü%"]


def paths(root: Path) -> set[str]:
    """All locations in a database, except that of MLflow's own experiment, which is not used."""
    with closing(sqlite3.connect(root / "mlflow.db")) as db:
        return {
            value
            for table, column in PATHS
            for (value,) in db.execute(f"SELECT {column} FROM {table}").fetchall()
            if value and not value.startswith("models:") and not value.endswith("mlruns/0")
        }


def register(root: Path) -> str:
    """Train, evaluate and register a model, made without training."""
    connection.connect(root)
    config = make_model(root, seed=int(bool(list(root.glob("mlartifacts/*")))))
    run = log_evaluation(root, config, METRICS, "skies")
    weights = root / "models" / "best.safetensors"
    return registry.register(weights, config, METRICS, SCORING, run, "skyseg")


def files(root: Path) -> dict[str, int]:
    """All files of a repository with their times of change."""
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ODD)
def test_a_repository_may_have_any_name(
    tmp_path: Path, empty_template: Path, environment: Any, name: str
):
    root = tmp_path / name
    shutil.copytree(empty_template, root)
    connection.connect(root)
    run = runs.create_run("skies", "a name", "", {}, {}, None).info.run_id
    (root / "note.txt").write_text("a note")

    runs.log_path(run, root / "note.txt", "notes")

    [note] = root.glob("mlartifacts/*/artifacts/notes/note.txt")
    assert note.read_text() == "a note"
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


@pytest.fixture
def original(tmp_path: Path, empty_template: Path, environment: Any) -> Path:
    """A repository with a registered model."""
    root = tmp_path / "a place" / "original"
    shutil.copytree(empty_template, root)
    register(root)
    return root


@pytest.mark.parametrize("move", [shutil.copytree, shutil.move])
def test_a_moved_or_copied_store_is_refused_until_its_paths_are_fixed(
    original: Path, tmp_path: Path, move: Any, capsys: pytest.CaptureFixture[str]
):
    there = tmp_path / "another#place"
    move(original, there)
    before, old = files(tmp_path / "a place"), paths(there)

    with pytest.raises(UserError, match=r"moved or copied here from .*'skyseg doctor --fix'"):
        register(there)
    doctor.fix_paths(there)
    printed = capsys.readouterr().out
    version = register(there)

    assert version == "2"
    assert all(path.startswith(original.as_uri()) for path in old)
    assert all(path.startswith(there.as_uri()) for path in paths(there))
    for number in ("1", "2"):
        weights = registry.download_weights(f"models:/skyseg/{number}")
        assert weights.is_file()
    assert len(list(there.glob("mlartifacts/**/best.safetensors"))) == 2
    assert files(tmp_path / "a place") == before
    [backup] = there.glob("mlflow.db.backup-*")
    assert backup.name in printed
    shutil.copy(backup, there / "mlflow.db")
    assert paths(there) == old


def test_paths_are_fixed_once(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    there = tmp_path / "copy"
    shutil.copytree(original, there)

    doctor.fix_paths(there)
    doctor.fix_paths(there)
    doctor.fix_paths(original)

    assert capsys.readouterr().out.count("nothing to fix") == 2
    assert len(list(tmp_path.rglob("mlflow.db.backup-*"))) == 1


def test_artifacts_that_were_not_copied_are_named(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "copy").mkdir()
    shutil.copy(original / "mlflow.db", tmp_path / "copy")

    doctor.fix_paths(tmp_path / "copy")

    assert f"{original}/mlartifacts" in capsys.readouterr().out


def test_artifacts_kept_elsewhere_on_purpose_are_not_stale(
    tmp_path: Path, empty_template: Path, environment: Any
):
    root = tmp_path / "repository"
    shutil.copytree(empty_template, root)
    (tmp_path / "disk" / "mlartifacts").mkdir(parents=True)
    connection.connect(root)
    connection.MlflowClient().create_experiment("big", str(tmp_path / "disk" / "mlartifacts"))

    connection.connect(root)


def test_a_fix_that_fails_changes_nothing(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    there = tmp_path / "copy"
    shutil.copytree(original, there)
    before = paths(there)
    monkeypatch.setattr(store, "PATH_COLUMNS", (*store.PATH_COLUMNS, ("runs", "missing")))

    with pytest.raises(UserError, match=r"are not changed \(no such column"):
        doctor.fix_paths(there)

    assert paths(there) == before


PROXY = "http://127.0.0.1:9"  # nothing answers there


@pytest.mark.parametrize("own", [None, "corp.example", "127.0.0.1,localhost,::1,corp.example", "*"])
def test_requests_to_this_machine_do_not_go_through_a_proxy(own: str | None):
    hosts = ("localhost", "127.0.0.1", "corp.example", "other.example")
    code = (
        "import skyseg.tracking, urllib.request as u;"
        f"print(*(bool(u.proxy_bypass(host)) for host in {hosts}))"
    )
    environment = {key: os.environ[key] for key in os.environ if "proxy" not in key.lower()}
    environment |= {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY} | ({"NO_PROXY": own} if own else {})

    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()

    assert printed == ["True", "True", str(own is not None), str(own == "*")]
