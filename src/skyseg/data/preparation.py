"""From raw photographs and masks to a manifest and arrays: the code that decides training data."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from skyseg.data import pictures
from skyseg.data.arrays import create_rows
from skyseg.data.audit import copies
from skyseg.data.encoding import Encoding
from skyseg.data.formats import FORMATS, find, with_mask_files
from skyseg.data.manifest import COLUMNS, SPLITS
from skyseg.data.mask_meaning import infer_encoding
from skyseg.data.mask_stats import MaskStats, count_values, shares
from skyseg.data.masks import read_mask, resize_mask
from skyseg.data.parallel import in_order
from skyseg.data.samples import Sample
from skyseg.data.split import assign, group_names
from skyseg.errors import UserError
from skyseg.params import DataParams, Params


class Inspection(NamedTuple):
    """What was read from a sample's files."""

    flags: list[str]
    width: int
    height: int
    image_sha256: str
    thumbnail: np.ndarray
    mask: MaskStats


class Built(NamedTuple):
    """What is known about a data set before its arrays are written."""

    manifest: pd.DataFrame
    """Columns ``COLUMNS``; paths are relative to the repository's root."""
    encoding: Encoding
    """What mask values mean."""
    decided: str
    """One sentence that describes that."""
    notes: list[str]
    """Messages for the user: what was left out, and what was guessed."""


def build_manifest(params: Params, root: Path, masks: Path) -> Built:
    """Inspect every sample of ``root/data`` once; decide what mask values mean and the splits.

    Args:
        params: settings.
        root: of the repository.
        masks: folder below ``root`` for the masks of annotated shapes, which are drawn.

    Raises:
        UserError: something is wrong with the data.
    """
    samples, notes = find(root / "data", params.data.format)
    if FORMATS[params.data.format].index and params.data.foreground is None:
        raise UserError(
            f"data.foreground: not set, but masks of format {params.data.format} hold "
            "class indices; list the foreground ones, such as [0]"
        )
    samples, meaning, said = with_mask_files(samples, masks, params.data)
    inspections = list(
        in_order(lambda sample: inspect_sample(sample, meaning), samples, "inspecting")
    )
    encoding, decided = infer_encoding([each.mask for each in inspections], meaning)
    manifest = tabulate(samples, inspections, encoding, params, root, notes)
    return Built(manifest, encoding, said + decided, notes)


def inspect_sample(sample: Sample, data: DataParams) -> Inspection:
    """Read a sample's files once, for everything that the split and the manifest need.

    Raises:
        UserError: a damaged file, or an image and a mask of different sizes.
    """
    content = pictures.read_bytes(sample.image)
    picture = pictures.decode(content, str(sample.image), min_side=copies.MIN_SIDE)
    mask = count_values(sample.mask, data)
    width, height = pictures.upright_size(content)
    if mask.size != (width, height):
        turned = (
            " after turning it upright by its EXIF orientation" if "exif" in picture.flags else ""
        )
        raise UserError(
            f"{sample.mask}: {mask.size[0]}x{mask.size[1]} pixels, but {sample.image} "
            f"has {width}x{height}{turned}; make the sizes equal"
        )
    return Inspection(
        [*picture.flags, *(["mask-exif"] if mask.turned else [])],
        width,
        height,
        hashlib.sha256(content).hexdigest(),
        copies.thumbnail(picture.pixels),
        mask,
    )


def tabulate(
    samples: list[Sample],
    inspections: list[Inspection],
    encoding: Encoding,
    params: Params,
    root: Path,
    notes: list[str],
) -> pd.DataFrame:
    """The manifest: one row per sample, sorted by split and id, with its group, split and flags.
    Messages for the user are added to ``notes``."""
    ids = [sample.id for sample in samples]
    measured = [shares(each.mask, encoding) for each in inspections]
    digests = [each.image_sha256 for each in inspections]
    clusters = copies.clusters(digests, np.stack([each.thumbnail for each in inspections]))
    refuse_leaks(samples, inspections, clusters)
    groups = group_names(ids, params.split, root / "data", notes)
    joined = copies.merge(groups, clusters)
    table = pd.DataFrame(
        {
            "id": ids,
            "image": [sample.image.relative_to(root).as_posix() for sample in samples],
            "mask": [sample.mask.relative_to(root).as_posix() for sample in samples],
            "group": pd.Series(groups).groupby(joined).transform("min"),
            "width": [each.width for each in inspections],
            "height": [each.height for each in inspections],
            "foreground": np.round([share for share, _ in measured], 6),
            "ignored": np.round([share for _, share in measured], 6),
            "image_sha256": digests,
            "mask_sha256": [each.mask.sha256 for each in inspections],
        }
    )
    table["split"] = assign(
        ids, [sample.split for sample in samples], table["foreground"], table["group"], params.split
    )
    table["flags"] = [
        ";".join([*each.flags, *more])
        for each, more in zip(inspections, duplicate_flags(table, clusters), strict=True)
    ]
    order = table["split"].map(SPLITS.index)
    return (
        table.assign(order=order).sort_values(["order", "id"])[list(COLUMNS)].reset_index(drop=True)
    )


def refuse_leaks(
    samples: list[Sample], inspections: list[Inspection], clusters: np.ndarray
) -> None:
    """Refuse images that occur in two predefined splits: they would make scores meaningless."""
    splits = pd.Series([sample.split or "train" for sample in samples])
    leaks = splits.groupby(clusters).filter(lambda names: names.nunique() > 1)
    if leaks.empty:
        return
    members = leaks.index.to_numpy()[clusters[leaks.index] == clusters[leaks.index[0]]]
    one = members[splits[members] == splits[members[0]]]
    two = members[splits[members] != splits[members[0]]]
    first, second = copies.closest_across(
        np.stack([each.thumbnail for each in inspections]), one, two
    )
    count = len(np.unique(clusters[leaks.index]))
    raise UserError(
        f"{samples[first].image} ({splits[first]}) and {samples[second].image} ({splits[second]}) "
        "are the same photograph in two splits"
        + (f" (and {count - 1} more such sets)" if count > 1 else "")
        + "; remove one of them"
    )


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


def write_split(
    prepared: Path, split: str, files: Iterable[tuple[Path, Path]], size: int, encoding: Encoding
) -> None:
    """Decode, resize and store the (image, mask) files of a split, in the given order.

    Raises:
        UserError: a damaged file, or a mask that the encoding does not fit.
    """
    todo = list(enumerate(files))
    with (
        create_rows(prepared / f"images_{split}.npy", (len(todo), size, size, 3)) as images,
        create_rows(prepared / f"masks_{split}.npy", (len(todo), size, size)) as masks,
    ):

        def convert(item: tuple[int, tuple[Path, Path]]) -> None:
            row, (image, mask) = item
            images(row, pictures.resize(pictures.read(image, min_side=size).pixels, size))
            masks(row, resize_mask(read_mask(mask, encoding), size))

        deque(in_order(convert, todo, f"{split} arrays"), maxlen=0)  # convert only writes
