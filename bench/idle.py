"""Measures what an agent uses while nothing happens.

python -m bench.idle [--tables 10] [--seconds 60]
"""

import argparse
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figure
from bench.processes import cpu_of, memory
from bench.table import COLUMNS, NAMES, say
from tests.agent_process import Installation
from tests.checker.inputs import one_of
from tests.checker.unit import UnitTable
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.waiting import eventually

SETTLED = 15.0  # seconds after all tables are live


class Found(NamedTuple):
    """What the three processes use."""

    share: float  # percent of one core
    memory: float  # MB
    tables: int


def main() -> None:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with postgres(18) as server, kafka() as broker:
        found = run(server, broker, given.tables, given.seconds)
    for line in table(found):
        say(line)


def run(
    server: PostgresAddress, broker: KafkaAddress, count: int = 10, seconds: float = 60.0
) -> Found:
    """Starts an agent with empty tables and a front end in SQLite, and watches its processes."""
    tables = []
    for number in range(count):
        values = {name: one_of("") for name in NAMES}
        name = f"bench{number}"
        tables.append(UnitTable(name, name, COLUMNS, {"id": one_of("1")}, values))

    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        fresh_database(server) as source,
    ):
        name = f"b{uuid.uuid4().hex[:8]}"
        place = Installation(
            Path(directory), source, broker.bootstrap, name, tables=tuple(tables)
        ).install()
        with place.start(covered=False) as agent:
            agent.wait_ready()
            eventually(place.caught_up, 120, "every table is live", 0.5)
            time.sleep(SETTLED)
            pids = [agent.pid, *agent.children().values()]
            before = cpu_of(pids)
            time.sleep(seconds)
            share = (cpu_of(pids) - before) / seconds * 100
            used = sum(map(memory, pids))
            agent.stop()
    say(f"idle: {share:.2f} % of a core, {used:.0f} MB")
    return Found(share, used, count)


def table(found: Found) -> list[str]:
    """Returns what was measured."""
    return [
        f"| three processes, {found.tables} tables, nothing to do | |",
        "|---|---|",
        f"| of a core | {found.share:.2f} % |",
        f"| memory | {found.memory:.0f} MB |",
    ]


def figures(found: Found) -> list[Figure]:
    """Returns the figures: no ratios, but they hang little on the machine."""
    return [
        Figure("idle: percent of a core", found.share, True),
        Figure("idle: MB", found.memory, True),
    ]


if __name__ == "__main__":
    main()
