"""DM8 (达梦) as a business database, through dmPython and dmSQLAlchemy.

Not tried on a real server.

An empty string may be NULL there, as the server is set up. Decimals and times are read as texts
that the server writes, so that nothing depends on the driver's own types.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from math import ceil
from types import ModuleType
from typing import Any

from sqlalchemy import URL, ColumnElement, Connection, Engine, String, cast, func, null, types
from sqlalchemy.types import TypeEngine

from agent import stop_watch
from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Dialect, Kind, Sample, Trouble
from agent.connectors.dialects.transactions import committed, rolled_back
from agent.connectors.dialects.troubles import listed, unlisted

_TROUBLES: Mapping[Trouble, tuple[int, ...]] = {
    "login": (-2501, -2502, -2503, -2508, -2510),
    "denied": (-5502, -5504, -5506, -5560),
    "missing": (-2106, -2111, -2103, -2104),
    "busy": (-6403, -6407, -6408, -544, -7049),
    "unreachable": (-6001, -6007, -6010, -70019, -70025, -70026, -70028),
}

# For the self-test
_SAMPLES: Sequence[Sample] = (
    Sample("BIT", "1", "t"),
    Sample("TINYINT", "-7", "-7"),
    Sample("SMALLINT", "-7", "-7"),
    Sample("INT", "7", "7"),
    Sample("BIGINT", "-9223372036854775808", "-9223372036854775808"),
    Sample(
        "DEC(38,10)",
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789",
    ),
    Sample(
        "NUMBER(38)",
        "99999999999999999999999999999999999999",
        "99999999999999999999999999999999999999",
    ),
    Sample("DECIMAL(10,2)", "-0.5", "-0.50"),
    Sample("NUMERIC(10,2)", "2.5", "2.50"),
    Sample("REAL", "0.1", "0.1"),
    Sample("FLOAT", "0.1", "0.1"),
    Sample("DOUBLE", "1E300", "1e+300"),
    Sample("DATE", "DATE '2024-02-29'", "2024-02-29"),
    Sample("TIME", "TIME '03:04:05'", "03:04:05"),
    Sample("TIMESTAMP(6)", "TIMESTAMP '2024-02-29 03:04:05.12'", "2024-02-29 03:04:05.12"),
    Sample("DATETIME(6)", "TIMESTAMP '2024-02-29 03:04:05.12'", "2024-02-29 03:04:05.12"),
    Sample(
        "TIMESTAMP(6) WITH TIME ZONE",
        "TIMESTAMP '2024-02-29 03:04:05.12 +08:00'",
        "2024-02-28 19:04:05.12+00",
    ),
    Sample(
        "TIMESTAMP(6) WITH LOCAL TIME ZONE",
        "TIMESTAMP '2024-02-29 03:04:05.12 +08:00'",
        "2024-02-28 19:04:05.12+00",
    ),
    Sample("CHAR(3)", "'Y'", "Y  "),
    Sample("VARCHAR(20)", "'中文 '", "中文 "),
    Sample("VARCHAR2(20)", "'中文 '", "中文 "),
    Sample("CLOB", "'中文'", "中文"),
    Sample("TEXT", "'中文'", "中文"),
    Sample("BINARY(3)", "0x00FF01", "\\x00ff01"),
    Sample("VARBINARY(9)", "0x00FF", "\\x00ff"),
    Sample("BLOB", "0x00FF", "\\x00ff"),
    Sample("IMAGE", "0x00FF", "\\x00ff"),
)


class DM8(Dialect):
    """See Dialect. Names without capitals are those that DM8 keeps in capitals."""

    name = "DM8"
    extra = "dm"
    samples = _SAMPLES
    moment = ("TIMESTAMP(3)", "TIMESTAMP '{}'")
    tried = False
    row_values = False

    # SQLAlchemy's own dialect, by which a connection is made
    _driver: Any = None

    # ---- sessions

    def engine(self, url: URL, password: Callable[[], str] | None, seconds: float) -> Engine:
        """See Dialect.engine."""
        _leave_out_async()
        made = super().engine(url, password, seconds)
        self._driver = made.dialect
        return made

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect. The driver lets nobody end a call: a stop waits for `seconds`."""
        import dmPython  # noqa: PLC0415 - only the engine finds out whether it is installed

        left = stop_watch.seconds_to_connect()
        if not left:
            raise dmPython.OperationalError("the process is to stop")
        reach = {"login_timeout": ceil(left), "connection_timeout": ceil(seconds)}
        return self._driver.connect(*arguments, **{**named, **reach})

    def settle(self, connection: Any, seconds: float) -> None:
        """See Dialect.settle."""
        connection.autoCommit = True
        cursor = connection.cursor()
        cursor.execute("SET TIME ZONE '+00:00'")
        cursor.close()

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """See Dialect.snapshot."""
        with rolled_back(connection, "autoCommit"):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            yield

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """See Dialect.writing: a transaction begins with its first statement."""
        with committed(connection, "autoCommit"):
            yield

    # ---- columns and statements

    def kind(self, declared: TypeEngine[Any], *, in_key: bool) -> Kind | None:
        """See Dialect.kind: the types of dmSQLAlchemy are known by their names."""
        name = str(getattr(declared, "__visit_name__", "")).upper()
        if in_key and name in _NOT_IN_KEY:
            return None
        if name in _MADE:
            return _MADE[name](declared)
        if name in _KINDS:
            return _KINDS[name]
        for declared_type, kind in _OF_TYPES:
            if isinstance(declared, declared_type):
                return kind
        return None

    def clock(self, connection: Connection, *, utc: bool) -> str:
        """See Dialect.clock: the session's zone is UTC, the server's is that of its host."""
        now = "SYSTIMESTAMP"
        if utc:
            now = f"SYS_EXTRACT_UTC({now})"
        asked = f"SELECT TO_CHAR({now}, '{_WRITTEN}')"
        return str(connection.exec_driver_sql(asked).scalar())

    # ---- errors

    def trouble(self, error: BaseException) -> Trouble:
        """See Dialect.trouble."""
        return listed(_TROUBLES, _number(error)) or unlisted(error)

    def code(self, error: BaseException) -> str:
        """See Dialect.code."""
        return f"error {_number(error)}"


