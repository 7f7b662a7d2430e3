"""skyseg predict, through the command line, on realistic files."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from skyseg.cli import app
from skyseg.commands.results import Results
from skyseg.commands.steps import Forward
from skyseg.data.pictures import read
from skyseg.errors import UserError
from skyseg.inference.outputs import OUTPUTS
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.u2net import build_model
from tiny import bomb, photograph, save


def make_model(path: Path, seed: int = 0, size: int = 32) -> Path:
    torch.manual_seed(seed)
    path.parent.mkdir(exist_ok=True)
    model = build_model("u2netp")
    torch.nn.init.constant_(model.outconv.bias, 0.02)
    save_checkpoint(
        path,
        model.state_dict(),
        ModelConfig(variant="u2netp", size=size, threshold=0.5, refine="colour"),
    )
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def here(workspace: Path, trained: Path) -> Path:
    """The current folder, with a model and three photographs, two of them with the same name."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(trained.with_suffix(suffix), workspace)
    save(workspace / "photos" / "a.jpg", photograph(1, 90, 70))
    save(workspace / "photos" / "a.png", photograph(2))
    save(workspace / "photos" / "sub" / "a.jpg", photograph(3, 31, 77))
    return workspace


def run(*arguments: str, model: str = "m.safetensors") -> str:
    """Run predict and return what it prints on stderr."""
    done = CliRunner().invoke(
        app, ["predict", "--model", model, *arguments], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stderr


def refused(*arguments: str, model: str = "m.safetensors") -> tuple[str, str]:
    """Run predict, which must fail; return the error and what it prints on stderr before."""
    done = CliRunner().invoke(app, ["predict", "--model", model, *arguments])
    assert isinstance(done.exception, UserError), done.output
    return str(done.exception), done.stderr


def rows(folder: str = "out") -> dict[str, dict[str, str]]:
    with Path(folder, "predictions.csv").open() as table:
        return {row["file"]: row for row in csv.DictReader(table)}


def results(folder: str = "out") -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != "predictions.csv"
    )


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


class Small:
    """A network whose GPU has memory for only ``room`` photographs at a time."""

    def __init__(self, room: int) -> None:
        self.room, self.asked = room, []

    def forward(self, inputs):
        self.asked.append(len(inputs))
        if len(inputs) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return torch.tensor(inputs, dtype=torch.float32)


def test_a_batch_that_is_too_large_is_halved_and_stays_halved():
    small = Small(3)
    forward = Forward(small, 16)
    assert [int(one) for one in forward(range(10))] == list(range(10))
    assert [int(one) for one in forward(range(5))] == list(range(5))
    assert small.asked == [10, 5, 2, 2, 2, 2, 2, 2, 2, 1]


def test_an_input_that_is_too_large_alone_gives_its_error():
    found = Forward(Small(0), 4)(range(3))
    assert [type(one) for one in found] == [torch.OutOfMemoryError] * 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_with_little_memory_gets_smaller_batches(tmp_path: Path):
    weights = make_model(tmp_path / "m.safetensors", size=320)
    predictor = CheckpointPredictor(weights, "cuda")
    inputs = [predictor.preprocess(photograph(seed, 320, 320)) for seed in range(16)]
    expected = [predictor.forward([each])[0] for each in inputs]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    predictor.forward(inputs[:4])
    room = 1.2 * torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info()[1])
    try:
        forward = Forward(predictor, 16)
        found = forward(inputs)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert forward.batch in (1, 2, 4)
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, torch.Tensor)
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)  # bfloat16, other kernels


@pytest.mark.parametrize("step", ["preprocess", "forward", "postprocess"])
@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("x"), RuntimeError("CUDA error: out of memory")],
    ids=["computer", "PyTorch", "CUDA"],
)
def test_running_out_of_memory_fails_only_one_photograph(here: Path, monkeypatch, step: str, error):
    real = getattr(CheckpointPredictor, step)
    calls = []

    def failing(self, *given):
        calls.append(given)
        if len(calls) == 2:
            raise error
        return real(self, *given)

    monkeypatch.setattr(CheckpointPredictor, step, failing)
    final, before = refused("photos", "--out", "out")
    assert final == "1 of 3 inputs failed, see above"
    assert "2 done, 0 already there, 1 failed" in before
    [line] = [line for line in before.splitlines() if line.startswith("error")]
    assert line.endswith("not enough memory for it; scale it down, or close other programs")
    assert len(results()) == 2


def test_a_full_disk_ends_the_command_and_leaves_no_partial_file(here: Path, monkeypatch):
    def full(file, *_):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr("skyseg.data.pictures.write", full)
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
    assert "WARNING: nothing is registered in this workspace" in done.stderr
    assert Image.open("predictions/a-mask.png").size == (90, 70)
