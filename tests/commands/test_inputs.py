"""Finding the inputs that a command line names."""

from pathlib import Path

import pytest

from skyseg.commands.inputs import expand


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
