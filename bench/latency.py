"""Measures how long a committed row takes until a read_committed consumer holds its event.

    python -m bench.latency [--rates 8 100 500 1000] [--seconds 20] [--fronts sqlite postgres] [--bare-only]

Every contestant gets the same load on the same servers, one after the other: transactions of one row, evenly spread in
time over a few connections. The clock starts when the writer's COMMIT has returned, and stops when the consumer has the
event in its hands; both read the clock of this machine. Beside them stands the bare Kafka transaction: one event and one
state record, sent by librdkafka and committed, again and again; its clock starts before the transaction begins.
"""

import argparse
import multiprocessing
import os
import re
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, Protocol

import psycopg
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # the package does not re-export it for mypy

from bench.stream import HEAP, TABLE, WORKER, say, streams
from tests.agent_process import Installation
from tests.checker.unit import SCHEMA, create_tables
from tests.services.connect import ConnectWorker, Properties, debezium_source
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.waiting import eventually

RATES = (8, 100, 500, 1000)  # transactions per second
WARM = 5.0  # seconds of load before what is counted
DRAIN = 60.0  # seconds that events may come after the last commit
WRITERS = 4  # connections at the most
INSERT = """INSERT INTO "业务".bench SELECT n, '张三' || n, lpad(n::text, 18, '3101'), '310105',
    '长宁区' || repeat(md5(n::text), 5), n / 7.0, n %% 2 = 0, timestamptz '1970-01-01' + n * interval '1 hour',
    timestamptz '2026-01-01' + n * interval '1 second', n %% 100 FROM (SELECT %s::bigint AS n) AS one"""
TUNED: Properties = {"poll.interval.ms": "10", "max.batch.size": "2048", "max.queue.size": "8192"}
PROMPT: Properties = {**WORKER, "producer.linger.ms": "0"}
_ID = re.compile(rb'"id":\s*(\d+)')

Times = dict[int, int]  # by the row's id: nanoseconds since 1970


class Contestant(Protocol):
    """What carries rows from a table to a topic."""

    name: str
    source: str
    topic: str

    def running(self) -> AbstractContextManager[None]:
        """Carries rows as long as the block lasts."""


class Spread(NamedTuple):
    """Latencies in milliseconds."""

    p50: float
    p95: float
    p99: float
    most: float
    events: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Sorts the values and picks the quantiles."""
        parts = statistics.quantiles(values, n=100, method="inclusive")
        return cls(parts[49], parts[94], parts[98], max(values), len(values))

    def __str__(self) -> str:
        return f"{self.p50:,.0f} / {self.p95:,.0f} / {self.p99:,.0f} / {self.most:,.0f}"


def main() -> None:
    """Runs all of it and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--seconds", type=float, default=20.0, help="of counted load at each rate")
    parser.add_argument(
        "--fronts", nargs="+", choices=("sqlite", "postgres"), default=("sqlite", "postgres")
    )
    parser.add_argument("--clients", nargs="+", default=("kafka-python", "librdkafka"))
    parser.add_argument("--no-debezium", action="store_true")
    parser.add_argument("--bare-only", action="store_true")
    arguments = parser.parse_args()

    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server, broker = stack.enter_context(postgres(18)), stack.enter_context(kafka())
        say(f"load of the machine before: {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
        say("p50 / p95 / p99 / most, in ms; in brackets times the bare transaction's p50\n")
        bare = bare_transactions(broker, arguments.seconds)
        for name, spread in bare.items():
            say(f"a bare Kafka transaction, {name}: {spread}")
        if arguments.bare_only:
            return

        for front in arguments.fronts:
            for client in arguments.clients:
                measure(
                    Agent(stack, directory, server, broker, client, front),
                    broker.bootstrap,
                    arguments,
                    bare,
                )
        if not arguments.no_debezium:
            measure(
                Debezium(stack, server, broker, "Debezium", {}, {}),
                broker.bootstrap,
                arguments,
                bare,
            )
            tuned = Debezium(stack, server, broker, "Debezium, tuned", TUNED, PROMPT)
            measure(tuned, broker.bootstrap, arguments, bare)
        say(f"load of the machine after: {os.getloadavg()[0]:.1f}")


def measure(
    contestant: Contestant,
    bootstrap: str,
    arguments: argparse.Namespace,
    bare: Mapping[str, Spread],
) -> None:
    """Runs one contestant at each rate and prints what was seen."""
    least = bare["8 a second"].p50
    first = 0
    with contestant.running():
        for rate in arguments.rates:
            spread, first = under_load(contestant, bootstrap, rate, arguments.seconds, first)
            factor = f"({spread.p50 / least:.1f}, p99 {spread.p99 / least:.1f})"
            say(f"{contestant.name}, {rate} tx/s: {spread} {factor}, {spread.events} events")


def under_load(
    contestant: Contestant, bootstrap: str, rate: int, seconds: float, first: int
) -> tuple[Spread, int]:
    """Writes at a rate, and returns the latencies of the counted rows and the next free id."""
    writers = max(1, min(WRITERS, rate // 50))
    each = int(rate * (WARM + seconds)) // writers
    count = each * writers
    counted_from = first + int(rate * WARM)
    heard = listening(bootstrap, contestant.topic, range(first, first + count))
    with multiprocessing.Pool(writers) as pool:
        starts = time.time() + 0.5
        jobs = [
            (contestant.source, range(first + n, first + count, writers), rate / writers, starts)
            for n in range(writers)
        ]
        committed: Times = {}
        for times in pool.starmap(write, jobs):
            committed.update(times)
    held = heard()
    missing = committed.keys() - held.keys()
    assert not missing, f"{len(missing)} events did not come within {DRAIN:.0f} s"
    values = [
        (held[number] - at) / 1e6 for number, at in committed.items() if number >= counted_from
    ]
    return Spread.of(values), first + count


def write(conninfo: str, numbers: range, rate: float, starts: float) -> Times:
    """Commits a row for each number, evenly spread; returns when each COMMIT had returned."""
    committed: Times = {}
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=1) as connection:
        for place, number in enumerate(numbers):
            wait = starts + place / rate - time.time()
            if wait > 0:
                time.sleep(wait)
            connection.execute(INSERT, (number,))
            committed[number] = time.time_ns()
    return committed


def listening(bootstrap: str, topic: str, numbers: range) -> Callable[[], Times]:
    """Starts a consumer that stands at the topic's end; what it returns waits for the events."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    listener = multiprocessing.Process(
        target=listen, args=(bootstrap, topic, numbers, sending), daemon=True
    )
    listener.start()
    assert receiving.recv() == "ready"

    def heard() -> Times:
        held: Times = receiving.recv()
        listener.join()
        return held

    return heard


def listen(bootstrap: str, topic: str, numbers: range, answer: Connection) -> None:
    """Reads the topic from its end until the event of each number has come; sends when each did."""
    consumer = consuming(bootstrap, topic)
    answer.send("ready")
    wanted = set(numbers)
    held: Times = {}
    last = time.monotonic()
    while wanted and time.monotonic() - last < DRAIN:
        for message in consumer.consume(500, timeout=0.05):
            now = time.time_ns()
            found = None if message.error() else _ID.search(message.key() or b"")
            if found is not None:
                number = int(found[1])
                wanted.discard(number)
                held.setdefault(number, now)
                last = time.monotonic()
    consumer.close()
    answer.send(held)


def consuming(bootstrap: str, topic: str) -> Consumer:
    """A read_committed consumer of a whole topic that stands at its end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"g{uuid.uuid4().hex[:8]}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "fetch.wait.max.ms": 20,
        }
    )
    consumer.subscribe([topic])
    eventually(
        lambda: (consumer.poll(0.1), consumer.assignment())[1], 60, "the consumer has its place"
    )
    for place in consumer.assignment():
        consumer.get_watermark_offsets(place, timeout=10)
    consumer.poll(0.5)
    return consumer


