"""Measures how fast rows go through: source to a PostgreSQL table and Kafka.

    python -m bench.stream [--source mariadb] [--rows 60000] [--warm 30000] [--rounds 3]

The same rows on the same servers, one contestant at a time, in turns: the agent with each client
and a PostgreSQL front end, and Debezium's connector with its JDBC sink in one Kafka Connect worker
(with schemas, which the sink needs). The source is PostgreSQL, or a server of the MySQL family, of
which both read the binary log.

Each is started, fed until it is warm, and timed from the first commit of the rows until they stand
in the target and are visible in Kafka. CPU is that of the agent's processes, and of Connect's JVM.
Beside it stands what the rest of the machine used meanwhile: the databases and the broker, if
nothing else runs.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # not re-exported

from bench import debezium, plots
from bench.businesses import Business, Businesses, MySqlBusinesses, PostgresBusinesses
from bench.figures import Figure
from bench.processes import cpu_of, machine, most_memory, published
from bench.table import say
from tests.services.connect import ConnectWorker, Properties, jdbc_sink
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.source.logging_mysql import KINDS, server_with_log
from tests.waiting import eventually

TRANSACTION = 100  # rows
PARTITIONS = 4
LONGEST = 600.0  # seconds a run may take
CLIENTS = ("kafka-python", "librdkafka")


class Lap(NamedTuple):
    """One timed run."""

    events: float  # per second
    cpu: float  # µs per event
    others: float  # the same of all other processes of the machine
    memory: float  # most the processes have had, in MB


Laps = dict[str, list[Lap]]


def main() -> None:
    """Runs all of it and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", choices=("postgresql", *KINDS), default="postgresql")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument(
        "--warm", type=int, default=30_000, help="rows before the timed ones, after each start"
    )
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(postgres(18))
        broker = stack.enter_context(kafka())
        businesses: Businesses = PostgresBusinesses(server)
        if given.source != "postgresql":
            businesses = MySqlBusinesses(stack.enter_context(server_with_log(given.source)))
        laps = run(businesses, server, broker, given.rows, given.warm, given.rounds)
    for line in table(laps):
        say(line)


