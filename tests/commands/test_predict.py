"""skyseg predict, through the command line, on realistic files."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from predicting import make_model, refused, results, rows, run
from skyseg.cli import app
from skyseg.commands.results import Results
from skyseg.data.pictures.codec import read
from skyseg.inference.outputs import OUTPUTS
from skyseg.inference.predictor import CheckpointPredictor, probability
from tiny import bomb, photograph, save


def test_a_folder_of_photographs_becomes_masks_and_a_table(here: Path):
    assert "3 done, 0 already there, 0 failed" in run("photos", "--out", "out")
    assert results() == ["a-mask.png", "a.png-mask.png", "sub/a-mask.png"]
    assert list(rows()) == ["../photos/a.jpg", "../photos/a.png", "../photos/sub/a.jpg"]
    model = CheckpointPredictor(here / "m.safetensors")
    for file, row in rows().items():
        found = np.asarray(Image.open(Path("out", row["mask"])))
        expected = probability(model, read(Path("out", file)).pixels) >= 0.5
        assert 0.01 < expected.mean() < 0.99
        np.testing.assert_array_equal(found, expected * np.uint8(255))
        assert float(row["foreground"]) == pytest.approx(expected.mean(), rel=1e-4)
        assert (int(row["height"]), int(row["width"])) == expected.shape
        assert 0 < float(row["confidence"]) <= 1
        assert row["model"].startswith("m.safetensors (u2netp, ")


def test_every_kind_of_output(here: Path):
    save(here / "dusk.png", np.full((9, 16, 3), (240, 120, 60), np.uint8))
    kinds = [word for kind in OUTPUTS for word in ("--output", kind)]
    run("photos/a.jpg", "--out", "out", *kinds, "--sky", "dusk.png")
    row = rows()["../photos/a.jpg"]
    for kind, mode in (
        ("mask", "L"),
        ("alpha", "L"),
        ("cutout", "RGBA"),
        ("overlay", "RGB"),
        ("replace", "RGB"),
    ):
        with Image.open(Path("out", row[kind])) as written:
            assert (written.mode, written.size) == (mode, (90, 70))
    assert row["sky"] == str(here / "dusk.png")


def test_a_second_run_skips_what_is_done_and_makes_what_is_missing(here: Path):
    run("photos", "--out", "out")
    Path("out/sub/a-mask.png").unlink()
    before = {name: Path("out", name).stat().st_mtime_ns for name in results()}
    assert "1 done, 2 already there" in run("photos", "--out", "out")
    assert {name: Path("out", name).stat().st_mtime_ns for name in before} == before
    assert "3 done" in run("photos", "--out", "out", "--output", "mask", "--output", "overlay")
    assert {name: Path("out", name).stat().st_mtime_ns for name in before} == before
    assert len(results()) == 6
    assert len(Path("out/predictions.csv").read_text().splitlines()) == 4
    assert "3 done" in run("photos", "--out", "out", "--overwrite")
    assert Path("out/a-mask.png").stat().st_mtime_ns > before["a-mask.png"]


def test_two_runs_into_one_folder_keep_each_others_rows(here: Path, monkeypatch):
    """The second run starts and ends while the first one is running."""
    inner = []
    closed = Results.close

    def meanwhile(results):
        if not inner and len(results._rows) == 2:
            inner.append("started")
            inner.append(run("photos/sub", "--out", "out"))
        closed(results)

    monkeypatch.setattr(Results, "close", meanwhile)
    run("photos/a.jpg", "photos/a.png", "--out", "out")
    assert "1 done" in inner[1]
    assert len(rows()) == 3
    assert "3 already there" in run("photos", "--out", "out")


def test_other_folders_with_the_same_names_do_not_collide(here: Path):
    shutil.copytree("photos", "more")
    run("photos", "--out", "out")
    first = {name: Path("out", name).read_bytes() for name in results()}
    save(here / "more" / "A.JPG", photograph(9), format="JPEG")
    run("more", "--out", "out")
    assert len(results()) == 7
    assert len({name.casefold() for name in results()}) == 7
    assert {name: Path("out", name).read_bytes() for name in first} == first
    assert "7 already there" in run("photos", "more", "--out", "out")


def test_results_of_two_models_are_not_mixed(here: Path):
    run("photos/a.jpg", "--out", "out")
    before = Path("out/a-mask.png").read_bytes()
    make_model(here / "other.safetensors", 1)
    _, printed = refused("photos/a.jpg", "--out", "out", model="other.safetensors")
    assert "a-mask.png was made by m.safetensors" in printed
    _, printed = refused(
        "photos/a.jpg",
        "--out",
        "out",
        "--output",
        "overlay",
        "--overwrite",
        model="other.safetensors",
    )
    assert "a-mask.png was made by m.safetensors" in printed
    assert Path("out/a-mask.png").read_bytes() == before
    run("photos/a.jpg", "--out", "out", "--overwrite", model="other.safetensors")
    assert Path("out/a-mask.png").read_bytes() != before


def test_a_result_with_another_sky_is_not_reused(here: Path):
    for name in ("one.png", "two.png"):
        save(here / name, photograph(len(name)))
    options = ("photos/a.jpg", "--out", "out", "--output", "replace", "--sky")
    run(*options, "one.png")
    assert "1 already there" in run(*options, "one.png")
    assert "was made with another sky" in refused(*options, "two.png")[1]


def test_a_file_that_is_not_ours_is_not_overwritten(here: Path):
    Path("out").mkdir()
    Path("out/a-mask.png").write_text("mine")
    error, printed = refused("photos/a.jpg", "photos/sub/a.jpg", "--out", "out")
    assert "1 of 2 inputs failed" in error
    assert "a-mask.png already exists and is not in predictions.csv" in printed
    assert Path("out/a-mask.png").read_text() == "mine"
    run("photos/a.jpg", "--out", "out", "--overwrite")
    assert Image.open("out/a-mask.png").size == (90, 70)


def test_the_output_folder_may_be_the_input_folder(here: Path):
    before = {path: path.read_bytes() for path in Path("photos").rglob("*.*")}
    run("photos", "--out", "photos")
    assert "0 done, 3 already there" in run("photos", "--out", "photos")
    assert "0 done, 3 already there" in run("photos/**/*.*g", "--out", "photos")
    assert {path: path.read_bytes() for path in before} == before
    assert len(results("photos")) == 6


def test_videos_among_photographs(here: Path):
    av = pytest.importorskip("av")
    with av.open("photos/clip.mp4", "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
        for seed in (1, 2, 3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(photograph(seed), "rgb24")))
        file.mux(stream.encode())
    Path("photos/broken.mov").write_bytes(b"no video")
    error, printed = refused("photos", "--out", "out", "--smooth", "0.5")
    assert error == "1 of 5 inputs failed, see above"
    assert "broken.mov: truncated, damaged or not a video" in printed
    with av.open("out/clip-mask.mp4") as file:
        assert len(list(file.decode(video=0))) == 3
    assert rows()["../photos/clip.mp4"]["mask"] == "clip-mask.mp4"
    assert not list(Path("out").glob("*broken*"))
    again = refused("photos", "--out", "out", "--smooth", "0.5")[1]
    assert "4 already there, 1 failed" in again
    assert "was made by m.safetensors" in refused("photos/clip.mp4", "--out", "out")[1]


def test_bad_files_are_reported_and_the_others_are_segmented(here: Path):
    whole = Path("photos/a.jpg").read_bytes()
    for name, data in {
        "cut.jpg": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.jpg": b"hello",
        "bomb.png": bomb(),
    }.items():
        Path("photos", name).write_bytes(data)
    error, printed = refused("photos", "gone", "--out", "out")
    assert error == "5 of 8 inputs failed, see above"
    assert "3 done, 0 already there, 5 failed" in printed
    for line in (
        "cut.jpg: truncated or damaged",
        "empty.png: the file is empty",
        "text.jpg: not an image",
        "bomb.png: more pixels than is safe",
        "gone: no such file or folder",
    ):
        assert sum(line in written for written in printed.splitlines()) == 1
    assert len(results()) == 3
    assert not list(Path("out").rglob("*.part"))


def test_unusual_shapes_and_an_animation(here: Path):
    save(here / "in" / "one.png", photograph(0, 1, 1))
    save(here / "in" / "wide.png", photograph(0, 20_000, 10))
    frames = [Image.fromarray(photograph(seed)) for seed in range(3)]
    frames[0].save("in/anim.gif", save_all=True, append_images=frames[1:])
    printed = run("in", "--out", "out", "--output", "mask", "--output", "overlay")
    assert "note: in/anim.gif: animation, only the first of 3 frames is used" in printed
    assert {Image.open(Path("out", row["mask"])).size for row in rows().values()} == {
        (1, 1),
        (20_000, 10),
        (48, 40),
    }


def test_an_output_folder_that_cannot_be_written_to(here: Path):
    error, _ = refused("photos", "--out", "/proc/skyseg")
    assert error.startswith("--out /proc/skyseg: cannot be written to (")
    Path("file").write_text("")
    assert "is a file" in refused("photos", "--out", "file/out")[0]


def test_a_full_disk_ends_the_command_and_leaves_no_partial_file(here: Path, monkeypatch):
    def full(file, *_):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr("skyseg.data.pictures.codec.write", full)
    done = CliRunner().invoke(
        app, ["predict", "photos", "--out", "out", "--model", "m.safetensors"]
    )
    assert isinstance(done.exception, OSError)  # `errors.exit_code` explains it
    assert results() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "picture"], "--output: unknown 'picture'; choose from mask, alpha"),
        (["--output", "replace"], "needs a new sky; add --sky FILE"),
        (["--sky", "photos/a.jpg"], "--sky needs --output replace"),
        (["--output", "replace", "--sky", "gone.jpg"], "gone.jpg: cannot be read"),
        (["--out", "-"], "--out -: takes only one photograph, from standard input"),
    ],
)
def test_options_that_are_not_valid(here: Path, options: list[str], message: str):
    assert message in refused("photos", "--out", "out", *options)[0]
    assert not Path("out").exists() or not results()


def test_a_table_that_is_not_ours_is_left_alone(here: Path):
    Path("out").mkdir()
    Path("out/predictions.csv").write_text("a,b\n1,2\n")
    assert "predictions.csv: not written by skyseg predict" in refused("photos", "--out", "out")[0]
    assert Path("out/predictions.csv").read_text() == "a,b\n1,2\n"


def test_a_partial_last_line_of_a_killed_run_is_dropped(here: Path):
    run("photos", "--out", "out")
    table = Path("out/predictions.csv")
    table.write_text(table.read_text()[:-25])
    # Its mask exists but is no longer in the table.
    assert "1 of 3 inputs failed" in refused("photos", "--out", "out")[0]
    run("photos", "--out", "out", "--overwrite")
    assert len(rows()) == 3


def test_standard_input_to_a_folder_and_to_standard_output(here: Path):
    photo = Path("photos/a.jpg").read_bytes()
    command = [sys.executable, "-m", "skyseg", "predict", "-", "--model", "m.safetensors"]
    through = subprocess.run(
        [*command, "--out", "-", "--output", "alpha"], input=photo, capture_output=True, check=True
    )
    into = subprocess.run(
        [*command, "--out", "out", "--output", "alpha"],
        input=photo,
        capture_output=True,
        check=True,
    )
    assert into.stdout == b""
    found = probability(
        CheckpointPredictor(here / "m.safetensors"), read(Path("photos/a.jpg")).pixels
    )
    for written in (io.BytesIO(through.stdout), "out/stdin-alpha.png"):
        assert np.asarray(Image.open(written)) == pytest.approx(np.round(found * 255), abs=1)
    bad = subprocess.run([*command, "--out", "-"], input=b"", capture_output=True, check=False)
    assert bad.returncode == 1
    assert bad.stderr.splitlines()[-1] == (
        b"error: standard input: the file is empty; replace or remove it"
    )
    assert bad.stdout == b""


def test_pretrained_weights_are_used_with_a_warning_without_a_registry(here: Path):
    (here / ".dvc").mkdir()
    for suffix in (".safetensors", ".json"):
        Path("models").mkdir(exist_ok=True)
        shutil.copy(f"m{suffix}", f"models/start{suffix}")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")
    }
    done = subprocess.run(
        [sys.executable, "-m", "skyseg", "predict", "photos/a.jpg"],
        text=True,
        capture_output=True,
        check=True,
        env=environment,
    )
    assert "WARNING: no model is registered here; using the pretrained weights" in done.stderr
    assert Image.open("predictions/a-mask.png").size == (90, 70)


def test_a_watched_folder_goes_on_with_what_comes(here: Path):
    command = [sys.executable, "-m", "skyseg", "predict", "photos", "--out", "photos/out"]
    with Path("log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--model", "m.safetensors", "--watch"], stdout=log, stderr=log
        )
    try:

        def wait_for(found: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 60
            while not found():
                assert process.poll() is None, Path("log").read_text()
                assert time.monotonic() < deadline, Path("log").read_text()
                time.sleep(0.1)

        wait_for(lambda: "watching photos" in Path("log").read_text())
        (here / "photos" / "broken.jpg").write_bytes(b"not a picture")
        wait_for(lambda: "broken.jpg" in Path("log").read_text())
        save(here / "photos" / "sub" / "new.png", photograph(9))
        wait_for(Path("photos/out/sub/new-mask.png").is_file)
        time.sleep(2)  # its own results are no news
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(30)
    text = Path("log").read_text()
    assert ended == 130
    assert "Traceback" not in text
    assert text.count("broken.jpg: ") == 1
    assert text.count(" already there, ") == 3  # at first, and for each of the two


def test_only_folders_can_be_watched(here: Path):
    assert "photos/a.jpg is no folder" in refused("photos/a.jpg", "--watch", "--out", "out")[0]
    assert "needs a folder" in refused("-", "--watch", "--out", "-")[0]
