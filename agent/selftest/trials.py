"""The trials of a self-test. Each returns how many rows it has written and read, or raises."""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import make_url

from agent.config import ResourceSettings
from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import ADMINISTRATOR_PASSWORD
from agent.connectors.dialects.base import Sample
from agent.connectors.polling.source import PollingSource
from agent.connectors.trigger.databases.base import LoggedTable, TriggerLog
from agent.connectors.trigger.databases.opening import trigger_log_of
from agent.connectors.trigger.keys import logged
from agent.connectors.trigger.notes import NotesTable
from agent.connectors.trigger.source import Place, TriggerSource
from agent.connectors.trigger.statements import execute
from agent.messages import mark, translate
from agent.selftest.report import Failed
from agent.selftest.scratch import Scratch
from agent.selftest.sources import await_condition, await_state, opened, settings_of, settle
from agent.values.canonical import canonical

_ROWS = 5
_COLUMNS = ["id", "note"]


class Trial(NamedTuple):
    """One thing to try."""

    title: str  # in the user's language
    run: Callable[[], int]


class Trials:
    """Everything that is tried on a database, in its order."""

    def __init__(self, url: str, scratch: Scratch) -> None:
        self._url = url
        self._scratch = scratch
        self._database = scratch.database
        backend = make_url(url).get_backend_name()
        self._log = trigger_log_of(backend, f"{scratch.prefix}log")
        self._noted: LoggedTable | None = None

    def __iter__(self) -> Iterator[Trial]:
        """Yields the trials."""
        for number, sample in enumerate(self._database.dialect.samples):
            title = translate(mark("type {type}"), type=sample.declared)
            yield Trial(title, self._type(number, sample))
        yield Trial(translate(mark("pages and rows by key")), self._pages)
        yield Trial(translate(mark("one look sees one moment")), self._snapshot)
        yield Trial(translate(mark("the server's clock")), self._clock)
        for mode, poll, change, key in self._modes():
            title = translate(mark("polling, mode = {mode}"), mode=mode)
            yield Trial(title, self._polling(mode, poll, change, key))
        log = self._log
        if log is not None:
            title = translate(mark("trigger log: made, followed and read empty"))
            yield Trial(title, lambda: self._followed(log))
            title = translate(mark("trigger log: removed"))
            yield Trial(title, lambda: self._removed(log))

    # ---- values

    def _type(self, number: int, sample: Sample) -> Callable[[], int]:
        """Returns the trial that writes a value and reads it."""

        def run() -> int:
            scratch = self._scratch
            table = scratch.table(
                f"t{number}", f"id INTEGER NOT NULL PRIMARY KEY, v {sample.declared}"
            )
            scratch.run(f"INSERT INTO {table} (id, v) VALUES (1, {sample.literal})")
            read = scratch.described(table)
            if "v" not in read.kinds:
                raise Failed(translate(mark("the agent does not read it")))
            ((text,),) = scratch.rows(table, ["v"])
            (declared,) = [column.type for column in read.table.columns if column.name == "v"]
            # The value is the test's own
            if text != sample.text or not canonical(str(text), declared):
                said = mark("read as {text} ({type}), expected {expected}")
                raise Failed(translate(said, text=text, type=declared.name, expected=sample.text))
            return 1

        return run

    # ---- reading

    def _filled(self, name: str, flag: int = 1) -> str:
        """Makes a table of a few rows, such as (1, 'row 1', a time, 1, the flag)."""
        declared, literal = self._database.dialect.moment
        columns = f"note VARCHAR(40), changed {declared}, n INTEGER, flag INTEGER"
        table = self._scratch.table(name, f"id INTEGER NOT NULL PRIMARY KEY, {columns}")
        for number in range(1, _ROWS + 1):
            moment = literal.format(f"2024-01-01 00:00:0{number}")
            self._scratch.run(
                f"INSERT INTO {table} (id, note, changed, n, flag) "
                f"VALUES ({number}, 'row {number}', {moment}, {number}, {flag})"
            )
        return table

    def _pages(self) -> int:
        """Reads pages of two rows, then rows by key, one of which is deleted."""
        scratch, dialect = self._scratch, self._database.dialect
        table = self._filled("p")
        reader = RowReader(dialect, table, scratch.described(table), _COLUMNS)
        connection = self._database.connect()
        try:
            with self._database.guarded(table, table):
                found: list[bytes] = []
                while len(found) <= _ROWS:
                    after = (str(len(found)),) if found else None
                    with dialect.snapshot(connection):
                        page = reader.page(connection, after, 2)
                    if not page.lines:
                        break
                    found += page.lines
                _expect(found, [f"{n}\trow {n}".encode() for n in range(1, _ROWS + 1)])

                scratch.run(f"DELETE FROM {table} WHERE id = 2")
                with dialect.snapshot(connection):
                    there = sorted(reader.under(connection, [("1",), ("2",), ("7",)]))
                    total = reader.count(connection, ())
                _expect(there, [("1", "row 1")])
                _expect(total, _ROWS - 1)
        finally:
            connection.close()
        return 2 * _ROWS

    def _snapshot(self) -> int:
        """Changes a row while a look reads."""
        scratch, dialect = self._scratch, self._database.dialect
        table = self._filled("s")
        reader = RowReader(dialect, table, scratch.described(table), _COLUMNS)
        connection = self._database.connect()
        try:
            with self._database.guarded(table, table), dialect.snapshot(connection):
                before = list(reader.under(connection, [("1",)]))
                scratch.run(f"UPDATE {table} SET note = 'changed' WHERE id = 1")
                meanwhile = list(reader.under(connection, [("1",)]))
        finally:
            connection.close()
        _expect(meanwhile, before)
        _expect(scratch.rows(table, ["note"])[0], ("changed",))
        return _ROWS + 3

    def _clock(self) -> int:
        """Asks for the time, in UTC and in the server's own zone."""
        connection = self._database.connect()
        try:
            with self._database.guarded():
                for utc in (True, False):
                    self._database.dialect.clock(connection, utc=utc)
        finally:
            connection.close()
        return 2

    # ---- polling

    def _modes(self) -> Iterator[tuple[str, dict[str, Any], str, str]]:
        """Yields each mode with its settings, the change that it has to find, and of which row."""
        _, literal = self._database.dialect.moment
        later = literal.format("2024-01-02 00:00:00")
        yield (
            "timestamp",
            {"column": "changed"},
            f"UPDATE {{table}} SET note = 'found', changed = {later} WHERE id = 2",
            "2",
        )
        yield (
            "sequence",
            {"column": "n", "overlap": 0.0},
            "INSERT INTO {table} (id, note, n) VALUES (9, 'found', 9)",
            "9",
        )
        yield (
            "flag",
            {"column": "flag", "pending": [0], "done": 1, "write_back": True},
            "UPDATE {table} SET note = 'found', flag = 0 WHERE id = 3",
            "3",
        )

    def _polling(
        self,
        mode: str,
        poll: dict[str, Any],
        change: str,
        key: str,
    ) -> Callable[[], int]:
        """Returns the trial that has the looks find a change."""

        def run() -> int:
            table = self._filled(mode[:1] + "m")
            source: dict[str, Any] = {"type": "polling", "url": self._url, "every": "1s"}
            if ADMINISTRATOR_PASSWORD in os.environ:
                source["password"] = {"env": ADMINISTRATOR_PASSWORD}
            settings = settings_of(source, _resource(table) | {"poll": {"mode": mode, **poll}})
            polled = PollingSource(settings)
            try:
                opened(polled)
                self._scratch.run(change.format(table=table))
                found = await_state(polled, key, "found")
                if mode == "flag":
                    await_condition(lambda: self._taken(polled, table))
            finally:
                polled.close()
            return _ROWS + 1 + found

        return run

    def _taken(self, polled: PollingSource, table: str) -> bool:
        """Whether the agent has marked every row as taken."""
        settle(polled)
        return int(self._scratch.value(f"SELECT COUNT(*) FROM {table} WHERE flag = 0")) == 0

    # ---- trigger log

    def _followed(self, log: TriggerLog) -> int:
        """Makes a log, and has the source find an insert, an update and a delete."""
        table = self._filled("l")
        noted = logged(self._scratch.described(table))
        if noted is None:
            raise Failed(translate(mark("a trigger cannot note the key")))
        self._noted = noted
        self._execute([*log.create_log(), *log.create_triggers(noted)])

        resource = ResourceSettings.model_validate(_resource(table))
        place = Place(("", table), resource)
        source = TriggerSource(self._database, log, [place], "selftest", interval=0.1)
        found = 0
        try:
            opened(source)
            for statement, key, note in (
                (f"INSERT INTO {table} (id, note) VALUES (8, 'new')", "8", "new"),
                (f"UPDATE {table} SET note = 'found' WHERE id = 2", "2", "found"),
                (f"UPDATE {table} SET id = 7 WHERE id = 3", "7", "row 3"),
                (f"DELETE FROM {table} WHERE id = 1", "1", None),
            ):
                self._scratch.run(statement)
                found += await_state(source, key, note)
            await_condition(lambda: self._empty(source, log))
        finally:
            source.close()
        return _ROWS + 4 + found

    def _empty(self, source: TriggerSource, log: TriggerLog) -> bool:
        """Whether every note that was stored is deleted."""
        settle(source)
        connection = self._database.connect()
        try:
            with self._database.guarded():
                return NotesTable(log).backlog(connection, 1).notes == 0
        finally:
            connection.close()

    def _removed(self, log: TriggerLog) -> int:
        """Takes the log away; the application goes on."""
        self.remove_log()
        if self._noted is None:
            raise Failed(translate(mark("it was not made")))
        self._scratch.run(f"UPDATE {self._noted.name} SET note = 'after' WHERE id = 4")
        return 1

    def remove_log(self) -> None:
        """Takes the trigger log away, where it is there. Raises the errors of the connection."""
        log = self._log
        if log is None:
            return
        connection = self._database.connect()
        try:
            with self._database.guarded():
                tables = [] if self._noted is None else [self._noted]
                statements = log.removal(connection, tables)
        finally:
            connection.close()
        self._execute(statements)

    def _execute(self, statements: list[str]) -> None:
        execute(self._database, statements, lambda _told: None)


def _resource(table: str) -> dict[str, Any]:
    return {"name": "selftest", "table": table, "target": "selftest", "columns": _COLUMNS}


def _expect(found: object, expected: object) -> None:
    """Raises Failed where something else was found."""
    if found != expected:
        said = mark("found {found}, expected {expected}")
        raise Failed(translate(said, found=found, expected=expected))
