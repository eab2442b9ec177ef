"""Firebird as a business database, from version 4 on.

Its sessions have no autocommit mode of SQLAlchemy's kind. Outside snapshots, and transactions that
write, statements run in a transaction that only reads, sees what is committed at each of them, and
hinders no garbage collection: as long as the session lasts.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, cast, literal, types
from sqlalchemy.types import TypeEngine

from agent import stop_watch
from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Dialect, Kind, Sample, Trouble
from agent.connectors.dialects.troubles import unlisted

_LOCK_SECONDS = 20

# By SQLSTATE, and where that says too little by the engine's own code
_STATES: Mapping[Trouble, tuple[str, ...]] = {
    "login": ("28",),
    "missing": ("42S02", "42S22"),
    "busy": ("40", "HY008"),
    "unreachable": ("08", "57"),
    "value": ("22",),
}
_UNREACHABLE = 335544721
_CODES: Mapping[Trouble, tuple[int, ...]] = {
    "denied": (335544352, 335545030),
    "missing": (335544580, 335544578),
    "busy": (335544336, 335544345, 335544510, 335545131, 335544794),
    "unreachable": (335544344, _UNREACHABLE, 335544741, 335544856),
}

# For the self-test
_SAMPLES: Sequence[Sample] = (
    Sample("SMALLINT", "-5", "-5"),
    Sample("INTEGER", "7", "7"),
    Sample("BIGINT", "-9223372036854775808", "-9223372036854775808"),
    Sample(
        "INT128", "99999999999999999999999999999999999999", "99999999999999999999999999999999999999"
    ),
    Sample(
        "NUMERIC(38,10)",
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789",
    ),
    Sample("DECIMAL(10,2)", "-0.5", "-0.50"),
    Sample("DECFLOAT(34)", "0.1", "0.1"),
    Sample("BOOLEAN", "TRUE", "t"),
    Sample("FLOAT", "0.1", "0.1"),
    Sample("DOUBLE PRECISION", "1e300", "1e+300"),
    Sample("DATE", "DATE '2024-02-29'", "2024-02-29"),
    Sample("TIME", "TIME '23:59:59.5'", "23:59:59.5"),
    Sample("TIMESTAMP", "TIMESTAMP '2024-02-29 03:04:05.12'", "2024-02-29 03:04:05.12"),
    Sample(
        "TIMESTAMP WITH TIME ZONE",
        "TIMESTAMP '2024-02-29 03:04:05 +08:00'",
        "2024-02-28 19:04:05+00",
    ),
    Sample("CHAR(5) CHARACTER SET UTF8", "'中'", "中"),
    Sample("VARCHAR(20) CHARACTER SET UTF8", "'中文 '", "中文 "),
    Sample("BLOB SUB_TYPE TEXT CHARACTER SET UTF8", "'中文'", "中文"),
    Sample("CHAR(2) CHARACTER SET OCTETS", "x'00ff'", "\\x00ff"),
    Sample("VARCHAR(9) CHARACTER SET OCTETS", "x'00ff'", "\\x00ff"),
    Sample("BLOB", "x'00ff'", "\\x00ff"),
)


class Firebird(Dialect):
    """See Dialect. Names without capitals are those that Firebird keeps in capitals."""

    name = "Firebird"
    extra = "firebird"
    samples = _SAMPLES
    row_values = False

    # ---- sessions

    def engine(
        self,
        url: URL,
        password: Callable[[], str] | None,
        seconds: float,
    ) -> Engine:
        """See Dialect.engine."""
        engine = super().engine(url, password, seconds)
        made: Any = engine.dialect
        # What the driver has not: `settle` does the one, and closing is the other
        made.set_isolation_level = _as_it_is
        made.do_terminate = made.do_close
        return engine

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect."""
        # Only the engine finds out whether the driver is installed
        from firebird import driver  # noqa: PLC0415

        if not stop_watch.seconds_to_connect():
            # SQLAlchemy's dialect reads the codes of each error
            raise driver.OperationalError("the process is to stop", gds_codes=(_UNREACHABLE,))
        connection = driver.connect(*arguments, **{**named, "charset": "UTF8"})
        # What nobody holds is forgotten there
        connection.line = _Line(connection)
        stop_watch.register(connection.line)
        return connection

    def settle(self, connection: Any, seconds: float) -> None:
        """See Dialect.settle."""
        from firebird.driver import Isolation, TraAccessMode, tpb  # noqa: PLC0415

        reading = tpb(Isolation.READ_COMMITTED_RECORD_VERSION, access_mode=TraAccessMode.READ)
        connection.main_transaction.default_tpb = reading
        with connection.cursor() as cursor:
            cursor.execute(f"SET STATEMENT TIMEOUT {max(int(seconds * 1000), 1)} MILLISECOND")
        connection.rollback()

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """See Dialect.snapshot."""
        from firebird.driver import Isolation, TraAccessMode, tpb  # noqa: PLC0415

        raw = _idle(connection)
        raw.begin(tpb(Isolation.SNAPSHOT, access_mode=TraAccessMode.READ))
        try:
            yield
        finally:
            _idle(connection)

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """See Dialect.writing."""
        from firebird.driver import Isolation, tpb  # noqa: PLC0415

        raw = _idle(connection)
        raw.begin(tpb(Isolation.READ_COMMITTED_RECORD_VERSION, lock_timeout=_LOCK_SECONDS))
        try:
            yield
            raw.commit()
        finally:
            _idle(connection)

    # ---- columns and statements

    def kind(self, declared: TypeEngine[Any], *, in_key: bool) -> Kind | None:
        """See Dialect.kind."""
        if in_key and isinstance(declared, types.Float | types.LargeBinary | types.Text):
            return None
        if getattr(declared, "charset", "") == "OCTETS":
            return _OCTETS
        for declared_type, kind_of in _MADE:
            if isinstance(declared, declared_type):
                return kind_of(declared)
        for name, kind in _NAMED.items():
            if type(declared).__name__ == name:
                return None if in_key and name == _DECIMAL_FLOAT else kind
        return None

    def clock(self, connection: Connection, *, utc: bool) -> str:
        """See Dialect.clock."""
        now = "CURRENT_TIMESTAMP AT TIME ZONE 'UTC'" if utc else "LOCALTIMESTAMP"
        asked = f"SELECT CAST({now} AS TIMESTAMP) FROM rdb$database"
        return kinds.moment(connection.exec_driver_sql(asked).scalar())

    # ---- errors

    def trouble(self, error: BaseException) -> Trouble:
        """See Dialect.trouble."""
        codes = set(getattr(error, "gds_codes", None) or ())
        for trouble, known in _CODES.items():
            if codes.intersection(known):
                return trouble
        state = getattr(error, "sqlstate", None) or ""
        for trouble, states in _STATES.items():
            if state.startswith(states):
                return trouble
        return unlisted(error)

    def code(self, error: BaseException) -> str:
        """See Dialect.code."""
        state = getattr(error, "sqlstate", None)
        return f"SQLSTATE {state}" if state else type(error).__name__


