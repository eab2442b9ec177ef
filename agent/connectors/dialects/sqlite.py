"""SQLite as a business database: values have types of their own, whatever their column's is.

What does not fit the declared type is refused: nothing is converted.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Select,
    Text,
    cast,
    literal,
    types,
)
from sqlalchemy.types import TypeEngine

from agent.connectors.dialects import kinds
from agent.connectors.dialects.base import Dialect, Kind, Recoded, Sample, Stored, Trouble
from agent.connectors.dialects.encodings import encoded
from agent.values.json_text import is_json
from agent.values.writing import decimal_text, uuid_text

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT)
_DENIED = (sqlite3.SQLITE_AUTH, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY)
_LOST = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL)
_MISSING = re.compile(r"no such (table|column)")

# For the self-test
_A_UUID = "6ccd780c-baba-1026-9564-5b8c656024db"
_SAMPLES: Sequence[Sample] = (
    Sample("INTEGER", "-9223372036854775808", "-9223372036854775808"),
    Sample("REAL", "0.1", "0.1"),
    Sample("DECIMAL(10,2)", "2.50", "2.5"),
    Sample("BOOLEAN", "1", "t"),
    Sample("VARCHAR(20)", "' 中文 '", " 中文 "),
    Sample("TEXT", "''", ""),
    Sample("BLOB", "x'00ff'", "\\x00ff"),
    Sample("DATE", "'2024-02-29'", "2024-02-29"),
    Sample("NUMERIC", "-1", "-1"),
    Sample("TIMESTAMP", "'2024-02-29T03:04:05'", "2024-02-29 03:04:05"),
    Sample("DATETIME", "'2024-02-29 03:04:05.120'", "2024-02-29 03:04:05.12"),
    Sample("TIME", "'03:04:05'", "03:04:05"),
    Sample("JSON", "'{\"a\": 1}'", '{"a": 1}'),
    Sample("UUID", f"'{_A_UUID}'", _A_UUID),
)
_OF_BYTES = "CAST(x'{hex}' AS TEXT)"
_RECODED = (Recoded("VARCHAR(40)", _OF_BYTES), Recoded("TEXT", _OF_BYTES))


class SQLite(Dialect):
    """See Dialect."""

    name = "SQLite"
    recodes = True
    samples = _SAMPLES
    recoded = _RECODED
    moment = ("DATETIME", "'{}'")
    begin_writing = ("BEGIN IMMEDIATE",)

    # ---- sessions

    def engine(
        self,
        url: URL,
        password: Callable[[], str] | None,
        seconds: float,
    ) -> Engine:
        """See Dialect.engine. SQLAlchemy takes a UUID for a number, as it does with every name."""
        engine = super().engine(url, password, seconds)
        made: Any = engine.dialect
        made.ischema_names = {**made.ischema_names, "UUID": types.Uuid}
        return engine

    def connect(self, arguments: list[Any], named: Mapping[str, Any], seconds: float) -> Any:
        """See Dialect.connect. A file that is not there is never created."""
        path = quote(str(Path(arguments[0]).absolute()))
        # A lock of the application is waited for within the same bound as a statement
        return sqlite3.connect(
            f"file:{path}?mode=rw",
            uri=True,
            timeout=seconds,
            isolation_level=None,
            check_same_thread=False,
        )

    def settle(self, connection: Any, seconds: float) -> None:
        """See Dialect.settle. No statement of ours writes unless it says so."""
        connection.execute("PRAGMA query_only = ON")

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        """See Dialect.snapshot: it is taken by the first statement that reads."""
        connection.exec_driver_sql("BEGIN")
        try:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
            yield
        finally:
            _end(connection)

    @contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """See Dialect.writing."""
        connection.exec_driver_sql("PRAGMA query_only = OFF")
        try:
            with super().writing(connection):
                yield
        finally:
            connection.exec_driver_sql("PRAGMA query_only = ON")

    # ---- columns and statements

    def kind(self, declared: TypeEngine[Any], *, in_key: bool) -> Kind | None:
        """See Dialect.kind. Dates and times are texts: as a part of a key they stay as they are."""
        if isinstance(declared, types.NullType):
            return None
        for declared_type, kind, key_kind in _KINDS:
            if isinstance(declared, declared_type):
                return self._stored(key_kind if in_key else kind)
        return None

    def _stored(self, kind: Kind) -> Kind:
        """Returns a kind of texts with their encoding: the library tests no byte."""
        if kind.write is not kinds.text:
            return kind
        if not self.encoding:
            return kind._replace(stored=Stored("utf-8", _octets))
        return encoded(kind, self.encoding, _octets, _text_of)

    def full_scan(self, connection: Connection, statement: Select[Any]) -> bool | None:
        """See Dialect.full_scan."""
        bound = statement.compile(connection, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {bound}").all()
        steps = [str(step[-1]) for step in plan]
        return any(step.startswith("SCAN") and "INDEX" not in step for step in steps)

    def clock(self, connection: Connection, *, utc: bool) -> str:
        """See Dialect.clock: it is this host's. Of its zone nothing is known: the later one counts.

        Programs write either UTC, as CURRENT_TIMESTAMP is, or the host's own time.
        """
        asked = (
            "SELECT max(strftime('%Y-%m-%d %H:%M:%f', 'now'), "
            "strftime('%Y-%m-%d %H:%M:%f', 'now', 'localtime'))"
        )
        return str(connection.exec_driver_sql(asked).scalar())

    # ---- errors

    def trouble(self, error: BaseException) -> Trouble:
        """See Dialect.trouble."""
        code = _code(error)
        if code in _LOST:
            return "unreachable"
        if code in _BUSY:
            return "busy"
        if code in _DENIED:
            return "denied"
        if _MISSING.match(str(error)):
            return "missing"
        if "decode" in str(error):
            return "value"
        return "unfit"

    def code(self, error: BaseException) -> str:
        """See Dialect.code."""
        return str(getattr(error, "sqlite_errorname", type(error).__name__))


def _code(error: BaseException) -> int:
    """Returns the primary result code; 0 where there is none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _end(connection: Connection) -> None:
    """Ends the snapshot, unless an error has ended it."""
    raw: Any = connection.connection.dbapi_connection
    if raw.in_transaction:
        raw.rollback()


