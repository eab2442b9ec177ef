"""`make audit`: asks the advisory service about every locked package.

Exits with 1 for a known vulnerability, and with --strict also for a package that the service told
nothing about. Without --strict an unreachable service fails nothing, for a build must not hang on
it; it is reported, and never called clean.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tools.lock import LOCK, pins

PATIENCE = 300  # seconds for all packages


def findings(report: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Returns a line for each vulnerability of pip-audit's report, and the unknown packages.

    Unknown are those that it could not ask about.
    """
    packages = report["dependencies"]
    vulnerable = []
    for package in packages:
        for entry in package.get("vulns", []):
            fixed = ", ".join(entry["fix_versions"]) or "no version yet"
            vulnerable.append(
                f"{package['name']} {package['version']}: {entry['id']}, fixed in {fixed}"
            )
    return vulnerable, [package["name"] for package in packages if "skip_reason" in package]


def judged(report: Mapping[str, Any] | None, expected: int, strict: bool) -> tuple[int, list[str]]:
    """Returns the exit code and what is said.

    None says that there is no report; `expected` is the number of locked packages.
    """
    if report is None:
        return int(strict), [
            (
                "audit: NOT DONE, the advisory service cannot be reached: "
                f"none of {expected} packages was audited"
            )
        ]
    vulnerable, unknown = findings(report)
    asked = len(report["dependencies"]) - len(unknown)
    lines = [f"audit: VULNERABLE {line}" for line in vulnerable]
    if not asked:
        lines.append(
            f"audit: NOT DONE, the advisory service knows none of {expected} packages: "
            "it is not the real one, or cannot be reached"
        )
    elif unknown:
        lines.append(
            f"audit: NOT COMPLETE, nothing is told about {len(unknown)} of {expected} packages: "
            f"{', '.join(unknown)}"
        )
    elif not vulnerable:
        lines.append(f"audit: no known vulnerability in {asked} packages")
    return int(bool(vulnerable) or (strict and (not asked or bool(unknown)))), lines


def ask(timeout: float = PATIENCE) -> Mapping[str, Any] | None:
    """Returns pip-audit's report on the lock file, or None when the service does not answer."""
    options = [
        "-r",
        str(LOCK),
        "--require-hashes",
        "--disable-pip",
        "--progress-spinner",
        "off",
        "-f",
        "json",
    ]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *options],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return report if isinstance(report, dict) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument(
        "--strict", action="store_true", help="fail also when the service cannot be asked"
    )
    options = parser.parse_args(arguments)
    code, lines = judged(ask(), len(pins()), options.strict)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