class _Line:
    """See agent.stop_watch.Line: the statement that runs is given up."""

    def __init__(self, connection: Any) -> None:
        self._connection: Callable[[], Any] = weakref.ref(connection)

    def shut(self) -> None:
        """See agent.stop_watch.Line."""
        from firebird.driver import Error  # noqa: PLC0415
        from firebird.driver.types import CancelType  # noqa: PLC0415

        with suppress(Error, AttributeError):
            # The driver has no public way to it
            attachment = self._connection()._att  # noqa: SLF001
            attachment.cancel_operation(CancelType.RAISE)


def _as_it_is(connection: Any, level: str) -> None:
    """Leaves a session in the isolation level that it has."""


def _idle(connection: Connection) -> Any:
    """Returns the driver's connection, without a transaction."""
    raw: Any = connection.connection.dbapi_connection
    if raw.main_transaction.is_active():
        raw.rollback()
    return raw


# ---- columns

_DECIMAL_FLOAT = "FBDECFLOAT"


def _as(declared: TypeEngine[Any], value: Callable[[str], Any] = str) -> Callable[[str], Any]:
    """Returns what makes a value of a type from its text.

    Of itself SQLAlchemy makes a text a BLOB, which no index is used for.
    """

    def bind(canonical: str) -> Any:
        return cast(literal(value(canonical)), declared)

    return bind


