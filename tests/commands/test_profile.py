"""Profiles: settings for a kind of data, written into params.yaml."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from skyseg.commands import profile
from skyseg.commands.profile import PROFILES, apply_profile, fitting_batch
from skyseg.errors import UserError
from skyseg.params import flatten, load_params

ROOT = Path(__file__).parents[2]
GIB = 2**30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def test_a_profile_changes_its_settings_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(profile, "training_memory", lambda params: ("cuda", 80 * GIB))
    before, text = flatten(load_params(path)), path.read_text()
    apply_profile("photographs", path)
    after = flatten(load_params(path))
    expected = PROFILES["photographs"].settings | {"train.batch_size": 32, "train.lr": 0.002}
    assert after == before | expected
    printed = capsys.readouterr().out
    assert "model.size" in printed
    assert "batch_size for 80 GiB of memory (cuda)" in printed
    comments = [line.split("#")[1] for line in text.splitlines() if "#" in line]
    assert [line.split("#")[1] for line in path.read_text().splitlines() if "#" in line] == comments

    again = path.read_text()
    apply_profile("photographs", path)
    assert path.read_text() == again
    assert "already" in capsys.readouterr().out
    apply_profile("sample", path)
    assert flatten(load_params(path)) == before


def test_the_shipped_file_is_the_sample_profile():
    known = flatten(load_params(ROOT / "params.yaml"))
    assert known | PROFILES["sample"].settings == known


@pytest.mark.parametrize(
    ("variant", "size", "memory", "kind", "batch"),
    [
        ("u2netp", 320, 24 * GIB, "cpu", 8),
        ("u2netp", 320, 4 * GIB, "cpu", 4),
        ("u2netp", 320, 24 * GIB, "cuda", 32),
        ("u2net", 320, 24 * GIB, "cuda", 16),
        ("u2net", 640, 24 * GIB, "cuda", 4),
        ("u2net", 320, GIB / 2, "cuda", 2),
    ],
)
def test_the_batch_fits_into_the_memory(variant, size, memory, kind, batch):
    assert fitting_batch(variant, size, memory, kind) == batch


def test_mistakes_leave_the_file_alone(path: Path):
    text = path.read_text()
    with pytest.raises(UserError, match="photograph"):
        apply_profile("photos", path)
    assert path.read_text() == text
    with pytest.raises(UserError, match="no such file"):
        apply_profile("photographs", path.with_name("none.yaml"))
    path.write_text("train: [1]\n")
    with pytest.raises(UserError, match="train"):
        apply_profile("photographs", path)
    assert path.read_text() == "train: [1]\n"
    path.write_text("train: {epochs: 1}\n")
    apply_profile("sample", path)
    assert load_params(path).model.size == 128
