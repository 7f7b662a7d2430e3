"""benchmark: score any models on any data set, without preparing or training."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from tqdm import tqdm

from skyseg.commands.options import check_folder
from skyseg.data import pictures
from skyseg.data.formats import (
    find,
    find_photographs,
    has_masks,
    other_format,
    with_mask_files,
)
from skyseg.data.mask_meaning import infer_encoding
from skyseg.data.mask_stats import count_values
from skyseg.data.masks import read_mask
from skyseg.data.parallel import in_order
from skyseg.errors import UserError
from skyseg.files import write_png, write_text
from skyseg.inference.loading import load_model
from skyseg.inference.model import Model
from skyseg.metrics import bootstrap
from skyseg.metrics import suite as metrics
from skyseg.params import NAMED_FORMATS, DataParams
from skyseg.reports.tables import markdown_table

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


class Item(NamedTuple):
    id: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None


class Measured(NamedTuple):
    stats: list[metrics.ImageStats]
    """One per image; empty without masks."""
    seconds: list[float]
    """One per image, from the decoded photograph to its map."""


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
        One row per model: ``model``, ``images``, ``latency_ms`` (median per photograph, one at a
        time), ``parameters`` and ``megabytes``. With masks, also the scores of
        ``metrics.summarise``, their ``intervals`` (95 %) and, from the second model on, the
        ``differences`` from the first, each as [difference, low, high], paired by image.

    Raises:
        UserError: a model or a sample cannot be read, masks are ambiguous, or there is no such
            split.
    """
    folders = _folder_names(models)
    contenders = [load_model(model, recipe=recipe) for model in models]
    with TemporaryDirectory() as drawn:
        ids, items = _items(root, data, split, Path(drawn) / "masks")
        places = {model: maps / name for model, name in folders.items()} if maps else {}
        results = _measure(contenders, items, len(ids), places)
    return _rows(contenders, results, len(ids))


def _measure(
    contenders: list[Model], items: Iterator[Item], count: int, maps: dict[str, Path]
) -> dict[str, Measured]:
    """What each model gives on each photograph, and how long it takes; maps are saved in the given
    folders."""
    results = {contender.name: Measured([], []) for contender in contenders}
    for item in tqdm(items, total=count, desc="scoring", unit="img", disable=None):
        # All models on one photograph, then the next: other load on the machine affects all alike.
        for contender in contenders:
            result = results[contender.name]
            if not result.seconds:  # the first call also sets up memory and kernels
                contender.probability(item.image)
            start = time.perf_counter()
            found = contender.probability(item.image)
            result.seconds.append(time.perf_counter() - start)
            if item.mask is not None:
                result.stats.append(metrics.full_image_stats(found, item.mask, contender.threshold))
            if maps:
                write_png(
                    maps[contender.name] / f"{item.id}.png",
                    Image.fromarray((found * 255).round().astype(np.uint8)),
                )
    return results


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


def markdown(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown tables: the scores, then the differences between models."""
    cost = ("images", "latency_ms", "parameters", "megabytes")
    scored = [name for name in SHOWN if name in rows[0]]
    table = [["model", *scored, *cost]]
    for row in rows:
        table.append(
            [
                row["model"],
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
                f"{row['model']} - {rows[0]['model']}",
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


def _items(
    root: Path, data: DataParams, split: str | None, drawn: Path
) -> tuple[list[str], Iterator[Item]]:
    """The ids of the photographs, and the decoded samples, one at a time. Masks of annotated shapes
    are drawn into the folder ``drawn``.

    Nothing is decoded ahead in other threads, because that would distort the latencies.
    """
    if data.format == "pairs" and root.is_dir() and not has_masks(root):
        if (other := other_format(root)) is not None:
            raise UserError(f"{root}: laid out as {other}; add --format {other}")
        if split is not None:
            raise UserError(f"{root}: no masks, so there is no split {split!r}; omit --split")
        photographs = find_photographs(root)
        print(f"{root}: no masks, so only maps and latency")
        return list(photographs), (
            Item(name, pictures.read(path).pixels, None) for name, path in photographs.items()
        )
    known, notes = find(root, data.format)
    samples = [sample for sample in known if split in (None, sample.split)]
    if not samples:
        raise UserError(f"{root}: no sample is in the split {split!r}; omit --split to use all")
    samples, meaning, said = with_mask_files(samples, drawn, data, known)
    statistics = in_order(
        lambda sample: count_values(sample.mask, meaning), samples, "reading masks"
    )
    encoding, decided = infer_encoding(list(statistics), meaning)
    for line in (*notes, said + decided):
        print(line)
    return [sample.id for sample in samples], (
        Item(sample.id, pictures.read(sample.image).pixels, read_mask(sample.mask, encoding))
        for sample in samples
    )


def _rows(
    contenders: list[Model], results: dict[str, Measured], images: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    baseline: list[bootstrap.Scores] = []
    for contender in contenders:
        stats, seconds = results[contender.name]
        row: dict[str, Any] = {
            "model": contender.name,
            "images": images,
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
