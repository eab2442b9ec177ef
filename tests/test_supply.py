"""Tests audit and bill of materials: a known vulnerability fails, and nothing locked is left out.

Silence of the service is reported and never taken for clean.
"""

import json
import re
from typing import Any

import pytest
from cyclonedx.output.json import JsonV1Dot6

from tools.audit import judged
from tools.bill import bill
from tools.lock import LOCK, pins, shipped

CLEAN = {"name": "click", "version": "8.5", "vulns": []}
VULNERABLE = {
    "name": "click",
    "version": "8.5",
    "vulns": [{"id": "CVE-2026-1", "fix_versions": ["8.6"]}],
}
SKIPPED = {"name": "rich", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "codes", "said"),
    [
        ([CLEAN], (0, 0), "no known vulnerability in 1 packages"),
        ([VULNERABLE], (1, 1), "VULNERABLE click 8.5: CVE-2026-1, fixed in 8.6"),
        ([VULNERABLE, SKIPPED], (1, 1), "VULNERABLE click"),
        ([CLEAN, SKIPPED], (0, 1), "NOT COMPLETE, nothing is told about 1 of 2 packages: rich"),
        ([SKIPPED], (0, 1), "NOT DONE"),
        (None, (0, 1), "NOT DONE"),
    ],
)
def test_what_an_audit_means(
    packages: list[dict[str, Any]] | None, codes: tuple[int, int], said: str
) -> None:
    report = None if packages is None else {"dependencies": packages}
    answers = [judged(report, len(packages or []), strict) for strict in (False, True)]
    assert tuple(code for code, _ in answers) == codes
    assert all(said in "\n".join(lines) for _, lines in answers)


def test_the_bill_lists_all_that_is_locked_and_what_wheels_bundle() -> None:
    made = json.loads(JsonV1Dot6(bill()).output_as_string())
    packages = {package["name"]: package for package in made["components"]}
    assert (
        set(packages)
        == set(re.findall(r"^([a-z][a-z0-9.-]*)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
        == {pin.name for pin in pins()}
    )
    assert {name for name, package in packages.items() if package["scope"] == "required"} >= {
        "click",
        "psycopg",
        "psycopg-binary",
        "pymysql",
    }
    assert packages["ruff"]["scope"] == "excluded"
    inside = {
        (name, library["name"])
        for name, package in packages.items()
        for library in package.get("components", [])
    }
    assert {
        ("psycopg-binary", "libpq"),
        ("confluent-kafka", "librdkafka"),
        ("zstandard", "zstd"),
    } <= inside
    assert any(
        library.startswith("libssl") for name, library in inside if name == "psycopg-binary"
    ), inside


def test_what_is_shipped_is_locked() -> None:
    assert shipped() <= {pin.name for pin in pins()}
