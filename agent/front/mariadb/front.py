"""The front end in MariaDB, and MySQL 8 by the same statements: bytewise keys, one upsert of many rows."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, CursorResult, inspect, text
from sqlalchemy.exc import DBAPIError

from agent.errors import (
    AgentError,
    AnotherAgent,
    FrontBusy,
    FrontDamaged,
    FrontFull,
    FrontTableWrong,
    FrontUnfit,
    FrontUnreachable,
    LoginRefused,
    RowRefused,
)
from agent.front.base import Written
from agent.front.catalogue import Catalogue, with_remedy
from agent.front.corruption import corruption
from agent.front.mariadb import catalogue as mariadb_catalogue
from agent.front.mariadb import errors as mariadb_errors
from agent.front.mariadb.columns import (
    MARIADB,
    MYSQL,
    ROW_BYTES,
    TEXT,
    Beyond,
    Columns,
    Unfit,
    column_type,
    declared,
    holds,
    quoted,
    row_size,
)
from agent.front.mariadb.session import COLLATIONS, LEAST_PACKET, mariadb_engine
from agent.front.migration import move_rows, pairs
from agent.front.schema import AgentTables
from agent.front.store import SqlFront
from agent.front.table_owners import LISTS, Place
from agent.messages import mark, phrase
from agent.resource import FrontRow, Target
from agent.values.lines import line_of
from agent.values.rows import Key

_LOCK_PATIENCE = 5  # seconds; the server needs a moment to notice that an agent was killed
_AT_ONCE = (
    500  # keys or rows in one statement; past 1000 MariaDB plans a list of keys in another way
)
_STATEMENT = 1 << 20  # bytes after which a statement is sent

_UNKNOWN_COLLATION = 1273

_LISTS = text(
    "SELECT table_schema, table_name, table_schema = database() FROM information_schema.tables WHERE table_name LIKE :lists ESCAPE '!'"
)

# Each changes nothing and needs just this right; roles count, which no table of rights tells.
_NEEDS = {
    "SELECT": "SELECT 1 FROM {table} WHERE 1 = 0",
    "INSERT": "INSERT INTO {table} ({column}) SELECT NULL FROM DUAL WHERE 1 = 0",
    "UPDATE": "UPDATE {table} SET {column} = NULL WHERE 1 = 0",
    "DELETE": "DELETE FROM {table} WHERE 1 = 0",
}
# It fails in any case, for want of the right first of all, and so makes nothing.
_CREATES = "CREATE TABLE sync_agent_never (a INT, a INT)"
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
            raise AnotherAgent(holder=phrase("server session {holder}", holder=holder))

    def unlock(self) -> None:
        """The session's end gives the lock back."""

    def check_rights(self, connection: Connection) -> None:
        """See SqlFront.check_rights: the agent makes tables of its own."""
        there = {name.lower() for name in inspect(connection).get_table_names()}
        missing = {name.lower() for name in AgentTables(self.agent).metadata.tables} - there
        if missing and _denied(connection, _CREATES):
            database = self.quote(str(self.engine.url.database))
            raise FrontUnfit(
                reason=with_remedy(
                    phrase("the agent's role lacks the right {names}", names="CREATE"),
                    f"GRANT CREATE ON {database}.* TO {self._account(connection)};",
                )
            )

    @staticmethod
    def _account(connection: Connection) -> str:
        """The account that the session has, as GRANT names it."""
        account = str(connection.execute(text("SELECT current_user()")).scalar_one())
        user, _, host = account.rpartition("@")
        return f"{quoted(user)}@{quoted(host)}"

    def rename(self, connection: Connection, agent: str, suffixes: Sequence[str]) -> None:
        """See migration.Mover.

        To rename takes rights (ALTER, DROP) that version 0.1 did not ask for: without them the rows
        are moved.
        """
        listed = ", ".join(f"{before} TO {after}" for before, after in pairs(agent, suffixes))
        try:
            connection.exec_driver_sql(f"RENAME TABLE {listed}")
        except DBAPIError as error:
            if error.orig is None or error.orig.args[0] not in (_DENIED | _EXISTS):
                raise
            connection.rollback()
            move_rows(connection, agent, suffixes)

    def drop_emptied(self, connection: Connection, name: str) -> None:
        """See migration.Mover: DROP commits at once what was moved, and may be denied."""
        connection.commit()
        if _denied(connection, f"DROP TABLE {name}"):
            connection.rollback()

    # ---- errors

    @contextmanager
    def guarded(self, target: Target | None = None) -> Iterator[None]:
        """See SqlFront.guarded. After an error the transaction is rolled back whole: the server itself may have undone one statement only.

        A refusal within `saved` goes back to its savepoint instead.
        """
        try:
            with super().guarded(target):
                yield
        except AgentError as error:
            if self.saving and isinstance(error, RowRefused):
                raise  # the savepoint still stands
            if self._connection is not None and self._connection.in_transaction():
                super().rollback()
                self._failed = True
            raise

    @property
    def connection(self) -> Connection:
        """The writing connection; none until `rollback` or `close` when the transaction has met an error."""
        if self._failed:
            raise FrontUnreachable(reason=phrase("the transaction has failed"))
        return super().connection

    def rollback(self) -> None:
        """See Front.rollback."""
        self._failed = False
        super().rollback()

    def close(self) -> None:
        """See Front.close."""
        self._failed = False
        super().close()

    def error(self, cause: BaseException, target: Target | None) -> AgentError:  # noqa: PLR0911 - one for each kind of error
        """See SqlFront.error. Messages that may quote a value are left out."""
        number = cause.args[0] if cause.args and isinstance(cause.args[0], int) else 0
        message = str(cause.args[1]) if len(cause.args) > 1 else type(cause).__name__
        if damaged := corruption(cause):
            return FrontDamaged(reason=damaged)
        if number in mariadb_errors.LOGIN:
            return LoginRefused(
                peer=phrase("the front-end database"),
                user=self.engine.url.username or "",
                reason=message,
            )
        if not number or 2000 <= number < 3000:  # the client's own: addresses at the most
            return FrontUnreachable(reason=message)
        if number == _UNKNOWN_COLLATION:
            return FrontUnfit(
                reason=phrase(
                    "it does not know {collation}: MariaDB from 10.2 and MySQL from 8.0.17 do, under mariadb+pymysql:// and mysql+pymysql://",
                    collation=self._collation,
                )
            )
        sqlstate = getattr(cause, "sqlstate", None) or ""
        reason = mariadb_errors.reason(number, sqlstate, message)
        match mariadb_errors.kind(number, sqlstate, message):
            case "full":
                return FrontFull(reason=reason)
            case "away":
                return FrontUnreachable(reason=reason)
            case "busy":
                return FrontBusy(reason=reason)
            case "unfit":
                return FrontUnfit(reason=reason)
        if target is None:
            return FrontUnfit(reason=reason)
        if mariadb_errors.kind(number, sqlstate) == "table":
            return self._wrong(target, reason)
        key = f"'{target.columns[target.key[0]].name}'"
        if number == mariadb_errors.BAD_NULL and key in message:  # see `_same_row`
            text = mark(
                "error {number}: another row has its value in a unique index besides the key"
            )
            reason = phrase(text, number=number)
        return RowRefused(resource=target.resource, table=target.name, reason=reason)

    # ---- tables

    def quote(self, name: str) -> str:
        """See SqlFront.quote."""
        return "`" + name.replace("`", "``") + "`"

    def name_fault(self, name: str, of_table: bool) -> str:
        """See SqlFront.name_fault."""
        if len(name) > 64:
            return phrase("is longer than 64 characters")
        if max(name) > "\uffff":
            return phrase("has a character beyond U+FFFF")
        return phrase("ends with a blank") if name.endswith(tuple(" \t\n\v\f\r")) else ""

    def most_columns(self) -> int:
        """See SqlFront.most_columns: InnoDB's limit."""
        return 1017

    def check_room(self, target: Target) -> None:
        """See SqlFront.check_room: InnoDB keeps up to 40 bytes of each long value in the row itself."""
        size = row_size(target, self._forms)
        if size > ROW_BYTES:
            reason = phrase(
                "a row of its columns takes {size} bytes in its page, and InnoDB has room for {room}; share fewer columns",
                size=size,
                room=ROW_BYTES,
            )
            raise self._wrong(target, reason)

    def check_names(self, target: Target) -> None:
        """See SqlFront.check_names. A server that looks at no case in names of tables may store them in lower case."""
        super().check_names(target)
        if target.table == target.table.lower():
            return
        with self.looking() as connection:
            folded = connection.exec_driver_sql("SELECT @@lower_case_table_names").scalar_one()
        if folded:
            reason = phrase(
                "the server compares names of tables without case (lower_case_table_names = {folded}); set target to a name in lower case",
                folded=folded,
            )
            raise self._wrong(target, reason)

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

    def place(self, connection: Connection, target: Target) -> Place:
        """See TableOwners.place."""
        here = connection.execute(text("SELECT database()")).scalar_one()
        return Place(target.schema or str(here), target.table)

    def folded(self, connection: Connection, place: Place) -> Place:
        """See TableOwners.folded. Where files are named without case, names of schemas and tables are compared so."""
        if not connection.execute(text("SELECT @@lower_case_table_names")).scalar_one():
            return place
        return Place(*(part.lower() for part in place))

    def lists(self, connection: Connection) -> Sequence[tuple[str | None, str, bool]]:
        """See TableOwners.lists."""
        found = connection.execute(_LISTS, {"lists": LISTS})
        return [(schema, name, bool(here)) for schema, name, here in found]

    def look(self, connection: Connection, target: Target) -> Catalogue:
        """See SqlFront.look."""
        kind = self.engine.url.get_backend_name()
        return mariadb_catalogue.read(connection, target, self.table(target), kind)

    def check_shape(self, target: Target) -> None:
        """See SqlFront.check_shape."""
        with self.looking(target) as connection:
            found = mariadb_catalogue.shape(connection, target)
        if not found.tables:
            raise self._wrong(target, phrase("it does not exist"))
        engine = str(found.tables[0][1])
        if engine.upper() != "INNODB":
            raise self._wrong(
                target,
                with_remedy(
                    phrase(
                        "its engine is {engine}; it must be InnoDB, which alone rolls back",
                        engine=engine,
                    ),
                    self.alter(target, "ENGINE = InnoDB"),
                ),
            )
        columns = {row[1]: row[2:8] for row in found.columns}
        self._check_rights(target)
        self._check_columns(target, columns)
        self._check_key(target, mariadb_catalogue.indexes(found.indexes))
        self._columns[target.resource] = Columns(
            target, {name: declared(row[0]) for name, row in columns.items()}, self._forms
        )

    def _check_rights(self, target: Target) -> None:
        asked = {
            "table": self.table(target),
            "column": self.quote(target.columns[target.key[0]].name),
        }
        with self.guarded(), self.engine.connect() as connection:
            lacking = [
                right
                for right, statement in _NEEDS.items()
                if _denied(connection, statement.format(**asked))
            ]
            place = self.place(connection, target)
            account = self._account(connection)
        if lacking:
            names = ", ".join(lacking)
            grant = f"GRANT {names} ON {self.names(place).replace(', ', '.')} TO {account};"
            raise self._wrong(
                target,
                with_remedy(phrase("the agent's role lacks the right {names}", names=names), grant),
            )

    @staticmethod
    def _wrong(target: Target, reason: str) -> FrontTableWrong:
        return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)

    def _check_columns(self, target: Target, columns: Mapping[str, Sequence[Any]]) -> None:
        names = [column.name for column in target.columns]
        for i, name in enumerate(names):
            if name not in columns:
                raise self.missing(target, i)
        for role, name in target.technical.items():
            if name not in columns:
                raise self.missing_technical(target, role)
        for i, column in enumerate(target.columns):
            self._check_column(target, i, columns[column.name])
        for name, (found, nullable, default, extra, charset, collation) in columns.items():
            if (
                name not in (*names, *target.technical.values())
                and nullable == "NO"
                and default is None
                and not extra
            ):
                form = f"{found} CHARACTER SET {charset} COLLATE {collation}" if charset else found
                raise self._wrong(
                    target,
                    with_remedy(
                        phrase(
                            "column {name} is NOT NULL without a default and not shared", name=name
                        ),
                        self.alter(target, f"MODIFY COLUMN {self.quote(name)} {form} NULL"),
                    ),
                )

    def _modified(self, target: Target, index: int) -> str:
        """The statement that gives a column the form in which we create it."""
        form = self.column_type(target, index)
        if form.startswith(("VARCHAR", "LONGTEXT")):
            form += f" CHARACTER SET utf8mb4 COLLATE {self._collation}"
        null = "NOT NULL" if index in target.key else "NULL"
        name = self.quote(target.columns[index].name)
        return self.alter(target, f"MODIFY COLUMN {name} {form} {null}")

    def _check_column(self, target: Target, index: int, row: Sequence[Any]) -> None:
        column, wanted = target.columns[index], self.column_type(target, index)
        remedy = self._modified(target, index)
        found, nullable, _, extra, charset, collation = row
        if not holds(target, index, declared(found)):
            raise self._wrong(
                target,
                with_remedy(
                    phrase(
                        "column {name} is {found}, which cannot hold every {type_name} exactly; it must be {wanted}",
                        name=column.name,
                        found=found,
                        type_name=column.type_name,
                        wanted=wanted,
                    ),
                    remedy,
                ),
            )
        if "GENERATED" in extra.upper() and "DEFAULT_GENERATED" not in extra.upper():
            raise self._wrong(
                target,
                with_remedy(phrase("column {name} is generated", name=column.name), remedy),
            )
        if charset not in (None, "utf8mb4"):
            raise self._wrong(
                target,
                with_remedy(
                    phrase(
                        "column {name} has character set {charset}; it must be utf8mb4",
                        name=column.name,
                        charset=charset,
                    ),
                    remedy,
                ),
            )
        if index in target.key and collation not in (None, self._collation):
            raise self._wrong(
                target,
                with_remedy(
                    phrase(
                        "key column {name} has collation {collation}, which takes different texts for one; it must be {wanted}",
                        name=column.name,
                        collation=collation,
                        wanted=self._collation,
                    ),
                    remedy,
                ),
            )
        if nullable == "NO" and not column.not_null and index not in target.key:
            raise self._wrong(
                target,
                with_remedy(
                    phrase("column {name} is NOT NULL, the source's is not", name=column.name),
                    remedy,
                ),
            )

    def _check_key(
        self, target: Target, indexes: Mapping[str, set[tuple[str | None, int | None]]]
    ) -> None:
        wanted = {(target.columns[i].name, None) for i in target.key}
        if wanted not in indexes.values():
            listed = ", ".join(sorted(name for name, _ in wanted))
            raise self._wrong(
                target,
                with_remedy(
                    phrase(
                        "it has no primary key or unique index on ({listed}) alone and whole",
                        listed=listed,
                    ),
                    self.alter(target, f"ADD UNIQUE ({', '.join(self._key_names(target))})"),
                ),
            )

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
                    resource=target.resource, table=target.name, reason=unfit.args[0]
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
                text = mark(
                    "a row takes {size} bytes, more than the server's max_allowed_packet of {packet}"
                )
                reason = phrase(text, size=around + size, packet=self._packet)
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

    def spellings(self, target: Target) -> bool:
        """See Front.spellings: keys are whole numbers, or texts compared bytewise."""
        return False

    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See SqlFront.put."""
        gone = [(key, w) for key, w in rows.items() if w.row is None]
        with self._writing(target) as columns:
            for statement in (self._marks if target.soft_delete else self._deletes)(
                target, columns, gone, batch
            ):
                self._run(statement)
        names = [*(column.name for column in target.columns), *target.technical.values()]
        keys = {target.columns[i].name for i in target.key}
        changed = [self.quote(name) for name in names if name not in keys]
        tail = f" ON DUPLICATE KEY UPDATE {self._same_row(target)}" + "".join(
            f", {name} = VALUES({name})" for name in changed
        )
        self._insert(target, rows, batch, tail)
        self.insist(target, rows)

    def _same_row(self, target: Target) -> str:
        """The first assignment of an upsert: it fails where the row that was met has another key.

        A duplicate in any unique index would do to be met; that row is another one, and must not be overwritten.
        """
        names = self._key_names(target)
        same = " AND ".join(f"{name} <=> VALUES({name})" for name in names)
        # A key column takes no NULL: error 1048. NULL leaves the column's own type to IF, where a
        # number would turn a large key into a DOUBLE and so into another one.
        return f"{names[0]} = IF({same}, {names[0]}, NULL)"

    def add(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See SqlFront.add."""
        self._insert(target, rows, batch, "")
        self.insist(target, rows)

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
