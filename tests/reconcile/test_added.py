"""A table that is shared later, by the configuration and `init --apply`."""

import psycopg

from tests.checker.unit import create_tables
from tests.reconcile.system import Ground, equal, states, verified, wait_state
from tests.reconcile.tables import INTEGERS, TEXTS, fill
from tests.waiting import eventually, never

WAITS = 3.0  # seconds in which an impatient copy would have ended


def test_rows_of_a_transaction_in_flight_are_not_lost(ground: Ground) -> None:
    """What it wrote before the table was published is in neither stream nor an early page.

    The copy waits for it, and `status` names it.
    """
    place = ground.installed([INTEGERS], rows=100)
    create_tables(place.source, [TEXTS])
    fill(place.source, [TEXTS], 300)
    with place.start(covered=True) as agent:
        wait_state(place, agent, "live")
        agent.stop()
    with psycopg.connect(place.source, application_name="月底结账") as application:
        application.execute(
            """INSERT INTO "业务"."文本" ("代码", "值") VALUES ('早', '在发布之前')"""
        )
        place.tables = [INTEGERS, TEXTS]
        place.write_config()
        assert "texts" in place.init()
        application.execute(
            """INSERT INTO "业务"."文本" ("代码", "值") VALUES ('晚', '在发布之后')"""
        )
        with place.start() as agent:
            waits = eventually(lambda: place.status()["source"]["waits"], 30, "the copy waits")
            assert [wait["who"] for wait in waits] == [str(application.info.backend_pid)]
            never(
                lambda: states(place) != {"integers": "live", "texts": "copying"},
                WAITS,
                "the copy ends too early",
            )
            application.commit()
            wait_state(place, agent, "live")
            assert place.status()["source"]["waits"] == []
            equal(place)
            verified(place)
