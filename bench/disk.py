"""Measures the bytes that an event takes on each disk.

    python -m bench.disk [--rows 40000] [--alone 200]

Rows of the bench's table are inserted in transactions of 100, and a few alone: each of these has a
Kafka transaction of its own. Counted are the source's write-ahead log, the front-end table, the
topics as the broker stores them, and the outbox while no broker answers, which is what an outage of
Kafka costs. Outbox and topics are compressed, and rows of a bench compress well: beside them stands
the event as a consumer reads it. No figure hangs on how fast the machine is.
"""

import argparse
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from confluent_kafka import Consumer
from kafka import KafkaAdminClient

from bench.processes import published
from bench.table import TABLE, fill, say
from tests.agent_process import Installation, written
from tests.checker.front import at_front
from tests.checker.replay import read_committed
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress, kafka
from tests.services.postgres import PostgresAddress, postgres
from tests.services.processes import HOST, free_port
from tests.waiting import eventually

TRANSACTION = 100  # rows
LONGEST = 600.0  # seconds a step may take
CLIENTS = ("kafka-python", "librdkafka")


class Published(NamedTuple):
    """Bytes per event of rows that went through."""

    log: float  # the source's write-ahead log, which the slot keeps until the front end has it
    front: float  # the front-end table
    event: float  # key and value, as a consumer reads them
    topic: float
    alone: float  # the topic's, where each event has a transaction of its own
    state: (
        float  # what such a transaction adds to the topic of state records, until it is compacted
    )


def main() -> None:
    """Runs all of it and prints the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--alone", type=int, default=200)
    given = parser.parse_args()
    rows: int = given.rows

    through: dict[str, Published] = {}
    with postgres(18) as server, kafka() as broker:
        for client in CLIENTS:
            through[client] = through_kafka(server, broker, client, rows, given.alone)
        waiting = without_kafka(server, broker, rows)
    for line in table(through, waiting):
        say(line)


def table(through: Mapping[str, Published], waiting: float) -> list[str]:
    """Returns what was measured."""
    first = through[CLIENTS[0]]
    sizes = {
        "the source's write-ahead log": first.log,
        "the row in a front end in SQLite": first.front,
        "the event as a consumer reads it": first.event,
        "the outbox, until Kafka has it": waiting,
    }
    for client, found in through.items():
        sizes[f"the topic, by {client}"] = found.topic
        sizes[f"the same, events alone in their transactions, by {client}"] = found.alone
    sizes["the state record of a transaction, until it is compacted"] = first.state

    lines = ["| bytes per event | |", "|---|---|"]
    for name, size in sizes.items():
        lines.append(f"| {name} | {size:,.0f} |")
    return lines


def through_kafka(
    server: PostgresAddress, broker: KafkaAddress, client: str, rows: int, alone: int
) -> Published:
    """Has an agent publish the rows, and then some alone."""
    with installed(server, broker, client) as place, place.start() as agent:
        agent.wait_ready()
        topic = f"{place.name}.{TABLE.resource}"
        with psycopg.connect(place.source, autocommit=True) as connection:
            before = written(connection)
            fill(place.source, 0, rows, TRANSACTION)
            log = between(connection, before, written(connection))
        wait_published(place, rows)
        front = table_bytes(place)
        event, together = consumed(broker, topic, rows), stored(broker, topic)
        records = stored(broker, place.state_topic)

        for number in range(rows, rows + alone):
            fill(place.source, number, 1, 1)
            wait_published(place, number + 1)
        single = stored(broker, topic) - together
        state = stored(broker, place.state_topic) - records
        agent.stop()
    say(f"{client}: {rows + alone:,} events went through")
    return Published(
        log=log / rows,
        front=front / rows,
        event=event / rows,
        topic=together / rows,
        alone=single / alone,
        state=state / alone,
    )


def wait_published(place: Installation, events: int) -> None:
    """Waits until the agent has published so many events since its start."""
    eventually(lambda: published(place.listen) >= events, LONGEST, "all is published", 0.2)


def consumed(broker: KafkaAddress, topic: str, count: int) -> int:
    """Returns the bytes of so many events of a topic, keys and values."""
    settings = read_committed(broker.bootstrap) | {"auto.offset.reset": "earliest"}
    size = 0
    with closing(Consumer(settings)) as consumer:
        consumer.subscribe([topic])
        while count:
            record = consumer.poll(LONGEST)
            assert record is not None, "no further event"
            assert not record.error(), record.error()
            size += len(record.key() or b"") + len(record.value() or b"")
            count -= 1
    return size


def without_kafka(server: PostgresAddress, broker: KafkaAddress, rows: int) -> float:
    """Returns the bytes per event of an outbox that nobody empties."""
    with installed(server, broker, CLIENTS[0]) as place:
        place.bootstrap = f"{HOST}:{free_port()}"
        place.write_config()
        with place.start():
            fill(place.source, 0, rows, TRANSACTION)

            def applied() -> bool:
                ((count,),) = at_front(place.places.front, f'SELECT count(*) FROM "{TABLE.name}"')
                return bool(count == rows)

            eventually(applied, LONGEST, "the front end has all rows", 0.5)
            ((held,),) = at_front(
                place.places.front, "SELECT sum(length(payload)) FROM sync_agent_outbox"
            )
    say(f"no broker: {rows:,} events wait")
    return float(held) / rows


@contextmanager
def installed(server: PostgresAddress, broker: KafkaAddress, client: str) -> Iterator[Installation]:
    """Installs an agent with its front end in SQLite."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, fresh_database(server) as source:
        yield Installation(
            Path(folder),
            source,
            broker.bootstrap,
            f"b{uuid.uuid4().hex[:8]}",
            tables=(TABLE,),
            sections={"kafka": {"client": client}},
        ).install()


def between(connection: psycopg.Connection, before: str, after: str) -> int:
    """Returns the bytes of log between two positions."""
    row = connection.execute("SELECT %s::pg_lsn - %s::pg_lsn", [after, before]).fetchone()
    assert row is not None
    return int(row[0])


def stored(broker: KafkaAddress, topic: str) -> int:
    """Returns the bytes of a topic's partitions as the broker stores them."""
    size = 0
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
        for answer in admin.describe_log_dirs([topic]):
            for folder in answer["log_dirs"]:
                for found in folder["topics"]:
                    size += sum(partition["partition_size"] for partition in found["partitions"])
    return size


def table_bytes(place: Installation) -> int:
    """Returns the bytes of the pages of the front-end table in its file."""
    with closing(sqlite3.connect(place.front_file)) as connection:
        row = connection.execute(
            "SELECT sum(pgsize) FROM dbstat WHERE name = ?", [TABLE.name]
        ).fetchone()
    return int(row[0])


if __name__ == "__main__":
    main()
