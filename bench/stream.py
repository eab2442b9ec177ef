"""Measures how fast rows go from a source to a PostgreSQL table and Kafka, against Debezium.

    python -m bench.stream [--rows 60000] [--warm 30000] [--rounds 3]

Agent and Debezium get the same rows on the same servers, in the same run.

The contestants are the agent with each client (PostgreSQL front end), and Debezium's PostgreSQL
connector with its JDBC sink on Kafka Connect (with schemas, which the sink needs). They run one at
a time, in turns. Each is started, fed until it is warm, and timed from the first commit of the rows
until they stand in the target and are visible in Kafka.

CPU is that of the agent's processes, and of Connect's JVM. Beside it stands what the rest of the
machine used meanwhile: the databases and the broker, if nothing else runs. Both together are what a
core can give: 1,000,000 µs a second.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # the package does not re-export it for mypy

from tests.agent_process import Installation
from tests.checker.inputs import one_of
from tests.checker.unit import SCHEMA, UnitTable, create_tables
from tests.services.connect import ConnectWorker, Properties, debezium_source, jdbc_sink
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.services.processes import HOST
from tests.waiting import eventually

COLUMNS = """ ("id" bigint PRIMARY KEY, "name" text, "number" varchar(18), "district" varchar(6),
    "address" text, "balance" numeric(16,2), "valid" boolean, "born" timestamptz,
    "changed" timestamptz, "version" integer)"""
NAMES = ("name", "number", "district", "address", "balance", "valid", "born", "changed", "version")
TABLE = UnitTable(
    "bench", "bench", COLUMNS, {"id": one_of("1")}, {name: one_of("") for name in NAMES}
)
WRITE = """DO $$ BEGIN FOR t IN 0 .. {count} / {size} - 1 LOOP
    INSERT INTO "业务".bench SELECT
        n, '张三' || n, lpad(n::text, 18, '3101'), '310105',
        '长宁区' || repeat(md5(n::text), 5), n / 7.0, n % 2 = 0,
        timestamptz '1970-01-01' + n * interval '1 hour',
        timestamptz '2026-01-01' + n * interval '1 second', n % 100
        FROM generate_series({first} + t * {size}, {first} + t * {size} + {size} - 1) n;
    COMMIT; END LOOP; END $$"""
TRANSACTION = 100  # rows
PARTITIONS = 3
LONGEST = 600.0  # seconds a run may take
HEAP = "2g"
TICK = os.sysconf("SC_CLK_TCK")
# What Debezium's documentation names for throughput: larger batches and queues, and on PostgreSQL
# multi-row inserts.
BATCH = "8192"
SOURCE: Properties = {"max.batch.size": BATCH, "max.queue.size": "32768", "poll.interval.ms": "50"}
SINK: Properties = {
    "batch.size": "5000",
    "consumer.override.max.poll.records": BATCH,
    "consumer.override.fetch.min.bytes": "65536",
}
WORKER: Properties = {
    "connector.client.config.override.policy": "All",
    "producer.batch.size": "262144",
    "producer.linger.ms": "20",
}
UNNEST: Properties = {"dialect.postgres.unnest.insert.enabled": "true"}


class Lap(NamedTuple):
    """One timed run."""

    events: float  # per second
    cpu: float  # µs per event
    others: float  # the same of all other processes of the machine
    memory: float  # most the processes have had, in MB


def main() -> None:
    """Runs all of it and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument(
        "--warm", type=int, default=30_000, help="rows before the timed ones, after each start"
    )
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    laps: dict[str, list[Lap]] = {}
    with ExitStack() as stack:
        server, broker = stack.enter_context(postgres(18)), stack.enter_context(kafka())
        say(f"load of the machine before: {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
        contestants: list[Agent | Debezium] = [
            Agent(stack, directory, server, broker, "kafka-python"),
            Agent(stack, directory, server, broker, "librdkafka"),
            Debezium(stack, server, broker, "Debezium", {}),
            Debezium(stack, server, broker, "Debezium, multi-row inserts", UNNEST),
        ]
        for number in range(arguments.rounds):
            for contestant in contestants:
                lap = timed(contestant, arguments.warm, arguments.rows)
                laps.setdefault(contestant.name, []).append(lap)
                cpu_used = f"{lap.cpu:.0f} µs CPU each, others {lap.others:.0f} µs"
                say(
                    f"round {number + 1}, {contestant.name}: {lap.events:,.0f} events/s, "
                    f"{cpu_used}, {lap.memory:,.0f} MB"
                )
        say(f"load of the machine after: {os.getloadavg()[0]:.1f}")
    shutil.rmtree(directory)
    report(laps)


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def report(laps: dict[str, list[Lap]]) -> None:
    """Medians with the spread, and the ratios to the faster Debezium."""
    middle = {
        name: Lap(*(statistics.median(values) for values in zip(*runs, strict=True)))
        for name, runs in laps.items()
    }
    best = max(
        (lap for name, lap in middle.items() if name.startswith("Debezium")),
        key=lambda lap: lap.events,
    )
    say(
        "\n| | events/s (least, most) | CPU µs per event | of databases and broker | MB "
        "| times Debezium + JDBC sink |\n|---|---|---|---|---|---|"
    )
    for name, lap in middle.items():
        speeds = [run.events for run in laps[name]]
        columns = (
            f"{lap.events:,.0f} ({min(speeds):,.0f}, {max(speeds):,.0f}) | {lap.cpu:.0f} "
            f"| {lap.others:.0f} | {lap.memory:,.0f}"
        )
        say(f"| {name} | {columns} | {lap.events / best.events:.1f} |")


class Agent:
    """The agent with a PostgreSQL front end and one of its clients."""

    def __init__(
        self,
        stack: ExitStack,
        directory: Path,
        server: PostgresAddress,
        broker: KafkaAddress,
        client: str,
    ) -> None:
        self.name = client
        self.source, self._front = (stack.enter_context(fresh_database(server)) for _ in range(2))
        settings = {"kafka": {"client": client, "partitions": PARTITIONS}}
        name = f"b{uuid.uuid4().hex[:8]}"
        self._place = Installation(
            directory / name,
            self.source,
            broker.bootstrap,
            name,
            tables=(TABLE,),
            front=self._front,
            sections=settings,
        ).install()
        self.rows = 0
        self._published = 0

    @contextmanager
    def running(self) -> Iterator[list[int]]:
        """The service; yields its processes."""
        with self._place.start(covered=False) as agent:
            agent.wait_ready()
            self._published = self.rows
            yield [agent.pid, *agent.children().values()]
            agent.stop()

    def through(self) -> bool:
        """Whether all rows are published, which they are after the front end has them."""
        with urllib.request.urlopen(
            f"http://{HOST}:{self._place.listen}/metrics", timeout=5
        ) as answer:  # loopback
            lines = answer.read().decode().splitlines()
        published = sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith("agent_events_total{") and 'stage="published"' in line
        )
        return published >= self.rows - self._published


