"""Assigns samples to train, val and test: keeps predefined splits and divides the rest."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

from skyseg.errors import UserError
from skyseg.params import SplitParams

BINS = 5
"""Number of strata of the foreground share, plus one for images without foreground."""
# Above this, folds are too slow: a second per thousand groups, for each number of folds.
FEW_GROUPS = 1000


def group_names(ids: Sequence[str], split: SplitParams, data: Path) -> list[str]:
    """The group (scene, camera, sequence) of each sample; without groups, its own id.

    Raises:
        UserError: the pattern does not match an id, or the CSV file lacks the column or an id.
    """
    if split.group_pattern:
        found = [re.search(split.group_pattern, id) for id in ids]
        if None in found:
            raise UserError(
                f"split.group_pattern: {split.group_pattern!r} does not match the id "
                f"{ids[found.index(None)]!r} ({found.count(None)} of {len(ids)} ids)"
            )
        return [match.group(1) or "" for match in found if match]
    if split.group_column:
        return _from_column(ids, split.group_column, data)
    return list(ids)


def assign(
    ids: Sequence[str],
    predefined: Sequence[str | None],
    foreground: Sequence[float],
    groups: Sequence[str] | np.ndarray,
    split: SplitParams,
) -> list[str]:
    """The split of each sample: 'train', 'val' or 'test'.

    If the data set has no val or test split, it is taken from the samples that are in train or
    have no split, stratified by foreground share. Samples of one group stay together. The result
    depends on the ids and the seed, not on the order.

    Raises:
        UserError: a split would contain no images, or there are too few groups.
    """
    table = pd.DataFrame(
        {
            "id": list(ids),
            "split": [name or "train" for name in predefined],
            "foreground": list(foreground),
            "group": list(groups),
        }
    )
    table = table.sort_values("id", kind="stable")
    given = set(table["split"])
    pool = table[table["split"] == "train"]
    wanted = {
        name: share
        for name, share in (("test", split.test), ("val", split.val))
        if name not in given
    }
    if "val" in wanted and not split.val:
        raise UserError(
            "split.val: 0, and the data set has no validation split; training needs "
            "one: set it to a share such as 0.15"
        )
    total = len(pool)
    for name, share in wanted.items():
        if not share:
            continue
        count = round(share * total)
        if count < 1 or count >= len(pool):
            raise UserError(
                f"split.{name}: {share:g} of {total} images is {count}, leaving "
                f"{len(pool) - count} to train on; change the share or add images"
            )
        if pool["group"].nunique() < 2:
            raise UserError(
                f"split.{name}: all {len(pool)} images are one group or copies of one "
                "another; change split.group_pattern/group_column or add scenes"
            )
        chosen = _choose(pool, count, split.seed)
        assert 0 < len(chosen) < len(pool)
        table.loc[chosen, "split"] = name
        pool = pool.drop(chosen)
    if pool.empty:
        raise UserError("the data set has no training images: add some to its train split")
    return table["split"].sort_index().tolist()


def _choose(pool: pd.DataFrame, count: int, seed: int) -> pd.Index:
    """Index of about ``count`` rows, in whole groups, with a foreground distribution like the
    pool's."""
    strata = _strata(pool["foreground"].to_numpy(), count)
    if pool["group"].is_unique:
        divider = StratifiedShuffleSplit(1, test_size=count, random_state=seed)
        return pool.index[next(divider.split(strata, strata))[1]]
    best, best_score = _smallest_group(pool), np.inf
    overall = np.bincount(strata) / len(strata)
    candidates = _folds if pool["group"].nunique() <= FEW_GROUPS else _draw
    # Take the candidate closest to the wanted size and to the pool's strata.
    for rows in candidates(pool, strata, count, seed):
        if not 0 < len(rows) < len(pool):
            continue
        mix = np.bincount(strata[rows], minlength=len(overall)) / len(rows)
        score = abs(len(rows) - count) / count + np.abs(mix - overall).sum() / 2
        if score < best_score:
            best, best_score = rows, score
    return pool.index[best]


def _folds(pool: pd.DataFrame, strata: np.ndarray, count: int, seed: int) -> Iterator[np.ndarray]:
    """Candidate rows, in whole groups: unions of stratified folds, for several numbers of folds."""
    share = count / len(pool)
    most = max(2, min(pool["group"].nunique(), np.bincount(strata).max()))
    for number in np.unique(np.clip([round(1 / share), round(2 / share), 10, 20], 2, most)):
        divider = StratifiedGroupKFold(int(number), shuffle=True, random_state=seed)
        with warnings.catch_warnings():  # a stratum with fewer members than folds is fine here
            warnings.simplefilter("ignore", UserWarning)
            parts = [part for _, part in divider.split(strata, strata, pool["group"])]
        taken = min(max(1, round(share * number)), int(number) - 1)
        for first in range(len(parts)):
            yield np.concatenate((parts + parts)[first : first + taken])


def _draw(pool: pd.DataFrame, strata: np.ndarray, count: int, seed: int) -> Iterator[np.ndarray]:
    """One candidate set of rows, in whole groups: from each stratum of mean foreground, groups are
    drawn at random up to its part of ``count``. A group larger than the remainder is skipped."""
    _, members, sizes = np.unique(pool["group"], return_inverse=True, return_counts=True)
    means = np.bincount(members, pool["foreground"]) / sizes
    kinds = _strata(means, min(count, len(sizes) - 1))
    rng = np.random.default_rng(seed)
    drawn, wanted, left = [], count, len(pool)
    for kind in np.unique(kinds):
        groups = rng.permutation(np.flatnonzero(kinds == kind))
        part = round(wanted * sizes[groups].sum() / left)
        wanted, left = wanted - part, left - sizes[groups].sum()
        for group in groups:
            if sizes[group] <= part:
                drawn.append(group)
                part -= sizes[group]
    yield np.flatnonzero(np.isin(members, drawn))


def _smallest_group(pool: pd.DataFrame) -> np.ndarray:
    return np.flatnonzero(pool["group"] == pool["group"].value_counts(sort=True).index[-1])


def _strata(foreground: np.ndarray, count: int) -> np.ndarray:
    """Stratum [N] of each image: first images without foreground, then quantiles of the share. Each
    stratum is large enough to appear both among ``count`` chosen images and among the rest."""
    smallest = max(2, int(np.ceil(len(foreground) / min(count, len(foreground) - count))))
    strata = np.zeros(len(foreground), int)
    some = np.flatnonzero(foreground > 0)
    bins = min(BINS, len(some) // smallest)
    if bins > 0:
        order = some[np.argsort(foreground[some], kind="stable")]
        strata[order] = 1 + np.arange(len(order)) * bins // len(order)
    if 0 < (strata == 0).sum() < smallest:
        strata = np.maximum(strata, 1)
    return np.unique(strata, return_inverse=True)[1]


def _from_column(ids: Sequence[str], column: str, data: Path) -> list[str]:
    for path in sorted(data.glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if "id" not in table.columns or column not in table.columns:
            continue
        known = dict(zip(table["id"], table[column], strict=True))
        if missing := [id for id in ids if id not in known]:
            raise UserError(
                f"{path}: no row with id {missing[0]!r} for split.group_column "
                f"({len(missing)} of {len(ids)} ids missing)"
            )
        return [known[id] for id in ids]
    raise UserError(f"split.group_column: no CSV file in {data}/ has the columns id and {column}")
