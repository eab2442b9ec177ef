"""Keeps what long runs have shown so far: one line for each lot of schedules.

The lines are kept with the code and summed up in docs/RELIABILITY.md.
"""

import json
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal, NamedTuple, Self

from tests.faults.catches import PAGE
from tests.faults.outcome import Outcome
from tests.faults.planting import ROOT
from tests.faults.schedule import Source
from tests.faults.worlds.life import Told

FILE = ROOT / "tests" / "faults" / "ledger.jsonl"
Kind = Literal["kill", "mixed", "worlds", "log kill", "log mixed"]
KINDS: dict[Kind, str] = {
    "kill": "failpoints",
    "mixed": "servers, lines, processes and failpoints",
    "worlds": "schemas, settings, names, roles",
    "log kill": "failpoints, over MariaDB's log",
    "log mixed": "servers, lines, processes and failpoints, over MariaDB's log",
}
SOURCES: dict[Kind, Source] = {
    "kill": "postgresql",
    "mixed": "postgresql",
    "log kill": "mariadb",
    "log mixed": "mariadb",
}
_OWN = [f":!{file.relative_to(ROOT)}" for file in (FILE, PAGE)]  # for git: not these
_TABLE = re.compile(r"^\| commit .*\n(?:\|.*\n)*", re.MULTILINE)


class Lot(NamedTuple):
    """Schedules of one kind with seeds in a row, run on one commit."""

    commit: str
    date: str  # YYYY-MM-DD, in UTC
    kind: Kind
    first: int  # seed
    schedules: int
    green: int
    faults: int  # that came: of the failpoints, and around the agent
    events: int  # judged
    seconds: int  # of all schedules, added up

    @classmethod
    def of(cls, kind: Kind, first: int, outcomes: Sequence[Outcome]) -> Self:
        """Returns a lot that has just been run."""
        return cls(
            commit=_commit(),
            date=datetime.now(UTC).date().isoformat(),
            kind=kind,
            first=first,
            schedules=len(outcomes),
            green=sum(outcome.green for outcome in outcomes),
            faults=sum(
                len(outcome.schedule.faults)
                - len(outcome.unfired)
                + len(outcome.schedule.disturbances)
                for outcome in outcomes
            ),
            events=sum(outcome.events for outcome in outcomes),
            seconds=round(sum(outcome.seconds for outcome in outcomes)),
        )

    @classmethod
    def of_worlds(cls, first: int, told: Sequence[Told]) -> Self:
        """Returns a lot of worlds; their faults are the processes that were killed."""
        return cls(
            commit=_commit(),
            date=datetime.now(UTC).date().isoformat(),
            kind="worlds",
            first=first,
            schedules=len(told),
            green=sum(one.green for one in told),
            faults=sum(one.world.killed != "none" for one in told),
            events=sum(one.events for one in told),
            seconds=round(sum(one.seconds for one in told)),
        )


def load() -> list[Lot]:
    """Returns every lot, in order."""
    return (
        [Lot(**json.loads(line)) for line in FILE.read_text(encoding="utf-8").splitlines()]
        if FILE.exists()
        else []
    )


def append(lot: Lot) -> None:
    """Keeps a lot, in both places."""
    with FILE.open("a", encoding="utf-8") as file:
        file.write(json.dumps(lot._asdict()) + "\n")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda _: table(load()) + "\n", page), encoding="utf-8")


def next_seed(kind: Kind) -> int:
    """Returns the first seed of a kind that has not been run.

    A long run goes on there.
    """
    return max((lot.first + lot.schedules for lot in load() if lot.kind == kind), default=1)


def table(lots: Sequence[Lot]) -> str:
    """Returns the lots summed up by commit and kind."""
    titles = (
        "commit",
        "date",
        "what failed",
        "schedules",
        "seeds",
        "green",
        "faults",
        "events judged",
        "hours",
    )
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for (commit, kind), group in groupby(
        sorted(lots, key=lambda lot: (lot.date, lot.commit, lot.kind)),
        key=lambda lot: (lot.commit, lot.kind),
    ):
        same = list(group)
        count, green, faults, events = (
            sum(column)
            for column in zip(
                *((lot.schedules, lot.green, lot.faults, lot.events) for lot in same), strict=True
            )
        )
        first = min(lot.first for lot in same)
        last = max(lot.first + lot.schedules for lot in same) - 1
        seeds = f"{first} to {last}"
        hours = sum(lot.seconds for lot in same) / 3600
        lines.append(
            f"| {commit} | {same[-1].date} | {KINDS[kind]} | {count} | {seeds} | {green} "
            f"| {faults:,} | {events:,} | {hours:.1f} |"
        )
    return "\n".join(lines)


def _commit() -> str:
    """Returns the commit that is checked out.

    A plus sign says that other files than the ledger's own differ from it.
    """
    changed = _git("diff", "--stat", "HEAD", "--", ".", *_OWN)
    return f"{_git('describe', '--always', '--abbrev=10') or 'unknown'}{'+' if changed else ''}"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
