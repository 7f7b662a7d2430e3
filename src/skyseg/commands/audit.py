"""audit: find masks that are probably wrong; exclude: keep samples out of the data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skyseg.commands.folds import divide, train_folds
from skyseg.commands.options import check_choice, check_folder
from skyseg.data.audit.excluded import TABLE, exclude, read_excluded, unknown_id
from skyseg.data.manifest import SPLITS, Dataset, read_dataset, read_manifest
from skyseg.data.sources import find_everything
from skyseg.data.tables import id_key
from skyseg.errors import UserError, printable
from skyseg.inference.loading import load_model
from skyseg.inference.pretrained import PRETRAINED
from skyseg.inference.suspects import Answers, rank
from skyseg.model.checkpoint import ModelConfig, config_path, load_config
from skyseg.params import Params
from skyseg.pipeline.train import initial_weights
from skyseg.reports.suspects_page import PAGE, make_cards, write_results

CHOICES = (*SPLITS, "all")
NEXT = "Next: dvc add data && dvc repro"
RELIABLE = 0.6
"""IoU with all masks below which a model's answers say little about single masks."""
NEGLIGIBLE = 0.01
"""Score up to which a sample is no suspect, such as 0.1 % of the pixels and 1 - IoU of 0.1."""
PRINTED = 5


def run(
    split: str,
    model: str | None,
    out: Path,
    count: int,
    folds: int,
    epochs: int | None,
    unseen: bool,
    params: Params,
    root: Path,
) -> None:
    """Rank the samples of a split by how much a model's confident answers disagree with the masks.
    Write ``suspects.csv``, ``suspects.html`` and its pictures into ``out``.

    Args:
        split: train, val, test or all.
        model: which answers; None: models that are trained without the samples they answer for,
            or, for val and test, the one in ``models/`` if it was trained on this data set.
        out: folder for the results.
        count: number of suspects to write.
        folds: number of models to train.
        epochs: of each of them; None: few.
        unseen: the user knows that the model has not trained on these samples.
        params: the settings.
        root: the workspace.

    Raises:
        UserError: nothing is prepared, the split is empty, a file cannot be read, or the model has
            trained on the samples, or may have.
    """
    check_choice("--split", split, CHOICES)
    check_folder("--out", out)
    dataset, samples = read_dataset(root / "prepared"), _samples(split, root)
    name = model or _trained_here(split, dataset, root)
    if name:
        opened = load_model(name, params.train.device, root)
        config = getattr(opened.predictor, "config", None)
        check_unseen(name, config, dataset, samples, unseen)
        print(f"answers: {opened.label}")
        answers = Answers([opened.predictor], np.zeros(len(samples), np.int64))
    else:
        answers = _out_of_fold(samples, dataset, folds, epochs, unseen, params, root)
    ranking = rank(answers, samples, dataset.encoding, root)
    if ranking.iou < RELIABLE:
        print(
            f"WARNING: the answers agree little with all the masks (IoU {ranking.iou:.2f}), so "
            "they say little about single ones; use a model of what these masks mark, or more "
            "--epochs"
        )
    suspects = ranking.table[ranking.table["score"] > NEGLIGIBLE].head(count)
    cards = make_cards(ranking, suspects, samples, answers, dataset.encoding, root)
    write_results(out, ranking, suspects, cards, len(answers.predictors))
    _report(suspects, len(samples), out)


