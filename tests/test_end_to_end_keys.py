"""Tests that keys which careless collations take for one another stay rows of their own.

They do in every front end and topic.
"""

import json
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.agent_process import Installation
from tests.checker.inputs import name, one_of
from tests.checker.rows import column_types, front_rows
from tests.checker.unit import SCHEMA, UnitTable
from tests.publish.consumer import Judge
from tests.services.kafka import KafkaAddress

# Case, trailing spaces, accents (composed and not), full width, and characters of four bytes.
KEYS = ("A", "a", "a ", "a  ", "à", "a\u0300", "À", "ａ", "Ａ", "ss", "ß", "𠮷", "𠀀", "")
PLACES = UnitTable(
    "places", "地名", ' ("名" text PRIMARY KEY, "注" text)', {"名": one_of(*KEYS)}, {"注": name}
)
TABLE = sql.Identifier(SCHEMA, PLACES.name)


@pytest.mark.parametrize("front", ["sqlite", "postgres", "mariadb"])
def test_keys_that_look_alike_stay_apart(
    front: str,
    database: str,
    request: pytest.FixtureRequest,
    kafka: KafkaAddress,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    """Half of them are copied, half streamed.

    Then each row is changed by its key, and one deleted beside its likes.
    """
    target = (
        None
        if front == "sqlite"
        else request.getfixturevalue({"postgres": "database", "mariadb": "mariadb_database"}[front])
    )
    place = Installation(
        tmp_path, database, kafka.bootstrap, topic_prefix, tables=[PLACES], front=target
    )
    place.install()
    with psycopg.connect(database, autocommit=True) as unit, place.start() as agent:
        unit.cursor().executemany(
            sql.SQL("INSERT INTO {} VALUES (%s, 'new')").format(TABLE), [(key,) for key in KEYS[:7]]
        )
        agent.wait_ready()
        unit.cursor().executemany(
            sql.SQL("INSERT INTO {} VALUES (%s, 'new')").format(TABLE), [(key,) for key in KEYS[7:]]
        )
        unit.execute(
            sql.SQL("UPDATE {0} SET {1} = {2}").format(
                TABLE, sql.Identifier("注"), sql.Identifier("名")
            )
        )
        unit.execute(sql.SQL("DELETE FROM {} WHERE {} = 'a '").format(TABLE, sql.Identifier("名")))
        verdict = place.verdict()
    assert verdict.equal, verdict
    left = {(key,): (key, key) for key in KEYS if key != "a "}
    (judged,) = place.judged
    assert dict(front_rows(place.places.front, judged, column_types(database, judged))) == left
    judge = Judge(kafka.bootstrap, judged.topic)
    judge.wait_for({judged.topic: 2 * len(KEYS) + 1})
    assert {json.loads(record.key)["名"] for record in judge.events(judged.topic)} == set(KEYS)
