"""MariaDB as a business database, and what MySQL has in common with it."""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Inspector,
    Select,
    cast,
    func,
    literal,
    literal_column,
    text,
    types,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import TypeEngine

from agent.config.database import ZeroDates
from agent.connectors.dialects import kinds, zero_dates
from agent.connectors.dialects.base import Dialect, Kind, Recoded, Sample, Trouble
from agent.connectors.dialects.encodings import encoded
from agent.connectors.dialects.troubles import listed, unlisted
from agent.messages import phrase, system_reason

# Variables of a session that change what a statement reads. One that the server lacks is passed
# over
_SESSION: Mapping[str, str] = {
    "time_zone": "'+00:00'",
    "sql_mode": "'STRICT_ALL_TABLES'",
    "sql_select_limit": "DEFAULT",
    "sql_safe_updates": "0",
    "system_versioning_asof": "DEFAULT",
    "information_schema_stats_expiry": "0",
    "lock_wait_timeout": "20",
    "innodb_lock_wait_timeout": "20",
}
_PATIENCE = 8  # seconds beyond the longest statement after which the line counts as dead

_NO_PLUGIN = 2059  # the driver does not know the server's way to log in, or lacks a package for it

_TROUBLES: Mapping[Trouble, tuple[int, ...]] = {
    "login": (1044, 1045, 1049, 1698, _NO_PLUGIN, 3118, 4151),
    "denied": (1142, 1143, 1227, 1345, 1370),
    "missing": (1051, 1054, 1146, 1356),
    "busy": (1205, 1213, 1317, 1412, 1969, 3024, 3572),
    "unreachable": (0, 1040, 1053, 1130, 1203, 1226, 1927, 2002, 2003, 2006, 2013, 2055, 4031),
}

# For the self-test
_POINT = "0101000000000000000000f03f0000000000000040"  # POINT(1 2) as WKB
SAMPLES: Sequence[Sample] = (
    Sample("TINYINT(1)", "1", "1"),
    Sample("MEDIUMINT", "-8388608", "-8388608"),
    Sample("BIGINT", "-9223372036854775808", "-9223372036854775808"),
    Sample("SMALLINT UNSIGNED", "65535", "65535"),
    Sample("INT", "-2147483648", "-2147483648"),
    Sample("BIGINT UNSIGNED", "18446744073709551615", "18446744073709551615"),
    Sample(
        "DECIMAL(38,10)",
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789",
    ),
    Sample("FLOAT", "0.1", "0.1"),
    Sample("DOUBLE", "1e300", "1e+300"),
    Sample("BIT(1)", "b'1'", "t"),
    Sample("BIT(10)", "b'1000000000'", "512"),
    Sample("DATE", "'2024-02-29'", "2024-02-29"),
    Sample("DATETIME(3)", "'2024-02-29 03:04:05.120'", "2024-02-29 03:04:05.12"),
    Sample("TIMESTAMP(6) NULL", "'2024-02-29 03:04:05.000001'", "2024-02-29 03:04:05.000001+00"),
    Sample("TIME(6)", "'23:59:59.5'", "23:59:59.5"),
    Sample("YEAR", "2024", "2024"),
    Sample("CHAR(5)", "'中'", "中"),
    Sample("VARCHAR(20) CHARACTER SET utf8mb4", "'𠀀 '", "𠀀 "),
    Sample("TEXT", "''", ""),
    Sample("LONGTEXT", "'a\\nb'", "a\nb"),
    Sample("ENUM('x','y')", "'y'", "y"),
    Sample("SET('x','y')", "'y,x'", "x,y"),
    Sample("BINARY(3)", "x'00ff'", "\\x00ff00"),
    Sample("VARBINARY(9)", "x'00ff'", "\\x00ff"),
    Sample("BLOB", "x'00ff'", "\\x00ff"),
    Sample("LONGBLOB", "x''", "\\x"),
    Sample("JSON", "'{\"a\": 1}'", '{"a": 1}'),
    Sample("POINT", f"ST_GeomFromWKB(x'{_POINT}')", f"\\x00000000{_POINT}"),
    Sample("GEOMETRY", f"ST_GeomFromWKB(x'{_POINT}')", f"\\x00000000{_POINT}"),
)
RECODED = (
    Recoded("VARCHAR(40) CHARACTER SET latin1", "x'{hex}'"),
    Recoded("LONGTEXT CHARACTER SET latin1", "x'{hex}'"),
)
_UUID = "6ccd780c-baba-1026-9564-5b8c656024db"
_OWN_SAMPLES = (
    Sample("UUID", f"'{_UUID}'", _UUID, (10, 7)),
    Sample("INET4", "'192.0.2.0'", "192.0.2.0", (10, 10)),
    Sample("INET6", "'::ffff:192.0.2.1'", "::ffff:192.0.2.1", (10, 5)),
    Sample("VECTOR(3)", "VEC_FromText('[1,0.5,-2e-30]')", "{1,0.5,-2e-30}", (11, 7)),
)


