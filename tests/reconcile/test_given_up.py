"""The slot is given up by the policy of its owner, and the way back; killed in between."""

import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.agent_process import OUTBOX, Installation
from tests.checker.front import at_front
from tests.faults.service import ArmedAgent
from tests.reconcile.conftest import HURRIED
from tests.reconcile.system import (
    Ground,
    equal,
    execute,
    keys_of,
    operations,
    verified,
    wait_state,
)
from tests.reconcile.tables import INTEGERS, TEXTS, numbered
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresAddress
from tests.services.processes import HOST
from tests.waiting import eventually

CONSTANTS = (
    "agent.connectors.postgres.log_guard._ALONE_SECONDS=0.5 "
    "agent.connectors.postgres.log_guard._PATIENCE=0.5"
)


@contextmanager
def closed(server: PostgresAddress, front: str) -> Iterator[None]:
    """A front-end database that takes nobody."""
    name = str(conninfo_to_dict(front)["dbname"])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        yield
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def answer(place: Installation, path: str) -> str:
    """What the service answers."""
    with urllib.request.urlopen(f"http://{HOST}:{place.listen}{path}", timeout=10) as got:
        return str(got.read().decode())


def slots(place: Installation) -> int:
    query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s"
    return len(execute(place.source, query, place.slot))


@pytest.mark.parametrize(
    ("version", "killed"), [(14, "before_giving_up"), (18, "after_giving_up")], ids=str
)
def test_given_up_and_the_way_back(
    version: int,
    killed: str,
    request: pytest.FixtureRequest,
    postgres18: PostgresAddress,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The front end stays as it was, the outbox is delivered, and `init` has all made equal."""
    monkeypatch.setenv("SYNC_TEST_CONSTANTS", CONSTANTS)
    server = request.getfixturevalue(f"postgres{version}")
    with fresh_database(server) as source, fresh_database(postgres18) as front:
        ground = Ground(tmp_path / "agent", source, front, kafka.bootstrap, topic_prefix)
        place = ground.installed(
            [INTEGERS, TEXTS],
            rows=100,
            before=numbered(1, 100),
            source={"max_log_bytes": 8 << 20},
        )
        with ArmedAgent(place, f"{killed}:1:kill", HURRIED) as agent:
            wait_state(place, agent, "live")
            eventually(place.caught_up, what="all events are published")
            before = operations(place, INTEGERS), operations(place, TEXTS)

            os.kill(agent.child("publish"), signal.SIGSTOP)
            numbered(101, 102)(source)  # will be in the outbox
            place.applied()
            keys = keys_of(place, INTEGERS)
            with closed(postgres18, front):
                execute(
                    source, """UPDATE "业务"."整数" SET "值" = '改' WHERE "编号" BETWEEN 1 AND 5"""
                )
                execute(source, 'DELETE FROM "业务"."整数" WHERE "编号" BETWEEN 6 AND 9')
                for _ in range(12):
                    message = "SELECT pg_logical_emit_message(false, 'else', repeat('x', 1048576))"
                    execute(source, message)
                eventually(lambda: slots(place) == 0, what="the slot is given up")
                eventually(
                    lambda: 'status="given_up"} 1.0' in answer(place, "/metrics"),
                    what="the metrics say so while the front end is away",
                )
                assert "SLOT_GIVEN_UP" in answer(place, "/en")
            os.kill(agent.child("publish"), signal.SIGCONT)

            eventually(
                lambda: 'code="SLOT_GIVEN_UP",stage="capture"} 1.0' in answer(place, "/metrics"),
                what="capture fails with it",
            )
            eventually(
                lambda: at_front(place.places.front, OUTBOX) == [(1,)],
                what="the outbox is delivered",
            )
            assert operations(place, INTEGERS)["c"] - before[0]["c"] == 2
            assert keys_of(place, INTEGERS) == keys
            codes = [problem["code"] for problem in place.status()["problems"]]
            assert codes[0] == "STAGE_FAILING"
            assert "SLOT_GIVEN_UP" in codes
            assert "SLOT_GIVEN_UP" in place.command("check", expect=78).stdout
            assert agent.fired() == [killed]
            assert f" slot_given_up slot={place.slot} " in agent.log
            agent.check()
            agent.stop()

        assert place.slot in place.init()
        with place.start() as agent:
            wait_state(place, agent, "live")
            verified(place)
            equal(place)
            assert operations(place, INTEGERS) - before[0] == {"c": 2, "u": 5, "d": 4}
            assert operations(place, TEXTS) == before[1]
