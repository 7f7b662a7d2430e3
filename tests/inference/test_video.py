"""Videos keep size, timing, orientation and sound; maps are smoothed, but not across cuts."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from skyseg.errors import UserError
from skyseg.inference import video
from skyseg.inference.model import Model
from skyseg.inference.outputs import OUTPUTS
from tiny import photograph

av = pytest.importorskip("av")

RED, BLUE = (200, 30, 30), (30, 30, 200)
TIMES = [0, 1, 2, 5, 6, 9, 10, 11]  # in units of 1/25 s; uneven, like videos from phones


class BlueIsForeground:
    """A fake network that is sure that blue is foreground and the rest is background."""

    threshold, parameters = 0.5, 0

    def preprocess(self, image):
        return image[::8, ::8]

    def forward(self, inputs):
        blue = np.stack([small[..., 2].astype(int) - small[..., 0] for small in inputs])
        return torch.from_numpy(np.where(blue > 0, 4.0, -4.0).astype(np.float32))

    def postprocess(self, logits, image):
        grown = logits.sigmoid().numpy().repeat(8, 0).repeat(8, 1)
        return grown[: image.shape[0], : image.shape[1]]


MODEL = Model("blue", "blue", BlueIsForeground(), 0.0)


def film(path: Path, colours: list[tuple[int, int, int]], size=(64, 48), sound=True) -> Path:
    """Write a video with a tone; each frame's left half has the given colour, the right is red."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        tone = file.add_stream("aac", rate=44100) if sound else None
        for time, colour in zip(TIMES, colours, strict=False):
            pixels = np.empty((size[1], size[0], 3), np.uint8)
            pixels[:], pixels[:, : size[0] // 2] = RED, colour
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        for block in range(18 if tone else 0):
            wave = np.sin(np.arange(1024) / 16).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.rate, frame.pts = 44100, 1024 * block
            file.mux(tone.encode(frame))
        if tone:
            file.mux(tone.encode())
    return path


def read(path: Path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    return (
        [frame.to_ndarray(format="rgb24") for frame in frames],
        [float(frame.pts * frame.time_base) for frame in frames],
    )


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams.audio) if packet.size]


def sound_times(path: Path) -> list[float]:
    with av.open(str(path)) as file:
        return [
            float(packet.pts * packet.time_base)
            for packet in file.demux(file.streams.audio)
            if packet.size
        ]


def segment(path: Path, *kinds: str, smooth: float = 0.0, sky=None):
    places = {kind: path.with_name(f"{path.stem}{video.SUFFIXES[kind]}") for kind in kinds}
    numbers, notes = video.segment(path, places, MODEL, sky, smooth)
    return places, numbers, notes


def test_every_kind_keeps_size_times_and_sound(tmp_path: Path):
    path = film(tmp_path / "v.mp4", [BLUE] * 8)
    places, numbers, notes = segment(path, *OUTPUTS, sky=photograph(1))
    assert notes == []
    assert numbers["foreground"] == pytest.approx(0.5, abs=0.02)
    assert (numbers["width"], numbers["height"]) == (64, 48)
    for kind, place in places.items():
        frames, times = read(place)
        assert frames[0].shape == (48, 64, 3)
        assert times == pytest.approx([time / 25 for time in TIMES], abs=1e-3), kind
        with av.open(str(place)) as file:
            assert len(file.streams.audio) == (0 if OUTPUTS[kind].data else 1), kind
    assert sound_of(places["overlay"]) == sound_of(path)
    mask = read(places["mask"])[0][3]
    assert mask[:, :28].min() > 240
    assert mask[:, 36:].max() < 15


def test_every_result_has_the_sound_at_the_right_times(tmp_path: Path):
    """Matroska counts in milliseconds, QuickTime and MP4 in samples."""
    path = film(tmp_path / "v.mkv", [BLUE] * 8)
    places, _, notes = segment(path, "cutout", "overlay", "replace", sky=photograph(1))
    assert notes == []
    for place in places.values():
        assert sound_times(place) == pytest.approx(sound_times(path), abs=2e-3), place


