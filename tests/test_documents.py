import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from skyseg.documents import (
    Document,
    read_document,
    read_history,
    read_json,
    read_text,
    read_yaml,
)
from skyseg.errors import UserError

ADVICE = "write it again"


class Point(Document):
    x: int
    y: float = 0.0
    scores: dict[str, float] = Field({})


def message(read: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(*arguments, ADVICE)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_what_is_no_text_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert message(read_text, path) == f"{path}: no such file; {ADVICE}"
    path.symlink_to(path)
    assert message(read_text, path) == f"{path}: a link that leads to itself; remove it"
    path.unlink()
    os.mkfifo(path)
    assert "a pipe or a device" in message(read_text, path)
    assert "a folder; name a file" in message(read_text, tmp_path)
    assert "cannot be read" in message(read_text, Path("a\0b"))
    assert "File name too long" in message(read_text, tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("ä".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
        (b"\n\n\xe4", "line 3: not UTF-8 text"),
        (b"\na\0", "line 2: contains a null character"),
        (b"\xed\xa0\x80", "line 1: not UTF-8 text"),
    ],
)
def test_other_encodings_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert message(read_text, path).startswith(f"{path}: {words}")


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 2**40)
    assert message(read_text, path) == f"{path}: larger than 64 MiB; shrink or remove it"
    assert message(read_yaml, path) == f"{path}: larger than 256 KiB; shrink or remove it"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: not JSON (Expecting value)"),
        ('{"a": 1,\n', "line 2: not JSON"),
        ("[" * 5000, "nested too deeply"),
        ("[" * 30 + "]" * 30, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "not valid JSON"),
        ("9" * 50, "contains an integer of 167 bits"),
        ('{"a": 1, "a": 2}', "not valid JSON (the key 'a' occurs twice)"),
        ('"\\ud800"', "contains half of a character"),
    ],
)
def test_damaged_json(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    found = message(read_json, path)
    assert found.startswith(f"{path}: {words}")
    assert found.endswith(ADVICE)


def test_json_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, null, true, "\\ud83d\\ude00"]}')
    assert read_json(path, ADVICE) == {"a": [1, 2.5, None, True, "😀"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "the whole file: Input should be a valid dictionary"),
        ("{}", "x: missing"),
        ('{"x": 1, "z": 1}', "z: unknown key"),
        ('{"x": true}', "x: Input should be a number, not true or false (found True)"),
        ('{"x": 1, "y": false}', "y: Input should be a number, not true or false"),
        ('{"x": 1, "y": NaN}', "y: Input should be a finite number (found nan)"),
        ('{"x": 1, "y": 1e999}', "y: Input should be a finite number (found inf)"),
        ('{"x": 1, "scores": {"iou": Infinity}}', "scores.iou: Input should be a finite number"),
        ('{"x": {"x": 1}}', "x: Input should be a valid integer (found {'x': 1})"),
        ('{"a": 1, "b": 1, "c": 1, "d": 1}', "and 2 more"),
    ],
)
def test_documents_that_do_not_fit(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    found = message(read_document, path, Point)
    assert found.startswith(f"{path}: ")
    assert words in found


def test_a_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text('{"x": 1, "y": 2, "scores": {"iou": 0.5}}')
    assert read_document(path, Point, ADVICE) == Point(x=1, y=2.0, scores={"iou": 0.5})


def test_few_lines_of_yaml_that_stand_for_billions_of_values(tmp_path: Path) -> None:
    path = tmp_path / "file"
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    path.write_text("\n".join(lines))
    assert "more than 2,000,000 values" in message(read_yaml, path)


@pytest.mark.parametrize("start", ["[", "{", "- ", "? ", ": ", "a: !x "])
def test_nesting_ends_early(tmp_path: Path, start: str) -> None:
    path = tmp_path / "file"
    path.write_text(start * (200_000 // len(start)))
    assert message(read_yaml, path).startswith(f"{path}: line 1: n")


def test_a_history_has_numbers_and_undefined_values(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("epoch,train/loss,val/iou\n1,0.5,\n2,0.25,nan\n")
    table = read_history(path)
    assert table["epoch"].tolist() == [1, 2]
    assert table["train/loss"].tolist() == [0.5, 0.25]
    assert table["val/iou"].isna().all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column epoch"),
        ("train/loss\n1\n", "no column epoch"),
        ("epoch,a\n1\n", "row 1: 1 cells, expected 2"),
        ("epoch,a\n1,x\n", "row 1: a: 'x' is not a number"),
        ("epoch,a,a\n1,2,3\n", "two columns have the same name"),
        ("epoch,a\n0,2\n", "epoch: not numbers from 1"),
        ("epoch,a\n,2\n", "epoch: not numbers from 1"),
        ('epoch,a\n"1,2\n', "damaged"),
    ],
)
def test_damaged_histories(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_history(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert str(caught.value).endswith("; train again: dvc repro --force train")
