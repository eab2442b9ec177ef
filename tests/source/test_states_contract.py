"""The contract of sources that tell what rows are, not what has happened to them.

There are two kinds. One delivers states in its stream: the trigger log, here on SQLite, and the
twin in memory that works as it does. The other has nothing but pages: the example of
docs/writing-a-source.md. Both go through the real capture, which compares them with the front end.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory
from typing import Protocol
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from agent.capture import loop
from agent.capture.loop import Capture
from agent.config import Settings
from agent.connectors.base import Ask, Source
from agent.connectors.changes import Commit, Message, RowState
from agent.connectors.database.session import Database
from agent.connectors.memory_states import MemoryStates, Note
from agent.connectors.position import position_number, position_text
from agent.connectors.resume import CommitMark, Resume
from agent.connectors.table import SourceColumn, SourceTable
from agent.connectors.trigger import source as sources
from agent.connectors.trigger.databases.base import KeyPart, LoggedTable
from agent.connectors.trigger.databases.opening import trigger_log_of
from agent.connectors.trigger.source import TriggerSource
from agent.errors import ValueUnreadable
from agent.front.base import Copy
from agent.front.durable import empty_store
from agent.outbox.frames import OutboxEvent, frames
from agent.service.control import Control
from agent.values.column_types import TEXT
from tests.pipeline.crashing import CrashingFront
from tests.source.polled import PolledFile
from tests.source.reading import asking, rows_of, silent_never, stored_after, table_of, transactions

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "csv_folder.py"
SCHEMA = "files"
NAMES = ("orders", "others")
MOST_TURNS = 500  # of the loop, in one look
IDENTITY = {"system_id": "1", "timeline": 1, "slot": "slot", "publication": ""}

Rows = dict[tuple[str, ...], tuple[str | None, ...]]


class Place(Protocol):
    """A source of one kind, and the life of its tables, which have the columns id and note."""

    schema: str

    @property
    def source(self) -> Source:
        """The one source, which may be opened again and again."""

    @property
    def settings(self) -> Settings:
        """The configuration that shares both tables."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What `init` would have stored of the source."""

    def put(self, table: str, key: str, note: str) -> None:
        """Inserts or changes a row."""

    def delete(self, table: str, key: str) -> None:
        """Deletes a row, if it is there."""

    def spoil(self, table: str, key: str) -> None:
        """Makes a row one that cannot be read."""

    def held(self, table: str) -> Rows:
        """The rows that are there."""

    def look(self) -> list[str]:
        """Has every row looked at again; returns the tables that are to be copied for it."""

    def idle(self) -> bool:
        """Whether the front end has all that was looked at."""

    def whole(self, table: str) -> tuple[Rows, list[Message]]:
        """Reads a table from the open source: its rows, and all that the stream delivered."""


class NotedPlace:
    """The twin that delivers states in its stream: a look is a note of each key there ever was."""

    schema = SCHEMA
    identity = IDENTITY

    def __init__(self, _folder: Path, seed: int = 0) -> None:
        self.settings = configured(SCHEMA)
        self.source = Shuffling(seed)
        self._keys: set[Note] = set()

    def put(self, table: str, key: str, note: str) -> None:
        """See Place.put."""
        self._keys.add(Note((SCHEMA, table), (key,)))
        self.source.put((SCHEMA, table), {"id": key, "note": note})

    def delete(self, table: str, key: str) -> None:
        """See Place.delete."""
        self.source.delete((SCHEMA, table), (key,))

    def spoil(self, table: str, key: str) -> None:
        """See Place.spoil."""
        self.put(table, key, "")
        self.source.spoilt.add(Note((SCHEMA, table), (key,)))

    def held(self, table: str) -> Rows:
        """See Place.held."""
        rows = self.source.held[SCHEMA, table]
        return {key: (row["id"], row["note"]) for key, row in rows.items()}

    def look(self) -> list[str]:
        """See Place.look."""
        for key in self._keys:
            self.source.note(*key)
        return []

    def idle(self) -> bool:
        """See Place.idle."""
        return self.source.idle

    def whole(self, table: str) -> tuple[Rows, list[Message]]:
        """See Place.whole."""
        return stated(self.source, table)


