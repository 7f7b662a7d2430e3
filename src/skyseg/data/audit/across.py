"""Faults that show only when samples are compared: copies, groups in two splits, drift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from skyseg.data.audit.findings import Finding
from skyseg.data.formats.samples import Sample

# Which sample of a set of copies to keep: scores need an untouched test split most.
KEEP = ("test", "val", "train")
DIFFERENT, DIFFERENT_IN_COPIES = 0.1, 0.2
"""Mean difference between two masks' shares of a 16x16 grid from which they are different masks of
one photograph: of equal files, and of copies, which may be cropped. Crops of up to 5 % a side
changed the shares of 305 masks by at most 0.18."""
DRIFT = 0.25
"""Distance between two distributions (Kolmogorov-Smirnov) from which they differ."""
CHANCE = 0.001
"""Largest probability that such a distance is chance."""


class Member(NamedTuple):
    """What is compared of a sample."""

    sample: Sample
    grid: np.ndarray
    """float [16, 16]: share of foreground in each cell."""
    image_sha256: str
    free: bool = False
    """Its data set defines no splits, so it can follow a copy of it in another one."""


def copies_found(members: Sequence[Member], labels: np.ndarray) -> Iterator[Finding]:
    """Sets of photographs with equal labels: across predefined splits, within a split, and with
    different masks."""
    for indices in _sets(labels):
        copies = [members[index] for index in indices]
        fixed = [_split(member) for member in copies if not member.free]
        home = min(fixed, key=KEEP.index, default="train")
        ranked = sorted(
            ((home if member.free else _split(member), member) for member in copies),
            key=lambda ranked: (KEEP.index(ranked[0]), ranked[1].sample.id),
        )
        splits, each = [split for split, _ in ranked], [member for _, member in ranked]
        across = splits[0] != splits[-1]
        first, other = each[0], each[-1 if across else 1]
        # Those that the text names come first.
        rest = [member for member in each if member is not first and member is not other]
        ids = tuple(member.sample.id for member in (other, first, *rest))
        if across:
            yield Finding(
                "copies_across_splits",
                ids,
                f"{first.sample.image} ({splits[0]}) and {other.sample.image} ({splits[-1]}) "
                f"are {_alike(first, other)} in two splits{_more(len(each) - 2)}",
                tuple(
                    member.sample.id
                    for member, split in zip(each, splits, strict=True)
                    if split != splits[0]
                ),
            )
        else:
            yield Finding(
                "copies_within_split",
                ids,
                f"{first.sample.image} and {other.sample.image} are {_alike(first, other)}"
                f"{_more(len(each) - 2)}",
                tuple(member.sample.id for member in each[1:]),
            )
        yield from _masks_differ(each)


def _masks_differ(each: Sequence[Member]) -> Iterator[Finding]:
    """The member whose mask differs most from the first one's, if it clearly does."""
    first = each[0]

    def excess(member: Member) -> float:
        if member.image_sha256 == first.image_sha256:
            return float(np.abs(first.grid - member.grid).mean() - DIFFERENT)
        grids = (member.grid, member.grid[:, ::-1])  # a copy may be mirrored
        nearest = min(np.abs(first.grid - grid).mean() for grid in grids)
        return float(nearest - DIFFERENT_IN_COPIES)

    other = max(each[1:], key=excess)
    if excess(other) > 0:
        yield Finding(
            "masks_differ",
            (other.sample.id, first.sample.id),
            f"{first.sample.mask} and {other.sample.mask}: different masks of one photograph",
        )


def groups_found(samples: Sequence[Sample], groups: Sequence[str]) -> Iterator[Finding]:
    """Groups with samples in two predefined splits."""
    if all(sample.split is None for sample in samples):
        return
    table = pd.DataFrame(
        {
            "id": [sample.id for sample in samples],
            "split": [sample.split or "train" for sample in samples],
            "group": list(groups),
        }
    )
    for group, rows in table.groupby("group"):
        if rows["split"].nunique() < 2:
            continue
        rows = rows.assign(order=rows["split"].map(KEEP.index)).sort_values(["order", "id"])
        kept = rows["split"].iloc[0]
        leave_out = tuple(rows.loc[rows["split"] != kept, "id"])
        yield Finding(
            "group_across_splits",
            (rows["id"].iloc[-1], rows["id"].iloc[0]),
            f"group {group}: {rows['id'].iloc[0]} is in {kept}, {rows['id'].iloc[-1]} in "
            f"{rows['split'].iloc[-1]} ({len(rows):,} samples)",
            leave_out,
        )


def drift_found(manifest: pd.DataFrame) -> Iterator[Finding]:
    """Splits whose shares of foreground or picture sizes differ from the training split's.

    With thousands of photographs any difference is beyond chance, so it must also be large.
    """
    train = manifest[manifest["split"] == "train"]
    area = manifest["width"] * manifest["height"]
    measures = {"share of foreground": manifest["foreground"], "number of pixels": area}
    for split in ("val", "test"):
        chosen = manifest["split"] == split
        for name, values in measures.items():
            if chosen.any() and _far(values[train.index], values[chosen]):
                one, two = values[train.index].median(), values[chosen].median()
                form = "{:.0%}" if name == "share of foreground" else "{:,.0f}"
                yield Finding(
                    "drift",
                    (),
                    f"{split} differs from train: median {name} {form.format(two)}, in train "
                    f"{form.format(one)}",
                )


def _far(one: pd.Series, two: pd.Series) -> bool:
    distance, chance = ks_2samp(one, two, method="asymp")
    return bool(distance >= DRIFT and chance <= CHANCE)


def _sets(labels: np.ndarray) -> list[np.ndarray]:
    """Indices of each label that several samples have."""
    order = np.argsort(labels, kind="stable")
    ends = np.flatnonzero(np.diff(labels[order])) + 1
    return [part for part in np.split(order, ends) if len(part) > 1]


def _split(member: Member) -> str:
    return member.sample.split or "train"


def _alike(one: Member, two: Member) -> str:
    nearly = "" if one.image_sha256 == two.image_sha256 else "nearly "
    return f"{nearly}the same photograph"


def _more(count: int) -> str:
    return f", with {count:,} more of it" if count > 0 else ""
