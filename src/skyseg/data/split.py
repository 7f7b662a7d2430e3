"""Assigns samples to train, val and test: keeps predefined splits and divides the rest."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import regex
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

from skyseg.data.tables import TABLE_SUFFIXES, column, id_key, read_table, without_suffix
from skyseg.errors import UserError
from skyseg.params import SplitParams

BINS = 5
"""Number of strata of the foreground share, plus one for images without foreground."""
# Above this, folds are too slow: a second per thousand groups, for each number of folds.
FEW_GROUPS = 1000
MATCH_SECONDS = 2  # for the pattern of groups and one id


def group_names(
    ids: Sequence[str], split: SplitParams, data: Path, notes: list[str] | None = None
) -> list[str]:
    """The group (scene, camera, sequence) of each sample; without groups, its own id.

    Args:
        ids: of the samples.
        split: the pattern, or the column of a CSV file.
        data: the folder with the CSV file.
        notes: messages about how the CSV file was read are added here.

    Raises:
        UserError: the pattern does not match an id; no CSV file or several have the column; or it
            cannot be read, lacks an id, or contradicts itself.
    """
    if split.group_pattern:
        found = _matches(split.group_pattern, ids)
        if None in found:
            raise UserError(
                f"split.group_pattern: {split.group_pattern!r} does not match the id "
                f"{ids[found.index(None)]!r} ({found.count(None)} of {len(ids)} ids)"
            )
        return [match.group(1) or "" for match in found if match]
    if split.group_column:
        return _from_column(ids, split.group_column, data, notes)
    return list(ids)


def _matches(pattern: str, ids: Sequence[str]) -> list[regex.Match[str] | None]:
    """The match of each id. Some patterns, such as (a|aa)+$, would take years for some ids."""
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise UserError(f"split.group_pattern: {pattern!r} is not valid ({error})") from None
    found = []
    for id in ids:
        try:
            found.append(compiled.search(id, timeout=MATCH_SECONDS))
        except TimeoutError:
            raise UserError(
                f"split.group_pattern: {pattern!r} takes more than {MATCH_SECONDS} s for the id "
                f"{id!r}; write a simpler pattern, without alternatives inside a repetition"
            ) from None
    return found


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


def _from_column(ids: Sequence[str], name: str, data: Path, notes: list[str] | None) -> list[str]:
    path, table = _table_with(name, data, notes)
    # Tables name files in many ways: with a suffix, with backslashes, in another normal form.
    wanted = {id_key(id): id for id in ids}
    group: dict[str, str] = {}
    for line, cell, value in zip(table.index, table["id"], table[name], strict=True):
        key = id_key(cell)
        key = key if key in wanted else id_key(without_suffix(cell))
        if not value and key in wanted:
            raise UserError(f"{path}: line {line}: id {cell!r} has no {name}; fill it in")
        if group.setdefault(key, value) != value:
            raise UserError(
                f"{path}: line {line}: id {cell!r} occurs twice, with {name} {group[key]!r} and "
                f"{value!r}; remove one of the rows"
            )
    if missing := [id for id in ids if id_key(id) not in group]:
        raise UserError(
            f"{path}: no row with id {missing[0]!r} for split.group_column "
            f"({len(missing)} of {len(ids)} ids missing){_lost_zeros(missing[0], group)}"
        )
    return [group[id_key(id)] for id in ids]


def _table_with(name: str, data: Path, notes: list[str] | None) -> tuple[Path, pd.DataFrame]:
    """The one CSV file at the top of the data folder with the columns ``id`` and ``name``, which
    the result has under these names."""
    paths = sorted(path for path in data.iterdir() if path.suffix.lower() in TABLE_SUFFIXES)
    found, unreadable, headers = [], [], []
    for path in paths:
        remarks: list[str] = []
        try:
            table = read_table(path, remarks)
        except UserError as error:
            unreadable.append(error)
            continue
        headers.append(f"{path.name}: {', '.join(table.columns)}")
        spelled = {wanted: column(table, wanted) for wanted in ("id", name)}
        if None not in spelled.values():
            found.append((path, table.rename(columns={v: k for k, v in spelled.items()}), remarks))
    if len(found) > 1:
        raise UserError(
            f"{found[0][0]} and {found[1][0].name} both have the columns id and {name}; keep one"
        )
    if not found and unreadable:
        raise unreadable[0]
    if not found:
        raise UserError(
            f"split.group_column: no CSV file in {data}/ has the columns id and {name}"
            + (f" (found {'; '.join(headers[:3])})" if headers else "")
        )
    path, table, remarks = found[0]
    if notes is not None:
        notes += [*remarks, *(f"not used: {error}" for error in unreadable)]
    return path, table


def _lost_zeros(missing: str, known: Iterable[str]) -> str:
    """A hint where a spreadsheet has turned the id 01 into the number 1."""
    number = missing.rsplit("/", 1)[-1].lstrip("0")
    lost = missing != number and number in known
    return "; the table's ids have lost their leading zeros: format the column as text" * lost
