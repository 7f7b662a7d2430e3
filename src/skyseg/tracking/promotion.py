"""The gate: is a challenger good enough to become champion? Pure; the registry is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from skyseg.params import PromoteParams


@dataclass(frozen=True)
class Evidence:
    """What is known about a version."""

    version: str
    fingerprint: str
    """SHA-256 of the weights."""
    test_data: str
    """Split and fingerprint of the data that the metrics were measured on."""
    scoring: str
    """Digest of the code that measured them."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Figures in 0..1 by name, as in ``reports/metrics.json``; higher is better."""


@dataclass(frozen=True)
class Decision:
    ok: bool
    reasons: list[str]
    """Why, for people; at least one."""


def decide(challenger: Evidence, champion: Evidence | None, gate: PromoteParams) -> Decision:
    """Compare by ``gate.metric``: the challenger has to be better by ``gate.min_gain``.

    Refuses what cannot be compared: a score that is missing or not a number, or scores that were
    measured on different data or by different code, which the caller has to measure anew first.
    """
    name = gate.metric
    ours = challenger.metrics.get(name)
    if ours is None or ours != ours:
        return Decision(
            False,
            [f"version {challenger.version} has no figure for {name}; run 'dvc repro evaluate'"],
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
                "the two were measured on different data: "
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
            False, [f"the champion, version {champion.version}, has no figure for {name}"]
        )
    figures = (
        f"{name} {ours:.4f} against the champion's {theirs:.4f} "
        f"(version {champion.version}) on the same data"
    )
    # Rounded to what a figure can mean, so that 0.9 + 0.05 is 0.95 and no hair more.
    if round(ours - theirs - gate.min_gain, 9) >= 0:
        return Decision(True, [figures])
    wanted = f"; at least {gate.min_gain:+g} is asked for" if gate.min_gain else ""
    return Decision(False, [figures + wanted])
