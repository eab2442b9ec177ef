"""What looks find: equal timestamps, late commits, clocks set back, rows without a timestamp."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from agent.connectors.polling import source
from agent.connectors.polling.cursors import Standstill
from agent.connectors.polling.inspection import inspect
from agent.connectors.polling.looks import CursorLooks
from agent.connectors.position import position_number
from tests.source.databases import KINDS, Place, place_of
from tests.source.looking import Follower

TIMES = {
    "sqlite": "DATETIME",
    "mariadb": "DATETIME(3)",
    "mysql8": "DATETIME(3)",
    "postgresql": "timestamp(3)",
    "psycopg2": "timestamp(3)",
    "firebird": "TIMESTAMP",
}
NOON = "2024-05-01 12:00:00"


class Polled(Follower):
    """A table whose rows have a time and a number."""

    def __init__(self, place: Place, **poll: Any) -> None:
        column = "n" if poll.get("mode") == "sequence" else "changed"
        place.execute(
            f"CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, note VARCHAR(20), "
            f"changed {TIMES[place.kind]}, n INTEGER)",
            "CREATE INDEX t_changed ON t (changed, id)",
        )
        super().__init__(place, {"mode": "timestamp", "column": column, **poll})

    def put(self, number: int, note: str, changed: str | None) -> None:
        """Inserts or changes a row, with any time of change."""
        moment = "NULL" if changed is None else f"'{changed}'"
        self.place.execute(
            f"DELETE FROM t WHERE id = {number}",
            f"INSERT INTO t VALUES ({number}, '{note}', {moment}, {number})",
        )


@pytest.fixture(params=[*KINDS, "psycopg2", "mysql8", "firebird"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database of each kind in turn."""
    with place_of(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture
def follower(place: Place) -> Iterator[Polled]:
    """A table that has one row, at which the first look was."""
    made = Polled(place)
    made.put(0, "first", NOON)
    made.look()
    yield made
    made.source.close()


def test_the_first_look_leaves_the_rows_to_the_copy(follower: Polled) -> None:
    """It only notes up to where there are rows."""
    assert follower.delivered == 0
    assert position_number(follower.stored.position) > 100


def test_check_asks_for_no_index_that_is_there(place: Place) -> None:
    """Of a table that was filled at once, so that the database would read all of it by now."""
    follower = Polled(place)
    rows = [{"id": n, "note": "loaded", "n": n} for n in range(1500)]
    statement = f"INSERT INTO t (id, note, changed, n) VALUES (:id, :note, '{NOON}', :n)"
    place.insert(statement, rows)
    codes = [one.code for one in inspect(follower.settings, place.database).findings]
    assert "TABLE_OK" in codes
    assert "CURSOR_UNINDEXED" not in codes

    follower.source.close()
    place.execute("DROP INDEX t_changed" + " ON t" * (place.kind in ("mariadb", "mysql8")))
    codes = [one.code for one in inspect(follower.settings, place.database).findings]
    assert "CURSOR_UNINDEXED" in codes


def test_equal_times_across_the_border_of_parts(follower: Polled) -> None:
    """Each row comes once, whatever the size of a part; the next look delivers none again."""
    for number in range(1, 24):
        follower.put(number, f"note {number}", "2024-05-01 12:00:01")
    with patch.object(source, "ROWS", 7):
        assert follower.look() == 24
        assert follower.look() == 0
    assert follower.rows == follower.held()


def test_what_is_committed_late_is_found_within_the_overlap(follower: Polled) -> None:
    """A row whose time lies before the last look's end, by less than the overlap."""
    follower.put(1, "later", "2024-05-01 12:10:00")
    follower.look()
    follower.put(2, "late", "2024-05-01 12:09:01")
    assert follower.look() == 1
    assert follower.rows["2"] == "late"


def test_what_rests_is_read_no_more(follower: Polled) -> None:
    """Once a late commit is out of the question; the rows of a whole minute stay in question."""
    now = 0.0
    [looks] = follower.source._looks.values()
    assert isinstance(looks, CursorLooks)
    looks.standstill = Standstill(lambda: now)
    follower.put(1, "loaded", "2024-05-01 12:10:01")
    follower.look()
    follower.look()
    now = 60.0
    follower.put(2, "late", "2024-05-01 12:10:00")
    assert follower.look() == 1
    now = 61.5
    follower.put(3, "too late", "2024-05-01 12:10:01")
    assert follower.look() == 0
    follower.put(4, "new", "2024-05-01 12:11:00")
    assert follower.look() == 1
    now = 200.0
    follower.put(5, "in the same minute", "2024-05-01 12:11:00")
    follower.look()
    now = 400.0
    follower.put(6, "in the same minute", "2024-05-01 12:11:00")
    follower.look()
    assert follower.rows == follower.held()


def test_a_change_within_one_tick_of_the_clock_is_found(follower: Polled) -> None:
    """The row has the same time as before, and another content."""
    follower.put(1, "one", "2024-05-01 12:10:00")
    follower.look()
    follower.put(1, "two", "2024-05-01 12:10:00")
    assert follower.look() == 1
    assert follower.rows["1"] == "two"


def test_rows_without_a_time_are_read_at_each_look(follower: Polled) -> None:
    """In parts, too."""
    for number in range(1, 10):
        follower.put(number, "one", None)
    with patch.object(source, "ROWS", 4):
        assert follower.look() == 10
        follower.put(5, "two", None)
        assert follower.look() == 1
    assert follower.rows == follower.held()


def test_a_time_far_ahead_hides_nothing(follower: Polled) -> None:
    """As a clock that was set back does: the cursor never passes the database's own clock."""
    follower.put(1, "ahead", "2199-01-01 00:00:00")
    follower.look()
    with follower.place.open() as connection:
        now = follower.place.database.dialect.clock(connection, utc=False)
    follower.put(2, "now", now[:19])
    assert follower.look() == 1
    assert follower.rows["2"] == "now"
    assert follower.look() == 0


def test_what_is_not_stored_comes_again(follower: Polled) -> None:
    """The cursor is stored with the rows, so a crash loses neither."""
    follower.put(1, "one", "2024-05-01 12:10:00")
    assert follower.look(stored=False) == 2
    follower.source.close()
    follower.source = follower.opened()
    assert follower.look() == 2
    follower.source.close()

    follower.source = follower.opened()
    follower.put(2, "two", "2024-05-01 12:10:01")
    follower.look()
    assert follower.rows == follower.held()


def test_a_part_goes_on_after_a_crash(follower: Polled) -> None:
    """Behind the last row that is stored."""
    for number in range(1, 10):
        follower.put(number, "one", "2024-05-01 12:10:00")
    with patch.object(source, "ROWS", 4):
        follower.source._look_at = 0.0
        follower.take()
        follower.source.close()
        assert len(follower.rows) == 4
        follower.source = follower.opened()
        assert follower.look() == 6
    assert follower.rows == follower.held()


def test_a_sequence_finds_rows_that_are_added(place: Place) -> None:
    """Also those whose number was given out earlier and committed later."""
    follower = Polled(place, mode="sequence", overlap=3)
    follower.put(1, "one", None)
    follower.look()
    follower.put(7, "seven", None)
    follower.put(9, "nine", None)
    follower.look()
    follower.put(6, "late", None)
    assert follower.look() == 1
    assert {"6", "7", "9"} <= follower.rows.keys()
    follower.source.close()
