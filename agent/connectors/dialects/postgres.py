"""PostgreSQL as a business database that is read by statements: the server writes the texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    case,
    cast,
    func,
    literal,
    types,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Dialect, Kind, Sample, Trouble
from agent.connectors.postgres.sqlstates import refuses_login
from agent.values import column_types as v
from agent.values.canonical import SESSION

PATIENCE = 8.0  # seconds beyond the longest statement after which the line counts as dead

_TROUBLES: Mapping[Trouble, tuple[str, ...]] = {
    "login": ("28",),
    "denied": ("42501",),
    "missing": ("42P01", "42703", "3F000"),
    "busy": ("57014", "55P03", "40"),
    "unreachable": ("08", "53", "57P"),
    "value": ("22", "XX001"),
}

# For the self-test
_SAMPLES: Sequence[Sample] = (
    Sample("boolean", "true", "t"),
    Sample("smallint", "-5", "-5"),
    Sample("integer", "7", "7"),
    Sample("bigint", "9223372036854775807", "9223372036854775807"),
    Sample(
        "numeric(38,10)",
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789",
    ),
    Sample("numeric", "1.50", "1.50"),
    Sample("real", "0.1", "0.1"),
    Sample("double precision", "1e300", "1e+300"),
    Sample("date", "'2024-02-29'", "2024-02-29"),
    Sample("timestamp(3)", "'2024-02-29 03:04:05.120'", "2024-02-29 03:04:05.12"),
    Sample("timestamp with time zone", "'2024-02-29 03:04:05+08'", "2024-02-28 19:04:05+00"),
    Sample("time", "'03:04:05.5'", "03:04:05.5"),
    Sample("interval", "'1 day 2 hours'", "P1DT2H"),
    Sample("character(5)", "'ab'", "ab   "),
    Sample("varchar(20)", "'中文 '", "中文 "),
    Sample("text", "'a''b'", "a'b"),
    Sample("bytea", "decode('00ff', 'hex')", "\\x00ff"),
    Sample("json", "'{\"a\": 1}'", '{"a": 1}'),
    Sample(
        "uuid", "'6ccd780c-baba-1026-9564-5b8c656024db'", "6ccd780c-baba-1026-9564-5b8c656024db"
    ),
)


class PostgreSQL(Dialect):
    """See Dialect."""

    name = "PostgreSQL"
    extra = "binary"
    samples = _SAMPLES
    row_values = False  # values are expressions
    seeks_rows = True
    begin_writing = ("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",)

    # Where the driver's errors have their SQLSTATE
    state: ClassVar[str] = "sqlstate"

    # ---- sessions

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect."""
        from agent.connectors.postgres.bounded_connection import bounded  # noqa: PLC0415

        reach = {"application_name": "unit-sync-agent", "client_encoding": "UTF8"}
        given = {**named, **reach, "autocommit": True}
        return bounded(seconds + PATIENCE, *arguments, **given)

    def settle(self, connection: Any, seconds: float) -> None:
        """See Dialect.settle."""
        for name, value in session_settings(seconds).items():
            connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """See Dialect.snapshot."""
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.exec_driver_sql("SELECT 1")
        yield
        connection.exec_driver_sql("ROLLBACK")

    # ---- columns and statements

    def kind(self, declared: TypeEngine[Any], *, in_key: bool) -> Kind | None:
        """See Dialect.kind. Any type has a text; in a key it must be one that we can name."""
        base = declared
        while isinstance(base, postgresql.DOMAIN):
            base = base.data_type
        if in_key and isinstance(base, types.NullType):
            return None

        oid, name = _canonical(base)
        select = _in_full if oid in _CAST_OTHERWISE else _as_text
        return Kind(oid, name, kinds.text, _binder(declared), select)

    def full_scan(self, connection: Connection, statement: Select[Any]) -> bool | None:
        """See Dialect.full_scan: with small tables, the planner would not look for an index."""
        bound = statement.compile(connection, compile_kwargs={"literal_binds": True})
        connection.exec_driver_sql("BEGIN")
        try:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = connection.exec_driver_sql(f"EXPLAIN {bound}").scalars().all()
        finally:
            connection.exec_driver_sql("ROLLBACK")
        return any("Seq Scan" in str(step) for step in plan)

    def clock(self, connection: Connection, *, utc: bool) -> str:
        """See Dialect.clock."""
        zone = "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone')"
        if utc:
            zone = "'UTC'"
        asked = f"SELECT (pg_catalog.clock_timestamp() AT TIME ZONE {zone})::text"
        return str(connection.exec_driver_sql(asked).scalar())

    def estimate(self, connection: Connection, schema: str, table: str) -> int | None:
        """See Dialect.estimate."""
        asked = (
            "SELECT reltuples::bigint FROM pg_catalog.pg_class "
            "WHERE oid = pg_catalog.to_regclass(%s) AND reltuples >= 0"
        )
        return _number_of(connection, asked, schema, table)

    def size(self, connection: Connection, schema: str, table: str) -> int | None:
        """See Dialect.size."""
        asked = "SELECT pg_catalog.pg_table_size(pg_catalog.to_regclass(%s))"
        return _number_of(connection, asked, schema, table)

    # ---- errors

    def trouble(self, error: BaseException) -> Trouble:
        """See Dialect.trouble."""
        state = self._state(error)
        if not state and type(error).__name__ == "OperationalError":
            return "login" if refuses_login(str(error)) else "unreachable"
        for trouble, states in _TROUBLES.items():
            if state.startswith(states):
                return trouble
        return "unfit"

    def code(self, error: BaseException) -> str:
        """See Dialect.code."""
        state = self._state(error)
        return f"SQLSTATE {state}" if state else type(error).__name__

    def _state(self, error: BaseException) -> str:
        return getattr(error, self.state, None) or ""


