"""The front end in SQLite: a file beside the agent, in WAL mode, every commit synced."""

import fcntl
import os
import re
import sqlite3
import string
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from agent.errors import (
    AgentError,
    AnotherAgent,
    FrontBusy,
    FrontDamaged,
    FrontFull,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    RowRefused,
)
from agent.files import refused, unusable
from agent.front.base import Progress, Stored, Written
from agent.front.catalogue import Catalogue
from agent.front.corruption import corruption
from agent.front.schema import short
from agent.front.sqlite import catalogue as sqlite_catalogue
from agent.front.sqlite import file as sqlite_file
from agent.front.store import SAVEPOINT, SqlFront
from agent.front.table_owners import LISTS, Place
from agent.messages import phrase, system_reason
from agent.resource import FrontRow, Target
from agent.values import column_types as v
from agent.values.floats import FLOAT4_DIGITS, FLOAT8_DIGITS, float_writer
from agent.values.lines import line_of
from agent.values.rows import Key
from agent.values.writing import boolean_text, bytes_text

# What a session must have. In UTF-16 keys have another order, without WAL readers stop the writer, without FULL a power cut loses commits.
_SETTINGS = {"encoding": "UTF-8", "journal_mode": "wal", "synchronous": 2}
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_LOOKUP = 500  # keys in one SELECT
_LOOK = 0.002  # seconds between looks whether it is our turn to write

# What SQLite's primary result codes mean, by https://www.sqlite.org/rescode.html: `away`, `busy` (locks, space, memory) and `unfit` (the file, its
# rights) concern all tables, `table` one as it is. The others, and what Python's driver refuses by itself, concern the statement: the table it was for.
KINDS = {
    sqlite3.SQLITE_ERROR: "table",
    sqlite3.SQLITE_PERM: "unfit",
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_NOMEM: "busy",
    sqlite3.SQLITE_READONLY: "unfit",
    sqlite3.SQLITE_INTERRUPT: "busy",
    sqlite3.SQLITE_IOERR: "busy",
    sqlite3.SQLITE_CORRUPT: "unfit",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CANTOPEN: "away",
    sqlite3.SQLITE_PROTOCOL: "busy",
    sqlite3.SQLITE_SCHEMA: "busy",
    sqlite3.SQLITE_NOLFS: "unfit",
    sqlite3.SQLITE_AUTH: "unfit",
    sqlite3.SQLITE_FORMAT: "unfit",
    sqlite3.SQLITE_NOTADB: "unfit",
}

# https://www.sqlite.org/datatype3.html section 3.1, in its order; the first match decides.
_AFFINITIES = (
    (r"INT", "INTEGER"),
    (r"CHAR|CLOB|TEXT", "TEXT"),
    (r"BLOB|^$", "BLOB"),
    (r"REAL|FLOA|DOUB", "REAL"),
)


def affinity(declared: str) -> str:
    """SQLite's affinity of a declared column type."""
    return next(
        (name for pattern, name in _AFFINITIES if re.search(pattern, declared.upper())), "NUMERIC"
    )


