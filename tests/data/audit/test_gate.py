from itertools import permutations
from pathlib import Path

from skyseg.data.audit.findings import FINDINGS, Finding
from skyseg.data.audit.gate import judge, left_out
from skyseg.data.formats.samples import Sample
from skyseg.params import AuditParams

SAMPLES = [Sample(id, Path(f"{id}.jpg"), Path(f"{id}.png"), None) for id in "abcd"]
FOUND = [
    Finding("tiny", ("a",), "a.jpg: only 9x9 pixels"),
    Finding("unreadable", ("b",), "b.jpg: the file is empty; replace or remove it"),
    Finding("unreadable", ("c",), "c.jpg: the file is empty; replace or remove it"),
    Finding("copies_across_splits", ("a", "d"), "a.jpg and d.jpg", ("a",)),
]


def test_every_kind_has_a_policy() -> None:
    assert list(AuditParams.model_fields) == list(FINDINGS)


def test_a_line_for_each_kind() -> None:
    audit = judge(FOUND, AuditParams(), SAMPLES, {})
    assert audit.errors == [
        "b.jpg: the file is empty; replace or remove it (and 1 more); see "
        "reports/prepare/audit.html, or set audit.unreadable: drop leaves them out",
        "a.jpg and d.jpg; remove one of them; see reports/prepare/audit.html, or set "
        "audit.copies_across_splits: drop leaves them out",
    ]
    assert audit.warnings == ["audit.tiny: a.jpg: only 9x9 pixels"]


def test_the_order_of_findings_does_not_matter() -> None:
    audits = [judge(order, AuditParams(), SAMPLES, {}) for order in permutations(FOUND)]
    assert all(audit == audits[0] for audit in audits)


def test_what_is_left_out() -> None:
    policies = AuditParams(copies_across_splits="drop", unreadable="warn")
    # What cannot be read cannot be used, even if that is only a warning.
    assert set(left_out(FOUND, policies)) == {"a", "b", "c"}
    audit = judge(FOUND, policies, SAMPLES, {})
    assert audit.errors == []
    assert audit.warnings[0].startswith("audit.unreadable: left out: b.jpg")


def test_a_finding_about_no_sample_drops_nothing() -> None:
    drift = [Finding("drift", (), "val differs from train")]
    assert left_out(drift, AuditParams(drift="drop")) == {}
    (line,) = judge(drift, AuditParams(drift="error"), SAMPLES, {}).errors
    assert line.endswith("set audit.drift: warn goes on")