class Shuffling(MemoryStates):
    """The twin, which delivers the states of a look in any order, some of them twice."""

    def __init__(self, seed: int) -> None:
        super().__init__({(SCHEMA, name): described(n, name) for n, name in enumerate(NAMES)})
        self.spoilt: set[Note] = set()
        self._suspended: frozenset[str] = frozenset()
        self._random = random.Random(seed)

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open: suspended tables are not read."""
        super().open(resume, front_silent_since)
        self._suspended = frozenset(resume.suspended)

    def arranged(self, states: Sequence[RowState]) -> Sequence[RowState]:
        """See MemoryStates.arranged."""
        for state in states:
            table = state.relation.table
            spoilt = Note((SCHEMA, table), state.key) in self.spoilt
            if spoilt and table not in self._suspended:
                raise ValueUnreadable(resource=table, table=table, reason="spoilt")
        again = self._random.sample(states, self._random.randint(0, len(states)))
        found = [*states, *again]
        self._random.shuffle(found)
        return found


class CsvPlace:
    """The example, which has pages only: a look is a copy of each table."""

    schema = SCHEMA
    identity = IDENTITY

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.settings = configured(SCHEMA)
        self._folder = folder
        self._rows: dict[str, dict[str, list[str]]] = {name: {} for name in NAMES}
        self._random = random.Random(seed)
        self.source: Source = run_path(str(EXAMPLE))["CsvFolder"](folder, NAMES, "p")
        for name in NAMES:
            self._write(name)

    def put(self, table: str, key: str, note: str) -> None:
        """See Place.put."""
        self._rows[table][key] = [key, note]
        self._write(table)

    def delete(self, table: str, key: str) -> None:
        """See Place.delete."""
        self._rows[table].pop(key, None)
        self._write(table)

    def spoil(self, table: str, key: str) -> None:
        """See Place.spoil: it lacks a value."""
        self._rows[table][key] = [key]
        self._write(table)

    def held(self, table: str) -> Rows:
        """See Place.held."""
        return {(key,): tuple(row) for key, row in self._rows[table].items()}

    def look(self) -> list[str]:
        """See Place.look."""
        return list(NAMES)

    def idle(self) -> bool:
        """See Place.idle: the tables say it."""
        return True

    def whole(self, table: str) -> tuple[Rows, list[Message]]:
        """See Place.whole."""
        self.source.ask(asking(self.source, limit=100))
        messages = list(self.source.read(0.0))
        page = self.source.page()
        assert page is not None
        return {(str(row[0]),): row for row in rows_of(page)}, messages

    def _write(self, name: str) -> None:
        """Writes a file, its rows in any order."""
        rows = list(self._rows[name].values())
        self._random.shuffle(rows)
        lines = [",".join(row) for row in [["id", "note"], *rows]]
        text = "\n".join(lines) + "\n"
        (self._folder / f"{name}.csv").write_text(text, encoding="utf-8")


class TriggerPlace:
    """A database in SQLite with triggers: a look is a note of each key there ever was."""

    schema = "main"
    identity = IDENTITY

    def __init__(self, folder: Path, seed: int = 0) -> None:
        path = folder / "business.db"
        self._business = sqlite3.connect(path, isolation_level=None)
        self._keys: set[tuple[str, str]] = set()
        log = trigger_log_of("sqlite")
        assert log is not None
        statements = log.create_log()
        for name in NAMES:
            statements.append(f"CREATE TABLE {name} (id TEXT NOT NULL PRIMARY KEY, note TEXT)")
            table = LoggedTable(self.schema, name, (KeyPart("id"),))
            statements += log.create_triggers(table)
        for statement in statements:
            self._business.execute(statement)

        places = []
        self.settings = configured(self.schema)
        for resource in self.settings.resource:
            places.append(sources.Place((self.schema, resource.name), resource))
        database = Database(f"sqlite:///{path}", None, 20.0)
        self.source = TriggerSource(database, log, places, "p", interval=0.0)

    def put(self, table: str, key: str, note: str) -> None:
        """See Place.put."""
        self._keys.add((table, key))
        upsert = "ON CONFLICT (id) DO UPDATE SET note = excluded.note"
        self._business.execute(f"INSERT INTO {table} VALUES (?, ?) {upsert}", (key, note))

    def delete(self, table: str, key: str) -> None:
        """See Place.delete."""
        self._business.execute(f"DELETE FROM {table} WHERE id = ?", (key,))

    def spoil(self, table: str, key: str) -> None:
        """See Place.spoil: bytes in a column of texts."""
        self.put(table, key, "")
        self._business.execute(f"UPDATE {table} SET note = x'ff' WHERE id = ?", (key,))

    def held(self, table: str) -> Rows:
        """See Place.held."""
        return {(row[0],): row for row in self._business.execute(f"SELECT id, note FROM {table}")}

    def look(self) -> list[str]:
        """See Place.look."""
        for table, key in self._keys:
            insert = "INSERT INTO sync_agent_log (source_table, operation, key_now)"
            noted = (f"{self.schema}.{table}", f"{len(key)}:{key}")
            self._business.execute(f"{insert} VALUES (?, 'U', ?)", noted)
        return []

    def idle(self) -> bool:
        """See Place.idle."""
        return self._business.execute("SELECT 1 FROM sync_agent_log").fetchone() is None

    def whole(self, table: str) -> tuple[Rows, list[Message]]:
        """See Place.whole."""
        return stated(self.source, table)


def stated(source: Source, table: str) -> tuple[Rows, list[Message]]:
    """Reads a look: the rows of a table that it has shown, and all messages."""
    messages = list(source.read(0.0))
    rows: Rows = {}
    for message in messages:
        if not isinstance(message, RowState) or message.relation.table != table:
            continue
        if message.row is not None:
            rows[message.key] = tuple([str(value) for value in message.row])
    return rows, messages


class PolledPlace:
    """A database that is polled: a look at it, and a copy of each table that has lost rows."""

    schema = ""

    def __init__(self, folder: Path, _seed: int = 0) -> None:
        self._file = PolledFile(folder, NAMES)
        self.settings = self._file.settings
        self.identity = self._file.identity
        self.source = self._file.source

    def put(self, table: str, key: str, note: str) -> None:
        """See Place.put."""
        self._file.put(table, key, note)

    def delete(self, table: str, key: str) -> None:
        """See Place.delete."""
        self._file.delete(table, key)

    def spoil(self, table: str, key: str) -> None:
        """See Place.spoil: a text of bytes is none."""
        self._file.put(table, key, b"spoilt")

    def held(self, table: str) -> Rows:
        """See Place.held."""
        return {(row[0],): row for row in self._file.rows(table)}

    def look(self) -> list[str]:
        """See Place.look."""
        self.source.look_again()
        names = sorted(self._file.deleted)
        self._file.deleted.clear()
        return names

    def idle(self) -> bool:
        """See Place.idle."""
        return self.source.idle

    def whole(self, table: str) -> tuple[Rows, list[Message]]:
        """See Place.whole."""
        shared = table_of(self.source).columns[:2]
        self.source.ask(asking(self.source, limit=100, columns=shared))
        messages = list(self.source.read(0.0))
        page = self.source.page()
        assert page is not None
        return {(str(row[0]),): row for row in rows_of(page)}, messages


KINDS: Mapping[str, Callable[[Path, int], Place]] = {
    "noted": NotedPlace,
    "csv": CsvPlace,
    "trigger": TriggerPlace,
    "polled": PolledPlace,
}


def described(number: int, name: str) -> SourceTable:
    """A table of two texts."""
    columns = []
    for column in ("id", "note"):
        columns.append(SourceColumn(column, TEXT, TEXT, "text", True, column == "id", ""))
    return SourceTable(number, SCHEMA, name, tuple(columns), ("id",), "d")


def configured(schema: str) -> Settings:
    """Both tables are shared."""
    resources = []
    for name in NAMES:
        resources.append({"name": name, "table": f"{schema}.{name}", "columns": ["id", "note"]})
    return Settings.model_validate(
        {
            "name": "unit",
            "source": {"host": "nowhere", "database": "biz", "user": "u", "slot": "slot"},
            "kafka": {"bootstrap_servers": ["nowhere:1"], "prefix": "p"},
            "reconcile": {"max_delete_share": 1},
            "resource": resources,
        }
    )


class Crashing(CrashingFront):
    """The front end of a desk."""

    def __init__(self, desk: "Desk", crashes: Mapping[int, bool]) -> None:
        super().__init__(desk.durable)
        self.crashes = crashes


class Desk:
    """A place, a front end, and the capture between them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        topics = {name: f"p.{name}" for name in NAMES}
        self.durable = empty_store(topics, NAMES, position_text(100), dict(place.identity))
        self._seen = 0

    def look(self, crashes: Mapping[int, bool] | None = None) -> list[tuple[str, str, str]]:
        """Looks at every row that can be read, until the front end has it; returns the events.

        Each is table, operation and key, sorted: a row that a copy creates counts as created.
        """
        self._copy(self.place.look())
        control = Control.alone()
        control.retry = lambda error: None  # type: ignore[method-assign]
        turns = iter(range(MOST_TURNS))

        def stopping() -> bool:
            assert next(turns, None) is not None, "a look comes to an end"
            states = {state.state for state in self.durable.stored.resources.values()}
            return self.place.idle() and "copying" not in states

        control.stopping = stopping  # type: ignore[method-assign]
        with patch.object(loop, "_IDLE", 0.0):
            front = Crashing(self, crashes or {})
            Capture(self.place.settings, self.place.source, front, control).run()
        control.close()

        new = self.events()[self._seen :]
        self._seen += len(new)
        found = []
        for event in new:
            op = orjson.loads(event.value)["op"]
            key = orjson.loads(event.key)["id"]
            found.append((event.topic.removeprefix("p."), op.replace("r", "c"), key))
        return sorted(found)

    def _copy(self, names: Sequence[str]) -> None:
        """Lets tables be copied that are not suspended."""
        stored = self.durable.stored
        for name in names:
            if stored.resources[name].state == "live":
                self.durable.move(name, "copying", Copy())

    def events(self) -> list[OutboxEvent]:
        """All events so far."""
        found = []
        for batch in self.durable.outbox:
            found += [frame for frame in frames(batch) if isinstance(frame, OutboxEvent)]
        return found

    def published(self, name: str) -> Rows:
        """What a subscriber of the table's topic holds."""
        rows: Rows = {}
        for event in self.events():
            if event.topic == f"p.{name}":
                key = (orjson.loads(event.key)["id"],)
                after = orjson.loads(event.value)["after"]
                rows.pop(key, None)
                if after is not None:
                    rows[key] = (after["id"], after["note"])
        return rows

    def check(self) -> None:
        """Front end and subscriber hold what the source holds."""
        for name in NAMES:
            held = self.place.held(name)
            assert self.durable.tables[name] == held
            assert self.published(name) == held


