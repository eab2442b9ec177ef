"""Reads pages of tables beside the stream: on a connection and a thread of its own, each page in one short snapshot.

Rules (docs/decisions/visibility-hand-over.md): the snapshot must see what the front end had applied when
the page was asked for, else it is ended and another taken; the page is thrown away when the table was rewritten around it (its
snapshot then reads nothing); the last statement writes the high position into the log.
"""

import logging
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from agent import failpoints
from agent.config import SourceSettings
from agent.connectors.base import Ask, Page
from agent.connectors.postgres import catalogue
from agent.connectors.postgres.pgoutput import PAGE_PREFIX
from agent.connectors.postgres.session import address, connect, guarded
from agent.copy_out import copy_out
from agent.errors import AgentError, ReadRefused, SourceNotPrimary, SourceUnreachable, TableChanged
from agent.messages import phrase
from agent.resource import Key, SourceTable

log = logging.getLogger(__name__)

MAX_BYTES = 8 << 20  # of a page
_SECONDS = 5  # that a page's snapshot may live
_FIRST_WAIT, _LONGEST_WAIT = 0.01, 1.0  # seconds between two snapshots
_PAGE = (
    "COPY (SELECT {columns} FROM {table} t WHERE {past} ORDER BY {order} LIMIT {limit}) TO STDOUT"
)
_ROWS = (
    "COPY (SELECT {columns} FROM {table} t JOIN unnest({arrays}) k({names}) ON {match}) TO STDOUT"
)
# SQLSTATEs of statement_timeout, of a lock that was not to be had, and of a deadlock.
_BUSY = (
    "57014",
    "55P03",
    "40P01",
)


class _Oversized(Exception):
    """The page has more bytes than it may; `rows` were read by then."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__()


class _Withdrawn(Exception):
    """Nobody waits for the page any more."""


class PageReader:
    """One page at a time. `ask`, `page`, `withdraw` and `close` are called from one thread and never wait for the server, but as `page` says."""

    def __init__(self, settings: SourceSettings) -> None:
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
        self, ask: Ask, settings: SourceSettings, connection: psycopg.Connection[Any] | None
    ) -> None:
        self.connection = connection
        self.page: Page | None = None
        self.error: AgentError | None = None
        self._ask, self._settings = ask, settings
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
                with (
                    suppress(OSError, psycopg.Error),
                    socket.socket(fileno=os.dup(self.connection.fileno())) as sock,
                ):
                    sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            with guarded(self._settings):
                self.page = self._read(self.connection or self._connect())
        except _Withdrawn:
            self._close()
        except AgentError as error:
            self.error = error
            self._close()
        except Exception as error:  # noqa: BLE001 - a thread must not end in silence; the text may hold values
            self.error = AgentError(
                detail=f"{type(error).__name__} while a page of {self._ask.resource} was read"
            )
            self._close()

    def _connect(self) -> psycopg.Connection[Any]:
        self.connection = connect(self._settings)
        self.connection.execute(
            "select set_config('statement_timeout', %s, false)", (f"{_SECONDS - 1}s",)
        )
        self.connection.execute(
            "select set_config('idle_in_transaction_session_timeout', %s, false)", (f"{_SECONDS}s",)
        )
        return self.connection

    def _close(self) -> None:
        with self._closing:
            if self.connection is not None:
                with suppress(psycopg.Error):
                    self.connection.close()
                self.connection = None

    def _read(self, connection: psycopg.Connection[Any]) -> Page:
        """The page, once a snapshot serves; a smaller one where it is too large or takes too long."""
        limit, wait = self._ask.limit, _FIRST_WAIT
        while not self._ended.is_set():
            try:
                page = self._attempt(connection, limit)
                if page is not None:
                    return page
            except _Oversized as error:
                limit = max(1, error.rows // 2)
                self._close()  # the rest of the page is on its way
                connection = self._connect()
                continue
            except psycopg.Error as error:
                if connection.closed or error.sqlstate is None:
                    raise
                _rollback(connection)
                if isinstance(error, psycopg.DataError) and self._ask.keys is not None:
                    self._ask = self._ask._replace(keys=self._possible(connection, self._ask.keys))
                    continue
                self._judge(error)
                limit = max(1, limit // 2)
            self._ended.wait(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
        raise _Withdrawn

    def _possible(self, connection: psycopg.Connection[Any], keys: Sequence[Key]) -> list[Key]:
        """The keys that are values of the key's types at all: what a hand has put into the front end may be none, and so is not in the source."""
        types = {column.name: column.base_type for column in self._ask.table.columns}
        parts = _list(
            [
                sql.SQL("{}::{}").format(sql.Placeholder(), sql.SQL(types[name]))
                for name in self._ask.table.key
            ]
        )
        possible = []
        for key in keys:
            with suppress(psycopg.DataError):
                connection.execute(sql.SQL("select {}").format(parts), key)
                possible.append(key)
        return possible

    def _judge(self, error: psycopg.Error) -> None:
        """Passes what is worth another attempt; raises what concerns the table."""
        sqlstate = error.sqlstate or ""
        name = f"{self._ask.table.schema}.{self._ask.table.table}"
        if sqlstate == "42501":  # insufficient_privilege, also a row security policy
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
            raise SourceUnreachable(
                address=address(self._settings),
                reason=f"SQLSTATE {sqlstate} {type(error).__name__}",
            )
        log.info("page_delayed resource=%s sqlstate=%s", self._ask.resource, sqlstate)

    def _attempt(self, connection: psycopg.Connection[Any], limit: int) -> Page | None:
        """One snapshot; None where it does not serve."""
        ask = self._ask
        stored = catalogue.storage(connection, ask.table.oid)
        connection.execute("begin isolation level repeatable read read only")
        failpoints.hit("before_page_snapshot")
        in_recovery, text = connection.execute(
            "select pg_is_in_recovery(), pg_current_snapshot()::text"
        ).fetchone()  # type: ignore[misc]
        if in_recovery:
            raise SourceNotPrimary(address=address(self._settings))
        if not ask.serves(catalogue.snapshot_of(text)):
            connection.execute("rollback")
            return None
        failpoints.hit("after_page_snapshot")
        lines = _lines(connection, _statement(ask, limit)) if ask.keys is None or ask.keys else []
        if catalogue.storage(connection, ask.table.oid) != stored:
            log.info("page_thrown_away resource=%s", ask.resource)
            connection.execute("rollback")
            return None
        # It is only a mark; a standby that does not answer must not hold it
        connection.execute("set local synchronous_commit = local")
        connection.execute(
            "select pg_logical_emit_message(true, %s, %s::text)", (PAGE_PREFIX, ask.token)
        )
        connection.execute("commit")
        failpoints.hit("after_page_read")
        return Page(ask.token, lines, limit, ask.keys is None and len(lines) == limit)


