import numpy as np
import pandas as pd
import pytest

from skyseg.commands.folds import Part, divide
from skyseg.errors import UserError


def test_groups_stay_together() -> None:
    samples = pd.DataFrame({"group": ["a", "b", "a", "c", "d", "b", "e", "f", "a"]})
    owners = divide(samples, 3)
    assert set(owners) == {0, 1, 2}
    assert samples.assign(owner=owners).groupby("group")["owner"].nunique().eq(1).all()
    assert max(np.bincount(owners)) == 3


def test_one_fold_trains_on_everything() -> None:
    assert divide(pd.DataFrame({"group": ["a", "b"]}), 1).tolist() == [-1, -1]


def test_too_few_groups() -> None:
    with pytest.raises(UserError, match="--folds: 3, but the training split has 2 groups"):
        divide(pd.DataFrame({"group": ["a", "b", "a"]}), 3)


def test_a_part_reads_its_rows() -> None:
    part = Part(np.arange(10, dtype=np.uint8), np.array([7, 3, 5]))
    assert part[np.array([2, 0])].tolist() == [5, 7]
