"""The front end in SQLite: a file beside the agent, in WAL mode, every commit synced.

Each commit raises a mark in the file. By it and the lock file the agent knows whether the file is
the one that it wrote, and whether its pages have to be looked at.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, inspect
from sqlalchemy.exc import SQLAlchemyError

from agent.errors import AgentError, FrontDamaged, FrontUnreachable
from agent.files import unusable
from agent.front.base import Progress, Request, Stored, Written
from agent.front.corruption import corruption
from agent.front.schema import short
from agent.front.sqlite import file as sqlite_file
from agent.front.sqlite.errors import error_of
from agent.front.sqlite.lock_file import LockFile
from agent.front.sqlite.rows import SqliteRows
from agent.front.sqlite.session import sqlite_engine
from agent.front.table_rows import SAVEPOINT
from agent.messages import phrase
from agent.resource import Target
from agent.values.rows import Key


class SqliteFront(SqliteRows):
    """See Front. The lock is a file beside the database (agent.front.sqlite.lock_file)."""

    errors = (SQLAlchemyError, sqlite3.Error)

    def __init__(self, url: str, lock_wait: float, agent: str) -> None:
        super().__init__(sqlite_engine(url, lock_wait), agent)
        self.path = Path(self.engine.url.database or "")
        self._lock_wait = lock_wait

        # Ours first, then the one of version 0.1
        self._locks: list[LockFile] = []

        # The mark at which the last writer came to a clean end; None where it did not
        self._ended: int | None = None

        # The mark of the last commit; None while there is no clean end to note
        self._mark: int | None = None

        # The file and its mark as this process has found them sound
        self._sound: tuple[object, ...] = ()

        # The version of the data in which nobody has asked for anything
        self._unasked: int | None = None

        # The files that were opened
        self._opened_files: tuple[object, ...] = ()

        # What the files were like when they were last found to belong together
        self._traits: tuple[object, ...] = ()

        # The open transaction has a savepoint
        self._saved = False

    # ---- lock, opening and end

    def take_lock(self, connection: Connection, former: bool) -> None:
        """See SqlFront.take_lock."""
        ending = ".lock" if former else f".{short(self.agent)}.lock"
        lock = LockFile(self.path, ending)
        self._locks.append(lock)
        if not former:
            self._ended = lock.clean_end

    def unlock(self) -> None:
        """See SqlFront.unlock."""
        if self._locks and self._mark is not None:
            own = self._locks[0]
            own.note_clean_end(self._mark)
        self._mark = None

        while self._locks:
            lock = self._locks.pop()
            lock.release()

    def open(self, nonce: str) -> Stored:
        """See FrontTransaction.open."""
        stored = super().open(nonce)
        self._unasked = None
        try:
            with self.guarded():
                connection = self.connection
                self._make_mark(connection)
                mark = connection.exec_driver_sql(sqlite_file.READ_MARK).scalar_one()
                connection.commit()
        except AgentError:
            self.close()
            raise
        self._mark = int(mark)
        self._opened_files = self._files()
        return stored

    def initialise(self, identity: Mapping[str, object], topics: Mapping[str, str]) -> None:
        """See OwnTables.initialise."""
        super().initialise(identity, topics)
        with self.guarded(), self.engine.begin() as connection:
            self._make_mark(connection)

    @staticmethod
    def _make_mark(connection: Connection) -> None:
        for statement in sqlite_file.MAKE_MARK:
            connection.exec_driver_sql(statement)

    # ---- the transaction

    def begin(self) -> None:
        """See FrontTransaction.begin."""
        if not self.connection.in_transaction():
            self._saved = False
        super().begin()

    def save(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """See TableRows.save. Here savepoints of one name lie upon each other."""
        if self._saved:
            self.connection.exec_driver_sql(f"RELEASE SAVEPOINT {SAVEPOINT}")
        super().save(target, rows)
        self._saved = True

    def undo(self) -> None:
        """See TableRows.undo."""
        driver = self.connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection) and not driver.in_transaction:
            reason = phrase("a trigger or constraint has rolled the transaction back")
            raise FrontUnreachable(reason=reason)
        super().undo()

    def commit(self, progress: Progress) -> None:
        """See FrontTransaction.commit."""
        with self.guarded():
            self.connection.exec_driver_sql(sqlite_file.RAISE_MARK)
        super().commit(progress)
        if self._mark is not None:
            self._mark += 1

    def query(self, question: Select[Any], target: Target | None = None) -> Sequence[Any]:
        """See FrontConnection.query. Here a transaction of the writer would take its lock."""
        if self.connection.in_transaction():
            return super().query(question, target)
        with self.reading(target) as connection:
            return connection.execute(question).all()

    def requests(self) -> list[Request]:
        """See ResourceStore.requests. Only others ask: without a change of theirs is none new."""
        version = self.version_of("data")
        if self._unasked == version:
            return []
        found = super().requests()
        self._unasked = None if found else version
        return found

    # ---- damage

    def examine(self, connection: Connection, after_clean_end: bool = False) -> None:
        """See SqlFront.examine.

        After a clean end the pages are not looked at, nor once more by the same process.
        """
        mark = self._mark_of(connection)
        file, _ = self._files()
        seen = (file, mark)
        if after_clean_end and (seen == self._sound or self._is_where_it_ended(mark)):
            return

        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        try:
            with self.guarded():
                sqlite_file.look_at_pages(driver, self.alive)
        except FrontDamaged as found:
            sqlite_file.note_damage(self.path, str(found.values["reason"]))
            raise
        self._sound = seen
        if self._locks:
            sqlite_file.forget_damage(self.path)

    def _mark_of(self, connection: Connection) -> int | None:
        """Reads the mark of a file; None in one of an older version, or of somebody else's."""
        mark = None
        with self.guarded():
            if inspect(connection).has_table("sync_agent_commits"):
                mark = connection.exec_driver_sql(sqlite_file.READ_MARK).scalar()
            connection.rollback()
        return None if mark is None else int(mark)

    def _is_where_it_ended(self, mark: int | None) -> bool:
        """Whether the last writer ended clean and the file has what it wrote.

        An older file that was put back has not.
        """
        if mark is None or self._ended is None:
            return False
        if sqlite_file.noted_damage(self.path):
            return False
        return mark >= self._ended

    def _files(self) -> tuple[object, ...]:
        """Returns which files these are, whatever is in them."""
        found: list[object] = []
        for path in (self.path, sqlite_file.beside(self.path, "-wal")):
            try:
                status = path.stat()
                found.append((status.st_dev, status.st_ino))
            except OSError:
                found.append(None)
        return tuple(found)

    def error(self, cause: BaseException, target: Target | None) -> AgentError:
        """See FrontConnection.error."""
        if found := unusable(self.path, cause):
            return found
        if corruption(cause):
            self._mark = None
            sqlite_file.note_damage(self.path, str(cause))
            return FrontDamaged(reason=f"{self.path}: {cause}")
        return error_of(cause, target, self.path)

    # ---- housekeeping

    def housekeeping(self) -> int:
        """See FrontTransaction.housekeeping."""
        # If it is another file, there is no clean end to note.
        mark = self._mark
        self._mark = None
        if self._files() != self._opened_files:
            reason = phrase(
                "{path} or its -wal was removed or replaced while the service ran",
                path=self.path,
            )
            raise FrontDamaged(reason=reason)
        traits = sqlite_file.traits(self.path)
        if not traits or traits != self._traits:
            sqlite_file.look_at_files(self.path)
            self._traits = traits
        self._mark = mark

        log = sqlite_file.beside(self.path, "-wal")
        large = sqlite_file.size(log) > sqlite_file.LOG_LIMIT
        if large and not self.connection.in_transaction():
            self._cut_log()
        return sqlite_file.size(log)

    def _cut_log(self) -> None:
        """Empties the -wal if no reader needs it; never waits for one."""
        driver = self.connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        milliseconds = int(self._lock_wait * 1000)
        with self.guarded():
            driver.execute("PRAGMA busy_timeout = 0")
            try:
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                driver.execute(f"PRAGMA busy_timeout = {milliseconds}")
