"""Tests that front end = source = topics, whatever is killed whenever (P1, P2, P3).

Each event is there once and in order.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.agent_process import Agent, Installation
from tests.checker.unit import RESIDENTS, insert_many
from tests.checker.writer import Writer
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.mariadb import MariaDbAddress
from tests.services.postgres import PostgresAddress
from tests.waiting import eventually

ROWS = 1_000_000 if os.environ.get("SYNC_TEST_FULL") else 100_000
MEMORY = 300_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "front", "client", "kills"),
    [
        (18, "sqlite", "kafka-python", 12),
        (15, "postgres", "kafka-python", 10),
        (18, "mariadb", "librdkafka", 10),
    ],
    ids=["18 to SQLite", "15 to PostgreSQL", "18 to MariaDB with librdkafka"],
)
def test_random_changes_survive_kills(
    version: int,
    front: str,
    client: str,
    kills: int,
    request: pytest.FixtureRequest,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    """Capture, publisher and now and then the whole service are killed while two sessions write."""
    server = request.getfixturevalue(f"postgres{version}")
    front_server = request.getfixturevalue("mariadb_server") if front == "mariadb" else server
    with fresh_database(server) as source, front_database(front, front_server) as target:
        place = Installation(
            tmp_path,
            source,
            kafka.bootstrap,
            topic_prefix,
            front=target,
            sections={"kafka": {"client": client}},
        ).install()
        agent = kill_and_write(place, Random(20261124), kills)
        verdict = place.verdict()
        agent.kill9()
        assert verdict.equal, f"{verdict}\n{agent.log[-3000:]}"
        assert verdict.events > 1000


@contextmanager
def front_database(kind: str, server: PostgresAddress | MariaDbAddress) -> Iterator[str | None]:
    """The conninfo or URL of a database of its own, or None for SQLite."""
    if kind == "sqlite":
        yield None
        return
    with (
        server.fresh_database()
        if isinstance(server, MariaDbAddress)
        else fresh_database(server) as address
    ):
        yield address


def kill_and_write(place: Installation, random: Random, kills: int) -> Agent:
    """Kills at random moments, half of them while the agent is just coming back.

    Returns the agent that runs at the end.
    """
    agent = place.start().wait_ready()
    with (
        Writer(place.source, 1) as one,
        Writer(place.source, 2) as other,
        ThreadPoolExecutor(2) as sessions,
    ):
        for _ in range(kills):
            written = [sessions.submit(writer.run, 15) for writer in (one, other)]
            moment = one.transactions + random.randint(0, 15)
            eventually(
                lambda moment=moment: one.transactions >= moment,  # type: ignore[misc]
                what="the moment of the kill",
            )
            match random.choice(["capture", "capture", "publish", "publish", "service"]):
                case "capture":
                    agent.kill9_child("capture")
                case "publish":
                    agent.kill9_child("publish")
                case _:
                    agent.kill9()
                    agent = place.start()
            if random.random() < 0.5:
                agent.wait_ready()
            for session in written:
                session.result()
    return agent


@pytest.mark.slow
def test_a_huge_transaction_stays_within_300_megabytes(
    database: str, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> None:
    """A transaction of 100,000 rows passes whole, each event once, in processes that stay small.

    With SYNC_TEST_FULL=1 it has a million rows.
    """
    place = Installation(
        tmp_path, database, kafka.bootstrap, topic_prefix, tables=[RESIDENTS]
    ).install()
    with place.start() as agent:
        agent.wait_ready()
        insert_many(database, ROWS)
        eventually(place.caught_up, 60 + ROWS / 1000, "all events are published", 0.5)
        peaks = {
            stage: peak_memory(pid)
            for stage, pid in (agent.children() | {"supervisor": agent.pid}).items()
        }
        verdict = place.verdict()
        assert verdict.equal, verdict
        assert (verdict.rows, verdict.events) == (ROWS, ROWS)
        assert max(peaks.values()) < MEMORY, peaks
        assert set(peaks) == {"capture", "publish", "supervisor"}
        assert "attempt=2" not in agent.log, "a process was restarted, so its peak is not known"


def peak_memory(pid: int) -> int:
    """The most memory a process has had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
