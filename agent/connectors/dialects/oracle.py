"""Oracle as a business database, through oracledb's thin mode.

Not tried on a real server.

An empty string is NULL there, as the server keeps it. Numbers and times are read as texts that the
server writes, so that nothing depends on the driver's own types.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, null, types
from sqlalchemy.dialects import oracle
from sqlalchemy.types import TypeEngine

from agent import stop_watch
from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Dialect, Kind, Recoded, Sample, Trouble
from agent.connectors.dialects.encodings import encoded
from agent.connectors.dialects.transactions import committed, rolled_back
from agent.connectors.dialects.troubles import listed, unlisted

_SETTINGS = """
    ALTER SESSION SET TIME_ZONE = '+00:00' NLS_NUMERIC_CHARACTERS = '.,'
    NLS_SORT = BINARY NLS_COMP = BINARY NLS_CALENDAR = 'GREGORIAN'
"""

_TROUBLES: Mapping[Trouble, tuple[int, ...]] = {
    "login": (1005, 1017, 1045, 28000, 28001, 12505, 12514),
    "denied": (1031, 1720, 41900),
    "missing": (904, 942, 2289, 4043),
    "busy": (51, 54, 60, 1013, 1555, 8177, 30006),
    "unreachable": (28, 1012, 1033, 1034, 1089, 1090, 1092, 2396, 3113, 3114, 3135),
    "value": (1406, 1801, 1898, 29275),
}
# What the driver says without the server: it cannot reach it, or has waited too long
_DRIVER: Mapping[Trouble, tuple[str, ...]] = {
    "login": ("DPY-4001", "DPY-6001", "DPY-6003"),
    "busy": ("DPY-4024",),
    "unreachable": ("DPY-1001", "DPY-4011", "DPY-6000", "DPY-6005"),
}

# For the self-test
_SAMPLES: Sequence[Sample] = (
    Sample("NUMBER(1)", "1", "1"),
    Sample("NUMBER(18)", "-7", "-7"),
    Sample(
        "NUMBER(38,10)",
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789",
    ),
    Sample("NUMBER", "1E-40", "0.0000000000000000000000000000000000000001"),
    Sample(
        "INTEGER",
        "99999999999999999999999999999999999999",
        "99999999999999999999999999999999999999",
    ),
    Sample("FLOAT", "0.1", "0.1"),
    Sample("BINARY_FLOAT", "0.1", "0.1"),
    Sample("BINARY_DOUBLE", "1E300", "1e+300"),
    Sample(
        "DATE", "TO_DATE('2024-02-29 03:04:05', 'YYYY-MM-DD HH24:MI:SS')", "2024-02-29 03:04:05"
    ),
    Sample("TIMESTAMP(6)", "TIMESTAMP '2024-02-29 03:04:05.12'", "2024-02-29 03:04:05.12"),
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
    Sample("NCHAR(3)", "UNISTR('\\4E2D')", "中  "),
    Sample("VARCHAR2(20)", "'中文 '", "中文 "),
    Sample("NVARCHAR2(20)", "UNISTR('\\4E2D\\6587')", "中文"),
    Sample("CLOB", "'中文'", "中文"),
    Sample("NCLOB", "UNISTR('\\4E2D')", "中"),
    Sample("RAW(9)", "HEXTORAW('00FF')", "\\x00ff"),
    Sample("BLOB", "HEXTORAW('00FF')", "\\x00ff"),
    Sample("JSON", "JSON('{\"a\":1}')", '{"a":1}', since=(21,)),
)
_RECODED = (Recoded("VARCHAR2(40)", "UTL_RAW.CAST_TO_VARCHAR2(HEXTORAW('{hex}'))"),)


class Oracle(Dialect):
    """See Dialect. Names without capitals are those that Oracle keeps in capitals."""

    name = "Oracle"
    extra = "oracle"
    samples = _SAMPLES
    recoded = _RECODED
    moment = ("DATE", "TO_DATE('{}', 'YYYY-MM-DD HH24:MI:SS')")
    tried = False
    recodes = True

    # ---- sessions

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect."""
        import oracledb  # noqa: PLC0415 - only the engine finds out whether it is installed

        left = stop_watch.seconds_to_connect()
        if not left:
            raise oracledb.OperationalError("the process is to stop")

        class BoundedConnection(oracledb.Connection):
            """A connection whose call can be ended from another thread."""

            def shut(self) -> None:
                """See agent.stop_watch.Line."""
                with suppress(oracledb.Error):
                    self.cancel()

        reach = {"tcp_connect_timeout": left, "conn_class": BoundedConnection}
        connection: Any = oracledb.connect(*arguments, **{**named, **reach})
        connection.call_timeout = int(seconds * 1000)
        stop_watch.register(connection)
        return connection

    def settle(self, connection: Any, seconds: float) -> None:
        """See Dialect.settle."""
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_SETTINGS)

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """See Dialect.snapshot. In autocommit mode each SELECT would end it."""
        with rolled_back(connection, "autocommit"):
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """See Dialect.writing: a transaction begins with its first statement."""
        with committed(connection, "autocommit"):
            yield

    # ---- columns and statements

    def kind(self, declared: TypeEngine[Any], *, in_key: bool) -> Kind | None:
        """See Dialect.kind."""
        if isinstance(declared, _UNREAD) or (in_key and isinstance(declared, _NOT_IN_KEY)):
            return None
        if self._misdeclared(declared):
            return None
        if self.encoding and isinstance(declared, types.CHAR | types.VARCHAR):
            return encoded(_characters(declared), self.encoding, _octets, _text_of)
        for declared_type, kind_of in _MADE:
            if isinstance(declared, declared_type):
                return kind_of(declared)
        for declared_type, kind in _KINDS:
            if isinstance(declared, declared_type):
                return kind
        return None

    def _misdeclared(self, declared: TypeEngine[Any]) -> bool:
        """Tells whether this is a long text in another encoding: no statement gives its bytes."""
        return bool(self.encoding) and isinstance(declared, types.CLOB)

    def type_name(self, declared: TypeEngine[Any]) -> str:
        """See Dialect.type_name."""
        name = super().type_name(declared)
        return f"{name} in {self.encoding}" if self._misdeclared(declared) else name

    def clock(self, connection: Connection, *, utc: bool) -> str:
        """See Dialect.clock."""
        now = "SYS_EXTRACT_UTC(SYSTIMESTAMP)" if utc else "SYSTIMESTAMP"
        asked = f"SELECT TO_CHAR({now}, 'YYYY-MM-DD HH24:MI:SS.FF6') FROM DUAL"
        return str(connection.exec_driver_sql(asked).scalar())

    # ---- errors

    def trouble(self, error: BaseException) -> Trouble:
        """See Dialect.trouble."""
        by_number = listed(_TROUBLES, _number(error))
        return by_number or listed(_DRIVER, self.code(error)) or unlisted(error)

    def code(self, error: BaseException) -> str:
        """See Dialect.code."""
        details = error.args[0] if error.args else None
        return str(getattr(details, "full_code", "") or type(error).__name__)


