import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from skyseg.data.manifest import COLUMNS, read_dataset, read_manifest, summarise
from skyseg.data.masks.encoding import Encoding
from skyseg.errors import UserError
from skyseg.files import write_csv, write_text

ROW = {
    "id": "town/01",
    "image": "data/images/town/01.jpg",
    "mask": "data/masks/town/01.png",
    "split": "train",
    "source": "",
    "weight": 1.0,
    "group": "01",
    "width": 640,
    "height": 480,
    "foreground": 0.25,
    "ignored": 0.0,
    "image_sha256": "a" * 64,
    "mask_sha256": "b" * 64,
    "flags": "",
}


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    write_csv(folder / "manifest.csv", pd.DataFrame(rows or [ROW], columns=list(COLUMNS)))
    return folder


def message(read: Any, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert "dvc" in text
    return text


def test_cells_are_read_as_they_were_written(tmp_path: Path) -> None:
    odd = ROW | {
        "id": ' a,"b" ',
        "group": "NA",
        "split": "val",
        "flags": "empty",
        "image": "a\u0308",
    }
    table = read_manifest(write(tmp_path, ROW, odd))
    assert table.to_dict("records") == [ROW, odd]
    assert table["width"].dtype == int
    assert table["foreground"].dtype == float


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 0}, "row 1: width: '0' is not a number from 1"),
        ({"width": "wide"}, "row 1: width: 'wide' is not a number"),
        ({"height": 1e30}, "row 1: height: '1e+30' is not a number"),
        ({"foreground": 1.5}, "row 1: foreground: '1.5' is not a number from 0 to 1"),
        ({"foreground": "nan"}, "row 1: foreground: 'nan' is not a number"),
        ({"ignored": ""}, "row 1: ignored: '' is not a number"),
        ({"ignored": "inf"}, "row 1: ignored: 'inf' is not a number"),
        ({"split": "training"}, "row 1: split: 'training' is no split"),
        ({"id": ""}, "row 1: id: '' is no id"),
        ({"id": "9" * 5000, "width": "9" * 5000}, "row 1: width: '999"),
    ],
)
def test_impossible_cells_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    assert f"manifest.csv: {words}" in message(read_manifest, write(tmp_path, ROW | change))


def test_an_id_that_occurs_twice(tmp_path: Path) -> None:
    assert "row 2: id: 'town/01'" in message(read_manifest, write(tmp_path, ROW, ROW))


def test_damaged_manifests(tmp_path: Path) -> None:
    path = write(tmp_path) / "manifest.csv"
    text = path.read_text()
    for content, words in (
        ("", "no column id"),
        ("a,b\n1,2\n", "no column id"),
        (text.replace("width", "wide"), "no column width"),
        (text[:-20], "row 1: 13 cells, expected 14"),
        (text.replace(",640,", ",640,,"), "row 1: 15 cells, expected 14"),
        (text.replace("town/01,", '"town/01,', 1), "damaged"),
        (text.replace("town/01,", "a" * 200_000 + ",", 1), "damaged (field larger"),
        (text.replace("640", "640\0"), "line 2: contains a null character"),
    ):
        path.write_text(content)
        assert f"manifest.csv: {words}" in message(read_manifest, tmp_path)
    path.unlink()
    assert "manifest.csv: no such file" in message(read_manifest, tmp_path)


def dataset(root: Path) -> dict[str, Any]:
    encoding = Encoding(kind="0/255", threshold=128)
    found = summarise(pd.DataFrame([ROW]), "pairs", encoding, "decided", 64, root, {})
    write_text(root / "dataset.json", found.model_dump_json())
    assert read_dataset(root) == found
    content: dict[str, Any] = json.loads(found.model_dump_json())
    return content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": True}, "size: Input should be a number"),
        ({"size": 1e99}, "size: "),
        ({"encoding": {"kind": "0/2"}}, "encoding.kind: Input should be"),
        ({"encoding": {"kind": "index", "scaled": {"8-bit": 0}}}, "encoding.scaled.8-bit: "),
        ({"encoding": {"kind": "index", "foreground": [-1]}}, "encoding.foreground.0: "),
        ({"splits": {"train": {"images": 0, "foreground": 0, "fingerprint": "x"}}}, "images: "),
        ({"splits": {"train": 5}}, "splits.train: "),
        ({"splits": {"train": {}}}, "splits.train.images: missing"),
        ({"more": 1}, "more: unknown key"),
        ({"format": None}, "format: "),
    ],
)
def test_damaged_summaries(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write_text(tmp_path / "dataset.json", json.dumps(dataset(tmp_path) | change))
    assert words in message(read_dataset, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "[" * 5000, "9" * 5000, '{"size": NaN}'])
def test_summaries_that_are_none(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "dataset.json", text)
    assert message(read_dataset, tmp_path).startswith(f"{tmp_path / 'dataset.json'}: ")


def test_the_md5_of_dvc(tmp_path: Path) -> None:
    path = tmp_path / "data.dvc"
    assert dataset(tmp_path)["dvc_md5"] is None
    for text, md5 in (("", None), ("outs:\n- md5: abc.dir\n", "abc.dir"), ("outs: []", None)):
        path.write_text(text)
        assert dataset(tmp_path)["dvc_md5"] == md5
    for text in (
        "- a",
        "outs: 5",
        "outs: {a: 1}",
        "outs: [5]",
        "outs:\n- md5: 5",
        "a: [",
        "[" * 5000,
    ):
        path.write_text(text)
        assert message(dataset, tmp_path).startswith(f"{path}: ")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="a pipe"):
        dataset(tmp_path)