def sqlite_engine(url: str, lock_wait: float) -> Engine:
    """An engine whose transactions take the write lock at once, in WAL mode with every commit on disk."""
    engine = create_engine(url, connect_args={"timeout": lock_wait, "check_same_thread": False})
    path = Path(make_url(url).database or "")

    @event.listens_for(engine, "do_connect")
    def connect(*_: object) -> None:
        sqlite_file.look_at_files(path)  # before SQLite joins them

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise FrontUnfit(
                reason=phrase(
                    "{path} cannot be brought into WAL mode, it stays in {mode}",
                    path=path,
                    mode=mode,
                )
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {sqlite_file.LOG_LIMIT}")
        # Foreign keys are the affair of those who set this themselves: here none refuses or deletes a row
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA recursive_triggers = OFF")
        connection.execute("PRAGMA ignore_check_constraints = OFF")
        for name, wanted in _SETTINGS.items():
            (found,) = connection.execute(f"PRAGMA {name}").fetchone()
            if found != wanted:
                raise FrontUnfit(
                    reason=phrase(
                        "PRAGMA {name} of its file is {found}, and must be {wanted}",
                        name=name,
                        found=found,
                        wanted=wanted,
                    )
                )

    turn = Path(f"{engine.url.database}.turn")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        if connection.get_execution_options().get("reader"):
            connection.exec_driver_sql("BEGIN")
            return
        with _in_turn(turn, lock_wait / 2):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def _in_turn(path: Path, patience: float) -> Iterator[None]:
    """Lets one writer at a time wait for SQLite's write lock, for SQLite itself serves nobody in turn.

    Whoever commits and begins again at once would else find the lock free far more often than one that looks for it ten times a second.
    Without the turn a writer only waits as it would without this file.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + patience
        while not _taken(descriptor) and time.monotonic() < deadline:
            time.sleep(_LOOK)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _float_in(text: str) -> object:
    # SQLite turns NaN into NULL
    return text if text in ("NaN", "Infinity", "-Infinity") else float(text)


_INTEGERS = (v.INT2, v.INT4, v.INT8, v.OID)
_IN: dict[int, Callable[[str], object]] = dict.fromkeys(_INTEGERS, int) | {
    v.BOOL: lambda text: 1 if text == "t" else 0,
    v.FLOAT4: _float_in,
    v.FLOAT8: _float_in,
    v.BYTEA: lambda text: bytes.fromhex(text[2:]),
}
_OUT: dict[int, Callable[[Any], str]] = {
    v.BOOL: boolean_text,
    v.FLOAT4: float_writer(FLOAT4_DIGITS),
    v.FLOAT8: float_writer(FLOAT8_DIGITS),
    v.BYTEA: bytes_text,
}
# Column types we create, and the affinities of existing columns that keep a value as it is.
_TYPES = dict.fromkeys((*_INTEGERS, v.BOOL), "INTEGER") | {
    v.FLOAT4: "",
    v.FLOAT8: "",
    v.BYTEA: "BLOB",
}
_KEEPS = {
    "INTEGER": ("INTEGER", "BLOB"),
    "": ("BLOB",),
    "BLOB": ("BLOB",),
    "TEXT": ("TEXT", "BLOB"),
}


class SqliteFront(SqlFront):
    """See Front. The lock is flock on a file beside the database; the kernel gives it back when the process dies."""

    errors = (SQLAlchemyError, sqlite3.Error)

    def __init__(self, url: str, lock_wait: float, agent: str) -> None:
        super().__init__(sqlite_engine(url, lock_wait), agent)
        self.path = Path(self.engine.url.database or "")
        self._lock_wait = lock_wait
        self._lock_files: list[int] = []  # ours first, then the one of version 0.1
        self._ended: int | None = None  # where the last writer has come to a clean end
        # Of the last commit; None while there is no clean end to note
        self._mark: int | None = None
        # The file and its mark as this process has found it sound
        self._sound: tuple[object, ...] = ()
        self._opened_files: tuple[object, ...] = ()
        self._saved = False  # the open transaction has a savepoint

    # ---- lock, opening and end

    def take_lock(self, connection: Connection, former: bool) -> None:
        """See SqlFront.take_lock."""
        ending = ".lock" if former else f".{short(self.agent)}.lock"
        path = self.path.with_name(self.path.name + ending)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise refused(self.path) or FrontUnreachable(reason=system_reason(error)) from None
        held = os.pread(descriptor, 40, 0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise AnotherAgent(
                holder=phrase("process {holder}", holder=held.decode(errors="replace").strip())
            ) from None
        if not former:
            self._ended = sqlite_file.ended_clean(held)
        self._write_lock_file(descriptor, f"{os.getpid()}\n".encode())
        self._lock_files.append(descriptor)

    @staticmethod
    def _write_lock_file(descriptor: int, text: bytes) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)
        os.fsync(descriptor)

    def unlock(self) -> None:
        """See SqlFront.unlock."""
        if self._lock_files and self._mark is not None:
            self._write_lock_file(self._lock_files[0], sqlite_file.clean_end(self._mark))
        self._mark = None
        while self._lock_files:
            os.close(self._lock_files.pop())

    def open(self, nonce: str) -> Stored:
        """See Front.open."""
        stored = super().open(nonce)
        try:
            with self.guarded():
                self._make_mark(self.connection)
                mark = self.connection.exec_driver_sql(sqlite_file.READ_MARK).scalar_one()
                self.connection.commit()
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

    def commit(self, progress: Progress) -> None:
        """See Front.commit."""
        with self.guarded():
            self.connection.exec_driver_sql(sqlite_file.RAISE_MARK)
        super().commit(progress)
        if self._mark is not None:
            self._mark += 1

    # ---- damage

    def examine(self, connection: Connection, after_clean_end: bool = False) -> None:
        """See SqlFront.examine. After a clean end the pages are not looked at, nor once more by the same process."""
        mark = self._mark_of(connection)
        seen = (self._files()[0], mark)
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
        if self._lock_files:
            sqlite_file.forget_damage(self.path)

    def _mark_of(self, connection: Connection) -> int | None:
        """The number of the last commit; None in a file of an older version, or of somebody else's."""
        with self.guarded():
            known = inspect(connection).has_table("sync_agent_commits")
            mark = connection.exec_driver_sql(sqlite_file.READ_MARK).scalar() if known else None
            connection.rollback()
        return None if mark is None else int(mark)

    def _is_where_it_ended(self, mark: int | None) -> bool:
        """Whether the last writer ended clean and the file has what it wrote: an older one that was put back has not."""
        if mark is None or self._ended is None or sqlite_file.noted_damage(self.path):
            return False
        return mark >= self._ended

    def _files(self) -> tuple[object, ...]:
        """Which files these are, whatever stands in them."""
        found: list[object] = []
        for path in (self.path, sqlite_file.beside(self.path, "-wal")):
            try:
                status = path.stat()
                found.append((status.st_dev, status.st_ino))
            except OSError:
                found.append(None)
        return tuple(found)

    def housekeeping(self) -> int:
        """See Front.housekeeping."""
        ended, self._mark = self._mark, None  # no clean end, if it is another file
        if self._files() != self._opened_files:
            raise FrontDamaged(
                reason=phrase(
                    "{path} or its -wal was removed or replaced while the service ran",
                    path=self.path,
                )
            )
        sqlite_file.look_at_files(self.path)
        self._mark = ended
        log = sqlite_file.beside(self.path, "-wal")
        if sqlite_file.size(log) > sqlite_file.LOG_LIMIT and not self.connection.in_transaction():
            self._cut_log()
        return sqlite_file.size(log)

    def _cut_log(self) -> None:
        """Empties the -wal if no reader needs it; never waits for one."""
        driver = self.connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        with self.guarded():
            driver.execute("PRAGMA busy_timeout = 0")
            try:
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                driver.execute(f"PRAGMA busy_timeout = {int(self._lock_wait * 1000)}")

    def error(self, cause: BaseException, target: Target | None) -> AgentError:  # noqa: PLR0911 - one for each kind of error
        """See SqlFront.error. SQLite's messages name tables and columns, never values; only a trigger's own words may, which are left out."""
        if found := unusable(self.path, cause):
            return found
        if corruption(cause):
            self._mark = None
            sqlite_file.note_damage(self.path, str(cause))
            return FrontDamaged(reason=f"{self.path}: {cause}")
        code = getattr(cause, "sqlite_errorcode", None)
        named = str(getattr(cause, "sqlite_errorname", type(cause).__name__))
        reason = named if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER else f"{named}: {cause}"
        kind = "row" if code is None else KINDS.get(code & 0xFF, "row")
        if code == sqlite3.SQLITE_IOERR_WRITE:  # a quota, or a limit of the file's size
            kind = "full"
        if kind == "busy":
            return FrontBusy(reason=reason)
        if kind == "full":
            return FrontFull(reason=f"{self.path}: {reason}")
        if kind == "away":
            return FrontUnreachable(reason=reason)
        if kind == "table" and target is not None:
            return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)
        if kind == "row" and target is not None:
            return RowRefused(resource=target.resource, table=target.name, reason=reason)
        return FrontUnfit(reason=f"{self.path}: {reason}")

    def save(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """See SqlFront.save. Here savepoints of one name lie upon each other."""
        if self._saved:
            self.connection.exec_driver_sql(f"RELEASE SAVEPOINT {SAVEPOINT}")
        super().save(target, rows)
        self._saved = True

    def undo(self) -> None:
        """See SqlFront.undo."""
        driver = self.connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection) and not driver.in_transaction:
            raise FrontUnreachable(
                reason=phrase("a trigger or constraint has rolled the transaction back")
            )
        super().undo()

    def begin(self) -> None:
        """See Front.begin."""
        if not self.connection.in_transaction():
            self._saved = False
        super().begin()

    def name_fault(self, name: str, of_table: bool) -> str:
        """See SqlFront.name_fault."""
        return (
            phrase("begins with sqlite_, which SQLite keeps for itself")
            if of_table and name.lower().startswith("sqlite_")
            else ""
        )

    def most_columns(self) -> int:
        """See SqlFront.most_columns: what the library was built with."""
        with closing(sqlite3.connect(":memory:")) as connection:
            return connection.getlimit(sqlite3.SQLITE_LIMIT_COLUMN)

    def column_type(self, target: Target, index: int) -> str:
        """See SqlFront.column_type. Floats get no affinity (REAL turns NaN into NULL); numeric is TEXT (NUMERIC loses digits)."""
        return _TYPES.get(target.columns[index].type_oid, "TEXT")

    def technical_type(self, role: str) -> str:
        """Times are TEXT here."""
        declared = super().technical_type(role)
        return "TEXT" if declared == "TIMESTAMP" else declared

    def place(self, connection: Connection, target: Target) -> Place:
        """See TableOwners.place."""
        return Place("main", target.table)

    def folded(self, connection: Connection, place: Place) -> Place:
        """See TableOwners.folded. SQLite folds ASCII letters only."""
        return Place(*(part.translate(_LOWER) for part in place))

    def lists(self, connection: Connection) -> Sequence[tuple[str | None, str, bool]]:
        """See TableOwners.lists."""
        found = connection.exec_driver_sql(
            f"SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '{LISTS}' ESCAPE '!'"
        )
        return [(None, name, True) for name in found.scalars()]

    def look(self, connection: Connection, target: Target) -> Catalogue:
        """See SqlFront.look."""
        return sqlite_catalogue.read(connection, target)

    def check_shape(self, target: Target) -> None:
        """See SqlFront.check_shape."""
        with self.looking(target) as connection:
            found = inspect(connection)
            if not found.has_table(target.table):
                raise FrontTableWrong(
                    resource=target.resource, table=target.name, reason=phrase("it does not exist")
                )
            rows = connection.exec_driver_sql(
                f"PRAGMA table_info({self.quote(target.table)})"
            ).all()
            indexes = connection.exec_driver_sql(
                f"PRAGMA index_list({self.quote(target.table)})"
            ).all()
            collations = self._key_collations(
                connection, target, [row[1] for row in indexes if row[3] == "pk"]
            )
        columns = {row[1]: (str(row[2]), bool(row[3]), row[4], int(row[5])) for row in rows}
        self._check_columns(target, columns)
        self._check_key(
            target, {name: place for name, (_, _, _, place) in columns.items() if place}, collations
        )

    def _key_collations(
        self, connection: Connection, target: Target, indexes: list[str]
    ) -> set[str]:
        """Collations of the primary key's index (an INTEGER PRIMARY KEY has none)."""
        rows = [
            row
            for name in indexes
            for row in connection.exec_driver_sql(f"PRAGMA index_xinfo({self.quote(name)})").all()
        ]
        return {str(row[4]).upper() for row in rows if row[5]}

    def _check_columns(
        self, target: Target, columns: Mapping[str, tuple[str, bool, object, int]]
    ) -> None:
        for i, column in enumerate(target.columns):
            if column.name not in columns:
                raise self.missing(target, i)
            declared, not_null, _, _ = columns[column.name]
            if affinity(declared) not in _KEEPS[self.column_type(target, i)]:
                wanted = self.column_type(target, i) or "no type"
                raise FrontTableWrong(
                    resource=target.resource,
                    table=target.name,
                    reason=phrase(
                        "column {name} is {declared}, which changes values; it must be {wanted}",
                        name=column.name,
                        declared=declared,
                        wanted=wanted,
                    ),
                )
            if not_null and not column.not_null and i not in target.key:
                raise FrontTableWrong(
                    resource=target.resource,
                    table=target.name,
                    reason=phrase(
                        "column {name} is NOT NULL, the source's is not", name=column.name
                    ),
                )
        for role, name in target.technical.items():
            if name not in columns:
                raise self.missing_technical(target, role)
        ours = {column.name for column in target.columns} | set(target.technical.values())
        for name, (_, not_null, default, _) in columns.items():
            if name not in ours and not_null and default is None:
                raise FrontTableWrong(
                    resource=target.resource,
                    table=target.name,
                    reason=phrase(
                        "column {name} is NOT NULL without a default and not shared", name=name
                    ),
                )

    def _check_key(self, target: Target, places: Mapping[str, int], collations: set[str]) -> None:
        wanted = {target.columns[i].name for i in target.key}
        if set(places) != wanted:
            raise FrontTableWrong(
                resource=target.resource,
                table=target.name,
                reason=phrase("its primary key must be ({names})", names=", ".join(sorted(wanted))),
            )
        if collations - {"BINARY"}:
            raise FrontTableWrong(
                resource=target.resource,
                table=target.name,
                reason=phrase(
                    "its key has collation {names}; it must be BINARY",
                    names=", ".join(sorted(collations)),
                ),
            )

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See Front.fetch."""
        into = [_IN.get(target.columns[i].type_oid, str) for i in target.key]
        names = self._keys(target)
        live = f" AND {self.quote(target.technical['deleted'])} = 0" if target.soft_delete else ""
        one = "(" + ", ".join("?" * len(target.key)) + ")"
        found: dict[Key, FrontRow] = {}
        with self.guarded(target):
            for some in (keys[i : i + _LOOKUP] for i in range(0, len(keys), _LOOKUP)):
                wanted = ", ".join([one] * len(some))
                sql = f"SELECT {self.names(c.name for c in target.columns)} FROM {self.table(target)} WHERE ({names}) IN (VALUES {wanted}){live}"
                parameters = tuple(
                    convert(part) for key in some for convert, part in zip(into, key, strict=True)
                )
                for row in self.connection.exec_driver_sql(sql, parameters):
                    texts = self._texts(target, row)
                    found[tuple(str(texts[i]) for i in target.key)] = texts
        return found

    @staticmethod
    def _texts(target: Target, row: Sequence[Any]) -> FrontRow:
        return tuple(
            None if value is None else _OUT.get(c.type_oid, str)(value)
            for c, value in zip(target.columns, row, strict=True)
        )

    def spellings(self, target: Target) -> bool:
        """See Front.spellings: 0 and -0."""
        return any(target.columns[i].type_oid in (v.FLOAT4, v.FLOAT8) for i in target.key)

    def _key(self, target: Target, index: int) -> str:
        """A key column, compared bytewise even where it was declared with another collation than its index."""
        column = target.columns[index]
        name = self.quote(column.name)
        return f"{name} COLLATE BINARY" if column.type_oid not in _INTEGERS else name

    def _keys(self, target: Target) -> str:
        return ", ".join(self._key(target, i) for i in target.key)

    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See SqlFront.put."""
        names = [*(column.name for column in target.columns), *target.technical.values()]
        keys = [target.columns[i].name for i in target.key]
        key_in = [_IN.get(target.columns[i].type_oid, str) for i in target.key]
        row_in = [_IN.get(column.type_oid, str) for column in target.columns]
        gone = [(k, w) for k, w in rows.items() if w.row is None]
        kept = [(w.row, w) for w in rows.values() if w.row is not None]
        match = " AND ".join(f"{self._key(target, i)} = ?" for i in target.key)
        spelled = self.spellings(target)
        if spelled and gone:
            # SQLite itself writes 0 and -0 alike
            standing = self.fetch(target, [key for key, _ in gone])
            gone = [(key, written) for key, written in gone if key in standing]
        with self.guarded(target):
            if gone:
                plain = [
                    tuple(convert(part) for convert, part in zip(key_in, key, strict=True))
                    for key, _ in gone
                ]
                if target.soft_delete:
                    changed = ", ".join(
                        f"{self.quote(name)} = ?" for name in target.technical.values()
                    )
                    marked = [
                        self.technical_values(target, w, batch) + key
                        for key, (_, w) in zip(plain, gone, strict=True)
                    ]
                    self.connection.exec_driver_sql(
                        f"UPDATE OR ABORT {self.table(target)} SET {changed} WHERE {match}", marked
                    )
                else:
                    self.connection.exec_driver_sql(
                        f"DELETE FROM {self.table(target)} WHERE {match}", plain
                    )
            if kept:
                others = [name for name in names if name not in keys]
                changed = ", ".join(
                    f"{self.quote(n)} = excluded.{self.quote(n)}"
                    for n in (names if spelled else others or names[:1])
                )
                sql = (
                    f"INSERT OR ABORT INTO {self.table(target)} ({self.names(names)}) VALUES ({', '.join('?' * len(names))}) "
                    f"ON CONFLICT ({self.names(keys)}) DO UPDATE SET {changed}"
                )
                stored = [
                    tuple(
                        [
                            None if value is None else convert(value)
                            for convert, value in zip(row_in, row, strict=True)
                        ]
                    )
                    + self.technical_values(target, w, batch)
                    for row, w in kept
                ]
                written = self.connection.exec_driver_sql(sql, stored).rowcount
                if written < len(stored):
                    raise self.swallowed(target)
        self.insist(target, rows)

    def keys_after(self, target: Target, after: Key | None, limit: int) -> list[Key]:
        """See Front.keys_after."""
        columns = [target.columns[i] for i in target.key]
        names = self.names(column.name for column in columns)
        where, parameters = self._range(target, after, None)
        order = self._keys(target)
        with self.guarded(target):
            statement = f"SELECT {names} FROM {self.table(target)} WHERE {where} ORDER BY {order} LIMIT {limit:d}"
            rows = self.connection.exec_driver_sql(statement, parameters).all()
        return [
            tuple(
                _OUT.get(column.type_oid, str)(value)
                for column, value in zip(columns, row, strict=True)
            )
            for row in rows
        ]

    def _range(
        self, target: Target, after: Key | None, upto: Key | None
    ) -> tuple[str, tuple[object, ...]]:
        """The condition for keys past `after` up to `upto`, and its parameters."""
        into = [_IN.get(target.columns[i].type_oid, str) for i in target.key]
        names = self._keys(target)
        where, parameters = ["1"], []
        if target.soft_delete:
            where.append(f"{self.quote(target.technical['deleted'])} = 0")
        for operator, key in ((">", after), ("<=", upto)):
            if key is not None:
                where.append(f"({names}) {operator} ({', '.join('?' * len(key))})")
                parameters += [convert(part) for convert, part in zip(into, key, strict=True)]
        return " AND ".join(where), tuple(parameters)

    def same_order(self, target: Target) -> bool:
        """See Front.same_order."""
        return all(target.columns[i].type_oid in _INTEGERS for i in target.key)

    def lines(self, target: Target, after: Key | None, upto: Key | None) -> list[bytes]:
        """See Front.lines."""
        where, parameters = self._range(target, after, upto)
        with self.guarded(target):
            names = self.names(column.name for column in target.columns)
            rows = self.connection.exec_driver_sql(
                f"SELECT {names} FROM {self.table(target)} WHERE {where}", parameters
            )
            return [line_of(self._texts(target, row)) for row in rows]
