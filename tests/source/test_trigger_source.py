"""What a trigger log promises beside the contract: nothing that was noted is lost."""

import time
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete

from agent.config import ResourceSettings
from agent.connectors.changes import Commit, HighPosition, Message, RowState, Truncate
from agent.connectors.database.session import Database
from agent.connectors.position import position_number, position_text
from agent.connectors.resume import CommitMark, Resume
from agent.connectors.trigger import source as sources
from agent.connectors.trigger.databases.base import KeyPart, LoggedTable
from agent.connectors.trigger.guard import Bounds
from agent.connectors.trigger.notes import NotesTable
from agent.connectors.trigger.source import Place, TriggerSource
from agent.errors import TriggerLogMissing, TriggersMissing, ValueUnreadable
from agent.service.metrics import LOG_NOTES, LOG_OLDEST
from tests.source.noting import KINDS, ORDERS, Noting
from tests.source.reading import asking, page_of, silent_never, stored_after

INITIAL = Resume(position_text(100), CommitMark("", 0, 0), {})
COLUMNS = ["id", "note", "price"]
CLOCKS = 600  # seconds between the clocks of this process and of a server, at the most


@pytest.fixture(params=["sqlite", "mariadb", "mysql8", "postgres18", "firebird"])
def noting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Noting]:
    """Yields a database of each kind that differs, with the table `orders`."""
    make, server = KINDS[request.param]
    with make(request, tmp_path, server) as made:
        made.make()
        yield made


@pytest.fixture
def source(noting: Noting) -> Iterator[TriggerSource]:
    """Yields what follows the table `orders`, open."""
    made = following(noting, ORDERS, COLUMNS)
    made.open(INITIAL, silent_never)
    yield made
    made.close()


def following(
    noting: Noting,
    table: LoggedTable,
    columns: Sequence[str],
    kind: type[TriggerSource] = TriggerSource,
) -> TriggerSource:
    """Returns a source that shares one table."""
    described = {"name": table.name, "table": table.name, "columns": list(columns)}
    place = Place(("", table.name), ResourceSettings.model_validate(described))
    url = noting.url.render_as_string(hide_password=False)
    return kind(Database(url, None, 20.0), noting.log, [place], "unit", interval=0.0)


def looked(source: TriggerSource) -> dict[str, tuple[Any, ...] | None]:
    """Returns the states of one look by key, and has them stored."""
    return states(stored(source))


def stored(source: TriggerSource) -> list[Message]:
    """Returns the messages of one look, and has them stored."""
    messages = list(source.read(0.0))
    acknowledge(source, messages)
    return messages


def acknowledge(source: TriggerSource, messages: Sequence[Message]) -> None:
    """Has what was delivered stored."""
    for message in messages:
        if isinstance(message, Commit):
            source.acknowledge(message.position)


def states(messages: Sequence[Message]) -> dict[str, tuple[Any, ...] | None]:
    """Returns states by key."""
    found = {}
    for message in messages:
        if isinstance(message, RowState):
            found[message.key[0]] = message.row
    return found


def waiting(noting: Noting) -> int:
    """Returns how many notes there are."""
    return int(noting.value(f"SELECT count(*) FROM {noting.log.log_name}"))


@pytest.mark.parametrize("noting", ["mariadb", "postgres18", "firebird"], indirect=True)
def test_what_is_committed_late_is_not_lost(noting: Noting, source: TriggerSource) -> None:
    """Notes are deleted by their own ids: one may become visible after those that follow it.

    In SQLite one transaction writes at a time.
    """
    with noting.connect() as late:
        late.exec_driver_sql("INSERT INTO orders (id) VALUES (1)")
        noting.run("INSERT INTO orders (id) VALUES (2)")
        messages = list(source.read(0.0))
        assert states(messages) == {"2": ("2", None, None)}
        late.commit()
    acknowledge(source, messages)
    assert looked(source) == {"1": ("1", None, None)}
    assert waiting(noting) == 0


def test_notes_stay_until_the_front_end_has_them(noting: Noting, source: TriggerSource) -> None:
    """They are passed over meanwhile, and read again by the next opening."""
    noting.run("INSERT INTO orders (id) VALUES (1)")
    first = list(source.read(0.0))
    assert states(first) == {"1": ("1", None, None)}
    assert states(list(source.read(0.0))) == {}
    assert waiting(noting) == 1

    source.open(INITIAL, silent_never)
    assert looked(source) == {"1": ("1", None, None)}
    assert waiting(noting) == 0


def test_keys_that_are_exchanged_are_both_looked_up(noting: Noting, source: TriggerSource) -> None:
    noting.run("INSERT INTO orders (id, note) VALUES (1, 'a')")
    noting.run("INSERT INTO orders (id, note) VALUES (2, 'b')")
    looked(source)
    noting.together(
        "UPDATE orders SET id = 3 WHERE id = 1",
        "UPDATE orders SET id = 1 WHERE id = 2",
        "UPDATE orders SET id = 2 WHERE id = 3",
    )
    expected = {"1": ("1", "b", None), "2": ("2", "a", None), "3": None}
    assert looked(source) == expected


