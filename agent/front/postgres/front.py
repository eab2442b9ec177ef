"""The front end in PostgreSQL: COPY into a temporary stage, then one upsert for the whole set."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from agent.connectors.postgres import sqlstates
from agent.connectors.postgres.bounded_connection import BoundedConnection, bounded
from agent.connectors.postgres.copy_out import copy_out
from agent.connectors.postgres.session_settings import MEANING, Unfit, settle
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
from agent.front.base import Progress, Written
from agent.front.catalogue import Catalogue, with_remedy
from agent.front.corruption import corruption
from agent.front.postgres import catalogue as postgres_catalogue
from agent.front.schema import AgentTables, former_name, table_name
from agent.front.store import SAVEPOINT, SqlFront
from agent.front.table_owners import LISTS, Place
from agent.messages import mark, phrase
from agent.resource import FrontRow, Target
from agent.values import column_types as v
from agent.values.canonical import SESSION
from agent.values.lines import line_of
from agent.values.rows import Key

# The advisory lock of version 0.1: one for a database
_FORMER_LOCK = {"space": 0x53594E43, "key": 0}
_PATIENCE = (
    8.0  # seconds without an answer, beyond waiting for a lock, after which the line counts as dead
)
_LOCK_PATIENCE = 5.0  # seconds; a killed agent's backend needs a moment to notice
_COLLATED = (v.TEXT, v.VARCHAR, v.BPCHAR, v.NAME, v.CHAR)
# Types whose text means another value in another database or session, or that take no text at all: their columns are text here.
_FOREIGN = re.compile(r"money|xml|aclitem|gtsvector|reg|pg_(?!lsn|snapshot)")
# Types whose cast to text writes another text than the stream has: true for t, no blanks of char(n), an inet's mask where it is whole.
_OUTPUTS = {
    "boolean": "boolout",
    "character": "bpcharout",
    "bpchar": "bpcharout",
    '"char"': "charout",
    "cidr": "cidr_out",
    "inet": "inet_out",
}
# Types whose order hangs on no collation
_ORDERED = (
    "smallint",
    "integer",
    "bigint",
    "oid",
    "numeric",
    "date",
    "uuid",
    "timestamp",
)

# Where the agent's tables lie, or will lie.
_SCHEMA = text("""
    select coalesce(
        (select relnamespace from pg_catalog.pg_class where oid = to_regclass(:own)),
        (select relnamespace from pg_catalog.pg_class where oid = to_regclass(:former)),
        (select oid from pg_catalog.pg_namespace where nspname = current_schema()))""")
_PLACE = text("""
    select coalesce(
        (select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(:table)),
        cast(:schema as text), current_schema())""")
_LISTS = text("""
    select n.nspname, c.relname, pg_table_is_visible(c.oid)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relname like :lists escape '!'
      and has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')""")

# Types of whose values each has one text; of others some are equal though their texts differ (intervals, numeric without a scale)
_SPELLED_ONCE = re.compile(
    r"(smallint|integer|bigint|oid|boolean|date|uuid|bytea|text|name|\"char\"|character( varying)?\(\d+\)|character varying"
    r"|numeric\(\d+,\d+\)|(time|timestamp)(\(\d\))? without time zone|timestamp(\(\d\))? with time zone)$"
)

_COLUMNS = text("""
    select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef or a.attidentity <> '' or a.attgenerated <> '',
           coalesce(c.collisdeterministic, true), a.attgenerated <> ''
    from pg_catalog.pg_attribute a left join pg_catalog.pg_collation c on c.oid = a.attcollation
    where a.attrelid = to_regclass(:table) and a.attnum > 0 and not a.attisdropped""")

# What the role may do that no single table gives: the temporary tables of the upsert, and the agent's own tables where there are none yet.
_RIGHTS = text("""
    select has_database_privilege(current_database(), 'TEMPORARY') as temporary, quote_ident(current_database()) as database,
           quote_ident(current_user) as role, quote_ident(current_schema()) as schema,
           exists (select from unnest(cast(:names as text[])) name where to_regclass(quote_ident(name)) is null) as missing,
           has_schema_privilege(current_schema(), 'CREATE') as creates""")