def _number_of(connection: Connection, asked: str, schema: str, table: str) -> int | None:
    """Asks for a number that concerns a table, which is the statement's one parameter."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    name = ".".join([quote(part) for part in (schema, table) if part])
    found = connection.exec_driver_sql(asked, (name,)).scalar()
    return None if found is None else int(found)


def session_settings(seconds: float) -> dict[str, str]:
    """Returns the settings of a session in which no statement takes longer than `seconds`."""
    milliseconds = f"{int(seconds * 1000)}ms"
    return {
        **SESSION,
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
        "row_security": "off",
    }


# ---- columns

_TYPES: tuple[tuple[type[TypeEngine[Any]], int, str], ...] = (
    # Their labels and elements, whatever these are
    (types.Enum, v.TEXT, "text"),
    (types.ARRAY, v.TEXT, "text"),
    (types.Boolean, v.BOOL, "boolean"),
    (types.SmallInteger, v.INT2, "smallint"),
    (types.BigInteger, v.INT8, "bigint"),
    (types.Integer, v.INT4, "integer"),
    (types.REAL, v.FLOAT4, "real"),
    (types.Float, v.FLOAT8, "double precision"),
    (types.Date, v.DATE, "date"),
    (postgresql.INTERVAL, v.INTERVAL, "interval"),
    (types.Uuid, v.UUID, "uuid"),
    (postgresql.BYTEA, v.BYTEA, "bytea"),
    (postgresql.JSONB, v.JSONB, "jsonb"),
    (types.JSON, v.JSON, "json"),
    (postgresql.INET, v.INET, "inet"),
    (postgresql.CIDR, v.CIDR, "cidr"),
    (postgresql.OID, v.OID, "oid"),
)


# What a cast to text writes of them is not what the type's own output function does
_CAST_OTHERWISE = (v.BOOL, v.BPCHAR, v.INET)


def _canonical(declared: TypeEngine[Any]) -> tuple[int, str]:
    """Returns a type by OID and name; of types without a rule of their own it is text."""
    for declared_type, oid, name in _TYPES:
        if isinstance(declared, declared_type):
            return oid, name
    for declared_type, sized in _SIZED:
        if isinstance(declared, declared_type):
            return sized(declared)
    return v.TEXT, "text"


def _numeric(declared: Any) -> tuple[int, str]:
    kind = kinds.numeric(declared.precision, declared.scale)
    return kind.oid, kind.name


def _timestamp(declared: Any) -> tuple[int, str]:
    kind = kinds.TIMESTAMPTZ if declared.timezone else kinds.TIMESTAMP
    return kind.oid, kind.name


def _time(declared: Any) -> tuple[int, str]:
    if declared.timezone:
        return v.TIMETZ, "time with time zone"
    return v.TIME, "time without time zone"


def _character(declared: Any) -> tuple[int, str]:
    return v.BPCHAR, f"character({declared.length or 1})"


def _varchar(declared: Any) -> tuple[int, str]:
    kind = kinds.varchar(declared.length)
    return kind.oid, kind.name


_SIZED: tuple[tuple[type[TypeEngine[Any]], Callable[[Any], tuple[int, str]]], ...] = (
    (types.Numeric, _numeric),
    (types.DateTime, _timestamp),
    (types.Time, _time),
    (types.CHAR, _character),
    (types.VARCHAR, _varchar),
)


def _as_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(column, Text)


def _in_full(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Selects what the type's own output function writes."""
    return case((column.is_not(None), func.concat(column)))


def _binder(declared: TypeEngine[Any]) -> Callable[[str], Any]:
    """Returns what makes a value of this type from its text."""

    def bind(canonical: str) -> Any:
        return cast(literal(canonical, Text), declared)

    return bind