def _number(error: BaseException) -> int:
    """Returns the server's or the driver's number of an error; 0 where there is none."""
    details = error.args[0] if error.args else None
    return int(getattr(details, "code", 0) or 0)


def _leave_out_async() -> None:
    """Lets dmSQLAlchemy be imported without its part for asyncio.

    That part needs names which SQLAlchemy 2.1 no longer has.
    """
    name = "dmSQLAlchemy.dmasync"
    if name not in sys.modules:
        part = ModuleType(name)
        part.dialect_async = None  # type: ignore[attr-defined]
        sys.modules[name] = part


# ---- numbers


def _as_digits(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(column, String(60))


_NUMERIC = kinds.from_text(kinds.NUMERIC._replace(select=_as_digits), Decimal)


def _decimal(declared: Any) -> Kind:
    """Returns the kind of a decimal; one without a precision may have any digits."""
    if not declared.precision:
        return _NUMERIC
    kind = kinds.numeric(declared.precision, declared.scale)
    return kinds.from_text(kind._replace(select=_as_digits), Decimal)


# ---- times

_WRITTEN = "YYYY-MM-DD HH24:MI:SS.FF6"


def _day_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.to_char(column, "YYYY-MM-DD")


def _moment_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.to_char(column, _WRITTEN)


def _instant_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.to_char(func.sys_extract_utc(column), _WRITTEN)


def _moment_of(canonical: str) -> Any:
    text = kinds.padded(canonical)
    return null() if text is None else func.to_timestamp(text, _WRITTEN)


_DATE = kinds.from_text(kinds.DATE._replace(select=_day_text), date.fromisoformat)
_MOMENT = kinds.from_text(
    kinds.TIMESTAMP._replace(select=_moment_text, bind=_moment_of), kinds.moment_of
)
_INSTANT = kinds.from_text(
    kinds.TIMESTAMPTZ._replace(select=_instant_text, bind=_moment_of), kinds.moment_of
)


def _timestamp(declared: Any) -> Kind:
    local = getattr(declared, "local_timezone", False)
    return _INSTANT if declared.timezone or local else _MOMENT


# ---- texts and bytes


def _whole(value: Any) -> Any:
    """Reads a large value that the driver hands out by a handle."""
    return value.read() if hasattr(value, "read") else value


def _characters(declared: Any) -> Kind:
    return kinds.varchar(declared.length)


def _large(kind: Kind) -> Kind:
    return kind._replace(write=lambda value: kind.write(_whole(value)))


_TEXT, _BYTES = _large(kinds.TEXT), _large(kinds.BYTEA)

_MADE: Mapping[str, Callable[[Any], Kind]] = {
    "NUMBER": _decimal,
    "DECIMAL": _decimal,
    "NUMERIC": _decimal,
    "TIMESTAMP": _timestamp,
    "DMTIMESTAMP": _timestamp,
    "CHAR": _characters,
    "VARCHAR": _characters,
    "VARCHAR2": _characters,
    "NVARCHAR": _characters,
}
_KINDS: Mapping[str, Kind] = {
    "BIT": kinds.BOOL,
    "TINYINT": kinds.INT2,
    "SMALLINT": kinds.INT2,
    "BIGINT": kinds.INT8,
    "REAL": kinds.FLOAT4,
    "FLOAT": kinds.FLOAT8,
    "DOUBLE": kinds.FLOAT8,
    "DOUBLE_PRECISION": kinds.FLOAT8,
    "DATE": _DATE,
    "DATETIME": _MOMENT,
    "TIME": kinds.TIME,
    "CLOB": _TEXT,
    "NCLOB": _TEXT,
    "TEXT": _TEXT,
    "LONGVARCHAR": _TEXT,
    "BLOB": _BYTES,
    "IMAGE": _BYTES,
    "LONGVARBINARY": _BYTES,
    "VARBINARY": kinds.BYTEA,
    "BINARY": kinds.BYTEA,
}
_OF_TYPES: tuple[tuple[type[TypeEngine[Any]], Kind], ...] = (
    (types.Boolean, kinds.BOOL),
    (types.Integer, kinds.INT4),
    (types.LargeBinary, _BYTES),
)
_NOT_IN_KEY = ("REAL", "CLOB", "NCLOB", "TEXT", "LONGVARCHAR", "BLOB", "IMAGE", "LONGVARBINARY")