def _rollback(connection: psycopg.Connection[Any]) -> None:
    connection.execute("rollback")


def _lines(connection: psycopg.Connection[Any], statement: sql.Composed) -> list[bytes]:
    lines, room = [], MAX_BYTES
    for line in copy_out(connection, statement.as_bytes(connection)):
        lines.append(line)
        room -= len(line)
        if room < 0 and len(lines) > 1:
            raise _Oversized(len(lines))
    return lines


def _statement(ask: Ask, limit: int) -> sql.Composed:
    table = ask.table
    types = {column.name: column.base_type for column in table.columns}
    columns = sql.SQL(", ").join(
        sql.SQL("t.{}").format(sql.Identifier(column.name)) for column in ask.columns
    )
    only = sql.SQL("" if table.partitioned else "ONLY ") + sql.Identifier(table.schema, table.table)
    keys = [sql.SQL("t.{}").format(sql.Identifier(name)) for name in table.key]
    if ask.keys is not None:
        arrays = [
            sql.Literal(list(column)) + sql.SQL("::text[]")
            for column in zip(*ask.keys, strict=True)
        ]
        names = [sql.Identifier(f"k{number}") for number in range(len(keys))]
        match = [
            sql.SQL("{} = k.{}::{}").format(key, name, sql.SQL(types[of]))
            for key, name, of in zip(keys, names, table.key, strict=True)
        ]
        return sql.SQL(_ROWS).format(
            columns=columns,
            table=only,
            arrays=_list(arrays),
            names=_list(names),
            match=sql.SQL(" AND ").join(match),
        )
    return sql.SQL(_PAGE).format(
        columns=columns,
        table=only,
        past=_past(keys, table, types, ask.after),
        order=_list(keys),
        limit=sql.Literal(limit),
    )


def _past(
    keys: Sequence[sql.Composable], table: SourceTable, types: dict[str, str], after: Key | None
) -> sql.Composable:
    """The condition that a row comes after a key, in the order of the index; literals, since COPY takes no parameters."""
    if after is None:
        return sql.SQL("true")
    parts = [
        sql.SQL("{}::{}").format(sql.Literal(part), sql.SQL(types[name]))
        for part, name in zip(after, table.key, strict=True)
    ]
    return sql.SQL("({}) > ({})").format(_list(keys), _list(parts))


def _list(parts: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
