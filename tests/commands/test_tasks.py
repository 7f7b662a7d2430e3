"""What cannot be made is found before the work begins; what can, is made."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from predicting import refused, results, rows, run
from skyseg.commands import inputs
from skyseg.data.pictures import codec
from tiny import photograph, save

BOTH = ("--output", "mask", "--output", "overlay")


@pytest.mark.parametrize("size", [(65_501, 1), (1, 70_000)])
def test_a_picture_too_long_for_jpeg(with_model: Path, size: tuple[int, int]):
    save(Path("in/long.png"), photograph(0, *size))
    save(Path("in/b.png"), photograph(1))
    final, before = refused("in", "--out", "out", *BOTH)
    assert final == "1 of 2 inputs failed, see above"
    assert (
        f"error: in/long.png: out/long-overlay.jpg: {size[0]}x{size[1]} pixels, but .jpg files can "
        "have at most 65,500 a side; scale it down, or choose another --output\n" in before
    )
    assert results() == ["b-mask.png", "b-overlay.jpg", "long-mask.png"]
    with Image.open("out/long-mask.png") as mask:
        assert mask.size == size
    assert "2 already there" in run("in", "--out", "out")


def test_the_longest_jpeg_is_written(with_model: Path):
    save(Path("in/long.png"), photograph(0, 65_500, 1))
    assert "1 done" in run("in", "--out", "out", *BOTH)
    with Image.open("out/long-overlay.jpg") as written:
        assert np.asarray(written).shape == (1, 65_500, 3)


def test_problems_are_reported_before_the_work_begins(here: Path, monkeypatch):
    save(Path("photos/z.png"), photograph(0, 1, 70_000))
    seen = []
    decode = codec.decode
    monkeypatch.setattr(codec, "decode", lambda *given: seen.append(given) or decode(*given))
    monkeypatch.setattr(
        "skyseg.commands.predict._report", lambda line, said=None: seen.append(line)
    )
    refused("photos", "--out", "out", "--output", "overlay")
    assert seen[0].startswith("error: photos/z.png: out/z-overlay.jpg: 1x70000 pixels")
    assert len(seen) == 1 + 3 + 1  # z.png is not even decoded; the last line counts


def test_a_long_picture_from_standard_input(with_model: Path):
    data = save(Path("long.png"), photograph(0, 70_000, 1)).read_bytes()
    final, before = refused("-", "--out", "out", *BOTH, stdin=data)
    assert final == "1 of 1 inputs failed, see above"
    assert "out/stdin-overlay.jpg: 70000x1 pixels" in before
    assert results() == ["stdin-mask.png"]


@pytest.mark.parametrize("limit", [10, 0])
def test_standard_input_is_bounded(with_model: Path, monkeypatch, limit: int):
    monkeypatch.setattr(inputs, "STDIN_LIMIT", limit << 20)
    for out in ("out", "-"):
        error, printed = refused("-", "--out", out, stdin=bytes((limit << 20) + 1))
        assert f"standard input: more than {limit} MiB; name a file" in error + printed
    error, printed = refused("-", "--out", "out", stdin=bytes(limit << 20))
    assert "more than" not in error + printed


def test_a_file_where_a_folder_is_needed(here: Path):
    Path("out").mkdir()
    Path("out/sub").write_text("mine")
    final, before = refused("photos", "--out", "out")
    assert final == "1 of 3 inputs failed, see above"
    assert "error: photos/sub/a.jpg: out/sub/a-mask.png: cannot be written (" in before
    assert Path("out/sub").read_text() == "mine"
    assert results() == ["a-mask.png", "a.png-mask.png", "sub"]


def test_a_folder_where_a_file_is_needed(here: Path):
    Path("out/a-overlay.jpg").mkdir(parents=True)
    _, before = refused("photos/a.jpg", "--out", "out", *BOTH, "--overwrite")
    assert "out/a-overlay.jpg: cannot be written (Is a directory); choose another --out" in before
    assert results() == ["a-mask.png"]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO])
def test_one_output_that_cannot_be_written(here: Path, monkeypatch, code: int):
    """As root, a test can write into any folder, so the error is raised by hand."""
    mkdir = Path.mkdir

    def refusing(path: Path, *given, **named):
        if "overlay" in path.name:
            raise OSError(code, os.strerror(code), str(path))
        mkdir(path, *given, **named)

    monkeypatch.setattr(Path, "mkdir", refusing)
    final, before = refused("photos", "--out", "out", *BOTH)
    assert final == "3 of 3 inputs failed, see above"
    assert before.count(f"overlay.jpg: cannot be written ({os.strerror(code)}); choose") == 3
    assert results() == ["a-mask.png", "a.png-mask.png", "sub/a-mask.png"]


def test_a_full_disk_is_found_in_planning_and_ends_the_command(here: Path, monkeypatch):
    mkdir = Path.mkdir

    def full(path: Path, *given, **named):
        if "a-mask" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        mkdir(path, *given, **named)

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="No space left"):
        run("photos", "--out", "out")


def test_a_video_too_large_for_its_codec(with_model: Path):
    av = pytest.importorskip("av")
    from skyseg.inference import video

    with av.open("wide.mkv", "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16_386, 16, "yuv420p"
        for seed in (1, 2):
            frame = av.VideoFrame.from_ndarray(photograph(seed, 16_386, 16), "rgb24")
            file.mux(stream.encode(frame.reformat(format="yuv420p")))
        file.mux(stream.encode())
    assert video.stored_size(Path("wide.mkv")) == (16_386, 16)
    final, before = refused("wide.mkv", "--out", "out", "--output", "mask", "--output", "cutout")
    assert final == "1 of 1 inputs failed, see above"
    assert (
        "wide.mkv: out/wide-mask.mp4: 16386x16 pixels, but .mp4 files can have at most 16,384 a "
        "side" in before
    )
    assert results() == ["wide-cutout.mov"]
    with av.open("out/wide-cutout.mov") as file:
        assert len(list(file.decode(video=0))) == 2


def test_a_video_whose_name_looks_like_a_protocol(with_model: Path):
    av = pytest.importorskip("av")
    for name in ("concat:a.mp4", "12:30.mp4", "-clip.mp4", "%03d.mp4"):
        with av.open(str(Path(name).resolve()), "w") as file:
            stream = file.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(photograph(1, 32, 16), "rgb24")))
            file.mux(stream.encode())
        assert "1 done" in run("--out", "out", "--", name)
    assert len(rows()) == 4