def test_a_page_waits_while_notes_are_left(
    noting: Noting, source: TriggerSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows nothing but what was delivered before its high position."""
    monkeypatch.setattr(sources, "MOST_NOTES", 2)
    for number in range(5):
        noting.run(f"INSERT INTO orders (id) VALUES ({number})")
    page, messages = page_of(source, asking(source, limit=10))
    assert len(page.lines) == 5
    assert len(states(messages)) == 5
    assert isinstance(messages[-2], HighPosition)


def test_missing_triggers_are_missed(noting: Noting, source: TriggerSource) -> None:
    """The table is named, and is another one when they have been made anew."""
    (place,) = source._places
    source.check_captured(place.resource)
    before = source.fingerprints()
    noting.administer(*noting.log.drop_triggers(ORDERS))
    with pytest.raises(TriggersMissing, match="orders"):
        source.check_captured(place.resource)
    assert source.fingerprints() != before


def test_notes_that_nobody_follows_are_deleted(noting: Noting, source: TriggerSource) -> None:
    """So are those of a suspended table: it is copied before it is followed again."""
    others = LoggedTable("", "others", (KeyPart("id"),))
    noting.make(others, "CREATE TABLE others (id INT NOT NULL PRIMARY KEY)")
    noting.run("INSERT INTO others (id) VALUES (1)")
    assert looked(source) == {}
    assert waiting(noting) == 0

    source.open(INITIAL._replace(suspended=["orders"]), silent_never)
    noting.run("INSERT INTO orders (id) VALUES (1)")
    assert looked(source) == {}
    assert waiting(noting) == 0


def test_a_note_that_is_none_of_the_tables_stops_the_table(
    noting: Noting, source: TriggerSource
) -> None:
    insert = f"INSERT INTO {noting.log.log_name} (source_table, operation, key_now)"
    noting.administer(f"{insert} VALUES ('orders', 'I', '3:one')")
    with pytest.raises(ValueUnreadable, match="orders"):
        list(source.read(0.0))


@pytest.mark.parametrize("noting", ["postgres18"], indirect=True)  # others have no trigger for it
def test_a_truncate_comes_once(noting: Noting, source: TriggerSource) -> None:
    """Also where its note is left behind: what was stored of it is told by the token."""
    noting.run("INSERT INTO orders (id) VALUES (1)")
    noting.administer("TRUNCATE orders")
    noting.run("INSERT INTO orders (id) VALUES (2)")
    messages = list(source.read(0.0))
    assert isinstance(messages[1], Truncate)
    assert states(messages) == {"1": None, "2": ("2", None, None)}

    resume = stored_after(INITIAL, messages)
    source.open(resume, silent_never)
    again = list(source.read(0.0))
    assert not [message for message in again if isinstance(message, Truncate)]
    assert states(again) == states(messages)
    commit = again[-1]
    assert isinstance(commit, Commit)
    source.acknowledge(commit.position)
    assert commit.position > position_number(resume.position)
    assert waiting(noting) == 0


@pytest.mark.parametrize("noting", ["postgres18"], indirect=True)  # others have a key in a note
def test_notes_of_many_keys_are_read_a_few_at_a_time(
    noting: Noting, source: TriggerSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page has to wait until all of them are delivered."""
    monkeypatch.setattr(sources, "MOST_TEXT", 500)
    noting.run("INSERT INTO orders (id) SELECT generate_series(1, 450)")
    assert waiting(noting) == 5
    page, messages = page_of(source, asking(source, limit=1000))
    assert len(page.lines) == 450
    assert states(messages).keys() == {str(number) for number in range(1, 451)}
    assert [isinstance(message, Commit) for message in messages].count(True) > 3


def test_two_spellings_of_one_key_are_two_keys(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Where the database takes them for one, the row is told as it is spelled."""
    make, server = KINDS["mariadb"]
    with make(request, tmp_path, server) as noting:
        names = LoggedTable("", "names", (KeyPart("id"),))
        noting.make(names, "CREATE TABLE names (id VARCHAR(10) NOT NULL PRIMARY KEY, n INT)")
        made = following(noting, names, ["id", "n"])
        made.open(INITIAL, silent_never)
        noting.run("INSERT INTO names VALUES ('a', 1)")
        assert looked(made) == {"a": ("a", "1")}
        noting.run("UPDATE names SET id = 'A'")
        assert looked(made) == {"a": None, "A": ("A", "1")}
        made.close()


def test_what_waits_is_measured(
    noting: Noting, source: TriggerSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what a look has read, or by a count where it has not read all."""
    assert set(source.gauges().values()) == {0}
    before = time.time() - CLOCKS
    noting.run("INSERT INTO orders (id) VALUES (1)", "INSERT INTO orders (id) VALUES (2)")
    messages = list(source.read(0.0))
    assert source.gauges()[LOG_NOTES] == 2
    assert before < source.gauges()[LOG_OLDEST] < time.time() + CLOCKS
    acknowledge(source, messages)
    list(source.read(0.0))
    assert set(source.gauges().values()) == {0}

    monkeypatch.setattr(sources, "MOST_NOTES", 1)
    noting.run(*[f"INSERT INTO orders (id) VALUES ({number})" for number in range(3, 6)])
    list(source.read(0.0))
    source.housekeeping()
    assert source.gauges()[LOG_NOTES] == 3
    assert before < source.gauges()[LOG_OLDEST] < time.time() + CLOCKS


def bounded(noting: Noting, most: int) -> TriggerSource:
    """Returns a source that keeps no more notes than that."""
    described = {"name": "orders", "table": "orders", "columns": COLUMNS}
    url = noting.url.render_as_string(hide_password=False)
    return TriggerSource(
        Database(url, None, 20.0),
        noting.log,
        [Place(("", "orders"), ResourceSettings.model_validate(described))],
        "unit",
        interval=0.0,
        bounds=Bounds(1, most),
    )


def test_too_many_notes_are_given_up_where_that_is_wanted(
    noting: Noting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Triggers and notes are gone, and the application goes on; so is the next opening."""
    monkeypatch.setattr(sources, "MOST_NOTES", 1)
    source = bounded(noting, 3)
    source.open(INITIAL, silent_never)
    noting.run(*[f"INSERT INTO orders (id) VALUES ({number})" for number in range(4)])
    list(source.read(0.0))
    with pytest.raises(TriggerLogMissing):
        source.housekeeping()
    assert "trigger_log_given_up notes=> 3 max_rows=3" in caplog.text
    source.close()
    noting.run("INSERT INTO orders (id) VALUES (9)")
    with pytest.raises(TriggerLogMissing):
        source.open(INITIAL, silent_never)
    source.close()
    noting.administer(*noting.log.create_log())


def test_notes_are_bounded_while_nobody_reads(
    noting: Noting, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as the front end is away; a server that is away, too, is passed over."""
    caplog.set_level("INFO")
    noting.run(*[f"INSERT INTO orders (id) VALUES ({number})" for number in range(4)])
    bounded(noting, 4).unattended()
    assert waiting(noting) == 4
    bounded(noting, 3).unattended()
    assert "trigger_log_given_up" in caplog.text
    bounded(noting, 3).unattended()
    assert "trigger_log_not_counted" in caplog.text
    noting.administer(*noting.log.create_log())


@pytest.mark.parametrize("noting", ["mariadb"], indirect=True)  # others have no such right
def test_notes_stay_where_the_triggers_cannot_be_dropped(
    noting: Noting, caplog: pytest.LogCaptureFixture
) -> None:
    """For want of a right: the notes are not dropped without their triggers."""
    name = noting.url.database
    grant = f"GRANT SELECT, DROP ON {name}.{noting.log.log} TO watcher@'%'"
    noting.administer("CREATE USER watcher@'%' IDENTIFIED BY ''", grant)
    noting.run("INSERT INTO orders (id) VALUES (1)", "INSERT INTO orders (id) VALUES (2)")
    watched = copy(noting)
    watched.url = noting.url.set(username="watcher")
    try:
        bounded(watched, 1).unattended()
    finally:
        noting.administer("DROP USER watcher@'%'")
    assert "trigger_log_kept" in caplog.text
    noting.run("INSERT INTO orders (id) VALUES (3)")
    assert waiting(noting) == 3


# ---- planted bugs: the tests above find them


class ForgetsEarly(TriggerSource):
    """Deletes notes when they are delivered, not when they are stored."""

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        messages = list(super().read(timeout))
        for message in messages:
            if isinstance(message, Commit):
                self.acknowledge(message.position)
        yield from messages


class ByBound(NotesTable):
    """Deletes every note up to the last one that was read."""

    def delete(self, connection: Connection, ids: Collection[Any]) -> None:
        """See NotesTable.delete."""
        connection.execute(delete(self._table).where(self._table.c.id <= max(ids)))


def test_notes_that_are_deleted_before_the_commit_are_missed(
    noting: Noting, source: TriggerSource
) -> None:
    early = following(noting, ORDERS, COLUMNS, ForgetsEarly)
    early.open(INITIAL, silent_never)
    with pytest.raises(AssertionError):
        test_notes_stay_until_the_front_end_has_them(noting, early)
    early.close()


def test_notes_that_are_deleted_up_to_a_bound_are_missed(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    make, server = KINDS["mariadb"]
    with make(request, tmp_path, server) as noting:
        noting.make()
        bounded = following(noting, ORDERS, COLUMNS)
        bounded._notes = ByBound(noting.log)
        bounded.open(INITIAL, silent_never)
        with pytest.raises(AssertionError):
            test_what_is_committed_late_is_not_lost(noting, bounded)
        bounded.close()
