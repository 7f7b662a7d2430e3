"""The decision to promote: a table of cases, properties, and the intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlflow_tools import make_evidence
from skyseg.metrics import bootstrap, suite
from skyseg.params import PromoteParams
from skyseg.tracking.promotion import Contender, decide, decide_first, slice_gains


@pytest.fixture(autouse=True, scope="module")
def quick() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "DRAWS", 20)
        yield


def contender(
    name: str,
    iou: float,
    night: float | None = None,
    milliseconds: float = 100,
    megabytes: float = 5,
    sets: tuple[str, ...] = ("test",),
    **changes: Any,
) -> Contender:
    """A model with this IoU on every photograph; ``night``: on half of them."""
    evidence = make_evidence(name, iou, **changes)
    if night is not None:
        dark = make_evidence(name, night, **changes).stats
        evidence = evidence._replace(stats=evidence.stats[:3] + dark[3:])
    return Contender(f"version {name}", dict.fromkeys(sets, evidence), milliseconds, megabytes)


OLD = contender("1", 0.9)


@pytest.mark.parametrize(
    ("challenger", "gate", "ok", "expected"),
    [
        (contender("2", 0.91), {}, True, ["0.9100", "champion's 0.9000", "version 1", "same 6"]),
        (contender("2", 0.9), {}, True, ["0.9000"]),
        (contender("2", 0.89), {}, False, ["iou -0.0100", "allowed ≥ 0"]),
        (contender("2", 0.91), {"min_gain": 0.02}, False, ["allowed ≥ +0.02"]),
        (contender("2", 0.92), {"min_gain": 0.02}, True, []),
        (contender("2", 0.89), {"min_gain": -0.02}, True, []),
        (contender("2", 0.89), {"metric": "iou_image"}, False, ["iou_image -0.0100"]),
        (contender("2", 0.99, night=0.84), {}, False, ["slice: brightness night (3) -0.0600"]),
        (contender("2", 0.99, night=0.86), {"budgets": {"interval": None}}, True, []),
        (contender("2", 0.91, boundary_iou=0.77), {}, False, ["boundary_iou -0.0300", "-0.02"]),
        (contender("2", 0.91, boundary_iou=0.79), {}, True, []),
        (contender("2", 0.91, milliseconds=201), {}, False, ["latency, ms +101.0", "≤ 2 times"]),
        (contender("2", 0.91, milliseconds=199), {}, True, []),
        (contender("2", 0.91, megabytes=21), {}, False, ["weights, MB +16.0", "≤ 4 times"]),
        (contender("2", 0.91, megabytes=21), {"budgets": {"size": None}}, True, []),
        (
            contender("2", 0.89, night=0.7, milliseconds=900, boundary_iou=0.1),
            {
                "min_gain": -1,
                "budgets": dict.fromkeys(("interval", "worst_slice", "boundary", "latency")),
            },
            True,
            [],
        ),
    ],
)
def test_decision(challenger: Contender, gate: dict, ok: bool, expected: list[str]):
    decision = decide(challenger, OLD, PromoteParams(**gate))

    assert decision.ok is ok, decision
    assert all(part in decision.reason for part in expected), decision.reason
    assert decision.ok == all(check.ok for check in decision.checks)


def test_a_gain_that_is_uncertain_is_refused():
    """Better on average, but only because of one photograph of six."""
    challenger = contender("2", 0.9)
    better, worse = (make_evidence("2", iou).stats[0] for iou in (1.0, 0.885))
    evidence = challenger.evidence["test"]._replace(stats=[better] + [worse] * 5)
    challenger = Contender("version 2", {"test": evidence})

    strict = decide(challenger, OLD, PromoteParams(budgets={"interval": 0.01}))
    lenient = decide(challenger, OLD, PromoteParams(budgets={"interval": 0.016}))

    assert strict.checks[0].challenger > strict.checks[0].champion
    assert not strict.ok
    assert "interval ≥ -0.01" in strict.reason
    assert lenient.ok


def test_false_alarms_count_where_photographs_have_no_foreground():
    def alarms(share: int) -> Contender:
        evidence = make_evidence("2", 0.95)
        stats = []
        for number, one in enumerate(evidence.stats):
            histogram = np.zeros_like(one.histogram)
            histogram[0, 0], histogram[0, 255] = 100, 10 * (number < share)
            stats.append(one._replace(histogram=histogram))
        joined = evidence._replace(
            stats=evidence.stats + stats, parts=pd.concat([evidence.parts] * 2, ignore_index=True)
        )
        return Contender("version 2", {"test": joined})

    [check] = [
        check
        for check in decide(alarms(3), alarms(1), PromoteParams()).checks
        if check.measure == "false_alarms"
    ]
    assert (check.champion, check.challenger, check.ok) == (1 / 6, 3 / 6, False)


def test_every_test_set_counts():
    old = contender("1", 0.9, sets=("test", "streets"))
    new = Contender(
        "version 2",
        {"test": make_evidence("2", 0.95), "streets": make_evidence("2", 0.7)},
    )

    decision = decide(new, old, PromoteParams())

    assert not decision.ok
    assert "streets: iou -0.2000" in decision.reason
    assert {check.test_set for check in decision.checks} == {"test", "streets"}


@pytest.mark.parametrize("field", ["data", "scoring"])
def test_scores_of_other_data_or_code_are_never_compared(field: str):
    evidence = make_evidence("2", 0.99)
    origin = evidence.origin.model_copy(update={field: "other"})
    new = Contender("version 2", {"test": evidence._replace(origin=origin)})

    with pytest.raises(ValueError, match="different data, or by different code"):
        decide(new, OLD, PromoteParams())


def test_the_first_champion_must_not_be_certainly_worse_than_the_pretrained_weights():
    pretrained = contender("0", 0.9)

    worse = decide_first(contender("1", 0.8), pretrained, PromoteParams())
    better = decide_first(contender("1", 0.95), pretrained, PromoteParams())
    alone = decide_first(contender("1", 0.1), None, PromoteParams())
    nearly = decide_first(contender("1", 0.885), pretrained, PromoteParams())
    strict = PromoteParams(budgets={"interval": 0})

    assert nearly.ok
    assert not decide_first(contender("1", 0.885), pretrained, strict).ok
    assert not worse.ok
    assert "iou -0.1000" in worse.reason
    assert better.ok
    assert "0.9000 on the same photographs" in better.reason
    assert alone.ok
    assert alone.reason == "iou 0.1000, and there is no champion yet"


scores = st.integers(1, 5000).map(lambda pixels: pixels / 5000)


@given(scores, scores, st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_a_challenger_passes_exactly_if_its_gain_is_large_enough(
    ours: float, theirs: float, gain: float
):
    gate = PromoteParams(min_gain=gain, budgets={"worst_slice": None})
    decision = decide(contender("2", ours), contender("1", theirs), gate)

    margin = ours - theirs - gain
    assume(not 1e-10 <= -margin < 1e-9)  # rounded up or down
    assert decision.ok == (margin > -1e-10)


@given(scores, scores)
@settings(max_examples=20, deadline=None)
def test_of_two_equal_kinds_of_models_exactly_the_better_wins(one: float, other: float):
    first, second = contender("1", one), contender("2", other)

    assert decide(first, second, PromoteParams()).ok == (one >= other)
    assert decide(second, first, PromoteParams()).ok == (other >= one)


def test_gains_by_slice_agree_with_the_scores():
    rng = np.random.default_rng(0)
    evidence = []
    for number in range(2):
        stats = []
        for _ in range(12):
            histogram = np.zeros((2, 256), np.int64)
            histogram[:, [10, 200]] = rng.integers(1, 1000, (2, 2))
            stats.append(make_evidence("", 1).stats[0]._replace(histogram=histogram))
        parts = pd.DataFrame({"kind": ["a"] * 8 + ["b"] * 4})
        evidence.append(make_evidence(str(number), 1)._replace(stats=stats, parts=parts))

    gains = slice_gains(*evidence)

    assert gains["part"].tolist() == ["", "a", "b"]
    assert gains["images"].tolist() == [12, 8, 4]
    for column, each in zip(("challenger", "champion"), evidence, strict=True):
        score = suite.scorer(each.stats, 0.5)
        expected = [
            score(rows)["iou"] for rows in map(np.array, (range(12), range(8), range(8, 12)))
        ]
        assert gains[column].tolist() == pytest.approx(expected)
    change = gains["challenger"] - gains["champion"]
    assert (gains["low"] < change).all()
    assert (change < gains["high"]).all()
