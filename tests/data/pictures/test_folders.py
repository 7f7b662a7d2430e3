"""Listing the pictures of a folder, and saying what is left out."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from skyseg.data.pictures import folders
from skyseg.data.pictures.folders import check_name, describe, list_folder, list_pictures
from skyseg.errors import UserError, printable


def touch(*names: str | Path) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def link(path: str, target: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).symlink_to(target)


def listed(folder: str = "in") -> tuple[list[str], dict[str, str]]:
    """Relative names of the files, and the reasons for what is left out."""
    found = list_folder(Path(folder))
    return [path.relative_to(folder).as_posix() for path in found.files], {
        path.relative_to(folder).as_posix(): reason for path, reason in found.left_out
    }


@pytest.fixture(autouse=True)
def here(workspace: Path) -> Path:
    Path("in").mkdir()
    return workspace


def test_files_come_before_subfolders_and_both_are_sorted() -> None:
    touch("in/b.png", "in/a.PNG", "in/sub/c.png", "in/a/d.jpg", "in/sub.jpg/e.webp")
    assert listed() == (["a.PNG", "b.png", "a/d.jpg", "sub/c.png", "sub.jpg/e.webp"], {})


def test_every_entry_that_is_left_out_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/a.jpg", "in/.b.jpg", "in/.git/c.jpg", "in/._a.jpg", "in/.DS_Store")
    touch("in/raw.cr2", "in/noname", "in/Thumbs.db", "in/desktop.ini", "in/LIST.TXT", "in/a.xmp")
    link("in/gone.jpg", "nowhere.jpg")
    link("in/unmounted", "/nowhere/photos")
    link("in/self.jpg", "self.jpg")
    link("in/one.jpg", "two.jpg")
    link("in/two.jpg", "one.jpg")
    os.mkfifo("in/pipe.jpg")
    link("in/device.jpg", "/dev/zero")
    touch("in/large.png", "in/large.txt")
    monkeypatch.setattr(folders, "LARGEST", 10)
    Path("in/large.png").write_bytes(bytes(11))
    files, left_out = listed()
    assert files == ["a.jpg"]
    assert left_out == {
        ".b.jpg": "hidden",
        **dict.fromkeys((".git", "._a.jpg", ".DS_Store"), "side"),
        **dict.fromkeys(("raw.cr2", "noname"), "other"),
        **dict.fromkeys(("Thumbs.db", "desktop.ini", "LIST.TXT", "a.xmp", "large.txt"), "side"),
        **dict.fromkeys(("gone.jpg", "unmounted"), "broken"),
        **dict.fromkeys(("self.jpg", "one.jpg", "two.jpg"), "self"),
        **dict.fromkeys(("pipe.jpg", "device.jpg"), "special"),
        "large.png": "large",
    }


def test_a_huge_sparse_file_is_too_large() -> None:
    touch("in/sparse.tif", "in/film.mp4")
    for name in ("sparse.tif", "film.mp4"):
        os.truncate(Path("in", name), 2**40)
    found = list_folder(Path("in"), frozenset({".mp4"}))
    assert [path.name for path in found.files] == ["film.mp4"]
    assert found.left_out == [(Path("in/sparse.tif"), "large")]


def test_linked_folders_and_files_are_followed() -> None:
    touch("elsewhere/a.png", "elsewhere/deep/b.png", "c.png")
    link("in/far", Path("elsewhere").resolve())
    link("in/sub/relative", "../../elsewhere/deep")
    link("in/c.png", "../c.png")
    assert listed() == (
        ["c.png", "far/a.png", "far/deep/b.png"],
        {"sub/relative": "again"},
    )


def test_a_real_folder_wins_over_a_link_to_it() -> None:
    touch("in/real/a.png")
    link("in/a_link", "real")
    link("in/z/link", "../real")
    assert listed() == (["real/a.png"], {"a_link": "again", "z/link": "again"})


@pytest.mark.parametrize("target", [".", "..", "../../in", "../..", "/"])
def test_a_link_back_into_a_folder_that_contains_it_is_left_out(target: str) -> None:
    touch("in/a.png", "outside.png")
    link("in/sub/link", Path("in/sub", target).resolve())
    assert listed() == (["a.png"], {"sub/link": "again"})


def test_a_linked_folder_that_links_back_is_listed_once() -> None:
    touch("in/a.png", "other/b.png")
    link("in/there", "../other")
    link("other/back", "../in")
    assert listed() == (["a.png", "there/b.png"], {"there/back": "again"})


def test_folders_that_all_link_to_each_other_are_listed_once_each() -> None:
    """Following every link would list 9! paths."""
    for name in range(9):
        touch(f"in/{name}/{name}.png")
        for other in range(9):
            link(f"in/{name}/to{other}", f"../{other}")
    files, left_out = listed()
    assert files == [f"{name}/{name}.png" for name in range(9)]
    assert set(left_out.values()) == {"again"}
    assert len(left_out) == 81


def test_a_folder_that_is_a_link_is_listed() -> None:
    touch("photos/a.png")
    Path("link").symlink_to("photos")
    assert listed("link") == (["a.png"], {})


def test_unreadable_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/a.png", "in/locked/b.png")
    scandir = os.scandir

    def locked(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    assert listed() == (["a.png"], {"locked": "unreadable"})
    with pytest.raises(UserError, match="in/locked: cannot be read; change its permissions"):
        list_pictures(Path("in"))
    with pytest.raises(UserError, match="in/locked/: cannot be read: Permission denied"):
        list_folder(Path("in/locked"))


def test_a_tree_deeper_than_the_longest_path_ends(here: Path) -> None:
    name = "d" * 200
    for _ in range(25):  # 5,000 characters; Linux allows 4,096
        Path(name).mkdir()
        os.chdir(name)
    os.chdir(here)
    files, left_out = listed(".")
    assert files == []
    assert set(left_out.values()) == {"unreadable"}


@pytest.mark.parametrize(
    ("target", "message"),
    [("gone.jpg", "a broken link; restore"), ("a.jpg", "a link that leads to itself; remove it")],
)
def test_whoever_needs_every_photograph_is_told_of_one_that_is_missing(
    target: str, message: str
) -> None:
    touch("in/b.jpg", "in/raw.cr2", "in/notes.txt")
    assert [path.name for path in list_pictures(Path("in"))] == ["b.jpg"]
    link("in/a.jpg", target)
    with pytest.raises(UserError, match=f"^in/a.jpg: {message}"):
        list_pictures(Path("in"))


def test_the_description_counts_all_and_names_the_first() -> None:
    touch(*(f"in/{number}.cr2" for number in range(1200)), "in/sub/Thumbs.db", "in/.x.jpg")
    assert describe(Path("in"), list_folder(Path("in")).left_out) == (
        "in: left out other kinds of files (0.cr2, 1.cr2, 10.cr2 and 1,197 more); hidden pictures "
        "(.x.jpg); side files (sub/Thumbs.db)"
    )
    assert describe(Path("in"), []) == ""


NAMES = {
    b"stra\xdfe.png": r"stra\xdfe.png",
    b"two\nlines\t.png": r"two\nlines\t.png",
    b"\x1b[31mred.png": r"\x1b[31mred.png",
    "gpj\u202egnp.png".encode(): r"gpj\u202egnp.png",
    "خانه\u200cها.png".encode(): "خانه\u200cها.png",
    "Café 👨\u200d👩.png".encode(): "Café 👨\u200d👩.png",
    b"\xff\xfe\x00"[:2] + b".png": r"\xff\xfe.png",
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_listed_and_can_be_printed(name: bytes) -> None:
    Path(os.fsdecode(b"in/" + name)).write_bytes(b"x")
    [path] = list_pictures(Path("in"))
    assert os.fsencode(path.name) == name
    assert printable(path.name) == NAMES[name]
    assert printable(path.name).encode("utf-8").splitlines() == [NAMES[name].encode()]


def test_names_that_are_not_utf8_are_refused_where_tables_name_them() -> None:
    check_name(Path("Café.png"))
    check_name(Path(unicodedata.normalize("NFD", "Café.png")))
    for name in (b"stra\xdfe.png", b"folder\xff/a.png"):
        with pytest.raises(UserError, match=r"\\x(df|ff).*: its name is not UTF-8; rename"):
            check_name(Path(os.fsdecode(name)))
