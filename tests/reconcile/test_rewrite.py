"""Tests a table that is rewritten between a page's snapshot and its read.

The table then shows that snapshot nothing, but no row is deleted for it.
"""

from tests.faults.service import ArmedAgent
from tests.reconcile.system import (
    Ground,
    ended,
    equal,
    execute,
    operations,
    running,
    verified,
    wait_state,
)
from tests.reconcile.tables import INTEGERS, numbered
from tests.waiting import eventually

ROWS = 1_000


def test_rows_rewritten_under_a_page_are_not_deleted(ground: Ground) -> None:
    """The page is empty and thrown away; the next one has the rows."""
    place = ground.installed([INTEGERS], before=numbered(1, ROWS))
    with place.start(covered=True) as agent:
        wait_state(place, agent, "live")
        equal(place)
        agent.stop()
    with ArmedAgent(place, "after_page_snapshot:1:stall=3") as agent:
        agent.wait_ready()
        with running(place, "reconcile", "--allow-deletes", "--json") as command:
            eventually(agent.fired, what="a page has its snapshot")
            execute(
                place.source,
                'ALTER TABLE "业务"."整数" ALTER "额" TYPE numeric(12,2) USING "额" + 0',
            )
            assert '"equal": 1000' in ended(command)
        assert "page_thrown_away resource=integers" in agent.log
        wait_state(place, agent, "live")
        verified(place)
        equal(place)
        assert operations(place, INTEGERS) == {"r": ROWS}
