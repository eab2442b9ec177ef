"""SQL Server as a business database, through pymssql.

Not tried on a real server.

Decimals and times are read as texts that the server writes: the driver's types have fewer digits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal
from math import ceil
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, String, func, literal, null, types
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects import mssql
from sqlalchemy.sql.expression import literal_column
from sqlalchemy.types import TypeEngine

from agent import stop_watch
from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Dialect, Kind, Sample, Trouble
from agent.connectors.dialects.troubles import listed, unlisted

_TROUBLES: Mapping[Trouble, tuple[int, ...]] = {
    "login": (4060, 18452, 18456, 18470, 18486, 18487, 18488),
    "denied": (229, 230, 262, 297, 300, 371),
    "missing": (207, 208, 4902),
    "busy": (1204, 1205, 1222, 3960, 3961, 20003),
    "unreachable": (921, 922, 952, 6005, 17142, 20002, 20004, 20006, 20009, 20017, 20047),
    "value": (241, 242, 8115),
}
_NO_SNAPSHOTS = 3952
_ISO = 121  # the style of CONVERT for texts such as 2024-02-29 03:04:05.1200000
_MICROSECONDS = 6  # digits

# For the self-test
_SAMPLES: Sequence[Sample] = (
    Sample("bit", "1", "t"),
    Sample("tinyint", "255", "255"),
    Sample("smallint", "-7", "-7"),
    Sample("int", "7", "7"),
    Sample("bigint", "-9223372036854775808", "-9223372036854775808"),
    Sample(
        "decimal(38,10)",
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789",
    ),
    Sample("numeric(10,2)", "2.5", "2.50"),
    Sample("money", "-0.5", "-0.5000"),
    Sample("smallmoney", "1.2345", "1.2345"),
    Sample("float", "1e300", "1e+300"),
    Sample("real", "0.1", "0.1"),
    Sample("date", "'2024-02-29'", "2024-02-29"),
    Sample("time(3)", "'23:59:59.5'", "23:59:59.5"),
    Sample("datetime", "'2024-02-29T03:04:05.120'", "2024-02-29 03:04:05.12"),
    Sample("smalldatetime", "'2024-02-29T03:04:00'", "2024-02-29 03:04:00"),
    Sample("datetime2(3)", "'2024-02-29T03:04:05.120'", "2024-02-29 03:04:05.12"),
    Sample("datetime2(7)", "'2024-02-29T03:04:05.1234567'", "2024-02-29 03:04:05.1234567"),
    Sample("datetimeoffset(3)", "'2024-02-29T03:04:05.120+08:00'", "2024-02-28 19:04:05.12+00"),
    Sample("char(3)", "'Y'", "Y  "),
    Sample("nchar(3)", "N'中'", "中  "),
    Sample("varchar(20)", "'ab '", "ab "),
    Sample("nvarchar(20)", "N'𠀀中文'", "𠀀中文"),
    Sample("nvarchar(max)", "N'中文'", "中文"),
    Sample("text", "'ab'", "ab"),
    Sample("ntext", "N'中文'", "中文"),
    Sample("xml", "N'<a>中</a>'", "<a>中</a>"),
    Sample("binary(3)", "0x00FF", "\\x00ff00"),
    Sample("varbinary(9)", "0x00FF", "\\x00ff"),
    Sample("image", "0x00FF", "\\x00ff"),
    Sample(
        "uniqueidentifier",
        "'6ccd780c-baba-1026-9564-5b8c656024db'",
        "6ccd780c-baba-1026-9564-5b8c656024db",
    ),
)


class SQLServer(Dialect):
    """See Dialect."""

    name = "SQL Server"
    extra = "mssql"
    samples = _SAMPLES
    moment = ("datetime2(3)", "CONVERT(datetime2(3), '{}', 121)")
    tried = False
    row_values = False

    # ---- sessions

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect. The driver lets nobody end a call: a stop waits for `seconds`."""
        import pymssql  # noqa: PLC0415 - only the engine finds out whether it is installed

        left = stop_watch.seconds_to_connect()
        if not left:
            raise pymssql.OperationalError("the process is to stop")
        reach = {
            "login_timeout": ceil(left),
            "timeout": ceil(seconds),
            "charset": "UTF-8",
            "appname": "unit-sync-agent",
        }
        return pymssql.connect(*arguments, **{**named, **reach})

    def settle(self, connection: Any, seconds: float) -> None:
        """See Dialect.settle."""
        connection.autocommit(True)
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCK_TIMEOUT {int(seconds * 1000)}")
            cursor.execute("SET DATEFORMAT ymd")

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """See Dialect.snapshot: ALLOW_SNAPSHOT_ISOLATION has to be on.

        Any other level that reads all tables at one moment would have the application wait.
        """
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SNAPSHOT")
        connection.exec_driver_sql("BEGIN TRANSACTION")
        try:
            connection.exec_driver_sql("SELECT TOP 1 1 FROM sys.objects").scalar()
            yield
        finally:
            connection.exec_driver_sql("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """See Dialect.writing: a bare BEGIN would be the beginning of a block."""
        connection.exec_driver_sql("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            connection.exec_driver_sql("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
            raise
        connection.exec_driver_sql("COMMIT TRANSACTION")

    # ---- columns and statements

    def kind(self, declared: TypeEngine[Any], *, in_key: bool) -> Kind | None:
        """See Dialect.kind."""
        if in_key and isinstance(declared, _NOT_IN_KEY):
            return None
        for declared_type, kind_of in _MADE:
            if isinstance(declared, declared_type):
                made = kind_of(declared)
                # A text of more than six digits gives no value back
                return None if in_key and made in (_FINE_MOMENT, _FINE_INSTANT) else made
        for declared_type, kind in _KINDS:
            if isinstance(declared, declared_type):
                return kind
        return None

    def locking(self, statement: Select[Any]) -> Select[Any]:
        """See Dialect.locking: it is said of the table."""
        (read,) = statement.get_final_froms()
        return statement.with_hint(read, "WITH (UPDLOCK, ROWLOCK, READPAST)")

    def clock(self, connection: Connection, *, utc: bool) -> str:
        """See Dialect.clock."""
        now = "SYSUTCDATETIME()" if utc else "SYSDATETIME()"
        asked = f"SELECT CONVERT(varchar(30), CONVERT(datetime2(6), {now}), {_ISO})"
        return str(connection.exec_driver_sql(asked).scalar())

    # ---- errors

    def trouble(self, error: BaseException) -> Trouble:
        """See Dialect.trouble."""
        return listed(_TROUBLES, _number(error)) or unlisted(error)

    def code(self, error: BaseException) -> str:
        """See Dialect.code."""
        number = _number(error)
        if number == _NO_SNAPSHOTS:
            return f"error {number} (ALLOW_SNAPSHOT_ISOLATION is off)"
        return f"error {number}"


def _number(error: BaseException) -> int:
    """Returns the server's or the driver's number of an error; -1 where there is none."""
    found: Any = error.args[0] if error.args else -1
    if isinstance(found, tuple) and found:
        found = found[0]
    return found if isinstance(found, int) else -1


# ---- numbers


def _converted(to: str, column: ColumnElement[Any], *style: int) -> ColumnElement[Any]:
    """Returns CONVERT, in which a type stands before the value."""
    return func.convert(literal_column(to), column, *map(literal_column, map(str, style)))


def _as_digits(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _converted("varchar(50)", column)


def _as_money(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Selects an amount with its four digits behind the point."""
    return _converted("varchar(50)", column, 2)


def _decimal(declared: Any) -> Kind:
    kind = kinds.numeric(declared.precision or 18, declared.scale or 0)
    return kinds.from_text(kind._replace(select=_as_digits), Decimal)


def _money(precision: int) -> Kind:
    return kinds.from_text(kinds.numeric(precision, 4)._replace(select=_as_money), Decimal)


def _as_number(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _converted("bigint", column)


def _version_of(canonical: str) -> Any:
    return _converted("binary(8)", _converted("bigint", literal(int(canonical))))


# ---- times


def _as_text(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _converted("varchar(40)", column, _ISO)


def _in_utc(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return _as_text(_converted("datetime2", func.switchoffset(column, literal_column("0"))))


def _bound_as(to: str) -> Callable[[str], Any]:
    """Returns what makes a value of a type from the text of a moment."""

    def bind(canonical: str) -> Any:
        text = kinds.padded(canonical)
        return null() if text is None else _converted(to, literal(text, String), _ISO)

    return bind


def _datetime_of(canonical: str) -> Any:
    """Returns a datetime, which has three digits behind the second."""
    text = kinds.padded(canonical)
    return null() if text is None else _converted("datetime", literal(text[:-3], String), _ISO)


_FINE_MOMENT = kinds.varchar(27)._replace(select=_as_text, bind=_bound_as("datetime2"))
_FINE_INSTANT = kinds.varchar(27)._replace(select=_in_utc, bind=_bound_as("datetimeoffset"))
_MOMENT = kinds.from_text(
    kinds.TIMESTAMP._replace(select=_as_text, bind=_bound_as("datetime2(6)")), kinds.moment_of
)
_DATETIME = kinds.from_text(
    kinds.TIMESTAMP._replace(select=_as_text, bind=_datetime_of), kinds.moment_of
)
_INSTANT = kinds.from_text(
    kinds.TIMESTAMPTZ._replace(select=_in_utc, bind=_bound_as("datetimeoffset(6)")),
    kinds.moment_of,
)
_DATE = kinds.from_text(kinds.DATE._replace(select=_as_text), date.fromisoformat)
_TIME = kinds.from_text(kinds.TIME._replace(select=_as_text), time.fromisoformat)
_FINE_TIME = kinds.varchar(16)._replace(select=_as_text)


def _is_fine(declared: Any) -> bool:
    """Whether a time has more digits than a microsecond; seven, where none are given."""
    return declared.precision is None or declared.precision > _MICROSECONDS


def _moment_kind(declared: Any) -> Kind:
    return _FINE_MOMENT if _is_fine(declared) else _MOMENT


def _instant_kind(declared: Any) -> Kind:
    return _FINE_INSTANT if _is_fine(declared) else _INSTANT


def _time_kind(declared: Any) -> Kind:
    return _FINE_TIME if _is_fine(declared) else _TIME


# ---- texts


def _characters(declared: Any) -> Kind:
    return kinds.varchar(declared.length)


def _as_characters(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return sql_cast(column, mssql.NVARCHAR)


_MADE: tuple[tuple[type[TypeEngine[Any]], Callable[[Any], Kind]], ...] = (
    (mssql.DATETIME2, _moment_kind),
    (mssql.DATETIMEOFFSET, _instant_kind),
    (types.Time, _time_kind),
    (types.DECIMAL, _decimal),
    (types.NUMERIC, _decimal),
    (types.CHAR, _characters),
    (types.NCHAR, _characters),
    (types.VARCHAR, _characters),
    (types.NVARCHAR, _characters),
)
_KINDS: tuple[tuple[type[TypeEngine[Any]], Kind], ...] = (
    (mssql.BIT, kinds.BOOL),
    (mssql.TINYINT, kinds.INT2),
    (types.SmallInteger, kinds.INT2),
    (types.BigInteger, kinds.INT8),
    (types.Integer, kinds.INT4),
    (mssql.REAL, kinds.FLOAT4),
    (types.Float, kinds.FLOAT8),
    (mssql.MONEY, _money(19)),
    (mssql.SMALLMONEY, _money(10)),
    (mssql.DATETIME, _DATETIME),
    (mssql.SMALLDATETIME, _DATETIME),
    (types.Date, _DATE),
    (mssql.UNIQUEIDENTIFIER, kinds.UUID),
    (mssql.XML, kinds.TEXT._replace(select=_as_characters)),
    # The version of a row: a number that rises with each change
    (mssql.TIMESTAMP, kinds.INT8._replace(select=_as_number, bind=_version_of)),
    (types.Text, kinds.TEXT),
    (types.String, kinds.TEXT),
    (types.LargeBinary, kinds.BYTEA),
    (types.BINARY, kinds.BYTEA),
    (types.VARBINARY, kinds.BYTEA),
)
_NOT_IN_KEY = (mssql.REAL, types.Text, mssql.IMAGE)
