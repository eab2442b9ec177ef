"""Reads pages of tables beside the stream: on a connection and a thread of its own.

Rules (docs/decisions/visibility-hand-over.md): each page is read in one short snapshot. It must see
what the front end had applied when the page was asked for, else it is ended and another taken. The
page is thrown away when the table was rewritten around it (its snapshot then reads nothing). The
last statement writes the high position into the log.

A snapshot goes on to further tables while what it reads is little. Where that fails, the first page
is read alone: what is wrong with a table comes to light once its page is the first.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from agent import failpoints
from agent.config import PostgresSettings
from agent.connectors.base import Ask, Page
from agent.connectors.postgres import fingerprints
from agent.connectors.postgres import page_statements as statements
from agent.connectors.postgres.bounded_connection import BoundedConnection, shut
from agent.connectors.postgres.copy_out import copy_out
from agent.connectors.postgres.pgoutput import PAGE_PREFIX
from agent.connectors.postgres.session import address, connect, guarded
from agent.connectors.postgres.snapshot import Snapshot, snapshot_of
from agent.connectors.postgres.sqlstates import is_of_statement
from agent.errors import (
    AgentError,
    ReadRefused,
    SourceNotPrimary,
    TableChanged,
    ValueUnreadable,
    unforeseen,
)
from agent.messages import phrase
from agent.values.rows import Key

log = logging.getLogger(__name__)

MAX_BYTES = 8 << 20  # of a page
_SECONDS = 5  # that a page's snapshot may live
# Seconds and bytes after which a snapshot goes on to no further table
_LITTLE_SECONDS, _LITTLE_BYTES = 1.0, 1 << 20
_FIRST_WAIT, _LONGEST_WAIT = 0.01, 1.0  # seconds between two snapshots
# Counting takes one statement for the whole table, where a page is a few thousand rows: it may take
# so many seconds. That is bounded, since its snapshot keeps VACUUM from removing dead rows; a table
# that is not counted by then is counted again.
_COUNT_SECONDS = 300
# SQLSTATEs of statement_timeout, of a lock that was not to be had, and of a deadlock.
_BUSY = (
    "57014",
    "55P03",
    "40P01",
)
_NO_RIGHT = "42501"  # also of a row security policy
_SNAPSHOT = (
    "select pg_catalog.pg_is_in_recovery(), pg_catalog.pg_current_snapshot()::pg_catalog.text"
)
_HIGH_POSITION = "select pg_catalog.pg_logical_emit_message(true, %s, %s::pg_catalog.text)"


class _Oversized(Exception):
    """The page has more bytes than it may; `rows` were read by then."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__()


class _Withdrawn(Exception):
    """Nobody waits for the page any more."""


class PageReader:
    """Reads one page at a time.

    All methods are called from one thread. They never wait for the server, but as `page` says.
    """

    def __init__(self, settings: PostgresSettings) -> None:
        self._settings = settings
        self._reading: _Reading | None = None
        self._connection: psycopg.Connection[Any] | None = None

    def ask(self, ask: Ask) -> None:
        """See Source.ask."""
        self.withdraw()
        self._reading = _Reading(ask, self._settings, self._connection)
        self._connection = None

    def page(self, wait: float = 0.0) -> Page | None:
        """See Source.page; waits up to `wait` seconds."""
        reading = self._reading
        if reading is None:
            return None
        reading.thread.join(wait)
        if reading.thread.is_alive():
            return None
        if reading.error is not None:
            self._reading = None
            raise reading.error
        return reading.page

    def withdraw(self) -> None:
        """See Source.withdraw."""
        reading, self._reading = self._reading, None
        if reading is not None and reading.thread.is_alive():
            reading.end()
        elif reading is not None:
            self._connection = reading.connection

    def close(self) -> None:
        """Ends the connection. Never raises."""
        self.withdraw()
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


