"""One photograph, or one of its results, that fails does not end the work on the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from predicting import make_model, refused, results, rows, run
from skyseg.commands.steps import Forward
from skyseg.data.pictures import codec
from skyseg.inference import outputs, video
from skyseg.inference.predictor import CheckpointPredictor
from tiny import photograph, save


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


class Picky:
    """A network that raises an error for one input, alone or in a batch."""

    def forward(self, inputs):
        if 3 in inputs:
            raise ValueError("three")
        return torch.tensor(inputs, dtype=torch.float32)


def test_an_input_that_raises_fails_alone_and_not_its_batch():
    forward = Forward(Picky(), 4)
    found = forward(range(10))
    assert [int(one) for one in found if not isinstance(one, Exception)] == [0, 1, 2, *range(4, 10)]
    assert isinstance(found[3], ValueError)
    assert forward.batch == 4


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


def failing(monkeypatch, owner: object, name: str, error: Exception, call: int = 2) -> None:
    """Let the given call of a function raise an error, and those before and after work."""
    real = getattr(owner, name)
    calls = []

    def wrapped(*given, **named):
        calls.append(given)
        if len(calls) == call:
            raise error
        return real(*given, **named)

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (codec, "decode"),
        (codec, "read_bytes"),
        (CheckpointPredictor, "preprocess"),
        (CheckpointPredictor, "forward"),
        (CheckpointPredictor, "postprocess"),
        (codec, "write"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [ValueError("no\nsuch luck"), RecursionError(), KeyError("x"), SystemError("y")],
    ids=repr,
)
def test_whatever_one_photograph_raises_the_others_are_done(
    here: Path, monkeypatch, owner: object, name: str, error: Exception
):
    failing(monkeypatch, owner, name, error)
    final, before = refused("photos", "--out", "out")
    assert final == "1 of 3 inputs failed, see above"
    assert "2 done, 0 already there, 1 failed" in before
    [line] = [line for line in before.splitlines() if line.startswith("error")]
    assert line.startswith("error: photos/")
    assert f"{type(error).__name__} in test_steps.py:" in line
    assert line.endswith("this is a bug in skyseg, please report it with this line")
    assert len(results()) == len(rows()) == 2
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert "1 done, 2 already there, 0 failed" in run("photos", "--out", "out")


def test_ctrl_c_ends_the_command(here: Path, monkeypatch):
    from typer.testing import CliRunner

    from skyseg.cli import app

    failing(monkeypatch, CheckpointPredictor, "forward", KeyboardInterrupt())
    done = CliRunner().invoke(
        app, ["predict", "photos", "--out", "out", "--model", "m.safetensors"]
    )
    assert done.exit_code == 130
    assert "inputs failed" not in done.output


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("encoder error -2"), "encoder error -2"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (ZeroDivisionError("0"), "ZeroDivisionError in "),
        (MemoryError(), "not enough memory for it"),
    ],
    ids=repr,
)
def test_the_other_results_of_a_photograph_are_made(
    here: Path, monkeypatch, error: Exception, text: str
):
    def raises(job: outputs.Job):
        raise error

    monkeypatch.setitem(
        outputs.OUTPUTS, "overlay", outputs.OUTPUTS["overlay"]._replace(make=raises)
    )
    kinds = ("--output", "mask", "--output", "overlay", "--output", "alpha")
    final, before = refused("photos/a.jpg", "photos/sub", "--out", "out", *kinds)
    assert final == "2 of 2 inputs failed, see above"
    assert f"photos/a.jpg: out/a-overlay.jpg cannot be made: {text}" in before
    assert results() == ["a-alpha.png", "a-mask.png", "a.jpg-alpha.png", "a.jpg-mask.png"]
    assert [row["overlay"] for row in rows().values()] == ["", ""]
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert "2 done" in run("photos/a.jpg", "photos/sub", "--out", "out", *kinds)
    assert len(results()) == 6


def test_a_video_that_raises_does_not_end_the_batch(here: Path, monkeypatch):
    pytest.importorskip("av")
    for name in ("photos/0.mp4", "photos/z.mp4"):
        Path(name).write_bytes(b"no video")
    monkeypatch.setattr(video, "segment", lambda *_: 1 / 0)
    final, before = refused("photos", "--out", "out")
    assert final == "2 of 5 inputs failed, see above"
    assert before.count("ZeroDivisionError: division by zero; this is a bug") == 0
    assert before.count("ZeroDivisionError in test_steps.py:") == 2
    assert len(results()) == 3


def test_odd_shapes_give_every_result(with_model: Path):
    shapes = [(1, 1), (1, 30_000), (30_000, 1), (2, 3), (1, 2)]
    for width, height in shapes:
        save(Path("in", f"{width}x{height}.png"), photograph(width, width, height))
    save(Path("sky.png"), photograph(5))
    kinds = [word for kind in outputs.OUTPUTS for word in ("--output", kind)]
    assert "5 done" in run("in", "--out", "out", *kinds, "--sky", "sky.png")
    for row in rows().values():
        for kind in outputs.OUTPUTS:
            with Image.open(Path("out", row[kind])) as written:
                assert written.size == (int(row["width"]), int(row["height"]))
                assert np.asarray(written).shape[:2] == written.size[::-1]
    assert sorted((int(row["width"]), int(row["height"])) for row in rows().values()) == sorted(
        shapes
    )
