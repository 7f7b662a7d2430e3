import os
from pathlib import Path

import pytest

from skyseg.data.tables import column, entry_parts, read_lines, read_table, without_suffix
from skyseg.errors import UserError


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def message(read, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lines_in_any_encoding_with_any_line_end(tmp_path, encoding, newline):
    path = write(
        tmp_path / "a.txt", newline.join(["train/a.png", "", '"b é.png" \t', " c "]), encoding
    )
    notes: list[str] = []
    assert read_lines(path, notes) == [(1, "train/a.png"), (3, "b é.png"), (4, "c")]
    assert not notes


def test_lines_are_normalised_and_split_only_at_line_ends(tmp_path):
    path = write(tmp_path / "a.txt", "Cafe\u0301\n#1.png\na\u2028b\x1a")
    assert read_lines(path) == [(1, "Café"), (2, "#1.png"), (3, "a\u2028b")]
    assert read_lines(write(path, "")) == []


def test_what_is_no_text_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "list.txt"
    assert "line 2: not text (contains the character 0)" in message(
        read_lines, write(path, b"a\nb\0c")
    )
    assert "line 1: not UTF-8 text" in message(read_lines, write(path, b"\x89PNG\r\n\x1a\n\0\0\0"))
    assert "line 1: 40,000 characters" in message(read_lines, write(path, b"x" * 40_000))
    assert "damaged UTF-16-LE text" in message(read_lines, write(path, b"\xff\xfea\0\0"))
    path.unlink()
    assert "No such file" in message(read_lines, path)
    path.mkdir()
    assert "not a regular file" in message(read_lines, path) or "a folder" in message(
        read_lines, path
    )
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in message(read_lines, tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read" in message(read_lines, tmp_path / "loop")


def test_a_file_of_a_gigabyte_is_refused_at_once(tmp_path):
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(2**30)
    assert "1,024 MiB, more than the 64 MiB that are read" in message(read_table, path)


@pytest.mark.parametrize(
    ("entry", "parts"),
    [
        ("C:\\SegNet\\CamVid\\train\\a.png", ("SegNet", "CamVid", "train", "a.png")),
        ("/SegNet/CamVid/train/a.png", ("SegNet", "CamVid", "train", "a.png")),
        ("\\\\server\\share\\a.png", ("server", "share", "a.png")),
        ("./train//a.png", ("train", "a.png")),
        ("c:a.png", ("a.png",)),
    ],
)
def test_entries_become_paths_below_the_root(entry, parts):
    assert entry_parts(entry, "list.txt: line 1") == parts


@pytest.mark.parametrize(
    "entry", ["../a.png", "a/../../b.png", "C:\\..\\b.png", "a\\..", "..", "/", "."]
)
def test_entries_that_leave_the_folder_are_refused(entry):
    with pytest.raises(UserError, match=r"list\.txt: line 7: "):
        entry_parts(entry, "list.txt: line 7")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_with_any_separator(tmp_path, separator, encoding):
    rows = [
        ["id", "camera", "of, or; about"],
        ["01", "Straße 1", '"a;b,c\td"'],
        ["02", " left ", ""],
    ]
    text = "\r\n".join(separator.join(row) for row in rows).replace("of, or; about", "note")
    table = read_table(write(tmp_path / "a.csv", text, encoding))
    assert table.to_dict("list") == {
        "id": ["01", "02"],
        "camera": ["Straße 1", "left"],
        "note": ["a;b,c\td", ""],
    }
    assert list(table.index) == [2, 3]


def test_tables_of_spreadsheets(tmp_path):
    path = write(tmp_path / "a.csv", "sep=;\r\nId ; Camera;;\r\n\r\n01;a;;\r\n;;;\r\n02;b\r\n")
    table = read_table(path)
    assert table.to_dict("list") == {"Id": ["01", "02"], "Camera": ["a", "b"]}
    assert list(table.index) == [4, 6]
    assert (column(table, "id"), column(table, "CAMERA"), column(table, "lens")) == (
        "Id",
        "Camera",
        None,
    )
    both = read_table(write(path, "ID,id\n1,2\n"))
    assert column(both, "id") == "id"
    assert column(both, "Id") is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "empty; its first line should name the columns"),
        ("\n,,\n", "empty; its first line should name the columns"),
        ("id,camera\n01\n", "line 2: 1 cells, but the header has 2"),
        ("id,camera\n01,a\n02,b,c\n", "line 3: 3 cells, but the header has 2"),
        ("id,camera,id\n", "line 1: two columns are named 'id'"),
        ("id,,camera\n", "line 1: column 2 has no name"),
        ('id,camera\n01,"a\n02,b\n', "not a CSV table (unexpected end of data)"),
    ],
)
def test_damaged_tables_are_refused_by_line(tmp_path, content, expected):
    assert expected in message(read_table, write(tmp_path / "a.csv", content))


@pytest.mark.parametrize(
    "text", ["Straße 1", "créée à l'été", "blåbærgrød Ærø", "Ångström", "20 °C – Café"]
)
def test_windows_1252_is_read_and_said(tmp_path, text):
    notes: list[str] = []
    table = read_table(write(tmp_path / "a.csv", f"id,camera\r\n01,{text}\r\n", "cp1252"), notes)
    assert table["camera"].tolist() == [text]
    [note] = notes
    assert "a.csv: not UTF-8, read as Windows-1252" in note
    assert text in note


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Станция", "cp1251"),
        ("駅前", "shift-jis"),
        ("車站前面", "big5"),
        ("Straße", "mac-roman"),
        ("Brno žluťoučký kůň", "cp1250"),
        ("Αθήνα", "cp1253"),
    ],
)
def test_what_is_visibly_not_windows_1252_is_refused(tmp_path, text, encoding):
    path = write(tmp_path / "a.csv", f"id,camera\n01,{text}\n", encoding)
    assert "line 2: not UTF-8 text; save it as UTF-8" in message(read_table, path)


def test_one_damaged_byte_in_utf_8_is_not_taken_for_windows_1252(tmp_path):
    path = write(tmp_path / "a.csv", "id,camera\n01,Straße\n02,caf".encode() + b"\xff\n")
    assert "line 3: not UTF-8 text" in message(read_table, path)


def test_suffixes_of_pictures_only():
    assert [without_suffix(name) for name in ("a/b.JPG", "a.b", "a.b.png", "a")] == [
        "a/b",
        "a.b",
        "a.b",
        "a",
    ]
