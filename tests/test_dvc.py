"""dvc.yaml: a stage depends on exactly the code it imports and the settings it reads."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from imports import closure
from skyseg.params import flatten, load_params

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_code_it_imports(stage):
    module = re.search(r"python -m (\S+)", STAGES[stage]["cmd"]).group(1)
    listed = {dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")}
    assert listed == closure(module)


@pytest.mark.parametrize("stage", STAGES)
def test_code_that_cannot_change_a_result_is_no_dependency(stage):
    text = " ".join(STAGES[stage]["deps"])
    assert "scenes" not in text
    assert "cli.py" not in text
    assert ("losses.py" in text) == (stage == "train")


@pytest.mark.parametrize("stage", STAGES)
def test_listed_params_exist(stage):
    known = flatten(load_params(ROOT / "params.yaml"))
    for key in STAGES[stage]["params"]:
        assert any(name == key or name.startswith(f"{key}.") for name in known), key


def test_every_setting_reruns_some_stage_or_steers_promotion():
    listed = tuple(key for stage in STAGES.values() for key in stage["params"])
    for name in flatten(load_params(ROOT / "params.yaml")):
        read = any(name == key or name.startswith(f"{key}.") for key in listed)
        assert read != name.startswith("promote."), name
