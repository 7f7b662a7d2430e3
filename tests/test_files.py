import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skyseg.errors import exit_code
from skyseg.files import atomic_write, left_over, sha256, write_json, write_text
from skyseg.model.checkpoint import save_state


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


def die_while_writing(folder: Path, name: str) -> int:
    """A process that is killed while it writes a file; returns its number."""
    code = (
        "import os, sys; from pathlib import Path; from skyseg.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder / name)])
    assert process.wait() == -signal.SIGKILL
    return process.pid


def test_the_next_process_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    pid = die_while_writing(tmp_path, "a.txt")
    [part] = tmp_path.iterdir()
    assert part.name.startswith(".a.txt.")
    assert part.name.endswith(f".{pid}.part")
    elsewhere = tmp_path / f".a.txt.{'0' * 8}.{pid}.part"  # another computer may be writing
    elsewhere.mkdir()
    assert left_over(tmp_path) == sorted([part, elsewhere])
    alive = part.with_name(part.name.replace(str(pid), str(os.getppid())))
    alive.mkdir()
    earlier = part.with_name(part.name.replace(str(pid), str(os.getpid())))  # had our number
    earlier.mkdir()
    write_text(tmp_path / "b.txt", "new")
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere, tmp_path / "b.txt"])


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_are_as_readable_as_the_umask_allows(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_state(tmp_path / "state.safetensors", {"a": torch.zeros(3)}, {})
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["state.safetensors"] == modes["plain"]


def test_a_signal_while_the_temporary_folder_is_removed_is_not_lost(tmp_path, monkeypatch):
    """``shutil.rmtree`` closes a file twice if an exception comes in between: an OSError."""
    close = os.close

    def slow(descriptor: int) -> None:
        close(descriptor)
        monkeypatch.setattr(os, "close", close)
        os.kill(os.getpid(), signal.SIGTERM)

    def write() -> None:
        with atomic_write(tmp_path / "a") as temporary:
            temporary.write_text("b")
            monkeypatch.setattr(os, "close", slow)

    assert exit_code(write) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