# Of a schema where a front-end table is to be made; none named: that of new tables.
_SCHEMA_OF = text("""
    select quote_ident(s.name) as schema, quote_ident(current_user) as role, to_regnamespace(quote_ident(s.name)) is not null as there,
           to_regnamespace(quote_ident(s.name)) is null or has_schema_privilege(to_regnamespace(quote_ident(s.name)), 'CREATE') as creates
    from (select coalesce(cast(:schema as text), current_schema()) as name) s""")
_LACKING = text("""
    select privilege from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege where not has_table_privilege(to_regclass(:table), privilege)""")


def postgres_engine(
    url: str | URL, password: Callable[[], str] | None, lock_wait: float, pooled: bool = False
) -> Engine:
    """An engine whose sessions write values in the one text form (`values.SESSION`), wait for locks within bounds and notice a dead peer.

    They are refused with FrontUnfit where they do not have their settings, share a server process, or store another encoding than UTF-8.

    `password` is asked at each connection. `pooled`: connections are kept between transactions, for a reader that asks often; its owner disposes of the engine.
    """
    wanted = {
        **SESSION,
        **MEANING,
        "lock_timeout": f"{int(lock_wait * 1000)}ms",
        "synchronous_commit": "on",
        "client_connection_check_interval": "1s",
        # We write, whatever the role's default is, and bound each wait ourselves
        "default_transaction_read_only": "off",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
    address = make_url(url)
    reach = {
        "application_name": "unit-sync-agent",
        "client_encoding": "UTF8",
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
    }
    engine = create_engine(address, connect_args=reach, poolclass=QueuePool if pooled else NullPool)

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object, _record: object, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> BoundedConnection:
        given = named | ({} if password is None else {"password": password()})

        def connected(patience: float) -> BoundedConnection:
            return bounded(patience, *arguments, **{**given, "autocommit": True})

        connection = connected(lock_wait + _PATIENCE)
        try:
            settle(connection, wanted, lambda: connected(_PATIENCE), encoding="UTF8")
            connection.autocommit = False
        except Unfit as unfit:
            connection.close()
            raise FrontUnfit(reason=unfit.reason) from None
        except BaseException:
            connection.close()
            raise
        return connection

    return engine


def accepts(source: str, target: str) -> bool:
    """Whether a column of type `target` holds every value of type `source` exactly, both as format_type writes them."""
    if target in (source, "text"):
        return True
    wider = {
        "smallint": ("integer", "bigint", "numeric"),
        "integer": ("bigint", "numeric"),
        "bigint": ("numeric",),
    }
    if target in wider.get(source, ()):
        return True
    return _same_family_wider(source, target)


def _same_family_wider(source: str, target: str) -> bool:
    pattern = re.compile(
        r"^(character varying|numeric|time|timestamp|interval)(?:\((\d+)(?:,(\d+))?\))?( with(?:out)? time zone)?$"
    )
    a, b = pattern.match(source), pattern.match(target)
    if a is None or b is None or (a[1], a[4]) != (b[1], b[4]):
        return False
    if b[2] is None:
        return True
    if a[2] is None:
        return a[1] in ("time", "timestamp") and int(b[2]) == 6
    if a[1] == "numeric":
        scale = int(a[3] or 0), int(b[3] or 0)
        return scale[1] >= scale[0] and int(b[2]) - scale[1] >= int(a[2]) - scale[0]
    return int(b[2]) >= int(a[2])


class PostgresFront(SqlFront):
    """See Front. The lock is an advisory lock of the writing session."""

    errors = (SQLAlchemyError, psycopg.Error)

    def __init__(
        self, url: str, password: Callable[[], str] | None, lock_wait: float, agent: str
    ) -> None:
        super().__init__(postgres_engine(url, password, lock_wait), agent)
        self._staged: set[str] = set()
        self._saved = False  # the open transaction has a savepoint
        self._committing = False
        # A deferred constraint has failed: the next transaction checks them at each statement, so that the rows are known
        self._immediate = False
        self._declared: dict[
            str, dict[str, str]
        ] = {}  # resource -> column -> type, as `check` found them

    def take_lock(self, connection: Connection, former: bool) -> None:
        """See SqlFront.take_lock."""
        self._staged.clear()
        deadline = time.monotonic() + _LOCK_PATIENCE
        key = _FORMER_LOCK if former else self._lock_key(connection)
        while not connection.execute(
            text("select pg_try_advisory_lock(:space, :key)"), key
        ).scalar_one():
            connection.rollback()
            if time.monotonic() > deadline:
                holder = connection.execute(
                    text(
                        "select pid from pg_locks where locktype = 'advisory' and granted"
                        " and classid = cast(:space & 4294967295 as oid)"
                        " and objid = cast(:key & 4294967295 as oid)"
                    ),
                    key,
                ).scalar()
                raise AnotherAgent(holder=phrase("server process {holder}", holder=holder))
            connection.execute(text("select pg_sleep(0.1)"))

    def _lock_key(self, connection: Connection) -> dict[str, int]:
        """The key of this agent's lock: two schemas may hold tables of the same names."""
        names = {
            "own": table_name(self.agent, "state"),
            "former": former_name("state"),
        }
        schema = connection.execute(_SCHEMA, names).scalar_one()
        digest = hashlib.blake2b(f"{schema}\0{names['own']}".encode(), digest_size=8).digest()
        return {
            "space": int.from_bytes(digest[:4], "big", signed=True),
            "key": int.from_bytes(digest[4:], "big", signed=True),
        }

    def unlock(self) -> None:
        """The session's end gives the lock back."""

    def check_rights(self, connection: Connection) -> None:
        """See SqlFront.check_rights: changed rows go through a temporary table; and the agent makes tables of its own."""
        names = {"names": list(AgentTables(self.agent).metadata.tables)}
        found = connection.execute(_RIGHTS, names).one()
        text = mark("the agent's role lacks the right {names}")
        if not found.temporary:
            grant = f"GRANT TEMPORARY ON DATABASE {found.database} TO {found.role};"
            raise FrontUnfit(reason=with_remedy(phrase(text, names="TEMPORARY"), grant))
        if found.schema is not None and found.missing and not found.creates:
            grant = f"GRANT CREATE ON SCHEMA {found.schema} TO {found.role};"
            raise FrontUnfit(reason=with_remedy(phrase(text, names="CREATE"), grant))

    def check_room(self, target: Target) -> None:
        """See SqlFront.check_room: the schema must be there, and the agent's role may make a table in it."""
        with self.looking() as connection:
            found = connection.execute(_SCHEMA_OF, {"schema": target.schema}).one()
        if found.schema is None:
            return  # no schema for new tables at all: the statement says so
        if not found.there:
            reason = with_remedy(
                phrase("its schema does not exist"),
                f"CREATE SCHEMA {found.schema} AUTHORIZATION {found.role};",
            )
            raise FrontTableWrong(resource=target.resource, table=target.name, reason=reason)
        if not found.creates:
            reason = with_remedy(
                phrase("the agent's role lacks the right {names}", names="CREATE"),
                f"GRANT CREATE ON SCHEMA {found.schema} TO {found.role};",
            )
            raise FrontTableWrong(resource=target.resource, table=target.name, reason=reason)

    def error(self, cause: BaseException, target: Target | None) -> AgentError:  # noqa: PLR0911 - one for each kind of error
        """See SqlFront.error. Only SQLSTATE and names: PostgreSQL's messages may quote values."""
        sqlstate = getattr(cause, "sqlstate", None) or ""
        if damaged := corruption(cause):
            return FrontDamaged(reason=damaged)
        if not sqlstate and (target is None or isinstance(cause, psycopg.OperationalError)):
            return self._unreachable(str(cause))
        diag = getattr(cause, "diag", None)
        named = " ".join(
            str(part)
            for part in (getattr(diag, "constraint_name", None), getattr(diag, "column_name", None))
            if part
        )
        reason = f"SQLSTATE {sqlstate} {type(cause).__name__} {named}".strip()
        # With constraints checked at each statement it is none of theirs
        deferred = self._committing and not self._immediate
        if deferred and sqlstates.kind(sqlstate) in ("row", "table"):
            self._immediate = True
            table = getattr(diag, "table_name", None) or ""
            return FrontBusy(
                reason=phrase(
                    "deferred constraint of table {table}: {reason}", table=table, reason=reason
                )
            )
        match sqlstates.kind(sqlstate):
            case "away":
                return FrontUnreachable(reason=reason)
            case "busy":
                return FrontBusy(reason=reason)
            case "full":
                return FrontFull(reason=reason)
            case "login":
                user = self.engine.url.username or ""
                return LoginRefused(peer=phrase("the front-end database"), user=user, reason=reason)
            case "unfit" if sqlstate == "3F000":
                text = mark("its search_path names no schema for new tables: {reason}")
                return FrontUnfit(reason=phrase(text, reason=reason))
            case "unfit":
                return FrontUnfit(reason=reason)
        if target is None:
            return FrontUnfit(reason=reason)
        if sqlstates.kind(sqlstate) == "table":
            return FrontTableWrong(resource=target.resource, table=target.name, reason=reason)
        return RowRefused(resource=target.resource, table=target.name, reason=reason)

    def _unreachable(self, message: str) -> AgentError:
        """The client's own message about a connection: server, port and user at the most."""
        first = message.strip().splitlines()[0] if message.strip() else "connection lost"
        if any(
            sign in message
            for sign in (
                "authentication failed",
                "no password supplied",
                "does not exist",
                "no pg_hba.conf entry",
            )
        ):
            return LoginRefused(
                peer=phrase("the front-end database"),
                user=self.engine.url.username or "",
                reason=first,
            )
        return FrontUnreachable(reason=first)

    def name_fault(self, name: str, of_table: bool) -> str:
        """See SqlFront.name_fault."""
        return phrase("is longer than 63 bytes") if len(name.encode()) > 63 else ""

    def most_columns(self) -> int:
        """See SqlFront.most_columns."""
        return 1600

    def column_type(self, target: Target, index: int) -> str:
        """See SqlFront.column_type. What is not PostgreSQL's own, or foreign here, becomes text; keys are bytewise."""
        column = target.columns[index]
        declared = (
            column.type_name if column.builtin and not _FOREIGN.match(column.type_name) else "text"
        )
        collated = index in target.key and (column.type_oid in _COLLATED or declared == "text")
        return f'{declared} COLLATE "C"' if collated else declared

    def technical_type(self, role: str) -> str:
        """Times carry their zone here."""
        declared = super().technical_type(role)
        return "timestamptz" if declared == "TIMESTAMP" else declared

    # ---- whose a table is

    def place(self, connection: Connection, target: Target) -> Place:
        """See TableOwners.place."""
        values = {"table": self.table(target), "schema": target.schema}
        schema = connection.execute(_PLACE, values).scalar_one()
        return Place(str(schema), target.table)

    def lists(self, connection: Connection) -> Sequence[tuple[str | None, str, bool]]:
        """See TableOwners.lists."""
        found = connection.execute(_LISTS, {"lists": LISTS})
        return [(schema, name, here) for schema, name, here in found]

    # ---- checking an existing table

    def look(self, connection: Connection, target: Target) -> Catalogue:
        """See SqlFront.look."""
        return postgres_catalogue.read(connection, target, self.table(target))

    def check_shape(self, target: Target) -> None:
        """See SqlFront.check_shape."""
        with self.looking(target) as connection:
            columns = {
                row[0]: row for row in connection.execute(_COLUMNS, {"table": self.table(target)})
            }
            indexes = postgres_catalogue.indexes(connection, self.table(target))
            lacking = connection.execute(_LACKING, {"table": self.table(target)}).scalars().all()
            role = connection.execute(text("select quote_ident(current_user)")).scalar_one()
        if not columns:
            raise FrontTableWrong(
                resource=target.resource, table=target.name, reason=phrase("it does not exist")
            )
        if lacking:
            names = ", ".join(lacking)
            reason = with_remedy(
                phrase("the agent's role lacks the right {names}", names=names),
                f"GRANT {names} ON TABLE {self.table(target)} TO {role};",
            )
            raise FrontTableWrong(resource=target.resource, table=target.name, reason=reason)
        for i, column in enumerate(target.columns):
            self._check_column(target, i, columns.get(column.name))
        self._declared[target.resource] = {name: row[1] for name, row in columns.items()}
        ours = {column.name for column in target.columns} | set(target.technical.values())
        for part, name in target.technical.items():
            if name not in columns:
                raise self.missing_technical(target, part)
        for name, row in columns.items():
            if name not in ours and row[2] and not row[3]:
                raise FrontTableWrong(
                    resource=target.resource,
                    table=target.name,
                    reason=with_remedy(
                        phrase(
                            "column {name} is NOT NULL without a default and not shared", name=name
                        ),
                        self._nullable(target, name),
                    ),
                )
        self._check_key(target, indexes)

    def _check_column(self, target: Target, index: int, row: Sequence[Any] | None) -> None:
        column = target.columns[index]
        if row is None:
            raise self.missing(target, index)
        quoted = self.quote(column.name)
        _, declared, not_null, _, deterministic, generated = row
        wanted = self.column_type(target, index).partition(" COLLATE ")[0]
        if not accepts(wanted, declared):
            raise FrontTableWrong(
                resource=target.resource,
                table=target.name,
                reason=with_remedy(
                    phrase(
                        "column {name} is {declared}, narrower than the source's {wanted}",
                        name=column.name,
                        declared=declared,
                        wanted=wanted,
                    ),
                    self.alter(
                        target,
                        f"ALTER COLUMN {quoted} TYPE {self.column_type(target, index)} USING {quoted}::{wanted}",
                    ),
                ),
            )
        if generated:
            raise FrontTableWrong(
                resource=target.resource,
                table=target.name,
                reason=with_remedy(
                    phrase("column {name} is generated", name=column.name),
                    self.alter(target, f"ALTER COLUMN {quoted} DROP EXPRESSION"),
                ),
            )
        if index in target.key and not deterministic:
            raise FrontTableWrong(
                resource=target.resource,
                table=target.name,
                reason=with_remedy(
                    phrase("key column {name} has a nondeterministic collation", name=column.name),
                    self.alter(target, f'ALTER COLUMN {quoted} TYPE {declared} COLLATE "C"'),
                ),
            )
        if not_null and not column.not_null and index not in target.key:
            raise FrontTableWrong(
                resource=target.resource,
                table=target.name,
                reason=with_remedy(
                    phrase("column {name} is NOT NULL, the source's is not", name=column.name),
                    self._nullable(target, column.name),
                ),
            )

    def _nullable(self, target: Target, name: str) -> str:
        return self.alter(target, f"ALTER COLUMN {self.quote(name)} DROP NOT NULL")

    def _check_key(self, target: Target, indexes: list[list[Any]]) -> None:
        wanted = {target.columns[i].name for i in target.key}
        if not postgres_catalogue.has_key(indexes, wanted):
            raise FrontTableWrong(
                resource=target.resource,
                table=target.name,
                reason=with_remedy(
                    phrase(
                        "it has no primary key or unique index on ({names}) alone, valid, not deferrable, without WHERE and of a deterministic collation",
                        names=", ".join(sorted(wanted)),
                    ),
                    self.alter(
                        target,
                        f"ADD UNIQUE ({self.names(target.columns[i].name for i in target.key)})",
                    ),
                ),
            )

    # ---- rows: statements on the driver's own connection, with server-side parameters ($1), so that a % in a name means nothing

    @contextmanager
    def cursor(self, target: Target) -> Iterator[psycopg.RawCursor[Any]]:
        """A cursor of the open transaction; the driver's errors are turned into ours."""
        driver = self.connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with self.guarded(target), psycopg.RawCursor(driver) as cursor:
            yield cursor

    def _keys(
        self, target: Target, more: Sequence[str] = (), spelled: bool = True
    ) -> tuple[str, str]:
        """SQL for a set of keys given as one text array per key column: the rows `k` (with `more` columns), and their join with the table `t`.

        `spelled`: a row whose key is equal but has another text is none of them.
        """
        names = [self.quote(target.columns[i].name) for i in target.key]
        types = [self._type(target, i) for i in target.key]
        arrays = ", ".join(f"${n}::text[]" for n in range(1, len(names) + len(more) + 1))
        join = " AND ".join(
            f"t.{name} = k.{name}::{declared}" for name, declared in zip(names, types, strict=True)
        )
        if spelled and self.spellings(target):
            texts = [self._text(target, i) for i in target.key]
            join += "".join(
                f" AND {text} = k.{name}" for text, name in zip(texts, names, strict=True)
            )
        return f"unnest({arrays}) AS k({', '.join([*names, *more])})", join

    def spellings(self, target: Target) -> bool:
        """See Front.spellings."""
        return not all(_SPELLED_ONCE.match(self._type(target, i)) for i in target.key)

    def fetch(self, target: Target, keys: Sequence[Key]) -> dict[Key, FrontRow]:
        """See Front.fetch."""
        if not keys:
            return {}
        source, join = self._keys(target, spelled=False)
        columns = ", ".join(self._text(target, i) for i in range(len(target.columns)))
        with self.cursor(target) as cursor:
            cursor.execute(
                f"SELECT {columns} FROM {self.table(target)} t JOIN {source} ON {join}{self._live(target)}",
                _arrays(keys),
            )
            return {tuple(row[i] for i in target.key): row for row in cursor.fetchall()}

    def _live(self, target: Target) -> str:
        return f" AND t.{self.quote(target.technical['deleted'])} = 0" if target.soft_delete else ""

    def put(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See SqlFront.put."""
        gone = [(key, w) for key, w in rows.items() if w.row is None]
        kept = [w.row + self._texts(target, w, batch) for w in rows.values() if w.row is not None]
        with self.cursor(target) as cursor:
            if gone:
                self._delete(cursor, target, gone, batch)
            if kept:
                self._upsert(cursor, target, kept)
        self.insist(target, rows)

    def _delete(
        self,
        cursor: psycopg.RawCursor[Any],
        target: Target,
        gone: Sequence[tuple[Key, Written]],
        batch: int,
    ) -> None:
        keys = _arrays([key for key, _ in gone])
        if not target.soft_delete:
            source, join = self._keys(target)
            cursor.execute(f"DELETE FROM {self.table(target)} t USING {source} WHERE {join}", keys)
            return
        marks = _arrays([self._texts(target, w, batch) for _, w in gone])
        names = {role: self.quote(name) for role, name in target.technical.items()}
        source, join = self._keys(target, [f"mark_{role}" for role in names])
        changed = ", ".join(
            f"{name} = k.mark_{role}::{self.technical_type(role)}" for role, name in names.items()
        )
        cursor.execute(
            f"UPDATE {self.table(target)} t SET {changed} FROM {source} WHERE {join}", keys + marks
        )

    def _texts(self, target: Target, written: Written, batch: int) -> tuple[str, ...]:
        return (
            tuple([str(value) for value in self.technical_values(target, written, batch)])
            if target.technical
            else ()
        )

    def _upsert(
        self, cursor: psycopg.RawCursor[Any], target: Target, rows: Sequence[FrontRow]
    ) -> None:
        stage = _stage_name(target)
        names = self._copy_in(cursor, target, f"pg_temp.{self.quote(stage)}", rows)
        keys = [target.columns[i].name for i in target.key]
        listed = [*(column.name for column in target.columns), *target.technical.values()]
        changed = listed
        if not self.spellings(target):
            changed = [name for name in listed if name not in keys] or listed[:1]
        action = ", ".join(f"{self.quote(n)} = excluded.{self.quote(n)}" for n in changed)
        cursor.execute(
            f"INSERT INTO {self.table(target)} ({names}) SELECT {names} FROM pg_temp.{self.quote(stage)} "
            f"ON CONFLICT ({self.names(keys)}) DO UPDATE SET {action}"
        )
        if cursor.rowcount < len(rows):
            raise self.swallowed(target)

    def _copy_in(
        self, cursor: psycopg.RawCursor[Any], target: Target, table: str, rows: Sequence[FrontRow]
    ) -> str:
        """COPY into a table with the target's columns; returns their list."""
        names = self.names(
            [*(column.name for column in target.columns), *target.technical.values()]
        )
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            copy.write(b"".join([line_of(row) + b"\n" for row in rows]))
        if cursor.rowcount < len(rows):
            raise self.swallowed(target)
        return names

    def add(self, target: Target, rows: Mapping[Key, Written], batch: int) -> None:
        """See SqlFront.add: no stage, no upsert."""
        with self.cursor(target) as cursor:
            self._copy_in(
                cursor,
                target,
                self.table(target),
                [w.row + self._texts(target, w, batch) for w in rows.values() if w.row is not None],
            )
        self.insist(target, rows)

    def save(self, target: Target, rows: Mapping[Key, Written]) -> None:
        """See SqlFront.save. One round trip, which empties the stage too: outside of the savepoint that is done in place."""
        statements = [f"SAVEPOINT {SAVEPOINT}"]
        with self.cursor(target) as cursor:
            if any(written.row is not None for written in rows.values()):
                statements.insert(0, f"TRUNCATE pg_temp.{self._stage(cursor, target)}")
            if self._saved:
                statements.insert(0, f"RELEASE SAVEPOINT {SAVEPOINT}")
            cursor.execute("; ".join(statements), prepare=False)
        self._saved = True

    def _stage(self, cursor: psycopg.RawCursor[Any], target: Target) -> str:
        """The temporary table with the target's columns; it lives as long as the session."""
        stage = self.quote(_stage_name(target))
        if stage not in self._staged:
            names = self.names(
                [*(column.name for column in target.columns), *target.technical.values()]
            )
            # CREATE … AS takes the types alone, no constraints. A rollback may or may not have taken an earlier stage with it.
            statement = f"CREATE TEMP TABLE IF NOT EXISTS {stage} AS SELECT {names} FROM {self.table(target)} WITH NO DATA"
            try:
                cursor.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                # It was taken away after the opening; the next one says which right it is.
                text = mark("the agent's role may not make a temporary table of {table}")
                raise FrontUnfit(reason=phrase(text, table=target.name)) from None
            self._staged.add(stage)
        return stage

    def begin(self) -> None:
        """See Front.begin. After a deferred constraint has failed, this transaction checks constraints at each statement."""
        if self.connection.in_transaction():
            return
        self._saved = False
        super().begin()
        if self._immediate:
            with self.guarded():
                self.connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")

    def commit(self, progress: Progress) -> None:
        """See Front.commit."""
        self._committing = True
        try:
            super().commit(progress)
        finally:
            self._committing = False
        self._immediate = False

    def rollback(self) -> None:
        """See Front.rollback. A stage made in the transaction is gone with it."""
        self._staged.clear()
        super().rollback()

    def _value(self, target: Target, index: int) -> str:
        """A column of `t` as the source would write it: in a column with more scale 5 stands as 5.00."""
        column = target.columns[index]
        value = f"t.{self.quote(column.name)}"
        declared = self._type(target, index)
        if (
            column.type_oid != v.NUMERIC
            or declared == column.type_name
            or not declared.startswith("numeric(")
        ):
            return value
        return f"CASE WHEN {value} = {value}::{column.type_name} THEN {value}::{column.type_name}::text ELSE {value}::text END"

    def _text(self, target: Target, index: int) -> str:
        """The same as a value of type text."""
        value, output = (
            self._value(target, index),
            _OUTPUTS.get(re.sub(r"\(\d+\)", "", self._type(target, index))),
        )
        return f"textin({output}({value}))" if output else f"{value}::text"

    def _type(self, target: Target, index: int) -> str:
        """The column's type as `check` found it, else as we create it, without collation."""
        declared = self._declared.get(target.resource, {}).get(target.columns[index].name)
        return declared or self.column_type(target, index).partition(" COLLATE ")[0]

    def keys_after(self, target: Target, after: Key | None, limit: int) -> list[Key]:
        """See Front.keys_after."""
        listed = ", ".join(self._text(target, i) for i in target.key)
        order = ", ".join(f"t.{self.quote(target.columns[i].name)}" for i in target.key)
        with self.cursor(target) as cursor:
            past = self._beyond(target, ">", after)
            cursor.execute(
                f"SELECT {listed} FROM {self.table(target)} t WHERE true{past}{self._live(target)} ORDER BY {order} LIMIT $1",
                [limit],
            )
            return cursor.fetchall()

    def _beyond(self, target: Target, operator: str, key: Key | None) -> str:
        """The condition that a row's key stands so to `key`, as literals (COPY takes no parameters); '' for None."""
        if key is None:
            return ""
        names = ", ".join(f"t.{self.quote(target.columns[i].name)}" for i in target.key)
        types = [self._type(target, i) for i in target.key]
        return f" AND ({names}) {operator} ({', '.join(f'{sql.Literal(part).as_string()}::{kind}' for part, kind in zip(key, types, strict=True))})"

    def same_order(self, target: Target) -> bool:
        """See Front.same_order."""
        declared = self._declared.get(target.resource, {})
        return all(
            target.columns[i].type_name.startswith(_ORDERED)
            and declared.get(target.columns[i].name, "").startswith(_ORDERED)
            for i in target.key
        )

    def lines(self, target: Target, after: Key | None, upto: Key | None) -> list[bytes]:
        """See Front.lines."""
        columns = ", ".join(self._value(target, i) for i in range(len(target.columns)))
        where = f"true{self._beyond(target, '>', after)}{self._beyond(target, '<=', upto)}{self._live(target)}"
        with self.cursor(target) as cursor:
            return list(
                copy_out(
                    cursor.connection,
                    f"COPY (SELECT {columns} FROM {self.table(target)} t WHERE {where}) TO STDOUT".encode(),
                )
            )


def _arrays(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows turned into one array per column."""
    return [list(column) for column in zip(*rows, strict=True)]


def _stage_name(target: Target) -> str:
    return f"sync_agent_stage_{target.resource}"[:63]
