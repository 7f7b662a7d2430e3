"""The page of the audit: what is wrong with a data set, with pictures of the samples concerned."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from skyseg.data.audit.findings import FINDINGS, Finding, policy
from skyseg.data.audit.gate import Audit
from skyseg.data.formats.samples import Sample
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.pictures import codec
from skyseg.data.preparation import Built
from skyseg.errors import UserError, printable
from skyseg.inference.overlays import overlay
from skyseg.params import Params
from skyseg.reports.sheets import fit

SHOWN = 12  # findings of one kind with pictures; bounds the page's size and the time to make it
LISTED = 200  # samples listed by name
CELL = (300, 240)  # of a picture; pixels
BINS = 24
# Kinds about two photographs, which are shown instead of a photograph and its mask.
PAIRS = {"copies_across_splits", "copies_within_split", "group_across_splits"}


class Shown(NamedTuple):
    """A picture on the page."""

    uri: str | None
    """Data URI; None if the file cannot be shown."""
    caption: str


def render_audit(built: Built, params: Params) -> str:
    """The page as HTML. Self-contained: it loads no other file or URL.

    At most ``SHOWN`` findings of a kind are shown, and their files decoded one at a time.
    """
    audit = built.audit
    splits = _splits(built)
    return (
        environment()
        .get_template("audit.html")
        .render(
            audit=audit,
            sections=[
                {
                    "kind": kind,
                    "title": FINDINGS[kind].title,
                    "advice": FINDINGS[kind].advice,
                    "policy": policy(kind, params.audit),
                    "count": len(found),
                    "cards": [
                        {"text": each.text, "pictures": list(_pictures(each, audit, built, splits))}
                        for each in found[:SHOWN]
                    ],
                    "rest": [each.text for each in found[SHOWN : SHOWN + LISTED]],
                }
                for kind, found in _by_kind(audit.findings)
            ],
            clean=[FINDINGS[kind].title for kind in FINDINGS if kind not in _kinds(audit)],
            format=params.data.layout,
            decided=built.decided,
            notes=built.notes,
            table=[] if built.manifest is None else _table(built.manifest),
            listed=LISTED,
        )
    )


def environment() -> jinja2.Environment:
    """For the templates in this folder."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["printable"] = printable
    return made


def _by_kind(findings: list[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    """The kinds found, in the order of ``FINDINGS``, with their findings."""
    for kind in FINDINGS:
        if found := [each for each in findings if each.kind == kind]:
            yield kind, found


def _kinds(audit: Audit) -> set[str]:
    return {each.kind for each in audit.findings}


def _splits(built: Built) -> dict[str, str]:
    """The split of each sample by id, as far as it is known."""
    known = {id: sample.split or "" for id, sample in built.audit.samples.items()}
    if built.manifest is not None:
        known |= dict(zip(built.manifest["id"], built.manifest["split"], strict=True))
    return known


def _pictures(
    finding: Finding, audit: Audit, built: Built, splits: dict[str, str]
) -> Iterator[Shown]:
    """The two pictures of a finding: a photograph and its mask, or two of one kind."""
    samples = [audit.samples[id] for id in finding.ids[:2] if id in audit.samples]
    for sample in samples[: 2 if finding.kind in PAIRS else 1]:
        if finding.kind == "masks_differ":
            break
        split = splits[sample.id]
        yield Shown(_photograph(sample), f"{sample.id} · {split}" if split else sample.id)
    if finding.kind in PAIRS:
        return
    for sample in samples[: 2 if finding.kind == "masks_differ" else 1]:
        caption = sample.id if finding.kind == "masks_differ" else "with its mask"
        yield Shown(_with_mask(sample, built.encoding), caption)


def _photograph(sample: Sample) -> str | None:
    try:
        pixels = codec.read(sample.image, min_side=max(CELL)).pixels
    except UserError:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail(CELL)
    return uri(np.asarray(image))


def _with_mask(sample: Sample, encoding: Encoding | None) -> str | None:
    if encoding is None:
        return None
    try:
        pixels = codec.read(sample.image).pixels
        mask = read_mask(sample.mask, encoding)
    except UserError:
        return None
    if mask.shape != pixels.shape[:2]:
        return None
    return uri(overlay(*fit(pixels, mask, CELL)))


def uri(pixels: np.ndarray) -> str:
    """uint8 [H, W, 3] as a data URI."""
    return data_uri(jpeg(pixels))


def jpeg(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as the bytes of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def data_uri(content: bytes) -> str:
    """The bytes of a JPEG as a data URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def _table(manifest: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per split: counts, and histograms of the shares of foreground and of the sizes."""
    pixels = manifest["width"] * manifest["height"] / 1e6
    edges = np.geomspace(pixels.min() * 0.98, pixels.max() * 1.02, BINS + 1)
    rows = []
    for split, part in manifest.groupby("split", sort=False):
        rows.append(
            {
                "split": split,
                "images": len(part),
                "groups": part["group"].nunique(),
                "foreground": part["foreground"].mean(),
                "empty": int((part["foreground"] == 0).sum()),
                "megapixels": pixels[part.index].median(),
                "shares": _bars(part["foreground"], np.linspace(0, 1, BINS + 1)),
                "sizes": _bars(pixels[part.index], edges),
            }
        )
    return rows


def _bars(values: pd.Series, edges: np.ndarray) -> list[float]:
    """Heights of a histogram's bars, in percent of the highest."""
    counts = np.histogram(values, edges)[0]
    heights: list[float] = (100 * counts / max(counts.max(), 1)).round(1).tolist()
    return heights
