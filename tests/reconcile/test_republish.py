"""Tests that a topic never has a hole, on a running service, and the ways back.

Rows are too large for Kafka, a topic is deleted, and a front end is restored from a backup.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not re-exported for mypy

from tests.agent_process import Installation
from tests.checker import compare
from tests.checker.front import at_front
from tests.reconcile.system import Ground, copied, equal, events, execute, states, wait_state
from tests.reconcile.tables import INTEGERS, TEXTS, numbered
from tests.waiting import PATIENCE, eventually

ROWS = 300
LARGE = 40_000
INSERT = """
    INSERT INTO "业务"."整数"
    SELECT n, left(repeat(md5(n::text), 2000), %s), n FROM generate_series(%s::int, %s::int) n
"""


def withheld(place: Installation) -> int:
    """What status says of INTEGERS."""
    return int(
        next(
            table["withheld"]
            for table in place.status()["tables"]
            if table["name"] == INTEGERS.resource
        )
    )


def test_rows_too_large_for_kafka_wait_alone(ground: Ground) -> None:
    """The front end has them, status counts them, and the judge accepts them only when told.

    After the limit is raised `retry` publishes them.
    """
    place = ground.installed([INTEGERS, TEXTS], ROWS, kafka={"max_event_bytes": 20_000})
    topic = INTEGERS.judged(place.name).topic
    with place.start(covered=True) as agent:
        until = copied(place, agent)
        execute(place.source, INSERT, LARGE, 1, 3)
        execute(place.source, INSERT, 10, 4, 9)
        execute(
            place.source, """UPDATE "业务"."整数" SET "值" = repeat('x', 30000) WHERE "编号" = 4"""
        )
        execute(place.source, """DELETE FROM "业务"."整数" WHERE "编号" = 3""")
        eventually(place.caught_up, 60, "everything else is published", 0.2)
        judged = [table.judged(place.name) for table in place.tables]
        verdict = compare(place.places, judged, copied=until)
        # 4 has an older row in the topic
        assert verdict.oracles["O3"] == 3 and verdict.missing == 2, verdict
        assert compare(
            place.places, judged, copied=until, withheld={topic: [(1,), (2,), (4,)]}
        ).equal
        assert withheld(place) == 3 and set(states(place).values()) == {"live"}
        place.command("retry", INTEGERS.resource, expect=1)
        assert withheld(place) == 3
        agent.stop()
    assert "x" * 100 not in agent.log and agent.log.count("row_withheld") == 4
    place.sections = {**place.sections, "kafka": {"max_event_bytes": 100_000}}
    place.write_config()
    with place.start() as agent:
        agent.wait_ready()
        place.command("retry", INTEGERS.resource)
        until = copied(place, agent)
        equal(place, until=until)
        assert withheld(place) == 0


@contextmanager
def administrator(place: Installation) -> Iterator[AdminClient]:
    """Who may delete topics."""
    yield AdminClient({"bootstrap.servers": place.bootstrap, "log_level": 0})


@pytest.mark.usefixtures("looks_often")
def test_a_lost_topic_is_published_anew(ground: Ground) -> None:
    """Once it is noticed, its table alone stands still.

    Once the topic is there again every row comes in a new generation, while changes go on.
    """
    place = ground.installed([INTEGERS, TEXTS], ROWS)
    topic = INTEGERS.judged(place.name).topic
    with place.start() as agent, administrator(place) as admin:
        until = copied(place, agent)
        eventually(place.caught_up, 60, "the topic is published to", 0.2)
        admin.delete_topics([topic], operation_timeout=10)[topic].result(PATIENCE)
        execute(place.source, INSERT, 10, 1, 50)
        wait_state(place, agent, "suspended", INTEGERS.resource, timeout=60)
        (code,) = [
            table["code"]
            for table in place.status()["tables"]
            if table["name"] == INTEGERS.resource
        ]
        assert code == "TOPIC_LOST"
        execute(place.source, """UPDATE "业务"."文本" SET "值" = '还在' """)
        equal(place, TEXTS, until=until)
        refused = place.command("republish", INTEGERS.resource, expect=78).stderr
        assert "TOPIC_MISSING" in refused and f"--create --topic {topic}" in refused
        admin.create_topics([NewTopic(topic, 3, 1)], operation_timeout=10)[topic].result(PATIENCE)
        execute(place.source, """DELETE FROM "业务"."整数" WHERE "编号" <= 20""")
        place.command("republish", INTEGERS.resource, expect=1)  # so many deletes need a word
        place.command("resume", INTEGERS.resource, "--allow-deletes")
        execute(place.source, """UPDATE "业务"."整数" SET "值" = 'new' WHERE "编号" = 21""")
        until = copied(place, agent)
        equal(place, until=until)
        rows = execute(place.source, 'SELECT "编号" FROM "业务"."整数"')
        found = [event for _, event in events(place, INTEGERS)]
        assert {event.generation for event in found} == {2}
        assert min(event.seq for event in found) == 1 and sum(
            event.op == "r" for event in found
        ) == len(rows)


def test_a_front_end_restored_from_a_backup(ground: Ground) -> None:
    """The agent halts, and `rebind --after-restore` lets it go on.

    Every topic begins a new generation, with deletes of keys that only the topic has.
    """
    place = ground.installed([INTEGERS], before=numbered(1, ROWS))
    with place.start(covered=True) as agent:
        copied(place, agent)
        agent.stop()
    backup = place.directory / "backup.db"
    with (
        closing(sqlite3.connect(place.front_file)) as file,
        closing(sqlite3.connect(backup)) as copy,
    ):
        file.backup(copy)
    with place.start(covered=True) as agent:
        agent.wait_ready()
        execute(place.source, INSERT, 10, 1001, 1050)
        execute(place.source, """DELETE FROM "业务"."整数" WHERE "编号" <= 40""")
        eventually(place.caught_up, 60, "all is published", 0.2)
        agent.stop()
    # Only the topic knows them
    execute(place.source, """DELETE FROM "业务"."整数" WHERE "编号" > 1025""")
    with (
        closing(sqlite3.connect(backup)) as copy,
        closing(sqlite3.connect(place.front_file)) as file,
    ):
        copy.backup(file)
    with place.start(covered=True) as agent:
        assert agent.wait() == 78
    said = place.command("rebind", "--after-restore").stdout
    assert "\n" in said
    with place.start() as agent:
        until = copied(place, agent)
        equal(place, until=until)
        found = [event for _, event in events(place, INTEGERS) if event.generation == 2]
        assert sum(event.op == "r" for event in found) == ROWS - 40 + 25
        assert at_front(place.places.front, "SELECT count(*) FROM sync_agent_topic") == [(0,)]
