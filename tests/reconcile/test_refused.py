"""Tests rows that the front end refuses, and keys that it takes for others, on real parts.

Nothing is lost, and nothing is published for ever.
"""

import json
from typing import Any

from tests.agent_process import Installation
from tests.checker.front import at_front
from tests.checker.unit import UnitTable
from tests.reconcile.system import Ground, counts, execute, operations, report, wait_state
from tests.services.fixtures import fresh_database
from tests.services.postgres import PostgresAddress
from tests.waiting import eventually

SPANS = UnitTable(
    "spans", "时长", """ ("长" interval PRIMARY KEY, "值" text)""",
    {"长": lambda _: "1 hour"}, {"值": lambda _: ""},
)  # fmt: skip
AMOUNTS = UnitTable(
    "amounts",
    "金额",
    """ ("额" numeric PRIMARY KEY, "值" text)""",
    {"额": lambda _: "1"},
    {"值": lambda _: ""},
    settings='delete = "soft"\ntechnical = { deleted = "sc" }',
    deleted="sc",
)
PEOPLE = UnitTable(
    "people", "人员", """ ("编号" integer PRIMARY KEY, "值" text)""",
    {"编号": lambda _: "1"}, {"值": lambda _: ""},
)  # fmt: skip


def stands(place: Installation, table: UnitTable, *columns: str) -> list[tuple[Any, ...]]:
    """Rows of the front end, by their first column's text."""
    listed = ", ".join(f'"{column}"' for column in columns)
    return sorted(at_front(place.places.front, f'SELECT {listed} FROM "{table.name}"'), key=repr)


def test_keys_keep_their_spelling(ground: Ground, postgres15: PostgresAddress) -> None:
    """Keys get another spelling while the table is suspended, and in the stream.

    The front end follows, the topic gets it once, and then nothing differs.
    """
    with fresh_database(postgres15) as front:
        place = ground._replace(front=front).installed([SPANS, AMOUNTS])
        source = place.source
        execute(source, """INSERT INTO "业务"."时长" VALUES ('24:00:00', 'a'), ('2 days', 'b')""")
        execute(source, """INSERT INTO "业务"."金额" VALUES (1.0, 'a'), (2.0, 'b')""")
        with place.start(covered=True) as agent:
            wait_state(place, agent, "live")
            eventually(lambda: len(stands(place, AMOUNTS, "额")) == 2, what="the rows are there")
            at_front(front, "UPDATE sync_agent_resource SET state = 'suspended'")
            agent.stop()
        execute(source, """UPDATE "业务"."时长" SET "长" = '1 day' WHERE "值" = 'a'""")
        execute(source, """UPDATE "业务"."金额" SET "额" = 1.00 WHERE "值" = 'a'""")
        with place.start() as agent:
            eventually(place.caught_up, what="the stream is past the change")
            for table in (SPANS, AMOUNTS):
                place.command("resume", table.resource)
            wait_state(place, agent, "live")
            assert_spelled(place, front, "1 day", "1.00")
            execute(source, """UPDATE "业务"."时长" SET "长" = '24:00:00' WHERE "值" = 'a'""")
            execute(source, """UPDATE "业务"."金额" SET "额" = 1.000 WHERE "值" = 'a'""")
            eventually(place.caught_up, what="all events are published")
            assert_spelled(place, front, "24:00:00", "1.000")


def assert_spelled(place: Installation, front: str, span: str, amount: str) -> None:
    """The front end has both rows so, and nothing differs however often it is looked for."""
    spans = at_front(front, """SELECT "长"::text, "值" FROM "时长" ORDER BY "值" """)
    assert spans == [(span, "a"), ("2 days", "b")]
    amounts = at_front(front, """SELECT "额"::text FROM "金额" WHERE sc = 0 ORDER BY "值" """)
    assert amounts == [(amount,), ("2.0",)]
    told = operations(place, SPANS) + operations(place, AMOUNTS)
    for command in ("reconcile", "verify"):
        for found in report(place, command).values():
            assert counts(found) == (0, 0, 0), found
    assert operations(place, SPANS) + operations(place, AMOUNTS) == told


def test_a_refused_row_does_not_stand_its_table(
    ground: Ground, postgres15: PostgresAddress
) -> None:
    """A refused row is published, listed and counted, and `retry` heals it.

    It is not published a second time however often its table is reconciled.
    """
    with fresh_database(postgres15) as front:
        execute(
            front,
            """CREATE TABLE "人员" ("编号" integer PRIMARY KEY,
            "值" text CONSTRAINT clean CHECK ("值" <> 'dirty'))""",
        )
        place = ground._replace(front=front).installed([PEOPLE])
        execute(
            place.source,
            """INSERT INTO "业务"."人员" SELECT n, 'ok' FROM generate_series(1, 50) n""",
        )
        with place.start() as agent:
            wait_state(place, agent, "live")
            execute(
                place.source, """UPDATE "业务"."人员" SET "值" = 'dirty' WHERE "编号" IN (7, 9)"""
            )
            execute(place.source, """UPDATE "业务"."人员" SET "值" = 'new' WHERE "编号" = 8""")
            eventually(place.caught_up, what="all events are published")
            assert ("8", "new") in [(str(a), b) for a, b in stands(place, PEOPLE, "编号", "值")]
            assert_listed(place, "dirty")
            told = operations(place, PEOPLE)
            for command in ("verify", "reconcile", "reconcile"):
                found = report(place, command, expect=1)["people"]
                assert (counts(found), found["refused"]) == ((0, 2, 0), 2), (command, found)
            assert operations(place, PEOPLE) == told
            execute(place.source, """UPDATE "业务"."人员" SET "值" = 'well' WHERE "编号" = 7""")
            eventually(lambda: len(refused(place)) == 1, what="a good change heals")
            assert place.command("retry", "people", expect=1)
            execute(front, """ALTER TABLE "人员" DROP CONSTRAINT clean""")
            eventually(place.caught_up, what="the good change is published")
            told = operations(place, PEOPLE)
            place.command("retry", "people")
            assert refused(place) == [] and operations(place, PEOPLE) == told
            assert counts(report(place, "verify")["people"]) == (0, 0, 0)
        assert "dirty" not in agent.log


def refused(place: Installation, *arguments: str) -> list[dict[str, str]]:
    """What `refused` lists."""
    listed = place.command("refused", "people", "--json", *arguments).stdout
    found: list[dict[str, str]] = json.loads(listed)
    return found


def assert_listed(place: Installation, value: str) -> None:
    """Both rows, with the constraint's name and without a value; the keys on demand."""
    listed = refused(place)
    assert len(listed) == 2
    assert all("23514" in row["code"] and "clean" in row["code"] for row in listed)
    assert value not in json.dumps(listed)
    assert [len(row["key"]) for row in listed] == [16, 16]
    keys = {json.loads(row["key"])["编号"] for row in refused(place, "--show-keys")}
    assert keys == {7, 9}
    status = json.loads(place.command("status", "--json").stdout)
    assert [table["refused"] for table in status["tables"]] == [2]
