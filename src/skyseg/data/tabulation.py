"""From inspected samples to the manifest: their groups, splits and flags."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from skyseg.data.audit import copies
from skyseg.data.audit.mask_checks import Measures
from skyseg.data.formats.samples import Sample
from skyseg.data.inspection import Inspection
from skyseg.data.manifest import COLUMNS, SPLITS
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.stats import shares
from skyseg.data.sources import Source, naming
from skyseg.data.split import assign, group_names


class Part(NamedTuple):
    """A sample that can be used, and all that is known about it."""

    source: Source
    sample: Sample
    inspection: Inspection
    measures: Measures | None = None
    cluster: int = 0
    """The same for copies of one photograph."""
    group: str = ""


def groups_in(source: Source, ids: list[str], notes: list[str]) -> list[str]:
    """The group of each sample of a data set; names begin with the data set's.

    Raises:
        UserError: see ``group_names``.
    """
    own = [id.removeprefix(source.prefix) for id in ids]
    with naming(source):
        names = group_names(own, source.split, source.folder, notes)
    return [source.prefix + name for name in names]


def tabulate(parts: list[Part], encodings: dict[str, Encoding], root: Path) -> pd.DataFrame:
    """The manifest: one row per sample, sorted by split and id, with its group, split and flags.

    Args:
        parts: samples of one data set after those of another.
        encodings: what mask values mean, by data set.
        root: of the repository.

    Raises:
        UserError: the samples cannot be split as the settings say.
    """
    samples = [part.sample for part in parts]
    inspections = [part.inspection for part in parts]
    clusters = np.array([part.cluster for part in parts])
    measured = [shares(each.inspection.mask, encodings[each.source.name]) for each in parts]
    groups = [part.group for part in parts]
    joined = copies.merge(groups, clusters)
    table = pd.DataFrame(
        {
            "id": [sample.id for sample in samples],
            "image": [sample.image.relative_to(root).as_posix() for sample in samples],
            "mask": [sample.mask.relative_to(root).as_posix() for sample in samples],
            "source": [part.source.name for part in parts],
            "weight": [part.source.weight for part in parts],
            "group": pd.Series(groups).groupby(joined).transform("min"),
            "width": [each.width for each in inspections],
            "height": [each.height for each in inspections],
            "foreground": np.round([share for share, _ in measured], 6),
            "ignored": np.round([share for _, share in measured], 6),
            "image_sha256": [each.image_sha256 for each in inspections],
            "mask_sha256": [each.mask.sha256 for each in inspections],
        }
    )
    table["split"] = together(table, parts, assigned(table, parts))
    table["flags"] = [
        ";".join([*each.flags, *more])
        for each, more in zip(inspections, duplicate_flags(table, clusters), strict=True)
    ]
    order = table["split"].map(SPLITS.index)
    return (
        table.assign(order=order).sort_values(["order", "id"])[list(COLUMNS)].reset_index(drop=True)
    )


def assigned(table: pd.DataFrame, parts: list[Part]) -> list[str]:
    """The split of each sample; each data set is divided by itself.

    Raises:
        UserError: see ``split.assign``.
    """
    splits: list[str] = []
    for source, each in groupby(parts, lambda part: part.source):
        own = list(each)
        rows = table.iloc[len(splits) : len(splits) + len(own)]
        given = [part.sample.split for part in own]
        with naming(source):
            splits += assign(
                rows["id"].tolist(), given, rows["foreground"], rows["group"], source.split
            )
    return splits


def together(table: pd.DataFrame, parts: list[Part], splits: list[str]) -> list[str]:
    """Splits in which copies of a photograph that are in two data sets stay together: they follow
    one whose data set defines its split, else the first."""
    fixed = [part.sample.split == split for part, split in zip(parts, splits, strict=True)]
    rows = table[["group", "source"]].assign(split=splits, free=[not each for each in fixed])
    groups = rows.sort_values("free", kind="stable").groupby("group")
    follows = rows["free"] & (rows["group"].map(groups["source"].nunique()) > 1)
    return rows["split"].mask(follows, rows["group"].map(groups["split"].first())).tolist()


def duplicate_flags(table: pd.DataFrame, clusters: np.ndarray) -> list[list[str]]:
    """The flags of each row: duplicate (equal image files), near-duplicate, and masks-differ (equal
    image files with different masks)."""
    same = table.groupby("image_sha256")
    columns = {
        "duplicate": same["id"].transform("size") > 1,
        "near-duplicate": pd.Series(clusters).groupby(clusters).transform("size")
        > same["id"].transform("size"),
        "masks-differ": same["mask_sha256"].transform("nunique") > 1,
    }
    return [
        [name for name, holds in zip(columns, row, strict=True) if holds]
        for row in zip(*columns.values(), strict=True)
    ]
