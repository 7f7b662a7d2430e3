"""Segment videos frame by frame, with PyAV; size, timing, orientation and sound are kept."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from skyseg.data.parallel import overlapped
from skyseg.data.pictures.codec import resize
from skyseg.errors import UserError, disk_is_full
from skyseg.inference.model import Model
from skyseg.inference.outputs import OUTPUTS, Job, Pixels
from skyseg.inference.predictor import single_thread
from skyseg.metrics import presence

BUDGET = 32_000_000  # pixels of the frames processed at a time
CUT = 30.0  # grey levels: mean difference of two thumbnails at which a new scene begins
# Colour coding, ITU-T H.273, tables 2 to 4. If a video does not state it, its height decides.
BT709, UNSPECIFIED, BT601 = 1, 2, 5
HD = 720  # lines: from this height on, such a video is BT.709
LIMITED = 1  # FFmpeg's AVCOL_RANGE_MPEG: 16 to 235

# H.264 plays everywhere; video editors accept ProRes 4444 for transparency.
SUFFIXES = {kind: f"-{kind}.{'mov' if kind == 'cutout' else 'mp4'}" for kind in OUTPUTS}
LONGEST = {".mp4": 16_384, ".mov": 65_535}  # pixels a side: x264's limit, ProRes's 16 bits


class Frame(NamedTuple):
    image: Pixels
    """uint8 [H, W, 3], upright."""
    pts: int
    """Time at which it is shown, in the stream's time base."""


class Preprocessed(NamedTuple):
    frame: Frame
    input: Any
    """Result of ``preprocess``."""
    thumbnail: NDArray[np.float32]
    """[32, 32, 3], to detect cuts."""


class Segmented(NamedTuple):
    pts: int
    pictures: dict[str, Pixels]
    foreground: float
    confidence: float


def segment(
    path: Path, places: dict[str, Path], model: Model, sky: Pixels | None, smooth: float
) -> tuple[dict[str, float], list[str]]:
    """Segment a video and write the results as videos.

    Args:
        path: the video.
        places: files to write, by kind of output.
        model: segments each frame.
        sky: uint8 [h, w, 3], for ``replace``.
        smooth: weight, 0 to 1, of the previous frames in an exponential moving average of the
            network's logits. The average restarts at a cut.

    Returns:
        The width, the height, and the means over the frames of ``foreground`` (share of the pixels)
        and ``confidence``; and notes for the user about what was not kept.

    Raises:
        UserError: PyAV is not installed, or the file is truncated, damaged or not a video.
    """
    av = _av()
    notes: list[str] = []
    try:
        with av.open(_file(path)) as container, av.open(_file(path)) as for_sound:
            if not container.streams.video:
                raise UserError(f"{path}: contains no video; replace or remove it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            frames = tqdm(
                _decode(container, stream),
                total=stream.frames or None,
                leave=False,
                desc=path.name,
                unit="frame",
                disable=None,
            )
            smoothed = _smoothed(model, smooth)
            return _write(
                overlapped(
                    frames,
                    lambda frame: frame.image[..., 0].size,
                    BUDGET,
                    lambda frame: Preprocessed(
                        frame,
                        model.predictor.preprocess(frame.image),
                        resize(frame.image, 32).astype(np.float32),
                    ),
                    lambda frames: list(map(smoothed, frames)),
                    lambda done: _postprocess(*done, model, list(places), sky),
                    single_thread,
                ),
                places,
                stream,
                for_sound,
                notes,
            ), notes
    except av.error.FFmpegError as error:
        if disk_is_full(error):
            raise OSError(error.errno, error.strerror) from None
        raise UserError(
            f"{path}: truncated, damaged or not a video ({error.strerror}); replace or remove it"
        ) from None


