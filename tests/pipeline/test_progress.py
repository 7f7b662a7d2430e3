"""How far a training is, where there is no terminal."""

from __future__ import annotations

import re

import pytest

from skyseg.pipeline import progress
from skyseg.pipeline.progress import TrainingProgress, duration


def test_a_log_has_an_estimate_soon_and_then_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    with TrainingProgress(total=2400, done=400, epoch=800) as shown:
        for step in range(50):
            now[0] += 30 if step == 0 else 4  # the first step compiles
            shown.step(8, "epoch 1/3", "loss 0.500")
        shown.at(1200)
        now[0] += 60
        shown.step(8, "epoch 2/3", "loss 0.400")
    lines = capsys.readouterr().out.splitlines()
    # Half a second an image: (2,400 - 400 - 3 steps of 8) / 2 s, and 400 s an epoch.
    assert re.fullmatch(r"about 16 min, 7 min an epoch; \d+\.\d GiB of memory so far", lines[0])
    assert lines[1] == "epoch 1/3: 472 of 2400 images,  2.00 images/s, 16:04 left, loss 0.500"
    assert len(lines) == 1 + 3 + 1
    assert lines[-1].startswith("epoch 2/3: 1208 of 2400 images")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (9000, "2.5 h")],
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


def test_steps_that_are_reported_together_are_timed_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """On a GPU, the losses of 50 steps are read at once."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    with TrainingProgress(total=50_000) as shown:
        for report in range(10):
            now[0] += 170 if report == 0 else 20  # the first report has compiled
            for _ in range(50):
                now[0] += 1e-5
                shown.step(16, "epoch 1/3")
    lines = capsys.readouterr().out.splitlines()
    # 800 images in 20 s: 40 a second.
    assert lines[0].startswith("about 20 min;")
    assert len(lines) > 2
    assert all("40.00 images/s" in line for line in lines[1:])