def _decimal(declared: Any) -> Kind:
    """Returns the kind of a decimal: it holds what its integer does, whatever is declared."""
    precision, scale = declared.precision or 18, declared.scale or 0
    digits = 39
    for declared_digits, held in ((18, 19), (9, 10)):
        if precision <= declared_digits:
            digits = held
    exact: types.NUMERIC[Any] = types.NUMERIC(38, scale)
    # The driver would give a number four digits behind the point
    return kinds.numeric(digits, scale)._replace(bind=_as(exact))


def _in_short(canonical: str) -> str:
    """Returns a time with four digits of a second: no more are understood, and no fewer."""
    moment, _, digits = canonical.partition(".")
    return f"{moment}.{digits:0<4.4}"


def _with_zone(canonical: str) -> str:
    return f"{_in_short(kinds.unzoned(canonical))} +00:00"


_MOMENT = kinds.TIMESTAMP._replace(bind=_as(types.TIMESTAMP(), _in_short))
_INSTANT = kinds.TIMESTAMPTZ._replace(bind=_as(types.TIMESTAMP(timezone=True), _with_zone))


def _timestamp(declared: Any) -> Kind:
    return _INSTANT if declared.timezone else _MOMENT


_OCTETS = kinds.BYTEA._replace(bind=_as(types.VARBINARY(8000), kinds.bytes_of))
_TEXT_OF = _as(types.VARCHAR(8000))


def _characters(declared: Any) -> Kind:
    return kinds.varchar(declared.length)._replace(bind=_TEXT_OF)


def _padded(declared: Any) -> Kind:
    """Returns the kind of a CHAR: its blanks at the end are no part of the value."""
    return kinds.varchar(declared.length)._replace(write=kinds.unpadded, bind=_TEXT_OF)


def _time_of_day(value: Any) -> str:
    if not isinstance(value, time) or value.tzinfo is not None:
        raise TypeError("no time without a zone")
    return kinds.time_of_day(value)


_MADE: tuple[tuple[type[TypeEngine[Any]], Callable[[Any], Kind]], ...] = (
    (types.CHAR, _padded),
    (types.VARCHAR, _characters),
    (types.DECIMAL, _decimal),
    (types.NUMERIC, _decimal),
    (types.DateTime, _timestamp),
)
# By SQLAlchemy's own names of this database's types
_NAMED: Mapping[str, Kind] = {
    "FBBOOLEAN": kinds.BOOL._replace(bind=_as(types.BOOLEAN(), lambda canonical: canonical == "t")),
    "FBSMALLINT": kinds.INT2,
    "FBINTEGER": kinds.INT4,
    "FBBIGINT": kinds.INT8,
    "FBINT128": kinds.numeric(39, 0),
    _DECIMAL_FLOAT: kinds.NUMERIC,
    "FBFLOAT": kinds.FLOAT4,
    "FBDOUBLE_PRECISION": kinds.FLOAT8,
    "FBDATE": kinds.DATE._replace(bind=_as(types.DATE())),
    "FBTIME": kinds.TIME._replace(write=_time_of_day, bind=_as(types.TIME(), _in_short)),
    "FBTEXT": kinds.TEXT,
    "FBBLOB": kinds.BYTEA,
}