class MariaDB(Dialect):
    """See Dialect."""

    name = "MariaDB"
    extra = "mariadb"
    recodes = True
    has_zero_dates = True
    samples: ClassVar[Sequence[Sample]] = (*SAMPLES, *_OWN_SAMPLES)
    recoded = RECODED
    moment = ("DATETIME(3)", "'{}'")

    begin_writing = (
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "START TRANSACTION READ WRITE",
    )

    # The variable that bounds a statement, and how many of its units a second has
    bound: ClassVar[tuple[str, int]] = ("max_statement_time", 1)

    # ---- sessions

    def engine(self, url: URL, password: Callable[[], str] | None, seconds: float) -> Engine:
        """See Dialect.engine."""
        engine = super().engine(url, password, seconds)
        made: Any = engine.dialect
        added: dict[str, Any] = {"inet4": mysql.INET4, "inet6": mysql.INET6, "vector": _Vector}
        added |= dict.fromkeys(_SHAPES, _Shape)
        made.ischema_names = {**added, **made.ischema_names}
        return engine

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect."""
        # Only the engine finds out whether the driver is installed
        from agent.connectors.dialects.bounded_pymysql import bounded  # noqa: PLC0415

        reach = {
            "charset": "utf8mb4",
            "read_timeout": seconds + _PATIENCE,
            "write_timeout": seconds + _PATIENCE,
        }
        return bounded(**{**named, **reach})

    def settle(self, connection: Any, seconds: float) -> None:
        """See Dialect.settle."""
        name, unit = self.bound
        wanted = {**_SESSION, name: str(int(seconds * unit))}
        with connection.cursor() as cursor:
            listed = ", ".join(f"'{name}'" for name in wanted)
            cursor.execute(f"SHOW SESSION VARIABLES WHERE variable_name IN ({listed})")
            there = {str(name).lower() for name, _ in cursor.fetchall()}
            assignments = [f"{name} = {wanted[name]}" for name in wanted if name in there]
            cursor.execute(f"SET SESSION {', '.join(assignments)}")

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """See Dialect.snapshot: of tables in InnoDB; others are read as they are by then."""
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        yield
        connection.exec_driver_sql("ROLLBACK")

    # ---- columns and statements

    def kind(self, declared: TypeEngine[Any], *, in_key: bool) -> Kind | None:
        """See Dialect.kind."""
        if in_key and isinstance(declared, _NOT_IN_KEY):
            return None
        kind = _kind(declared)
        if kind is not None and not in_key and isinstance(declared, _DAYS):
            return _WITH_ZEROS[self.zero_dates](kind)
        if kind is None or getattr(declared, "charset", None) not in self._misdeclared:
            return kind
        return encoded(kind, self.encoding, _octets, _text_of)

    @property
    def _misdeclared(self) -> tuple[str, ...]:
        """Names of character sets in which texts of another encoding are."""
        return _EVERY_BYTE if self.encoding else ()

    def columns(self, inspector: Inspector, schema: str, name: str) -> list[ReflectedColumn]:
        """See Dialect.columns. What the table does not say of a column is its character set."""
        found = super().columns(inspector, schema, name)
        if self.encoding:
            bind: Any = inspector.bind
            sets = dict(bind.execute(_CHARACTER_SETS, {"schema": schema, "name": name}).all())
            for column in found:
                if hasattr(column["type"], "charset"):
                    column["type"].charset = sets.get(column["name"])
        return found

    def full_scan(self, connection: Connection, statement: Select[Any]) -> bool | None:
        """See Dialect.full_scan.

        An index may be there and not be used: where most rows are asked for, as of a table that was
        filled at once.
        """
        bound = statement.compile(connection, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"EXPLAIN {bound}").mappings().all()
        return any(step["type"] == "ALL" and not step["possible_keys"] for step in plan)

    def clock(self, connection: Connection, *, utc: bool) -> str:
        """See Dialect.clock."""
        zone = "'+00:00'" if utc else "@@global.time_zone"
        asked = f"SELECT CONVERT_TZ(UTC_TIMESTAMP(6), '+00:00', {zone})"
        return kinds.moment(connection.exec_driver_sql(asked).scalar())

    def estimate(self, connection: Connection, schema: str, table: str) -> int | None:
        """See Dialect.estimate."""
        asked = (
            "SELECT table_rows FROM information_schema.tables "
            "WHERE table_schema = COALESCE(NULLIF(%s, ''), DATABASE()) AND table_name = %s"
        )
        found = connection.exec_driver_sql(asked, (schema, table)).scalar()
        return None if found is None else int(found)

    def size(self, connection: Connection, schema: str, table: str) -> int | None:
        """See Dialect.size."""
        asked = (
            "SELECT data_length + index_length FROM information_schema.tables "
            "WHERE table_schema = COALESCE(NULLIF(%s, ''), DATABASE()) AND table_name = %s"
        )
        found = connection.exec_driver_sql(asked, (schema, table)).scalar()
        return None if found is None else int(found)

    # ---- errors

    def trouble(self, error: BaseException) -> Trouble:
        """See Dialect.trouble."""
        return listed(_TROUBLES, _number(error)) or unlisted(error)

    def code(self, error: BaseException) -> str:
        """See Dialect.code. What the driver says of its own holds no value."""
        met = getattr(error, "original_exception", None)  # where no connection was made
        if isinstance(met, ssl.SSLCertVerificationError):
            detail = met.verify_message.rstrip(".")
            return phrase("TLS: certificate verify failed: {detail}", detail=detail)
        if isinstance(met, OSError):
            return system_reason(met)
        number = _number(error)
        return f"error {number}: {error.args[1]}" if number == _NO_PLUGIN else f"error {number}"


class _Vector(types.UserDefinedType[bytes]):
    """VECTOR(n), which SQLAlchemy does not know: it fails at the number."""

    cache_ok = True

    def __init__(self, dimensions: int = 0) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **named: Any) -> str:
        """Returns the type as it is declared."""
        return f"VECTOR({self.dimensions})"


class _Shape(types.UserDefinedType[bytes]):
    """GEOMETRY or one of its kinds, none of which SQLAlchemy knows."""

    cache_ok = True

    def get_col_spec(self, **named: Any) -> str:
        """Returns the type that holds them all."""
        return "GEOMETRY"


_SHAPES = (
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
)


def _number(error: BaseException) -> int:
    """Returns the server's or the driver's number of an error; -1 where there is none."""
    number = error.args[0] if error.args else -1
    return number if isinstance(number, int) else -1


# ---- columns

# In which each byte is a letter, so that none is refused
_EVERY_BYTE = ("latin1", "ascii")
_CHARACTER_SETS = text("""
    SELECT column_name, character_set_name FROM information_schema.columns
     WHERE table_schema = COALESCE(NULLIF(:schema, ''), DATABASE()) AND table_name = :name