class Debezium:
    """Debezium's PostgreSQL connector and its JDBC sink in one Connect worker."""

    def __init__(
        self,
        stack: ExitStack,
        server: PostgresAddress,
        broker: KafkaAddress,
        name: str,
        further: Properties,
    ) -> None:
        self.name = name
        self.source, self._target = (stack.enter_context(fresh_database(server)) for _ in range(2))
        create_tables(self.source, [TABLE])
        with psycopg.connect(self._target, autocommit=True) as connection:
            connection.execute("CREATE TABLE bench " + COLUMNS)
        self._broker, self.rows = broker, 0
        self._prefix = f"d{uuid.uuid4().hex[:8]}"
        topic = f"{self._prefix}.unit.bench"
        broker.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
        self._connectors = [
            debezium_source("source", self.source, SCHEMA, topic, **SOURCE),
            jdbc_sink(
                "sink",
                topic,
                self._target,
                **{"schema.evolution": "none", "collection.name.format": "bench"},
                **SINK,
                **further,
            ),
        ]
        self._offsets = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))

    @contextmanager
    def running(self) -> Iterator[list[int]]:
        """The worker; yields its process."""
        worker = {**WORKER, "offset.storage.file.filename": f"{self._offsets}/offsets"}
        with ConnectWorker(self._broker.bootstrap, self._connectors, HEAP, worker) as connect:
            eventually(lambda: streams(connect, self.source, self._prefix), 120, "Debezium streams")
            yield [connect.pid]
            connect.stop()  # in good order: its offsets are kept

    def through(self) -> bool:
        """Whether the sink's table has all rows."""
        with psycopg.connect(self._target) as connection:
            return connection.execute("SELECT count(*) FROM bench").fetchone() == (self.rows,)


def streams(connect: ConnectWorker, conninfo: str, slot: str) -> bool:
    """Whether Debezium reads its slot."""
    connect.check()
    with psycopg.connect(conninfo) as connection:
        found = connection.execute(
            "SELECT active FROM pg_replication_slots WHERE slot_name = %s", [slot]
        ).fetchone()
    return found == (True,)


def timed(contestant: Agent | Debezium, warm: int, rows: int) -> Lap:
    """Starts it, feeds it until it is warm, then times it."""
    with contestant.running() as pids:
        feed(contestant, warm)
        before, all_before, began = sum(map(cpu, pids)), machine(), time.monotonic()
        feed(contestant, rows)
        seconds, used, all_used = (
            time.monotonic() - began,
            sum(map(cpu, pids)) - before,
            machine() - all_before,
        )
        return Lap(
            rows / seconds,
            used / rows * 1e6,
            (all_used - used) / rows * 1e6,
            sum(map(memory, pids)),
        )


def feed(contestant: Agent | Debezium, rows: int) -> None:
    """Writes rows in transactions of 100 and waits until they are through."""
    first, contestant.rows = contestant.rows, contestant.rows + rows
    with psycopg.connect(contestant.source, autocommit=True) as connection:
        connection.execute(WRITE.format(count=rows, size=TRANSACTION, first=first).encode())
    eventually(contestant.through, LONGEST, f"{contestant.name} has all rows", 0.2)


def cpu(pid: int) -> float:
    """Seconds of CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def machine() -> float:
    """Seconds of CPU all processes have used."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / TICK


def memory(pid: int) -> float:
    """Most memory a process has had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    main()
