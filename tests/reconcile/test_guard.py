"""A copy that would delete much of the front end stops and asks."""

import json

from tests.checker.front import at_front
from tests.reconcile.system import Ground, equal, execute, operations, report, states, wait_state
from tests.reconcile.tables import INTEGERS, TEXTS, numbered

EXTRA = 400


def test_too_many_deletes_suspend_the_table_alone(ground: Ground) -> None:
    """`status` names the reason; `resume --allow-deletes` goes on, and each delete is an event."""
    place = ground.installed([INTEGERS, TEXTS], rows=200)
    with place.start() as agent:
        wait_state(place, agent, "live")
        equal(place)
        numbers = (
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {EXTRA})"
        )
        at_front(
            place.places.front, f"""{numbers} INSERT INTO "文本" ("代码") SELECT '多' || i FROM n"""
        )
        refused = json.loads(place.command("reconcile", "texts", "--json", expect=2).stdout)
        assert refused[0]["state"] == "suspended"
        table = place.status()["tables"][1]
        assert (table["state"], table["code"]) == ("suspended", "TOO_MANY_DELETES")
        assert "sync-agent resume texts --allow-deletes" in table["hint"]
        assert operations(place, TEXTS)["d"] == 0
        assert states(place)["integers"] == "live"
        numbered(1, 5)(place.source)
        place.applied()
        assert at_front(
            place.places.front, 'SELECT count(*) FROM "整数" WHERE "编号" BETWEEN 1 AND 5'
        ) == [(5,)]
        place.command("resume", "texts", "--allow-deletes")
        wait_state(place, agent, "live")
        equal(place)
        assert operations(place, TEXTS)["d"] == EXTRA


def test_a_few_deletes_need_no_word(ground: Ground) -> None:
    """Up to a hundred rows, or the configured share."""
    place = ground.installed(
        [INTEGERS], before=numbered(1, 400), reconcile={"max_delete_share": 0.5}
    )
    with place.start() as agent:
        wait_state(place, agent, "live")
        insert_at_front = (
            "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1150) "
            'INSERT INTO "整数" ("编号") SELECT i FROM n'
        )
        at_front(place.places.front, insert_at_front)
        assert report(place, "reconcile")["integers"]["extra"] == 151
        equal(place)
        assert execute(place.source, 'SELECT count(*) FROM "业务"."整数"') == [(400,)]
