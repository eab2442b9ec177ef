"""Measures how fast a table is copied and verified beside the stream.

    python -m bench.reconcile [--rows 1000000] [--changes 200] [--kills 3] [--no-debezium]

Copy: from the begin of the copy until the table is live in a PostgreSQL front end and all its
events are published, against Debezium's snapshot with its JDBC sink until the sink's table is full,
and against plain COPY of the table to a file and back. Verify: of equal tables, against reading
both sides once with COPY.
"""

import argparse
import functools
import os
import re
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psycopg
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # not re-exported

from bench import debezium, plots
from bench.figures import Figure
from bench.processes import most_memory, published
from bench.table import COLUMNS, TABLE, fill, say
from tests.agent_process import Installation
from tests.checker.unit import SCHEMA
from tests.services.connect import ConnectWorker, debezium_source, jdbc_sink
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.waiting import eventually

LIVE = 1800.0  # seconds a copy may take
PIECE = 10_000  # rows of a transaction that fills the table
PARTITIONS = 4
BOTH = (("source", '"业务"."bench"'), ("front", '"bench"'))


class Found(NamedTuple):
    """Seconds."""

    rows: int
    plain: float  # COPY to a file and back
    live: float  # the agent's copy, until the table is live
    published: float  # the same until all of it is in Kafka
    debezium: float | None  # snapshot and sink, until the sink's table is full
    once: float  # reading both sides with COPY
    verify: float
    memory: float  # most that capture has had while it copied, in MB


def main() -> None:
    """Runs all of it and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--changes",
        type=int,
        default=0,
        help="changes a second that arrive while the table is copied",
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=0,
        help="kill -9 of the capture process while the table is copied",
    )
    parser.add_argument("--no-debezium", action="store_true")
    given = parser.parse_args()
    with postgres(18) as server, kafka() as broker:
        found = run(server, broker, given.rows, not given.no_debezium, given.changes, given.kills)
    for line in table(found):
        say(line)


def run(
    server: PostgresAddress,
    broker: KafkaAddress,
    rows: int,
    with_debezium: bool = True,
    changes: int = 0,
    kills: int = 0,
) -> Found:
    """Copies and verifies one table."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        fresh_database(server) as source,
        fresh_database(server) as front,
        fresh_database(server) as target,
    ):
        name = f"b{uuid.uuid4().hex[:8]}"
        place = Installation(
            Path(directory),
            source,
            broker.bootstrap,
            name,
            tables=(TABLE,),
            front=front,
            sections={"kafka": {"partitions": PARTITIONS}},
        )
        place.install()
        say(f"filling {rows:,} rows")
        fill(source, 1, rows, PIECE)
        with psycopg.connect(source, autocommit=True) as connection:
            connection.execute("vacuum analyze")

        plain = to_file_and_back(source)
        say(f"COPY to a file and back: {plain:.2f} s, {rows / plain:,.0f} rows/s")
        live, visible, memory = copy(place, rows, changes, kills)
        say(f"copy beside the stream: live after {live:.2f} s, published after {visible:.2f} s")
        once, verified = verify(place, source, front)
        say(f"verify {verified:.2f} s, reading both sides once {once:.2f} s")
        theirs = snapshot(broker, source, target, rows) if with_debezium else None
        if theirs is not None:
            say(f"Debezium's snapshot with its sink: {theirs:.2f} s")
    return Found(rows, plain, live, visible, theirs, once, verified, memory)


def table(found: Found) -> list[str]:
    """Returns what was measured."""
    lines = [
        f"| {found.rows:,} rows | seconds | rows/s |",
        "|---|---|---|",
    ]
    named = {
        "COPY to a file and back": found.plain,
        "the agent's copy until live": found.live,
        "the same until published": found.published,
        "Debezium's snapshot and JDBC sink": found.debezium,
        "reading both sides once with COPY": found.once,
        "verify of equal tables": found.verify,
    }
    for name, seconds in named.items():
        if seconds is not None:
            lines.append(f"| {name} | {seconds:.2f} | {found.rows / seconds:,.0f} |")
    return lines


def figures(found: Found) -> list[Figure]:
    """Returns the ratios."""
    ratios = [
        Figure("copy: of the speed of COPY to a file and back", found.plain / found.live, False),
        Figure("verify: times reading both sides once", found.verify / found.once, True),
    ]
    if found.debezium is not None:
        times = found.debezium / found.published
        ratios.append(Figure("copy: times Debezium's snapshot and sink", times, False))
    return ratios


def draw(found: Found, folder: Path) -> None:
    """Draws the copy."""
    speeds = {"agent": found.rows / found.published}
    if found.debezium is not None:
        speeds["Debezium and JDBC sink"] = found.rows / found.debezium
    speeds["COPY to a file and back"] = found.rows / found.plain
    plots.bars(folder / "bench-copy.svg", f"First copy of {found.rows:,} rows", "rows/s", speeds)