# ---- values


def _octets(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(column, LargeBinary)


def _text_of(octets: bytes) -> ColumnElement[Any]:
    return cast(literal(octets, LargeBinary), Text)


def _written_date(value: Any) -> str:
    return kinds.day(date.fromisoformat(kinds.text(value)))


def _written_moment(value: Any) -> str:
    return kinds.moment(datetime.fromisoformat(kinds.text(value)))


def _written_time(value: Any) -> str:
    found = time.fromisoformat(kinds.text(value))
    if found.tzinfo is not None:
        raise ValueError("a time with a zone")
    return kinds.time_of_day(found)


def _written_json(value: Any) -> str:
    found = str(value) if isinstance(value, int | float) else kinds.text(value)
    if not is_json(found):
        raise ValueError("no JSON")
    return found


def _written_number(value: Any) -> str:
    if not isinstance(value, int | float):
        raise TypeError("no number")
    return decimal_text(value)


def _number_of(canonical: str) -> int | float:
    return float(canonical) if "." in canonical else int(canonical)


def _written_uuid(value: Any) -> str:
    return uuid_text(kinds.text(value) if isinstance(value, str) else value)


_NUMBER = kinds.NUMERIC._replace(write=_written_number, bind=_number_of)
_DATE = kinds.DATE._replace(write=_written_date)
_MOMENT = kinds.TIMESTAMP._replace(write=_written_moment)
_TIME = kinds.TIME._replace(write=_written_time)
_JSON = kinds.JSON._replace(write=_written_json)
_UUID = kinds.UUID._replace(write=_written_uuid)

# By SQLAlchemy's type: how a column is read, and how one of a key is. The first that fits counts
_KINDS: tuple[tuple[type[TypeEngine[Any]], Kind, Kind], ...] = (
    (types.Boolean, kinds.BOOL, kinds.BOOL),
    (types.Integer, kinds.INT8, kinds.INT8),
    (types.Float, kinds.FLOAT8, kinds.FLOAT8),
    (types.Numeric, _NUMBER, _NUMBER),
    (types.DateTime, _MOMENT, kinds.TEXT),
    (types.Date, _DATE, kinds.TEXT),
    (types.Time, _TIME, kinds.TEXT),
    (types.JSON, _JSON, kinds.TEXT),
    (types.Uuid, _UUID, kinds.TEXT),
    (types.String, kinds.TEXT, kinds.TEXT),
    (types.LargeBinary, kinds.BYTEA, kinds.BYTEA),
)
