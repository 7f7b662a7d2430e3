"""dvc.yaml: a stage depends on everything that can change its results, and on nothing else."""

import re
import shutil
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML

from skyseg.params import flatten, load_params
from skyseg.provenance import deciding_files
from skyseg.training.resume import MAY_CHANGE

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
SETTINGS = flatten(load_params(ROOT / "params.yaml"))


def code_of(stage: str) -> set[str]:
    return {dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")}


def watched(stage: str) -> set[str]:
    """Settings whose change reruns a stage."""
    return {
        name
        for name in SETTINGS
        if any(name == key or name.startswith(f"{key}.") for key in STAGES[stage]["params"])
    }


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_files_that_can_change_the_results(stage: str):
    assert code_of(stage) == {
        path.relative_to(ROOT).as_posix() for path in deciding_files(stage)
    }, "dvc.yaml: deps must be the files that skyseg.provenance.deciding_files lists"


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_runs_the_stage_in_pipeline(stage: str):
    module = re.search(r"python -m (\S+)", STAGES[stage]["cmd"]).group(1)
    assert module == f"skyseg.pipeline.{stage}"


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("data/split.py", {"prepare"}),
        ("data/pictures/codec.py", {"prepare", "evaluate"}),
        ("data/transforms.py", {"train"}),
        ("model/losses.py", {"train"}),
        ("model/u2net.py", {"train", "evaluate"}),
        ("metrics/counts.py", {"train", "evaluate"}),
        ("metrics/suite.py", {"evaluate"}),
        ("metrics/saliency.py", {"evaluate"}),
        ("training/engine.py", {"train"}),
        ("training/fit.py", {"train"}),
        ("inference/refine.py", {"evaluate"}),
        ("reports/figures.py", {"evaluate"}),
        ("reports/page.html", {"evaluate"}),
        ("reports/model_card.md.jinja", {"evaluate"}),
        # Code that only prints, logs or draws changes no result.
        ("reports/data_summary.py", set()),
        ("pipeline/prepare.py", set()),
        ("pipeline/train.py", set()),
        ("training/resume.py", set()),
        ("tracking/registry.py", set()),
        ("tracking/training.py", set()),
        ("params.py", set()),
        ("errors.py", set()),
        ("files.py", set()),
        ("cli.py", set()),
        ("scenes/sky.py", set()),
        ("app/page.py", set()),
    ],
)
def test_an_edit_reruns_what_it_can_change(file: str, stages: set[str]):
    assert (ROOT / "src" / "skyseg" / file).is_file()
    assert {stage for stage in STAGES if f"src/skyseg/{file}" in code_of(stage)} == stages


@pytest.mark.parametrize("stage", STAGES)
def test_listed_params_exist(stage: str):
    for key in STAGES[stage]["params"]:
        assert any(name == key or name.startswith(f"{key}.") for name in SETTINGS), key


def test_every_setting_reruns_a_stage_or_controls_promotion():
    for name in SETTINGS:
        read = any(name in watched(stage) for stage in STAGES)
        assert read != name.startswith("promote."), name


def test_settings_of_other_stages_do_not_rerun_train():
    others = {
        name for name in SETTINGS if name.split(".")[0] in ("evaluate", "registry", "promote")
    }
    assert not watched("train") & others
    assert set(MAY_CHANGE) <= watched("train")  # they rerun train, which then resumes


def test_an_experiment_rewrites_only_the_settings_it_changes(tmp_path: Path):
    """params.yaml is committed in the form in which ``dvc exp run -S`` writes it."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with modify_yaml(tmp_path / "params.yaml") as params:
        params["train"]["lr"], params["model"]["size"] = 0.123, 96
    before, after = (
        (folder / "params.yaml").read_text().splitlines() for folder in (ROOT, tmp_path)
    )
    changed = [line for line in after if line not in before]
    assert len(before) == len(after)
    assert [line.split("#")[0].strip() for line in changed] == ["size: 96", "lr: 0.123"]


def test_what_a_killed_command_left_is_tracked_nowhere():
    ignored = Repo(str(ROOT)).dvcignore
    for folder in ("data/images", "reports/evaluate"):
        left = ROOT / folder / ".a.png.0123abcd.17.part"
        assert ignored.is_ignored_dir(str(left))
        assert not ignored.is_ignored_file(str(left.with_name("a.png")))
    assert ".*.part/" in (ROOT / ".gitignore").read_text().splitlines()