def to_file_and_back(source: str) -> float:
    """Returns the seconds of COPY to a file of the server and back into an empty table."""
    path = f"{tempfile.gettempdir()}/bench-{uuid.uuid4().hex}.copy"
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute('create table "业务"."again" (like "业务"."bench" including all)')
        began = time.monotonic()
        connection.execute(f'copy "业务"."bench" to \'{path}\'')
        connection.execute(f'copy "业务"."again" from \'{path}\'')
        seconds = time.monotonic() - began
        connection.execute('drop table "业务"."again"')
        connection.execute(f"copy (select 1 where false) to program 'rm {path}'")
    return seconds


def copy(place: Installation, rows: int, changes: int, kills: int) -> tuple[float, float, float]:
    """Returns the seconds from the begin of the copy until the table is live, and published.

    Beside them stands the most memory that capture has had, in MB.
    """
    with place.start(covered=False) as agent, changing(place.source, changes):
        for number in range(kills):
            wanted = (number + 1) / (kills + 1)
            eventually(functools.partial(copied_past, place, wanted), LIVE, "the copy goes on", 0.2)
            os.kill(agent.child("capture"), signal.SIGKILL)
            say(f"killed at {wanted:.0%}")
        eventually(lambda: "reconcile_ends" in agent.log, LIVE, "the table is live", 0.2)
        memory = most_memory(agent.child("capture"))
        say(f"memory of capture at its end: {memory:,.0f} MB")
        began, ended = moments(agent.log, "True")

        def through() -> bool:
            return published(place.listen) >= rows

        eventually(through, LIVE, "all events are published", 0.2)
        return ended - began, time.time() - began, memory


def moments(log: str, repair: str) -> tuple[float, float]:
    """Returns when the last copy (or comparison) of the log began and ended."""
    pattern = rf"^(\S+) INFO reconcile_{{}} resource=bench repair={repair}"
    found = []
    for what in ("begins", "ends"):
        stamp = re.findall(pattern.format(what), log, re.MULTILINE)[-1]
        found.append(datetime.fromisoformat(stamp).timestamp())
    return found[0], found[1]


def copied_past(place: Installation, share: float) -> bool:
    """Tells whether more than this share of the table is copied."""
    found = place.status()["tables"][0]["copy"]
    return bool(found and found["rows"] > share * found["estimate"])


@contextmanager
def changing(source: str, rate: int) -> Iterator[None]:
    """Makes so many updates a second, each in a transaction of its own."""
    ended = threading.Event()
    update = 'update "业务"."bench" set "version" = "version" + 1 where "id" = 1 + %s %% 1000000'

    def change() -> None:
        with psycopg.connect(source, autocommit=True) as connection:
            number = 0
            while not ended.wait(1 / rate):
                number += 7919
                connection.execute(update, [number])

    thread = threading.Thread(target=change)
    if rate:
        thread.start()
    yield
    ended.set()
    if rate:
        thread.join()


def verify(place: Installation, source: str, front: str) -> tuple[float, float]:
    """Returns the seconds of reading both sides once, and of verifying the equal tables."""
    conninfo = {"source": source, "front": front}
    with place.start(covered=False) as agent:
        agent.wait_ready()
        began = time.monotonic()
        for side, table in BOTH:
            with (
                psycopg.connect(conninfo[side]) as connection,
                connection.cursor() as cursor,
                cursor.copy(f"copy {table} to stdout") as copied,
            ):
                for _ in copied:
                    pass
        once = time.monotonic() - began

        place.command("verify")
        first, last = moments(agent.log, "False")
    return once, last - first


def snapshot(broker: KafkaAddress, source: str, target: str, rows: int) -> float:
    """Returns the seconds from the start of Debezium's worker until the sink's table is full."""
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench " + COLUMNS)
    prefix = f"d{uuid.uuid4().hex[:8]}"
    topic = f"{prefix}.unit.bench"
    broker.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    further = {**debezium.SOURCE, "snapshot.mode": "initial"}
    connectors = [
        debezium_source("source", source, SCHEMA, topic, **further),
        jdbc_sink("sink", topic, target, **{**debezium.SINK, **debezium.TASKS}),
    ]

    def full() -> bool:
        connect.check()
        with psycopg.connect(target) as connection:
            return connection.execute("SELECT count(*) FROM bench").fetchone() == (rows,)

    def begun() -> bool:
        with psycopg.connect(target) as connection:
            return connection.execute("SELECT FROM bench LIMIT 1").fetchone() is not None

    with ConnectWorker(broker.bootstrap, connectors, debezium.HEAP, debezium.WORKER) as connect:
        # The worker's own start is not counted
        eventually(begun, LIVE, "the sink has begun", 0.05)
        began = time.monotonic()
        eventually(full, LIVE, "the sink's table is full", 0.2)
        seconds = time.monotonic() - began
        connect.stop()
    return seconds


if __name__ == "__main__":
    main()
