"""Makes what the web page shows: suspects of ``skyseg audit``, brush strokes, annotations."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from skyseg.app import actions, inbox
from skyseg.data.sources import Source
from skyseg.inference.suspects import COLUMNS, Ranking
from skyseg.metrics.confident import Thresholds
from skyseg.params import DataParams, SplitParams
from skyseg.reports.audit_page import jpeg
from skyseg.reports.suspects_files import CAPTIONS, FOLDER
from skyseg.reports.suspects_page import Card, write_results
from tiny import photograph, save

SUSPECTS = ("05", "03", "08")
"""The ids of the suspects, the worst first."""


def accept(
    root: Path, names: Sequence[str], data: DataParams, replace: bool = False
) -> list[inbox.Accepted]:
    """Move entries of the inbox into ``root/data``, a single data set."""
    return inbox.accept(root, names, Source("", root / "data", data, SplitParams(), 1.0), replace)


def make_suspects(root: Path, template: Path) -> Path:
    """Put the data of a prepared workspace into another one, with a result of the audit.

    Args:
        root: the workspace.
        template: a workspace with the samples 00 to 13 in format pairs.

    Returns:
        ``root``
    """
    for part in ("data", "prepared"):
        shutil.copytree(template / part, root / part)
    kinds = ("inverted", "missing", "extra")
    table = pd.DataFrame(
        [
            (number + 1, id, "train", 0.5, 0.25, kind)
            for number, (id, kind) in enumerate(zip(SUSPECTS, kinds, strict=True))
        ],
        columns=COLUMNS,
    )
    cards = [
        Card(row, [jpeg(photograph(number)) for number, _ in enumerate(CAPTIONS)])
        for row in table.itertuples()
    ]
    ranking = Ranking(table, Thresholds(0.9, 0.9), 0.9)
    write_results(root / FOLDER, ranking, table, cards, 1)
    return root


def image_of(root: Path, id: str) -> np.ndarray:
    """The mask of a sample as it is stored, uint8 [H, W]."""
    return np.asarray(Image.open(root / "data" / "masks" / f"{id}.png"))


def strokes(size: tuple[int, int], **boxes: tuple[int, int, int, int]) -> bytes:
    """A transparent PNG with a box (left, top, right, bottom) in the colour of each brush."""
    layer = Image.new("RGBA", size)
    colours = {"sky": actions.SKY_BRUSH, "ground": actions.NO_SKY_BRUSH}
    for brush, box in boxes.items():
        layer.paste((*colours[brush], 255), box)
    buffer = io.BytesIO()
    layer.save(buffer, "PNG")
    return buffer.getvalue()


def labelme(root: Path, ids: Sequence[str] = ("0", "1", "2")) -> None:
    """Samples in format labelme, with a shape called sky."""
    for number, id in enumerate(ids):
        save(root / f"{id}.png", photograph(number))
        points = [[0, 0], [47, 0], [47, 10 + number], [0, 10 + number]]
        shape = {"label": "sky", "shape_type": "polygon", "points": points}
        record = {"shapes": [shape], "imagePath": f"{id}.png", "imageData": None}
        (root / f"{id}.json").write_text(json.dumps(record | {"imageHeight": 40, "imageWidth": 48}))
