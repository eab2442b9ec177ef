"""The front end in MariaDB, and MySQL 8 by the same statements: bytewise keys, one upsert of many rows."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.exc import DBAPIError

from agent.errors import (
    AgentError,
    AnotherAgent,
    FrontBusy,
    FrontDamaged,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    LoginRefused,
    RowRefused,
)
from agent.events.lines import line_of
from agent.front.base import Written
from agent.front.damage import damage
from agent.front.former import move_rows, renames
from agent.front.mariadb_columns import (
    MARIADB,
    MYSQL,
    TEXT,
    Beyond,
    Columns,
    Unfit,
    column_type,
    declared,
    holds,
    quoted,
)
from agent.front.mariadb_session import COLLATIONS, LEAST_PACKET, mariadb_engine
from agent.front.store import SqlFront
from agent.resource import FrontRow, Key, Target

_LOCK_PATIENCE = 5  # seconds; the server needs a moment to notice that an agent was killed
_AT_ONCE = (
    500  # keys or rows in one statement; past 1000 MariaDB plans a list of keys in another way
)
_STATEMENT = 1 << 20  # bytes after which a statement is sent

# Error numbers of MariaDB and MySQL, the same in both unless they have only one of two.
_LOGIN = frozenset({1044, 1045, 1049, 1130, 1698, 1862})
# Locks, deadlocks, disk, connections, read only
_BUSY = frozenset({1020, 1021, 1040, 1114, 1203, 1205, 1206, 1213, 1290, 1412, 1836, 1969, 3024})
_ROW = frozenset({1118, 1142, 1143, 1153, 1264, 1292, 1364, 1366, 1406, 1644, 3819, 4025})
_NAMES_ONLY = frozenset(
    {
        1020,
        1040,
        1048,
        1054,
        1114,
        1118,
        1142,
        1143,
        1146,
        1153,
        1205,
        1206,
        1213,
        1264,
        1290,
        1364,
        1406,
        1412,
        3819,
        4025,
    }
)
_UNKNOWN_COLLATION = 1273

_TABLE = text(
    "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = coalesce(:schema, database()) AND table_name = :table"
)
_COLUMNS = text("""
    SELECT table_name, column_name, column_type, is_nullable, column_default, extra, character_set_name, collation_name
    FROM information_schema.columns WHERE table_schema = coalesce(:schema, database()) AND table_name = :table""")
_INDEXES = text("""
    SELECT table_name, index_name, column_name, sub_part FROM information_schema.statistics
    WHERE table_schema = coalesce(:schema, database()) AND table_name = :table AND non_unique = 0""")

# Each changes nothing and needs just this right; roles count, which no table of rights tells.
_NEEDS = {
    "SELECT": "SELECT 1 FROM {table} WHERE 1 = 0",
    "INSERT": "INSERT INTO {table} ({column}) SELECT NULL FROM DUAL WHERE 1 = 0",
    "UPDATE": "UPDATE {table} SET {column} = NULL WHERE 1 = 0",
    "DELETE": "DELETE FROM {table} WHERE 1 = 0",
}
_DENIED = frozenset({1142, 1143})
_EXISTS = frozenset({1050})  # an earlier attempt to move the rows was ended


def _denied(connection: Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except DBAPIError as error:
        return error.orig is not None and error.orig.args[0] in _DENIED
    return False


class MariaDbFront(SqlFront):
    """See Front. The lock is GET_LOCK of the writing session, named after database and agent."""

    def __init__(
        self,
        url: str,
        password: Callable[[], str] | None,
        lock_wait: float,
        agent: str,
        types: str = "native",
    ) -> None:
        super().__init__(mariadb_engine(url, password, lock_wait), agent)
        kind = self.engine.url.get_backend_name()
        self._collation = COLLATIONS[kind]
        self._forms = {"mariadb": MARIADB, "mysql": MYSQL}[kind] if types == "native" else TEXT
        self._packet = LEAST_PACKET
        self._columns: dict[str, Columns] = {}  # by resource, as `check` found them
        self._failed = False  # the open transaction has met an error

    def take_lock(self, connection: Connection, former: bool) -> None:
        """See SqlFront.take_lock."""
        database, self._packet = connection.execute(
            text("SELECT database(), @@max_allowed_packet")
        ).one()
        what = database if former else f"{database}\0{self.agent}"
        name = {
            "name": f"sync_agent.{hashlib.blake2b(what.encode(), digest_size=16).hexdigest()}",
            "patience": _LOCK_PATIENCE,
        }
        if connection.execute(text("SELECT get_lock(:name, :patience)"), name).scalar_one() != 1:
            holder = connection.execute(text("SELECT is_used_lock(:name)"), name).scalar_one()
            raise AnotherAgent(holder=f"server session {holder}")

    def unlock(self) -> None:
        """The session's end gives the lock back."""

    def rename(self, connection: Connection, suffixes: Collection[str]) -> None:
        """See OwnTables.rename. To rename takes rights (ALTER, DROP) that version 0.1 did not ask for: without them the rows are moved."""
        pairs = renames(self.agent, suffixes)
        listed = ", ".join(f"{before} TO {after}" for before, after in pairs)
        try:
            connection.exec_driver_sql(f"RENAME TABLE {listed}")
        except DBAPIError as error:
            if error.orig is None or error.orig.args[0] not in (_DENIED | _EXISTS):
                raise
            connection.rollback()
            move_rows(connection, self.agent, suffixes)
        connection.commit()

    # ---- errors

    @contextmanager
    def guarded(self, target: Target | None = None) -> Iterator[None]:
        """See SqlFront.guarded. After an error the transaction is rolled back whole: the server itself may have undone one statement only."""
        try:
            with super().guarded(target):
                yield
        except AgentError:
            if self._connection is not None and self._connection.in_transaction():
                super().rollback()
                self._failed = True
            raise

    @property
    def connection(self) -> Connection:
        """The writing connection; none until `rollback` or `close` when the transaction has met an error."""
        if self._failed:
            raise FrontUnreachable(reason="the transaction has failed")
        return super().connection

    def rollback(self) -> None:
        """See Front.rollback."""
        self._failed = False
        super().rollback()

    def close(self) -> None:
        """See Front.close."""
        self._failed = False
        super().close()

    def error(self, cause: BaseException, target: Target | None) -> AgentError:
        """See SqlFront.error. Messages that may quote a value are left out."""
        number = cause.args[0] if cause.args and isinstance(cause.args[0], int) else 0
        message = str(cause.args[1]) if len(cause.args) > 1 else type(cause).__name__
        if damaged := damage(cause):
            return FrontDamaged(reason=damaged)
        if number in _LOGIN:
            return LoginRefused(
                peer="the front-end database", user=self.engine.url.username or "", reason=message
            )
        if not number or 2000 <= number < 3000:  # the client's own: addresses at the most
            return FrontUnreachable(reason=message)
        if number == _UNKNOWN_COLLATION:
            return FrontUnfit(
                reason=f"it does not know {self._collation}: MariaDB from 10.2 and MySQL from 8.0.17 do, under mariadb+pymysql:// and mysql+pymysql://"
            )
        sqlstate = getattr(cause, "sqlstate", None) or ""
        reason = (
            f"error {number}: {message}"
            if number in _NAMES_ONLY
            else f"error {number}, SQLSTATE {sqlstate}"
        )
        if number in _BUSY or sqlstate[:2] == "40":
            return FrontBusy(reason=reason)
        if target is not None and (number in _ROW or sqlstate[:2] in ("22", "23", "42", "0A")):
            return RowRefused(resource=target.resource, table=target.name, reason=reason)
        return FrontUnreachable(reason=reason)

    # ---- tables

    def quote(self, name: str) -> str:
        """See SqlFront.quote."""
        return "`" + name.replace("`", "``") + "`"

    def name_fault(self, name: str, of_table: bool) -> str:
        """See SqlFront.name_fault."""
        if len(name) > 64:
            return "is longer than 64 characters"
        if max(name) > "\uffff":
            return "has a character beyond U+FFFF"
        return "ends with a blank" if name.endswith(tuple(" \t\n\v\f\r")) else ""

    def column_type(self, target: Target, index: int) -> str:
        """See SqlFront.column_type; the collation is the table's."""
        return column_type(target, index, self._forms)

    def technical_type(self, role: str) -> str:
        """Times are DATETIME(6) in UTC here."""
        declared = super().technical_type(role)
        return "DATETIME(6)" if declared == "TIMESTAMP" else declared

    @staticmethod
    def timestamp(time_us: int) -> str:
        """See SqlFront.timestamp; without the zone, which is UTC."""
        return SqlFront.timestamp(time_us).removesuffix("+00")

    def create_statement(self, target: Target) -> str:
        """See SqlFront.create_statement."""
        return f"{super().create_statement(target)} ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {self._collation}"

    def check(self, target: Target) -> None:
        """See Front.check."""
        where = {"schema": target.schema, "table": target.table}
        with self.guarded(), self.engine.connect() as connection:
            tables, columns, indexes = (  # names of tables are compared without case there
                [row[1:] for row in connection.execute(question, where) if row[0] == target.table]
                for question in (_TABLE, _COLUMNS, _INDEXES)
            )
        if not tables:
            raise self._wrong(target, "it does not exist")
        if str(tables[0][0]).upper() != "INNODB":
            raise self._wrong(
                target,
                f"its engine is {tables[0][0] or 'none (a view)'}; it must be InnoDB, which alone rolls back",
            )
        self._check_rights(target)
        self._check_columns(target, {row[0]: row[1:] for row in columns})
        self._check_key(target, indexes)
        self._columns[target.resource] = Columns(
            target, {row[0]: declared(row[1]) for row in columns}, self._forms
        )

    def _check_rights(self, target: Target) -> None:
        place = {
            "table": self.table(target),
            "column": self.quote(target.columns[target.key[0]].name),
        }
        with self.guarded(), self.engine.connect() as connection:
            lacking = [
                right
                for right, statement in _NEEDS.items()
                if _denied(connection, statement.format(**place))
            ]
        if lacking:
            raise self._wrong(target, f"the agent's user lacks the right {', '.join(lacking)}")

    @staticmethod
    def _wrong(target: Target, reason: str) -> FrontTableWrong:
        return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)

    def _check_columns(self, target: Target, columns: Mapping[str, Sequence[Any]]) -> None:
        names = [column.name for column in target.columns]
        for name in (*names, *target.technical.values()):
            if name not in columns:
                raise self._wrong(
                    target, f"{'technical ' if name not in names else ''}column {name} is missing"
                )
        for i, column in enumerate(target.columns):
            self._check_column(target, i, columns[column.name])
        for name, (_, nullable, default, extra, *_) in columns.items():
            if (
                name not in (*names, *target.technical.values())
                and nullable == "NO"
                and default is None
                and not extra
            ):
                raise self._wrong(
                    target, f"column {name} is NOT NULL without a default and not shared"
                )

    def _check_column(self, target: Target, index: int, row: Sequence[Any]) -> None:
        column, wanted = target.columns[index], self.column_type(target, index)
        found, nullable, _, extra, charset, collation = row
        if not holds(target, index, declared(found)):
            raise self._wrong(
                target,
                f"column {column.name} is {found}, which cannot hold every {column.type_name} exactly; it must be {wanted}",
            )
        if "GENERATED" in extra.upper() and "DEFAULT_GENERATED" not in extra.upper():
            raise self._wrong(target, f"column {column.name} is generated")
        if charset not in (None, "utf8mb4"):
            raise self._wrong(
                target, f"column {column.name} has character set {charset}; it must be utf8mb4"
            )
        if index in target.key and collation not in (None, self._collation):
            raise self._wrong(
                target,
                f"key column {column.name} has collation {collation}, which takes different texts for one; it must be {self._collation}",
            )
        if nullable == "NO" and not column.not_null and index not in target.key:
            raise self._wrong(target, f"column {column.name} is NOT NULL, the source's is not")

    def _check_key(self, target: Target, rows: Sequence[Sequence[Any]]) -> None:
        """The key's index alone must be unique: ON DUPLICATE KEY UPDATE would overwrite another row for any other."""
        wanted = {(target.columns[i].name, None) for i in target.key}
        indexes = {
            name: {(column, part) for other, column, part in rows if other == name}
            for name, _, _ in rows
        }
        if wanted not in indexes.values():
            listed = ", ".join(sorted(name for name, _ in wanted))
            raise self._wrong(
                target, f"it has no primary key or unique index on ({listed}) alone and whole"
            )
        extra = [name for name, parts in indexes.items() if parts != wanted]
        if extra:
            raise self._wrong(target, f"unique index {', '.join(extra)} besides the key")

    # ---- rows

    def _held(self, target: Target) -> Columns:
        if target.resource not in self._columns:
            self._columns[target.resource] = Columns(target, {}, self._forms)
        return self._columns[target.resource]

    def _run(self, statement: str) -> CursorResult[Any]:
        # A % in it means nothing
        return self.connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    @contextmanager
    def _writing(self, target: Target) -> Iterator[Columns]:
        with self.guarded(target):
            try:
                yield self._held(target)
            except Unfit as unfit:
                raise RowRefused(
                    resource=target.resource, table=target.name, reason=str(unfit)
                ) from None

    def _statements(
        self, target: Target, head: str, parts: Iterable[str], tail: str, joint: str = ", "
    ) -> Iterator[str]:
        """Statements around some of the parts each, within the bounds of number and bytes. Raises RowRefused for one that no packet takes."""
        around = _size(head) + _size(tail) + 100
        some: list[str] = []
        total = around
        for part in parts:
            size = _size(part) + len(joint)
            if around + size > self._packet:
                reason = f"a row takes {around + size} bytes, more than the server's max_allowed_packet of {self._packet}"
                raise RowRefused(resource=target.resource, table=target.name, reason=reason)
            if some and (len(some) == _AT_ONCE or total + size > _STATEMENT):
                yield head + joint.join(some) + tail
                some, total = [], around
            some.append(part)
            total += size
        if some:
            yield head + joint.join(some) + tail

    def _key_names(self, target: Target) -> list[str]:
        return [self.quote(target.columns[i].name) for i in target.key]

    def _live(self, target: Target) -> str:
        return f" AND {self.quote(target.technical['deleted'])} = 0" if target.soft_delete else ""

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See Front.fetch."""
        found: dict[Key, FrontRow] = {}
        names = self.names(column.name for column in target.columns)
        head = f"SELECT {names} FROM {self.table(target)} WHERE ({', '.join(self._key_names(target))}) IN ("
        with self._writing(target) as columns:
            for statement in self._statements(
                target,
                head,
                (_bracketed(key) for key in columns.held(keys)),
                ")" + self._live(target),
            ):
                for row in self._run(statement):
                    texts = columns.texts(row)
                    found[tuple([str(texts[i]) for i in target.key])] = texts
        return found

    def write(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See Front.write."""
        gone = [(key, w) for key, w in rows.items() if w.row is None]
        with self._writing(target) as columns:
            for statement in (self._marks if target.soft_delete else self._deletes)(
                target, columns, gone, batch
            ):
                self._run(statement)
        names = [*(column.name for column in target.columns), *target.technical.values()]
        keys = {target.columns[i].name for i in target.key}
        changed = [name for name in names if name not in keys] or names[:1]
        tail = " ON DUPLICATE KEY UPDATE " + ", ".join(
            f"{self.quote(name)} = VALUES({self.quote(name)})" for name in changed
        )
        self._insert(target, rows, batch, tail)

    def insert(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See Front.insert."""
        self._insert(target, rows, batch, "")

    def _insert(self, target: Target, rows: Mapping[Key, Written], batch: int, tail: str) -> None:
        names = self.names(
            [*(column.name for column in target.columns), *target.technical.values()]
        )
        with self._writing(target) as columns:
            parts = (
                _bracketed(columns.row(w.row) + self._technical(target, w, batch))
                for w in rows.values()
                if w.row is not None
            )
            for statement in self._statements(
                target, f"INSERT INTO {self.table(target)} ({names}) VALUES ", parts, tail
            ):
                self._run(statement)

    def _technical(self, target: Target, written: Written, batch: int) -> list[str]:
        return [
            str(value) if isinstance(value, int) else quoted(str(value))
            for value in self.technical_values(target, written, batch)
        ]

    def _deletes(
        self, target: Target, columns: Columns, gone: Sequence[tuple[Key, Written]], batch: int
    ) -> Iterator[str]:
        head = f"DELETE FROM {self.table(target)} WHERE ({', '.join(self._key_names(target))}) IN ("
        return self._statements(
            target, head, map(_bracketed, columns.held(key for key, _ in gone)), ")"
        )

    def _marks(
        self, target: Target, columns: Columns, gone: Sequence[tuple[Key, Written]], batch: int
    ) -> Iterator[str]:
        """Soft deletes: each row gets its own technical values, joined by its key."""
        names = self._key_names(target)
        changed = ", ".join(
            f"t.{self.quote(name)} = g.m{i}" for i, name in enumerate(target.technical.values())
        )
        join = " AND ".join(f"t.{name} = g.k{i}" for i, name in enumerate(names))
        parts = (
            "SELECT "
            + ", ".join(
                [
                    *_named("k", literals),
                    *_named("m", self._technical(target, written, batch)),
                ]
            )
            for key, written in gone
            for literals in columns.held([key])
        )
        return self._statements(
            target,
            f"UPDATE {self.table(target)} t JOIN (",
            parts,
            f") g ON {join} SET {changed}",
            " UNION ALL ",
        )

    # ---- paging

    def _range(self, target: Target, columns: Columns, after: Key | None, upto: Key | None) -> str:
        """The condition for keys past `after` up to `upto`."""
        names = self._key_names(target)
        bounds = [
            _beyond(names, columns.bound(key), operator)
            for key, operator in ((after, ">"), (upto, "<="))
            if key is not None
        ]
        return " AND ".join(["1 = 1", *bounds]) + self._live(target)

    def keys_after(self, target: Target, after: Key | None, limit: int) -> list[Key]:
        """See Front.keys_after."""
        names = ", ".join(self._key_names(target))
        with self._writing(target) as columns:
            where = self._range(target, columns, after, None)
            rows = self._run(
                f"SELECT {names} FROM {self.table(target)} WHERE {where} ORDER BY {names} LIMIT {limit:d}"
            ).all()
            return [columns.key_texts(row) for row in rows]

    def same_order(self, target: Target) -> bool:
        """See Front.same_order."""
        return self._held(target).ordered

    def lines(self, target: Target, after: Key | None, upto: Key | None) -> list[bytes]:
        """See Front.lines."""
        names = self.names(column.name for column in target.columns)
        with self._writing(target) as columns:
            rows = self._run(
                f"SELECT {names} FROM {self.table(target)} WHERE {self._range(target, columns, after, upto)}"
            )
            return [line_of(columns.texts(row)) for row in rows]


def _size(part: str) -> int:
    return len(part) if part.isascii() else len(part.encode())


def _bracketed(literals: Sequence[str]) -> str:
    return f"({', '.join(literals)})"


def _named(letter: str, literals: Sequence[str]) -> list[str]:
    return [f"{literal} AS {letter}{i}" for i, literal in enumerate(literals)]


def _beyond(names: Sequence[str], literals: Sequence[str | Beyond], operator: str) -> str:
    """(a, b) > (x, y) in the form that uses the index: a >= x AND (a > x OR (a = x AND b > y)).

    No row has an x that stands before or after all that the column holds: all of them, or none, are past it.
    """
    (name, literal), strict = (names[0], literals[0]), operator[0]
    if isinstance(literal, Beyond):
        return "1 = 1" if (literal is Beyond.BEFORE) == (strict == ">") else "1 = 0"
    if len(names) == 1:
        return f"{name} {operator} {literal}"
    return f"{name} {strict}= {literal} AND ({name} {strict} {literal} OR ({name} = {literal} AND {_beyond(names[1:], literals[1:], operator)}))"
