"""Audits the pinned dependencies with pip-audit: ``make audit-deps``.

It fails for known vulnerabilities that ``.ci/accepted.toml`` does not name, and for names there
whose date has passed. If the index says nothing about vulnerabilities, or cannot be asked, it says
that nothing was audited, and passes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TOOL = "pip-audit==2.10.1"
SECONDS = 60  # for the whole audit, on a slow index
LOCK = ROOT / "requirements-dev.txt"  # holds all of requirements.txt, at the same versions


def audited() -> tuple[list[dict[str, Any]], str]:
    """What pip-audit says about each pinned package, or why it says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = ["uv", "tool", "run", "--quiet", "--from", TOOL, "pip-audit", "--no-deps"]
        command += ["--disable-pip", "--progress-spinner", "off", "--timeout", "5"]
        command += ["--format", "json", "--output", str(report), "--requirement", str(LOCK)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return [], f"{type(error).__name__}: uv did not run pip-audit within {SECONDS} s"
        if not report.exists():
            return [], (done.stderr.strip().splitlines() or ["pip-audit wrote no report"])[-1]
        return json.loads(report.read_text(encoding="utf-8"))["dependencies"], ""


def verdict(
    packages: list[dict[str, Any]], why: str, accepted: list[dict[str, Any]], today: date
) -> tuple[list[str], bool]:
    """Lines about an audit, and whether it passes.

    Args:
        packages: as pip-audit lists them: ``name``, and ``version`` and ``vulns`` or
            ``skip_reason``.
        why: nothing was audited, if so.
        accepted: tables with ``id``, ``package``, ``reason`` and the last day, ``until``.
        today: the date.
    """
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    if len(skipped) == len(packages):
        reason = why or (packages[0]["skip_reason"] if packages else "no package is pinned")
        return [f"NOT AUDITED: no known vulnerabilities could be looked up ({reason})"], True
    lines, passes = [], True
    known = {each["id"]: each for each in accepted}
    for package in packages:
        for found in package.get("vulns", ()):
            names = [found["id"], *found.get("aliases", ())]
            row = next((known[name] for name in names if name in known), None)
            what = f"{package['name']} {package['version']}: {found['id']}"
            if row and row["package"] == package["name"] and row["until"] >= today:
                lines.append(f"accepted until {row['until']}: {what}: {row['reason']}")
                continue
            passes = False
            fixed = ", ".join(found.get("fix_versions", ())) or "no version yet"
            expired = f"; accepted until {row['until']}" if row else ""
            lines.append(f"VULNERABLE: {what}, fixed in {fixed}{expired}")
    lines.append(f"audited {len(packages) - len(skipped)} packages")
    if skipped:
        lines.append(f"NOT AUDITED: {', '.join(skipped)}")
    return lines, passes


def main() -> int:
    """Audit the lock file; 0 if it passes."""
    accepted = tomllib.loads((ROOT / ".ci" / "accepted.toml").read_text()).get("accepted", [])
    lines, passes = verdict(*audited(), accepted, date.today())
    print("\n".join(lines))
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(main())
