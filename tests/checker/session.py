"""Sessions of an application at a business database of any kind, for a Writer."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from tests.checker.inputs import Value
from tests.checker.table import Database, in_mariadb
from tests.services.mariadb import connected

BUSY_SECONDS = 60.0  # a writer of SQLite waits so long for another one


class Session(Protocol):
    """A connection that runs one transaction after the other."""

    def transaction(self, undo: bool) -> AbstractContextManager[Any]:
        """Runs a transaction, or a savepoint within one; `undo`: it is rolled back at the end."""

    def execute(self, statement: sql.Composed, values: Sequence[Value]) -> int:
        """Runs a statement, and returns how many rows it has changed."""

    def close(self) -> None:
        """Ends the session."""


def session_of(database: Database) -> Session:
    """Opens a session."""
    if isinstance(database, Path):
        return SQLiteSession(database)
    if in_mariadb(database):
        return MariaDbSession(database)
    return PostgresSession(database)


class PostgresSession:
    """See Session."""

    def __init__(self, conninfo: str) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True)

    def transaction(self, undo: bool) -> AbstractContextManager[Any]:
        """See Session.transaction."""
        return self._connection.transaction(force_rollback=undo)

    def execute(self, statement: sql.Composed, values: Sequence[Value]) -> int:
        """See Session.execute."""
        return self._connection.execute(statement, values).rowcount

    def close(self) -> None:
        """See Session.close."""
        self._connection.close()


class SQLiteSession:
    """See Session. It may be used in another thread than the one that has opened it."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(
            file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA synchronous = OFF")  # the machine does not fail

    @contextmanager
    def transaction(self, undo: bool) -> Iterator[None]:
        """See Session.transaction. It waits at its beginning until nobody else writes."""
        within = self._connection.in_transaction
        begin = "BEGIN IMMEDIATE"
        with bracketed(self._connection.execute, begin, within=within, undo=undo):
            yield

    def execute(self, statement: sql.Composed, values: Sequence[Value]) -> int:
        """See Session.execute."""
        return self._connection.execute(statement.as_string().replace("%s", "?"), values).rowcount

    def close(self) -> None:
        """See Session.close."""
        self._connection.close()


class MariaDbSession:
    """See Session. It may be used in another thread than the one that has opened it."""

    def __init__(self, url: str) -> None:
        self._stack = ExitStack()
        connection = self._stack.enter_context(connected(url))
        self._cursor = self._stack.enter_context(connection.cursor())
        self._within = False
        # Sessions that change only rows of their own do not wait for gaps between rows
        for setting in (
            "sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES'",
            "SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ):
            self._cursor.execute(f"SET {setting}")

    @contextmanager
    def transaction(self, undo: bool) -> Iterator[None]:
        """See Session.transaction."""
        within = self._within
        self._within = True
        try:
            with bracketed(self._cursor.execute, "BEGIN", within=within, undo=undo):
                yield
        finally:
            self._within = within

    def execute(self, statement: sql.Composed, values: Sequence[Value]) -> int:
        """See Session.execute."""
        return int(self._cursor.execute(statement.as_string(), values))

    def close(self) -> None:
        """See Session.close."""
        self._stack.close()


@contextmanager
def bracketed(
    execute: Callable[[str], object], begin: str, *, within: bool, undo: bool
) -> Iterator[None]:
    """Runs a transaction that `begin` begins, or a savepoint where one is under way."""
    commit, rollback = "COMMIT", "ROLLBACK"
    if within:
        begin, commit, rollback = "SAVEPOINT s", "RELEASE SAVEPOINT s", "ROLLBACK TO SAVEPOINT s"
    execute(begin)
    try:
        yield
    except BaseException:
        execute(rollback)
        raise
    execute(rollback if undo else commit)
