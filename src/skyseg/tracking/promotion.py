"""Decides whether a challenger is good enough to become champion. Does not access the registry."""

from __future__ import annotations

from dataclasses import dataclass, field

from skyseg.params import PromoteParams


@dataclass(frozen=True)
class Evidence:
    """What the decision needs to know about a version."""

    version: str
    fingerprint: str
    """SHA-256 of the weights."""
    test_data: str
    """Split and fingerprint of the data that the metrics were measured on."""
    scoring: str
    """Digest of the code that computed the metrics."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Scores by name, as in ``reports/metrics.json``."""


@dataclass(frozen=True)
class Decision:
    ok: bool
    reasons: list[str]
    """For people; at least one."""


def decide(challenger: Evidence, champion: Evidence | None, gate: PromoteParams) -> Decision:
    """Compare by ``gate.metric``: the challenger has to be better by at least ``gate.min_gain``.

    Refuses scores that cannot be compared: one is missing or NaN, or they were measured on
    different data or by different code. In the latter cases the caller has to score the champion
    again first.
    """
    name = gate.metric
    ours = challenger.metrics.get(name)
    if ours is None or ours != ours:
        return Decision(
            False,
            [f"version {challenger.version} has no score for {name}; run 'dvc repro evaluate'"],
        )
    if champion is None:
        return Decision(True, [f"{name} {ours:.4f}, and there is no champion yet"])
    if challenger.fingerprint == champion.fingerprint:
        return Decision(
            True, [f"version {champion.version} is the champion already: the weights are the same"]
        )
    if challenger.test_data != champion.test_data:
        return Decision(
            False,
            [
                "the two models were scored on different data: "
                f"version {challenger.version} on {challenger.test_data}, "
                f"the champion on {champion.test_data}"
            ],
        )
    if challenger.scoring != champion.scoring:
        return Decision(
            False,
            [
                f"version {challenger.version} and the champion, version {champion.version}, were "
                "scored by different code"
            ],
        )
    theirs = champion.metrics.get(name)
    if theirs is None or theirs != theirs:
        return Decision(
            False, [f"the champion, version {champion.version}, has no score for {name}"]
        )
    scores = (
        f"{name} {ours:.4f} against the champion's {theirs:.4f} "
        f"(version {champion.version}) on the same data"
    )
    # Rounded, so that floating-point errors do not count: 0.95 is a gain of 0.05 over 0.9.
    if round(ours - theirs - gate.min_gain, 9) >= 0:
        return Decision(True, [scores])
    wanted = (
        f"; promote.min_gain requires a gain of at least {gate.min_gain:+g}"
        if gate.min_gain
        else ""
    )
    return Decision(False, [scores + wanted])