""")


def _octets(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(column, types.BINARY)


def _text_of(octets: bytes) -> ColumnElement[Any]:
    stored = literal(octets, types.LargeBinary).op("USING")(literal_column("latin1"))
    return func.convert(stored)


def _kind(declared: TypeEngine[Any]) -> Kind | None:
    for declared_type, kind_of in _MADE:
        if isinstance(declared, declared_type):
            return kind_of(declared)
    for declared_type, kind in _KINDS:
        if isinstance(declared, declared_type):
            return kind
    return None


_SIGNED = {
    mysql.TINYINT: kinds.INT2,
    mysql.SMALLINT: kinds.INT2,
    mysql.MEDIUMINT: kinds.INT4,
    mysql.INTEGER: kinds.INT4,
    mysql.BIGINT: kinds.INT8,
}
_UNSIGNED = {
    mysql.TINYINT: kinds.INT2,
    mysql.SMALLINT: kinds.INT4,
    mysql.MEDIUMINT: kinds.INT4,
    mysql.INTEGER: kinds.INT8,
    mysql.BIGINT: kinds.numeric(20, 0),
}


def _whole(declared: Any) -> Kind:
    """Returns the kind of integers that holds all of this type: a boolean is a number here."""
    found = _UNSIGNED if declared.unsigned else _SIGNED
    return found[type(declared)]


def _decimal(declared: Any) -> Kind:
    """Returns the kind of a DECIMAL, which has 10 digits where none are given."""
    return kinds.numeric(declared.precision or 10, declared.scale or 0)


def _bits(declared: Any) -> Kind:
    """Returns the kind of a bit, which is a boolean, or of several, which are a number."""
    kind = kinds.BOOL if (declared.length or 1) == 1 else kinds.numeric(20, 0)
    return kind._replace(select=_as_number)


def _characters(declared: Any) -> Kind:
    return kinds.varchar(declared.length)


def _as_double(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column.op("+")(literal_column("0e0"))


def _as_number(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column.op("+")(literal_column("0"))


# Types with sizes or signs of their own
_MADE: tuple[tuple[type[TypeEngine[Any]], Callable[[Any], Kind]], ...] = (
    *[(declared_type, _whole) for declared_type in _SIGNED],
    (mysql.DECIMAL, _decimal),
    (mysql.NUMERIC, _decimal),
    (mysql.BIT, _bits),
    (mysql.CHAR, _characters),
    (mysql.VARCHAR, _characters),
)
_KINDS: tuple[tuple[type[TypeEngine[Any]], Kind], ...] = (
    # It is shown with six digits unless it is calculated with
    (mysql.FLOAT, kinds.FLOAT4._replace(select=_as_double)),
    (types.Float, kinds.FLOAT8),
    (mysql.YEAR, kinds.INT2),
    # The server keeps it in UTC, and gives it in the zone of the session
    (mysql.TIMESTAMP, kinds.TIMESTAMPTZ),
    (mysql.DATETIME, kinds.TIMESTAMP),
    (types.Date, kinds.DATE),
    (types.Time, kinds.TIME),
    (types.JSON, kinds.JSON),
    (types.Uuid, kinds.UUID),
    (mysql.INET4, kinds.INET),
    (mysql.INET6, kinds.INET),
    # As the server keeps it: four bytes of the SRID, then WKB
    (_Shape, kinds.BYTEA),
    # The driver takes its bytes for a text
    (_Vector, kinds.VECTOR._replace(select=_octets)),
    (mysql.ENUM, kinds.TEXT),
    (mysql.SET, kinds.TEXT),
    (types.String, kinds.TEXT),
    (types.BINARY, kinds.BYTEA),
    (types.VARBINARY, kinds.BYTEA),
    (types.LargeBinary, kinds.BYTEA),
    (mysql.TINYBLOB, kinds.BYTEA),
    (mysql.MEDIUMBLOB, kinds.BYTEA),
    (mysql.LONGBLOB, kinds.BYTEA),
)
# Types with days, and what becomes of a kind where these may be none
_DAYS = (types.Date, mysql.DATETIME, mysql.TIMESTAMP)
_WITH_ZEROS: Mapping[ZeroDates, Callable[[Kind], Kind]] = {
    "suspend": lambda kind: kind,
    "null": zero_dates.nullable,
    "text": zero_dates.spelled,
}
# A float of four bytes equals none of its texts. ENUM and SET have one order and are compared by
# another
_NOT_IN_KEY = (mysql.FLOAT, mysql.BIT, mysql.ENUM, mysql.SET, _Shape, _Vector)
