"""Measures what an agent uses while nothing happens.

python -m bench.idle [--tables 10] [--seconds 60] [--client librdkafka]
"""

import argparse
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figure
from bench.processes import cpu, memory, wakes
from bench.table import COLUMNS, NAMES, say
from tests.agent_process import Installation, Lines
from tests.checker.inputs import one_of
from tests.checker.unit import UnitTable
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.waiting import eventually, on_a_busy_machine

CLIENTS = ("kafka-python", "librdkafka")
SETTLED = 15.0  # seconds after all tables are live


# As it is by default: the tests have it shorter
SOURCE = {"heartbeat_seconds": 10.0}


class Used(NamedTuple):
    """What a process uses."""

    share: float  # percent of one core
    wakes: float  # how often its threads wake up in a second
    memory: float  # MB


class Found(NamedTuple):
    """What the three processes use, by their names."""

    client: str
    tables: int
    live: float  # seconds from the start until all tables are live
    processes: Mapping[str, Used]

    @property
    def total(self) -> Used:
        """The sum."""
        return Used(*map(sum, zip(*self.processes.values(), strict=True)))


def main() -> None:
    """Runs it and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--client", choices=CLIENTS, action="append")
    given = parser.parse_args()
    on_a_busy_machine()
    found = []
    with postgres(18) as server, kafka() as broker:
        for client in given.client or CLIENTS:
            found.append(run(server, broker, given.tables, given.seconds, client))
    for line in table(found):
        say(line)


def run(
    server: PostgresAddress,
    broker: KafkaAddress,
    count: int = 10,
    seconds: float = 60.0,
    client: str = CLIENTS[0],
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
        sections: dict[str, Lines] = {"source": SOURCE, "kafka": {"client": client}}
        place = Installation(
            Path(directory),
            source,
            broker.bootstrap,
            name,
            tables=tuple(tables),
            sections=sections,
        ).install()
        began = time.monotonic()
        with place.start() as agent:
            agent.wait_ready()
            eventually(place.caught_up, 120, "every table is live", 0.2)
            live = time.monotonic() - began
            time.sleep(SETTLED)
            processes = watched({"supervisor": agent.pid, **agent.children()}, seconds)
            agent.stop()
    found = Found(client, count, live, processes)
    share, woken, used = found.total
    say(f"idle, {client}: {share:.2f} % of a core, {woken:.1f} wake-ups a second, {used:.0f} MB")
    return found


def watched(pids: Mapping[str, int], seconds: float) -> dict[str, Used]:
    """Watches processes for a while."""
    cpu_before = {name: cpu(pid) for name, pid in pids.items()}
    wakes_before = {name: wakes(pid) for name, pid in pids.items()}
    began = time.monotonic()
    time.sleep(seconds)
    lasted = time.monotonic() - began

    used = {}
    for name, pid in pids.items():
        share = (cpu(pid) - cpu_before[name]) / lasted * 100
        woken = (wakes(pid) - wakes_before[name]) / lasted
        used[name] = Used(share, woken, memory(pid))
    return used


def table(found: Sequence[Found]) -> list[str]:
    """Returns what was measured."""
    tables = found[0].tables
    lines = [
        f"| {tables} tables, nothing to do | of a core | wake-ups a second | memory (PSS) |",
        "|---|---|---|---|",
    ]
    for one in found:
        for name, used in [("all", one.total), *one.processes.items()]:
            share, woken, megabytes = used
            lines.append(
                f"| {one.client}, {name} | {share:.2f} % | {woken:.1f} | {megabytes:.0f} MB |"
            )
    return lines


def figures(found: Sequence[Found]) -> list[Figure]:
    """Returns the figures: no ratios, but they hang little on the machine."""
    first = found[0].total
    return [
        Figure("idle: percent of a core", first.share, True),
        Figure("idle: wake-ups a second", first.wakes, True),
        Figure("idle: MB", first.memory, True),
    ]


if __name__ == "__main__":
    main()
