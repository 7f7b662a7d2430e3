"""From raw photographs and masks to a manifest and arrays: the code that decides training data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from skyseg.data.arrays import create_rows
from skyseg.data.audit import across, copies, excluded, gate, mask_checks, photographs, turned
from skyseg.data.audit.across import Member
from skyseg.data.audit.findings import Finding
from skyseg.data.audit.mask_checks import Measures
from skyseg.data.audit.training_data import drift_from_champion
from skyseg.data.formats.samples import Sample
from skyseg.data.formats.supported import FORMATS, find, with_mask_files
from skyseg.data.inspection import Inspection, inspect_sample, pack, unpack
from skyseg.data.manifest import COLUMNS, SPLITS
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.meaning import infer_encoding
from skyseg.data.masks.reading import read_mask, resize_mask
from skyseg.data.masks.stats import shares
from skyseg.data.parallel import in_order
from skyseg.data.pictures import codec
from skyseg.data.split import assign, group_names
from skyseg.errors import UserError
from skyseg.params import DataParams, Params


class Part(NamedTuple):
    """A sample that can be used, and all that is known about it."""

    sample: Sample
    inspection: Inspection
    measures: Measures | None = None
    cluster: int = 0
    """The same for copies of one photograph."""
    group: str = ""


class Built(NamedTuple):
    """What is known about a data set before its arrays are written."""

    manifest: pd.DataFrame | None
    """Columns ``COLUMNS``; paths are relative to the repository's root. None if the audit's errors
    leave open what it is."""
    encoding: Encoding | None
    """What mask values mean; None if the audit's errors leave it open."""
    decided: str
    """One sentence that describes that."""
    notes: list[str]
    """Messages for the user: what was left out, and what was guessed."""
    audit: gate.Audit


def build_manifest(params: Params, root: Path, masks: Path) -> Built:
    """Inspect every sample of ``root/data``, audit them, decide what mask values mean and the
    splits. What the audit or a person leaves out is left out of these decisions, too.

    Args:
        params: settings.
        root: of the repository.
        masks: folder below ``root`` for the masks of annotated shapes, which are drawn.

    Raises:
        UserError: the data set cannot be audited: its layout is wrong, or what its mask values mean
            is unclear.
    """
    samples, notes = find(root / "data", params.data.format)
    if FORMATS[params.data.format].index and params.data.foreground is None:
        raise UserError(
            f"data.foreground: not set, but masks of format {params.data.format} hold "
            "class indices; list the foreground ones, such as [0]"
        )
    samples, meaning, said = with_mask_files(samples, masks, params.data)
    chosen, kept_out = excluded.keep_out(
        samples, excluded.read_excluded(root / "data", notes), notes
    )
    findings: list[Finding] = []
    manifest, encoding, decided = None, None, ""
    errors: list[UserError] = []
    try:
        parts = inspect(chosen, meaning, params, findings)
        notes += notes_of_decoding(parts)
        encoding, _ = infer_encoding([each.inspection.mask for each in parts], meaning)
        parts = check_masks(parts, encoding, params, findings)
        parts = compare(parts, params, root, notes, findings)
        encoding, decided = infer_encoding([each.inspection.mask for each in parts], meaning)
        manifest = tabulate(parts, encoding, params, root)
        findings += across.drift_found(manifest)
        findings += drift_from_champion(manifest, root)
    except UserError as error:
        errors.append(error)
    # Drawn masks are in a temporary folder, which will be called prepared.
    findings = [each._replace(text=_final(each.text, masks)) for each in findings]
    audit = gate.judge(findings, params.audit, samples, kept_out)
    # What follows from a fault that the audit reports is reported beside it.
    messages = [_final(str(error), masks) for error in errors]
    if messages and not audit.errors:
        raise UserError(messages[0])
    audit.errors.extend(messages)
    return Built(manifest, encoding, said + decided, notes, audit)


def _final(text: str, masks: Path) -> str:
    """A message with the names that drawn masks will have when prepare has finished."""
    prepared = masks.parent
    return text.replace(f"{prepared.parent.name}/{prepared.name}/", "prepared/")


