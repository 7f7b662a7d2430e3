"""The gate, as a table and as properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
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
    ("challenger", "champion", "gate", "ok", "says"),
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
        (version("2", None), version("1", 0.8), {}, False, ["version 2", "no figure", "dvc repro"]),
        (version("2", None), None, {}, False, ["no figure"]),
        (version("2", math.nan), None, {}, False, ["no figure"]),
        (version("2", 0.9), version("1", None), {}, False, ["version 1", "no figure"]),
        (version("2", 0.9), version("1", math.nan), {}, False, ["version 1", "no figure"]),
    ],
)
def test_gate(
    challenger: Evidence, champion: Evidence | None, gate: dict, ok: bool, says: list[str]
):
    decision = decide(challenger, champion, PromoteParams(**gate))

    assert decision.ok is ok
    text = " ".join(decision.reasons)
    assert all(part in text for part in says), text


figures = st.floats(0, 1)


@given(figures, figures, st.floats(-1, 1))
def test_passing_is_exactly_gaining_enough(ours: float, theirs: float, gain: float):
    decision = decide(version("2", ours), version("1", theirs), PromoteParams(min_gain=gain))

    assert decision.ok == (ours - theirs >= gain or math.isclose(ours - theirs, gain, abs_tol=1e-9))


@given(figures, figures)
def test_of_two_versions_one_at_least_beats_the_other(one: float, other: float):
    gate = PromoteParams()
    forth = decide(version("2", one), version("1", other), gate).ok
    back = decide(version("1", other), version("2", one), gate).ok

    assert forth or back


@given(figures, figures)
def test_other_data_never_pass(ours: float, theirs: float):
    assert not decide(version("2", ours, data="val y"), version("1", theirs), PromoteParams()).ok
