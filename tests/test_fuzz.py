"""Whatever is in a file, reading it gives a result or a ``UserError`` in one line.

``READERS`` has a row for each kind of file. Hypothesis damages a good one, always in the same ways.
What it finds is mended, and kept as a case in the tests of the module. For longer, in other ways:

    SKYSEG_FUZZ=5000 pytest tests/test_fuzz.py

COCO, LabelMe and CVAT have a test of their own in ``data/formats/test_annotated.py``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as safetensors

from skyseg.app import inbox
from skyseg.commands import results
from skyseg.data.arrays import open_split
from skyseg.data.audit.excluded import read_excluded
from skyseg.data.audit.training_data import read_remembered
from skyseg.data.manifest import COLUMNS, read_dataset, read_manifest, summarise
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.stats import count_values
from skyseg.data.pictures.codec import read
from skyseg.data.tables import read_lines, read_table
from skyseg.documents import read_history
from skyseg.errors import UserError, printable
from skyseg.model.checkpoint import ModelConfig, load_config, load_state
from skyseg.model.weights import read_weights
from skyseg.params import DataParams, load_params
from skyseg.tracking.evaluation import read_metrics
from tiny import photograph

EXAMPLES = int(os.environ.get("SKYSEG_FUZZ", "25"))  # of each reader
ROOT = Path(__file__).parents[1]
ROW = dict.fromkeys(COLUMNS, "x") | {
    "split": "train", "weight": 1.0, "width": 4, "height": 4, "foreground": 0.5, "ignored": 0.0
}  # fmt: skip


class Reader(NamedTuple):
    name: str
    """Of the file, below a folder."""
    content: Callable[[], bytes]
    """Of a good file."""
    read: Callable[[Path], object]
    """Reads it, given the folder."""


def image(format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(0, 24, 16)).save(file, format)
    return file.getvalue()


def mask() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.eye(16, 24, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((2, 8, 8, 3), np.uint8))
    return file.getvalue()


def tensors() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


def pth() -> bytes:
    file = io.BytesIO()
    torch.save(tensors(), file)
    return file.getvalue()


def dataset() -> bytes:
    table = pd.DataFrame([ROW])
    summary = summarise(
        table, "pairs", Encoding(kind="0/1", threshold=1), "0/1", 8, Path("/none"), {}
    )
    return summary.model_dump_json().encode()


def row(values: dict[str, Any]) -> bytes:
    return pd.DataFrame([values]).to_csv(index=False).encode()


def text(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def config() -> bytes:
    digest = hashlib.sha256(safetensors(tensors())).hexdigest()
    found = ModelConfig(variant="u2netp", size=64, threshold=0.4, fingerprint=digest)
    return found.model_dump_json().encode()


READERS = [
    Reader(
        "params.yaml",
        lambda: (ROOT / "params.yaml").read_bytes(),
        lambda folder: load_params(folder / "params.yaml"),
    ),
    Reader(
        "table.csv",
        lambda: b"id;camera\nphoto one;3\n\"a;b\";4\n",
        lambda folder: read_table(folder / "table.csv"),
    ),
    Reader(
        "list.txt",
        lambda: b"\xef\xbb\xbfimages\\a.jpg masks\\a.png\r\nimages/b.jpg\r\n",
        lambda folder: read_lines(folder / "list.txt"),
    ),
    Reader("excluded.csv", lambda: b"id,reason\na,blurred\n", read_excluded),
    Reader("manifest.csv", lambda: row(ROW), read_manifest),
    Reader("dataset.json", dataset, read_dataset),
    Reader("images_val.npy", array, lambda folder: open_split(masks_beside(folder), "val", 2)),
    Reader("m.json", config, lambda folder: load_config(weights_beside(folder))),
    Reader(
        "m.safetensors",
        lambda: safetensors(tensors()),
        lambda folder: read_weights(folder / "m.safetensors"),
    ),
    Reader("m.pth", pth, lambda folder: read_weights(folder / "m.pth")),
    Reader(
        "resume.safetensors",
        lambda: safetensors(tensors(), {"notes": json.dumps({"history": []})}),
        lambda folder: load_state(folder / "resume.safetensors"),
    ),
    Reader(
        "history.csv",
        lambda: b"epoch,train/loss,val/iou\n1,0.5,\n2,0.25,0.9\n",
        lambda folder: read_history(folder / "history.csv"),
    ),
    Reader(
        "metrics.json",
        lambda: text({"test": {"iou": 0.5}, "weights": "a" * 64, "scoring": "b"}),
        lambda folder: read_metrics(folder / "metrics.json"),
    ),
    Reader(
        "models/champion_data.json",
        lambda: text(
            {"champion": {"images": 3, "foreground": [0.5] * 11, "pixels": [9] * 11}}
        ),
        read_remembered,
    ),
    Reader(
        "predictions.csv",
        lambda: row(dict.fromkeys(results.COLUMNS, "x")),
        lambda folder: results._read(folder / "predictions.csv"),
    ),
    Reader(
        "inbox/one/provenance.json",
        lambda: text({"model": "skyseg", "version": "1", "created": "2026-11-26T10:00:00+00:00"}),
        lambda folder: inbox.entries(entry_beside(folder)),
    ),
    Reader("a.jpg", lambda: image("JPEG"), lambda folder: read(folder / "a.jpg")),
    Reader("a.png", lambda: image("PNG"), lambda folder: read(folder / "a.png")),
    Reader("a.tif", lambda: image("TIFF"), lambda folder: read(folder / "a.tif")),
    Reader("m.png", mask, lambda folder: count_values(folder / "m.png", DataParams())),
]  # fmt: skip


def masks_beside(folder: Path) -> Path:
    np.save(folder / "masks_val.npy", np.zeros((2, 8, 8), np.uint8))
    return folder


def weights_beside(folder: Path) -> Path:
    (folder / "m.safetensors").write_bytes(safetensors(tensors()))
    return folder / "m.safetensors"


def entry_beside(folder: Path) -> Path:
    (folder / "inbox" / "one" / "photo.jpg").write_bytes(image("JPEG"))
    (folder / "inbox" / "one" / "mask.png").write_bytes(mask())
    return folder


# What is put into files: each is something that a reader has failed on.
PIECES = [
    b"[" * 5000, b"{\"a\":" * 3000, b"9" * 5000, b"1e999", b"-1", b"NaN", b"-Infinity", b"true",
    b"null", b"0", b"2020-13-01", b"0x_", b"1_0", b"\"\"", b"\"", b"'", b"\0", b"\xff", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\n", b"\r\n", b",", b";", b":", b"- ", b"&a [*a]", b"*a",
    b"!!python/object/apply:os.system [x]", b"<<: {a: 1}", b"? ", b"{}", b"[]", b"../../x",
    b"\\ud800", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\x1b[31m",
]  # fmt: skip


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Cut off, put in, or put in place of something, at up to three places."""
    changes = draw(
        st.lists(
            st.tuples(
                st.floats(0, 1),
                st.sampled_from(["cut", "insert", "replace", "drop", "repeat"]),
                st.sampled_from(PIECES) | st.binary(max_size=4),
                st.integers(1, 40),
            ),
            min_size=1,
            max_size=3,
        )
    )

    def apply(content: bytes) -> bytes:
        for where, kind, piece, count in changes:
            at = round(where * len(content))
            before, after = content[:at], content[at:]
            content = {
                "cut": before,
                "insert": before + piece + after,
                "replace": before + piece + after[len(piece) :],
                "drop": before + after[count:],
                "repeat": before + after[:count] * 3 + after,
            }[kind]
        return content

    return apply


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_good_files_are_read(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / reader.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(reader.content())
    reader.read(tmp_path)


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_damaged_files_give_a_result_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, reader: Reader
) -> None:
    folder, good = tmp_path_factory.mktemp("fuzz"), reader.content()
    path = folder / reader.name
    path.parent.mkdir(parents=True, exist_ok=True)

    @settings(
        max_examples=EXAMPLES,
        derandomize=EXAMPLES < 1000,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damage())
    def read_damaged(change: Callable[[bytes], bytes]) -> None:
        path.write_bytes(change(good))
        message = "-"
        try:
            reader.read(folder)
        except UserError as error:
            message = printable(str(error))
        assert message.strip()
        assert len(message) < 2000

    read_damaged()
