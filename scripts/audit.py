"""Looks for known vulnerabilities of the locked packages: pip-audit with the OSV database, and what its answer means.

Ends with 0 where none is known, with 1 where one is, and with 0 and a line that says so where the database cannot be
reached: only that may pass unseen. Run by `make audit`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"
SECONDS = 150
"""For the whole of it; a database that takes longer counts as out of reach."""
_REQUEST_SECONDS = 10
_UNREACHED = ("requests.exceptions.ConnectionError", "requests.exceptions.ConnectTimeout", "requests.exceptions.Read")
"""How a traceback of pip-audit ends whose service did not answer."""


@dataclass(frozen=True)
class Verdict:
    """What to print, and how to end."""

    code: int
    lines: list[str]


def judged(code: int, out: str, err: str) -> Verdict:
    """What a run of pip-audit found, by its exit code and what it wrote."""
    try:
        packages = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = err.strip().splitlines()[-1:] or ["it said nothing"]
        if last[0].startswith(_UNREACHED):
            return unreached()
        return Verdict(2, [err.strip(), f"The audit itself failed (exit code {code})."])
    skipped = [f"{p['name']}: not looked at, {p['skip_reason']}" for p in packages if "skip_reason" in p]
    known = [
        f"{package['name']} {package['version']}: {', '.join([found['id'], *found.get('aliases', [])])}; "
        f"mended in {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in packages
        for found in package.get("vulns", [])
    ]
    if known:
        return Verdict(1, [*skipped, *known, f"Move these in {LOCK} (CONTRIBUTING.md, Dependencies)."])
    return Verdict(
        0, [*skipped, f"No vulnerability is known of the {len(packages) - len(skipped)} packages looked at."]
    )


def unreached() -> Verdict:
    return Verdict(0, ["Nothing was audited: the database of vulnerabilities cannot be reached from here."])


def main() -> int:
    """Run it, print, and return the exit code."""
    what = ["--requirement", LOCK, "--no-deps", "--disable-pip", "--vulnerability-service", "osv"]
    how = ["--format", "json", "--progress-spinner", "off", "--timeout", str(_REQUEST_SECONDS)]
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "pip_audit", *what, *how], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
        )
        verdict = judged(ran.returncode, ran.stdout, ran.stderr)
    except subprocess.TimeoutExpired:
        verdict = unreached()
    print("\n".join(verdict.lines))
    return verdict.code


if __name__ == "__main__":
    sys.exit(main())
