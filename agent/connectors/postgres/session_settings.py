"""Gives a PostgreSQL session the settings our statements rely on, and proves that it has them.

They are set after the login: a pooler may drop what a start-up packet asks for, and a role or
database may have its own defaults. They are read back in a transaction of their own, which a pooler
that shares servers between transactions gives to another server: so it is one session, too.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import sql

from agent.messages import phrase

# What statements of ours mean, whatever the role, the database or the server have as defaults.
MEANING = {
    # A backslash in '...' is a backslash
    "standard_conforming_strings": "on",
    # NULL within the text of an array is no text
    "array_nulls": "on",
    # Names of types are compared as format_type writes them
    "quote_all_identifiers": "off",
    # Each statement sees what is committed, and none fails because of another transaction's rows
    "default_transaction_isolation": "read committed",
    # A session of ours may be idle: between two pages, or while nothing changes
    "idle_session_timeout": "0",
}
_BOUNDED_SINCE = 170_000  # server version that knows transaction_timeout
_POOLER = (
    "a connection pooler gives each transaction another server process: "
    "set pool_mode = session there, or connect to the server itself"
)
_DURATION = re.compile(r"(\d+)(ms|s|min|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_PID = "select pg_catalog.pg_backend_pid()"

Connection = psycopg.Connection[Any]


class Unfit(Exception):
    """The session cannot be used.

    `reason` names the setting, or the pooler, and never a value of a row.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def settle(
    connection: Connection,
    settings: Mapping[str, str],
    another: Callable[[], Connection],
    encoding: str | None = None,
) -> None:
    """Sets the settings of an autocommit connection and reads them back.

    One round trip is enough where no pooler stands between. `another` makes a second connection the
    same way: asked only where the server process is not the one that has logged us in.
    `encoding`: the one the database must have. Raises Unfit, psycopg.Error.
    """
    wanted = dict(settings)
    if connection.info.server_version >= _BOUNDED_SINCE:
        wanted.setdefault("transaction_timeout", "0")
    pid = connection.info.backend_pid  # of the login
    try:
        first, shown = _asked(connection, wanted, pid)
        if first is None:
            pid = _own_server(connection, another)
            first, shown = _asked(connection, wanted, pid)
    except psycopg.Error as error:
        if (error.sqlstate or "")[:2] not in ("22", "42"):
            raise
        raise Unfit(
            phrase("a session setting is refused with SQLSTATE {sqlstate}", sqlstate=error.sqlstate)
        ) from None
    if first is None or shown is None or shown[0] != pid:
        raise Unfit(_POOLER)
    _, stored, *found = shown
    if encoding is not None and _text(stored) != encoding:
        raise Unfit(
            phrase(
                "the encoding of its database is {stored}, "
                "and not every text can be stored there: "
                "make a database with ENCODING '{encoding}'",
                stored=_text(stored),
                encoding=encoding,
            )
        )
    for (name, value), now in zip(wanted.items(), found, strict=True):
        if _plain(_text(now)) != _plain(value):
            raise Unfit(
                phrase(
                    "its session has {name} = {value} though {wanted} was asked for",
                    name=name,
                    value=_text(now),
                    wanted=value,
                )
            )


def _asked(
    connection: Connection, wanted: Mapping[str, str], pid: int
) -> tuple[tuple[Any, ...] | None, tuple[Any, ...] | None]:
    """Sets the settings; then asks for process, encoding and settings in another transaction.

    Nothing is set, and the first answer is None, where the server process is another: what a pooler
    shares is not ours to change.
    """
    sets: list[sql.Composable] = []
    shows: list[sql.Composable] = [
        sql.SQL(_PID),
        sql.SQL("pg_catalog.current_setting('server_encoding')"),
    ]
    for name, value in wanted.items():
        setting = sql.SQL("pg_catalog.set_config({}, {}, false)")
        sets.append(setting.format(sql.Literal(name), sql.Literal(value)))
        shows.append(sql.SQL("pg_catalog.current_setting({})").format(sql.Literal(name)))
    comma = sql.SQL(", ")
    # The operator has its schema, since the session's search_path is not ours yet.
    ours = "select {} where pg_catalog.pg_backend_pid() operator(pg_catalog.=) {}"
    one = sql.SQL(ours).format(comma.join(sets), sql.Literal(pid))
    two = comma.join(shows)
    # Replication takes one statement at a time, and so does a client library before 14
    if _replicates(connection) or not psycopg.Pipeline.is_supported():
        first = connection.execute(one).fetchone()
        return first, connection.execute(two).fetchone()
    with connection.pipeline() as pipeline:
        set_ = connection.execute(one)
        pipeline.sync()  # here the first transaction ends
        shown = connection.execute(two)
    return set_.fetchone(), shown.fetchone()


def _replicates(connection: Connection) -> bool:
    return "replication" in connection.info.get_parameters()


def _own_server(connection: Connection, another: Callable[[], Connection]) -> int:
    """Returns the server process behind a pooler, where it stays ours. Raises Unfit.

    A pooler answers the login itself. One that shares servers hands the one used last to whoever
    comes next, so somebody else opens a transaction meanwhile.
    """
    pid = _pid(connection)
    with another() as other:
        try:
            other.execute("begin")
            taken = _pid(other) == pid
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            raise Unfit(_POOLER) from None
        if taken or _pid(connection) != pid:
            raise Unfit(_POOLER)
        other.execute("rollback")
    return pid


def _pid(connection: Connection) -> int:
    row = connection.execute(_PID).fetchone()
    return int(row[0]) if row is not None else 0


def _text(value: Any) -> str:
    """Text as it comes; bytes from a session whose encoding is none yet."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _plain(value: str) -> str:
    """Returns a setting's value without its unit, in lower case and without spaces.

    The server does not keep these.
    """
    duration = _DURATION.fullmatch(value)
    if duration is not None:
        return str(int(duration[1]) * _MILLISECONDS[duration[2]])
    return value.replace(" ", "").lower()
