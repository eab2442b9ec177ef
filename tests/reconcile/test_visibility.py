"""Tests that a page does not undo a commit that is streamed before others can see it.

Here the commit waits for a standby that never answers.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent_process import Installation
from tests.checker.front import at_front
from tests.reconcile.system import (
    Ground,
    ended,
    equal,
    execute,
    operations,
    running,
    states,
    wait_state,
)
from tests.reconcile.tables import INTEGERS, numbered
from tests.services.fixtures import fresh_database
from tests.services.kafka import KafkaAddress
from tests.services.postgres import PostgresServer
from tests.waiting import eventually, never

ROWS = 500
WAITS = 3.0  # seconds in which an impatient copy would have ended
CHANGED = """UPDATE "业务"."整数" SET "值" = '新' WHERE "编号" = 7"""
SHOWN = """SELECT "值" FROM "业务"."整数" WHERE "编号" = 7"""


@pytest.fixture(scope="module", params=[15, 18], ids=["postgres15", "postgres18"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server that can be told to wait for a standby there is not."""
    with PostgresServer.start(request.param) as server:
        yield server


@pytest.fixture
def place(
    server: PostgresServer, kafka: KafkaAddress, topic_prefix: str, tmp_path: Path
) -> Iterator[Installation]:
    """An agent for a table that holds rows."""
    with fresh_database(server) as source:
        yield Ground(tmp_path / "agent", source, None, kafka.bootstrap, topic_prefix).installed(
            [INTEGERS], before=numbered(1, ROWS)
        )


@contextmanager
def hanging(server: PostgresServer, source: str, statement: str) -> Iterator[None]:
    """A statement whose commit is in the log and hangs, until the end."""
    server.reload({"synchronous_standby_names": "nobody"})
    writer = threading.Thread(target=execute, args=(source, statement), daemon=True)
    writer.start()
    try:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        eventually(lambda: execute(source, waiting) == [(1,)], what="the commit hangs")
        yield
    finally:
        server.reload({"synchronous_standby_names": ""})
        writer.join(30)


def test_a_copy_waits_for_a_commit_that_hangs(server: PostgresServer, place: Installation) -> None:
    """The change is streamed, the page would still show the old row."""
    with hanging(server, place.source, CHANGED), place.start() as agent:
        eventually(
            lambda: (
                at_front(place.places.front, 'SELECT "值" FROM "整数" WHERE "编号" = 7')
                == [("新",)]
            ),
            60,
            "the change is streamed",
        )
        assert execute(place.source, SHOWN) != [("新",)]
        never(lambda: states(place) != {"integers": "copying"}, WAITS, "the copy ends too early")
        server.reload({"synchronous_standby_names": ""})
        wait_state(place, agent, "live")
        equal(place)
        assert operations(place, INTEGERS) == {"u": 1, "r": ROWS - 1}


def test_a_repair_waits_for_a_commit_that_hangs(
    server: PostgresServer, place: Installation
) -> None:
    """A live table is reconciled too, and its copy waits for nobody who ran before.

    What somebody has damaged is repaired, and the change stays.
    """
    with place.start() as agent:
        wait_state(place, agent, "live")
        with hanging(server, place.source, CHANGED):
            eventually(
                lambda: (
                    at_front(place.places.front, 'SELECT "值" FROM "整数" WHERE "编号" = 7')
                    == [("新",)]
                ),
                60,
                "the change is streamed",
            )
            at_front(place.places.front, 'DELETE FROM "整数" WHERE "编号" = 8')
            with running(place, "reconcile", "--json") as command:
                eventually(
                    lambda: states(place) == {"integers": "copying"}, what="the repair has begun"
                )
                assert execute(place.source, SHOWN) != [("新",)]
                never(
                    lambda: states(place) != {"integers": "copying"},
                    WAITS,
                    "the repair ends too early",
                )
                server.reload({"synchronous_standby_names": ""})
                assert '"missing": 1' in ended(command)
        wait_state(place, agent, "live")
        equal(place)
        assert operations(place, INTEGERS) == {"u": 1, "r": ROWS + 1}


def test_verify_waits_for_a_commit_that_hangs(server: PostgresServer, place: Installation) -> None:
    """What is streamed and not visible yet is no difference."""
    with place.start() as agent:
        wait_state(place, agent, "live")
        with hanging(server, place.source, CHANGED):
            eventually(
                lambda: (
                    at_front(place.places.front, 'SELECT "值" FROM "整数" WHERE "编号" = 7')
                    == [("新",)]
                ),
                60,
                "the change is streamed",
            )
            with running(place, "verify", "--json") as command:
                eventually(
                    lambda: (
                        at_front(place.places.front, "SELECT state FROM sync_agent_request")
                        == [("running",)]
                    ),
                    what="the service has taken it up",
                )
                never(lambda: command.poll() is not None, WAITS, "verify ends too early")
                server.reload({"synchronous_standby_names": ""})
                assert '"different": 0' in ended(command)
