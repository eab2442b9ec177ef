"""Keeps which schedule caught which planted bug, as data and as a table in docs/RELIABILITY.md."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.faults.bugs import BUGS
from tests.faults.planting import ROOT, Bug

FILE = ROOT / "tests" / "faults" / "catches.json"
PAGE = ROOT / "docs" / "RELIABILITY.md"
TIERS = {
    "real": "real servers",
    "model": "the model",
    "simulation": "the simulation",
    "states": "state sources",
    "log": "MariaDB's log",
}
_TABLE = re.compile(r"^\| planted bug .*\n(?:\|.*\n)*", re.MULTILINE)


class Catch(NamedTuple):
    """How a planted bug was caught."""

    seed: int
    oracle: str  # what spoke against it
    schedules: int  # tried in the search until then, from seed 1


def load() -> dict[str, Catch]:
    """Returns what the last search has found, by bug."""
    if not FILE.exists():
        return {}
    return {
        name: Catch(**found) for name, found in json.loads(FILE.read_text(encoding="utf-8")).items()
    }


def save(found: Mapping[str, Catch]) -> None:
    """Keeps the result of a search in both places."""
    catches = {bug.name: found[bug.name] for bug in BUGS if bug.name in found}
    FILE.write_text(
        json.dumps({name: catch._asdict() for name, catch in catches.items()}, indent=2) + "\n",
        encoding="utf-8",
    )
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda _: table(catches) + "\n", page), encoding="utf-8")


def table(catches: Mapping[str, Catch], bugs: Sequence[Bug] = BUGS) -> str:
    """Bug by bug: what is broken, who found it, after how many schedules."""
    lines = [
        "| planted bug | what is broken | looked for on | found by | schedules needed | seed |",
        "|---|---|---|---|---|---|",
    ]
    for bug in bugs:
        catch = catches.get(bug.name)
        found = f"{catch.oracle} | {catch.schedules} | {catch.seed}" if catch else "NOT FOUND | | "
        lines.append(f"| `{bug.name}` | {bug.what} | {TIERS[bug.tier]} | {found} |")
    return "\n".join(lines)
