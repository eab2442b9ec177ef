"""Measures how long a committed row takes until a read_committed consumer holds its event.

    python -m bench.latency [--rates 8 100 500 1000 5000] [--seconds 20] [--fronts sqlite postgres]

Every contestant gets the same load on the same servers, one after the other: transactions of one
row, evenly spread in time over a few connections. The clock starts when the writer's COMMIT has
returned, and stops when the consumer has the event in its hands; both read the clock of this
machine. Beside them stands the bare Kafka transaction: one event and one state record, sent by
librdkafka and committed, again and again; its clock starts before the transaction begins.
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
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # not re-exported

from bench import debezium, plots
from bench.debezium import streams
from bench.figures import Figure
from bench.table import ROW, TABLE, say
from tests.agent_process import Installation
from tests.checker.unit import SCHEMA, create_tables
from tests.services.connect import ConnectWorker, Properties, debezium_source
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.waiting import eventually

RATES = (8, 100, 500, 1000, 5000)  # transactions per second
FRONTS = ("sqlite", "postgres")
CLIENTS = ("kafka-python", "librdkafka")
WARM = 5.0  # seconds of load before what is counted
DRAIN = 60.0  # seconds that events may come after the last commit
WRITERS = 4  # connections at the most
UNHURRIED, BACK_TO_BACK = "8 a second", "back to back"
INSERT = f"""INSERT INTO "业务".bench
    SELECT {ROW.replace("%", "%%")} FROM (SELECT %s::bigint AS n) AS one"""
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


class Found(NamedTuple):
    """What one run has measured."""

    bare: Mapping[str, Spread]
    seen: Mapping[tuple[str, int], Spread]  # by contestant and rate


def main() -> None:
    """Runs all of it and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--seconds", type=float, default=20.0, help="of counted load at each rate")
    parser.add_argument("--fronts", nargs="+", choices=FRONTS, default=FRONTS)
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    parser.add_argument("--no-debezium", action="store_true")
    given = parser.parse_args()
    with postgres(18) as server, kafka() as broker:
        found = run(
            server,
            broker,
            given.rates,
            given.seconds,
            given.fronts,
            given.clients,
            not given.no_debezium,
        )
    for line in table(found):
        say(line)


def run(
    server: PostgresAddress,
    broker: KafkaAddress,
    rates: Sequence[int],
    seconds: float,
    fronts: Sequence[str] = FRONTS,
    clients: Sequence[str] = CLIENTS,
    with_debezium: bool = True,
) -> Found:
    """Measures every contestant at every rate."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        say(f"load of the machine before: {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
        say("p50 / p95 / p99 / most, in ms")
        bare = bare_transactions(broker, seconds)
        for name, spread in bare.items():
            say(f"a bare Kafka transaction, {name}: {spread}")

        contestants: list[Contestant] = []
        for front in fronts:
            for client in clients:
                contestants.append(Agent(stack, directory, server, broker, client, front))
        if with_debezium:
            contestants.append(Debezium(stack, server, broker, "Debezium", {}, {}))
            tuned = "Debezium, tuned"
            prompt = debezium.PROMPT, debezium.PROMPT_WORKER
            contestants.append(Debezium(stack, server, broker, tuned, *prompt))

        seen = {}
        for contestant in contestants:
            for rate, spread in measured(contestant, broker.bootstrap, rates, seconds):
                seen[contestant.name, rate] = spread
                say(f"{contestant.name}, {rate} tx/s: {spread}, {spread.events} events")
        say(f"load of the machine after: {os.getloadavg()[0]:.1f}")
    return Found(bare, seen)


def measured(
    contestant: Contestant, bootstrap: str, rates: Sequence[int], seconds: float
) -> Iterator[tuple[int, Spread]]:
    """Runs one contestant at each rate."""
    first = 0
    with contestant.running():
        for rate in rates:
            spread, first = under_load(
                contestant.source, contestant.topic, bootstrap, rate, seconds, first
            )
            yield rate, spread


def table(found: Found) -> list[str]:
    """Returns the latencies, and how many times a bare transaction's p50 they are."""
    least = found.bare[UNHURRIED].p50
    lines = ["| | tx/s | p50 / p95 / p99 / most (ms) | times a bare transaction: p50, p99 |"]
    lines.append("|---|---|---|---|")
    for name, spread in found.bare.items():
        lines.append(f"| bare Kafka transaction | {name} | {spread} | |")
    for (name, rate), spread in found.seen.items():
        times = f"{spread.p50 / least:.1f}, {spread.p99 / least:.1f}"
        lines.append(f"| {name} | {rate:,} | {spread} | {times} |")
    return lines


def figures(found: Found) -> list[Figure]:
    """Returns the ratios to a bare transaction's p50."""
    least = found.bare[UNHURRIED].p50
    ratios = []
    for (name, rate), spread in found.seen.items():
        for quantile, value in (("p50", spread.p50), ("p99", spread.p99)):
            what = f"latency, {name}, {rate} tx/s: {quantile} of a bare transaction's p50"
            ratios.append(Figure(what, value / least, True))
    return ratios


def draw(found: Found, folder: Path) -> None:
    """Draws the median and the 99th percentile by rate."""
    for quantile in ("p50", "p99"):
        lines: dict[str, list[tuple[float, float]]] = {}
        for (name, rate), spread in found.seen.items():
            lines.setdefault(name, []).append((rate, getattr(spread, quantile)))
        title = f"From COMMIT to a read_committed consumer, {quantile}"
        path = folder / f"bench-latency-{quantile}.svg"
        plots.curves(path, title, ("transactions per second", "ms"), lines)


def under_load(
    source: str,
    topic: str,
    bootstrap: str,
    rate: int,
    seconds: float,
    first: int = 0,
    others: Sequence[str] = (),
) -> tuple[Spread, int]:
    """Writes at a rate, and returns the latencies of the counted rows and the next free id.

    `others` are sources that get the same load meanwhile.
    """
    writers = max(1, min(WRITERS, rate // 50))
    each = int(rate * (WARM + seconds)) // writers
    count = each * writers
    counted_from = first + int(rate * WARM)
    heard = listening(bootstrap, topic, range(first, first + count))

    starts = time.time() + 0.5
    jobs = []
    for number in range(writers):
        numbers = range(first + number, first + count, writers)
        for where in (source, *others):
            jobs.append((where, numbers, rate / writers, starts))
    committed: Times = {}
    with multiprocessing.Pool(len(jobs)) as pool:
        written = pool.starmap(write, jobs)
    for (where, *_), times in zip(jobs, written, strict=True):
        if where == source:
            committed.update(times)

    held = heard()
    missing = committed.keys() - held.keys()
    assert not missing, f"{len(missing)} events did not come within {DRAIN:.0f} s"
    values = []
    for number, at in committed.items():
        if number >= counted_from:
            values.append((held[number] - at) / 1e6)
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
    for name, pause in ((UNHURRIED, 0.125), (BACK_TO_BACK, 0.0)):
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
        bootstrap = self._broker.bootstrap
        with ConnectWorker(bootstrap, [self._connector], debezium.HEAP, self._worker) as connect:
            eventually(lambda: streams(connect, self.source, self._slot), 120, "Debezium streams")
            yield
            connect.stop()


if __name__ == "__main__":
    main()
