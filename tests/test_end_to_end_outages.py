"""Tests outages: Kafka away, a slow line, a front end that is locked for a while.

Nothing is lost, and nothing stands still that need not.
"""

import os
import time
from pathlib import Path

import psycopg
import pytest

from tests.agent_process import Installation, written
from tests.checker import compare
from tests.checker.unit import insert_many, insert_resident
from tests.checker.writer import Writer
from tests.services.kafka import KafkaAddress, KafkaBroker
from tests.waiting import eventually, never

OUTAGE = 120.0 if os.environ.get("SYNC_TEST_FULL") else 20.0  # seconds


@pytest.mark.slow
def test_kafka_may_be_down(
    database: str, kafka_broker: KafkaBroker, topic_prefix: str, tmp_path: Path
) -> None:
    """Meanwhile front-end tables follow and the slot moves.

    Afterwards the backlog is delivered once and in order.
    """
    place = Installation(tmp_path, database, kafka_broker.bootstrap, topic_prefix).install()
    with place.start() as agent, Writer(database, 3) as writer:
        agent.wait_ready()
        writer.run(20)
        kafka_broker.kill9()
        try:
            end = time.monotonic() + OUTAGE
            while time.monotonic() < end:
                writer.run(10)
                eventually(
                    place.applied, what="the front end follows and the slot moves without Kafka"
                )
            rows = compare(place.places._replace(bootstrap=None), place.judged)
            assert rows.equal, rows
        finally:
            kafka_broker.start_again()
        verdict = place.verdict()
        assert verdict.equal, verdict


def test_a_slow_line_to_kafka_makes_progress(
    database: str, kafka_broker: KafkaBroker, topic_prefix: str, tmp_path: Path
) -> None:
    """A transaction may be too large for the line in the time of a Kafka transaction.

    It is sent in parts, each event once.
    """
    kafka = {"kafka": {"transaction_timeout_seconds": 4.0}}
    place = Installation(
        tmp_path, database, kafka_broker.proxied_bootstrap, topic_prefix, sections=kafka
    ).install()
    with place.start() as agent:
        agent.wait_ready()
        kafka_broker.proxy.throttle(60_000)
        try:
            # About 3 MB of events, some 700 kB on the line
            insert_many(database, 4_000, length=200)
            eventually(place.caught_up, 120, "everything is sent over the slow line", 0.5)
        finally:
            kafka_broker.proxy.heal()
        verdict = place.verdict()
        assert verdict.equal, verdict
        assert "SLOW_LINE" in agent.log


def reader_of_slot(place: Installation) -> int | None:
    """The server process that serves the slot's reader."""
    with psycopg.connect(place.source, autocommit=True) as connection:
        row = connection.execute(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", [place.slot]
        ).fetchone()
        return row[0] if row else None


def test_the_connection_outlives_a_locked_front_end(
    database: str, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """The front end is locked for 13 s with a wal_sender_timeout of 6 s.

    The source keeps the connection, and all arrives.
    """
    place = Installation(tmp_path, database, kafka.bootstrap, topic_prefix).install()
    place.set_for_role("wal_sender_timeout", "6s")
    with place.start() as agent, Writer(database, 4) as writer:
        agent.wait_ready()
        before = reader_of_slot(place)
        with place.front_locked():
            writer.run(20)
            never(
                lambda: reader_of_slot(place) != before,
                during=13,
                what="the source dropped the connection",
                interval=0.5,
            )
        verdict = place.verdict()
        assert verdict.equal, verdict
        assert reader_of_slot(place) == before


def test_a_commit_received_but_not_durable_is_not_lost(
    any_database: str, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """This is the hazard of psycopg2.

    Rows of an older, longer transaction follow a commit that is not durable yet, then a keepalive,
    then a kill.
    """
    place = Installation(tmp_path, any_database, kafka.bootstrap, topic_prefix).install()
    place.set_for_role("wal_sender_timeout", "4s")
    with (
        place.start() as agent,
        psycopg.connect(any_database) as long,
        psycopg.connect(any_database, autocommit=True) as short,
    ):
        agent.wait_ready()
        for number in range(-2000, -1000):
            insert_resident(long, number, "长事务" * 200)
        insert_resident(short, -1, "T0")
        eventually(place.applied, what="T0 is acknowledged")
        with place.front_locked():
            insert_resident(short, -2, "T1")
            committed = written(short)
            long.commit()
            never(
                lambda: place.passed(short, committed),
                during=6,
                what="T1 was acknowledged before it was durable",
                interval=0.3,
            )
            agent.kill9()
        with place.start():
            verdict = place.verdict()
            assert verdict.equal, verdict
            assert verdict.rows == 1002
