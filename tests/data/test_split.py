from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyseg.data.split import assign, group_names
from skyseg.errors import UserError
from skyseg.params import SplitParams


def names(count: int) -> list[str]:
    return [f"{number:04d}" for number in range(count)]


def shares(count: int, seed: int = 0) -> np.ndarray:
    """Foreground shares, a third of them zero."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(count) < 1 / 3, 0, rng.random(count))


def divide(count: int, groups: list[str] | None = None, **options: object) -> np.ndarray:
    params = SplitParams.model_validate(options)
    ids = names(count)
    return np.array(assign(ids, [None] * count, shares(count), groups or ids, params))


def test_shares_are_exact_and_strata_balanced() -> None:
    splits, foreground = divide(1000), shares(1000)
    assert {name: (splits == name).sum() for name in ("train", "val", "test")} == {
        "train": 700,
        "val": 150,
        "test": 150,
    }
    for name in ("train", "val", "test"):
        part = foreground[splits == name]
        assert (part == 0).mean() == pytest.approx((foreground == 0).mean(), abs=0.02)
        assert part.mean() == pytest.approx(foreground.mean(), abs=0.02)


def test_same_seed_same_split_in_any_order() -> None:
    first = divide(200)
    np.testing.assert_array_equal(first, divide(200))
    assert (first != divide(200, seed=1)).any()
    order = np.random.default_rng(0).permutation(200)
    ids, foreground = np.array(names(200)), shares(200)
    for groups in (ids, np.array([id[:3] for id in ids])):
        straight = assign(ids, [None] * 200, foreground, groups, SplitParams())
        mixed = assign(ids[order], [None] * 200, foreground[order], groups[order], SplitParams())
        assert np.array(straight)[order].tolist() == mixed


@settings(max_examples=25, deadline=None)
@given(st.integers(30, 150), st.integers(6, 25), st.integers(0, 5))
def test_groups_stay_in_one_split_and_sizes_are_close(count: int, scenes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [str(g) for g in rng.integers(0, scenes, count)]
    splits = divide(count, groups, val=0.2, test=0.2, seed=seed)
    for group in set(groups):
        assert len(set(splits[np.array(groups) == group])) == 1
    largest = max(groups.count(g) for g in set(groups))
    for name in ("val", "test"):
        assert 0 < (splits == name).sum() <= 0.2 * count + largest


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 40), st.sampled_from([0.1, 0.3, 0.4]), st.integers(0, 100))
def test_any_small_set_is_divided_or_refused(count: int, share: float, seed: int) -> None:
    params = SplitParams(val=share, test=share, seed=seed)
    ids = names(count)
    held = round(share * count)
    if held < 1 or 2 * held >= count:
        with pytest.raises(UserError, match=r"is 0|leaving 0"):
            assign(ids, [None] * count, shares(count, seed), ids, params)
        return
    splits = assign(ids, [None] * count, shares(count, seed), ids, params)
    for name in ("val", "test"):
        assert splits.count(name) == round(share * count)


@pytest.mark.parametrize("many", [1200, 3000])
def test_a_single_pair_among_many_images_changes_no_size(many: int) -> None:
    groups = [f"{number}" for number in range(many)]
    groups[1] = groups[0]  # two copies of one photograph
    splits = divide(many, groups, val=0.02, test=0.02)
    wanted = round(0.02 * many)
    for name in ("val", "test"):
        assert abs((splits == name).sum() - wanted) <= 1
    assert splits[0] == splits[1]


def test_many_uneven_groups_give_close_sizes() -> None:
    groups = [f"{number}" for number in range(1500)] + ["large"] * 700 + ["small"] * 40
    splits = divide(len(groups), groups, val=0.1, test=0.1)
    for name in ("val", "test"):
        assert abs((splits == name).sum() - 224) <= 5
    for name in ("large", "small"):
        assert (
            len({split for split, group in zip(splits, groups, strict=True) if group == name}) == 1
        )


def test_predefined_splits_are_kept_and_missing_ones_taken_from_train() -> None:
    ids = names(100)
    given_splits = ["val" if n < 30 else "train" for n in range(100)]
    splits = assign(ids, given_splits, shares(100), ids, SplitParams(val=0.5, test=0.2))
    assert splits[:30] == ["val"] * 30
    assert splits.count("test") == 14
    assert splits.count("train") == 56
    splits = assign(ids, given_splits, shares(100), ids, SplitParams(test=0))
    assert splits == given_splits


@pytest.mark.parametrize(
    ("count", "options", "key"),
    [
        (3, {"val": 0.1, "test": 0}, "split.val: 0.1 of 3 images is 0"),
        (3, {"val": 0.4, "test": 0.1}, "split.test: 0.1 of 3 images is 0"),
        (20, {"val": 0}, "split.val: 0, and the data set has no validation split"),
        (2, {"val": 0.45, "test": 0.45}, "split.val: 0.45 of 2 images is 1, leaving 0"),
    ],
)
def test_too_few_images_names_the_key(count: int, options: dict[str, float], key: str) -> None:
    with pytest.raises(UserError, match=key.replace(".", r"\.")):
        divide(count, **options)


def test_too_few_groups() -> None:
    with pytest.raises(UserError, match=r"split\.test: all 20 images are one group"):
        divide(20, ["a"] * 20)
    with pytest.raises(UserError, match=r"split\.val: all 10 images are one group"):
        divide(20, ["a"] * 10 + ["b"] * 10)
    assert set(divide(20, ["a"] * 16 + ["b"] * 4, val=0.2, test=0)[:16]) == {"train"}


def test_no_training_images() -> None:
    with pytest.raises(UserError, match="no training images"):
        assign(["a", "b"], ["val", "test"], [0, 1], ["a", "b"], SplitParams())


def test_groups_by_pattern(tmp_path: Path) -> None:
    split = SplitParams(group_pattern="^([^_]+)_")
    assert group_names(["x_1", "x_2", "y_1"], split, tmp_path) == ["x", "x", "y"]
    with pytest.raises(UserError, match=r"split\.group_pattern.*'z'.*1 of 2"):
        group_names(["x_1", "z"], split, tmp_path)


CAMERA = SplitParams(group_column="camera")


def test_a_pattern_that_takes_years_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("skyseg.data.split.MATCH_SECONDS", 0.1)
    split = SplitParams(group_pattern="^((?:a|aa)+)$")
    with pytest.raises(UserError, match=r"split\.group_pattern: .* takes more than 0\.1 s for"):
        group_names(["a" * 60 + "!"], split, tmp_path)


def test_groups_by_column(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no CSV file in .* has the columns id and camera"):
        group_names(["01"], CAMERA, tmp_path)
    (tmp_path / "about.csv").write_text("id,camera\n01,left\n02,right\n03,left\n")
    assert group_names(["03", "02"], CAMERA, tmp_path) == ["left", "right"]
    with pytest.raises(UserError, match=r"about\.csv: no row with id '04'.*1 of 2"):
        group_names(["01", "04"], CAMERA, tmp_path)


def test_ids_in_tables_are_spelled_in_many_ways(tmp_path: Path) -> None:
    rows = "ID;Camera\r\ntrain\\01.JPG;a\r\n./train/02;b\r\nCafe\u0301.png;c\r\nv1.2;d\r\n"
    (tmp_path / "CAMERAS.CSV").write_text(rows, encoding="utf-16")
    ids = ["train/01", "train/02", "Café", "v1.2"]
    assert group_names(ids, CAMERA, tmp_path) == ["a", "b", "c", "d"]


def test_a_table_in_windows_1252_is_read_and_said(tmp_path: Path) -> None:
    (tmp_path / "cameras.csv").write_bytes("id,camera\r\n01,Straße\r\n".encode("cp1252"))
    notes: list[str] = []
    assert group_names(["01"], CAMERA, tmp_path, notes) == ["Straße"]
    assert "cameras.csv: not UTF-8, read as Windows-1252" in notes[0]


def test_a_table_that_cannot_be_read_is_never_ignored(tmp_path: Path) -> None:
    (tmp_path / "cameras.csv").write_bytes("id,camera\n01,Станция\n".encode("cp1251"))
    with pytest.raises(UserError, match=r"cameras\.csv: line 2: not UTF-8"):
        group_names(["01"], CAMERA, tmp_path)
    (tmp_path / "more.csv").write_text("id,camera\n01,left\n")
    notes: list[str] = []
    assert group_names(["01"], CAMERA, tmp_path, notes) == ["left"]
    assert "not used: " in notes[0]
    assert "cameras.csv: line 2" in notes[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("01,left\n02,right\n", r"no CSV file in .* \(found a\.csv: 01, left\)"),
        ("id,camera\n01,\n", r"a\.csv: line 2: id '01' has no camera"),
        ("id,camera\n01,a\n01,b\n", r"a\.csv: line 3: id '01' occurs twice, .*'a' and 'b'"),
        ("id,camera\n1,a\n", r"a\.csv: no row with id '01'.*lost their leading zeros"),
    ],
)
def test_tables_that_do_not_say_the_group(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(UserError, match=expected):
        group_names(["01"], CAMERA, tmp_path)


def test_equal_rows_agree_and_two_tables_do_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,camera\n01,a\n01.png,a\n,\n99,\n")
    assert group_names(["01"], CAMERA, tmp_path) == ["a"]
    (tmp_path / "b.tsv").write_text("id\tcamera\n01\tb\n")
    with pytest.raises(UserError, match=r"a\.csv and b\.tsv both have the columns id and camera"):
        group_names(["01"], CAMERA, tmp_path)
