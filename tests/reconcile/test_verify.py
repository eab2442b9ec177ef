"""Tests that `verify` finds exactly what somebody has damaged, and else nothing.

`reconcile` repairs exactly that.
"""

import json
import uuid
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from psycopg import sql

from tests.agent_process import Installation
from tests.checker.front import at_front
from tests.checker.unit import UnitTable
from tests.reconcile.system import (
    Ground,
    counts,
    equal,
    execute,
    keys_of,
    operations,
    operations_of_each,
    report,
    verified,
    wait_state,
)
from tests.reconcile.tables import INTEGERS, KEYED, MIXED, NUMERICS, TEXTS
from tests.services.fixtures import fresh_database, slots_dropped
from tests.services.postgres import PostgresAddress
from tests.waiting import eventually

ROWS = 300
GONE, CHANGED = 3, 2  # rows damaged in each table; one more is added
EXTRA: dict[str, Sequence[str]] = {
    "integers": ["2147483647"],
    "numerics": ["99999999999999999999"],
    "pairs": ["9223372036854775807", "32767"],
    "texts": ["\u200b多'\\\" "],
    "mixed": ["\u200b多'\\\" ", "7"],
    "uuids": ["ffffffff-ffff-4fff-8fff-ffffffffffff"],
}


@pytest.fixture
def chinese(postgres15: PostgresAddress) -> Iterator[str]:
    """A database whose order of texts is ICU's for Chinese."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    create = (
        "CREATE DATABASE {} LOCALE_PROVIDER icu ICU_LOCALE 'zh-CN' "
        "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    with psycopg.connect(postgres15.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL(create).format(sql.Identifier(name)))
        yield postgres15.dsn(name)
        eventually(lambda: slots_dropped(connection, name), what=f"the slots of {name} are dropped")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def damage(place: Installation, table: UnitTable) -> set[tuple[str, str]]:
    """Deletes, changes and adds rows of the front end; returns what is wrong then."""
    keys = keys_of(place, table)
    names = [f'"{column}"' for column in table.key]
    where = " AND ".join(f"{column} = %s" for column in names)
    for key in keys[: GONE + CHANGED]:
        statement = (
            f'DELETE FROM "{table.name}"'
            if key in keys[:GONE]
            else f'UPDATE "{table.name}" SET "值" = \'手改\''
        )
        assert at_front(place.places.front, f"{statement} WHERE {where}", *key) == [(1,)]
    places = ", ".join(["%s"] * (len(names) + 1))
    extra = EXTRA[table.resource]
    at_front(
        place.places.front,
        f'INSERT INTO "{table.name}" ({", ".join(names)}, "值") VALUES ({places})',
        *extra,
        "手加",
    )
    kinds: dict[str, Sequence[Sequence[object]]] = {
        "missing": keys[:GONE],
        "different": keys[GONE : GONE + CHANGED],
        "extra": [extra],
    }
    return {(kind, _parts(key)) for kind, some in kinds.items() for key in some}


def _parts(key: Sequence[object]) -> str:
    return "/".join(map(str, key))


def assert_found_and_repaired(place: Installation) -> None:
    """Damages every table and asserts that verify, reconcile and the topics say exactly that.

    Before and after there is nothing to say.
    """
    with place.start() as agent:
        wait_state(place, agent, "live")
        verified(place)
        eventually(place.caught_up, what="all events are published")
        wrong = {table.resource: damage(place, table) for table in place.tables}
        before = operations_of_each(place)
        shown = report(place, "verify", "--show-keys", expect=1)
        for name, damaged in wrong.items():
            assert counts(shown[name]) == (GONE, CHANGED, 1), (name, shown[name])
            assert {
                (found["kind"], _key(found["key"])) for found in shown[name]["differences"]
            } == damaged
        repaired = report(place, "reconcile")
        assert all(counts(repaired[name]) == (GONE, CHANGED, 1) for name in wrong), repaired
        done = {"added": GONE, "changed": CHANGED, "deleted": 1}
        assert all(repaired[name]["repaired"] == done for name in wrong), repaired
        verified(place)
        equal(place)
        after = operations_of_each(place)
        assert {name: after[name] - before[name] for name in wrong} == {
            name: {"r": GONE, "u": CHANGED, "d": 1} for name in wrong
        }


def _key(text: str) -> str:
    return _parts(list(json.loads(text).values()))


def test_damage_is_found_counted_and_repaired(ground: Ground) -> None:
    """In SQLite, for every kind of key."""
    assert_found_and_repaired(ground.installed(KEYED, ROWS))


@pytest.mark.parametrize("front", ["sqlite", "postgres"])
def test_a_source_in_chinese_order(front: str, chinese: str, ground: Ground) -> None:
    """Source, front end and Python each order texts in their own way.

    Into PostgreSQL it is tested for every kind of key.
    """
    assert execute(chinese, "SELECT '李四' < '张三', '李四' COLLATE \"C\" < '张三'") == [
        (True, False)
    ]
    place = ground._replace(source=chinese, front=ground.source if front == "postgres" else None)
    assert_found_and_repaired(
        place.installed(KEYED if front == "postgres" else [TEXTS, MIXED], ROWS)
    )


def test_keys_are_hashed_unless_asked_for(ground: Ground) -> None:
    """They are values of rows."""
    place = ground.installed([TEXTS], 20)
    with place.start() as agent:
        wait_state(place, agent, "live")
        at_front(place.places.front, """INSERT INTO "文本" ("代码") VALUES ('机密')""")
        hashed = report(place, "verify", expect=1)["texts"]["differences"]
        assert [len(bytes.fromhex(found["key"])) for found in hashed] == [8]
        assert "机密" not in place.command("verify", expect=1).stdout
        assert "机密" in place.command("verify", "--show-keys", expect=1).stdout


def test_the_same_number_with_more_digits_is_equal(
    ground: Ground, postgres15: PostgresAddress
) -> None:
    """The front-end tables were there before, with a wider key and a wider amount.

    5.0000 there is 5.00 here.
    """
    with fresh_database(postgres15) as front:
        execute(
            front, 'CREATE TABLE "整数" ("编号" bigint PRIMARY KEY, "值" text, "额" numeric(20,4))'
        )
        execute(
            front,
            'CREATE TABLE "长号" ("编号" numeric(26,4) PRIMARY KEY, "值" text, "额" numeric(20,4))',
        )
        assert_equal_in_wider_columns(
            ground._replace(front=front).installed([INTEGERS, NUMERICS], ROWS)
        )


def assert_equal_in_wider_columns(place: Installation) -> None:
    """Nothing differs, until something does in the last digit."""
    with place.start() as agent:
        wait_state(place, agent, "live")
        verified(place)
        eventually(place.caught_up, what="all events are published")
        events = operations(place, INTEGERS) + operations(place, NUMERICS)
        place.command("reconcile")
        assert operations(place, INTEGERS) + operations(place, NUMERICS) == events
        assert at_front(
            place.places.front, 'SELECT max(scale("额")), max(scale("编号")) FROM "长号"'
        ) == [(4, 4)]
        at_front(
            place.places.front,
            'UPDATE "长号" SET "额" = "额" + 0.0001 WHERE "编号" = '
            '(SELECT min("编号") FROM "长号" WHERE "额" IS NOT NULL)',
        )
        assert counts(report(place, "verify", "numerics", expect=1)["numerics"]) == (0, 1, 0)
        place.command("reconcile", "numerics")
        verified(place)
