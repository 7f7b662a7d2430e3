"""The whole pipeline through real DVC and a real MLflow store, on a tiny data set."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from tiny import make_pairs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TINY = {
    "model": {"size": 32, "init": None},
    "train": {"epochs": 2, "batch_size": 4, "device": "cpu"},
    "evaluate": {"gallery": 3},
}


def environment(**more):
    """Environment of a user who activated the virtual environment, without MLflow settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return own | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"} | more


def run(folder, *command, **more):
    """Run a command that must succeed; return the finished process."""
    done = subprocess.run(
        command, cwd=folder, env=environment(**more), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def git(folder, *arguments):
    return run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments)


def store(folder):
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return MlflowClient(uri, registry_uri=uri)  # the default is the registry of an earlier test


def runs(folder):
    experiment = store(folder).get_experiment_by_name("skyseg")
    return store(folder).search_runs([experiment.experiment_id])


def versions(folder):
    """The registered versions, each with its aliases, which a search does not return."""
    found = store(folder).search_model_versions("name = 'skyseg'")
    return [store(folder).get_model_version("skyseg", entry.version) for entry in found]


def set_params(folder, **sections):
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    for section, values in sections.items():
        params[section].update(values)
    yaml.dump(params, folder / "params.yaml")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of this working tree with a tiny data set, after its first ``dvc repro``."""
    folder = tmp_path_factory.mktemp("pipeline") / "clone"
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(".dvc/sample"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    make_pairs(folder / "data", 20)
    (folder / "models").mkdir(exist_ok=True)
    shutil.copy(ROOT / "tests" / "tiny.py", folder / "models" / "start.safetensors")  # not read
    set_params(folder, **TINY)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    run(folder, "dvc", "add", "--quiet", "data", "models/start.safetensors")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "tiny data")
    run(folder, "dvc", "repro")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first run")
    return folder


def test_repro_registers_a_version_with_its_scores_run_and_data(repository):
    [version] = versions(repository)
    config = json.loads((repository / "models" / "best.json").read_text())
    metrics = json.loads((repository / "reports" / "metrics.json").read_text())["test"]
    assert (str(version.version), version.aliases) == ("1", ["challenger"])
    assert version.tags["fingerprint"] == config["fingerprint"]
    assert float(version.tags["test.iou"]) == pytest.approx(metrics["iou"], abs=1e-5)
    [logged] = runs(repository)
    assert logged.info.run_id == config["run"] == version.run_id
    assert logged.data.metrics["test/iou"] == pytest.approx(metrics["iou"], abs=1e-5)
    assert logged.data.tags["mlflow.source.git.commit"] == config["git_commit"].split("-")[0]
    assert {i.dataset.digest for i in logged.inputs.dataset_inputs} == {config["data"]["dvc_md5"]}


def test_the_working_tree_is_clean_after_repro(repository):
    assert git(repository, "status", "--porcelain").stdout == ""


def test_a_second_repro_does_nothing(repository):
    start = time.perf_counter()
    done = run(repository, "dvc", "repro")
    assert "up to date" in done.stdout
    assert time.perf_counter() - start < 30
    assert len(runs(repository)) == len(versions(repository)) == 1


@pytest.mark.parametrize(
    ("file", "reruns"),
    [
        ("src/skyseg/reports/figures.py", {"evaluate"}),
        ("src/skyseg/reports/data_summary.py", set()),
        ("src/skyseg/pipeline/train.py", set()),
        ("src/skyseg/tracking/runs.py", set()),
        ("src/skyseg/scenes/sky.py", set()),
        ("src/skyseg/cli.py", set()),
        ("src/skyseg/model/losses.py", {"train"}),
        ("src/skyseg/metrics/suite.py", {"evaluate"}),
        ("src/skyseg/data/split.py", {"prepare"}),
    ],
)
def test_an_edit_reruns_exactly_the_stages_it_affects(repository, file, reruns):
    before = (repository / file).read_text()
    try:
        (repository / file).write_text(before + "\n# edited\n")
        status = json.loads(run(repository, "dvc", "status", "--json").stdout)
        changed = {
            stage
            for stage, changes in status.items()
            if any(file in change.get("changed deps", {}) for change in changes)
        }
    finally:
        (repository / file).write_text(before)
    assert changed == reruns


@pytest.mark.parametrize("temporary", [False, True])
def test_an_experiment_adds_a_run(repository, temporary):
    before = {r.info.run_id for r in runs(repository)}
    rate = 0.0003 if temporary else 0.0007
    run(
        repository,
        "dvc",
        "exp",
        "run",
        "-S",
        f"train.lr={rate}",
        *(["--temp"] if temporary else []),
    )
    [new] = [r for r in runs(repository) if r.info.run_id not in before]
    assert new.data.params["train.lr"] == str(rate)
    assert "test/iou" in new.data.metrics
    shown = run(repository, "dvc", "exp", "show", "--csv").stdout
    assert str(rate) in shown
    git(repository, "checkout", "--quiet", ".")
    run(repository, "dvc", "checkout", "--quiet")


def test_metrics_params_and_plots(repository):
    shown = json.loads(run(repository, "dvc", "metrics", "show", "--json").stdout)
    assert "iou" in json.dumps(shown)
    set_params(repository, train={"lr": 0.01})
    difference = json.loads(run(repository, "dvc", "params", "diff", "--json").stdout)
    git(repository, "checkout", "--quiet", "params.yaml")
    assert difference["params.yaml"]["train.lr"]["new"] == 0.01
    run(repository, "dvc", "plots", "show", "--out", "plots")
    page = (repository / "plots" / "index.html").read_text()
    for expected in (
        "Loss, summed over the seven outputs",
        "Validation",
        "Precision and recall",
        "gallery.png",
    ):
        assert expected in page
    shutil.rmtree(repository / "plots")


def test_a_second_clone_with_an_empty_store_promotes_the_model_from_dvc(repository, tmp_path):
    run(
        repository,
        "dvc",
        "remote",
        "add",
        "--default",
        "--local",
        "shared",
        str(tmp_path / "remote"),
    )
    run(repository, "dvc", "push", "--quiet")
    git(tmp_path, "clone", "--quiet", str(repository), "second")
    second = tmp_path / "second"
    run(second, "dvc", "remote", "add", "--default", "--local", "shared", str(tmp_path / "remote"))
    run(second, "dvc", "pull", "--quiet", "models/best.safetensors", "models/best.json")
    done = run(second, sys.executable, "-m", "skyseg", "promote", PYTHONPATH="src")
    assert "version 1 is now the champion" in done.stdout
    [version] = versions(second)
    assert version.aliases == ["champion"]
    [restored] = runs(second)
    assert restored.data.tags["restored"] == "from the workspace"
    assert len(store(second).get_metric_history(restored.info.run_id, "val/iou")) == 2


def test_the_next_repro_resumes_a_killed_training(repository):
    set_params(repository, train={"epochs": 30, "seed": 5})
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=repository,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    history = repository / "reports" / "history.csv"
    deadline = time.monotonic() + 120
    while not (history.exists() and len(history.read_text().splitlines()) > 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {v.version for v in versions(repository)}
    done = run(repository, "dvc", "repro")
    assert "resuming after epoch" in done.stdout
    assert len(history.read_text().splitlines()) == 31
    new = [v for v in versions(repository) if v.version not in before]
    assert len(new) == 1, done.stdout + done.stderr
    [version] = new
    steps = [m.step for m in store(repository).get_metric_history(version.run_id, "val/iou")]
    assert steps == list(range(1, 31))
    git(repository, "checkout", "--quiet", ".")
