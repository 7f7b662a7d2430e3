"""benchmark: score any models on any data set, without preparing or training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import ValidationError

from skyseg.commands.measuring import Measured, find_photographs, measure
from skyseg.commands.options import check_folder
from skyseg.errors import UserError, printable
from skyseg.files import write_text
from skyseg.inference.loading import load_model
from skyseg.inference.model import Model
from skyseg.metrics import bootstrap
from skyseg.metrics import suite as metrics
from skyseg.params import NAMED_FORMATS, DataParams
from skyseg.reports.tables import escape_cell, markdown_table

# Columns of the printed table; the JSON has all scores.
SHOWN = (
    "iou",
    "iou_image",
    "f_max",
    "f_weighted",
    "s_measure",
    "e_max",
    "mae",
    "boundary_iou",
    "boundary_f",
    "thin_recall",
)


def benchmark(
    models: list[str],
    root: Path,
    data: DataParams,
    split: str | None = None,
    recipe: str = "skyseg",
    maps: Path | None = None,
) -> list[dict[str, Any]]:
    """Run each model on the same photographs, and score it if there are masks.

    Args:
        models: checkpoints (.safetensors with the model config next to it), models:/NAME@ALIAS,
            published weights (.pth) or .onnx files.
        root: folder of the data set; without masks, any folder of photographs.
        data: its format, and what its mask values mean.
        split: a predefined split; None: all samples.
        recipe: preprocessing for models without a model config; a row of ``published.RECIPES``.
        maps: folder in which to save each model's 8-bit maps, at the photographs' size.

    Returns:
        One row per model: ``model``, ``images``, ``failed`` (photographs on which something failed:
        they count for no model, and an error on stderr names each), ``latency_ms`` (median per
        photograph, one at a time), ``parameters`` and ``megabytes``. With masks, also the scores of
        ``metrics.summarise``, their ``intervals`` (95 %) and, from the second model on, the
        ``differences`` from the first, each as [difference, low, high], paired by image.

    Raises:
        UserError: a model or a mask cannot be read, masks are ambiguous, there is no such split, or
            every photograph failed.
    """
    folders = _folder_names(models)
    contenders = [load_model(model, recipe=recipe) for model in models]
    with TemporaryDirectory() as drawn:
        photographs = find_photographs(root, data, split, Path(drawn) / "masks")
        places = {model: maps / name for model, name in folders.items()} if maps else {}
        results, problems = measure(contenders, photographs, places)
    for problem in problems:
        print(printable(f"error: {problem}"), file=sys.stderr)
    if len(problems) == len(photographs.ids):
        raise UserError(f"{root}: every photograph failed, see above")
    return _rows(contenders, results, len(problems))


def run(
    models: list[str],
    root: Path,
    format: str,
    foreground: list[str] | None,
    ignore: list[str] | None,
    invert: bool,
    split: str | None,
    recipe: str,
    json_file: Path | None,
    maps: Path | None,
) -> None:
    """Run ``benchmark`` with command line options: print tables, and write JSON if asked to.

    Raises:
        UserError: an option is not valid; see also ``benchmark``.
    """
    try:
        data = DataParams.model_validate(
            {
                "format": format,
                "foreground": _classes(foreground, format) or None,
                "ignore": _classes(ignore, format),
                "invert": invert,
            }
        )
    except ValidationError as error:
        problem = error.errors()[0]
        message = problem["msg"].removeprefix("Value error, ")
        option = str(problem["loc"][0]) if problem["loc"] else "foreground"
        raise UserError(f"--{option}: {message}") from None
    check_folder("--json", json_file and json_file.parent)
    check_folder("--maps", maps)
    if json_file and json_file.is_dir():
        raise UserError(f"--json: {json_file} is a folder; name a file")
    rows = benchmark(models, root, data, split, recipe, maps)
    if json_file:
        write_text(json_file, json.dumps(rows, indent=2) + "\n")
    print(markdown(rows))
    if failed := rows[0]["failed"]:
        raise UserError(
            f"{failed} of {failed + rows[0]['images']} photographs failed, see above; the table is "
            "without them"
        )


def markdown(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown tables: the scores, then the differences between models."""
    cost = ("images", "latency_ms", "parameters", "megabytes")
    scored = [name for name in SHOWN if name in rows[0]]
    table = [["model", *scored, *cost]]
    for row in rows:
        table.append(
            [
                escape_cell(row["model"]),
                *(
                    _with_interval(row[name], *row["intervals"][name])
                    if name in row["intervals"]
                    else f"{row[name]:.4f}"
                    for name in scored
                ),
                f"{row['images']}",
                f"{row['latency_ms']:.0f}",
                f"{row['parameters']:,}",
                f"{row['megabytes']:.1f}",
            ]
        )
    text = markdown_table(table)
    if any("differences" in row for row in rows):
        changes = [["difference", *scored]]
        changes += [
            [
                escape_cell(f"{row['model']} - {rows[0]['model']}"),
                *(
                    _with_interval(*row["differences"][name]) if name in row["differences"] else "-"
                    for name in scored
                ),
            ]
            for row in rows[1:]
        ]
        text += "\n\n" + markdown_table(changes)
    return text


def _classes(texts: list[str] | None, format: str) -> list[int | str]:
    """Names of classes, or class indices in formats whose masks are pictures."""
    named = format in NAMED_FORMATS
    return [int(text) if text.isdecimal() and not named else text for text in texts or []]


def _rows(
    contenders: list[Model], results: dict[str, Measured], failed: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    baseline: list[bootstrap.Scores] = []
    for contender in contenders:
        stats, seconds = results[contender.name]
        images = len(seconds)
        row: dict[str, Any] = {
            "model": contender.name,
            "images": images,
            "failed": failed,
            "latency_ms": float(np.median(seconds)) * 1000,
            "parameters": contender.predictor.parameters,
            "megabytes": contender.megabytes,
        }
        if stats:
            score = metrics.scorer(stats, contender.threshold)
            draws = bootstrap.resample(score, images)
            row |= score(np.arange(images)) | {"intervals": bootstrap.intervals(draws)}
            if baseline:
                low_high = bootstrap.intervals(bootstrap.differences(draws, baseline))
                row["differences"] = {
                    name: (row[name] - rows[0][name], *bounds) for name, bounds in low_high.items()
                }
            baseline = baseline or draws
        rows.append(row)
    return rows


def _folder_names(models: list[str]) -> dict[str, str]:
    """A folder name for each model: the stem of its file, or more of its path if stems collide."""
    if len({Path(model).resolve() for model in models}) < len(models):
        raise UserError("a model is named twice; name each once")
    paths = [Path(model.replace("models:/", "").replace("@", "-")).resolve() for model in models]
    names = [path.stem for path in paths]
    if len(set(names)) < len(models):
        names = [path.name for path in paths]
    depth = 1
    while len(set(names)) < len(models):
        depth += 1
        names = ["-".join(path.parts[-depth:]).strip("/-") for path in paths]
    return dict(zip(models, names, strict=True))


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"