def bare_transactions(broker: KafkaAddress, seconds: float) -> dict[str, Spread]:
    """Sends one event and one state record a transaction, at eight a second and back to back."""
    topic, state = f"t{uuid.uuid4().hex[:8]}", f"s{uuid.uuid4().hex[:8]}"
    for name, partitions in ((topic, 3), (state, 1)):
        broker.admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "transactional.id": topic,
            "linger.ms": 0,
            "compression.type": "zstd",
        }
    )
    producer.init_transactions(30)

    spreads = {}
    first = 0
    for name, pause in (("8 a second", 0.125), ("back to back", 0.0)):
        count = int(min(seconds, 10.0) * 8) if pause else 500
        numbers = range(first, first + count)
        first += count
        heard = listening(broker.bootstrap, topic, numbers)
        began: Times = {}
        for number in numbers:
            time.sleep(pause)
            began[number] = time.time_ns()
            producer.begin_transaction()
            producer.produce(topic, b"x" * 400, b'{"id":%d}' % number)
            producer.produce(state, b"y" * 200, b"state")
            producer.commit_transaction(30)
        held = heard()
        spreads[name] = Spread.of([(held[number] - at) / 1e6 for number, at in began.items()])
    return spreads


class Agent:
    """The agent with one of its clients and one kind of front end; all else as it is by default."""

    def __init__(
        self,
        stack: ExitStack,
        directory: Path,
        server: PostgresAddress,
        broker: KafkaAddress,
        client: str,
        front: str,
    ) -> None:
        self.name = f"agent, {client}, {front}"
        self.source = stack.enter_context(fresh_database(server))
        name = f"b{uuid.uuid4().hex[:8]}"
        self._place = Installation(
            directory / name,
            self.source,
            broker.bootstrap,
            name,
            tables=(TABLE,),
            front=stack.enter_context(fresh_database(server)) if front == "postgres" else None,
            sections={"kafka": {"client": client}},
        ).install()
        self.topic = f"{name}.{TABLE.resource}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """See Contestant."""
        with self._place.start(covered=False) as agent:
            agent.wait_ready()
            yield
            agent.stop()


class Debezium:
    """Debezium's PostgreSQL connector alone: there is no front end to be written."""

    def __init__(
        self,
        stack: ExitStack,
        server: PostgresAddress,
        broker: KafkaAddress,
        name: str,
        source: Properties,
        worker: Properties,
    ) -> None:
        self.name = name
        self.source = stack.enter_context(fresh_database(server))
        create_tables(self.source, [TABLE])
        self._broker, self._worker = broker, worker
        self._slot = f"d{uuid.uuid4().hex[:8]}"
        self.topic = f"{self._slot}.unit.bench"
        broker.admin.create_topics([NewTopic(self.topic, 3, 1)])[self.topic].result(30)
        self._connector = debezium_source("source", self.source, SCHEMA, self.topic, **source)

    @contextmanager
    def running(self) -> Iterator[None]:
        """See Contestant."""
        with ConnectWorker(
            self._broker.bootstrap, [self._connector], HEAP, self._worker
        ) as connect:
            eventually(lambda: streams(connect, self.source, self._slot), 120, "Debezium streams")
            yield
            connect.stop()


if __name__ == "__main__":
    main()
