"""Pictures are decoded in a process that ends at a time limit."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from picture_tools import TURNED, encoded, exif, jpeg_of_scans
from skyseg.data.pictures import codec, decoder
from skyseg.data.pictures.limits import UPLOAD, Limits
from skyseg.errors import UserError
from tiny import photograph

PHOTO = encoded(photograph(0), "PNG")
UNLIMITED = Limits(2**40, 2**40, 10**9)
SLOW = jpeg_of_scans(2000, (4000, 4000))  # half a megabyte, half a minute


@pytest.fixture(autouse=True)
def _no_processes_left() -> Iterator[None]:
    decoder.stop()
    yield
    decoder.stop()
    assert not psutil.Process().children()


def processes() -> list[psutil.Process]:
    return psutil.Process().children()


FILES = {
    "png": PHOTO,
    "turned": encoded(photograph(0), "JPEG", exif=exif(TURNED), dpi=(72, 72)),
    "metadata": encoded(
        photograph(0), "JPEG", exif=exif((271, 2, 4, b"abc\0")), xmp=b"<x/>", dpi=(300, 200)
    ),
    "clear": encoded(np.dstack([photograph(0), photograph(0)[..., 0] * 0]), "PNG"),
    "frames": encoded(
        photograph(0), "GIF", save_all=True, append_images=[Image.fromarray(photograph(1))]
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_the_answer_is_that_of_decoding_here(name: str) -> None:
    here, there = codec.decode(FILES[name], name), decoder.decode(FILES[name], name)
    np.testing.assert_array_equal(there.pixels, here.pixels)
    assert there[1:] == here[1:]
    assert there.pixels.dtype == np.uint8
    assert there.pixels.flags.writeable


def test_rgba() -> None:
    rgba = np.dstack([photograph(0), photograph(1)[..., 0]])
    np.testing.assert_array_equal(decoder.decode_rgba(encoded(rgba, "PNG"), "a"), rgba)


def test_a_process_is_used_again() -> None:
    decoder.warm_up()
    [process] = processes()
    for _ in range(3):
        decoder.decode(PHOTO, "a")
    assert processes() == [process]


@pytest.mark.parametrize(
    ("data", "limits", "message"),
    [
        (b"", UPLOAD, "a: the file is empty"),
        (b"words", UPLOAD, "a: not an image"),
        (PHOTO[:200], UPLOAD, "a: truncated or damaged"),
        (PHOTO, Limits(10, 10**9), "a: 0 MiB; shrink it"),
        (PHOTO, Limits(10**9, 10), "a: 48x40 pixels; shrink it"),
        (jpeg_of_scans(400), UPLOAD, "a: a JPEG of more than 100 scans"),
    ],
)
def test_errors_are_those_of_decoding_here(data: bytes, limits: Limits, message: str) -> None:
    for decode in (decoder.decode, decoder.decode_rgba):
        with pytest.raises(UserError, match=f"^{message}"):
            decode(data, "a", limits)
    assert len(processes()) == 1


def test_the_limit_ends_the_work_and_the_next_picture_is_decoded() -> None:
    decoder.decode(PHOTO, "a")
    [process] = processes()
    start = time.perf_counter()
    with pytest.raises(decoder.TooSlow, match=r"^slow\.jpg: takes longer than 0\.5 s to decode"):
        decoder.decode(SLOW, "slow.jpg", UNLIMITED, seconds=0.5)
    assert time.perf_counter() - start < 3
    assert not process.is_running()
    assert not processes()
    np.testing.assert_array_equal(decoder.decode(PHOTO, "a").pixels, photograph(0))


def test_time_spent_waiting_for_a_picture_does_not_count() -> None:
    decoder.decode(PHOTO, "a", seconds=0.4)
    time.sleep(0.6)
    decoder.decode(PHOTO, "a", seconds=0.4)
    assert len(processes()) == 1


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (signal.SIGSEGV, UserError, "^slow: damaged, so that its decoder crashed"),
        (signal.SIGKILL, MemoryError, "killed"),  # as Linux does when memory runs out
    ],
)
def test_a_decoder_that_crashes_is_one_error(
    number: int, error: type[Exception], message: str
) -> None:
    decoder.warm_up()
    [process] = processes()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(decoder.decode, SLOW, "slow", UNLIMITED, 20)
        time.sleep(0.5)
        process.send_signal(number)
        with pytest.raises(error, match=message):
            answer.result()
    decoder.decode(PHOTO, "a")


def test_a_process_that_ended_while_it_waited_is_replaced() -> None:
    decoder.warm_up()
    [process] = processes()
    process.kill()
    process.wait()
    np.testing.assert_array_equal(decoder.decode(PHOTO, "a").pixels, photograph(0))


def test_threads_do_not_mix_their_pictures() -> None:
    files = [encoded(photograph(seed), "PNG") for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for seed, found in enumerate(pool.map(lambda data: decoder.decode(data, "a"), files)):
            np.testing.assert_array_equal(found.pixels, photograph(seed))
    assert len(processes()) <= decoder.IDLE


def test_ctrl_c_leaves_no_answer_for_the_next_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: object) -> None:
        raise KeyboardInterrupt

    decoder.warm_up()
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decoder.decode(encoded(photograph(5), "PNG"), "a")
    np.testing.assert_array_equal(decoder.decode(PHOTO, "a").pixels, photograph(0))


def _decoded_in_a_child(queue: object) -> None:
    pixels = decoder.decode(PHOTO, "a").pixels
    queue.put((pixels == photograph(0)).all())  # type: ignore[attr-defined]
    decoder.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking beside threads
def test_a_forked_and_daemonic_process_has_its_own() -> None:
    decoder.warm_up()
    [mine] = processes()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_decoded_in_a_child, args=(queue,), daemon=True)
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert queue.get()
    assert mine.is_running()
    decoder.decode(PHOTO, "a")
    assert processes() == [mine]


def test_without_a_process_it_decodes_here_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for program in ("/no/such/program", "/bin/true"):
        monkeypatch.setattr(sys, "executable", program)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(decoder.decode(PHOTO, "a").pixels, photograph(0))
            assert decoder.decode_rgba(PHOTO, "a").shape == (40, 48, 4)
        assert "decoded without a time limit" in caplog.text


SCRIPT = """
import os, signal, sys
from skyseg.data.pictures import decoder
signal.signal(signal.SIGALRM, signal.SIG_IGN)  # inherited by programs
decoder.decode(open(sys.argv[1], "rb").read(), "a")
print(decoder._idle[0][1].pid, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""  # not guarded by __name__: a process of multiprocessing would run it again


@pytest.mark.parametrize("end", ["ended", "killed"])
def test_the_process_ends_with_the_one_that_started_it(tmp_path, end: str) -> None:
    (tmp_path / "a.png").write_bytes(PHOTO)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "a.png", end],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == (0 if end == "ended" else -signal.SIGKILL)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(done.stdout))


def test_a_limit_holds_where_its_signal_was_ignored() -> None:
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        with pytest.raises(decoder.TooSlow):
            decoder.decode(SLOW, "slow", UNLIMITED, seconds=0.3)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_slow_decoder_that_holds_the_interpreter_is_ended_too() -> None:
    """Pillow decodes PPM files written in digits in Python."""
    data = b"P2 3000 3000 255\n" + b"1 2 3 " * 3_000_000
    with pytest.raises(decoder.TooSlow):
        decoder.decode(data, "a", UNLIMITED, seconds=0.3)
