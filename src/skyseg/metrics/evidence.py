"""What the scores of a model on a test set were computed from, image by image, as a file.

Two models can be compared with it, with intervals and by kind of photograph, without running them
again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from skyseg.documents import Document, as_document, parse_json
from skyseg.errors import UserError
from skyseg.files import atomic_write, open_regular
from skyseg.metrics.suite import ImageStats, SpatialScores

EVIDENCE = Path("reports/evaluate/evidence.safetensors")  # what evaluate writes


class Origin(Document):
    """What the evidence is about."""

    weights: str
    """SHA-256 of the model's weights."""
    data: str
    """The test set: split and fingerprint, or a name."""
    scoring: str
    """Digest of the code that scored (``skyseg.provenance.code_digest``)."""
    threshold: float
    """The model's operating threshold."""


class Evidence(NamedTuple):
    origin: Origin
    stats: list[ImageStats]
    """One per image, from ``suite.full_image_stats``."""
    parts: pd.DataFrame
    """One row per image: the part of each slice that it falls into, from ``slices.assign``."""


class _Header(Origin):
    parts: dict[str, list[str]]


def write_evidence(path: Path, evidence: Evidence) -> None:
    """Write a safetensors file of 2 kB per image."""
    stats = evidence.stats
    arrays: dict[str, NDArray[Any]] = {
        # Pixels of one photograph: fewer than 2^31.
        "histograms": np.stack([one.histogram for one in stats]).astype(np.int32),
        "sums": np.array([(one.absolute_error, one.adaptive) for one in stats], np.float64),
        "shapes": np.array([one.shape for one in stats], np.float64),
    }
    header = _Header(
        **evidence.origin.model_dump(),
        parts={str(name): column.tolist() for name, column in evidence.parts.items()},
    )
    with atomic_write(path) as temporary:
        save_file(arrays, temporary, {"evidence": header.model_dump_json()})


def read_evidence(path: Path) -> Evidence:
    """Read what ``write_evidence`` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    advice = "evaluate again: dvc repro evaluate"
    open_regular(path, advice).close()
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("evidence", "")
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged ({str(error)[:160]}); {advice}") from None
    header = as_document(parse_json(text, str(path), advice), _Header, str(path), advice)
    images = len(found.get("histograms", ()))
    expected = {"histograms": (images, 2, 256), "sums": (images, 2), "shapes": (images, 6)}
    if (
        images == 0
        or {name: values.shape for name, values in found.items()} != expected
        or found["histograms"].dtype != np.int32
        or (found["histograms"] < 0).any()
        or any(len(column) != images for column in header.parts.values())
    ):
        raise UserError(f"{path}: not the scores of a test set; {advice}")
    origin = Origin(**header.model_dump(exclude={"parts"}))
    return Evidence(origin, _stats(**found), pd.DataFrame(header.parts, index=range(images)))


def _stats(
    histograms: NDArray[np.int32], sums: NDArray[np.float64], shapes: NDArray[np.float64]
) -> list[ImageStats]:
    found = []
    for histogram, (error, adaptive), shape in zip(
        histograms, sums.tolist(), shapes.tolist(), strict=True
    ):
        *scores, thin_found, thin = shape
        spatial = SpatialScores._make([*scores, int(thin_found), int(thin)])
        found.append(ImageStats(histogram.astype(np.int64), error, adaptive, spatial))
    return found