def inspect(
    samples: list[Sample], meaning: DataParams, params: Params, findings: list[Finding]
) -> list[Part]:
    """The samples that can be used, as far as their own files say; ``findings`` grows.

    Raises:
        UserError: there are none.
    """
    inspected = list(
        in_order(lambda sample: pack_inspected(sample, meaning), samples, "inspecting")
    )
    parts = []
    for sample, inspection, faults in inspected:
        findings += faults
        if inspection:
            parts.append(Part(sample, unpack(inspection)))
    if not parts:
        raise nothing_left()
    kept = [part.sample for part in parts]
    inspections = [part.inspection for part in parts]
    findings += photographs.tiny(kept, [(each.width, each.height) for each in inspections])
    plain = {id for each in findings if each.kind == "blank" for id in each.ids}
    findings += photographs.colourless(kept, [each.colourful for each in inspections], plain)
    if not FORMATS[params.data.format].upright:
        findings += turned.find(
            kept,
            [each.orientation for each in inspections],
            [each.mask.turned for each in inspections],
            [(each.width, each.height) for each in inspections],
        )
    return keep(parts, params, findings)


def pack_inspected(
    sample: Sample, meaning: DataParams
) -> tuple[Sample, Inspection | None, list[Finding]]:
    """``inspect_sample``, with a packed inspection."""
    _, inspection, findings = inspect_sample(sample, meaning)
    return sample, pack(inspection), findings


def notes_of_decoding(parts: list[Part]) -> list[str]:
    """A line for each thing that decoding says, with the first photograph and their number."""
    said: dict[str, list[Part]] = {}
    for part in parts:
        for note in part.inspection.notes:
            said.setdefault(note, []).append(part)
    return [
        f"{some[0].sample.image}: {note}" + (f" (and {len(some) - 1} more)" if some[1:] else "")
        for note, some in said.items()
    ]


def check_masks(
    parts: list[Part], encoding: Encoding, params: Params, findings: list[Finding]
) -> list[Part]:
    """The samples whose masks fit their photographs, as far as policies say; ``findings`` grows.

    Raises:
        UserError: there are none.
    """
    measures = list(
        in_order(lambda part: mask_checks.measure(part.sample, encoding), parts, "comparing masks")
    )
    findings += mask_checks.found([part.sample for part in parts], measures)
    measured = zip(parts, measures, strict=True)
    return keep([part._replace(measures=each) for part, each in measured], params, findings)


def compare(
    parts: list[Part], params: Params, root: Path, notes: list[str], findings: list[Finding]
) -> list[Part]:
    """The samples with their groups and copies, without those that policies leave out; ``findings``
    and ``notes`` grow.

    Raises:
        UserError: the settings of groups do not fit, or no samples are left.
    """
    samples = [part.sample for part in parts]
    groups = group_names([sample.id for sample in samples], params.split, root / "data", notes)
    digests = [part.inspection.image_sha256 for part in parts]
    labels = copies.clusters(digests, np.stack([part.inspection.thumbnail for part in parts]))
    grids = [part.measures.grid for part in parts if part.measures]
    findings += across.copies_found(list(map(Member, samples, grids, digests)), labels)
    findings += across.groups_found(samples, groups)
    linked = zip(parts, labels, groups, strict=True)
    return keep(
        [part._replace(cluster=int(label), group=group) for part, label, group in linked],
        params,
        findings,
    )


def keep(parts: list[Part], params: Params, findings: list[Finding]) -> list[Part]:
    """The samples that the policies do not leave out.

    Raises:
        UserError: there are none.
    """
    dropped = gate.left_out(findings, params.audit)
    kept = [part for part in parts if part.sample.id not in dropped]
    if not kept:
        raise nothing_left()
    return kept


def nothing_left() -> UserError:
    return UserError(f"no sample is left after the audit; see {gate.PAGE}")


def tabulate(parts: list[Part], encoding: Encoding, params: Params, root: Path) -> pd.DataFrame:
    """The manifest: one row per sample, sorted by split and id, with its group, split and flags.

    Raises:
        UserError: the samples cannot be split as the settings say.
    """
    samples = [part.sample for part in parts]
    ids = [sample.id for sample in samples]
    inspections = [part.inspection for part in parts]
    clusters = np.array([part.cluster for part in parts])
    measured = [shares(each.mask, encoding) for each in inspections]
    groups = [part.group for part in parts]
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
            "image_sha256": [each.image_sha256 for each in inspections],
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
            images(row, codec.resize(codec.read(image, min_side=size).pixels, size))
            masks(row, resize_mask(read_mask(mask, encoding), size))

        deque(in_order(convert, todo, f"{split} arrays"), maxlen=0)  # convert only writes
