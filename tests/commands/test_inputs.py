"""Finding the inputs that a command line names."""

import glob
import os
from pathlib import Path

import pytest

from skyseg.commands.inputs import expand
from skyseg.data.pictures import folders


@pytest.fixture
def tree(workspace: Path) -> Path:
    for name in (
        "photos/b.jpg",
        "photos/a.PNG",
        "photos/sub/a.png",
        "photos/sub/clip.mp4",
        "photos/notes.txt",
        "photos/.hidden.jpg",
        "photos/.cache/a.jpg",
        "alone.webp",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    return workspace


def names(inputs: list[str], without: set[Path] | None = None) -> list[tuple[str, str]]:
    found, problems, _ = expand(inputs, without or set())
    assert problems == []
    return [(source.name, source.place.as_posix()) for source in found]


def test_a_folder_gives_all_photographs_and_videos_below_it(tree: Path):
    assert names(["photos"]) == [
        ("photos/a.PNG", "a.PNG"),
        ("photos/b.jpg", "b.jpg"),
        ("photos/sub/a.png", "sub/a.png"),
        ("photos/sub/clip.mp4", "sub/clip.mp4"),
    ]
    assert [source.is_video for source in expand(["photos"], set())[0]] == [False] * 3 + [True]


def test_patterns_and_files(tree: Path):
    assert names(["photos/*.jpg", "alone.webp"]) == [
        ("photos/b.jpg", "b.jpg"),
        ("alone.webp", "alone.webp"),
    ]
    assert names(["photos/**/*.png"]) == [("photos/sub/a.png", "sub/a.png")]
    assert names([str(tree / "photos" / "?.jpg")]) == [(str(tree / "photos" / "b.jpg"), "b.jpg")]


def test_a_file_name_with_brackets_is_not_a_pattern(tree: Path):
    Path("a[1].jpg").write_bytes(b"x")
    assert names(["a[1].jpg"]) == [("a[1].jpg", "a[1].jpg")]


def test_a_file_that_is_named_several_times_is_found_once(tree: Path):
    assert len(names(["photos", "photos/b.jpg", "photos/*.jpg", str(tree / "photos")])) == 4


def test_standard_input(tree: Path):
    [source] = expand(["-"], set())[0]
    assert source.path is None
    assert source.name == "standard input"


def test_earlier_results_are_not_inputs_unless_named(tree: Path):
    made = {Path("photos/b.jpg").resolve()}
    assert "photos/b.jpg" not in dict(names(["photos"], made))
    assert names(["photos/b.jpg"], made) == [("photos/b.jpg", "b.jpg")]


def test_entries_that_match_nothing_are_reported_and_others_are_used(tree: Path):
    Path("empty").mkdir()
    found, problems, _ = expand(["gone", "empty", "*.bmp", "alone.webp"], set())
    assert [source.name for source in found] == ["alone.webp"]
    assert problems == [
        "gone: no such file or folder",
        "empty: contains no photographs or videos",
        "*.bmp: matches no files",
    ]


def link(path: str, target: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).symlink_to(target)


def test_what_is_left_out_of_a_folder_is_a_note_and_what_is_missing_an_error(tree: Path):
    Path("photos/raw.cr2").write_bytes(b"x")
    link("photos/gone.jpg", "nowhere")
    link("photos/self.jpg", "self.jpg")
    os.mkfifo("photos/pipe.png")
    found, problems, notes = expand(["photos", "photos"], set())
    assert len(found) == 4
    assert problems == [
        "photos/gone.jpg: a broken link; restore what it links to, or remove it",
        "photos/pipe.png: a pipe or a device; only files are read",
        "photos/self.jpg: a link that leads to itself; remove it",
    ]
    assert notes == [
        "photos: left out other kinds of files (raw.cr2); hidden pictures (.hidden.jpg); side "
        "files (.cache, notes.txt)"
    ]


def test_earlier_results_are_no_part_of_the_note(tree: Path):
    made = {Path("photos/notes.txt").resolve(), Path("photos/b.jpg").resolve()}
    assert "notes.txt" not in expand(["photos"], made).notes[0]


def test_a_folder_without_photographs_says_what_it_has(workspace: Path):
    Path("raw").mkdir()
    Path("raw/a.cr2").write_bytes(b"x")
    assert expand(["raw"], set()).problems == [
        "raw: contains no photographs or videos; raw: left out other kinds of files (a.cr2)"
    ]


@pytest.mark.parametrize("pattern", ["photos/**/*.png", "**/*.png", "p*/**/*.png", "./**/*.png"])
def test_patterns_follow_links_once(tree: Path, pattern: str):
    """glob would follow three links back into the folder 40 levels deep: 3^40 paths."""
    for name in ("one", "two", "three"):
        link(f"photos/{name}", ".")
    link("photos/sub/self.png", "self.png")
    found, problems, _ = expand([pattern], set())
    assert [source.name for source in found] == ["photos/sub/a.png"]
    assert problems == ["photos/sub/self.png: a link that leads to itself; remove it"]


def test_patterns_with_two_stars_are_those_of_glob(tree: Path):
    for pattern in ("photos/**/*", "photos/**", "**/sub/*.png", "photos/**/sub/**/*", "**/a.*"):
        expected = {
            path
            for path in glob.glob(pattern, recursive=True)  # noqa: PTH207
            if Path(path).is_file()
        }
        assert {source.name for source in expand([pattern], set()).inputs} == expected, pattern


@pytest.mark.parametrize(
    "entry", ["pipe", "pipe.jpg", "/dev/zero", "pip[e].jpg", "gone.jpg", "s.jpg"]
)
def test_a_named_entry_that_is_no_file_is_not_opened(workspace: Path, entry: str):
    os.mkfifo("pipe")
    os.mkfifo("pipe.jpg")
    link("gone.jpg", "nowhere")
    link("s.jpg", "s.jpg")
    found, [problem], _ = expand([entry], set())
    assert found == []
    assert problem.startswith(glob.glob(entry)[0] + ": a ")  # noqa: PTH207


def test_a_photograph_above_the_limit_is_named_and_a_video_is_not(workspace: Path):
    for name in ("a.tif", "a.mp4"):
        Path(name).write_bytes(b"x")
        os.truncate(name, 2**33)
    found, problems, _ = expand(["a.tif", "a.mp4"], set())
    assert [source.name for source in found] == ["a.mp4"]
    assert problems == [f"a.tif: larger than {folders.LARGEST >> 30} GiB; shrink or remove it"]


@pytest.mark.parametrize("entry", ["n" * 300, "/" * 5000 + "x", "d/" * 3000, "a\udcff.jpg"])
def test_a_name_that_no_file_can_have_is_not_found(workspace: Path, entry: str):
    assert expand([entry], set()).problems == [f"{entry}: no such file or folder"]
