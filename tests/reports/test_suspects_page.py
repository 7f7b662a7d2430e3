import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skyseg.inference.suspects import COLUMNS, Look, Ranking
from skyseg.metrics.confident import Thresholds
from skyseg.reports import suspects_page
from skyseg.reports.suspects_files import CAPTIONS, Suspect, read_pictures, read_suspects
from skyseg.reports.suspects_page import (
    Card,
    disagreement,
    exclude_command,
    pictures_of,
    write_results,
)

LIMITS = Thresholds(0.8, 0.8)


def test_what_the_colours_mean() -> None:
    photograph = np.full((64, 64, 3), 90, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :32] = 1
    mask[60:] = 255
    found = np.full((64, 64), 0.5, np.float32)
    found[:16, :16], found[:16, 48:], found[30:50, 31:33] = 0.1, 0.9, 0.1
    picture = disagreement(photograph, mask, found, LIMITS)
    extra, missing = picture[8, 8].tolist(), picture[8, 56].tolist()
    assert extra[:2] == [195, 187]  # yellow
    assert missing == [176, 93, 27]  # vermillion
    # Not sure; and the edge, although the model is sure there.
    assert picture[24, 8].tolist() == picture[24, 56].tolist() == [90, 90, 90]
    assert picture[40, 31].tolist() == [255, 255, 255]
    assert picture[62, 56].tolist() == [172, 172, 172]  # ignored


def test_pictures_keep_the_photographs_shape() -> None:
    seen = Look(
        np.zeros((300, 900, 3), np.uint8),
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32), np.float32),
    )
    pictures = list(pictures_of(seen, LIMITS))
    assert [picture.shape for picture in pictures] == [(133, 400, 3)] * len(CAPTIONS)


def test_the_command_survives_a_shell() -> None:
    for id in ("a b/c'd", "-x", "$(touch y)", "ä"):
        words = shlex.split(exclude_command(id, "it's wrong"))
        assert words[:4] == ["skyseg", "exclude", "--reason", "it's wrong"]
        assert words[-1] == id
        assert ("--" in words) == id.startswith("-")


def test_an_interruption_leaves_no_table_with_pictures_of_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.DataFrame([(1, "a", "train", 0.5, 0.25, "extra")], columns=COLUMNS)
    cards = [Card(row, [b"jpeg"] * len(CAPTIONS)) for row in table.itertuples()]
    results = (tmp_path, Ranking(table, LIMITS, 0.9), table, cards, 1)
    write_results(*results)
    (suspect,) = read_suspects(tmp_path)
    assert suspect == Suspect(1, "a", "train", 0.25, "extra")
    assert read_pictures(tmp_path, suspect) == [b"jpeg"] * 4

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(suspects_page, "render_suspects", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_results(*results)
    assert read_suspects(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["suspects.html", "suspects.zip"]