class _Reading:
    """A page being read by a thread, which owns the connection meanwhile."""

    def __init__(
        self, ask: Ask, settings: PostgresSettings, connection: psycopg.Connection[Any] | None
    ) -> None:
        self.connection = connection
        self._kept = connection is not None  # from a page before, and may have died meanwhile
        self.page: Page | None = None
        self.error: AgentError | None = None
        self._ask, self._settings = ask, settings
        self._further = ask.further
        self._ended = threading.Event()
        # So that `end` never meets a descriptor that is another's by now
        self._closing = threading.Lock()
        self.thread = threading.Thread(target=self._run, name="page", daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Asks the thread to end, also out of a wait for the server. Never waits."""
        self._ended.set()
        with self._closing:
            if self.connection is not None:
                shut(self.connection)

    def _run(self) -> None:
        try:
            with guarded(self._settings):
                self.page = self._read(self.connection or self._connect())
        except _Withdrawn:
            self._close()
        except AgentError as error:
            self.error = error
            self._close()
        except Exception as error:  # noqa: BLE001 - a thread must not end in silence
            self.error = unforeseen(error, self._ask.resource)
            self._close()

    def _connect(self) -> psycopg.Connection[Any]:
        self.connection = connect(self._settings)
        self.connection.execute(
            "select pg_catalog.set_config('statement_timeout', %s, false)", (f"{_SECONDS - 1}s",)
        )
        self.connection.execute(
            "select pg_catalog.set_config('idle_in_transaction_session_timeout', %s, false)",
            (f"{_SECONDS}s",),
        )
        return self.connection

    def _close(self) -> None:
        with self._closing:
            if self.connection is not None:
                with suppress(psycopg.Error):
                    self.connection.close()
                self.connection = None

    def _read(self, connection: psycopg.Connection[Any]) -> Page:
        """Reads the pages once a snapshot serves.

        The first one is alone if anything fails, then smaller if it is too large or too slow.
        """
        limit, wait = self._ask.limit, _FIRST_WAIT
        while not self._ended.is_set():
            try:
                page = self._attempt(connection, limit)
                if page is not None:
                    return page
            except _Oversized as error:
                if not self._further:
                    limit = max(1, error.rows // 2)
                self._further = ()
                self._close()  # the rest of the page is on its way
                connection = self._connect()
                continue
            except psycopg.Error as error:
                if connection.closed or error.sqlstate is None:
                    if not self._kept:
                        raise
                    connection = self._anew(error)
                    continue
                _rollback(connection)
                if self._further:
                    self._further = ()
                    continue
                if self._fewer_keys(connection, error):
                    continue
                self._judge(error)
                limit = max(1, limit // 2)
            self._ended.wait(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
        raise _Withdrawn

    def _anew(self, error: psycopg.Error) -> psycopg.Connection[Any]:
        """Connects in place of a kept connection that has died.

        It has between two pages, or where a firewall has cut it.
        """
        log.info(
            "page_connection_anew resource=%s sqlstate=%s",
            self._ask.resource,
            error.sqlstate or "-",
        )
        self._kept = False
        self._close()
        if self._ended.is_set():
            raise _Withdrawn
        return self._connect()

    def _fewer_keys(self, connection: psycopg.Connection[Any], error: psycopg.Error) -> bool:
        """Leaves out keys that are no values of the key's types.

        They may be what the server refuses: what a hand has put into the front end may be no such
        value, and so is not in the source.
        """
        keys = self._ask.keys
        if not keys or error.sqlstate in (*_BUSY, _NO_RIGHT):
            return False
        possible = [key for key in keys if self._is_possible(connection, key)]
        self._ask = self._ask._replace(keys=possible)
        return len(possible) < len(keys)

    def _is_possible(self, connection: psycopg.Connection[Any], key: Key) -> bool:
        try:
            connection.execute(statements.casts(self._ask.table, key).as_bytes(connection))
        except psycopg.Error:
            if connection.closed:
                raise
            return False
        return True

    def _judge(self, error: psycopg.Error) -> None:
        """Passes what is worth another attempt; raises what concerns the table."""
        sqlstate = error.sqlstate or ""
        name = f"{self._ask.table.schema}.{self._ask.table.table}"
        if sqlstate == _NO_RIGHT:
            raise ReadRefused(
                resource=self._ask.resource, table=name, reason=f"SQLSTATE {sqlstate}"
            )
        if sqlstate[:2] == "42":  # undefined column, table ...
            raise TableChanged(
                resource=self._ask.resource,
                table=name,
                change=phrase(
                    "it cannot be read any more (SQLSTATE {sqlstate})", sqlstate=sqlstate
                ),
            )
        if sqlstate not in _BUSY:
            if not is_of_statement(sqlstate):
                raise error
            raise ValueUnreadable(
                resource=self._ask.resource,
                table=name,
                reason=phrase("SQLSTATE {sqlstate} when its rows are read", sqlstate=sqlstate),
            )
        log.info("page_delayed resource=%s sqlstate=%s", self._ask.resource, sqlstate)

    def _attempt(self, connection: psycopg.Connection[Any], limit: int) -> Page | None:
        """Reads the pages in one snapshot; None where that does not serve."""
        asks = [self._ask._replace(limit=limit), *self._further]
        stored = [fingerprints.storage(connection, ask.table.oid) for ask in asks]
        connection.execute("begin isolation level repeatable read read only")
        failpoints.hit("before_page_snapshot")

        in_recovery, text = connection.execute(_SNAPSHOT).fetchone()  # type: ignore[misc]
        if in_recovery:
            raise SourceNotPrimary(address=address(self._settings))
        snapshot = snapshot_of(text)
        if not all(map(snapshot.serves, asks)):
            connection.execute("rollback")
            return None
        failpoints.hit("after_page_snapshot")

        pages = _pages(connection, asks, snapshot)
        for ask, files, _ in zip(asks, stored, pages, strict=False):
            if fingerprints.storage(connection, ask.table.oid) != files:
                log.info("page_thrown_away resource=%s", ask.resource)
                connection.execute("rollback")
                return None

        # It is only a mark; a standby that does not answer must not hold it
        connection.execute("set local synchronous_commit = local")
        connection.execute(_HIGH_POSITION, (PAGE_PREFIX, self._ask.token))
        connection.execute("commit")
        failpoints.hit("after_page_read")
        first, *further = pages
        return first._replace(further=further)


def _pages(
    connection: psycopg.Connection[Any], asks: Sequence[Ask], snapshot: Snapshot
) -> list[Page]:
    """Reads the first page, and further ones while what was read is little and came to its end."""
    until = time.monotonic() + _LITTLE_SECONDS
    rows, room = asks[0].limit, _LITTLE_BYTES
    pages: list[Page] = []
    for ask in asks:
        page = _page(connection, ask, snapshot)
        pages.append(page)
        rows -= len(page.lines)
        room -= sum(map(len, page.lines))
        if page.more or rows <= 0 or room <= 0 or time.monotonic() > until:
            break
    return pages


def _page(connection: psycopg.Connection[Any], ask: Ask, snapshot: Snapshot) -> Page:
    """Reads one page, or counts the rows, in the open snapshot."""
    lines: list[bytes] = []
    count = None
    if ask.counted is not None:
        count = _counted(connection, ask)
    elif ask.keys is None:
        lines = _lines(connection, statements.page(ask, ask.limit))
    elif ask.keys:
        lines = _lines(connection, statements.rows(ask, ask.keys))
    more = ask.keys is None and count is None and len(lines) == ask.limit
    return Page(ask.token, lines, ask.limit, more, count, snapshot)


def _counted(connection: psycopg.Connection[Any], ask: Ask) -> int:
    """Counts the rows that are shared, in this snapshot.

    Whoever waits for the server waits for as long as the statement may take.
    """
    assert isinstance(connection, BoundedConnection)
    usual = connection.patience
    connection.execute(f"set local statement_timeout = '{_COUNT_SECONDS}s'")
    try:
        connection.patience = _COUNT_SECONDS + (usual or 0)
        row = connection.execute(statements.count(ask).as_bytes(connection)).fetchone()
    finally:
        connection.patience = usual
    connection.execute(f"set local statement_timeout = '{_SECONDS - 1}s'")
    assert row is not None, "count(*) always answers"
    return int(row[0])


def _rollback(connection: psycopg.Connection[Any]) -> None:
    connection.execute("rollback")


def _lines(connection: psycopg.Connection[Any], statement: sql.Composed) -> list[bytes]:
    """Reads the lines of a COPY. Raises _Oversized beyond MAX_BYTES."""
    lines: list[bytes] = []
    room = MAX_BYTES
    for received in copy_out(connection, statement.as_bytes(connection)):
        lines += received
        room -= sum(map(len, received))
        if room < 0 and len(lines) > 1:
            raise _Oversized(len(lines))
    return lines
