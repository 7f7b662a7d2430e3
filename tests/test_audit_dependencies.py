"""The audit of dependencies in CI: what fails, what passes, and what it says."""

from __future__ import annotations

import importlib.util
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

TODAY = date(2026, 11, 27)
CLEAN = {"name": "a", "version": "1", "vulns": []}
FOUND = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}],
}
SKIPPED = {"name": "c", "skip_reason": "not found"}
ROW = {"id": "CVE-1", "package": "b", "reason": "never called", "until": TODAY}


def test_a_vulnerability_fails_with_what_to_do() -> None:
    lines, passes = audit.verdict([CLEAN, FOUND], "", [], TODAY)
    assert not passes
    assert lines == ["VULNERABLE: b 2: PYSEC-1, fixed in 3", "audited 2 packages"]


def test_an_accepted_one_passes_and_is_named() -> None:
    lines, passes = audit.verdict([FOUND], "", [ROW], TODAY)
    assert passes
    assert lines[0] == "accepted until 2026-11-27: b 2: PYSEC-1: never called"


@pytest.mark.parametrize("change", [{"until": date(2026, 11, 26)}, {"package": "a"}, {"id": "x"}])
def test_one_that_is_accepted_no_longer_or_elsewhere_fails(change: dict[str, Any]) -> None:
    lines, passes = audit.verdict([FOUND], "", [ROW | change], TODAY)
    assert not passes
    assert lines[0].startswith("VULNERABLE: b 2")


@pytest.mark.parametrize(
    ("packages", "why"), [([], "no answer"), ([SKIPPED, SKIPPED], ""), ([], "")]
)
def test_without_an_answer_it_says_so_and_passes(packages: list[Any], why: str) -> None:
    lines, passes = audit.verdict(packages, why, [], TODAY)
    assert passes
    assert len(lines) == 1
    assert lines[0].startswith("NOT AUDITED: no known vulnerabilities could be looked up (")


def test_packages_that_the_index_does_not_know_are_named() -> None:
    assert audit.verdict([CLEAN, SKIPPED], "", [], TODAY) == (
        ["audited 1 packages", "NOT AUDITED: c"],
        True,
    )


@pytest.mark.parametrize("fault", [FileNotFoundError("uv"), subprocess.TimeoutExpired("uv", 60)])
def test_a_tool_that_does_not_run_is_no_vulnerability(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == 0
    assert capsys.readouterr().out.startswith("NOT AUDITED: ")


def test_the_pinned_packages_are_all_audited() -> None:
    def pinned(lock: Path) -> set[str]:
        return {line.split()[0] for line in lock.read_text().splitlines()}

    assert pinned(ROOT / "requirements.txt") <= pinned(audit.LOCK)
    assert "make audit-deps" in (ROOT / ".ci" / "run").read_text()