@pytest.fixture(params=list(KINDS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each kind in turn."""
    made = KINDS[request.param](tmp_path, 0)
    yield made
    made.source.close()


@pytest.fixture
def desk(place: Place) -> Desk:
    """A front end beside it."""
    return Desk(place)


INITIAL = Resume(position_text(100), CommitMark("", 0, 0), IDENTITY)


# ---- the source alone


def test_a_look_gives_every_row_whole(place: Place) -> None:
    """With all columns, also those that have not changed."""
    for number in range(1, 6):
        place.put("orders", f"{number}", f"note {number}")
    place.put("orders", "3", "changed")
    place.delete("orders", "4")
    place.source.open(INITIAL, silent_never)
    rows, _ = place.whole("orders")
    assert rows == {
        ("1",): ("1", "note 1"),
        ("2",): ("2", "note 2"),
        ("3",): ("3", "changed"),
        ("5",): ("5", "note 5"),
    }


def test_positions_only_rise(place: Place) -> None:
    """Also over openings: each goes on after what was stored by then."""
    stored = INITIAL
    for number in range(3):
        place.put("orders", "1", f"note {number}")
        place.source.open(stored, silent_never)
        _, messages = place.whole("orders")
        begun = position_number(stored.position)
        delivered = transactions(messages)
        assert delivered
        assert all(one.position > begun for one in delivered)

        stored = stored_after(stored, messages)
        place.source.acknowledge(position_number(stored.position))
        place.source.close()


def test_what_is_not_stored_comes_again(place: Place) -> None:
    """A front end that has lost a look gets the same rows from the next one."""
    place.put("orders", "1", "one")
    place.put("orders", "2", "two")
    found = []
    for _ in range(2):
        place.source.open(INITIAL, silent_never)
        rows, _ = place.whole("orders")
        found.append(rows)
        place.source.close()
    assert found == [place.held("orders")] * 2


def test_what_changes_before_it_is_acknowledged_is_not_forgotten(place: Place) -> None:
    """What is acknowledged is the look, not what the row has become since."""
    place.put("orders", "1", "one")
    place.source.open(INITIAL, silent_never)
    _, messages = place.whole("orders")
    place.put("orders", "1", "two")
    stored = stored_after(INITIAL, messages)
    assert any(isinstance(message, Commit) for message in messages)
    place.source.acknowledge(position_number(stored.position))
    place.source.close()

    place.source.open(stored, silent_never)
    rows, _ = place.whole("orders")
    assert rows == {("1",): ("1", "two")}


def test_a_row_that_cannot_be_read_is_told_by_its_table(place: Place) -> None:
    """The error names no value."""
    place.put("orders", "1", "secret")
    place.spoil("orders", "2")
    place.source.open(INITIAL, silent_never)
    with pytest.raises(ValueUnreadable, match="orders") as found:
        place.whole("orders")
    assert "secret" not in found.value.text()


# ---- with the front end


def test_rows_that_come_and_go_during_the_first_copy_are_no_danger(tmp_path: Path) -> None:
    """However many there are: the front end was empty before."""
    place = PolledPlace(tmp_path)
    source = place.source
    read_page = source._read_page
    keys = [f"{number}" for number in range(150)]

    def read_busy_page(connection: Connection, ask: Ask) -> list[Message]:
        """Reads a page behind a look at rows that are gone by then."""
        messages = source._look(connection)
        while keys:
            for key in keys:
                place.put("orders", key, "short of life")
            messages += source._look(connection)
            for key in keys:
                place.delete("orders", key)
            keys.clear()
        return [*messages, *read_page(connection, ask)]

    desk = Desk(place)
    with patch.object(source, "_read_page", read_busy_page):
        events = desk.look()
    place.source.close()
    operations = [op for _, op, _ in events]
    assert (operations.count("c"), operations.count("d")) == (150, 150)
    desk.check()


def test_a_row_that_is_new_changed_or_gone_has_its_event(desk: Desk) -> None:
    """And one that is as it was has none."""
    place = desk.place
    place.put("orders", "1", "one")
    place.put("orders", "2", "two")
    assert desk.look() == [("orders", "c", "1"), ("orders", "c", "2")]

    place.put("orders", "1", "changed")
    place.put("orders", "3", "three")
    place.delete("orders", "2")
    events = [("orders", "c", "3"), ("orders", "d", "2"), ("orders", "u", "1")]
    assert desk.look() == events
    desk.check()


def test_a_source_that_is_as_it_was_has_no_event(desk: Desk) -> None:
    """However often it is looked at."""
    desk.place.put("orders", "1", "one")
    desk.place.put("others", "1", "other")
    assert len(desk.look()) == 2
    for _ in range(3):
        assert desk.look() == []
    desk.check()


def test_between_two_looks_nothing_is_seen(desk: Desk) -> None:
    """A row that comes and goes is none, and of many versions the last one is told."""
    place = desk.place
    place.put("orders", "1", "one")
    place.delete("orders", "1")
    place.put("orders", "2", "first")
    place.put("orders", "2", "last")
    assert desk.look() == [("orders", "c", "2")]
    desk.check()


def test_a_row_that_cannot_be_read_stops_its_table_only(desk: Desk) -> None:
    """The table is named with the reason, and holds what it held; the others go on."""
    place = desk.place
    place.put("orders", "1", "one")
    desk.look()

    place.spoil("orders", "2")
    place.put("others", "1", "other")
    assert desk.look() == [("others", "c", "1")]
    assert desk.durable.suspended == {"orders": ValueUnreadable.code}
    assert desk.durable.tables["orders"] == {("1",): ("1", "one")}


Edit = tuple[str, str, str | None]  # table, key, and the new note or None for a delete

EDITS = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(["1", "2", "3"]),
            st.one_of(st.none(), st.sampled_from(["a", "b"])),
        ),
        max_size=5,
    ),
    max_size=4,
)


def edit(place: Place, edits: Sequence[Edit]) -> None:
    """The source's own life."""
    for table, key, note in edits:
        if note is None:
            place.delete(table, key)
        else:
            place.put(table, key, note)


def expected(before: Mapping[str, Rows], now: Mapping[str, Rows]) -> list[tuple[str, str, str]]:
    """The events that lead from one state of the tables to another."""
    found = []
    for name in NAMES:
        for key in before[name].keys() | now[name].keys():
            old, new = before[name].get(key), now[name].get(key)
            if old == new:
                continue
            op = "u"
            if old is None:
                op = "c"
            elif new is None:
                op = "d"
            found.append((name, op, key[0]))
    return sorted(found)


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=25)
@given(
    looks=EDITS,
    crashes=st.dictionaries(st.integers(1, 6), st.booleans(), max_size=3),
    seed=st.integers(0, 99),
)
def test_each_look_has_the_events_between_it_and_the_last(
    kind: str, looks: list[list[Edit]], crashes: dict[int, bool], seed: int
) -> None:
    """Whatever the order of its rows, and whenever the process dies before or after a commit."""
    with TemporaryDirectory() as folder:
        desk = Desk(KINDS[kind](Path(folder), seed))
        before: dict[str, Rows] = {name: {} for name in NAMES}
        for edits in looks:
            edit(desk.place, edits)
            now = {name: desk.place.held(name) for name in NAMES}
            assert desk.look(crashes) == expected(before, now)
            before = now
        assert desk.look() == []
        desk.check()
        desk.place.source.close()