def run(
    businesses: Businesses,
    server: PostgresAddress,
    broker: KafkaAddress,
    rows: int,
    warm: int,
    rounds: int,
    quick: bool = False,
) -> Laps:
    """Runs every contestant in turns; `quick` leaves out Debezium's slower forms.

    `server` has the front ends and the tables that sinks fill.
    """
    laps: Laps = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        contestants: list[Agent | Debezium] = [
            Agent(stack, directory, businesses.fresh(stack), server, broker, client)
            for client in CLIENTS
        ]
        forms: dict[str, Properties] = {"Debezium, multi-row inserts": debezium.UNNEST}
        if not quick:
            forms |= {"Debezium": {}, "Debezium, 4 sink tasks": debezium.TASKS}
        for name, further in forms.items():
            business = businesses.fresh(stack)
            contestants.append(Debezium(stack, business, server, broker, name, further))

        say(f"load of the machine before: {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
        for number in range(rounds):
            for contestant in contestants:
                lap = timed(contestant, warm, rows)
                laps.setdefault(contestant.name, []).append(lap)
                say(
                    f"round {number + 1}, {contestant.name}: {lap.events:,.0f} events/s, "
                    f"{lap.cpu:.0f} µs CPU each, others {lap.others:.0f} µs, {lap.memory:,.0f} MB"
                )
        say(f"load of the machine after: {os.getloadavg()[0]:.1f}")
    return laps


def medians(laps: Laps) -> dict[str, Lap]:
    """Returns the middle of each column for each contestant."""
    middle = {}
    for name, runs in laps.items():
        columns = zip(*runs, strict=True)
        middle[name] = Lap(*(statistics.median(values) for values in columns))
    return middle


def best_opponent(middle: Mapping[str, Lap]) -> Lap:
    """Returns the fastest form of Debezium."""
    theirs = [lap for name, lap in middle.items() if name.startswith("Debezium")]
    return max(theirs, key=lambda lap: lap.events)


def table(laps: Laps) -> list[str]:
    """Returns medians with the spread, and the ratios to the fastest Debezium."""
    middle = medians(laps)
    best = best_opponent(middle)
    heading = (
        "| | events/s (least, most) | CPU µs per event | of databases and broker | MB "
        "| times Debezium + JDBC sink | of its CPU |"
    )
    lines = [heading, "|---|---|---|---|---|---|---|"]
    for name, lap in middle.items():
        speeds = [run.events for run in laps[name]]
        lines.append(
            f"| {name} | {lap.events:,.0f} ({min(speeds):,.0f}, {max(speeds):,.0f}) "
            f"| {lap.cpu:.0f} | {lap.others:.0f} | {lap.memory:,.0f} "
            f"| {lap.events / best.events:.1f} | 1/{best.cpu / lap.cpu:.1f} |"
        )
    return lines


def figures(laps: Laps) -> list[Figure]:
    """Returns the ratios to the fastest Debezium."""
    middle = medians(laps)
    best = best_opponent(middle)
    found = []
    for client in CLIENTS:
        lap = middle[client]
        found += [
            Figure(f"stream, {client}: times Debezium's events/s", lap.events / best.events, False),
            Figure(f"stream, {client}: of Debezium's CPU", lap.cpu / best.cpu, True),
        ]
    return found


def draw(laps: Laps, folder: Path) -> None:
    """Draws speed and CPU."""
    middle = medians(laps)
    speeds = {name: lap.events for name, lap in middle.items()}
    plots.bars(folder / "bench-stream.svg", "Source to front end and Kafka", "events/s", speeds)
    used = {name: lap.cpu for name, lap in middle.items()}
    plots.bars(folder / "bench-cpu.svg", "CPU of the processes", "µs per event", used)


class Agent:
    """The agent with a PostgreSQL front end and one of its clients."""

    def __init__(
        self,
        stack: ExitStack,
        directory: Path,
        business: Business,
        server: PostgresAddress,
        broker: KafkaAddress,
        client: str,
    ) -> None:
        self.name, self.business = client, business
        business.create()
        name = f"b{uuid.uuid4().hex[:8]}"
        self._place = business.installation(
            directory / name,
            business.place,
            broker.bootstrap,
            name,
            tables=(business.table,),
            front=stack.enter_context(fresh_database(server)),
            sections={"kafka": {"client": client, "partitions": PARTITIONS}},
        )
        self._place.write_config()
        self._place.init_here()
        self.rows = 0
        self._published = 0

    @contextmanager
    def running(self) -> Iterator[list[int]]:
        """Runs the service; yields its processes."""
        with self._place.start(covered=False) as agent:
            agent.wait_ready()
            self._published = self.rows
            yield [agent.pid, *agent.children().values()]
            agent.stop()

    def through(self) -> bool:
        """Tells whether all rows are published, which they are after the front end has them."""
        return published(self._place.listen) >= self.rows - self._published


class Debezium:
    """Debezium's connector for the source and its JDBC sink in one Connect worker."""

    def __init__(
        self,
        stack: ExitStack,
        business: Business,
        server: PostgresAddress,
        broker: KafkaAddress,
        name: str,
        further: Properties,
    ) -> None:
        self.name, self.business = name, business
        self._target = stack.enter_context(fresh_database(server))
        business.create()
        with psycopg.connect(self._target, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE bench {business.columns}".encode())
        self._broker, self.rows = broker, 0
        self._prefix = f"d{uuid.uuid4().hex[:8]}"
        topic = f"{self._prefix}.unit.bench"
        broker.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
        sink = {**debezium.SINK, **further}
        self._folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        self._connectors = [
            business.connector(self._prefix, topic, self._folder),
            jdbc_sink("sink", topic, self._target, **sink),
        ]

    @contextmanager
    def running(self) -> Iterator[list[int]]:
        """Runs the worker; yields its process."""
        offsets = {"offset.storage.file.filename": f"{self._folder}/offsets"}
        worker = {**debezium.WORKER, **offsets}
        bootstrap = self._broker.bootstrap
        with ConnectWorker(bootstrap, self._connectors, debezium.HEAP, worker) as connect:
            reading = functools.partial(self.business.streams, connect, self._prefix)
            eventually(reading, 120, "Debezium streams")
            yield [connect.pid]
            connect.stop()  # in good order: its offsets are kept

    def through(self) -> bool:
        """Tells whether the sink's table has all rows."""
        with psycopg.connect(self._target) as connection:
            return connection.execute("SELECT count(*) FROM bench").fetchone() == (self.rows,)


def timed(contestant: Agent | Debezium, warm: int, rows: int) -> Lap:
    """Starts it, feeds it until it is warm, then times it."""
    with contestant.running() as pids:
        feed(contestant, warm)
        before, all_before, began = cpu_of(pids), machine(), time.monotonic()

        feed(contestant, rows)

        seconds = time.monotonic() - began
        used, all_used = cpu_of(pids) - before, machine() - all_before
        return Lap(
            rows / seconds,
            used / rows * 1e6,
            (all_used - used) / rows * 1e6,
            sum(map(most_memory, pids)),
        )


def feed(contestant: Agent | Debezium, rows: int) -> None:
    """Writes rows and waits until they are through."""
    first, contestant.rows = contestant.rows, contestant.rows + rows
    contestant.business.fill(first, rows, TRANSACTION)
    eventually(contestant.through, LONGEST, f"{contestant.name} has all rows", 0.2)


if __name__ == "__main__":
    main()
