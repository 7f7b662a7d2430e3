"""From raw photographs and masks to a manifest and arrays: the code that decides training data."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from skyseg.data.arrays import create_rows
from skyseg.data.audit import across, copies, excluded, gate, mask_checks, photographs, turned
from skyseg.data.audit.across import Member
from skyseg.data.audit.findings import Finding
from skyseg.data.audit.training_data import drift_from_champion
from skyseg.data.formats.samples import Sample
from skyseg.data.formats.supported import FORMATS, with_mask_files
from skyseg.data.inspection import Inspection, inspect_sample, pack, unpack
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.meaning import infer_encoding
from skyseg.data.masks.reading import read_mask, resize_mask
from skyseg.data.parallel import in_order
from skyseg.data.pictures import codec
from skyseg.data.sources import (
    COMMON,
    Source,
    find_in,
    list_sources,
    naming,
    rewrite_masks,
    unnamed,
)
from skyseg.data.tabulation import Part, groups_in, tabulate
from skyseg.errors import UserError
from skyseg.params import DataParams, Params


class DataSet(NamedTuple):
    """A data set with all its masks as pictures."""

    source: Source
    samples: list[Sample]
    meaning: DataParams
    """What their mask values mean."""
    said: str
    """Which classes masks were drawn from; may be empty."""


class Built(NamedTuple):
    """What is known about the data before its arrays are written."""

    manifest: pd.DataFrame | None
    """Columns ``COLUMNS``; paths are relative to the repository's root. None if the audit's errors
    leave open what it is."""
    encoding: Encoding | None
    """What values of the manifest's masks mean; None if the audit's errors leave it open."""
    sources: dict[str, Encoding]
    """What values of the original masks mean, by data set, if there are several."""
    decided: str
    """One sentence that describes that; for several data sets, one for each."""
    notes: list[str]
    """Messages for the user: what was left out, and what was guessed."""
    audit: gate.Audit


def build_manifest(params: Params, root: Path, masks: Path) -> Built:
    """Inspect every sample of ``root/data``, audit them, decide what mask values mean and the
    splits. What the audit or a person leaves out is left out of these decisions, too.

    Args:
        params: settings.
        root: of the repository.
        masks: folder below ``root`` for the masks that are written: those of annotated shapes, and
            all if there are several data sets.

    Raises:
        UserError: the data set cannot be audited: its layout is wrong, or what its mask values mean
            is unclear.
    """
    notes: list[str] = []
    sets = [open_set(source, masks, notes) for source in list_sources(params, root)]
    notes += unnamed(params.data, root)
    everything = {sample.id: sample for each in sets for sample in each.samples}
    chosen, kept_out = excluded.keep_out(
        list(everything.values()), excluded.read_excluded(root / "data", notes), notes
    )
    stay = {sample.id for sample in chosen}
    findings: list[Finding] = []
    manifest, encoding, decided = None, None, ""
    encodings: dict[str, Encoding] = {}
    errors: list[UserError] = []
    try:
        parts: list[Part] = []
        for each in sets:
            with naming(each.source):
                kept = [sample for sample in each.samples if sample.id in stay]
                own = inspect(each._replace(samples=kept), params, findings)
                notes += notes_of_decoding(own)
                encodings[each.source.name], _ = decide(each, own)
                parts += check_masks(own, encodings[each.source.name], params, findings)
                if params.data.sources:  # also of what is left out, which the page shows
                    samples = [part.sample for part in own]
                    everything |= rewrite_masks(samples, encodings[each.source.name], masks)
        parts = compare(parts, params, notes, findings)
        sentences = []
        for each in sets:
            final, sentence = decide(each, parts)
            sentences.append(sentence)
            if params.data.sources and final != encodings[each.source.name]:
                samples = [part.sample for part in parts if part.source == each.source]
                everything |= rewrite_masks(samples, final, masks)
            encodings[each.source.name] = final
        decided = "; ".join(sentences)
        encoding = COMMON if params.data.sources else encodings[""]
        parts = [part._replace(sample=everything[part.sample.id]) for part in parts]
        manifest = tabulate(parts, encodings, root)
        findings += across.drift_found(manifest)
        findings += drift_from_champion(manifest, root)
    except UserError as error:
        errors.append(error)
    # Drawn masks are in a temporary folder, which will be called prepared.
    findings = [each._replace(text=_final(each.text, masks)) for each in findings]
    audit = gate.judge(findings, params.audit, everything.values(), kept_out)
    # What follows from a fault that the audit reports is reported beside it.
    messages = [_final(str(error), masks) for error in errors]
    if messages and not audit.errors:
        raise UserError(messages[0])
    audit.errors.extend(messages)
    several = encodings if params.data.sources else {}
    return Built(manifest, encoding, several, decided, notes, audit)


def open_set(source: Source, masks: Path, notes: list[str]) -> DataSet:
    """The samples of a data set, with masks that are pictures; ``notes`` grows.

    Raises:
        UserError: its layout is wrong, or its classes are not named.
    """
    samples, remarks = find_in(source)
    notes += remarks
    with naming(source):
        if FORMATS[source.data.format].index and source.data.foreground is None:
            raise UserError(
                f"data.foreground: not set, but masks of format {source.data.format} hold "
                "class indices; list the foreground ones, such as [0]"
            )
        return DataSet(source, *with_mask_files(samples, masks, source.data))


def decide(found: DataSet, parts: list[Part]) -> tuple[Encoding, str]:
    """What mask values of a data set mean, and one sentence that describes it.

    Raises:
        UserError: that is unclear, or none of the samples is of this data set.
    """
    with naming(found.source):
        masks = [part.inspection.mask for part in parts if part.source == found.source]
        if not masks:
            raise nothing_left()
        encoding, decided = infer_encoding(masks, found.meaning)
    name = found.source.name
    where = f"masks of {name}:" if name else "masks:"
    return encoding, found.said + decided.replace("masks:", where, 1)


def _final(text: str, masks: Path) -> str:
    """A message with the names that drawn masks will have when prepare has finished."""
    prepared = masks.parent
    return text.replace(f"{prepared.parent.name}/{prepared.name}/", "prepared/")


def inspect(found: DataSet, params: Params, findings: list[Finding]) -> list[Part]:
    """The samples that can be used, as far as their own files say; ``findings`` grows.

    Raises:
        UserError: there are none.
    """
    inspected = list(
        in_order(lambda sample: pack_inspected(sample, found.meaning), found.samples, "inspecting")
    )
    parts = []
    for sample, inspection, faults in inspected:
        findings += faults
        if inspection:
            parts.append(Part(found.source, sample, unpack(inspection)))
    if not parts:
        raise nothing_left()
    kept = [part.sample for part in parts]
    inspections = [part.inspection for part in parts]
    findings += photographs.tiny(kept, [(each.width, each.height) for each in inspections])
    plain = {id for each in findings if each.kind == "blank" for id in each.ids}
    findings += photographs.colourless(kept, [each.colourful for each in inspections], plain)
    if not FORMATS[found.source.data.format].upright:
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
    parts: list[Part], params: Params, notes: list[str], findings: list[Finding]
) -> list[Part]:
    """The samples with their groups and copies, without those that policies leave out; ``findings``
    and ``notes`` grow.

    Raises:
        UserError: the settings of groups do not fit, or no samples are left.
    """
    samples = [part.sample for part in parts]
    groups = [
        group
        for source, own in groupby(parts, lambda part: part.source)
        for group in groups_in(source, [part.sample.id for part in own], notes)
    ]
    digests = [part.inspection.image_sha256 for part in parts]
    labels = copies.clusters(digests, np.stack([part.inspection.thumbnail for part in parts]))
    grids = [part.measures.grid for part in parts if part.measures]
    divided = {part.source.name for part in parts if part.sample.split}
    free = [part.source.name not in divided for part in parts]
    findings += across.copies_found(list(map(Member, samples, grids, digests, free)), labels)
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
