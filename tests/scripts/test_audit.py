"""The audit: what a run of pip-audit means, and that only a database out of reach passes for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.audit import judged

UNREACHED = """Traceback (most recent call last):
  File "requests/adapters.py", line 729, in send
    raise ConnectionError(e, request=request)
requests.exceptions.ConnectionError: HTTPSConnectionPool(host='localhost', port=443): Max retries exceeded
"""


def said(*packages: dict[str, Any]) -> str:
    """As pip-audit writes it with --format json."""
    return json.dumps({"dependencies": packages, "fixes": []})


def test_packages_of_which_nothing_is_known_pass_and_are_counted() -> None:
    verdict = judged(
        0, said({"name": "a", "version": "1", "vulns": []}, {"name": "b", "version": "2", "vulns": []}), ""
    )
    assert verdict.code == 0
    assert verdict.lines == ["No vulnerability is known of the 2 packages looked at."]


def test_a_known_vulnerability_fails_and_says_what_mends_it() -> None:
    found = {"id": "OSV-1", "aliases": ["CVE-2026-1"], "fix_versions": ["1.1"], "description": "long"}
    verdict = judged(1, said({"name": "a", "version": "1", "vulns": [found]}), "Found 1 known vulnerability")
    assert verdict.code == 1
    assert verdict.lines[0] == "a 1: OSV-1, CVE-2026-1; mended in 1.1"


def test_what_was_not_looked_at_is_named() -> None:
    verdict = judged(0, said({"name": "a", "skip_reason": "no such version"}), "")
    assert verdict.lines == [
        "a: not looked at, no such version",
        "No vulnerability is known of the 0 packages looked at.",
    ]


def test_a_database_out_of_reach_passes_and_says_that_nothing_was_audited() -> None:
    verdict = judged(1, "", UNREACHED)
    assert verdict.code == 0
    assert "Nothing was audited" in verdict.lines[0]


@pytest.mark.parametrize("error", ["KeyError: 'vulns'", "", "ERROR: requirements.lock: no such file"])
def test_whatever_else_goes_wrong_does_not_pass(error: str) -> None:
    assert judged(1, "", error).code == 2
