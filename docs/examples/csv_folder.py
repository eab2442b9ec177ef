"""A folder of CSV files as a source without a log: the example of docs/writing-a-source.md.

Each table is a file `<table>.csv` in UTF-8: a line of column names, then the rows. The first column
is the key, and every column is text. Nothing tells what happened to a file: its rows are read as
pages, and compared with the front end's.
"""

import csv
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from agent import stop_watch
from agent.config import ResourceSettings
from agent.connectors.base import Ask, Fingerprint, Page
from agent.connectors.changes import Begin, Commit, Heartbeat, HighPosition, Message
from agent.connectors.plain_origin import PlainOrigin
from agent.connectors.position import position_number
from agent.connectors.resume import Resume
from agent.connectors.table import Criterion, SourceColumn, SourceTable, passing
from agent.errors import SourceUnreachable, ValueUnreadable
from agent.values.column_types import TEXT
from agent.values.lines import line_of

SCHEMA = "files"
HEARTBEAT_SECONDS = 10.0


class Everything:
    """A page is read after all that was delivered before it: it sees every transaction."""

    def sees(self, transaction: int) -> bool:
        """See Visible.sees."""
        return True


class CsvFolder:
    """See Source."""

    def __init__(self, folder: Path, names: Sequence[str], prefix: str) -> None:
        """`names` are the shared tables, `prefix` is the one of the topics."""
        self._folder = folder
        self._names = names
        self._prefix = prefix
        self._opened = False
        self._position = 0
        self._waiting: list[Message] = []
        self._ask: Ask | None = None
        self._page: Page | None = None
        self._beat_at = 0.0

    # ---- from one opening to the next

    def open(self, resume: Resume, front_silent_since: Callable[[], float | None]) -> None:
        """See Source.open."""
        self.close()
        if not self._folder.is_dir():
            raise SourceUnreachable(address=str(self._folder), reason="no such folder")
        # Nothing is delivered again: positions only have to go on rising
        self._position = position_number(resume.position)
        self._opened = True
        self._beat_at = time.monotonic() + HEARTBEAT_SECONDS

    def outdated(self) -> bool:
        """See Source.outdated."""
        return False

    def close(self) -> None:
        """See Source.close."""
        self.withdraw()
        self._waiting.clear()
        self._opened = False

    # ---- the tables

    def tables(self) -> dict[tuple[str, str], SourceTable]:
        """See Source.tables."""
        found = {}
        for name in self._names:
            if self._file(name).exists():
                header, _ = self._content(name)
                columns = tuple(_column(column, column == header[0]) for column in header)
                found[SCHEMA, name] = SourceTable(0, SCHEMA, name, columns, (header[0],), "d")
        return found

    def check_captured(self, resource: ResourceSettings) -> None:
        """See Source.check_captured: pages are all there is, and they are whole."""

    def criteria(self, resource: ResourceSettings, table: SourceTable) -> tuple[Criterion, ...]:
        """See Source.criteria: a text has one spelling."""
        made = []
        for condition in resource.filter:
            if condition.is_null is not None:
                made.append(Criterion(condition.column, condition.is_null))
                continue
            values = condition.is_in or condition.not_in or []
            texts = frozenset(str(value) for value in values)
            made.append(Criterion(condition.column, condition.is_in is not None, texts))
        return tuple(made)

    def origin(self, table: SourceTable) -> PlainOrigin:
        """See Source.origin."""
        return PlainOrigin("csv", self._prefix, str(self._folder), SCHEMA, table.table)

    def estimate(self, table: SourceTable) -> int:
        """See Source.estimate."""
        return len(self._content(table.table)[1])

    def fingerprints(self) -> dict[tuple[str, str], Fingerprint]:
        """See Source.fingerprints: with other columns, every row is another one."""
        found = {}
        for place, table in self.tables().items():
            names = ",".join(column.name for column in table.columns)
            found[place] = Fingerprint(copy={"columns": names})
        return found

    # ---- the stream: heartbeats and high positions, no changes

    def read(self, timeout: float) -> Iterator[Message]:
        """See Source.read."""
        if not self._opened:
            raise SourceUnreachable(address=str(self._folder), reason="not open")
        if self._ask is not None and self._page is None:
            self._page = self._read(self._ask)
            self._write_high_position(self._ask.token)
        if not self._waiting:
            stop_watch.wait(timeout)
        waiting, self._waiting = self._waiting, []
        yield from waiting

    def _write_high_position(self, token: str) -> None:
        number, time_us = self._position, time.time_ns() // 1000
        self._position += 2
        self._waiting += [
            Begin(number & 0xFFFFFFFF, self._position - 1, time_us),
            HighPosition(token),
            Commit(number & 0xFFFFFFFF, self._position, time_us),
        ]

    def acknowledge(self, position: int) -> None:
        """See Source.acknowledge: there is nothing to forget."""

    def housekeeping(self) -> Everything | None:
        """See Source.housekeeping."""
        if time.monotonic() < self._beat_at:
            return None
        self._beat_at = time.monotonic() + HEARTBEAT_SECONDS
        self._position += 1
        self._waiting.append(Heartbeat(self._position, time.time_ns() // 1000))
        return Everything()

    def comparisons(self, copying: Collection[str]) -> Sequence[str]:
        """See Source.comparisons: whoever runs the agent asks for them."""
        return ()

    def lag_bytes(self) -> int:
        """See Source.lag_bytes: there is no log."""
        return 0

    def gauges(self) -> Mapping[str, float]:
        """See Source.gauges."""
        return {}

    def counts(self) -> Mapping[tuple[str, ...], int]:
        """See Source.counts."""
        return {}

    def unattended(self) -> None:
        """See Source.unattended: nothing is kept."""

    # ---- pages

    def barrier(self) -> str:
        """See Source.barrier: a file has no transactions to wait for."""
        return ""

    def ask(self, ask: Ask) -> None:
        """See Source.ask: the rows are read with the stream."""
        self._ask, self._page = ask, None

    def page(self) -> Page | None:
        """See Source.page."""
        return self._page

    def withdraw(self) -> None:
        """See Source.withdraw."""
        self._ask = self._page = None

    def _read(self, ask: Ask) -> Page:
        header, rows = self._content(ask.table.table)
        for number, row in enumerate(rows.values(), 1):
            if len(row) != len(header):
                reason = f"row {number} has {len(row)} values, the first line has {len(header)}"
                table = ask.table.table
                raise ValueUnreadable(resource=ask.resource, table=table, reason=reason)

        if ask.counted is not None:
            total = 0
            for row in rows.values():
                total += all(passing(one)(row[header.index(one.column)]) for one in ask.counted)
            return Page(ask.token, [], ask.limit, False, total)

        if ask.keys is None:
            after = "" if ask.after is None else ask.after[0]
            keys = sorted(key for key in rows if key > after)[: ask.limit]
        else:
            keys = [key[0] for key in ask.keys if key[0] in rows]

        places = [header.index(column.name) for column in ask.columns]
        lines = [line_of([rows[key][place] for place in places]) for key in keys]
        return Page(ask.token, lines, ask.limit, ask.keys is None and len(lines) == ask.limit)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.csv"

    def _content(self, name: str) -> tuple[list[str], dict[str, list[str]]]:
        """Reads a file: its columns, and its rows by key."""
        with self._file(name).open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file)
        # An empty line is no row
        return header, {row[0]: row for row in lines if row}


def _column(name: str, key: bool) -> SourceColumn:
    return SourceColumn(name, TEXT, TEXT, "text", True, key, "")
