"""Kills capture and publisher with kill -9 at every failpoint that they pass without a log.

A source that has no log makes no snapshot of its own for a page. All other places are the same.
"""

from pathlib import Path

import pytest

from agent.failpoints import OF_STATES, PLACES
from tests.agent_process import OUTBOX
from tests.checker.front import at_front
from tests.services.kafka import KafkaAddress
from tests.source.databases import place_of
from tests.source.forking import Stages
from tests.source.unit_without_log import Unit, check_events
from tests.waiting import eventually

# Only PostgreSQL's source makes a snapshot of its own for each page
OF_A_SNAPSHOT = ["before_page_snapshot", "after_page_snapshot"]
OF_A_PAGE = ["after_page_read", "before_page_merge", "after_page_merge"]
MARKED = "before_mark_commit"  # where something is written to the source
# With an overlap a look would find what the one before it has lost
BY_TIME = 'poll = { mode = "timestamp", column = "changed", overlap = 0 }'
BY_FLAG = 'poll = { mode = "flag", column = "pending", pending = [1], done = 0, write_back = true }'


def places(first: str, last: str) -> list[str]:
    """Returns the places from one to another."""
    return list(PLACES[PLACES.index(first) : PLACES.index(last) + 1])


POLLING = 'type = "polling"\nevery = "1s"'
TRIGGER = 'type = "trigger"\nlook_seconds = 0.1'


# Each way of finding changes, and each kind of database, at least once: what differs between
# databases is tried for each way by the contracts
@pytest.mark.parametrize(
    ("kind", "source", "resource", "compares"),
    [
        ("sqlite", POLLING, BY_TIME, True),
        ("psycopg2", POLLING, BY_TIME, True),
        ("mariadb", POLLING, BY_FLAG, True),
        ("firebird", TRIGGER, "", False),
        ("mysql8", TRIGGER, "", False),
    ],
    ids=[
        "polling sqlite",
        "polling psycopg2",
        "flags mariadb",
        "trigger firebird",
        "trigger mysql8",
    ],
)
def test_equal_after_a_kill_at_every_place(
    request: pytest.FixtureRequest,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
    kind: str,
    source: str,
    resource: str,
    compares: bool,
) -> None:
    """Rows, notes and events are there once, whatever of them was stored at the kill.

    `compares`: deletes are found by a comparison alone.
    """
    captured = places("after_read_begin", "after_ack_send")
    published = places("before_kafka_begin", "before_published_mark")
    assert [*captured, *published, *OF_A_SNAPSHOT, *OF_A_PAGE] == list(PLACES)
    if resource == BY_FLAG:
        # What is published is the same as with other looks
        published = []
    captured += [place for place in OF_STATES if place != MARKED or resource != BY_TIME]

    with place_of(kind, request, tmp_path) as place:
        unit = Unit(place, kafka, topic_prefix, tmp_path, source, resource)
        unit.write(30)
        unit.command("init", "--apply")
        with Stages(unit.config, tmp_path / "stages.log") as stages:

            def catch_up() -> None:
                with stages.running("capture"):
                    shared = unit.business.items()
                    eventually(lambda: shared <= unit.front.items(), what="every row is there")
                    if compares:
                        unit.command("reconcile", "permit")
                    eventually(lambda: unit.front == unit.business, what="both sides are equal")

            for name in OF_A_PAGE:
                stages.killed_at("capture", name)
                unit.write(5)
            catch_up()
            for name in captured:
                unit.write(5)
                stages.killed_at("capture", name)
            catch_up()

            for name in published:
                stages.killed_at("publish", name)
                unit.write(5)
                catch_up()
            with stages.running("publish"):
                eventually(lambda: at_front(unit.front_file, OUTBOX) == [(1,)], what="all is there")
        check_events(unit)