def check_unseen(
    name: str,
    config: ModelConfig | None,
    dataset: Dataset,
    samples: pd.DataFrame,
    unseen: bool,
) -> None:
    """Check that a model has not trained on the samples for which it is to answer.

    Args:
        name: what the user calls it.
        config: its model config, which says what it has trained on, if it has one.
        dataset: what is prepared.
        samples: rows of the manifest.
        unseen: the user knows that it has not.

    Raises:
        UserError: it has, or nothing says that it has not.
    """
    known = config.data if config else {}
    trained = known.get("splits", {}).get("train", {}).get("fingerprint")
    if trained == dataset.splits["train"].fingerprint:
        if (samples["split"] == "train").any():
            raise UserError(
                f"{name}: has trained on the training split, so it answers what the masks say; "
                "leave out --model, or name one that has not, such as "
                f"{PRETRAINED}"
            )
        return
    if unseen:
        return
    if trained and Path(name) == PRETRAINED:
        print(f"{name}: trained on other data ({known['splits']['train']['images']:,} images)")
        return
    raise UserError(
        f"{name}: "
        + (
            "trained on another state of this data set or on another one, perhaps on some of "
            "these samples"
            if trained
            else "nothing says what it has trained on"
        )
        + "; if you know that these samples were not among it, add --unseen"
    )


def exclude_samples(root: Path, ids: list[str], reason: str, params: Params) -> None:
    """Add samples to ``data/excluded.csv``.

    Raises:
        UserError: a sample does not exist, there is no reason, or the table cannot be written.
    """
    data = root / "data"
    known = {id_key(sample.id): sample.id for sample in find_everything(params, root)}
    for id in ids:
        if id_key(id) not in known:
            raise UserError(unknown_id(id, list(known.values())))
    for id in ids:
        exclude(data, known[id_key(id)], reason)
    print(f"{data / TABLE}: {len(read_excluded(data)):,} kept out")
    print(NEXT)


def _samples(split: str, root: Path) -> pd.DataFrame:
    """The manifest's rows of a split, without those that have been excluded since. The added column
    row is their row in the split's arrays."""
    manifest = read_manifest(root / "prepared")
    manifest["row"] = manifest.groupby("split").cumcount()
    if split != "all":
        manifest = manifest[manifest["split"] == split]
    out = set(read_excluded(root / "data"))
    kept = [id_key(id) not in out for id in manifest["id"]]
    rows = manifest[kept].reset_index(drop=True)
    if rows.empty:
        raise UserError(f"--split: no sample is in {split}; choose another split")
    return rows


def _trained_here(split: str, dataset: Dataset, root: Path) -> str | None:
    """The model in ``models/``, if it has trained on this data set and not on the split."""
    weights = root / "models" / "best.safetensors"
    if split not in ("val", "test") or not config_path(weights).is_file():
        return None
    try:
        trained = load_config(weights).data.get("splits", {}).get("train", {}).get("fingerprint")
    except UserError:
        return None
    return str(weights) if trained == dataset.splits["train"].fingerprint else None


def _out_of_fold(
    samples: pd.DataFrame,
    dataset: Dataset,
    folds: int,
    epochs: int | None,
    unseen: bool,
    params: Params,
    root: Path,
) -> Answers:
    """Models trained for this, each of which answers for samples that it has not trained on."""
    train = _samples("train", root)
    weights = initial_weights(params, root)
    if weights is not None:
        config = load_config(weights) if config_path(weights).is_file() else None
        everything = pd.concat([train, samples])
        check_unseen(str(params.model.init), config, dataset, everything, unseen)
    asked = (samples["split"] == "train").to_numpy()
    owners = divide(train, folds if asked.any() else 1)
    predictors = train_folds(train, owners, params, root / "prepared", weights, epochs)
    # No model has seen samples of the other splits, so any may answer for them.
    all_owners = np.arange(len(samples)) % len(predictors)
    if asked.any():
        all_owners[asked] = owners
    return Answers(list(predictors), all_owners)


def _report(suspects: pd.DataFrame, total: int, out: Path) -> None:
    rows: list[Any] = list(suspects.head(PRINTED).itertuples())
    for row in rows:
        print(printable(f"{row.rank:>3}. {row.id} ({row.split}): {row.kind}, {row.share:.1%}"))
    print(f"{len(suspects):,} of {total:,} samples in {out / PAGE}, the worst first")
