"""Measures how the agent grows: with rows, columns, tables, and agents on one broker.

    python -m bench.growth rows|columns|tables|agents [--sizes 10000 100000 ...] [--draw]

- rows: seconds and rows/s of the first copy and of verify, and the memory of capture.
- columns: events/s and CPU per event of the stream, rows of so many columns.
- tables: seconds from the start until every (empty) table is live, and what an idle agent uses.
- agents: latency of one agent while the others have the same load, and the memory of them all.

`--draw` puts the plot into docs/images.
"""

import argparse
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from bench import idle, latency, plots, reconcile
from bench.processes import cpu_of, most_memory, published
from bench.table import TABLE, say
from tests.agent_process import Agent, Installation
from tests.checker.inputs import one_of
from tests.checker.unit import UnitTable
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.waiting import eventually

LONGEST = 3600.0  # seconds that anything may take
RESTING = 30.0  # seconds over which an idle agent is watched
STREAMED = 20_000  # rows of a stream
WARM = 5_000
TRANSACTION = 100  # rows
RATE = 20  # transactions per second and agent
IMAGES = Path("docs/images")

# What is measured at one size, by name; the names are the lines of the plot
Measured = Mapping[str, float]
Curve = Callable[[PostgresAddress, KafkaAddress, int], Measured]


def main() -> None:
    """Measures one curve and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curve", choices=CURVES)
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    measure, sizes = CURVES[given.curve]

    points: dict[int, Measured] = {}
    with postgres(18) as server, kafka() as broker:
        for size in given.sizes or sizes:
            points[size] = measure(server, broker, size)
            said = ", ".join(f"{name} {value:,.1f}" for name, value in points[size].items())
            say(f"{size:,} {given.curve}: {said}")

    for line in table(given.curve, points):
        say(line)
    if given.draw:
        draw(given.curve, points)


def table(curve: str, points: Mapping[int, Measured]) -> list[str]:
    """Returns the curve as a table."""
    names = list(next(iter(points.values())))
    lines = [f"| {curve} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for size, measured in points.items():
        values = " | ".join(f"{value:,.1f}" for value in measured.values())
        lines.append(f"| {size:,} | {values} |")
    return lines


def draw(curve: str, points: Mapping[int, Measured]) -> None:
    """Draws the curve."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for size, measured in points.items():
        for name, value in measured.items():
            lines.setdefault(name, []).append((size, value))
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"bench-growth-{curve}.svg"
    plots.curves(path, f"Growth with {curve}", (curve, ""), lines)


def rows(server: PostgresAddress, broker: KafkaAddress, size: int) -> Measured:
    """Copies and verifies one table."""
    found = reconcile.run(server, broker, size, with_debezium=False)
    return {
        "copy, rows/s": size / found.live,
        "verify, rows/s": size / found.verify,
        "capture, MB": found.memory,
    }


def columns(server: PostgresAddress, broker: KafkaAddress, size: int) -> Measured:
    """Streams inserted rows of so many columns, 20 characters each."""
    names = [f"c{number}" for number in range(size - 1)]
    listed = ", ".join(f'"{name}" text' for name in names)
    form = UnitTable(
        "wide",
        "wide",
        f' ("id" bigint PRIMARY KEY, {listed})',
        {"id": one_of("1")},
        {name: one_of("") for name in names},
    )
    values = ", ".join("lpad(n::text, 20, 'x')" for _ in names)
    with installed(server, broker, [form]) as place, running(place) as agent:
        pids = [agent.pid, *agent.children().values()]
        insert(place, values, 0, WARM, WARM)
        before, began = cpu_of(pids), time.monotonic()
        insert(place, values, WARM, STREAMED, WARM + STREAMED)
        seconds, used = time.monotonic() - began, cpu_of(pids) - before
    return {"events/s": STREAMED / seconds, "CPU µs per event": used / STREAMED * 1e6}


def insert(place: Installation, values: str, first: int, count: int, wanted: int) -> None:
    """Inserts rows in transactions of 100 and waits until so many in all are published."""
    statement = f"""DO $$ BEGIN FOR t IN 0 .. {count} / {TRANSACTION} - 1 LOOP
        INSERT INTO "业务".wide SELECT n, {values} FROM generate_series(
            {first} + t * {TRANSACTION}, {first} + (t + 1) * {TRANSACTION} - 1) n;
        COMMIT; END LOOP; END $$"""
    with psycopg.connect(place.source, autocommit=True) as connection:
        connection.execute(statement.encode())

    def through() -> bool:
        return published(place.listen) >= wanted

    eventually(through, LONGEST, "all events are published", 0.2)


def tables(server: PostgresAddress, broker: KafkaAddress, size: int) -> Measured:
    """Starts an agent with so many empty tables, and watches it at rest."""
    found = idle.run(server, broker, size, RESTING)
    used = found.total
    return {
        "seconds until live": found.live,
        "wake-ups a second at rest": used.wakes,
        "% of a core at rest": used.share,
        "MB": used.memory,
    }


def agents(server: PostgresAddress, broker: KafkaAddress, size: int) -> Measured:
    """Gives so many agents on one broker the same load, and measures all of them."""
    with ExitStack() as stack:
        places = [stack.enter_context(installed(server, broker, [TABLE])) for _ in range(size)]
        services = [stack.enter_context(running(place)) for place in places]
        first, *others = places
        topic = f"{first.name}.{TABLE.resource}"
        sources = [place.source for place in others]
        spread, _ = latency.under_load(
            first.source, topic, broker.bootstrap, RATE, 10.0, others=sources
        )
        held = 0.0
        for agent in services:
            held += sum(map(most_memory, [agent.pid, *agent.children().values()]))
    return {"p50, ms": spread.p50, "p99, ms": spread.p99, "MB of all agents": held}


@contextmanager
def installed(
    server: PostgresAddress, broker: KafkaAddress, forms: Sequence[UnitTable]
) -> Iterator[Installation]:
    """Installs an agent with its front end in SQLite."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, fresh_database(server) as source:
        name = f"b{uuid.uuid4().hex[:8]}"
        yield Installation(
            Path(folder), source, broker.bootstrap, name, tables=tuple(forms)
        ).install()


@contextmanager
def running(place: Installation) -> Iterator[Agent]:
    """Runs an agent from when every table is live."""
    with place.start(covered=False) as agent:
        agent.wait_ready()
        eventually(place.caught_up, LONGEST, "every table is live", 0.2)
        yield agent
        agent.stop()


CURVES: dict[str, tuple[Curve, tuple[int, ...]]] = {
    "rows": (rows, (10_000, 100_000, 1_000_000, 10_000_000)),
    "columns": (columns, (5, 10, 20, 50, 100, 200)),
    "tables": (tables, (1, 10, 50, 150, 500)),
    "agents": (agents, (1, 2, 5, 10, 20)),
}


if __name__ == "__main__":
    main()
