"""Applies the policies of ``params.audit`` to findings: what stops, what is said, what stays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from skyseg.data.audit.findings import FINDINGS, Finding, policy
from skyseg.data.formats.samples import Sample
from skyseg.params import AuditParams

PAGE = Path("reports/prepare/audit.html")


class Audit(NamedTuple):
    """All that was found in a data set, and what follows from it."""

    findings: list[Finding]
    """Sorted by kind, in the order of ``FINDINGS``, then by id."""
    errors: list[str]
    """At most one line per kind whose policy is error; prepare must stop if there are any."""
    warnings: list[str]
    """One line per kind whose policy is another."""
    dropped: dict[str, Finding]
    """By id of the samples left out, why."""
    excluded: dict[str, str]
    """By id of the samples that a person keeps out, the reason given."""
    samples: dict[str, Sample]
    """By id, all samples of the data set, also those left out."""


def judge(
    findings: Iterable[Finding],
    policies: AuditParams,
    samples: Iterable[Sample],
    excluded: dict[str, str],
) -> Audit:
    """What follows from all findings; independent of their order."""
    ranked = sorted(findings, key=lambda each: (list(FINDINGS).index(each.kind), each[1:]))
    kinds: dict[str, list[Finding]] = {}
    for each in ranked:
        kinds.setdefault(each.kind, []).append(each)
    stops = {kind for kind in kinds if policy(kind, policies) == "error"}
    return Audit(
        ranked,
        [_error(kind, found) for kind, found in kinds.items() if kind in stops],
        [_warning(kind, found, policies) for kind, found in kinds.items() if kind not in stops],
        left_out(ranked, policies),
        excluded,
        {sample.id: sample for sample in samples},
    )


def left_out(findings: Iterable[Finding], policies: AuditParams) -> dict[str, Finding]:
    """The samples that training and evaluation do without, by id, and why.

    These are what policies drop, and what cannot be used anyway.
    """
    chosen: dict[str, Finding] = {}
    for each in findings:
        if each.kind == "unreadable" or policy(each.kind, policies) == "drop":
            for id in each.leave_out or each.ids[:1]:
                chosen.setdefault(id, each)
    return chosen


def _error(kind: str, found: list[Finding]) -> str:
    """What is wrong with the first, how many more there are, what to do, and the setting."""
    # What a reader of files says ends with advice of its own.
    advice = "" if ";" in found[0].text else f"; {FINDINGS[kind].advice}"
    instead = "drop leaves them out" if found[0].ids else "warn goes on"
    return f"{found[0].text}{advice}{_more(found)}; see {PAGE}, or set audit.{kind}: {instead}"


def _warning(kind: str, found: list[Finding], policies: AuditParams) -> str:
    """The setting, the first, and how many more there are."""
    drops = kind == "unreadable" or policy(kind, policies) == "drop"
    does = "left out: " if drops and found[0].ids else ""
    return f"audit.{kind}: {does}{found[0].text}{_more(found)}"


def _more(found: list[Finding]) -> str:
    return f" (and {len(found) - 1:,} more)" if len(found) > 1 else ""
