from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skyseg.data.audit.training_data import (
    FILE,
    Remembered,
    describe,
    drift_from_champion,
    read_remembered,
    write_remembered,
)
from skyseg.errors import UserError


def manifest(low: float, high: float, width: int = 640, count: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "split": "train",
            "foreground": rng.uniform(low, high, count),
            "width": width,
            "height": 480,
        }
    )


def test_other_shares_and_sizes_are_drift(tmp_path: Path) -> None:
    write_remembered(tmp_path, Remembered(champion=describe(manifest(0.2, 0.6))))
    assert list(drift_from_champion(manifest(0.2, 0.6, count=77), tmp_path)) == []
    (finding,) = drift_from_champion(manifest(0.5, 0.9), tmp_path)
    assert finding.text.startswith("train differs from the champion's training data: median share")
    (finding,) = drift_from_champion(manifest(0.2, 0.6, width=320), tmp_path)
    assert "number of pixels 153,600, there 307,200" in finding.text


def test_many_equal_values_are_no_drift(tmp_path: Path) -> None:
    half = manifest(0.2, 0.6)
    half.loc[:199, "foreground"] = 0.0
    write_remembered(tmp_path, Remembered(champion=describe(half)))
    assert list(drift_from_champion(half, tmp_path)) == []
    assert len(list(drift_from_champion(manifest(0.2, 0.6), tmp_path))) == 1


def test_without_a_champion_there_is_no_drift(tmp_path: Path) -> None:
    assert list(drift_from_champion(manifest(0.2, 0.6), tmp_path)) == []


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"champion": {"images": 3}}', "\x00"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=r"champion_data\.json: .*; restore it with git"):
        read_remembered(tmp_path)
