"""Looks by a flag: what is pending is found, and marked as taken only as it was delivered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from agent.connectors.polling import source
from agent.connectors.polling.inspection import inspect
from agent.connectors.position import position_number
from agent.errors import WriteBackRefused
from agent.findings import Finding
from tests.source.databases import KINDS, Place, place_of
from tests.source.looking import Follower

FLAG = {"mode": "flag", "column": "taken", "pending": ["N", "U"], "done": "Y"}
SERVERS = ("mariadb", "postgresql")  # where each user has rights of its own


class Flagged(Follower):
    """A table whose rows have a flag: N for a new row, U for one that was changed, Y when taken."""

    def __init__(self, place: Place, *, write_back: bool, **poll: Any) -> None:
        place.execute(
            "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, note VARCHAR(20), other INTEGER, "
            "taken CHAR(1) DEFAULT 'N')",
            "CREATE INDEX t_taken ON t (taken, id)",
        )
        super().__init__(place, {**FLAG, "write_back": write_back, **poll})

    def insert(self, *numbers: int) -> None:
        """Inserts rows."""
        values = ", ".join([f"({number}, 'note {number}')" for number in numbers])
        self.place.execute(f"INSERT INTO t (id, note) VALUES {values}")

    def change(self, number: int, note: str) -> None:
        """Changes a row and flags it, as the application does."""
        self.place.execute(f"UPDATE t SET note = '{note}', taken = 'U' WHERE id = {number}")

    def flags(self) -> dict[int, str]:
        """The flag of each row."""
        with self.place.open() as connection:
            found = connection.exec_driver_sql("SELECT id, taken FROM t").all()
        return {int(number): flag for number, flag in found}


@pytest.fixture(params=[*KINDS, "psycopg2", "mysql8", "firebird"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database of each kind in turn."""
    with place_of(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture
def follower(place: Place) -> Iterator[Flagged]:
    """A table without rows, whose flags the agent sets."""
    made = Flagged(place, write_back=True)
    made.look()
    yield made
    made.source.close()


def test_each_pending_row_comes_once_and_is_marked(follower: Flagged) -> None:
    """In parts, too; and nothing comes when nothing is pending."""
    follower.insert(*range(1, 10))
    with patch.object(source, "ROWS", 4):
        assert follower.look() == 9
    assert set(follower.flags().values()) == {"Y"}

    follower.change(3, "three")
    assert follower.look() == 1
    assert follower.rows == follower.held()
    position = position_number(follower.stored.position)
    assert follower.look() == 0
    assert position_number(follower.stored.position) == position


def test_nothing_is_marked_before_it_is_stored(follower: Flagged) -> None:
    """After a crash the row comes again: the front end compares it with what it has."""
    follower.insert(1)
    assert follower.look(stored=False) == 1
    assert follower.flags() == {1: "N"}
    follower.crash()
    assert follower.look(acknowledged=False) == 1
    assert follower.flags() == {1: "N"}
    follower.crash()
    assert follower.look() == 1
    assert follower.flags() == {1: "Y"}


@pytest.mark.parametrize("note", ["other", "NOTE 1", "note 1 "])
def test_a_row_changed_between_read_and_write_back_keeps_its_flag(
    follower: Flagged, note: str
) -> None:
    """Whatever the database takes for equal."""
    follower.insert(1, 2)
    follower.look(acknowledged=False)
    follower.change(1, note)
    follower.acknowledge()
    assert follower.flags() == {1: "U", 2: "Y"}

    assert follower.look() == 1
    assert follower.rows["1"] == note
    assert follower.flags() == {1: "Y", 2: "Y"}


def test_a_state_that_another_one_follows_is_not_marked(follower: Flagged) -> None:
    """The row is again what was stored, but the front end will hold what came after it."""
    follower.insert(1)
    follower.look(acknowledged=False)
    before = follower.stored
    follower.change(1, "other")
    follower.look(acknowledged=False)
    follower.place.execute("UPDATE t SET note = 'note 1', taken = 'N' WHERE id = 1")
    follower.source.acknowledge(position_number(before.position))
    assert follower.flags() == {1: "N"}
    follower.acknowledge()
    assert follower.flags() == {1: "N"}

    follower.look()
    assert follower.rows == follower.held()
    assert follower.flags() == {1: "Y"}


def test_columns_that_are_not_read_do_not_matter(follower: Flagged) -> None:
    """The flag is set though another column has changed, if the application leaves the flag."""
    follower.insert(1)
    follower.look(acknowledged=False)
    follower.place.execute("UPDATE t SET other = 7")
    follower.acknowledge()
    assert follower.flags() == {1: "Y"}


def test_a_deleted_row_is_passed_over(follower: Flagged) -> None:
    """There is nothing to mark; a comparison finds the delete."""
    follower.insert(1, 2)
    follower.look(acknowledged=False)
    follower.place.execute("DELETE FROM t WHERE id = 1")
    follower.acknowledge()
    assert follower.flags() == {2: "Y"}


@pytest.mark.parametrize("place", [*SERVERS, "firebird"], indirect=True)
def test_a_row_that_somebody_changes_is_not_waited_for(follower: Flagged) -> None:
    """It is marked by a later look."""
    follower.insert(1, 2)
    follower.look(acknowledged=False)
    with follower.place.transaction() as connection:
        connection.exec_driver_sql("UPDATE t SET note = 'other' WHERE id = 1")
        follower.acknowledge()
    assert follower.flags() == {1: "N", 2: "Y"}
    assert follower.look() == 1
    assert follower.flags() == {1: "Y", 2: "Y"}


def test_without_write_back_nothing_is_written(place: Place) -> None:
    """A row that stays pending comes again only when it has changed."""
    follower = Flagged(place, write_back=False)
    follower.look()
    follower.insert(1, 2)
    assert follower.look() == 2
    assert follower.look() == 0
    follower.change(1, "other")
    follower.place.execute("UPDATE t SET taken = 'Y' WHERE id = 2")
    assert follower.look() == 1
    assert follower.rows == follower.held()
    assert follower.flags() == {1: "U", 2: "Y"}
    follower.source.close()


@pytest.mark.parametrize("values", [["N"], []])
def test_rows_without_a_flag_may_be_pending(place: Place, values: list[str]) -> None:
    """Beside those with one, or alone."""
    follower = Flagged(place, write_back=True, pending=values, pending_null=True)
    follower.look()
    follower.insert(1, 2, 3)
    follower.place.execute("UPDATE t SET taken = NULL WHERE id < 3")
    with patch.object(source, "ROWS", 1):
        assert follower.look() == 2 + len(values)
    assert follower.flags() == {1: "Y", 2: "Y", 3: "Y" if values else "N"}
    assert "CURSOR_UNINDEXED" not in found_in(follower)
    follower.source.close()


def found_in(follower: Flagged) -> dict[str, Finding]:
    """What `check` finds, by code."""
    found = inspect(follower.settings, follower.place.database).findings
    return {finding.code: finding for finding in found}


def test_check_tries_the_write_back(follower: Flagged) -> None:
    """It changes nothing, and asks for no index that is there."""
    follower.insert(1)
    found = found_in(follower)
    assert {finding.level for finding in found.values()} == {"ok"}
    assert follower.flags() == {1: "N"}
    follower.place.execute(
        "DROP INDEX t_taken" + " ON t" * (follower.place.kind in ("mariadb", "mysql8"))
    )
    assert "(taken, id)" in found_in(follower)["CURSOR_UNINDEXED"].fix


@pytest.mark.parametrize("place", SERVERS, indirect=True)
def test_the_least_grant_is_printed_and_suffices(follower: Flagged) -> None:
    """The right to set the flag, and no other column."""
    place = follower.place
    name = f"reader_{place.url.database}"
    remove = [f"DROP USER {name}"]
    if place.kind == "postgresql":
        remove = [f"DROP OWNED BY {name}", *remove]
    place.execute(f"CREATE USER {name}", f"GRANT SELECT ON t TO {name}")
    try:
        follower.place = Place(place.kind, place.url.set(username=name), place.owner)
        follower.crash()
        follower.insert(1)
        with pytest.raises(WriteBackRefused):
            follower.look()
        assert follower.flags() == {1: "N"}

        place.execute(found_in(follower)["WRITE_BACK_REFUSED"].fix.removesuffix(";"))
        follower.crash()
        follower.look()
        assert follower.flags() == {1: "Y"}
        assert "WRITE_BACK_REFUSED" not in found_in(follower)
    finally:
        follower.source.close()
        place.execute(*remove)
