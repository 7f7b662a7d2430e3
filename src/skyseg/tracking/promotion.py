"""Decides whether a challenger is good enough to become champion. Does not access the registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyseg.metrics import bootstrap, counts, slices, suite
from skyseg.metrics.evidence import Evidence
from skyseg.params import BudgetParams, PromoteParams

EXACT = 9  # decimals; floating-point errors do not count: 0.95 is a gain of 0.05 over 0.9


@dataclass(frozen=True)
class Contender:
    """What the decision needs to know about a model."""

    name: str
    """For people, such as 'version 3'."""
    evidence: dict[str, Evidence]
    """By test set; the first is the split that models are evaluated on."""
    milliseconds: float | None = None
    """Time for a photograph on this machine."""
    megabytes: float | None = None
    """Size of the weights file."""


class Check(NamedTuple):
    """One row of the comparison."""

    test_set: str
    """Empty for what does not depend on one."""
    measure: str
    champion: float
    challenger: float
    limit: str
    """What is allowed."""
    ok: bool
    interval: tuple[float, float] | None = None
    """95 % interval of the difference, challenger - champion."""
    decimals: int = 4


@dataclass(frozen=True)
class Decision:
    ok: bool
    reason: str
    """For people; one line."""
    checks: list[Check] = field(default_factory=list)


def decide(challenger: Contender, champion: Contender, gate: PromoteParams) -> Decision:
    """Compare two models on the same photographs. The challenger has to pass every check.

    The checks on each test set: the gain in ``gate.metric`` and its interval, the kind of
    photographs that loses most, boundaries, and false alarms; then latency and size. ``gate`` has
    the limits.

    Raises:
        ValueError: the two were not scored on the same test sets by the same code.
    """
    checks: list[Check] = []
    for name, ours in challenger.evidence.items():
        theirs = champion.evidence[name]
        if not comparable(ours, theirs):
            raise ValueError(f"{name}: scored on different data, or by different code")
        checks += _quality(name, ours, theirs, gate)
    checks += _costs(challenger, champion, gate.budgets)
    first = checks[0]
    images = len(next(iter(challenger.evidence.values())).stats)
    scores = (
        f"{first.measure} {first.challenger:.4f} against the champion's {first.champion:.4f} "
        f"({champion.name}) on the same {images} photographs"
    )
    failed = [_failure(check) for check in checks if not check.ok]
    return Decision(not failed, "; ".join([scores, *failed]), checks)


def decide_first(
    challenger: Contender, pretrained: Contender | None, gate: PromoteParams
) -> Decision:
    """Without a champion, refuse only what is certainly worse than the pretrained weights by more
    than ``gate.budgets.interval``: these weights are used until there is a champion.

    Args:
        challenger: the model.
        pretrained: the pretrained weights; None if they cannot be compared.
        gate: the metric and the budget.
    """
    name, evidence = next(iter(challenger.evidence.items()))
    score = _score(evidence)[gate.metric]
    reason = f"{gate.metric} {score:.4f}, and there is no champion yet"
    if pretrained is None:
        return Decision(True, reason)
    checks = []
    for name, ours in challenger.evidence.items():
        check = _gain(name, ours, pretrained.evidence[name], gate.metric)
        high = check.interval[1] if check.interval else 0.0
        least = -(gate.budgets.interval or 0.0)
        limit = f"interval reaches {_signed(least)}"
        checks.append(check._replace(limit=limit, ok=_at_least(high, least)))
    failed = [_failure(check) for check in checks if not check.ok]
    first = checks[0]
    reason += (
        f" ({pretrained.name}, which are used until then: {first.champion:.4f} on the same "
        "photographs)"
    )
    return Decision(not failed, "; ".join([reason, *failed]), checks)


def comparable(one: Evidence, other: Evidence) -> bool:
    """Whether two models were scored on the same photographs by the same code."""
    return (one.origin.data, one.origin.scoring) == (other.origin.data, other.origin.scoring)


def _score(evidence: Evidence) -> dict[str, float]:
    return suite.summarise(evidence.stats, evidence.origin.threshold)


def _scorer(evidence: Evidence) -> suite.Scorer:
    return suite.scorer(evidence.stats, evidence.origin.threshold)


def _gain(name: str, ours: Evidence, theirs: Evidence, metric: str) -> Check:
    """The gain in a metric, with its interval: the same photographs are drawn for both models."""
    draws, baseline = (
        bootstrap.resample(_scorer(each), len(each.stats)) for each in (ours, theirs)
    )
    low_high = bootstrap.intervals(bootstrap.differences(draws, baseline))[metric]
    return Check(name, metric, _score(theirs)[metric], _score(ours)[metric], "", True, low_high)


def _quality(name: str, ours: Evidence, theirs: Evidence, gate: PromoteParams) -> Iterator[Check]:
    budgets = gate.budgets
    gain = _gain(name, ours, theirs, gate.metric)
    low = gain.interval[0] if gain.interval else 0.0
    limit = f"≥ {_signed(gate.min_gain)}"
    reaches = True
    if budgets.interval is not None:
        limit += f", interval ≥ {_signed(gate.min_gain - budgets.interval)}"
        reaches = _at_least(low, gate.min_gain - budgets.interval)
    enough = _at_least(gain.challenger - gain.champion, gate.min_gain)
    yield gain._replace(limit=limit, ok=enough and reaches)
    if budgets.worst_slice is not None:
        yield from _worst_slice(name, ours, theirs, budgets.worst_slice)
    before, after = _score(theirs), _score(ours)
    for metric, budget in (
        ("boundary_iou", budgets.boundary),
        ("false_alarms", budgets.false_alarms),
    ):
        if budget is None or metric not in before or metric not in after:
            continue
        sign = 1 if suite.METRICS[metric].lower_is_better else -1
        worse = sign * (after[metric] - before[metric])
        yield Check(
            name,
            metric,
            before[metric],
            after[metric],
            f"{'≤' if sign > 0 else '≥'} {_signed(sign * budget)}",
            _at_least(budget, worse),
        )


def slice_gains(ours: Evidence, theirs: Evidence) -> pd.DataFrame:
    """How much higher one model's IoU is than another's, by kind of photograph.

    Returns:
        Columns ``slice``, ``part``, ``images``, ``champion``, ``challenger``, and ``low`` and
        ``high``, the 95 % interval of the difference. The first row is of all photographs; parts
        without foreground or with fewer than ``slices.FEWEST`` photographs are left out.
    """
    outcomes = [
        counts.at(np.stack([one.histogram for one in each.stats]), each.origin.threshold)
        for each in (theirs, ours)
    ]
    rng = np.random.default_rng(0)

    def scored(chosen: NDArray[np.int64]) -> dict[str, float]:
        n = len(chosen)
        # How often each photograph is drawn; the first row is all of them, once.
        weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), bootstrap.DRAWS)])
        before, after = (
            counts.iou(counts.Counts(*(weights @ values[chosen] for values in outcome)))
            for outcome in outcomes
        )
        tails = 100 * np.array([(1 - bootstrap.COVERAGE) / 2, (1 + bootstrap.COVERAGE) / 2])
        low, high = np.percentile((after - before)[1:], tails)
        return {
            "images": n,
            "champion": before[0],
            "challenger": after[0],
            "low": low,
            "high": high,
        }

    rows = slices.table(ours.parts, scored)
    everything = {"slice": "all", "part": "", **scored(np.arange(len(ours.stats)))}
    if len(rows):
        rows = rows[(rows["images"] >= slices.FEWEST) & (rows["part"] != "none")]
    return pd.concat([pd.DataFrame([everything]), rows], ignore_index=True)


def _worst_slice(name: str, ours: Evidence, theirs: Evidence, budget: float) -> Iterator[Check]:
    """The kind of photographs whose IoU falls most."""
    gains = slice_gains(ours, theirs)[1:]
    if gains.empty:
        return
    row = gains.loc[(gains["challenger"] - gains["champion"]).idxmin()]
    yield Check(
        name,
        f"iou, worst slice: {row['slice']} {row['part']} ({row['images']})",
        row["champion"],
        row["challenger"],
        f"≥ {_signed(-budget)}",
        _at_least(row["challenger"] - row["champion"], -budget),
        (row["low"], row["high"]),
    )


def _costs(challenger: Contender, champion: Contender, budgets: BudgetParams) -> Iterator[Check]:
    for measure, ours, theirs, budget in (
        ("latency, ms", challenger.milliseconds, champion.milliseconds, budgets.latency),
        ("weights, MB", challenger.megabytes, champion.megabytes, budgets.size),
    ):
        if budget is not None and ours is not None and theirs is not None:
            limit = f"≤ {budget:g} times"
            yield Check("", measure, theirs, ours, limit, ours <= budget * theirs, None, 1)


def _failure(check: Check) -> str:
    """A failed check in a few words, such as 'test: boundary_iou -0.0300, allowed ≥ -0.02'."""
    where = f"{check.test_set}: " if check.test_set else ""
    change = f"{check.challenger - check.champion:+.{check.decimals}f}"
    if check.interval:
        change += f" [{check.interval[0]:+.4f}, {check.interval[1]:+.4f}]"
    return f"{where}{check.measure} {change}, allowed {check.limit}"


def _signed(value: float) -> str:
    return f"{value:+g}" if value else "0"


def _at_least(value: float, limit: float) -> bool:
    return round(value - limit, EXACT) >= 0
