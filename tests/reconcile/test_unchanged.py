"""An UPDATE whose log lacks large values, of a row that the front end does not have yet."""

from tests.checker.front import at_front
from tests.checker.unit import TABLES
from tests.faults.service import ArmedAgent
from tests.reconcile.system import Ground, equal, execute, operations, states, wait_state
from tests.waiting import eventually

DOCUMENTS = TABLES[3]
ROWS = 50
FILL = f"""
    INSERT INTO "业务"."文书"
    SELECT n, '题', 1,
        (SELECT string_agg(md5((n * 1000 + i)::text), '') FROM generate_series(1, 300) i), NULL
    FROM generate_series(1, {ROWS}) n
"""


def test_unchanged_values_come_from_the_page(ground: Ground) -> None:
    """While the copy is under way the row is a hole.

    There is neither row nor event until all of it is known.
    """
    place = ground.installed([DOCUMENTS], before=lambda source: execute(source, FILL))
    with ArmedAgent(place, "before_page_snapshot:1:stall=4") as agent:
        eventually(agent.fired, 60, "a page is about to be read")
        execute(place.source, """UPDATE "业务"."文书" SET "版次" = 2 WHERE "文书号" <= 10""")
        execute(place.source, """UPDATE "业务"."文书" SET "文书号" = 1000 WHERE "文书号" = 11""")
        eventually(
            lambda: at_front(place.places.front, "SELECT count(*) FROM sync_agent_hole") == [(11,)],
            30,
            "the rows are holes",
        )
        assert at_front(place.places.front, 'SELECT count(*) FROM "文书"') == [(0,)]
        wait_state(place, agent, "live")
        equal(place)
        assert operations(place, DOCUMENTS)["r"] == ROWS
        assert at_front(place.places.front, "SELECT count(*) FROM sync_agent_hole") == [(0,)]


def test_unchanged_values_of_a_live_table_whose_row_is_gone(ground: Ground) -> None:
    """Somebody took the row from the front end, so the update finds no base.

    The row is read once more, and the table is live again.
    """
    place = ground.installed([DOCUMENTS], before=lambda source: execute(source, FILL))
    with place.start() as agent:
        wait_state(place, agent, "live")
        at_front(place.places.front, 'DELETE FROM "文书" WHERE "文书号" = 7')
        execute(place.source, """UPDATE "业务"."文书" SET "版次" = 3 WHERE "文书号" = 7""")
        eventually(
            lambda: (
                at_front(place.places.front, 'SELECT "版次" FROM "文书" WHERE "文书号" = 7')
                == [(3,)]
            ),
            30,
            "the row is back",
        )
        wait_state(place, agent, "live")
        equal(place)
        assert states(place) == {"documents": "live"}
        assert operations(place, DOCUMENTS) == {"r": ROWS + 1}
