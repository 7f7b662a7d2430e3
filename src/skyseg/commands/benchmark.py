"""benchmark: score any models on any data set, without preparing or training."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from tqdm import tqdm

from skyseg.commands.options import check_folder
from skyseg.data import pictures
from skyseg.data.formats import find_photographs, find_samples, has_masks, other_format
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
from skyseg.params import DataParams
from skyseg.reports.tables import markdown_table

# In the printed table; the JSON has all.
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
    """One an image; empty without masks."""
    seconds: list[float]
    """One an image, from the decoded photograph to its map."""


def benchmark(
    models: list[str],
    root: Path,
    data: DataParams,
    split: str | None = None,
    recipe: str = "skyseg",
    maps: Path | None = None,
) -> list[dict[str, Any]]:
    """Run each model on the same photographs; score it where there are masks.

    Args:
        models: checkpoints (.safetensors with the config beside it), models:/NAME@ALIAS, published
            weights (.pth) or .onnx files.
        root: the data set's folder; without masks it may be any folder of photographs.
        data: its format, and what its mask values mean.
        split: a predefined split; None: all samples.
        recipe: how models without a config see a photograph; a row of ``published.RECIPES``.
        maps: a folder for each model's 8-bit maps, at the photographs' size.

    Returns:
        A row a model: ``model``, ``images``, ``latency_ms`` (median a photograph, one at a time),
        ``parameters``, ``megabytes`` and, with masks, the figures of ``metrics.summarise``, their
        ``intervals`` (95 %), and from the second model on the ``differences`` from the first, each
        as [difference, low, high], paired by image.

    Raises:
        UserError: a model or a sample that cannot be read, masks that are ambiguous, no such split.
    """
    folders = _folder_names(models)
    contenders = [load_model(model, recipe=recipe) for model in models]
    ids, items = _items(root, data, split)
    results = {model: Measured([], []) for model in models}
    for item in tqdm(items, total=len(ids), desc="scoring", unit="img", disable=None):
        # One photograph, every model: what else the machine does falls on all alike.
        for contender in contenders:
            result = results[contender.name]
            if not result.seconds:  # memory and kernels are chosen at the first call
                contender.probability(item.image)
            start = time.perf_counter()
            found = contender.probability(item.image)
            result.seconds.append(time.perf_counter() - start)
            if item.mask is not None:
                result.stats.append(metrics.full_image_stats(found, item.mask, contender.threshold))
            if maps:
                write_png(
                    maps / folders[contender.name] / f"{item.id}.png",
                    Image.fromarray((found * 255).round().astype(np.uint8)),
                )
    return _rows(contenders, results, len(ids))


def run(
    models: list[str],
    root: Path,
    format: str,
    foreground: list[int] | None,
    ignore: list[int] | None,
    invert: bool,
    split: str | None,
    recipe: str,
    json_file: Path | None,
    maps: Path | None,
) -> None:
    """``benchmark`` as it is typed: print its tables, and write its figures if asked to.

    Raises:
        UserError: an option that makes no sense; see ``benchmark``.
    """
    try:
        data = DataParams.model_validate(
            {
                "format": format,
                "foreground": foreground or None,
                "ignore": ignore or [],
                "invert": invert,
            }
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(
            f"--{'.'.join(map(str, problem['loc'][:1])) or 'foreground'}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
        ) from None
    check_folder("--json", json_file and json_file.parent)
    check_folder("--maps", maps)
    if json_file and json_file.is_dir():
        raise UserError(f"--json: {json_file} is a folder; name a file")
    rows = benchmark(models, root, data, split, recipe, maps)
    if json_file:
        write_text(json_file, json.dumps(rows, indent=2) + "\n")
    print(markdown(rows))


def markdown(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown tables: the scores, then what models differ by."""
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


def _items(root: Path, data: DataParams, split: str | None) -> tuple[list[str], Iterator[Item]]:
    """The ids of what there is to predict, and the decoded samples, one at a time.

    Decoding ahead in other threads would fall into the latencies.
    """
    if data.format == "pairs" and root.is_dir() and not has_masks(root):
        if (other := other_format(root)) is not None:
            raise UserError(f"{root}: laid out as {other}; add --format {other}")
        if split is not None:
            raise UserError(f"{root}: no masks, so no split {split!r}; leave --split away")
        photographs = find_photographs(root)
        print(f"{root}: no masks: maps and latency only")
        return list(photographs), (
            Item(name, pictures.read(path).pixels, None) for name, path in photographs.items()
        )
    samples = [
        sample for sample in find_samples(root, data.format) if split in (None, sample.split)
    ]
    if not samples:
        raise UserError(f"{root}: no sample is in the split {split!r}; leave --split away for all")
    statistics = in_order(
        lambda sample: count_values(sample.mask, data), samples, "looking at masks"
    )
    encoding, decided = infer_encoding(list(statistics), data)
    print(decided)
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
    """A folder's name for each model: its file's stem, and what more of its path tells it apart."""
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
