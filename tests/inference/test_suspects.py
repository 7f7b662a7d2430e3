from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from skyseg.data.masks.encoding import Encoding
from skyseg.inference.suspects import Answers, look, rank
from tiny import save

SIDE = 32
WHITE = Encoding(kind="0/255", threshold=128)


class Bright:
    """A model that finds what is bright, and is surer the brighter or darker it is."""

    parameters = 0
    threshold = 0.5

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        return image[:SIDE, :SIDE, 0]

    def forward(self, inputs: list[np.ndarray], /) -> torch.Tensor:
        return torch.from_numpy(np.stack(inputs).astype(np.float32) / 255).logit(0.01)

    def postprocess(self, logits: torch.Tensor, image: np.ndarray) -> np.ndarray:
        raise AssertionError("the network's own map is compared")


class Dark(Bright):
    def forward(self, inputs: list[np.ndarray], /) -> torch.Tensor:
        return -super().forward(inputs)


@pytest.fixture
def samples(tmp_path: Path) -> pd.DataFrame:
    """Bright upper halves, with masks that fit but for some."""
    truth = np.zeros((SIDE, SIDE), np.uint8)
    truth[: SIDE // 2] = 255
    columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    masks = {
        "fits": truth,
        "inverted": 255 - truth,
        "lacks": np.where(columns < SIDE // 2, truth, 0),
        "more": np.where(rows < 24, 255, 0),
    }
    masks |= {f"fits{number:02d}": truth for number in range(20)}
    bright = np.repeat(np.where(truth, 225, 30)[..., None], 3, axis=2).astype(np.uint8)
    for name, mask in masks.items():
        save(tmp_path / f"{name}.png", bright)
        save(tmp_path / f"{name}_mask.png", mask.astype(np.uint8))
    return pd.DataFrame(
        {
            "id": masks.keys(),
            "image": [f"{name}.png" for name in masks],
            "mask": [f"{name}_mask.png" for name in masks],
            "split": "train",
        }
    )


def one(samples: pd.DataFrame) -> Answers:
    return Answers([Bright()], np.zeros(len(samples), np.int64))


def test_the_order_and_the_kinds(samples: pd.DataFrame, tmp_path: Path) -> None:
    ranking = rank(one(samples), samples, WHITE, tmp_path)
    assert list(ranking.table.columns) == ["rank", "id", "split", "score", "share", "kind"]
    first = ranking.table.head(3).set_index("id")
    assert first["kind"].to_dict() == {"inverted": "inverted", "lacks": "missing", "more": "extra"}
    assert first.loc["inverted", ["rank", "score", "share"]].tolist() == [1, 1, 1]
    # A quarter of the picture, less the bands at the mask's edges.
    assert first.loc["lacks", "share"] == pytest.approx(0.25, abs=0.03)
    assert first.loc["more", "share"] == pytest.approx(0.25, abs=0.03)
    rest = ranking.table.iloc[3:]
    assert (rest["score"] == 0).all()
    assert (rest["kind"] == "none").all()
    assert rest["id"].is_monotonic_increasing
    assert ranking.iou == pytest.approx(22 / 24, abs=0.05)


def test_each_sample_is_answered_by_its_own_model(samples: pd.DataFrame, tmp_path: Path) -> None:
    chosen = samples[samples["id"].str.startswith("fits")].iloc[::-1].reset_index(drop=True)
    owners = np.array([0, 1] + [0] * (len(chosen) - 2))
    ranking = rank(Answers([Bright(), Dark()], owners), chosen, WHITE, tmp_path)
    assert ranking.table["id"].iloc[0] == chosen["id"][1]
    assert ranking.table["kind"].iloc[0] == "inverted"
    assert (ranking.table["score"].iloc[1:] == 0).all()


def test_a_look_at_one(samples: pd.DataFrame, tmp_path: Path) -> None:
    seen = look(Bright(), next(samples.itertuples()), WHITE, tmp_path)
    assert (seen.image.shape, seen.mask.shape, seen.probability.shape) == (
        (SIDE, SIDE, 3),
        (SIDE, SIDE),
        (SIDE, SIDE),
    )
    np.testing.assert_array_equal(seen.mask == 1, seen.probability > 0.5)