def test_colours_are_kept(tmp_path: Path):
    """A frame in which nothing is replaced keeps its colours."""
    path = film(tmp_path / "v.mp4", [RED] * 3, size=(128, 720))
    places, _, _ = segment(path, "replace", sky=photograph(1))
    before, after = read(path)[0][1].astype(int), read(places["replace"])[0][1].astype(int)
    with av.open(str(path)) as file:  # read as players do: large ones count as BT.709
        expected = [
            frame.reformat(format="rgb24", src_colorspace=1).to_ndarray().astype(int)
            for frame in file.decode(video=0)
        ]
    assert before.shape == after.shape
    assert np.abs(after - expected[1]).mean() < 4


def test_cutouts_are_transparent(tmp_path: Path):
    places, _, _ = segment(film(tmp_path / "v.mp4", [BLUE] * 3), "cutout")
    with av.open(str(places["cutout"])) as file:
        frame = next(file.decode(video=0))
        assert frame.format.name.startswith("yuva444")
        alpha = frame.to_ndarray(format="rgba")[..., 3]
    assert alpha[:, :28].min() > 240
    assert alpha[:, 36:].max() < 15


def test_smoothing_removes_flicker(tmp_path: Path):
    flicker = (70, 30, 60)  # like the frames around it, except for the network's result
    path = film(tmp_path / "v.mp4", [(60, 30, 70), (60, 30, 70), flicker, (60, 30, 70)])
    left = np.s_[8:40, 4:28]
    for smooth, lit in ((0.0, False), (0.7, True)):
        places, _, _ = segment(path, "mask", smooth=smooth)
        frames, _ = read(places["mask"])
        assert len(frames) == 4
        assert frames[1][left].mean() > 240
        assert (frames[2][left].mean() > 128) == lit


def test_smoothing_does_not_cross_a_cut(tmp_path: Path):
    path = film(tmp_path / "v.mp4", [BLUE, BLUE, RED, RED])
    places, _, _ = segment(path, "mask", smooth=0.9)
    means = [frame[:, :28].mean() for frame in read(places["mask"])[0]]
    assert means[1] > 240
    assert means[2] < 15


def test_a_video_of_a_phone_held_upright_gives_upright_frames(tmp_path: Path):
    path = film(tmp_path / "v.mp4", [BLUE] * 3)
    data = path.read_bytes()
    one, unit = (1 << 16).to_bytes(4), (1 << 30).to_bytes(4)
    straight = one + bytes(12) + one + bytes(12) + unit
    turned = bytes(4) + one + bytes(4) + (-(1 << 16)).to_bytes(4, signed=True) + bytes(16) + unit
    track = data.index(b"tkhd", data.index(b"vide") - 400 if data.index(b"vide") > 400 else 0)
    place = data.index(straight, track)
    path.write_bytes(data[:place] + turned + data[place + 36 :])
    with av.open(str(path)) as file:
        assert next(file.decode(video=0)).rotation in (90, -90, 270)
    places, numbers, _ = segment(path, "mask")
    assert (numbers["width"], numbers["height"]) == (48, 64)
    mask = read(places["mask"])[0][1]
    # Turned clockwise, what was on the left is at the top.
    assert mask[:28].min() > 240
    assert mask[36:].max() < 15


def test_odd_sizes_are_kept(tmp_path: Path):
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 33, 17, "bgr0"
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(photograph(1, 33, 17), "rgb24")))
        file.mux(stream.encode())
    places, _, _ = segment(path, "overlay")
    assert read(places["overlay"])[0][0].shape == (17, 33, 3)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "sound only"])
def test_a_file_that_is_not_a_video_is_a_user_error(tmp_path: Path, damage: str):
    path = film(tmp_path / "v.mp4", [BLUE] * 3)
    if damage == "sound only":
        with av.open(str(path), "w") as file:
            tone = file.add_stream("aac", rate=44100)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate = 44100
            file.mux(tone.encode(frame))
            file.mux(tone.encode())
    else:
        data = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"hello", "cut": data[: len(data) // 3]}[damage])
    with pytest.raises(UserError, match=r"v\.mp4: (truncated, damaged or not a|contains no) video"):
        segment(path, "mask")


def test_without_pyav_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = film(tmp_path / "v.mp4", [BLUE])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"need the package av: pip install 'skyseg\[video\]'"):
        segment(path, "mask")