def stored_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a video's frames, before they are turned, from its header; None if that
    fails."""
    try:
        with _av().open(_file(path)) as container:
            stream = container.streams.video[0]
            return stream.width, stream.height
    except Exception:  # segmenting it will report the error
        return None


def _file(path: Path) -> str:
    """FFmpeg takes the start of a relative path with a colon for a protocol."""
    return os.path.abspath(path)  # noqa: PTH100 (resolve follows links)


def _decode(container: Any, stream: Any) -> Iterator[Frame]:
    stated = stream.codec_context.colorspace
    space = stated if stated != UNSPECIFIED else BT709 if stream.height >= HD else BT601
    for frame in container.decode(stream):
        rgb = frame.reformat(format="rgb24", src_colorspace=space).to_ndarray()
        yield Frame(np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90)), frame.pts)


def _smoothed(model: Model, smooth: float) -> Callable[[Preprocessed], tuple[Tensor, Frame]]:
    """The forward step, smoothed over the previous frames."""
    previous: list[tuple[Tensor, NDArray[np.float32]]] = []

    def run(preprocessed: Preprocessed) -> tuple[Tensor, Frame]:
        logits = model.predictor.forward([preprocessed.input])[0]
        if previous:
            past, thumbnail = previous.pop()
            if np.abs(preprocessed.thumbnail - thumbnail).mean() < CUT:
                logits = smooth * past + (1 - smooth) * logits
        previous.append((logits, preprocessed.thumbnail))
        return logits, preprocessed.frame

    return run


def _postprocess(
    logits: Tensor, frame: Frame, model: Model, kinds: list[str], sky: Pixels | None
) -> Segmented:
    probability = model.predictor.postprocess(logits, frame.image)
    job = Job(frame.image, probability, model.threshold, sky)
    return Segmented(
        frame.pts,
        {kind: OUTPUTS[kind].make(job) for kind in kinds},
        float((probability >= model.threshold).mean()),
        presence.confidence(logits.sigmoid().cpu().numpy()),
    )


def _write(
    done: Iterator[Segmented],
    places: dict[str, Path],
    stream: Any,
    for_sound: Any,
    notes: list[str],
) -> dict[str, float]:
    first = next(done, None)
    if first is None:
        raise UserError(f"{stream.container.name}: contains no frames; replace or remove it")
    height, width = next(iter(first.pictures.values())).shape[:2]
    shares, confidences = [], []
    with ExitStack() as files:
        writers = {
            kind: _Writer(files, place, kind, stream, (width, height))
            for kind, place in places.items()
        }
        sound = _Sound(
            for_sound,
            [writer.file for kind, writer in writers.items() if not OUTPUTS[kind].data],
            notes,
        )
        for segmented in chain([first], done):
            shares.append(segmented.foreground)
            confidences.append(segmented.confidence)
            sound.copy_until(float(segmented.pts * stream.time_base))
            for kind, picture in segmented.pictures.items():
                writers[kind].write(picture, segmented.pts)
        sound.copy_until(math.inf)
        for writer in writers.values():
            writer.finish()
    return {
        "width": width,
        "height": height,
        "foreground": float(np.mean(shares)),
        "confidence": float(np.mean(confidences)),
    }


class _Writer:
    """Writes a video whose frames are shown at the same times as those of the stream ``like``."""

    def __init__(
        self, files: ExitStack, place: Path, kind: str, like: Any, size: tuple[int, int]
    ) -> None:
        even = not any(side % 2 for side in size)  # 4:2:0 halves both sides
        codec, options, self._pixels = (
            ("prores_ks", {"profile": "4444"}, "yuva444p10le")
            if kind == "cutout"
            else ("libx264", {"crf": "18"}, "yuv420p" if even else "yuv444p")
        )
        self._name = f"{like.container.name}: {kind}"
        suffix = SUFFIXES[kind][-3:]
        self.file = files.enter_context(_av().open(_file(place), "w", format=suffix))
        rate = like.average_rate or like.guessed_rate
        self._stream = self.file.add_stream(codec, rate=rate, options=options)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = self._pixels
        self._time_base = like.time_base
        context = self._stream.codec_context
        context.time_base = like.time_base
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED

    def write(self, picture: Pixels, pts: int) -> None:
        frame = _av().VideoFrame.from_ndarray(
            picture, {1: "gray", 3: "rgb24", 4: "rgba"}[picture[0, 0].size]
        )
        frame = frame.reformat(format=self._pixels, dst_colorspace=BT709)
        frame.pts, frame.time_base = pts, self._time_base
        self._encode(frame)

    def finish(self) -> None:
        self._encode(None)

    def _encode(self, frame: Any) -> None:
        try:
            self.file.mux(self._stream.encode(frame))
        except _av().error.FFmpegError as error:
            if disk_is_full(error):
                raise
            raise UserError(
                f"{self._name}: cannot be encoded ({error.strerror}); choose another --output"
            ) from None


class _Sound:
    """Copies the sound of a video, unchanged, into other videos."""

    def __init__(self, source: Any, targets: list[Any], notes: list[str]) -> None:
        self._copies, self._packets, self._next = [], iter(()), None
        if not source.streams.audio or not targets:
            return
        stream = source.streams.audio[0]
        try:
            self._copies = [(file, file.add_stream_from_template(stream)) for file in targets]
        except (ValueError, _av().error.FFmpegError):
            notes.append(
                f"its sound ({stream.codec_context.name}) cannot be stored in this kind of "
                "file and is left out"
            )
            return
        self._packets = (packet for packet in source.demux(stream) if packet.pts is not None)
        self._next = next(self._packets, None)

    def copy_until(self, seconds: float) -> None:
        while self._next is not None and self._next.pts * self._next.time_base <= seconds:
            packet = self._next
            # Each file has its own time base; writing a packet converts its times to that in place.
            times = packet.pts, packet.dts, packet.duration, packet.time_base
            for file, stream in self._copies:
                packet.stream = stream
                packet.pts, packet.dts, packet.duration, packet.time_base = times
                file.mux(packet)
            self._next = next(self._packets, None)


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise UserError("videos need the package av: pip install 'skyseg[video]'") from None
    return av
