"""Tests the first copy.

Tables that hold rows already are copied while the application goes on writing.
"""

from typing import Any

from tests.checker import compare
from tests.checker.unit import ACCOUNTS, LEDGER, TABLES
from tests.faults.service import ArmedAgent
from tests.reconcile.system import (
    Ground,
    Paced,
    copied,
    equal,
    execute,
    operations_of_each,
    verified,
    wait_state,
)
from tests.reconcile.tables import INTEGERS, NUMERICS, PAIRS, TEXTS, numbered
from tests.waiting import eventually

ROWS = 500  # of each table
WRITTEN = 150  # transactions


def test_tables_of_every_key_are_copied_while_the_application_writes(each_ground: Ground) -> None:
    """Many writers work on the very keys that are copied.

    Front end, topics and each transaction are equal at the end.
    """
    written = [*TABLES, INTEGERS, NUMERICS, PAIRS, TEXTS]
    place = each_ground.installed([*written, LEDGER, ACCOUNTS], ROWS)
    journal = place.directory / "journal.jsonl"
    with (
        # The ledger and the accounts are not among what it may empty
        Paced(place.source, 5, journal, 4, written, big=100, open_seconds=0.2) as workload,
        place.start() as agent,
    ):
        until = copied(place, agent)
        enough = workload.transactions + WRITTEN
        eventually(lambda: workload.transactions > enough, 60, "the application goes on writing")
        workload.stop()
        equal(place, until=until)
        verified(place)
        verdict = compare(place.places, place.judged, journal, until)
        assert verdict.equal, verdict


def test_a_row_is_read_once_and_then_known(ground: Ground) -> None:
    """There is one `r` for each row that the front end did not have.

    There is none for those it has when the copy is repeated.
    """
    place = ground.installed([INTEGERS, NUMERICS, PAIRS], ROWS)
    with place.start() as agent:
        wait_state(place, agent, "live")
        equal(place)
        before = operations_of_each(place)
        assert all(kinds.keys() == {"r"} for kinds in before.values()), before
        place.command("reconcile")
        equal(place)
        assert operations_of_each(place) == before


def test_status_shows_how_far_a_copy_is(ground: Ground) -> None:
    """Rows compared, the rows the source's statistics promise, and when it may be done."""
    place = ground.installed([INTEGERS], before=numbered(1, 20_000))
    execute(place.source, 'ANALYZE "业务"."整数"')
    with ArmedAgent(place, "before_page_snapshot:3:stall=6") as agent:
        copy = eventually(lambda: _copy(place.status()), 60, "some pages are merged", 0)
        assert copy["phase"] == "pages"
        assert 0 < copy["rows"] < copy["estimate"] == 20_000
        assert copy["seconds_left"] > 0
        wait_state(place, agent, "live")
    assert place.status()["tables"][0]["copy"] is None


def _copy(status: dict[str, Any]) -> dict[str, Any]:
    """How far the copy is; nothing before its first page."""
    copy = status["tables"][0]["copy"]
    return dict(copy) if copy and copy["rows"] else {}
