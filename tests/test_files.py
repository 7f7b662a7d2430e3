import hashlib
import json
from pathlib import Path

import pytest

from skyseg.files import atomic_write, sha256, write_json, write_text


def test_files_and_folders_are_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "one")
    write_text(tmp_path / "new" / "a.txt", "two")
    assert (tmp_path / "new" / "a.txt").read_text() == "two"
    for content in ("one", "two"):
        with atomic_write(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_earlier_result_and_leaves_no_temporary_files(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()

    def fill_folder() -> None:
        with atomic_write(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / "half").touch()
            raise error

    def write_file() -> None:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    for attempt in (fill_folder, write_file):
        with pytest.raises(error):
            attempt()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "folder",
        "folder/kept",
    ]


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_json_floats_are_rounded_and_integers_kept(tmp_path):
    write_json(tmp_path / "a" / "m.json", {"test": {"iou": 1 / 3, "images": 7}})
    assert json.loads((tmp_path / "a" / "m.json").read_text()) == {
        "test": {"iou": 0.333333, "images": 7}
    }
