"""Runs skyseg predict through the command line, and reads what it made."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from typer.testing import CliRunner

from skyseg.cli import app
from skyseg.errors import UserError
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.u2net import build_model


def make_model(path: Path, seed: int = 0, size: int = 32) -> Path:
    torch.manual_seed(seed)
    path.parent.mkdir(exist_ok=True)
    model = build_model("u2netp")
    torch.nn.init.constant_(model.outconv.bias, 0.02)
    save_checkpoint(
        path,
        model.state_dict(),
        ModelConfig(variant="u2netp", size=size, threshold=0.5, refine="colour"),
    )
    return path


def run(*arguments: str, model: str = "m.safetensors") -> str:
    """Run predict and return what it prints on stderr."""
    done = CliRunner().invoke(
        app, ["predict", "--model", model, *arguments], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stderr


def refused(
    *arguments: str, model: str = "m.safetensors", stdin: bytes | None = None
) -> tuple[str, str]:
    """Run predict, which must fail; return the error and what it prints on stderr before."""
    done = CliRunner().invoke(app, ["predict", "--model", model, *arguments], input=stdin)
    assert isinstance(done.exception, UserError), (done.output, done.exception)
    return str(done.exception), done.stderr


def rows(folder: str = "out") -> dict[str, dict[str, str]]:
    with Path(folder, "predictions.csv").open(newline="") as table:
        return {row["file"]: row for row in csv.DictReader(table)}


def results(folder: str = "out") -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != "predictions.csv"
    )
