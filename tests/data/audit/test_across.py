from pathlib import Path

import numpy as np
import pandas as pd

from skyseg.data.audit.across import Member, copies_found, drift_found, groups_found
from skyseg.data.formats.samples import Sample

FULL, EMPTY = np.ones((16, 16)), np.zeros((16, 16))
LEFT = np.pad(np.ones((16, 8)), ((0, 0), (0, 8)))


def member(
    id: str, split: str | None, grid: np.ndarray = FULL, digest: str | None = None
) -> Member:
    return Member(Sample(id, Path(f"{id}.jpg"), Path(f"{id}.png"), split), grid, digest or id)


def test_copies_across_splits_keep_the_test_sample() -> None:
    members = [member("a", "train"), member("b", "val"), member("c", "test"), member("d", "train")]
    (finding,) = copies_found(members, np.array([7, 7, 7, 1]))
    assert finding.kind == "copies_across_splits"
    assert finding.text == (
        "c.jpg (test) and a.jpg (train) are nearly the same photograph in two splits, with 1 more "
        "of it"
    )
    assert finding.ids == ("a", "c", "b")  # the two that are named come first
    assert set(finding.leave_out) == {"a", "b"}


def test_copies_without_predefined_splits_are_within_one() -> None:
    (finding,) = copies_found([member("a", None), member("b", None)], np.array([0, 0]))
    assert finding.kind == "copies_within_split"
    assert finding.leave_out == ("b",)


def test_masks_differ_but_mirrored_ones_do_not() -> None:
    one = [member("a", None, LEFT), member("b", None, EMPTY)]
    kinds = [each.kind for each in copies_found(one, np.array([0, 0]))]
    assert kinds == ["copies_within_split", "masks_differ"]
    two = [member("a", None, LEFT), member("b", None, LEFT[:, ::-1])]
    assert [each.kind for each in copies_found(two, np.array([0, 0]))] == ["copies_within_split"]


def test_masks_of_equal_files_may_differ_less_than_those_of_copies() -> None:
    grid = FULL.copy()
    grid[:2] = 0  # an eighth
    for digest, kinds in (
        ("a", ["copies_within_split", "masks_differ"]),
        ("b", ["copies_within_split"]),
    ):
        pair = [member("a", None, FULL, "a"), member("b", None, grid, digest)]
        assert [each.kind for each in copies_found(pair, np.array([0, 0]))] == kinds
    same = [member("a", None, FULL, "a"), member("b", None, FULL, "a")]
    (finding,) = copies_found(same, np.array([0, 0]))
    assert finding.text == "a.jpg and b.jpg are the same photograph"


def test_groups_in_two_predefined_splits() -> None:
    samples = [member(*each).sample for each in (("a", "train"), ("b", "val"), ("c", "train"))]
    (finding,) = groups_found(samples, ["x", "x", "y"])
    assert finding.text == "group x: b is in val, a in train (2 samples)"
    assert finding.leave_out == ("a",)
    assert list(groups_found(samples, ["x", "y", "x"])) == []
    free = [member("a", None).sample, member("b", None).sample]
    assert list(groups_found(free, ["x", "x"])) == []


def table(train: np.ndarray, val: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "split": ["train"] * len(train) + ["val"] * len(val),
            "foreground": np.concatenate([train, val]),
            "width": 100,
            "height": 100,
        }
    )


def test_drift_must_be_large_and_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    same, other = rng.uniform(0.2, 0.6, 300), rng.uniform(0.5, 0.9, 100)
    (finding,) = drift_found(table(same, other))
    assert finding.ids == ()
    assert finding.text.startswith("val differs from train: median share of foreground")
    assert list(drift_found(table(same, rng.uniform(0.2, 0.6, 100)))) == []
    # Beyond chance with 10,000 samples, but small.
    many = rng.uniform(0.2, 0.6, 10_000)
    assert list(drift_found(table(many, many + 0.02))) == []
    # Large, but chance with three samples.
    assert list(drift_found(table(same, np.array([0.55, 0.56, 0.57])))) == []
