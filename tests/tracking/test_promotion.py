"""The decision to promote: a table of cases, and properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skyseg.params import PromoteParams
from skyseg.tracking.promotion import Evidence, decide

DATA = "test abc"


def version(
    number: str,
    iou: float | None,
    fingerprint: str = "",
    data: str = DATA,
    scoring: str = "code",
) -> Evidence:
    return Evidence(
        number,
        fingerprint or f"weights {number}",
        data,
        scoring,
        {} if iou is None else {"iou": iou, "f_max": 1 - iou},
    )


@pytest.mark.parametrize(
    ("challenger", "champion", "gate", "ok", "expected"),
    [
        (version("1", 0.9), None, {}, True, ["0.9000", "no champion yet"]),
        (version("2", 0.91), version("1", 0.9), {}, True, ["0.9100", "0.9000", "version 1"]),
        (version("2", 0.9), version("1", 0.9), {}, True, ["0.9000"]),
        (version("2", 0.89), version("1", 0.9), {}, False, ["0.8900", "0.9000", "version 1"]),
        (version("2", 0.91), version("1", 0.9), {"min_gain": 0.02}, False, ["+0.02", "0.9100"]),
        (version("2", 0.92), version("1", 0.9), {"min_gain": 0.02}, True, ["0.9200"]),
        (version("2", 0.89), version("1", 0.9), {"min_gain": -0.02}, True, ["0.8900"]),
        (version("2", 0.89), version("1", 0.9), {"metric": "f_max"}, True, ["f_max", "0.1100"]),
        (version("2", 0.1, "same"), version("1", 0.9, "same"), {}, True, ["champion already"]),
        (
            version("2", 0.9, data="test x"),
            version("1", 0.8),
            {},
            False,
            ["different data", "test x", DATA],
        ),
        (
            version("2", 0.9, scoring="other"),
            version("1", 0.8),
            {},
            False,
            ["version 2", "version 1", "scored by different code"],
        ),
        (version("2", None), version("1", 0.8), {}, False, ["version 2", "no score", "dvc repro"]),
        (version("2", None), None, {}, False, ["no score"]),
        (version("2", math.nan), None, {}, False, ["no score"]),
        (version("2", 0.9), version("1", None), {}, False, ["version 1", "no score"]),
        (version("2", 0.9), version("1", math.nan), {}, False, ["version 1", "no score"]),
    ],
)
def test_decision(
    challenger: Evidence, champion: Evidence | None, gate: dict, ok: bool, expected: list[str]
):
    decision = decide(challenger, champion, PromoteParams(**gate))

    assert decision.ok is ok
    text = " ".join(decision.reasons)
    assert all(part in text for part in expected), text


scores = st.floats(0, 1)


@given(scores, scores, st.floats(-1, 1))
def test_a_challenger_passes_exactly_if_its_gain_is_large_enough(
    ours: float, theirs: float, gain: float
):
    decision = decide(version("2", ours), version("1", theirs), PromoteParams(min_gain=gain))

    margin = ours - theirs - gain
    assume(not 1e-10 <= -margin < 1e-9)  # rounded up or down
    assert decision.ok == (margin > -1e-10)


@given(scores, scores)
def test_of_two_versions_at_least_one_can_replace_the_other(one: float, other: float):
    gate = PromoteParams()
    first_wins = decide(version("2", one), version("1", other), gate).ok
    second_wins = decide(version("1", other), version("2", one), gate).ok

    assert first_wins or second_wins


@given(scores, scores)
def test_scores_on_different_data_never_pass(ours: float, theirs: float):
    assert not decide(version("2", ours, data="val y"), version("1", theirs), PromoteParams()).ok
