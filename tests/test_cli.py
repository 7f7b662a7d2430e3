"""The command line: fast help, and one-line errors for mistakes that users can correct."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from typer.testing import CliRunner

from mlflow_tools import free_port, running
from skyseg import cli
from skyseg.errors import UserError, exit_code

ROOT = Path(__file__).parents[1]


@pytest.fixture
def inside(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a workspace with a model and params.yaml."""
    monkeypatch.chdir(trained)
    shutil.copy(ROOT / "params.yaml", trained)
    return trained


def run(*arguments: str) -> str:
    """Run a command and return what it prints; raises what it raises."""
    result = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def shell(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skyseg", *arguments],
        cwd=cwd,
        text=True,
        capture_output=True,
        check=False,
        env=os.environ | environment,
    )


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from skyseg import cli; from typer.testing import CliRunner\n"
        "result = CliRunner().invoke(cli.app, ['--help'])\n"
        "assert 'promote' in result.output, result.output\n"
        "print(sorted({'torch', 'mlflow', 'numpy', 'pandas', 'PIL', 'pydantic'}"
        " & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_version(tmp_path: Path):
    assert shell("--version", cwd=tmp_path).stdout == "skyseg 0.1.0\n"


def test_an_unknown_command_is_a_usage_error(tmp_path: Path):
    done = shell("promot", cwd=tmp_path)
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_outside_a_repository_the_error_is_one_line(tmp_path: Path):
    done = shell("promote", cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr == (
        "error: params.yaml: no such file; run the command in the repository's root\n"
    )
    assert done.stdout == ""


def test_a_server_that_is_down_is_a_one_line_error(inside: Path):
    done = shell("models", cwd=inside, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")

    assert done.returncode == 1
    assert done.stderr.startswith("error: MLflow at http://127.0.0.1")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce] not enough memory: x")])
def test_running_out_of_memory_is_a_one_line_error(
    error: Exception, capsys: pytest.CaptureFixture[str]
):
    def full() -> None:
        raise error

    assert exit_code(full) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: out of memory: close other programs")
    assert printed.count("\n") == 1


def test_sigterm_ends_a_command_like_ctrl_c(capsys: pytest.CaptureFixture[str]):
    def waiting() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    before = signal.getsignal(signal.SIGTERM)
    assert exit_code(waiting) == 143
    assert capsys.readouterr().err.startswith("terminated: finished files are kept")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bug_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a bug"):
        exit_code(lambda: (_ for _ in ()).throw(RuntimeError("a bug")))


def test_promote_list_and_roll_back(inside: Path):
    assert "no version of skyseg" in run("models")
    assert "skyseg version 1 is now the champion" in run("promote")

    head, row = run("models").splitlines()
    assert head.split()[:4] == ["version", "aliases", "split", "iou"]
    assert row.split()[:5] == ["1", "champion", "test", "0.9000", "0.8800"]
    assert head.index("iou_image") == row.index("0.8800")
    [version] = json.loads(run("models", "--json"))
    assert version["aliases"] == ["champion"]
    assert version["iou"] == 0.9
    assert version["git_commit"] == "c" * 40 + "-dirty"

    with pytest.raises(UserError, match="nothing to roll back to"):
        run("rollback")
    with pytest.raises(UserError, match="--force needs a reason"):
        run("promote", "--force", "")


def test_models_without_a_promotion_have_no_alias(inside: Path):
    run("promote")
    MlflowClient().delete_registered_model_alias("skyseg", "champion")

    assert run("models").splitlines()[1].split()[1] == "-"


def test_options_of_scenes_are_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import skyseg.scenes

    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(skyseg.scenes, "write_scenes", lambda *given: calls.append(given))

    run("scenes", "--count", "3", "--seed", "7", str(tmp_path))

    assert calls == [(tmp_path, 3, 7, 1.0)]


@pytest.mark.parametrize("wrong", [["--count", "0"], ["--seed", "-1"], ["--scale", "0"]])
def test_scenes_out_of_range_are_usage_errors(tmp_path: Path, wrong: list[str]):
    assert CliRunner().invoke(cli.app, ["scenes", *wrong, str(tmp_path)]).exit_code == 2


def test_ui_on_a_busy_port(inside: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be used") as caught:
            run("ui", "--port", str(port))
    assert f"--port {port + 1}" in str(caught.value)


def test_ui_prints_the_address_if_the_store_is_a_server(
    inside: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert (
        run("ui") == "This workspace already uses an MLflow server: http://tracking.example:5000\n"
    )


@pytest.mark.slow
def test_ui_shows_runs_and_files(inside: Path):
    run("promote")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    start = time.monotonic()
    with running(["skyseg", "ui", "--port", str(port)], f"{url}/health"):
        assert time.monotonic() - start < 60
        found = requests.post(
            f"{url}/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 5}, timeout=10
        ).json()["experiments"]
        experiment = next(entry for entry in found if entry["name"] == "skyseg")
        runs = requests.post(
            f"{url}/ajax-api/2.0/mlflow/runs/search",
            timeout=10,
            json={"experiment_ids": [experiment["experiment_id"]]},
        ).json()["runs"]
        card = requests.get(
            f"{url}/get-artifact",
            timeout=10,
            params={"run_uuid": runs[0]["info"]["run_id"], "path": "model_card.md"},
        )
        # MLflow itself refuses what other web pages send, and paths that lead out of a run.
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            answer = requests.post(
                f"{url}/api/2.0/mlflow/experiments/create",
                timeout=10,
                headers=headers,
                json={"name": "x"},
            )
            assert answer.status_code == 403
        outside = requests.get(
            f"{url}/get-artifact",
            timeout=10,
            params={"run_uuid": runs[0]["info"]["run_id"], "path": "../../../../params.yaml"},
        )
        assert outside.status_code == 400

    assert {"key": "mlflow.experimentKind", "value": "custom_model_development"} in (
        experiment["tags"]
    )
    assert card.text.startswith("# A model card\n")
