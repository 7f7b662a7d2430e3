"""Where a version comes from; and what is served is what was registered."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mlflow_tools import METRICS, SCORING, make_model, set_champion
from skyseg.commands import lineage, serve
from skyseg.documents import read_yaml
from skyseg.errors import UserError
from skyseg.model.checkpoint import ModelConfig
from skyseg.params import Params, flatten
from skyseg.provenance import folder_digest
from skyseg.tracking import registry
from skyseg.tracking.evaluation import log_evaluation
from tiny import TRAINED, squeezed

UNKNOWN = {"run": None, "git_commit": None, "start": None}


@pytest.fixture
def champion(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a workspace with a champion."""
    monkeypatch.chdir(store)
    config = make_model(store)
    run = log_evaluation(store, config, METRICS, "skies")
    weights = store / "models" / "best.safetensors"
    set_champion("skyseg", registry.register(weights, config, METRICS, SCORING, run, "skyseg"))
    return store


def links(root: Path, **changes: Any) -> dict[str, str]:
    config = lineage.load_config(root / "models" / "best.safetensors")
    found = lineage.lineage(root, "skyseg", "1", config.model_copy(update=changes))
    return {link.what: link.state for link in found}


def test_what_is_found_and_what_is_missing(champion: Path):
    found = links(champion)
    assert found["version"] == "champion"
    assert found["promoted"] == "for a test"
    assert found["weights"] == found["files"] == "as registered"
    assert found["run"].endswith("FINISHED")
    assert found["scoring code"] == "the code here"
    assert found["start weights"] == "random, from train.seed"
    for what in ("git commit", "data"):
        assert found[what].startswith("MISSING")


def test_everything_is_found_where_it_was_made(champion: Path):
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=b@c")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=champion, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init")
    (champion / "data.dvc").write_text(f"outs:\n- md5: {'d' * 32}.dir\n  path: data\n")
    git("add", "data.dvc")
    git("commit", "-m", "data")
    commit = git("rev-parse", "HEAD")
    start = registry.tags("skyseg", "1")["fingerprint"]

    found = links(champion, git_commit=commit, start=start)
    assert found["git commit"] == "in this repository"
    assert found["data"].startswith("named by data.dvc here")
    assert found["start weights"] == "version 1 of skyseg"
    assert not any("MISSING" in state for state in found.values())

    cached = champion / ".dvc" / "cache" / "files" / "md5" / "dd" / f"{'d' * 30}.dir"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert links(champion)["data"] == "in DVC's cache here"
    dirty = links(champion, git_commit=f"{commit}-dirty")["git commit"]
    assert "MISSING: the files had changes" in dirty
    assert links(champion, start="0" * 64)["start weights"].startswith("MISSING")


def test_a_deleted_run_is_said_to_be_missing(champion: Path):
    MlflowClient().delete_run(registry.tags("skyseg", "1")["run"])
    assert links(champion)["run"].startswith("MISSING")


def test_the_commands_that_rebuild_have_the_settings_and_the_fingerprint(tmp_path: Path):
    params = TRAINED.model_copy(update={"data": TRAINED.data.model_copy(update={"ignore": [11]})})
    config = ModelConfig(
        variant="u2netp", size=32, params=flatten(params), git_commit="c" * 40, fingerprint="f" * 64
    )
    commands = lineage.rebuild_commands(config)

    settings = commands.split("<<'END'\n")[1].split("END\n")[0]
    (tmp_path / "params.yaml").write_text(settings)
    assert Params.model_validate(read_yaml(tmp_path / "params.yaml", "")) == params
    assert f"git worktree add ../rebuild-ffffffff {'c' * 40}" in commands
    assert f"echo '{'f' * 64}  models/best.safetensors' | sha256sum --check" in commands
    assert subprocess.run(["bash", "-n"], input=commands, text=True, check=False).returncode == 0
    with pytest.raises(UserError, match="does not record its git commit"):
        lineage.rebuild_commands(config.model_copy(update=UNKNOWN))


def test_the_command(champion: Path, capsys: pytest.CaptureFixture[str]):
    lineage.run(champion, "skyseg", "1", None, rebuild=False)
    assert "version skyseg 1 champion" in squeezed(capsys.readouterr().out)
    lineage.run(champion, "skyseg", None, None, rebuild=True)
    assert "sha256sum --check" in capsys.readouterr().out
    with pytest.raises(UserError, match="skyseg has the versions 1"):
        lineage.run(champion, "skyseg", "challenger", None, rebuild=False)


def test_the_digest_of_a_folder_depends_on_names_and_contents(tmp_path: Path):
    (tmp_path / "a" / "__pycache__").mkdir(parents=True)
    (tmp_path / "a" / "b").write_text("cd")
    before = folder_digest(tmp_path, ["__pycache__"])
    (tmp_path / "a" / "__pycache__" / "x.pyc").touch()
    assert folder_digest(tmp_path, ["__pycache__"]) == before
    digests = {before, folder_digest(tmp_path)}
    for name, text in (("b", "ce"), ("bc", "d"), ("b", "")):
        (tmp_path / "a" / name).write_text(text)
        digests.add(folder_digest(tmp_path, ["__pycache__"]))
    assert len(digests) == 5


def test_changed_code_or_weights_are_not_served(
    champion: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    started: list[Any] = []
    monkeypatch.setattr(serve.os, "execve", lambda *arguments: started.append(arguments))
    serve.run(champion, None, 5999)
    assert "its files are those that were registered" in capsys.readouterr().out
    [(_, command, environment)] = started
    assert "models:/skyseg/1" in command
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert environment["MLFLOW_TRACKING_URI"].endswith("mlflow.db")

    stored = champion / "mlartifacts"
    changed = [*stored.rglob("served_model.py"), *stored.rglob("MLmodel")]
    changed += [*stored.rglob("best.safetensors"), *stored.rglob("best.json")]
    assert len(changed) == 5  # the file that MLflow runs is there twice
    for path in changed:
        original = path.read_bytes()
        path.write_bytes(original + b"\n")
        with pytest.raises(UserError, match="not those that were registered"):
            serve.run(champion, None, 5999)
        path.write_bytes(original)
    (changed[0].parent / "sitecustomize.py").touch()
    with pytest.raises(UserError, match="not those that were registered"):
        serve.run(champion, None, 5999)
    assert links(champion)["files"].startswith("MISSING: models:/skyseg/1: the files")
    assert len(started) == 1


def test_a_version_without_a_digest_of_its_files_is_not_served(champion: Path):
    MlflowClient().delete_model_version_tag("skyseg", "1", registry.FILES)
    with pytest.raises(UserError, match="registered by an earlier version of skyseg"):
        serve.run(champion, None, 5999)
