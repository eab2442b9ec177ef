"""The trials of a self-test. Each returns how many rows it has written and read, or raises."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from agent.connectors.database.rows import RowReader
from agent.connectors.database.session import Database
from agent.connectors.dialects.base import Sample
from agent.connectors.polling.source import PollingSource
from agent.messages import mark, translate
from agent.selftest.encoding_trials import EncodingTrials
from agent.selftest.log_trials import LogTrials
from agent.selftest.report import Failed, expect
from agent.selftest.scratch import ROWS, Scratch, ScratchTable
from agent.selftest.sources import (
    COLUMNS,
    await_condition,
    await_state,
    compared,
    opened,
    polled,
    settle,
)
from agent.values.canonical import canonical

_NIGHT = datetime(2024, 1, 1, 1, 30)  # noqa: DTZ001 - as a clock on the wall shows it


class Trial(NamedTuple):
    """One thing to try."""

    title: str  # in the user's language
    run: Callable[[], int]


class Trials:
    """Everything that is tried on a database, in its order."""

    def __init__(self, url: str, scratch: Scratch, encoded: Database | None) -> None:
        """`encoded` reads texts in another encoding; None: that is not tried."""
        self._url = url
        self._scratch = scratch
        self._database = scratch.database
        self._encoded = encoded
        self._log = LogTrials(url, scratch)
        self.version: tuple[Any, ...] = ()  # of the server, as soon as it is known

    def __iter__(self) -> Iterator[Trial]:
        """Yields the trials."""
        yield from self._types()
        if self._encoded is not None:
            for title, run in EncodingTrials(self._url, self._scratch, self._encoded):
                yield Trial(title, run)
        yield Trial(translate(mark("pages and rows by key")), self._pages)
        yield Trial(translate(mark("one look sees one moment")), self._snapshot)
        yield Trial(translate(mark("the server's clock")), self._clock)
        for mode, poll, change, key in self._modes():
            title = translate(mark("polling, mode = {mode}"), mode=mode)
            yield Trial(title, self._polling(mode, poll, change, key))
        title = translate(mark("polling, mode = {mode}"), mode="compare")
        yield Trial(title, self._comparison)
        for title, run in self._log:
            yield Trial(title, run)

    # ---- values

    def _types(self) -> Iterator[Trial]:
        """Yields a trial for each type that the server has."""
        for number, sample in enumerate(self._database.dialect.samples):
            if sample.since and self.version < sample.since:
                continue
            title = translate(mark("type {type}"), type=sample.declared)
            yield Trial(title, self._type(number, sample))

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

    def _pages(self) -> int:
        """Reads pages of two rows, then rows by key, one of which is deleted."""
        scratch, dialect = self._scratch, self._database.dialect
        table = scratch.filled("p")
        reader = RowReader(dialect, table.table, scratch.described(table), COLUMNS)
        connection = self._database.connect()
        try:
            with self._database.guarded(table.table, table.table):
                found: list[bytes] = []
                while len(found) <= ROWS:
                    after = (str(len(found)),) if found else None
                    with dialect.snapshot(connection):
                        page = reader.page(connection, after, 2)
                    if not page.lines:
                        break
                    found += page.lines
                expect(found, [f"{n}\trow {n}".encode() for n in range(1, ROWS + 1)])

                scratch.run(f"DELETE FROM {table} WHERE id = 2")
                with dialect.snapshot(connection):
                    there = sorted(reader.under(connection, [("1",), ("2",), ("7",)]))
                    total = reader.count(connection, ())
                expect(there, [("1", "row 1")])
                expect(total, ROWS - 1)
        finally:
            connection.close()
        return 2 * ROWS

    def _snapshot(self) -> int:
        """Changes a row while a look reads."""
        scratch, dialect = self._scratch, self._database.dialect
        table = scratch.filled("s")
        reader = RowReader(dialect, table.table, scratch.described(table), COLUMNS)
        connection = self._database.connect()
        try:
            with (
                self._database.guarded(table.table, table.table),
                dialect.snapshot(connection),
            ):
                before = list(reader.under(connection, [("1",)]))
                scratch.run(f"UPDATE {table} SET note = 'changed' WHERE id = 1")
                meanwhile = list(reader.under(connection, [("1",)]))
        finally:
            connection.close()
        expect(meanwhile, before)
        expect(scratch.rows(table, ["note"])[0], ("changed",))
        return ROWS + 3

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
            table = self._scratch.filled(mode[:1] + "m")
            source = PollingSource(polled(self._url, table, {"mode": mode, **poll}))
            try:
                opened(source)
                self._scratch.run(change.format(table=table))
                found = await_state(source, key, "found")
                if mode == "flag":
                    await_condition(lambda: self._taken(source, table))
            finally:
                source.close()
            return ROWS + 1 + found

        return run

    def _taken(self, source: PollingSource, table: ScratchTable) -> bool:
        """Whether the agent has marked every row as taken."""
        settle(source)
        return int(self._scratch.value(f"SELECT COUNT(*) FROM {table} WHERE flag = 0")) == 0

    def _comparison(self) -> int:
        """Has a comparison come due, and read every row: a change and a delete among them."""
        table = self._scratch.filled("cm")
        poll = {"mode": "compare", "compare": f"{_NIGHT.hour + 1:02d}:00"}
        clock = [_NIGHT]
        source = PollingSource(polled(self._url, table, poll), lambda: clock[0])
        try:
            opened(source)
            expect(list(source.comparisons(())), [])
            self._scratch.run(
                f"UPDATE {table} SET note = 'found' WHERE id = 2",
                f"DELETE FROM {table} WHERE id = 4",
            )
            clock[0] = _NIGHT.replace(hour=_NIGHT.hour + 2)
            expect(list(source.comparisons(())), ["selftest"])
            rows = compared(source, table, 2)
        finally:
            source.close()
        expect(rows, [("1", "row 1"), ("2", "found"), ("3", "row 3"), ("5", "row 5")])
        return ROWS + 2 + len(rows)

    # ---- removal

    def remove_log(self) -> int:
        """Takes the trigger log away, where it is there. Raises the errors of the connection."""
        self._log.remove()
        return 0

    @property
    def left(self) -> list[str]:
        """What takes away all that may still be there."""
        return [*self._log.left, *self._scratch.left]