def _number(error: BaseException) -> int:
    """Returns the server's number of an error; 0 where it is not the server's."""
    details = error.args[0] if error.args else None
    return int(getattr(details, "code", 0) or 0)


# ---- numbers


def _as_digits(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Selects a number with all its digits, in the form of the session's settings."""
    return func.to_char(column, "TM9")


_NUMERIC = kinds.from_text(kinds.NUMERIC._replace(select=_as_digits), Decimal)


def _number_kind(declared: Any) -> Kind:
    """Returns the kind of a NUMBER: an integer type that holds all of it, or a decimal."""
    precision, scale = declared.precision, declared.scale
    if precision is None:
        return _NUMERIC
    if not scale:
        for digits, kind in ((4, kinds.INT2), (9, kinds.INT4), (18, kinds.INT8)):
            if precision <= digits:
                return kinds.from_text(kind._replace(select=_as_digits), int)
    kind = kinds.numeric(precision, scale)._replace(select=_as_digits)
    return kinds.from_text(kind, Decimal)


_INTEGER = kinds.from_text(kinds.numeric(38, 0)._replace(select=_as_digits), Decimal)

# ---- times

_SECOND = "SYYYY-MM-DD HH24:MI:SS"
_WRITTEN = f"{_SECOND}.FF9"
_READ = "YYYY-MM-DD HH24:MI:SS"
_TO_SECONDS = len("2024-02-29 03:04:05")


def _date_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.to_char(column, _SECOND)


def _date_of(canonical: str) -> Any:
    """Returns a DATE: a comparison with another type would pass its index by."""
    text = kinds.padded(canonical)
    return null() if text is None else func.to_date(text[:_TO_SECONDS], _READ)


def _moment_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.to_char(column, _WRITTEN)


def _moment_of(canonical: str) -> Any:
    text = kinds.padded(canonical)
    return null() if text is None else func.to_timestamp(text, f"{_READ}.FF6")


def _instant_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.to_char(func.sys_extract_utc(column), _WRITTEN)


def _instant_of(canonical: str) -> Any:
    text = kinds.padded(canonical)
    return (
        null() if text is None else func.to_timestamp_tz(f"{text} +00:00", f"{_READ}.FF6 TZH:TZM")
    )


_DATE = kinds.from_text(kinds.TIMESTAMP._replace(select=_date_text, bind=_date_of), kinds.moment_of)
_MOMENT = kinds.from_text(
    kinds.TIMESTAMP._replace(select=_moment_text, bind=_moment_of), kinds.moment_of
)
_INSTANT = kinds.from_text(
    kinds.TIMESTAMPTZ._replace(select=_instant_text, bind=_instant_of), kinds.moment_of
)


def _timestamp(declared: Any) -> Kind:
    return _INSTANT if declared.timezone or declared.local_timezone else _MOMENT


# ---- texts


def _octets(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.utl_raw.cast_to_raw(column)


def _text_of(octets: bytes) -> ColumnElement[Any]:
    return func.utl_raw.cast_to_varchar2(octets)


def _characters(declared: Any) -> Kind:
    return kinds.varchar(declared.length)


def _serialized(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.json_serialize(column)


_MADE: tuple[tuple[type[TypeEngine[Any]], Callable[[Any], Kind]], ...] = (
    (oracle.NUMBER, _number_kind),
    (oracle.TIMESTAMP, _timestamp),
    (types.CHAR, _characters),
    (types.NCHAR, _characters),
    (types.VARCHAR, _characters),
    (types.NVARCHAR, _characters),
)
_KINDS: tuple[tuple[type[TypeEngine[Any]], Kind], ...] = (
    (oracle.BINARY_DOUBLE, kinds.FLOAT8),
    (oracle.BINARY_FLOAT, kinds.FLOAT4),
    (types.Boolean, kinds.BOOL),
    # A decimal of so many binary digits
    (types.Float, _NUMERIC),
    (types.Integer, _INTEGER),
    (types.Numeric, _NUMERIC),
    (oracle.DATE, _DATE),
    (types.JSON, kinds.JSON._replace(select=_serialized)),
    (types.Text, kinds.TEXT),
    (oracle.RAW, kinds.BYTEA),
    (types.LargeBinary, kinds.BYTEA),
)
_UNREAD = (oracle.LONG, oracle.BFILE, oracle.INTERVAL, oracle.ROWID)
_NOT_IN_KEY = (oracle.BINARY_FLOAT, types.Text, types.JSON, types.LargeBinary)
