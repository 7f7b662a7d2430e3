"""benchmark: any checkpoint on any data set, through the command line."""

import json

import pytest
import torch
from typer.testing import CliRunner

from skyseg.checkpoint import Card, save_checkpoint
from skyseg.cli import app
from skyseg.errors import UserError
from skyseg.params import DataParams
from skyseg.stages.benchmark import benchmark, markdown
from skyseg.u2net import build_model
from tiny import make_pairs


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "m.safetensors", build_model("u2netp").state_dict(),
                    Card(variant="u2netp", size=32))
    return str(tmp_path / "m.safetensors")


def test_figures_and_table(model, tmp_path):
    make_pairs(tmp_path / "data", 4)
    table = benchmark([model, model], tmp_path / "data", DataParams())
    assert table["images"].tolist() == [4, 4]
    assert table.loc[0, "iou"] == table.loc[1, "iou"]
    assert markdown(table).splitlines()[2].startswith(f"| {model} | {table.loc[0, 'iou']:.4f} |")


def test_command_writes_json(model, tmp_path):
    make_pairs(tmp_path / "data", 3)
    result = CliRunner().invoke(app, ["benchmark", model, "--data", str(tmp_path / "data"),
                                      "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 0, result.output
    [row] = json.loads((tmp_path / "out.json").read_text())
    assert row["model"] == model
    assert row["images"] == 3


def test_a_split_that_is_not_there(model, tmp_path):
    make_pairs(tmp_path / "data", 3)
    with pytest.raises(UserError, match="no sample is in the split 'test'"):
        benchmark([model], tmp_path / "data", DataParams(), split="test")


def test_a_misspelt_format_is_one_line(model, tmp_path):
    result = CliRunner().invoke(app, ["benchmark", model, "--data", str(tmp_path),
                                      "--format", "coco"])
    assert isinstance(result.exception, UserError)
    assert "--format" in str(result.exception)
