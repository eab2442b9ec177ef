"""Tests that two rows may share a key for a moment.

A deferrable primary key is moved on, swapped and rotated in one statement, with a page in flight
and killed halfway.
"""

import psycopg

from tests.checker.unit import DEFERRED
from tests.checker.writer import Writer
from tests.faults.service import ArmedAgent
from tests.reconcile.system import Ground, copied, equal, events, execute
from tests.waiting import eventually

ROWS = 6_000  # more than one set of the applier
FILL = (
    f"""INSERT INTO "业务"."排队" SELECT n, 'name ' || n, 'why' FROM generate_series(1, {ROWS}) n"""
)
STATEMENTS = (
    'UPDATE "业务"."排队" SET "号" = "号" + 1',  # 1→2, 2→3, …
    f'UPDATE "业务"."排队" SET "号" = {ROWS} + 3 - "号" WHERE "号" IN (2, {ROWS} + 1)',  # swapped
    # Rotated.
    (
        'UPDATE "业务"."排队" SET "号" = '
        'CASE "号" WHEN 10 THEN 11 WHEN 11 THEN 12 ELSE 10 END WHERE "号" IN (10, 11, 12)'
    ),
    'UPDATE "业务"."排队" SET "号" = "号" - 1 WHERE "号" < 100',
)
LATE = """BEGIN; SET CONSTRAINTS ALL DEFERRED;
    INSERT INTO "业务"."排队" VALUES (50, 'new', 'why');
    DELETE FROM "业务"."排队" WHERE "号" = 50 AND "姓名" <> 'new';
    UPDATE "业务"."排队" SET "号" = 60 WHERE "号" = 50;
    UPDATE "业务"."排队" SET "号" = 50 WHERE "号" = 60 AND "姓名" <> 'new'; COMMIT"""


def test_no_row_is_lost_where_two_share_a_key(ground: Ground) -> None:
    """No row is lost in front end and topics.

    That holds also where the transaction is larger than what the agent works off at once.
    """
    place = ground.installed([DEFERRED], before=lambda source: execute(source, FILL))
    with (
        ArmedAgent(place, f"before_page_snapshot:2:stall=2,mid_apply:{ROWS - 500}:kill") as agent,
        psycopg.connect(place.source, autocommit=True) as unit,
    ):
        eventually(
            lambda: "before_page_snapshot" in agent.fired(), 60, "a page is about to be read"
        )
        for statement in STATEMENTS:
            unit.execute(statement.encode())
        until = copied(place, agent)
        assert "mid_apply" in agent.fired(), agent.log
        told = len(events(place, DEFERRED))
        for statement in STATEMENTS:
            unit.execute(statement.encode())
        unit.execute(LATE.encode())
        with Writer(place.source, 5, [DEFERRED]) as writer:
            writer.run(60)
        equal(place, until=until)
        assert len(events(place, DEFERRED)) >= told + ROWS + 1
